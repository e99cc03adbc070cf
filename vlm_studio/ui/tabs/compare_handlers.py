"""What happens on each click of the Frozen vs LoRA tab."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import gradio as gr
from PIL import Image

from vlm_studio.core.comparison import Comparison, KeptComparison, LinesComparison
from vlm_studio.core.comparison_json import comparison_value
from vlm_studio.core.errors import Cancelled, StudioError
from vlm_studio.studio import Studio
from vlm_studio.tasks.compare import BASE, Choice, reading_ask
from vlm_studio.tasks.compare_input import Given, Piece, given
from vlm_studio.tasks.compare_lessons import what_holds
from vlm_studio.tasks.scoring import difference
from vlm_studio.ui.shared import COMPARE_WITH, owner_of
from vlm_studio.ui.tabs import compare_given as source
from vlm_studio.ui.tabs.compare_given import HELD, Picture
from vlm_studio.views.adapt import StripRow, strip_list_html
from vlm_studio.views.compare import comparison_html, lessons_html, lines_html, paper_html
from vlm_studio.views.picture_buttons import thumbnail_uri
from vlm_studio.views.transcript import status_html

log = logging.getLogger(__name__)

TAB = "Frozen vs LoRA"
KIND = "compare"
STRIP_PIXELS = 520
LISTED = 40
LABELS = {
    BASE: "base (no adapter)",
    "reading": "reading (LoRA)",
    "frozen": "frozen (connector)",
}
NOTHING_YET = (
    '<p class="studio-empty">Give a picture of a line, choose two sides, and compare. '
    "What was compared before is in Sessions.</p>"
)


def labelled(choices: Sequence[Choice]) -> list[tuple[str, str]]:
    """For a dropdown; hands say that they are some, and which where two are called the same."""
    titles = [choice.title for choice in choices]
    named = []
    for choice in choices:
        label = LABELS.get(choice.name, choice.title)
        if choice.part == "reader":
            label = f"{choice.title} (hand)"
            if titles.count(choice.title) > 1:
                label = f"{choice.title} (hand …{choice.name[-4:]})"
        named.append((label, choice.name))
    return named


def first_adapter(studio: Studio) -> str:
    names = [choice.name for choice in studio.comparing.choices("")]
    return "reading" if "reading" in names else names[-1]


def tab_chosen(studio: Studio, left: str, right: str, request: gr.Request, event: gr.EventData) -> list[Any]:
    """Corrected lines and adapters anew: both may have changed in other tabs."""
    if event.value != TAB:
        return [gr.skip()] * 3
    return _choices(studio, owner_of(studio.settings, request), left, right)


def _choices(studio: Studio, owner: str, left: str, right: str) -> list[Any]:
    """Corrected lines and both sides, as they are now."""
    sides = _sides(studio, owner, left, right)
    return [_corrected(studio, owner, *(side["value"] for side in sides)), *sides]


def _corrected(studio: Studio, owner: str, left: str, right: str) -> Any:
    """The dropdown of lines that were put right: those kept back together, then each, newest first."""
    held = source.corrections(studio, owner, left, right).kept_back()
    together = [(held.told, HELD)] if held.count else []
    lines = studio.adapting.lines(owner)[::-1][:LISTED]
    return gr.update(choices=[*together, *((entry.line.text[:80], entry.line.line_id) for entry in lines)])


def _sides(studio: Studio, owner: str, left: str, right: str) -> list[Any]:
    """Both dropdowns; an adapter that is gone gives way to what is there."""
    listed = labelled(studio.comparing.choices(owner))
    names = [name for _, name in listed]
    return [
        gr.update(choices=listed, value=left if left in names else BASE),
        gr.update(choices=listed, value=right if right in names else first_adapter(studio)),
    ]


def picture_given(studio: Studio, picture: Picture | None) -> list[Any]:
    """Another picture, or none: its lines, the first chosen, and nothing of what was given before.

    corrected, strips, chosen, session, kept, result. What is compared on it is kept in a session of its own.
    """
    return [None, *_begun(lambda: source.from_picture(studio, picture) if picture else given(()))]


def line_chosen(
    studio: Studio, corrected: str | None, left: str, right: str, request: gr.Request
) -> list[Any]:
    """Lines that were put right are chosen, which takes the picture away.

    picture, strips, chosen, session, kept, result.
    """
    if not corrected:
        return [gr.skip()] * 6
    owner = owner_of(studio.settings, request)
    return [None, *_begun(lambda: source.given_lines(studio, owner, None, corrected, left, right))]


def _begun(find: Callable[[], Given]) -> list[Any]:
    """Lines, the first chosen, in no session yet. What is wrong with them is said where a result would stand."""
    told, found = NOTHING_YET, given(())
    try:
        found = find()
    except StudioError as failure:
        log.info("%s", failure, exc_info=failure)
        told = status_html(str(failure), None, problem=True)
    return [_strips(found, 0), "0", "", gr.update(choices=[], value=None, visible=False), told]


def side_chosen(
    studio: Studio, corrected: str | None, left: str, right: str, request: gr.Request
) -> list[Any]:
    """Other hands had other lines kept back. corrected, strips, chosen."""
    owner = owner_of(studio.settings, request)
    listed = _corrected(studio, owner, left, right)
    if corrected != HELD:
        return [listed, gr.skip(), gr.skip()]
    return [listed, _strips(source.given_lines(studio, owner, None, HELD, left, right), 0), "0"]


def choose_strip(
    studio: Studio, picture: Picture | None, corrected: str | None, session: str, left: str, right: str,
    request: gr.Request, event: gr.EventData,
) -> list[Any]:  # fmt: skip
    number = int(event.line)
    owner = owner_of(studio.settings, request)
    found = source.given_lines(studio, owner, picture, corrected, left, right, session)
    return [_strips(found, number), str(number)]


def _strips(found: Given, chosen: int) -> Any:
    if len(found.pieces) < 2:
        return gr.update(value="", visible=False)
    rows = [
        StripRow(str(n), thumbnail_uri(p.image, STRIP_PIXELS), f"Line {n + 1}", "compared" if n == chosen else "", n != chosen)
        for n, p in enumerate(found.pieces)
    ]  # fmt: skip
    return gr.update(
        value=_note(found.note) + strip_list_html(rows, "Lines of the picture", ""), visible=True
    )


def _note(note: str) -> str:
    return status_html(note, None) if note else ""


def _problems(sentences: Sequence[str]) -> str:
    return "".join(status_html(one, None, problem=True) for one in sentences)


def compare(
    studio: Studio, picture: Picture | None, corrected: str | None, session: str, chosen: str, prompt: str,
    reference: str, left: str, right: str, strength: float, request: gr.Request,
) -> Iterator[list[Any]]:  # fmt: skip
    """The chosen line both ways."""
    owner = owner_of(studio.settings, request)

    def compared() -> list[Any]:
        cancel = studio.comparing.begin(owner)
        sides = studio.comparing.sides(owner, left, right, strength / 100)
        found = source.given_lines(studio, owner, picture, corrected, left, right, session)
        place = min(int(chosen or 0), len(found.pieces) - 1)
        here = found.pieces[place]
        wanted = found.row(reference.strip() or found.known, place)
        ask = reading_ask(here.sha256, prompt or "")
        result = studio.comparing.one(ask, {here.sha256: here.image}, sides, wanted, cancel)
        doubts = source.doubts_about(studio, owner, [here.image], picture, corrected, left, right)
        return _keep(studio, owner, session, [here], result, _problems(doubts))

    yield from _run("Running both sides ...", compared, lambda: _choices(studio, owner, left, right))


def compare_all(
    studio: Studio, picture: Picture | None, corrected: str | None, session: str, chosen: str, prompt: str,
    reference: str, left: str, right: str, strength: float, request: gr.Request,
) -> Iterator[list[Any]]:  # fmt: skip
    """Every line both ways, with the letters that are mixed up where a reference is given."""
    owner = owner_of(studio.settings, request)

    def compared() -> list[Any]:
        cancel = studio.comparing.begin(owner)
        sides = studio.comparing.sides(owner, left, right, strength / 100)
        found = source.given_lines(studio, owner, picture, corrected, left, right, session)
        strips = [piece.image for piece in found.pieces]
        wanted = found.rows(reference.strip() or found.known)
        result = studio.comparing.lines(strips, sides, wanted, cancel)
        doubts = source.doubts_about(studio, owner, strips, picture, corrected, left, right)
        return _keep(studio, owner, session, found.pieces, result, _problems(doubts) + _note(found.note))

    yield from _run("Reading every line twice ...", compared, lambda: _choices(studio, owner, left, right))


def _run(
    told: str, compared: Callable[[], list[Any]], renewed: Callable[[], list[Any]]
) -> Iterator[list[Any]]:
    """`told`, then what came of it: where a result would stand, a failure says so, and Stop is only there between.

    After a failure the choices are made anew: what was chosen may be gone.
    """
    same = [gr.skip()] * 3
    yield [status_html(told, 0.1), gr.skip(), gr.skip(), gr.update(visible=True), *same]
    ended = [gr.skip(), gr.skip(), gr.update(visible=False)]
    try:
        yield [*compared(), *same]
    except Cancelled:
        yield [status_html("Stopped.", None), *ended, *same]
    except StudioError as failure:
        log.info("%s", failure, exc_info=failure)
        yield [status_html(str(failure), None, problem=True), *ended, *renewed()]


def _keep(
    studio: Studio, owner: str, session: str, strips: Sequence[Piece], result: Comparison | LinesComparison,
    told: str,
) -> list[Any]:  # fmt: skip
    """Result with what is `told` of it, session, the list of what was compared on this picture, and no Stop."""
    title = f"{result.left.label} / {result.right.label}: {result.right.text}"
    kept = studio.comparisons.keep(owner, session, " ".join(title.split()), strips, result)
    return _shown(studio, owner, kept, [p.image for p in strips], told)


def _shown(
    studio: Studio, owner: str, kept: KeptComparison, strips: Sequence[Image.Image], told: str = ""
) -> list[Any]:
    found = kept.found
    if isinstance(found, Comparison):
        html = comparison_html(found, strips[0] if strips else None)
    else:
        pictures = [thumbnail_uri(strip, STRIP_PIXELS) for strip in strips]
        html = lines_html(found, pictures, [difference(pair.left, pair.right) for pair in found.lines])
    note = '<p class="studio-hint">Kept in Sessions.</p>'
    rows = [(_told(one), one.id) for one in studio.comparisons.list(owner, kept.session_id)]
    others = gr.update(choices=rows, value=kept.id, visible=len(rows) > 1)
    return [told + html + note, kept.session_id, others, gr.update(visible=False)]


def _told(kept: KeptComparison) -> str:
    found = kept.found
    what = "one line" if isinstance(found, Comparison) else f"{len(found.lines)} lines"
    return f"{kept.created_at[11:16]} UTC, {what}: {found.left.label} / {found.right.label}"


def choose_kept(
    studio: Studio,
    comparison_id: str | None,
    picture: Picture | None,
    corrected: str | None,
    request: gr.Request,
) -> list[Any]:
    if not comparison_id:
        return [gr.skip()] * 4
    owner = owner_of(studio.settings, request)
    kept = studio.comparisons.get(owner, comparison_id)
    strips = studio.comparisons.strips(owner, kept)
    sides = [side.variant.adapter or BASE for side in (kept.found.left, kept.found.right)]
    doubts = source.doubts_about(studio, owner, strips, picture, corrected, *sides)
    return _shown(studio, owner, kept, strips, _problems(doubts))


def open_session(studio: Studio, opened: str, left: str, right: str, request: gr.Request) -> list[Any]:
    """A comparison was chosen elsewhere in the app, or an adapter to be compared.

    picture, corrected, strips, chosen, reference, left, right, result, session, kept, stop.
    """
    kind, _, rest = opened.partition("/")
    if kind != KIND or not rest:
        return [gr.skip()] * 11
    owner = owner_of(studio.settings, request)
    if opened.startswith(COMPARE_WITH):
        wanted = opened.removeprefix(COMPARE_WITH).split("/")[0]
        title = studio.adapter_store.get(owner, wanted).name
        hint = status_html(f"Choose a line or give a picture: {title} is compared with the base.", None)
        corrected, *sides = _choices(studio, owner, BASE, wanted)
        return [gr.skip(), corrected, *[gr.skip()] * 3, *sides, hint, *[gr.skip()] * 3]
    kept = studio.comparisons.list(owner, rest.split("/")[0])
    if not kept:
        return [gr.skip()] * 11
    newest = kept[0]
    strips = studio.comparisons.strips(owner, newest)
    names = [newest.found.left.variant.adapter, newest.found.right.variant.adapter]
    sides = _sides(studio, owner, names[0] or BASE, names[1] or BASE)
    if isinstance(newest.found, Comparison):
        reference = newest.found.reference
    else:
        reference = "\n".join(pair.reference for pair in newest.found.lines if pair.reference)
    return [
        None,
        None,
        _strips(given(strips), 0),
        "0",
        reference,
        *sides,
        *_shown(studio, owner, newest, strips),
    ]


def stop(studio: Studio, request: gr.Request) -> None:
    studio.comparing.stop(owner_of(studio.settings, request))


def lessons(studio: Studio, measured: bool = False) -> str:
    """Our curves and the paper's table; `measured` loads the model to say how far each layer moved."""
    found = studio.lessons(measured)
    return lessons_html(found, studio.shipped.parameters()) + paper_html(what_holds(found))


def measure(studio: Studio) -> Iterator[Any]:
    """How far each layer moved, which needs the model in memory."""
    yield gr.update(value="Measuring ...", interactive=False), gr.skip()
    yield gr.update(visible=False), lessons(studio, True)


def api_compare(
    studio: Studio, picture: gr.FileData, left: str = BASE, right: str = "reading", strength: float = 100,
    reference: str = "", prompt: str = "", lines: bool = False, request: gr.Request | None = None,
) -> dict[str, Any]:  # fmt: skip
    """The first line of a picture (`lines`: all of them, and a `note` of what is left out) without and with an adapter.

    `left` and `right` are ``base``, ``reading``, ``frozen``, or an adapter of yours by its id or name (see
    /adapters). Gives back texts, error rates, the chance of each word and where each was read.
    """
    owner = owner_of(studio.settings, request)
    sides = studio.comparing.sides(owner, left, right, strength / 100)
    found = source.from_picture(studio, picture)
    if lines:
        strips = [piece.image for piece in found.pieces]
        every = studio.comparing.lines(strips, sides, found.rows(reference))
        return {**comparison_value(every), "note": found.note}
    first = found.pieces[0]
    ask = reading_ask(first.sha256, prompt or "")
    images = {first.sha256: first.image}
    return comparison_value(studio.comparing.one(ask, images, sides, found.row(reference, 0)))
