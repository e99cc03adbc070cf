"""What happens on each click of the Transcribe tab: plain values in, a page update out."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from vlm_studio.core.documents import Box, Line, ReadLine
from vlm_studio.core.errors import InvalidRequest, NotFound
from vlm_studio.core.sessions import KeptLine
from vlm_studio.studio import Studio
from vlm_studio.tasks.adapt_manage import ACTIVE
from vlm_studio.tasks.export import FilePage, json_value
from vlm_studio.tasks.live import LiveRun
from vlm_studio.tasks.transcribe import LineRead, LinesFound
from vlm_studio.tasks.transcribe_session import Progress
from vlm_studio.ui.hand_choice import remember
from vlm_studio.ui.shared import owner_of, uploads_of
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
    yield from _watch(studio, owner, taken.session_id, run)


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


def _watch(studio: Studio, owner: str, session_id: str, run: LiveRun[object]) -> Iterator[list[Any]]:
    """Follow a reading, redrawing at most twice a second; ends with the first page as kept."""
    lines: list[Line | ReadLine] = []
    page, shown, read, total = 0, 0.0, 0, 1
    yield render(
        studio, owner, View(session_id, status=status_html("Finding the lines ...", 0.0), running=True)
    )
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
                    same_page=not isinstance(event, LinesFound),
                ),
            )
    yield render(studio, owner, View(session_id, 0))


def open_session(studio: Studio, opened: str, request: gr.Request) -> Iterator[list[Any]]:
    """A session was chosen elsewhere in the app, or a line of one."""
    kind, session_id, line_id = [*opened.split("/"), "", ""][:3]
    if kind == "transcribe" and session_id:
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
    yield render(studio, owner, View(session_id, *_place(studio, owner, session_id, line_id)))


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


def start_anew(
    studio: Studio, session_id: str, page: int, line: int, text: str, request: gr.Request
) -> list[Any]:
    _keep_typed(studio, owner_of(studio.settings, request), session_id, page, line, text)
    return nothing()


def choose_page(
    studio: Studio, session_id: str, page: int, line: int, text: str, request: gr.Request, event: gr.EventData
) -> list[Any]:
    owner = owner_of(studio.settings, request)
    _keep_typed(studio, owner, session_id, page, line, text)
    return render(studio, owner, View(session_id, int(event.index)))


def choose_line(
    studio: Studio, session_id: str, page: int, line: int, text: str, request: gr.Request, event: gr.EventData
) -> list[Any]:
    owner = owner_of(studio.settings, request)
    _keep_typed(studio, owner, session_id, page, line, text)
    word = getattr(event, "word", None)
    return render(
        studio,
        owner,
        View(session_id, page, int(event.index), -1 if word is None else int(word), same_page=True),
    )


def click_page(
    studio: Studio, session_id: str, page: int, line: int, text: str, corner: tuple[float, ...], region: bool,
    reader: str, request: gr.Request, event: gr.SelectData,
) -> Iterator[list[Any]]:  # fmt: skip
    """A click chooses the word under it; with "region" on, two clicks mark a region and read it."""
    owner = owner_of(studio.settings, request)
    _keep_typed(studio, owner, session_id, page, line, text)
    kept = studio.transcriptions.pages(owner, session_id)[page]
    scale = min(1.0, DISPLAY_WIDTH / kept.page.width_px)
    x, y = event.index[0] / scale, event.index[1] / scale
    if not region:
        lines = [k.read for k in studio.transcriptions.lines(owner, kept.id)]
        hit = line_at(lines, x, y)
        view = View(session_id, page, same_page=True)
        if hit is not None:
            view = View(session_id, page, hit, word_at(lines[hit], x, y), same_page=True)
        yield [*render(studio, owner, view), ()]
        return
    if not corner:
        dot = Box(x - 4 / scale, y - 4 / scale, x + 4 / scale, y + 4 / scale)
        status = status_html("Now click the opposite corner.", None)
        yield [*render(studio, owner, View(session_id, page, line, status=status, region=dot)), (x, y)]
        return
    box = Box(min(x, corner[0]), min(y, corner[1]), max(x, corner[0]), max(y, corner[1]))
    status = status_html("Reading the region ...", None)
    yield [*render(studio, owner, View(session_id, page, line, status=status, region=box)), ()]
    added = studio.transcriptions.read_region(owner, kept.id, box, reader or "auto")
    ids = [k.id for k in studio.transcriptions.lines(owner, kept.id)]
    yield [*render(studio, owner, View(session_id, page, ids.index(added[0].id))), ()]


def _find_line(studio: Studio, owner: str, session_id: str, page: int, line: int) -> KeptLine | None:
    pages = studio.transcriptions.pages(owner, session_id) if session_id else ()
    lines = studio.transcriptions.lines(owner, pages[page].id) if 0 <= page < len(pages) else ()
    return lines[line] if 0 <= line < len(lines) else None


def _line(studio: Studio, owner: str, session_id: str, page: int, line: int) -> KeptLine:
    """Raises InvalidRequest where no line is chosen."""
    found = _find_line(studio, owner, session_id, page, line)
    if found is None:
        raise InvalidRequest("No line is chosen.", "Click a line on the page or in the text.")
    return found


def _keep_typed(studio: Studio, owner: str, session_id: str, page: int, line: int, text: str) -> None:
    """Leaving a line keeps what was typed into it, as Enter does; an emptied field is no correction."""
    found = _find_line(studio, owner, session_id, page, line)
    if found is not None and text.strip() and text.strip() != found.reading.text:
        studio.transcriptions.correct(owner, found.id, text)


def keep_line(
    studio: Studio, session_id: str, page: int, line: int, text: str, request: gr.Request
) -> list[Any]:
    """Enter: keep what stands in the field, go to the next line."""
    owner = owner_of(studio.settings, request)
    studio.transcriptions.correct(owner, _line(studio, owner, session_id, page, line).id, text)
    pages = studio.transcriptions.pages(owner, session_id)
    last = len(studio.transcriptions.lines(owner, pages[page].id)) - 1
    return render(studio, owner, View(session_id, page, min(line + 1, last), same_page=True))


def take_alternative(
    studio: Studio, session_id: str, page: int, line: int, text: str, request: gr.Request, event: gr.EventData
) -> list[Any]:
    """A chip was clicked: that word becomes the alternative, and the rest stays as it was typed."""
    owner = owner_of(studio.settings, request)
    kept = _line(studio, owner, session_id, page, line)
    number, choice = int(event.word), int(event.choice)
    read = [word.text for word in kept.reading.words]
    words = text.split() if len(text.split()) == len(read) else read
    words[number] = kept.reading.words[number].alternatives[choice].text
    studio.transcriptions.correct(owner, kept.id, " ".join(words))
    return render(studio, owner, View(session_id, page, line, same_page=True))


def undo(studio: Studio, session_id: str, page: int, line: int, text: str, request: gr.Request) -> list[Any]:
    """Back to the version before; what was typed and not yet kept becomes one, so that redo brings it back."""
    owner = owner_of(studio.settings, request)
    _keep_typed(studio, owner, session_id, page, line, text)
    studio.transcriptions.undo(owner, _line(studio, owner, session_id, page, line).id)
    return render(studio, owner, View(session_id, page, line, same_page=True))


def redo(studio: Studio, session_id: str, page: int, line: int, request: gr.Request) -> list[Any]:
    owner = owner_of(studio.settings, request)
    studio.transcriptions.redo(owner, _line(studio, owner, session_id, page, line).id)
    return render(studio, owner, View(session_id, page, line, same_page=True))


def reread_line(
    studio: Studio, session_id: str, page: int, line: int, text: str, reader: str, request: gr.Request
) -> Iterator[list[Any]]:
    owner = owner_of(studio.settings, request)
    _keep_typed(studio, owner, session_id, page, line, text)
    kept = _line(studio, owner, session_id, page, line)
    studio.transcriptions.reread(owner, kept.id, reader)
    yield render(studio, owner, View(session_id, page, line, same_page=True))


def compare(
    studio: Studio, session_id: str, page: int, line: int, text: str, reference: str, request: gr.Request
) -> str:
    owner = owner_of(studio.settings, request)
    _keep_typed(studio, owner, session_id, page, line, text)
    pages = studio.transcriptions.pages(owner, session_id)
    found, spans = studio.transcriptions.compare(owner, pages[page].id, reference)
    told = (
        f"Character error rate {found.cer:.1%} of {found.characters} characters, "
        f"word error rate {found.wer:.1%} of {found.words} words."
    )
    return f'<p class="studio-hint">{escape(told)}</p>' + diff_html(spans)


def export(
    studio: Studio, session_id: str, page: int, line: int, text: str, kind: str, request: gr.Request
) -> Any:
    """Write the export where Gradio may serve it from; a folder of its own keeps names apart."""
    owner = owner_of(studio.settings, request)
    _keep_typed(studio, owner, session_id, page, line, text)
    content, name = studio.transcriptions.export(owner, session_id, kind)
    path = Path(tempfile.mkdtemp(prefix="vlm-studio-")) / name
    path.write_bytes(content)
    return gr.update(value=str(path), visible=True)


def api_transcribe(
    studio: Studio, files: list[gr.FileData], reader: str = "auto", hand: str = ACTIVE,
    request: gr.Request | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Read images and PDFs. Returns what `transcribe --format json` prints.

    `hand` is the id of an adapter of yours (see /adapters), ``base``, or ``active`` (as chosen in Teach).
    """
    owner = owner_of(studio.settings, request)
    taken = studio.transcriptions.add_files(owner, "", uploads_of(files))
    remember(studio, owner, "", taken.session_id, hand)
    if not taken.kept:
        raise InvalidRequest(" ".join(taken.problems) or "No file was sent.", "Send images or PDFs.")
    for _ in studio.transcriptions.start(owner, taken.session_id, reader).follow():
        pass
    pages = []
    for kept in studio.transcriptions.pages(owner, taken.session_id):
        reading = studio.transcriptions.reading(owner, kept.id)
        if reading is not None:
            pages.append(FilePage(kept.filename, reading))
    return {**json_value(pages), "session": taken.session_id, "problems": list(taken.problems)}
