"""What happens on each click of the Frozen vs LoRA tab."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from vlm_studio.core.comparison import Comparison, KeptComparison, LinesComparison
from vlm_studio.core.comparison_json import comparison_value
from vlm_studio.core.errors import Cancelled, InvalidRequest, StudioError
from vlm_studio.core.sessions import TrainingLine
from vlm_studio.studio import Studio
from vlm_studio.tasks.compare import BASE, MOST_LINES, Choice, reading_ask
from vlm_studio.tasks.compare_input import Piece, piece, pieces
from vlm_studio.tasks.compare_lessons import what_holds
from vlm_studio.tasks.scoring import difference
from vlm_studio.ui.shared import COMPARE_WITH, owner_of, upload_path
from vlm_studio.views.adapt import StripRow, strip_list_html
from vlm_studio.views.compare import comparison_html, lessons_html, lines_html, paper_html
from vlm_studio.views.picture_buttons import thumbnail_uri
from vlm_studio.views.transcript import status_html

log = logging.getLogger(__name__)

TAB = "Frozen vs LoRA"
KIND = "compare"
STRIP_PIXELS = 520
LISTED = 40
HELD = "held"
"""In the list of lines that were put right: all that no training learns from."""
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
    owner = owner_of(studio.settings, request)
    return [_corrected(studio, owner), *_sides(studio, owner, left, right)]


def _corrected(studio: Studio, owner: str) -> Any:
    """The dropdown of lines that were put right: those kept back together, then each, newest first."""
    held = _held(studio, owner)
    together = [(f"all {len(held)} lines kept back to test on", HELD)] if held else []
    lines = studio.adapting.lines(owner)[::-1][:LISTED]
    return gr.update(choices=[*together, *((entry.line.text[:80], entry.line.line_id) for entry in lines)])


def _held(studio: Studio, owner: str) -> Sequence[TrainingLine]:
    return studio.adapting.split(owner).held[:MOST_LINES]


def _sides(studio: Studio, owner: str, left: str, right: str) -> list[Any]:
    """Both dropdowns; an adapter that is gone gives way to what is there."""
    listed = labelled(studio.comparing.choices(owner))
    names = [name for _, name in listed]
    return [
        gr.update(choices=listed, value=left if left in names else BASE),
        gr.update(choices=listed, value=right if right in names else first_adapter(studio)),
    ]


def show_strips(
    studio: Studio, picture: str | None, corrected: str | None, session: str, request: gr.Request
) -> list[Any]:
    """Another input: its lines, the first chosen; what is compared on it is kept in a session of its own."""
    if not picture and not corrected:
        # The strips of a session that was opened stay.
        return [gr.skip()] * 4 if session else [gr.update(value="", visible=False), "0", gr.skip(), gr.skip()]
    found, _ = _given(studio, owner_of(studio.settings, request), picture, corrected)
    return [_strips(found, 0), "0", "", gr.update(choices=[], value=None, visible=False)]


def choose_strip(
    studio: Studio, picture: str | None, corrected: str | None, session: str, request: gr.Request,
    event: gr.EventData,
) -> list[Any]:  # fmt: skip
    number = int(event.line)
    found, _ = _given(studio, owner_of(studio.settings, request), picture, corrected, session)
    return [_strips(found, number), str(number)]


def _strips(found: Sequence[Piece], chosen: int) -> Any:
    if len(found) < 2:
        return gr.update(value="", visible=False)
    rows = [
        StripRow(str(n), thumbnail_uri(p.image, STRIP_PIXELS), f"Line {n + 1}", "compared" if n == chosen else "", n != chosen)
        for n, p in enumerate(found)
    ]  # fmt: skip
    return gr.update(value=strip_list_html(rows, "Lines of the picture", ""), visible=True)


def _given(
    studio: Studio, owner: str, picture: str | None, corrected: str | None, session: str = ""
) -> tuple[tuple[Piece, ...], str]:
    """(lines, what stands there, where a person put it right): of a picture, corrected lines, or what was kept."""
    if picture:
        card = studio.comparing.card
        data = Path(picture).read_bytes()
        return pieces(data, Path(picture).name, studio.settings.limits, studio.transcriber.finder, card), ""
    if not corrected and session:
        kept = studio.comparisons.list(owner, session)
        longest = max(kept, key=lambda one: len(one.images), default=None)
        if longest is not None:
            return tuple(map(piece, studio.comparisons.strips(owner, longest))), ""
    held = _held(studio, owner) if corrected == HELD else ()
    if held:
        strips = tuple(piece(studio.adapting.strip(owner, line)) for line in held)
        return strips, "\n".join(line.text for line in held)
    line = _line(studio, owner, corrected or "")
    return (piece(studio.adapting.strip(owner, line)),), line.text


def _line(studio: Studio, owner: str, line_id: str) -> TrainingLine:
    found = next((e.line for e in studio.adapting.lines(owner) if e.line.line_id == line_id), None)
    if found is None:
        raise InvalidRequest(
            "There is nothing to compare on.", "Give a picture, or choose a line you put right."
        )
    return found


def compare(
    studio: Studio, picture: str | None, corrected: str | None, session: str, chosen: str, prompt: str, reference: str,
    left: str, right: str, strength: float, request: gr.Request,
) -> Iterator[list[Any]]:  # fmt: skip
    """The chosen line both ways."""
    owner = owner_of(studio.settings, request)

    def compared() -> list[Any]:
        cancel = studio.comparing.begin(owner)
        sides = studio.comparing.sides(owner, left, right, strength / 100)
        found, known = _given(studio, owner, picture, corrected, session)
        place = min(int(chosen or 0), len(found) - 1)
        here = found[place]
        written = [row for row in (reference or known).splitlines() if row.strip()]
        wanted = written[place] if len(written) == len(found) else " ".join(written)
        ask = reading_ask(here.sha256, prompt or "")
        result = studio.comparing.one(ask, {here.sha256: here.image}, sides, wanted, cancel)
        return _keep(studio, owner, session, (here,), result)

    yield from _run("Running both sides ...", compared)


def compare_all(
    studio: Studio, picture: str | None, corrected: str | None, session: str, chosen: str, prompt: str, reference: str,
    left: str, right: str, strength: float, request: gr.Request,
) -> Iterator[list[Any]]:  # fmt: skip
    """Every line both ways, with the letters that are mixed up where a reference is given."""
    owner = owner_of(studio.settings, request)

    def compared() -> list[Any]:
        cancel = studio.comparing.begin(owner)
        sides = studio.comparing.sides(owner, left, right, strength / 100)
        found, known = _given(studio, owner, picture, corrected, session)
        written = [row for row in (reference or known).splitlines() if row.strip()]
        result = studio.comparing.lines([p.image for p in found], sides, written, cancel)
        return _keep(studio, owner, session, found, result)

    yield from _run("Reading every line twice ...", compared)


def _run(told: str, compared: Callable[[], list[Any]]) -> Iterator[list[Any]]:
    """`told`, then what came of it: where a result would stand, a failure says so, and Stop is only there between."""
    yield [status_html(told, 0.1), gr.skip(), gr.skip(), gr.update(visible=True)]
    try:
        yield compared()
    except Cancelled:
        yield [status_html("Stopped.", None), gr.skip(), gr.skip(), gr.update(visible=False)]
    except StudioError as failure:
        log.info("%s", failure, exc_info=failure)
        yield [status_html(str(failure), None, problem=True), gr.skip(), gr.skip(), gr.update(visible=False)]


def _keep(
    studio: Studio, owner: str, session: str, strips: Sequence[Piece], result: Comparison | LinesComparison
) -> list[Any]:
    """Result, session, the list of what was compared on this picture, and no Stop."""
    title = f"{result.left.label} / {result.right.label}: {result.right.text}"
    kept = studio.comparisons.keep(owner, session, " ".join(title.split()), strips, result)
    return _shown(studio, owner, kept, [p.image for p in strips])


def _shown(studio: Studio, owner: str, kept: KeptComparison, strips: Sequence[Image.Image]) -> list[Any]:
    found = kept.found
    if isinstance(found, Comparison):
        html = comparison_html(found, strips[0] if strips else None)
    else:
        pictures = [thumbnail_uri(strip, STRIP_PIXELS) for strip in strips]
        html = lines_html(found, pictures, [difference(pair.left, pair.right) for pair in found.lines])
    note = '<p class="studio-hint">Kept in Sessions.</p>'
    rows = [(_told(one), one.id) for one in studio.comparisons.list(owner, kept.session_id)]
    others = gr.update(choices=rows, value=kept.id, visible=len(rows) > 1)
    return [html + note, kept.session_id, others, gr.update(visible=False)]


def _told(kept: KeptComparison) -> str:
    found = kept.found
    what = "one line" if isinstance(found, Comparison) else f"{len(found.lines)} lines"
    return f"{kept.created_at[11:16]} UTC, {what}: {found.left.label} / {found.right.label}"


def choose_kept(studio: Studio, comparison_id: str | None, request: gr.Request) -> list[Any]:
    if not comparison_id:
        return [gr.skip()] * 4
    owner = owner_of(studio.settings, request)
    kept = studio.comparisons.get(owner, comparison_id)
    return _shown(studio, owner, kept, studio.comparisons.strips(owner, kept))


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
        sides = _sides(studio, owner, BASE, wanted)
        return [gr.skip(), _corrected(studio, owner), *[gr.skip()] * 3, *sides, hint, *[gr.skip()] * 3]
    kept = studio.comparisons.list(owner, rest.split("/")[0])
    if not kept:
        return [gr.skip()] * 11
    newest = kept[0]
    strips = studio.comparisons.strips(owner, newest)
    found = tuple(map(piece, strips))
    names = [newest.found.left.variant.adapter, newest.found.right.variant.adapter]
    sides = _sides(studio, owner, names[0] or BASE, names[1] or BASE)
    if isinstance(newest.found, Comparison):
        reference = newest.found.reference
    else:
        reference = "\n".join(pair.reference for pair in newest.found.lines if pair.reference)
    return [None, None, _strips(found, 0), "0", reference, *sides, *_shown(studio, owner, newest, strips)]


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
    """The first line of a picture (`lines`: all of them) without and with an adapter.

    `left` and `right` are ``base``, ``reading``, ``frozen``, or an adapter of yours by its id or name (see
    /adapters). Gives back texts, error rates, the chance of each word and where each was read.
    """
    owner = owner_of(studio.settings, request)
    sides = studio.comparing.sides(owner, left, right, strength / 100)
    found, _ = _given(studio, owner, str(upload_path(picture)), None)
    if lines:
        written = [row for row in reference.splitlines() if row.strip()]
        return comparison_value(studio.comparing.lines([p.image for p in found], sides, written))
    ask = reading_ask(found[0].sha256, prompt or "")
    images = {found[0].sha256: found[0].image}
    return comparison_value(studio.comparing.one(ask, images, sides, reference))
