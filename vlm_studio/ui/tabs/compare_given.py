"""What the Frozen vs LoRA tab is given to compare on: a picture, lines that were put right, or what a session kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr
from PIL import Image

from vlm_studio.core.adapters import LearnLine
from vlm_studio.core.errors import InvalidRequest
from vlm_studio.studio import Studio
from vlm_studio.tasks.compare_corrected import CorrectedLines
from vlm_studio.tasks.compare_input import Given, given, picture_lines
from vlm_studio.ui.shared import uploads_of

HELD = "held"
"""In the list of lines that were put right: all that a training kept back."""
Picture = Mapping[str, Any]
"""An upload that nobody has decoded yet."""


def corrections(studio: Studio, owner: str, left: str, right: str) -> CorrectedLines:
    """As the hands among the two sides are tested on them; the right one is what is looked at."""
    hands = {c.name: c for c in studio.comparing.choices(owner) if c.part == "reader"}
    names = dict.fromkeys((right, left))
    return CorrectedLines(studio.adapting, owner, [hands[name] for name in names if name in hands])


def from_picture(studio: Studio, picture: Picture | gr.FileData) -> Given:
    ((name, data),) = uploads_of([picture])
    return picture_lines(data, name, studio.settings.limits, studio.transcriber.finder, studio.comparing.card)


def given_lines(
    studio: Studio, owner: str, picture: Picture | None, corrected: str | None, left: str, right: str,
    session: str = "",
) -> Given:  # fmt: skip
    """The lines of a picture, lines that were put right, or what was kept."""
    if picture:
        return from_picture(studio, picture)
    if not corrected and session:
        kept = studio.comparisons.list(owner, session)
        longest = max(kept, key=lambda one: len(one.images), default=None)
        if longest is not None:
            return given(studio.comparisons.strips(owner, longest))
    mine = corrections(studio, owner, left, right)
    if corrected == HELD:
        held = mine.kept_back()
        if held.count:
            return held.given
    return mine.line(_line(studio, owner, corrected))


def _line(studio: Studio, owner: str, line_id: str | None) -> LearnLine:
    found = next((e for e in studio.adapting.lines(owner) if e.line.line_id == line_id), None)
    if found is None:
        raise InvalidRequest(
            "There is nothing to compare on.", "Give a picture, or choose a line you put right."
        )
    return found


def doubts_about(
    studio: Studio, owner: str, strips: Sequence[Image.Image], picture: Picture | None, corrected: str | None,
    left: str, right: str,
) -> list[str]:  # fmt: skip
    """What a person should know before believing that a hand reads its owner's own lines so well."""
    if picture or not corrected:
        return []
    line, written_at = None, ""
    if corrected != HELD:
        line = _line(studio, owner, corrected)
        versions = studio.transcripts.versions(owner, corrected)
        written_at = next(version.created_at for version in versions if version.author == "person")
    return corrections(studio, owner, left, right).doubts(strips, line, written_at)
