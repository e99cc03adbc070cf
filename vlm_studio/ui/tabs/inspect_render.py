"""What the Inspect tab shows of a view, component by component."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

import gradio as gr
from PIL import Image

from vlm_studio.core.sessions import KeptPage
from vlm_studio.studio import Studio
from vlm_studio.tasks.inspect_look import Chosen, Look, Method
from vlm_studio.tasks.inspect_tokens import crop_tokens, seen_by
from vlm_studio.ui.tabs import inspect_pictures as pictures
from vlm_studio.ui.tabs import inspect_texts as texts
from vlm_studio.views.crops import how_to_html, note_html
from vlm_studio.views.inspect_words import word_facts_html, words_html
from vlm_studio.views.picture_buttons import picture_buttons_html, thumbnail_uri
from vlm_studio.views.transcript import status_html

PICTURED_PAGES = 24
NAMES = (
    "state session_id intake workspace status stop past pages stage words facts layer close_ups belief fed crop "
    "tokens token_view atlas"
).split()
"""What `Panel.outputs` holds, in that order."""


@dataclass(frozen=True, slots=True)
class View:
    """Ids and numbers only; whose they are is checked by every task."""

    session_id: str = ""
    inspection_id: str = ""
    page: int = 0
    line: int = -1
    of: str = "answer"
    word: int = -1
    method: str = "contrast"
    layer: int = 0
    """0: all of them."""
    crop: int = 0
    token: int = -1
    region: tuple[float, ...] = ()
    """Corners in shares of the page's width and height."""

    @property
    def chosen(self) -> Chosen:
        method: Method = self.method if self.method in get_args(Method) else "contrast"  # type: ignore[assignment]
        layers = (self.layer - 1,) if self.layer > 0 else ()
        return Chosen(self.word, "question" if self.of == "question" else "answer", method, layers)


def fill(**found: Any) -> list[Any]:
    """Values for `Panel.outputs`; what is not named stays as it is."""
    assert set(found) <= set(NAMES)
    return [found.get(name, gr.skip()) for name in NAMES]


def render(studio: Studio, owner: str, view: View, status: str = "", running: bool = False) -> list[Any]:
    """The whole tab for a view."""
    if not view.session_id:
        return nothing(status)
    pages = studio.inspections.pages(owner, view.session_id)
    if not pages:
        return nothing(status)
    view = replace(view, page=min(max(view.page, 0), len(pages) - 1))
    kept = pages[view.page]
    image = studio.inspections.image(owner, kept.id)
    lines = studio.inspections.lines(owner, kept.id)
    if view.line < 0 and lines:
        view = replace(view, line=worth_asking([line.box.width for line in lines]))
    made = studio.inspections.of_session(owner, view.session_id)
    found = {
        "intake": gr.update(visible=False),
        "workspace": gr.update(visible=True),
        "status": status or _told(len(lines)),
        "stop": gr.update(visible=running),
        "past": gr.update(
            choices=[(_label(one.question, one.answer), one.id) for one in reversed(made)],
            value=view.inspection_id or None,
            visible=len(made) > 1,
        ),
        "pages": _page_picker(studio, owner, pages, view.page),
        "fed": pictures.fed_view(image, kept.id, lines, view.line, studio.inspections.tiles(image)),
        "session_id": view.session_id,
        **_looked_into(studio, owner, view, image, kept),
    }
    return fill(state=view, **found)


def worth_asking(widths: Sequence[float]) -> int:
    """The first line that is nearly as long as the longest: something to read, near the top."""
    return next(i for i, width in enumerate(widths) if width >= 0.8 * max(widths))


def _looked_into(
    studio: Studio, owner: str, view: View, image: Image.Image, kept: KeptPage
) -> dict[str, Any]:
    if not view.inspection_id:
        lines = studio.inspections.lines(owner, kept.id)
        empty = note_html(texts.NOT_ASKED)
        return {
            "stage": pictures.page_stage(image, lines, view.line, None, view.region),
            "words": "", "facts": "", "close_ups": empty, "belief": empty,
            "crop": gr.update(visible=False), "tokens": empty, "token_view": "", "atlas": "",
            "layer": gr.update(maximum=1, value=0, interactive=False),
        }  # fmt: skip
    look = studio.looking.look(owner, view.inspection_id)
    layers = len(look.trace.layer_ids)
    return {
        **word_views(studio, owner, view, look, image, kept),
        **token_views(studio, owner, view, look),
        "belief": belief_intro(view, look),
        "layer": gr.update(maximum=layers, value=min(view.layer, layers), interactive=layers > 1),
    }


def word_views(
    studio: Studio, owner: str, view: View, look: Look, image: Image.Image, kept: KeptPage
) -> dict[str, Any]:
    """Stage, words, facts and close-ups: what depends on the chosen word."""
    made = look.inspection
    lines = studio.inspections.lines(owner, kept.id)
    heat, facts = None, ""
    if view.word >= 0:
        maps = studio.looking.heat(owner, made.id, view.chosen)
        heat = next((one for one in maps if one.image_sha256 == kept.page.image_sha256), None)
        facts = note_html(texts.METHOD_HELP[view.chosen.method])
        if view.of == "answer":
            facts = word_facts_html(made.words[view.word], made.tokens) + facts
    factors: Sequence[float] = ()
    if view.region:
        region = pictures.region_box(view.region, image.size)
        factors = studio.looking.words_of_region(owner, made.id, region, view.chosen.method)
        facts = note_html("Lit words came from your region more than by chance.") + facts
    asked = [word for word, _, _ in look.question_words]
    chosen = (view.of, view.word) if view.word >= 0 else None
    return {
        "stage": pictures.page_stage(image, lines, view.line, heat, view.region),
        "words": words_html(made.words, asked, chosen, factors),
        "facts": facts,
        "close_ups": how_to_html(texts.WORDS) + pictures.close_ups(image, look, heat, kept.id),
    }


def token_views(
    studio: Studio, owner: str, view: View, look: Look, marked: Sequence[int] = (), atlas: bool = True
) -> dict[str, Any]:
    count = len(look.trace.crops)
    crop = min(max(view.crop, 0), count - 1)
    seen = seen_by(page_images(studio, owner, look), look, crop)
    tokens = crop_tokens(look, crop)
    found = {
        "tokens": pictures.token_buttons(tokens, view.token, marked),
        "token_view": pictures.token_view(seen, tokens, view.token, marked),
    }
    if atlas:
        found["crop"] = gr.update(
            choices=[(f"Crop {i + 1} of {count}", i) for i in range(count)], value=crop, visible=count > 1
        )
        found["atlas"] = pictures.atlas_view(seen, tokens)
    return found


def page_images(studio: Studio, owner: str, look: Look) -> dict[str, Image.Image]:
    return {page.id: studio.inspections.image(owner, page.id) for page in look.pages}


def belief_intro(view: View, look: Look) -> str:
    told = "Choose a word of the answer, then press the button."
    if view.of == "answer" and 0 <= view.word < len(look.inspection.words):
        told = f"The map of “{look.inspection.words[view.word].text}” has not been tested yet."
    return note_html(told)


def _told(lines: int) -> str:
    if not lines:
        return status_html("No line of writing was found on this page.", None)
    return status_html("Choose a line on the page and ask about it.", None)


def _label(question: str, answer: str) -> str:
    return f"{question[:40]} → {answer[:60] or '(nothing)'}"


def _page_picker(studio: Studio, owner: str, pages: Sequence[KeptPage], chosen: int) -> Any:
    """Small pictures of the pages; of a long document only numbers, so that a redraw stays light."""
    if len(pages) < 2:
        return gr.update(value="", visible=False)
    pictured = len(pages) <= PICTURED_PAGES
    items = [
        (thumbnail_uri(studio.inspections.image(owner, page.id), 110) if pictured else "", str(number))
        for number, page in enumerate(pages, start=1)
    ]
    return gr.update(value=picture_buttons_html(items, chosen, "Pages"), visible=True)


def nothing(status: str = "") -> list[Any]:
    """Back to the first screen."""
    return fill(
        state=View(), session_id="", intake=gr.update(visible=True), workspace=gr.update(visible=False),
        status=status, stop=gr.update(visible=False), past=gr.update(choices=[], value=None, visible=False),
        pages=gr.update(value="", visible=False), stage="", words="", facts="", close_ups="", belief="",
        fed="", crop=gr.update(visible=False), tokens="", token_view="", atlas="", layer=gr.update(value=0),
    )  # fmt: skip
