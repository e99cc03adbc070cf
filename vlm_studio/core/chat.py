"""A conversation as it is kept: numbered images, and a tree of turns of which one path is shown."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from vlm_studio.core.answers import FinishReason, TokenEvent, Usage
from vlm_studio.core.conversation import GenParams, TextPart, Turn, Variant
from vlm_studio.core.documents import DOUBTFUL_BELOW, Box, Word

TurnStatus = Literal["done", "stopped", "failed"]
How = Literal["model", "quote", "transcript", "highlights", "cannot_see", "cannot_do", "not_found"]
"""What an answer is made of: a language model's words, a quote that was found in what was read, all of what was
read, the lines of it that say most, or a sentence that says what this model cannot do."""


@dataclass(frozen=True, slots=True)
class TextLine:
    """A line that was read on an image."""

    text: str
    confidence: float
    """0..1, as the reader gave it."""
    box: Box
    """Image pixels."""
    words: tuple[Word, ...] = ()
    """With their places, in image pixels; empty where only the line is known."""


@dataclass(frozen=True, slots=True)
class ImageText:
    """All that a reader read on an image, in reading order; no lines: there is no writing on it."""

    reader: str
    lines: tuple[TextLine, ...]

    @property
    def text(self) -> str:
        return "\n".join(line.text for line in self.lines)

    @property
    def doubtful(self) -> int:
        """How many lines the reader is not sure of."""
        return sum(line.confidence < DOUBTFUL_BELOW for line in self.lines)


@dataclass(frozen=True, slots=True)
class ChatImage:
    """An image of a conversation. Its number is what people write: ``<image 2>``."""

    number: int
    """1-based, never given twice in a conversation."""
    sha256: str
    name: str
    """File name, as the person knows it; a region says what it was cut from."""
    width_px: int
    height_px: int
    waiting: bool = False
    """Attached, and not sent yet."""
    crop_of: int | None = None
    """Number of the image that this region was cut from."""
    box: Box | None = None
    """The region, in pixels of that image."""
    read: ImageText | None = None
    """What stands on it; None where nobody has read it."""


@dataclass(frozen=True, slots=True)
class RestsOn:
    """A place that an answer stands on."""

    number: int
    """Of the image."""
    quote: str
    box: Box | None = None
    """Image pixels; None where the whole image is meant."""


@dataclass(frozen=True, slots=True)
class RunDetails:
    """How an answer came about."""

    how: How
    model: str
    """Name on the model's card; the reader's name where no language model was asked."""
    variant: Variant
    params: GenParams
    system: str = ""
    reader: str = ""
    usage: Usage = field(default_factory=Usage)
    first_token_ms: float = 0.0
    """From sending to the first word, reading included."""
    total_ms: float = 0.0
    reading_ms: float = 0.0
    finish_reason: FinishReason = "stop"
    rests_on: tuple[RestsOn, ...] = ()
    notes: tuple[str, ...] = ()
    """Sentences for the person: what was left out, what to doubt, why it failed."""
    tokens: tuple[TokenEvent, ...] = ()


@dataclass(frozen=True, slots=True)
class ChatTurn:
    """A turn of the tree."""

    id: str
    session_id: str
    parent_id: str | None
    turn: Turn
    status: TurnStatus
    created_at: str
    run: RunDetails | None = None
    """Of an answer; None for what a person wrote."""
    versions: tuple[str, ...] = ()
    """Ids of all turns with the same parent, oldest first, its own among them."""

    @property
    def version(self) -> int:
        """0-based place among its versions."""
        return self.versions.index(self.id) if self.id in self.versions else 0

    @property
    def said(self) -> str:
        """Its words without quotes of what was read."""
        parts = (p.text for p in self.turn.parts if isinstance(p, TextPart) and not p.quoted)
        return " ".join(parts).strip()


@dataclass(frozen=True, slots=True)
class Draft:
    """A turn that has no id yet."""

    parent_id: str | None
    turn: Turn
    status: TurnStatus = "done"
    run: RunDetails | None = None
