"""An answer that was looked into: what was fed, what was answered, and how much of it was read. The trace lies beside it."""

from __future__ import annotations

from dataclasses import dataclass

from vlm_studio.core.answers import TokenEvent
from vlm_studio.core.documents import Box, Line
from vlm_studio.core.traces import WordSource


@dataclass(frozen=True, slots=True)
class Fed:
    """One image as it was given to the model: a line cut out of a page, a piece of it, or a whole page."""

    page_id: str
    sha256: str
    """What its crops and the question call it: a hash of its pixels."""
    box: Box
    """The part of the page that it shows, page pixels."""
    line: Line | None = None
    """The line it was cut from; None: the page as it is."""
    piece: tuple[int, int] | None = None
    """First and last (exclusive) column of a line that was too long for one piece, pixels of the cut line."""


@dataclass(frozen=True, slots=True)
class Inspection:
    """One question with its answer, to be looked at from every side. Without an id until it is kept."""

    question: str
    answer: str
    tokens: tuple[TokenEvent, ...]
    words: tuple[WordSource, ...]
    """Of the answer, in order."""
    fed: tuple[Fed, ...]
    model: str
    adapter: str | None
    seconds: float
    """From the question to the last word of the answer."""
    trace_seconds: float
    """For looking into it afterwards."""
    notes: tuple[str, ...] = ()
    id: str = ""
    session_id: str = ""
    created_at: str = ""
