"""What the Transcribe tab shows of a session at one moment, as values for its components."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import gradio as gr
from PIL import Image

from vlm_studio.core.documents import Box, Line, LineReading, ReadLine
from vlm_studio.core.sessions import KeptLine, KeptPage
from vlm_studio.studio import Studio
from vlm_studio.views.diff import diff_html
from vlm_studio.views.page_overlay import draw_lines
from vlm_studio.views.picture_buttons import picture_buttons_html, thumbnail_uri
from vlm_studio.views.transcript import alternatives_html, status_html, transcript_html

PICTURED_PAGES = 24
STRIP_MARGIN = 0.25
"""Of a line's height: what is shown around it in the editor."""


@dataclass(frozen=True)
class View:
    """All that the tab shows of a session at one moment."""

    session_id: str
    page_index: int = 0
    line_index: int = -1
    word_index: int = -1
    """Of the chosen line; marked on the page and in the text."""
    status: str = ""
    running: bool = False
    live: tuple[Line | ReadLine, ...] | None = None
    """Lines of the page being read; None: the page as it is kept."""
    region: Box | None = None
    password: bool | None = None
    """A file waits for one; None: as before."""
    same_page: bool = False
    """The row of pages needs no redrawing, and what was made of the page stays."""


def render(studio: Studio, owner: str, view: View) -> list[Any]:
    """Values for `Panel.page_outputs`, in that order."""
    if not view.session_id:
        return nothing(view.status, bool(view.password))
    pages = studio.transcriptions.pages(owner, view.session_id)
    if not pages:
        return nothing(view.status, bool(view.password))
    index = min(max(view.page_index, 0), len(pages) - 1)
    kept = studio.transcriptions.lines(owner, pages[index].id)
    lines: tuple[Line | ReadLine, ...] = view.live if view.live is not None else tuple(k.read for k in kept)
    chosen = view.line_index if 0 <= view.line_index < len(lines) else None
    image = studio.transcriptions.image(owner, pages[index].id)
    word = _word_box(lines[chosen], view.word_index) if chosen is not None else None
    overlay = draw_lines(image, lines, chosen, view.region or word)
    shown = transcript_html(
        [_as_read(item) for item in lines], chosen, [k.author for k in kept], view.word_index
    )
    editing = chosen is not None and view.live is None
    return [
        view.session_id,
        gr.update(visible=False),
        gr.update(visible=True),
        view.status or _page_notes(studio, owner, pages[index].id),
        gr.update(value="Stop", visible=view.running),
        gr.skip() if view.same_page else _page_picker(studio, owner, pages, index),
        index,
        kept[chosen].id if editing and chosen is not None else "",
        overlay.image,
        shown,
        gr.update(visible=editing),
        *(_editor(studio, owner, kept[chosen], image) if editing and chosen is not None else _no_line()),
        gr.skip() if view.password is None else gr.update(visible=view.password),
        _shown_if(""),
        kept[chosen].reading.text if editing and chosen is not None else "",
        *((gr.skip(), gr.skip()) if view.same_page else _nothing_made()),
    ]


def nothing(status: str = "", password: bool = False) -> list[Any]:
    return [
        "", gr.update(visible=True), gr.update(visible=False), "", gr.update(visible=False),
        gr.update(value="", visible=False), 0, "", None, "", gr.update(visible=False), *_no_line(),
        gr.update(visible=password), _shown_if(status), "", *_nothing_made(),
    ]  # fmt: skip


def _nothing_made() -> list[Any]:
    """Comparison and exported file: they were of another page, or of this one as it was."""
    return ["", gr.update(value=None, visible=False)]


def _no_line() -> list[Any]:
    return [None, "", _shown_if(""), gr.update(interactive=False), gr.update(interactive=False), ""]


def _editor(studio: Studio, owner: str, kept: KeptLine, image: Image.Image) -> list[Any]:
    """Strip, text, alternatives, undo, redo, history."""
    box = kept.line.box
    pad = STRIP_MARGIN * box.height
    left, top = int(max(0, box.left - pad)), int(max(0, box.top - pad))
    right, bottom = int(min(image.width, box.right + pad)), int(min(image.height, box.bottom + pad))
    strip = image.crop((left, top, max(left + 1, right), max(top + 1, bottom)))
    changes = studio.transcriptions.changes(owner, kept.id)
    history = f"Read by {escape(kept.writer)}." if kept.author == "reader" else "Put right by you:"
    return [
        strip,
        kept.reading.text,
        _shown_if(alternatives_html(kept.reading)),
        gr.update(value="Undo", interactive=kept.can_undo),
        gr.update(value="Redo", interactive=kept.can_redo),
        f'<p class="studio-hint">{history}</p>' + (diff_html(changes) if changes else ""),
    ]


def _shown_if(html: str) -> Any:
    return gr.update(value=html, visible=bool(html))


def _word_box(item: Line | ReadLine, index: int) -> Box | None:
    words = item.reading.words if isinstance(item, ReadLine) else ()
    return words[index].box if 0 <= index < len(words) else None


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
