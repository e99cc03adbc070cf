"""What happens on each click of the Inspect tab: the view as it stands in, what changes out."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from vlm_studio.core.errors import InvalidRequest, NotFound
from vlm_studio.core.sessions import KeptPage
from vlm_studio.studio import Studio
from vlm_studio.tasks.inspect import Inspected, Step
from vlm_studio.tasks.inspect_look import Checked, Look
from vlm_studio.tasks.inspect_tokens import crop_tokens, tokens_of_pixels
from vlm_studio.tasks.inspect_walk import word_to_follow
from vlm_studio.tasks.live import LiveRun
from vlm_studio.ui.shared import owner_of
from vlm_studio.ui.tabs import inspect_pictures as pictures
from vlm_studio.ui.tabs.inspect_render import (
    View,
    belief_intro,
    fill,
    nothing,
    page_images,
    render,
    token_views,
    word_views,
)
from vlm_studio.views.heat import flat_picture, flat_svg
from vlm_studio.views.inspect_words import honesty_html
from vlm_studio.views.picture_buttons import picture_buttons_html, thumbnail_uri
from vlm_studio.views.transcript import status_html

EXAMPLES = (
    ("notebook_page.jpg", "A page of notes"),
    ("letter.jpg", "A letter"),
    ("copie_francaise.jpg", "French, real handwriting"),
)


def examples_html(studio: Studio) -> str:
    pictured = [(thumbnail_uri(Image.open(path), 420), caption) for path, caption in _examples(studio)]
    return '<p class="studio-hint">Start with one of these:</p>' + picture_buttons_html(
        pictured, None, "Examples"
    )


def _examples(studio: Studio) -> list[tuple[Path, str]]:
    folder = studio.settings.assets_dir / "examples"
    return [(folder / name, caption) for name, caption in EXAMPLES if (folder / name).exists()]


def recent_html(studio: Studio, owner: str) -> str:
    """Pages that were read before, as buttons."""
    pages = studio.inspections.recent_pages(owner)
    if not pages:
        return ""
    pictured = [
        (thumbnail_uri(studio.inspections.image(owner, page.id), 220), page.filename) for page in pages
    ]
    return '<p class="studio-hint">Or a page that you had read before:</p>' + picture_buttons_html(
        pictured, None, "Pages read before"
    )


# --- opening and asking ---------------------------------------------------------------------------------


def open_file(studio: Studio, path: str | None, view: View, request: gr.Request) -> Iterator[list[Any]]:
    """A file was dropped or chosen: show its first page, then ask about a line of it."""
    if path:
        file = Path(path)
        yield from _begin(
            studio, request, lambda owner: studio.inspections.open_file(owner, file.name, file.read_bytes())
        )


def open_example(studio: Studio, view: View, request: gr.Request, event: gr.EventData) -> Iterator[list[Any]]:
    path, _ = _examples(studio)[int(event.index)]
    yield from open_file(studio, str(path), view, request)


def open_recent(studio: Studio, view: View, request: gr.Request, event: gr.EventData) -> Iterator[list[Any]]:
    owner = owner_of(studio.settings, request)
    page = studio.inspections.recent_pages(owner)[int(event.index)]
    yield from _begin(studio, request, lambda owner: studio.inspections.open_page(owner, page.id))


def _begin(studio: Studio, request: gr.Request, opened: Callable[[str], str]) -> Iterator[list[Any]]:
    owner = owner_of(studio.settings, request)
    yield fill(
        intake=gr.update(visible=False),
        workspace=gr.update(visible=True),
        status=status_html("Finding the lines ...", 0.0),
    )
    try:
        view = View(opened(owner))
        yield render(studio, owner, view)
    except Exception:
        yield nothing()
        raise


def ask(
    studio: Studio, view: View, question: str, everything: bool, request: gr.Request
) -> Iterator[list[Any]]:
    """Ask about the chosen line, or about all of them, and look into the answer while the page is watched."""
    owner = owner_of(studio.settings, request)
    page = _page(studio, owner, view)
    lines = [] if everything or view.line < 0 else [view.line]
    run = studio.inspections.start(owner, view.session_id, page.id, lines, question or "")
    yield from _watch(studio, owner, view, run)


def _watch(studio: Studio, owner: str, view: View, run: LiveRun[object]) -> Iterator[list[Any]]:
    said = ""
    for event in run.follow():
        if isinstance(event, Step):
            said += event.text
            told = event.message + (f" “{said.strip()[-80:]}”" if said.strip() else "")
            yield fill(status=status_html(told, event.share), stop=gr.update(visible=True))
        elif isinstance(event, Inspected):
            made = event.inspection
            word = word_to_follow(made.words)
            fresh = replace(view, inspection_id=made.id, of="answer", word=word, token=-1, crop=0, region=())
            told = f"Answered in {made.seconds:.1f} s, looked into in {made.trace_seconds:.1f} s more."
            yield render(studio, owner, fresh, status_html(" ".join((told, *made.notes)), None))
            return
    yield fill(status=status_html("Stopped.", None), stop=gr.update(visible=False))


def stop(studio: Studio, view: View, request: gr.Request) -> None:
    if view.session_id:
        studio.inspections.stop(owner_of(studio.settings, request), view.session_id)


def open_session(studio: Studio, opened: str, request: gr.Request) -> Iterator[list[Any]]:
    """A session was chosen elsewhere in the app: its last answer, as it was recorded. No model is needed."""
    kind, _, session_id = opened.partition("/")
    if kind == "inspect" and session_id:
        yield from _resume(studio, owner_of(studio.settings, request), session_id.split("/")[0])


def open_from_address(studio: Studio, request: gr.Request) -> Iterator[list[Any]]:
    session_id = str(dict(request.query_params).get("inspect", ""))
    if session_id:
        try:
            yield from _resume(studio, owner_of(studio.settings, request), session_id)
        except NotFound:
            yield nothing()


def _resume(studio: Studio, owner: str, session_id: str) -> Iterator[list[Any]]:
    run = studio.inspections.running(owner, session_id)
    made = studio.inspections.of_session(owner, session_id)
    view = View(session_id)
    if made:
        view = _view_of(studio, owner, view, made[-1].id)
    yield render(studio, owner, view)
    if run is not None:
        yield from _watch(studio, owner, view, run)


def choose_past(studio: Studio, view: View, inspection_id: Any, request: gr.Request) -> list[Any]:
    """Another answer of this session, from its recording."""
    if not inspection_id:
        return fill()
    owner = owner_of(studio.settings, request)
    return render(studio, owner, _view_of(studio, owner, view, str(inspection_id)))


def _view_of(studio: Studio, owner: str, view: View, inspection_id: str) -> View:
    """The view of a kept answer: its page, its line, its first word."""
    made = studio.inspections.get(owner, inspection_id)
    ids = [page.id for page in studio.inspections.pages(owner, made.session_id)]
    fed = made.fed[0]
    page = ids.index(fed.page_id)
    lines = [line.box for line in studio.inspections.lines(owner, fed.page_id)]
    line = lines.index(fed.line.box) if fed.line is not None and fed.line.box in lines else -1
    word = word_to_follow(made.words)
    return replace(
        view, session_id=made.session_id, inspection_id=made.id, page=page, line=line, of="answer", word=word,
        token=-1, crop=0, region=(),
    )  # fmt: skip


def _page(studio: Studio, owner: str, view: View) -> KeptPage:
    pages = studio.inspections.pages(owner, view.session_id)
    return pages[min(max(view.page, 0), len(pages) - 1)]


# --- looking --------------------------------------------------------------------------------------------


def choose_page(studio: Studio, view: View, request: gr.Request, event: gr.EventData) -> list[Any]:
    owner = owner_of(studio.settings, request)
    return render(studio, owner, View(view.session_id, page=int(event.index), method=view.method))


def on_stage(studio: Studio, view: View, request: gr.Request, event: gr.EventData) -> list[Any]:
    """A click on the page chooses a line; dragging marks a region and lights up the words that came from it."""
    owner = owner_of(studio.settings, request)
    page = _page(studio, owner, view)
    image = studio.inspections.image(owner, page.id)
    lines = studio.inspections.lines(owner, page.id)
    region = _region(event)
    if region:
        view = replace(view, region=region)
    else:
        line = int(getattr(event, "line", -1))
        view = replace(view, line=line if 0 <= line < len(lines) else view.line, region=())
    found: dict[str, Any] = {"state": view}
    if view.inspection_id:
        look = studio.looking.look(owner, view.inspection_id)
        found |= word_views(studio, owner, view, look, image, page)
    else:
        found["stage"] = pictures.page_stage(image, lines, view.line, None, view.region)
    if not region:
        found["fed"] = pictures.fed_view(image, page.id, lines, view.line, studio.inspections.tiles(image))
        found["status"] = status_html(f"Line {view.line + 1} is chosen." if view.line >= 0 else "", None)
    return fill(**found)


def _region(event: gr.EventData) -> tuple[float, ...]:
    """Four shares, each 0..1; empty where nothing was drawn."""
    given = getattr(event, "region", None)
    if not isinstance(given, (list, tuple)) or len(given) != 4:
        return ()
    return tuple(min(1.0, max(0.0, float(v))) for v in given)


def choose_word(studio: Studio, view: View, request: gr.Request, event: gr.EventData) -> list[Any]:
    of = "question" if getattr(event, "of", "") == "question" else "answer"
    return _again(studio, request, replace(view, of=of, word=int(event.word), region=()))


def choose_method(studio: Studio, view: View, method: str, request: gr.Request) -> list[Any]:
    return _again(studio, request, replace(view, method=method))


def choose_layer(studio: Studio, view: View, layer: float, request: gr.Request) -> list[Any]:
    return _again(studio, request, replace(view, layer=int(layer)))


def _again(studio: Studio, request: gr.Request, view: View) -> list[Any]:
    """Redraw what depends on the chosen word, method and layer."""
    if not view.inspection_id:
        return fill(state=view)
    owner = owner_of(studio.settings, request)
    look = studio.looking.look(owner, view.inspection_id)
    page = _page(studio, owner, view)
    image = studio.inspections.image(owner, page.id)
    shown = word_views(studio, owner, view, look, image, page)
    return fill(state=view, belief=belief_intro(view, look), **shown)


def choose_crop(studio: Studio, view: View, crop: Any, request: gr.Request) -> list[Any]:
    owner = owner_of(studio.settings, request)
    look = studio.looking.look(owner, view.inspection_id)
    view = replace(view, crop=max(0, min(int(crop or 0), len(look.trace.crops) - 1)), token=-1)
    return fill(state=view, **token_views(studio, owner, view, look))


def choose_token(studio: Studio, view: View, request: gr.Request, event: gr.EventData) -> list[Any]:
    """The same token again lets go of it."""
    owner = owner_of(studio.settings, request)
    token = int(event.token)
    view = replace(view, token=-1 if token == view.token else token)
    look = studio.looking.look(owner, view.inspection_id)
    return fill(state=view, **token_views(studio, owner, view, look, atlas=False))


def on_crop(studio: Studio, view: View, request: gr.Request, event: gr.EventData) -> list[Any]:
    """Dragging over the crop names the tokens that keep those pixels; a click lets go."""
    owner = owner_of(studio.settings, request)
    look = studio.looking.look(owner, view.inspection_id)
    region = _region(event)
    view = replace(view, token=-1)
    marked: list[int] = []
    if region:
        marked = tokens_of_pixels(crop_tokens(look, view.crop), pictures.region_box(region, (1, 1)))
    return fill(state=view, **token_views(studio, owner, view, look, marked, atlas=False))


def check(studio: Studio, view: View, curves: bool, request: gr.Request) -> Iterator[str]:
    """The honesty test of the chosen word's map, with the pictures that were shown to the model."""
    owner = owner_of(studio.settings, request)
    if not view.inspection_id or view.word < 0 or view.of != "answer":
        raise InvalidRequest("No word of the answer is chosen.", "Choose one; then its map can be tested.")
    look = studio.looking.look(owner, view.inspection_id)
    yield status_html("Hiding one area after another ...", 0.0)
    for step in studio.looking.check(owner, view.inspection_id, view.chosen, curves):
        if isinstance(step, Checked):
            word = look.inspection.words[view.word].text
            yield honesty_html(step.honesty, word) + pictures.masks_view(
                page_images(studio, owner, look), look, step
            )
        else:
            yield status_html("Hiding one area after another ...", step.share)


def export(studio: Studio, view: View, kind: str, request: gr.Request) -> Any:
    """The page with the chosen word's map and a caption, as PNG or SVG."""
    owner = owner_of(studio.settings, request)
    if not view.inspection_id or view.word < 0:
        raise InvalidRequest("No word is chosen.", "Choose a word; its map can then be taken away.")
    look = studio.looking.look(owner, view.inspection_id)
    page = _page(studio, owner, view)
    image = studio.inspections.image(owner, page.id)
    heats = studio.looking.heat(owner, view.inspection_id, view.chosen)
    heat = next((one for one in heats if one.image_sha256 == page.page.image_sha256), heats[0])
    path = Path(tempfile.mkdtemp(prefix="vlm-studio-")) / f"map.{'svg' if kind == 'svg' else 'png'}"
    told = caption(look, view, page.filename)
    if kind == "svg":
        path.write_text(flat_svg(image, heat, told), "utf-8")
    else:
        flat_picture(image, heat, told).save(path)
    return gr.update(value=str(path), visible=True)


def caption(look: Look, view: View, filename: str) -> str:
    """What a picture shows, so that it can stand alone."""
    made = look.inspection
    words = [w.text for w in made.words] if view.of == "answer" else [w for w, _, _ in look.question_words]
    layer = "all layers" if view.layer == 0 else f"layer {look.trace.layer_ids[view.layer - 1] + 1}"
    source = f", {made.words[view.word].source}" if view.of == "answer" else ""
    return (
        f"Where {made.model} looked on {filename} for “{words[view.word]}”{source}. Question: “{made.question}” "
        f"Answer: “{made.answer}” Method: {view.chosen.method}, {layer}. VLM Studio."
    )


def start_anew(studio: Studio, request: gr.Request) -> list[Any]:
    return [*nothing(), recent_html(studio, owner_of(studio.settings, request)), None]


def arrive(studio: Studio, request: gr.Request) -> str:
    return recent_html(studio, owner_of(studio.settings, request))
