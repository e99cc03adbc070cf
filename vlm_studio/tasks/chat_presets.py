"""Ready-made ways of answering: a system prompt and how to choose words."""

from __future__ import annotations

from dataclasses import dataclass, field

from vlm_studio.core.conversation import GenParams


@dataclass(frozen=True, slots=True)
class Preset:
    name: str
    system: str
    params: GenParams = field(default_factory=GenParams)


PRESETS: tuple[Preset, ...] = (
    Preset("Plain", ""),
    Preset("Short", "Answer in one short sentence.", GenParams(max_new_tokens=64)),
    Preset(
        "Only what is written",
        "Answer only with what is written in the images. Quote it. Where it is not written there, say so.",
    ),
    Preset(
        "Transcriber", "Copy the text of the images exactly, line by line, with its spelling. Add nothing."
    ),
    Preset(
        "Explain simply", "Explain in simple words, as to a child of ten.", GenParams(repetition_penalty=1.1)
    ),
    Preset("Free hand", "", GenParams(temperature=0.8, top_p=0.95, repetition_penalty=1.1)),
)


def preset(name: str) -> Preset:
    """The one with this name; the first where there is none."""
    return next((p for p in PRESETS if p.name == name), PRESETS[0])
