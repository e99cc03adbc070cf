"""What happens on each click of the Transcribe tab: plain values in, a page update out."""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from vlm_studio.core.documents import Box, Line, ReadLine
from vlm_studio.core.errors import InvalidRequest, NotFound
from vlm_studio.studio import Studio
from vlm_studio.tasks.adapt_manage import ACTIVE
from vlm_studio.tasks.export import FilePage, json_value
from vlm_studio.tasks.live import LiveRun
from vlm_studio.tasks.transcribe import LineRead, LinesFound
from vlm_studio.tasks.transcribe_session import Progress
from vlm_studio.ui.hand_choice import remember
from vlm_studio.ui.shared import owner_of, uploads_of
from vlm_studio.ui.tabs.transcribe_edit import keep_typed
from vlm_studio.ui.tabs.transcribe_render import View, nothing, render
from vlm_studio.views.diff import diff_html
from vlm_studio.views.page_overlay import DISPLAY_WIDTH, line_at, word_at
from vlm_studio.views.picture_buttons import picture_buttons_html, thumbnail_uri
from vlm_studio.views.transcript import status_html

REFRESH_SECONDS = 0.5
"""Between two redrawings of the page while it is being read."""

READER_LABELS = {"auto": "auto (best here)", "fast": "fast", "nano": "idefics2-nano", "8b": "idefics2-8b"}

EXAMPLES = (
    ("notebook_page.jpg", "A page of notes"),
    ("letter.jpg", "A letter"),
    ("copie_francaise.jpg", "French, real handwriting"),
)


def reader_choices(studio: Studio) -> list[tuple[str, str]]:
    return [(READER_LABELS.get(name, name), name) for name in ("auto", *studio.transcriber.names)]


def example_items(studio: Studio) -> list[tuple[str, str]]:
    folder = studio.settings.assets_dir / "examples"
    return [(str(folder / name), caption) for name, caption in EXAMPLES if (folder / name).exists()]


def examples_html(studio: Studio) -> str:
    pictures = [(thumbnail_uri(Image.open(path), 420), caption) for path, caption in example_items(studio)]
    return '<p class="studio-hint">Or try one of these:</p>' + picture_buttons_html(
        pictures, None, "Examples"
    )


def read_files(
    studio: Studio, files: list[str] | None, session_id: str, reader: str, password: str, request: gr.Request,
    hand: str = ACTIVE,
) -> Iterator[list[Any]]:  # fmt: skip
    """Files were dropped or chosen: keep them, then read them while the page is watched."""
    if not files:
        return
    owner = owner_of(studio.settings, request)
    given = [(Path(path).name, Path(path).read_bytes()) for path in files]
    taken = studio.transcriptions.add_files(owner, session_id, given, password)
    remember(studio, owner, session_id, taken.session_id, hand)
    problems = " ".join(taken.problems)
    if not taken.kept:
        yield render(
            studio, owner,
            View(taken.session_id, status=status_html(problems, None, problem=True), password=taken.wants_password),
        )  # fmt: skip
        return
    for problem in taken.problems:
        gr.Warning(escape(problem), title="One file was left out")
    run = studio.transcriptions.start(owner, taken.session_id, reader)
    yield from _watch(studio, owner, taken.session_id, run, taken.wants_password)


def unlock(
    studio: Studio, files: list[str] | None, session_id: str, reader: str, password: str, hand: str,
    line: str, given: str, text: str, request: gr.Request,
) -> Iterator[list[Any]]:  # fmt: skip
    """The password came: only the files that are not in the session yet are tried again."""
    owner = owner_of(studio.settings, request)
    keep_typed(studio, line, given, text, request)
    pages = studio.transcriptions.pages(owner, session_id) if session_id else ()
    held = {kept.page.asset_sha256 for kept in pages}
    waiting = [f for f in files or () if hashlib.sha256(Path(f).read_bytes()).hexdigest() not in held]
    yield from read_files(studio, waiting, session_id, reader, password, request, hand)


def read_photo(
    studio: Studio, photo: str | None, session_id: str, reader: str, password: str, request: gr.Request,
    hand: str = ACTIVE,
) -> Iterator[list[Any]]:  # fmt: skip
    yield from read_files(studio, [photo] if photo else None, session_id, reader, password, request, hand)


def read_example(
    studio: Studio, session_id: str, reader: str, password: str, request: gr.Request, event: gr.EventData,
    hand: str = ACTIVE,
) -> Iterator[list[Any]]:  # fmt: skip
    path, _ = example_items(studio)[int(event.index)]
    yield from read_files(studio, [path], "", reader, "", request, hand)


def _watch(
    studio: Studio, owner: str, session_id: str, run: LiveRun[object], password: bool = False
) -> Iterator[list[Any]]:
    """Follow a reading, redrawing at most twice a second; ends with the first page as kept.

    `password`: a file still waits for one.
    """
    lines: list[Line | ReadLine] = []
    page, shown, read, total = 0, 0.0, 0, 1
    finding = status_html("Finding the lines ...", 0.0)
    yield render(studio, owner, View(session_id, status=finding, running=True, password=password))
    for item in run.follow():
        if not isinstance(item, Progress):
            continue
        page, event = item.page, item.event
        if isinstance(event, LinesFound):
            lines, read = list(event.lines), 0
            total = max(1, sum(not line.maybe_skipped for line in event.lines))
        elif isinstance(event, LineRead):
            lines[event.index] = event.read
            read += 1
        if time.monotonic() - shown > REFRESH_SECONDS or isinstance(event, LinesFound):
            shown = time.monotonic()
            told = f"Page {page + 1} of {item.total}: line {read} of {total}"
            status = status_html(told, (page + read / total) / item.total)
            yield render(
                studio,
                owner,
                View(
                    session_id,
                    page,
                    status=status,
                    running=True,
                    live=tuple(lines),
                    password=password,
                    same_page=not isinstance(event, LinesFound),
                ),
            )
    yield render(studio, owner, View(session_id, 0, password=password))


def open_session(
    studio: Studio, opened: str, line: str, given: str, text: str, request: gr.Request
) -> Iterator[list[Any]]:
    """A session was chosen elsewhere in the app, or a line of one."""
    kind, session_id, line_id = [*opened.split("/"), "", ""][:3]
    if kind == "transcribe" and session_id:
        keep_typed(studio, line, given, text, request)
        yield from _open(studio, owner_of(studio.settings, request), session_id, line_id)


def open_from_address(studio: Studio, request: gr.Request) -> Iterator[list[Any]]:
    """The page was loaded: show the session of its address, and join a reading that is under way."""
    session_id = str(dict(request.query_params).get("session", ""))
    owner = owner_of(studio.settings, request)
    if session_id:
        try:
            yield from _open(studio, owner, session_id)
        except NotFound:
            yield nothing()


def _open(studio: Studio, owner: str, session_id: str, line_id: str = "") -> Iterator[list[Any]]:
    run = studio.transcriptions.running(owner, session_id)
    if run is not None:
        yield from _watch(studio, owner, session_id, run)
        return
    unread = [
        page
        for page in studio.transcriptions.pages(owner, session_id)
        if studio.transcriptions.reading(owner, page.id) is None
    ]
    if unread:
        # The app ended while this was being read: go on with the pages that are left.
        run = studio.transcriptions.start(owner, session_id, "auto")
        yield from _watch(studio, owner, session_id, run)
        return
    place = _place(studio, owner, session_id, line_id)
    yield render(studio, owner, View(session_id, *place, password=False))


def _place(studio: Studio, owner: str, session_id: str, line_id: str) -> tuple[int, int]:
    """(page, line) of a line; the first page and no line where there is no such line."""
    if line_id:
        for number, page in enumerate(studio.transcriptions.pages(owner, session_id)):
            for place, line in enumerate(studio.transcriptions.lines(owner, page.id)):
                if line.id == line_id:
                    return number, place
    return 0, -1


def stop(studio: Studio, session_id: str, request: gr.Request) -> None:
    studio.transcriptions.stop(owner_of(studio.settings, request), session_id)


def start_anew(studio: Studio, line: str, given: str, text: str, request: gr.Request) -> list[Any]:
    keep_typed(studio, line, given, text, request)
    return nothing()


def choose_page(
    studio: Studio, session_id: str, page: int, line: str, given: str, text: str, request: gr.Request,
    event: gr.EventData,
) -> list[Any]:  # fmt: skip
    keep_typed(studio, line, given, text, request)
    return render(studio, owner_of(studio.settings, request), View(session_id, int(event.index)))


def choose_line(
    studio: Studio, session_id: str, page: int, line: str, given: str, text: str, request: gr.Request,
    event: gr.EventData,
) -> list[Any]:  # fmt: skip
    keep_typed(studio, line, given, text, request)
    word = getattr(event, "word", None)
    return render(
        studio,
        owner_of(studio.settings, request),
        View(session_id, page, int(event.index), -1 if word is None else int(word), same_page=True),
    )


def click_page(
    studio: Studio, session_id: str, page: int, line: str, given: str, text: str, corner: tuple[float, ...],
    region: bool, reader: str, request: gr.Request, event: gr.SelectData,
) -> Iterator[list[Any]]:  # fmt: skip
    """A click chooses the word under it; with "region" on, two clicks mark a region and read it."""
    owner = owner_of(studio.settings, request)
    keep_typed(studio, line, given, text, request)
    kept = studio.transcriptions.pages(owner, session_id)[page]
    scale = min(1.0, DISPLAY_WIDTH / kept.page.width_px)
    x, y = event.index[0] / scale, event.index[1] / scale
    lines = studio.transcriptions.lines(owner, kept.id)
    if not region:
        hit = line_at([k.read for k in lines], x, y)
        view = View(session_id, page, same_page=True)
        if hit is not None:
            view = View(session_id, page, hit, word_at(lines[hit].read, x, y), same_page=True)
        yield [*render(studio, owner, view), ()]
        return
    number = next((n for n, k in enumerate(lines) if k.id == line), -1)
    view = View(session_id, page, number, same_page=True)
    if not corner:
        dot = Box(x - 4 / scale, y - 4 / scale, x + 4 / scale, y + 4 / scale)
        status = status_html("Now click the opposite corner.", None)
        yield [*render(studio, owner, replace(view, status=status, region=dot)), (x, y)]
        return
    box = Box(min(x, corner[0]), min(y, corner[1]), max(x, corner[0]), max(y, corner[1]))
    status = status_html("Reading the region ...", None)
    yield [*render(studio, owner, replace(view, status=status, region=box)), ()]
    added = studio.transcriptions.read_region(owner, kept.id, box, reader or "auto")
    ids = [k.id for k in studio.transcriptions.lines(owner, kept.id)]
    yield [*render(studio, owner, replace(view, line_index=ids.index(added[0].id))), ()]


def compare(studio: Studio, session_id: str, page: int, reference: str, request: gr.Request) -> str:
    owner = owner_of(studio.settings, request)
    pages = studio.transcriptions.pages(owner, session_id)
    found, spans = studio.transcriptions.compare(owner, pages[page].id, reference)
    told = (
        f"Character error rate {found.cer:.1%} of {found.characters} characters, "
        f"word error rate {found.wer:.1%} of {found.words} words."
    )
    return f'<p class="studio-hint">{escape(told)}</p>' + diff_html(spans)


def export(studio: Studio, session_id: str, kind: str, request: gr.Request) -> Any:
    """Write the export where Gradio may serve it from; a folder of its own keeps names apart."""
    content, name = studio.transcriptions.export(owner_of(studio.settings, request), session_id, kind)
    path = Path(tempfile.mkdtemp(prefix="vlm-studio-")) / name
    path.write_bytes(content)
    return gr.update(value=str(path), visible=True)


def api_transcribe(
    studio: Studio, files: list[gr.FileData], reader: str = "auto", hand: str = ACTIVE, password: str = "",
    request: gr.Request | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Read images and PDFs. Returns what `transcribe --format json` prints.

    `hand` is the id of an adapter of yours (see /adapters), ``base``, or ``active`` (as chosen in Teach);
    `password` opens encrypted PDFs.
    """
    owner = owner_of(studio.settings, request)
    taken = studio.transcriptions.add_files(owner, "", uploads_of(files), password)
    remember(studio, owner, "", taken.session_id, hand)
    if not taken.kept:
        if taken.problems:
            raise InvalidRequest(" ".join(taken.problems))
        raise InvalidRequest("No file was sent.", "Send images or PDFs.")
    for _ in studio.transcriptions.start(owner, taken.session_id, reader).follow():
        pass
    pages = []
    for kept in studio.transcriptions.pages(owner, taken.session_id):
        reading = studio.transcriptions.reading(owner, kept.id)
        if reading is not None:
            pages.append(FilePage(kept.filename, reading))
    return {**json_value(pages), "session": taken.session_id, "problems": list(taken.problems)}
