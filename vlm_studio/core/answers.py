"""What an engine gives back: events while it runs, then one answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vlm_studio.core.documents import Box

FinishReason = Literal["stop", "length", "cancelled", "loop"]


@dataclass(frozen=True, slots=True)
class TopToken:
    text: str
    token_id: int
    logprob: float


@dataclass(frozen=True, slots=True)
class TokenEvent:
    """One generated token. `logprob` is natural, of the unmodified distribution."""

    text: str
    token_id: int
    logprob: float
    top: tuple[TopToken, ...] = ()


@dataclass(frozen=True, slots=True)
class StatusEvent:
    """Something a person waiting would like to know: queue position, a step of the memory ladder."""

    message: str


@dataclass(frozen=True, slots=True)
class Usage:
    prompt_tokens: int = 0
    image_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    """Prompt tokens that a kept prefix spared."""


@dataclass(frozen=True, slots=True)
class Answer:
    text: str
    tokens: tuple[TokenEvent, ...]
    finish_reason: FinishReason
    usage: Usage
    first_token_ms: float
    total_ms: float
    notes: tuple[str, ...] = ()
    """What was given up or guarded against, for the person."""


@dataclass(frozen=True, slots=True)
class DoneEvent:
    answer: Answer


EngineEvent = TokenEvent | StatusEvent | DoneEvent


@dataclass(frozen=True, slots=True)
class Citation:
    """Where an answer stands. Boxes are drawn only where the quote was found at a unique place."""

    document: str
    """File name, as the person knows it."""
    document_id: str
    page_index: int
    """0-based."""
    quote: str
    boxes: tuple[Box, ...] = ()


@dataclass(frozen=True, slots=True)
class DocumentAnswer:
    text: str
    found: bool
    citations: tuple[Citation, ...]
    seconds: float
    why: str = ""
    """Why it abstained, or what the answer rests on."""
