"""What happens on each click of the Transcribe tab: plain values in, a page update out."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from vlm_studio.core.documents import Box, Line, LineReading, ReadLine
from vlm_studio.core.errors import InvalidRequest, NotFound
from vlm_studio.core.sessions import KeptLine, KeptPage
from vlm_studio.studio import Studio
from vlm_studio.tasks.export import FilePage, json_value
from vlm_studio.tasks.live import LiveRun
from vlm_studio.tasks.transcribe import LineRead, LinesFound
from vlm_studio.tasks.transcribe_session import Progress
from vlm_studio.ui.shared import owner_of
from vlm_studio.views.diff import diff_html
from vlm_studio.views.page_overlay import DISPLAY_WIDTH, draw_lines, line_at
from vlm_studio.views.picture_buttons import picture_buttons_html, thumbnail_uri
from vlm_studio.views.transcript import alternatives_html, status_html, transcript_html

REFRESH_SECONDS = 0.5
"""Between two redrawings of the page while it is being read."""

PICTURED_PAGES = 24

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


@dataclass(frozen=True)
class View:
    """All that the tab shows of a session at one moment."""

    session_id: str
    page_index: int = 0
    line_index: int = -1
    status: str = ""
    running: bool = False
    live: tuple[Line | ReadLine, ...] | None = None
    """Lines of the page being read; None: the page as it is kept."""
    region: Box | None = None
    password: bool = False
    same_page: bool = False
    """The row of pages needs no redrawing."""


def render(studio: Studio, owner: str, view: View) -> list[Any]:
    """Values for `Panel.page_outputs`, in that order."""
    if not view.session_id:
        return _nothing(view.status, view.password)
    pages = studio.transcriptions.pages(owner, view.session_id)
    if not pages:
        return _nothing(view.status, view.password)
    index = min(max(view.page_index, 0), len(pages) - 1)
    kept = studio.transcriptions.lines(owner, pages[index].id)
    lines: tuple[Line | ReadLine, ...] = view.live if view.live is not None else tuple(k.read for k in kept)
    chosen = view.line_index if 0 <= view.line_index < len(lines) else None
    image = studio.transcriptions.image(owner, pages[index].id)
    overlay = draw_lines(image, lines, chosen, view.region)
    shown = transcript_html([_as_read(item) for item in lines], chosen, [k.author for k in kept])
    editing = chosen is not None and view.live is None
    return [
        view.session_id,
        gr.update(visible=False),
        gr.update(visible=True),
        view.status or _page_notes(studio, owner, pages[index].id),
        gr.update(visible=view.running),
        gr.skip() if view.same_page else _page_picker(studio, owner, pages, index),
        index,
        -1 if chosen is None else chosen,
        overlay.image,
        shown,
        gr.update(visible=editing),
        *(_editor(studio, owner, kept[chosen], image) if editing and chosen is not None else _no_line()),
        gr.update(visible=view.password),
        "",
    ]


def _nothing(status: str = "", password: bool = False) -> list[Any]:
    return [
        "", gr.update(visible=True), gr.update(visible=False), "", gr.update(visible=False),
        gr.update(value="", visible=False), 0, -1, None, "", gr.update(visible=False), *_no_line(),
        gr.update(visible=password), status,
    ]  # fmt: skip


def _no_line() -> list[Any]:
    return [None, "", "", gr.update(interactive=False), gr.update(interactive=False), ""]


def _editor(studio: Studio, owner: str, kept: KeptLine, image: Image.Image) -> list[Any]:
    """Strip, text, alternatives, undo, redo, history."""
    box = kept.line.box
    pad = 0.25 * box.height
    area = (box.left - pad, box.top - pad, box.right + pad, box.bottom + pad)
    strip = image.crop(
        (
            int(max(0, area[0])),
            int(max(0, area[1])),
            int(min(image.width, area[2])),
            int(min(image.height, area[3])),
        )
    )
    changes = studio.transcriptions.changes(owner, kept.id)
    history = f"Read by {escape(kept.writer)}." if kept.author == "reader" else "Put right by you:"
    return [
        strip,
        kept.reading.text,
        alternatives_html(kept.reading),
        gr.update(value="Undo", interactive=kept.can_undo),
        gr.update(value="Redo", interactive=kept.can_redo),
        f'<p class="studio-hint">{history}</p>' + (diff_html(changes) if changes else ""),
    ]


def _as_read(item: Line | ReadLine) -> ReadLine:
    if isinstance(item, ReadLine):
        return item
    return ReadLine(item, LineReading("", 0.0, (), "", ("waiting",)))


def _page_picker(studio: Studio, owner: str, pages: Sequence[KeptPage], chosen: int) -> Any:
    """Small pictures of the pages; of a long document only numbers, so that a redraw stays light."""
    items = []
    for number, page in enumerate(pages, start=1):
        pictured = len(pages) <= PICTURED_PAGES
        uri = thumbnail_uri(studio.transcriptions.image(owner, page.id), 110) if pictured else ""
        items.append((uri, str(number)))
    return gr.update(value=picture_buttons_html(items, chosen, "Pages"), visible=len(pages) > 1)


def _page_notes(studio: Studio, owner: str, page_id: str) -> str:
    reading = studio.transcriptions.reading(owner, page_id)
    if reading is None:
        return status_html("Not read yet.", None)
    words = [word for read in reading.lines for word in read.reading.words]
    doubtful = sum(word.doubtful for word in words)
    told = f"Read by {reading.reader} in {reading.seconds:.1f} s."
    if doubtful:
        told += f" {doubtful} of {len(words)} words are in doubt and marked."
    return status_html(" ".join((told, *reading.notes)), None)


def read_files(
    studio: Studio, files: list[str] | None, session_id: str, reader: str, password: str, request: gr.Request
) -> Iterator[list[Any]]:
    """Files were dropped or chosen: keep them, then read them while the page is watched."""
    if not files:
        return
    owner = owner_of(studio.settings, request)
    given = [(Path(path).name, Path(path).read_bytes()) for path in files]
    taken = studio.transcriptions.add_files(owner, session_id, given, password)
    problems = " ".join(taken.problems)
    if not taken.pages:
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
    studio: Studio, photo: str | None, session_id: str, reader: str, password: str, request: gr.Request
) -> Iterator[list[Any]]:
    yield from read_files(studio, [photo] if photo else None, session_id, reader, password, request)


def read_example(
    studio: Studio, session_id: str, reader: str, password: str, request: gr.Request, event: gr.EventData
) -> Iterator[list[Any]]:
    path, _ = example_items(studio)[int(event.index)]
    yield from read_files(studio, [path], "", reader, "", request)


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
    """A session was chosen elsewhere in the app."""
    kind, _, session_id = opened.partition("/")
    if kind == "transcribe" and session_id:
        yield from _open(studio, owner_of(studio.settings, request), session_id.split("/")[0])


def open_from_address(studio: Studio, request: gr.Request) -> Iterator[list[Any]]:
    """The page was loaded: show the session of its address, and join a reading that is under way."""
    session_id = str(dict(request.query_params).get("session", ""))
    owner = owner_of(studio.settings, request)
    if session_id:
        try:
            yield from _open(studio, owner, session_id)
        except NotFound:
            yield _nothing()


def _open(studio: Studio, owner: str, session_id: str) -> Iterator[list[Any]]:
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
    yield render(studio, owner, View(session_id))


def stop(studio: Studio, session_id: str, request: gr.Request) -> None:
    studio.transcriptions.stop(owner_of(studio.settings, request), session_id)


def start_anew() -> list[Any]:
    return _nothing()


def choose_page(studio: Studio, session_id: str, request: gr.Request, event: gr.EventData) -> list[Any]:
    return render(studio, owner_of(studio.settings, request), View(session_id, int(event.index)))


def choose_line(
    studio: Studio, session_id: str, page: int, line: int, request: gr.Request, event: gr.EventData
) -> list[Any]:
    return render(studio, owner_of(studio.settings, request), View(session_id, page, int(event.index)))


def click_page(
    studio: Studio, session_id: str, page: int, line: int, corner: tuple[float, ...], region: bool, reader: str,
    request: gr.Request, event: gr.SelectData,
) -> Iterator[list[Any]]:  # fmt: skip
    """A click chooses the line under it; with "region" on, two clicks mark a region and read it."""
    owner = owner_of(studio.settings, request)
    kept = studio.transcriptions.pages(owner, session_id)[page]
    scale = min(1.0, DISPLAY_WIDTH / kept.page.width_px)
    x, y = event.index[0] / scale, event.index[1] / scale
    if not region:
        lines = [k.read for k in studio.transcriptions.lines(owner, kept.id)]
        hit = line_at(lines, x, y)
        yield [*render(studio, owner, View(session_id, page, -1 if hit is None else hit)), ()]
        return
    if not corner:
        dot = Box(x - 4 / scale, y - 4 / scale, x + 4 / scale, y + 4 / scale)
        status = status_html("Now click the opposite corner.", None)
        yield [*render(studio, owner, View(session_id, page, line, status, region=dot)), (x, y)]
        return
    box = Box(min(x, corner[0]), min(y, corner[1]), max(x, corner[0]), max(y, corner[1]))
    status = status_html("Reading the region ...", None)
    yield [*render(studio, owner, View(session_id, page, line, status, region=box)), ()]
    added = studio.transcriptions.read_region(owner, kept.id, box, reader or "auto")
    ids = [k.id for k in studio.transcriptions.lines(owner, kept.id)]
    yield [*render(studio, owner, View(session_id, page, ids.index(added[0].id))), ()]


def _line(studio: Studio, owner: str, session_id: str, page: int, line: int) -> KeptLine:
    """Raises InvalidRequest where no line is chosen."""
    pages = studio.transcriptions.pages(owner, session_id)
    lines = studio.transcriptions.lines(owner, pages[page].id) if 0 <= page < len(pages) else ()
    if not 0 <= line < len(lines):
        raise InvalidRequest("No line is chosen.", "Click a line on the page or in the text.")
    return lines[line]


def keep_line(
    studio: Studio, session_id: str, page: int, line: int, text: str, request: gr.Request
) -> list[Any]:
    """Enter: keep what stands in the field, go to the next line."""
    owner = owner_of(studio.settings, request)
    studio.transcriptions.correct(owner, _line(studio, owner, session_id, page, line).id, text)
    pages = studio.transcriptions.pages(owner, session_id)
    last = len(studio.transcriptions.lines(owner, pages[page].id)) - 1
    return render(studio, owner, View(session_id, page, min(line + 1, last)))


def take_alternative(
    studio: Studio, session_id: str, page: int, line: int, text: str, request: gr.Request, event: gr.EventData
) -> list[Any]:
    """A chip was clicked: that word becomes the alternative."""
    owner = owner_of(studio.settings, request)
    kept = _line(studio, owner, session_id, page, line)
    words = [word.text for word in kept.reading.words]
    number, choice = int(event.word), int(event.choice)
    words[number] = kept.reading.words[number].alternatives[choice].text
    studio.transcriptions.correct(owner, kept.id, " ".join(words))
    return render(studio, owner, View(session_id, page, line))


def undo(studio: Studio, session_id: str, page: int, line: int, request: gr.Request) -> list[Any]:
    owner = owner_of(studio.settings, request)
    studio.transcriptions.undo(owner, _line(studio, owner, session_id, page, line).id)
    return render(studio, owner, View(session_id, page, line))


def redo(studio: Studio, session_id: str, page: int, line: int, request: gr.Request) -> list[Any]:
    owner = owner_of(studio.settings, request)
    studio.transcriptions.redo(owner, _line(studio, owner, session_id, page, line).id)
    return render(studio, owner, View(session_id, page, line))


def reread_line(
    studio: Studio, session_id: str, page: int, line: int, reader: str, request: gr.Request
) -> Iterator[list[Any]]:
    owner = owner_of(studio.settings, request)
    kept = _line(studio, owner, session_id, page, line)
    studio.transcriptions.reread(owner, kept.id, reader)
    yield render(studio, owner, View(session_id, page, line))


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
    studio: Studio, files: list[gr.FileData], reader: str = "auto", request: gr.Request | None = None
) -> dict[str, Any]:
    """Read images and PDFs. Returns what `transcribe --format json` prints."""
    owner = owner_of(studio.settings, request)
    given = [(Path(f.orig_name or f.path).name, Path(f.path).read_bytes()) for f in files]
    taken = studio.transcriptions.add_files(owner, "", given)
    if not taken.pages:
        raise InvalidRequest(" ".join(taken.problems) or "No file was sent.", "Send images or PDFs.")
    for _ in studio.transcriptions.start(owner, taken.session_id, reader).follow():
        pass
    pages = []
    for kept in studio.transcriptions.pages(owner, taken.session_id):
        reading = studio.transcriptions.reading(owner, kept.id)
        if reading is not None:
            pages.append(FilePage(kept.filename, reading))
    return {**json_value(pages), "session": taken.session_id, "problems": list(taken.problems)}
