"""The words of a page with their places, and the passages that questions are answered from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vlm_studio.core.documents import Box

Unit = Literal["pt", "px"]


@dataclass(frozen=True, slots=True)
class PageWord:
    """A word that can be seen on a page, in the page's own unit."""

    text: str
    box: Box
    line: int
    """Words of one printed or written line share it; lines of a page count from 0."""
    size: float
    """Height of its type or handwriting, in the page's unit."""
    bold: bool = False


@dataclass(frozen=True, slots=True)
class PageText:
    """What stands on a page as it is displayed: rotation and crop applied, origin top left."""

    index: int
    """0-based place in its document."""
    width: float
    height: float
    unit: Unit
    """``pt`` (1/72 inch) for pages of a PDF, ``px`` for photos and other images."""
    words: tuple[PageWord, ...]
    source: str
    """``text layer``, or the name of the reader that read the page."""
    notes: tuple[str, ...] = ()
    """Sentences for the person: hidden text left out, a page that could not be read."""


PassageKind = Literal["text", "row", "heading"]


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of a table's row, with the head of its column where the table has one."""

    text: str
    header: str
    words: tuple[int, ...]
    """Places in the page's words."""


@dataclass(frozen=True, slots=True)
class Passage:
    """A sentence, a row of a table or a heading: the smallest thing that can be quoted."""

    document: int
    """Place among the documents asked."""
    page: int
    """0-based."""
    number: int
    """Place among the passages of its document, in reading order."""
    kind: PassageKind
    text: str
    """As it reads: hyphens at line ends undone."""
    words: tuple[int, ...]
    """Places in the page's words."""
    context: tuple[str, ...] = ()
    """Headings above it and the caption of its table, the nearest last."""
    cells: tuple[Cell, ...] = ()
    block: int = 0
    """Passages of one paragraph, list or table share it."""
