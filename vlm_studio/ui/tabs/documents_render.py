"""What the Documents tab shows of a session: values in, one update of the page out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import gradio as gr
from PIL import Image

from vlm_studio.core.answers import Citation
from vlm_studio.core.asked import AskedTurn, KeptDocument
from vlm_studio.core.documents import Box
from vlm_studio.core.errors import NotFound, StudioError
from vlm_studio.studio import Studio
from vlm_studio.views.documents import document_list_html, marked, turns_html
from vlm_studio.views.picture_buttons import picture_buttons_html, thumbnail_uri

OUTPUTS, NOTICE = 15, 6
"""How many values `render` gives, and which of them is the notice."""
Viewed = tuple[str, int, str, int]
"""Document id and 0-based page looked at; turn id and number of the citation that is marked."""


@dataclass(frozen=True)
class View:
    """All that the tab shows of a session at one moment."""

    session_id: str
    chosen: tuple[str, ...] = ()
    """Ids of the documents to ask; empty: all."""
    viewed: Viewed = ("", 0, "", 0)
    notice: str = ""
    locked: tuple[str, ...] | None = None
    """Files that wait for their password; None: they stay as they are, and so does what is typed for them."""
    stances: str = ""


def view_of(session_id: str, chosen: Sequence[str], viewed: Sequence[Any]) -> View:
    document, page, turn, citation = viewed
    return View(session_id, tuple(chosen), (str(document), int(page), str(turn), int(citation)))


def render(studio: Studio, owner: str, view: View) -> list[Any]:
    """Values for `Panel.shown`, in that order."""
    documents = studio.documents.documents(owner, view.session_id) if view.session_id else ()
    if not documents:
        return nothing(view)
    turns = studio.documents.turns(owner, view.session_id)
    viewed = view.viewed
    if not any(d.id == viewed[0] for d in documents):
        viewed = (documents[0].id, 0, "", 0)
    document = next(d for d in documents if d.id == viewed[0])
    turn = next((t for t in turns if t.id == viewed[2]), None)
    cited = turn.answer.citations[viewed[3]] if turn and viewed[3] < len(turn.answer.citations) else None
    picture, told = _page(studio, owner, document, viewed[1], cited)
    ids = {d.id for d in documents}
    chosen = tuple(i for i in view.chosen if i in ids)
    return [
        view.session_id,
        list(chosen),
        viewed,
        gr.update(visible=False),
        gr.update(visible=True),
        _password(view),
        view.notice,
        document_list_html(documents, chosen, document.id),
        turns_html(turns, (viewed[2], viewed[3])),
        view.stances,
        _used(studio, owner, turn, viewed[3]),
        picture,
        told,
        gr.Timer(active=any(d.waiting for d in documents)),
        _locked(view),
    ]


def nothing(view: View) -> list[Any]:
    """The tab without documents."""
    return [
        "", [], ("", 0, "", 0), gr.update(visible=True), gr.update(visible=False),
        _password(view), view.notice, "", "", "", gr.update(value="", visible=False), None, "",
        gr.Timer(active=False), _locked(view),
    ]  # fmt: skip


def _password(view: View) -> Any:
    """The field for the password: there while a file waits for it, emptied once none does."""
    if view.locked is None:
        return gr.skip()
    return gr.update(visible=True) if view.locked else gr.update(value="", visible=False)


def _locked(view: View) -> Any:
    return gr.skip() if view.locked is None else list(view.locked)


def _page(
    studio: Studio, owner: str, document: KeptDocument, index: int, cited: Citation | None
) -> tuple[Image.Image | None, str]:
    """The page with the proof marked, and what is said under it."""
    told = f"{document.name}, page {index + 1} of {document.pages}"
    try:
        image = studio.documents.image(owner, document.id, index)
    except NotFound:
        raise
    except StudioError as problem:
        return None, f'<p class="studio-hint">{escape(told)}. {escape(str(problem))}</p>'
    if cited is None or (cited.document_id, cited.page_index) != (document.id, index):
        return image, f'<p class="studio-hint">{escape(told)}</p>'
    page = studio.documents.page(owner, document.id, index)
    if page is None or not cited.boxes:
        return image, f'<p class="studio-hint">{escape(told)}</p>'
    scale = image.width / page.width
    return marked(
        image, [box.scaled(scale) for box in cited.boxes]
    ), f'<p class="studio-hint">{escape(told)}</p>'


def _used(studio: Studio, owner: str, turn: AskedTurn | None, chosen: int) -> Any:
    """Small pictures of the places that the answer rests on."""
    if turn is None or not turn.answer.citations:
        return gr.update(value="", visible=False)
    items = []
    for citation in turn.answer.citations:
        uri = ""
        try:
            image = studio.documents.image(owner, citation.document_id, citation.page_index)
            page = studio.documents.page(owner, citation.document_id, citation.page_index)
            boxes = [box.scaled(image.width / page.width) for box in citation.boxes] if page else []
            uri = thumbnail_uri(_surroundings(marked(image, boxes), boxes), 260)
        except StudioError:
            # The document was removed, or its page cannot be drawn any more; the quote stays.
            uri = ""
        items.append((uri, f"page {citation.page_index + 1}"))
    return gr.update(value=picture_buttons_html(items, chosen, "Where the answer stands"), visible=True)


def _surroundings(image: Image.Image, boxes: Sequence[Box]) -> Image.Image:
    """The part of the page around the marks."""
    if not boxes:
        return image
    area = boxes[0]
    for box in boxes[1:]:
        area = area.union(box)
    tall = max(area.height * 2.5, 0.12 * image.height)
    middle = (area.top + area.bottom) / 2
    return image.crop(
        (0, int(max(0, middle - tall / 2)), image.width, int(min(image.height, middle + tall / 2)))
    )
