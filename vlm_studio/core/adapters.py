"""Adapters: small weights beside a model's own that make it read one hand, or answer, better; and how they are made.

A ``hand`` adapter sits on the line reader and is learned from a person's corrections. An ``engine`` adapter sits on the
language model with its connector.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from vlm_studio.core.documents import Line, LineReading
from vlm_studio.core.sessions import JobState, TrainingLine

AdapterKind = Literal["hand", "engine"]
AdapterSource = Literal["trained", "imported"]


@dataclass(frozen=True, slots=True)
class Interval:
    """A difference of error rates with what chance alone could make of it; below 0 is better."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the gate found: the same held-out lines read without and with the adapter."""

    passed: bool
    why: str
    """One or two sentences for the person."""
    lines: int
    pages: int
    cer_before: float
    cer_after: float
    wer_before: float
    wer_after: float
    cer_change: Interval
    """Of the CER, absolute; from resampling the held-out lines in pairs."""
    general_before: float
    """CER on the fixed general set: other hands, other words."""
    general_after: float


@dataclass(frozen=True, slots=True)
class AdapterFacts:
    """What an adapter is made for and of: its card, as it travels with it."""

    kind: AdapterKind
    base: str
    """Name of the model it belongs on."""
    base_sha256: str
    """Of that model's weights; on any others it is noise."""
    rank: int
    parameters: int
    lines: int = 0
    """Corrected lines it learned from."""
    made_with: str = ""
    """The app's version."""


@dataclass(frozen=True, slots=True)
class Adapter:
    """An adapter as the store keeps it."""

    id: str
    owner: str
    name: str
    notes: str
    facts: AdapterFacts
    weights_sha256: str
    source: AdapterSource
    created_at: str
    """UTC, ISO 8601."""
    verdict: Verdict | None = None
    """None where it was never measured here."""
    active: bool = False
    """Whether the owner reads with it wherever a session says nothing else."""


RANKS = (8, 16, 32, 64)
"""Of an adapter, to choose from."""


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """How an adapter learns; defaults are those that benchmarks/adapt_hands.py measures."""

    rank: int = 64
    """Of the adapter that is kept."""
    steps: int = 160
    batch: int = 8
    rate: float = 3e-4
    """Highest learning rate."""
    mix: float = 0.25
    """Share of each batch that are other people's lines, against forgetting."""
    variants: int = 10
    """Photographs of another day made of each corrected line."""
    recomposed: float = 0.5
    """Share of the own lines of each batch that are joined anew from words, most of them of the corrected lines."""
    seed: int = 0
    model: str = ""
    """A model of the hub, taught with QLoRA on its graphics card; empty: nano's line reader."""


HUB_SETTINGS = TrainSettings(rank=8, rate=2e-4)
"""For a model of the hub, whose matrices are a hundred times those of nano's reader; its name is still to be set."""


@dataclass(frozen=True, slots=True)
class TrainPoint:
    """Where a training stands."""

    phase: Literal["prepare", "train", "done"]
    step: int
    total: int
    seconds: float
    loss: float | None = None
    """Mean CTC loss a character since the last point, nats."""
    cer: float | None = None
    """Of the held-out lines, without word frequencies; None where it was not measured at this step."""


@dataclass(frozen=True, slots=True)
class TrainingRun:
    """One training, running or over, as the store keeps it."""

    id: str
    owner: str
    name: str
    state: JobState
    settings: TrainSettings
    lines: int
    held_lines: int
    held_pages: int
    message: str
    adapter_id: str | None
    created_at: str
    updated_at: str


@dataclass(frozen=True, slots=True)
class LearnLine:
    """A corrected line with what the person decided about it."""

    line: TrainingLine
    left_out: bool = False


@dataclass(frozen=True, slots=True)
class ReadLineOf:
    """A line that a reader read and nobody has put right yet, and where to find it."""

    line_id: str
    session_id: str
    source: str
    """The file that it stands in, with the page where that is not the first."""
    page_image_sha256: str
    line: Line
    reading: LineReading


def verdict_of(value: Mapping[str, Any]) -> Verdict:
    """A verdict from the JSON that `dataclasses.asdict` made. Raises KeyError, TypeError."""
    return Verdict(**{**value, "cer_change": Interval(**value["cer_change"])})
