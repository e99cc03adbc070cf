"""Files, pages, lines and words: what is read, and where on the page it stands.

Coordinates are pixels of the upright page image, origin top left, x to the right, y down.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Point = tuple[float, float]

STRETCHES = (1.2, 1.0, 1.45)
"""How wide a careful reader sees a line, as a share of its own width. Narrow writing has hardly two frames a letter, and CTC
needs a blank between two that are alike: a fifth wider it makes a tenth to a sixth fewer letter errors. Which width is best
differs from line to line, and the surest reading tells (vlm_studio/recipe/LOG.md)."""
DOUBTFUL_BELOW = 0.5
"""A word read with less confidence than this is marked as doubtful: it is rather wrong than right."""

SAME_LINE = 0.5
"""Two boxes that overlap this much (intersection over union) are the same line, found again; a word of a line is not the line."""


@dataclass(frozen=True, slots=True)
class Box:
    """An upright rectangle in page pixels; right and bottom are exclusive."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        return self.right - self.left

    @property
    def height(self) -> float:
        return self.bottom - self.top

    @property
    def area(self) -> float:
        return max(0.0, self.width) * max(0.0, self.height)

    def union(self, other: Box) -> Box:
        """The smallest box that holds both."""
        return Box(
            min(self.left, other.left),
            min(self.top, other.top),
            max(self.right, other.right),
            max(self.bottom, other.bottom),
        )

    def intersection(self, other: Box) -> Box:
        """The common part; its area is 0 where the two do not meet."""
        return Box(
            max(self.left, other.left),
            max(self.top, other.top),
            min(self.right, other.right),
            min(self.bottom, other.bottom),
        )

    def overlap(self, other: Box) -> float:
        """Intersection over union, 0-1."""
        common = self.intersection(other).area
        together = self.area + other.area - common
        return common / together if together > 0 else 0.0

    def moved(self, dx: float, dy: float) -> Box:
        return Box(self.left + dx, self.top + dy, self.right + dx, self.bottom + dy)

    def scaled(self, factor: float) -> Box:
        return Box(self.left * factor, self.top * factor, self.right * factor, self.bottom * factor)

    def as_list(self, digits: int = 1) -> list[float]:
        """``[x0, y0, x1, y1]`` as the JSON output has it."""
        return [round(v, digits) for v in (self.left, self.top, self.right, self.bottom)]


@dataclass(frozen=True, slots=True)
class Asset:
    """An uploaded file, as it came."""

    sha256: str
    mime: str
    filename: str
    n_bytes: int


@dataclass(frozen=True, slots=True)
class Page:
    """One image to read: an upright photo, or a page of a PDF rendered at `dpi`."""

    asset_sha256: str
    index: int
    """0-based place in its asset."""
    image_sha256: str
    """Content hash of the upright page image (PNG or JPEG) in the blob store."""
    width_px: int
    height_px: int
    dpi: int | None = None
    text_layer: tuple[Word, ...] | None = None
    """Words a digital PDF carries, in page pixels; None where there is no layer at all."""


@dataclass(frozen=True, slots=True)
class Word:
    """A word and its place on the page."""

    text: str
    box: Box


@dataclass(frozen=True, slots=True)
class Line:
    """A line of writing found on a page, before anyone has read it."""

    box: Box
    quad: tuple[Point, Point, Point, Point] | None = None
    """Corners of a slanted line, clockwise from its top left; None where the box is the line."""
    maybe_skipped: bool = False
    """Ink that the detector did not take for a line; shown, and read only on request."""
    column: int = 0


@dataclass(frozen=True, slots=True)
class Alternative:
    """Another reading of a word, with its probability in 0..1."""

    text: str
    probability: float


@dataclass(frozen=True, slots=True)
class WordReading:
    """What a reader made of one word."""

    text: str
    confidence: float
    """0..1: of words read with 0.8 about eight in ten are right, of handwriting (benchmarks/confidence.py)."""
    box: Box
    """Strip pixels when it comes from a reader, page pixels once placed on its page."""
    alternatives: tuple[Alternative, ...] = ()
    warning: str = ""
    """Why the word is marked whatever its confidence (readers disagree, loop guard...)."""

    @property
    def doubtful(self) -> bool:
        return self.confidence < DOUBTFUL_BELOW or bool(self.warning)


@dataclass(frozen=True, slots=True)
class LineReading:
    """What a reader made of one strip. An empty text means: nothing legible here."""

    text: str
    confidence: float
    words: tuple[WordReading, ...] = ()
    reader: str = ""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ReadLine:
    """A line and its reading, with word boxes in page pixels."""

    line: Line
    reading: LineReading


@dataclass(frozen=True, slots=True)
class PageReading:
    """A whole page, in reading order."""

    page: Page
    lines: tuple[ReadLine, ...]
    reader: str
    seconds: float
    notes: tuple[str, ...] = field(default=())
    """Sentences for the person: blank page, ink no line covers, skew put right."""

    @property
    def text(self) -> str:
        return "\n".join(r.reading.text for r in self.lines if r.reading.text)


Author = Literal["reader", "person"]


@dataclass(frozen=True, slots=True)
class Correction:
    """One version of a line's text. The newest is what the line says now; older ones are kept."""

    line_id: str
    text: str
    author: Author
    reader: str
    """Name of the reader, or of the owner where a person wrote it."""
    created_at: str
    """UTC, ISO 8601."""
    number: int = 0
    """1-based place in the history of its line."""
    current: bool = False
    reading: LineReading | None = None
    """Text with its words, confidences and alternatives; None where only the text is known."""
