"""What happens on each click of the Frozen vs LoRA tab."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import gradio as gr

from vlm_studio.core.errors import InvalidRequest
from vlm_studio.core.sessions import TrainingLine
from vlm_studio.studio import Studio
from vlm_studio.tasks.compare import BASE, reading_ask, what_holds
from vlm_studio.tasks.compare_input import Piece, piece, pieces
from vlm_studio.ui.shared import owner_of, upload_path
from vlm_studio.views.adapt import StripRow, strip_list_html
from vlm_studio.views.compare import comparison_html, lessons_html, lines_html, paper_html
from vlm_studio.views.picture_buttons import thumbnail_uri
from vlm_studio.views.transcript import status_html

TAB = "Frozen vs LoRA"
STRIP_PIXELS = 520
LISTED = 40
NOTHING_YET = '<p class="studio-empty">Give a picture of a line, choose two sides, and compare.</p>'


def choices(studio: Studio) -> list[tuple[str, str]]:
    labels = {BASE: "base (no adapter)", "reading": "reading (LoRA)", "frozen": "frozen (connector only)"}
    return [(labels.get(name, name), name) for name in studio.comparing.choices]


def first_adapter(studio: Studio) -> str:
    names = studio.comparing.choices
    return "reading" if "reading" in names else names[-1]


def tab_chosen(studio: Studio, request: gr.Request, event: gr.EventData) -> list[Any]:
    if event.value != TAB:
        return [gr.skip()] * 3
    owner = owner_of(studio.settings, request)
    lines = studio.adapting.lines(owner)[::-1][:LISTED]
    named = [(entry.line.text[:80], entry.line.line_id) for entry in lines]
    listed = choices(studio)
    return [gr.update(choices=named), gr.update(choices=listed), gr.update(choices=listed)]


def show_strips(studio: Studio, picture: str | None, corrected: str | None, request: gr.Request) -> list[Any]:
    """Another input: its lines, the first chosen, and what is known to stand there."""
    if not picture and not corrected:
        return [gr.update(value="", visible=False), "0", gr.skip()]
    found, reference = _given(studio, owner_of(studio.settings, request), picture, corrected)
    return [_strips(found, 0), "0", reference or gr.skip()]


def choose_strip(
    studio: Studio, picture: str | None, corrected: str | None, request: gr.Request, event: gr.EventData
) -> list[Any]:
    number = int(event.line)
    found, _ = _given(studio, owner_of(studio.settings, request), picture, corrected)
    return [_strips(found, number), str(number), gr.skip()]


def _strips(found: Sequence[Piece], chosen: int) -> Any:
    if len(found) < 2:
        return gr.update(value="", visible=False)
    rows = [
        StripRow(str(n), thumbnail_uri(p.image, STRIP_PIXELS), f"Line {n + 1}", "compared" if n == chosen else "", n != chosen)
        for n, p in enumerate(found)
    ]  # fmt: skip
    return gr.update(value=strip_list_html(rows, "Lines of the picture", ""), visible=True)


def _given(
    studio: Studio, owner: str, picture: str | None, corrected: str | None
) -> tuple[tuple[Piece, ...], str]:
    """(lines, what stands there, where a person put it right). A picture counts before a corrected line."""
    if picture:
        card = studio.comparing.card
        data = Path(picture).read_bytes()
        return pieces(data, Path(picture).name, studio.settings.limits, studio.transcriber.finder, card), ""
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
    studio: Studio, picture: str | None, corrected: str | None, chosen: str, prompt: str, reference: str, left: str,
    right: str, strength: float, request: gr.Request,
) -> Iterator[str]:  # fmt: skip
    """The chosen line both ways."""
    owner = owner_of(studio.settings, request)
    yield status_html("Running both sides ...", 0.1)
    found, known = _given(studio, owner, picture, corrected)
    here = found[min(int(chosen or 0), len(found) - 1)]
    written = [row for row in (reference or known).splitlines() if row.strip()]
    wanted = written[int(chosen or 0)] if len(written) == len(found) else " ".join(written)
    sides = studio.comparing.variant(left), studio.comparing.variant(right, strength / 100)
    result = studio.comparing.one(
        reading_ask(here.sha256, prompt or ""),
        {here.sha256: here.image},
        *sides,
        wanted,
        studio.comparing.begin(owner),
    )
    yield comparison_html(result)


def compare_all(
    studio: Studio, picture: str | None, corrected: str | None, chosen: str, prompt: str, reference: str, left: str,
    right: str, strength: float, request: gr.Request,
) -> Iterator[str]:  # fmt: skip
    """Every line both ways, with the letters that are mixed up where a reference is given."""
    owner = owner_of(studio.settings, request)
    yield status_html("Reading every line twice ...", 0.1)
    found, known = _given(studio, owner, picture, corrected)
    written = [row for row in (reference or known).splitlines() if row.strip()]
    sides = studio.comparing.variant(left), studio.comparing.variant(right, strength / 100)
    result = studio.comparing.lines([p.image for p in found], *sides, written, studio.comparing.begin(owner))
    yield lines_html(result, [thumbnail_uri(p.image, STRIP_PIXELS) for p in found])


def stop(studio: Studio, request: gr.Request) -> None:
    studio.comparing.stop(owner_of(studio.settings, request))


def lessons(studio: Studio) -> str:
    """Our curves and the paper's table; nothing is loaded for it."""
    found = studio.lessons()
    return lessons_html(found, studio.nano_parameters) + paper_html(what_holds(found))


def measure(studio: Studio) -> str:
    """How far each layer moved, which needs the model in memory."""
    found = studio.lessons(measured=True)
    return lessons_html(found, studio.nano_parameters) + paper_html(what_holds(found))


def api_compare(
    studio: Studio, picture: gr.FileData, left: str = BASE, right: str = "reading", strength: float = 100,
    reference: str = "", prompt: str = "", request: gr.Request | None = None,
) -> dict[str, Any]:  # fmt: skip
    """The first line of a picture without and with an adapter: texts, error rates, the chance of each word."""
    owner = owner_of(studio.settings, request)
    path = str(upload_path(picture))
    found, _ = _given(studio, owner, path, None)
    sides = studio.comparing.variant(left), studio.comparing.variant(right, strength / 100)
    ask = reading_ask(found[0].sha256, prompt or "")
    return asdict(studio.comparing.one(ask, {found[0].sha256: found[0].image}, *sides, reference))
