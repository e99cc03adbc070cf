"""Two ways of running one model on the same input, side by side: the base and an adapter, or two adapters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from vlm_studio.core.conversation import Variant

Part = Literal["model", "reader"]
"""What the two sides are ways of: nano's language model with its connector, or its line reader."""


@dataclass(frozen=True, slots=True)
class ErrorRates:
    """Against a reference; 0.. , above 1 where more is wrong than was written."""

    cer: float
    wer: float


@dataclass(frozen=True, slots=True)
class Side:
    """One way and what came of it."""

    label: str
    variant: Variant
    text: str
    seconds: float
    tokens: int
    rates: ErrorRates | None = None
    """None where there is no reference."""
    signed: str = ""
    """Of a hand adapter: how readings by it are signed, with the hash of its weights."""


@dataclass(frozen=True, slots=True)
class WordChance:
    """A word of the right answer, with the probability that either side gives it at its place, 0-1."""

    text: str
    left: float
    right: float


@dataclass(frozen=True, slots=True)
class WordShift:
    """Where on the strip either side takes a word of the right answer from."""

    text: str
    left: tuple[float, ...]
    right: tuple[float, ...]
    """0-1 on one scale for both. As many values either way, each for an equal share of the strip's width."""

    @property
    def moved(self) -> float:
        """Share of both maps in which they differ: 0 the same, 1 nothing in common."""
        both = sum(self.left) + sum(self.right)
        return sum(abs(a - b) for a, b in zip(self.left, self.right, strict=True)) / both if both else 0.0


@dataclass(frozen=True, slots=True)
class Comparison:
    prompt_sha256: str
    """Of the turns and the hashes of their images: the same for both sides."""
    seed: int
    left: Side
    right: Side
    spans: tuple[tuple[str, str], ...]
    """What turns the left text into the right one (tasks/scoring.difference)."""
    words: tuple[WordChance, ...]
    reference: str = ""
    part: Part = "model"
    shifts: tuple[WordShift, ...] = ()
    """One for each of `words`; empty where nothing could be looked into."""


@dataclass(frozen=True, slots=True)
class Confusion:
    """A letter that was wanted and what was read instead, and how often by either side."""

    wanted: str
    """Empty: nothing was wanted there."""
    read: str
    """Empty: the letter was left out."""
    left: int
    right: int
    lines: tuple[int, ...]
    """Numbers of lines where it happened, 0-based."""


@dataclass(frozen=True, slots=True)
class LinePair:
    """One line as either side reads it."""

    left: str
    right: str
    reference: str = ""


@dataclass(frozen=True, slots=True)
class LinesComparison:
    left: Side
    right: Side
    """Texts are all lines, joined by line breaks."""
    lines: tuple[LinePair, ...]
    confusions: tuple[Confusion, ...]
    """Most frequent first; empty without references."""
    part: Part = "model"


@dataclass(frozen=True, slots=True)
class KeptComparison:
    """A comparison as the store keeps it, with the strips that it was made on."""

    id: str
    session_id: str
    created_at: str
    images: tuple[str, ...]
    """SHA-256 of each strip, in the order of the lines."""
    found: Comparison | LinesComparison


@dataclass(frozen=True, slots=True)
class CurvePoint:
    step: int
    loss: float | None
    cer: float | None
    """Mean over the held-out sets; None where nothing was measured at this step."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """How a shipped adapter was learned: `reading` (LoRA everywhere) or `frozen` (the connector alone)."""

    name: str
    parameters: int
    points: tuple[CurvePoint, ...]
    change: Mapping[str, float]
    """Relative change of each layer, where it was measured."""
    last: Mapping[str, float]
    """Error rates of the held-out sets at its end."""
    shipped: Mapping[str, float] = field(default_factory=dict)
    """The same of the adapter as it ships: tower and connector may have been trained on since."""
