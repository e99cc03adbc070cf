"""Pages in, lines of text out, one by one: the reading itself, without keeping anything."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from vlm_studio.core.cancel import CancelToken
from vlm_studio.core.conversation import Variant
from vlm_studio.core.documents import Box, Line, LineReading, Page, PageReading, ReadLine
from vlm_studio.core.errors import Cancelled, InvalidRequest, ModelUnavailable
from vlm_studio.core.ports import Engine, LineFinder, Reader
from vlm_studio.reading.strips import Strip, cut_strip

if TYPE_CHECKING:
    from PIL.Image import Image

BLANK_PAGE = "This page is blank: no writing was found on it."
SKIPPED_INK = "Some ink is covered by no line. It is marked as maybe skipped: choose it and read it again."
STOPPED = "Reading was stopped; the lines after this were not read."
MIN_REGION = 8
"""Pixels of a side of a region that may be read."""
LARGE_READER = "8b"
ADAPTED = "+"
"""Stands between a reader's name and the id of the adapter it wears."""
STREAM_BATCH = 6
"""Strips read before the next events are sent: small enough to watch, large enough to be quick."""


@dataclass(frozen=True, slots=True)
class LinesFound:
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class LineRead:
    index: int
    """Place among the lines found."""
    read: ReadLine


@dataclass(frozen=True, slots=True)
class PageRead:
    reading: PageReading


PageEvent = LinesFound | LineRead | PageRead


class LateFinder:
    """LineFinder made with its first page: its libraries cost a start of the app a second and more."""

    def __init__(self, make: Callable[[], LineFinder]) -> None:
        self._make = make
        self._made: LineFinder | None = None
        self._lock = threading.Lock()

    def find(self, image: Image) -> tuple[Line, ...]:
        with self._lock:
            made = self._made = self._made or self._make()
        return made.find(image)


class EngineReader:
    """Reader port over a language model that reads strips: loaded at the first of them."""

    def __init__(self, name: str, engine: Callable[[Variant], Engine], variant: Variant) -> None:
        self._name, self._engine, self._variant = name, engine, variant

    @property
    def name(self) -> str:
        return self._name

    def read(self, strips: Sequence[Image], cancel: CancelToken) -> Iterator[LineReading]:
        for reading in self._engine(self._variant).read(strips, cancel, self._variant):
            yield replace(reading, reader=self._name)


class Transcriber:
    """Finds lines once and gives them to whichever reader is asked for; readers are made at first use."""

    def __init__(
        self,
        finder: LineFinder,
        readers: Mapping[str, Callable[[], Reader]],
        choose: Callable[[], tuple[str, str]],
        adapted: Callable[[str], Reader] | None = None,
    ) -> None:
        """`choose` says which reader `auto` is on this machine, and why.

        `adapted` makes a reader that learned a hand, from its name: the base's, `ADAPTED`, the adapter's id.
        """
        self.finder = finder
        self._make = dict(readers)
        self._made: dict[str, Reader] = {}
        self.choose = choose
        self._adapted = adapted

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._make)

    def reader(self, name: str) -> Reader:
        """Raises InvalidRequest for an unknown name, ModelUnavailable when it cannot run here."""
        if name in {"", "auto"}:
            name = self.choose()[0]
        if ADAPTED in name and self._adapted is not None:
            return self._adapted(name)
        if name == LARGE_READER and name not in self._make:
            raise ModelUnavailable(
                "The reader 8b is Idefics2-8B: it wants a CUDA graphics card with 8 GB, which is not here.",
                f"Use auto or one of: {', '.join(self._make)}.",
            )
        if name not in self._make:
            raise InvalidRequest(
                f"There is no reader {name!r}.", f"Use one of: auto, {', '.join(self._make)}."
            )
        if name not in self._made:
            self._made[name] = self._make[name]()
        return self._made[name]

    def read_page(
        self, page: Page, image: Image, reader_name: str, cancel: CancelToken
    ) -> Iterator[PageEvent]:
        """LinesFound, a LineRead for each line that is not maybe skipped, then PageRead.

        Stopped in the middle, the PageRead holds what was read until then. Raises StudioError.
        """
        started = time.monotonic()
        reader = self.reader(reader_name)
        lines = self.finder.find(image)
        yield LinesFound(lines)
        done: dict[int, ReadLine] = {}
        notes: list[str] = []
        wanted = [i for i, line in enumerate(lines) if not line.maybe_skipped]
        try:
            for start in range(0, len(wanted), STREAM_BATCH):
                batch = wanted[start : start + STREAM_BATCH]
                for i, read in zip(
                    batch, self.read_lines(image, [lines[i] for i in batch], reader, cancel), strict=True
                ):
                    done[i] = read
                    yield LineRead(i, read)
        except Cancelled:
            notes.append(STOPPED)
        if any(line.maybe_skipped for line in lines):
            notes.append(SKIPPED_INK)
        unread = LineReading("", 0.0, (), reader.name)
        # A line whose strip holds nothing legible is no line; what was not reached stays, unread.
        kept = [
            done.get(i, ReadLine(line, unread))
            for i, line in enumerate(lines)
            if i not in done or done[i].reading.text
        ]
        if not notes and not any(read.reading.text for read in kept):
            notes.append(BLANK_PAGE)
        yield PageRead(PageReading(page, tuple(kept), reader.name, time.monotonic() - started, tuple(notes)))

    def read_lines(
        self, image: Image, lines: Sequence[Line], reader: Reader, cancel: CancelToken
    ) -> Iterator[ReadLine]:
        """The given lines of a page, word boxes in page pixels."""
        strips = [cut_strip(image, line) for line in lines]
        readings = reader.read([strip.image for strip in strips], cancel)
        for line, strip, reading in zip(lines, strips, readings, strict=True):
            yield ReadLine(line, _placed(reading, strip, line.box))

    def read_region(
        self, image: Image, region: Box, reader_name: str, cancel: CancelToken
    ) -> tuple[ReadLine, ...]:
        """Lines inside a part of a page; the part itself as one line where none is found in it.

        Raises InvalidRequest where the part is too small, or nothing legible stands in it.
        """
        left, top = max(0, int(region.left)), max(0, int(region.top))
        right, bottom = min(image.width, int(region.right) + 1), min(image.height, int(region.bottom) + 1)
        if right - left < MIN_REGION or bottom - top < MIN_REGION:
            raise InvalidRequest("This region is too small to hold writing.", "Mark a larger one.")
        found = self.finder.find(image.crop((left, top, right, bottom)))
        lines = [_moved(line, left, top) for line in found if not line.maybe_skipped]
        lines = lines or [Line(Box(left, top, right, bottom))]
        reads = tuple(self.read_lines(image, lines, self.reader(reader_name), cancel))
        legible = tuple(read for read in reads if read.reading.text)
        if not legible:
            raise InvalidRequest(
                "Nothing legible was found in this region.", "Mark another one, or try another reader."
            )
        return legible

    def read_strips(
        self, strips: Sequence[Image], reader_name: str, cancel: CancelToken
    ) -> Iterator[LineReading]:
        """Already cut lines."""
        return self.reader(reader_name).read(strips, cancel)


def with_note(reading: PageReading, note: str) -> PageReading:
    """With what there is to know of the page's file in front of what there is to know of the page."""
    return replace(reading, notes=(note, *reading.notes)) if note else reading


def _placed(reading: LineReading, strip: Strip, line: Box) -> LineReading:
    """Word boxes in page pixels, as high as their line and within it."""
    boxes = [strip.word_on_page(word.box) for word in reading.words]
    inside = [box.intersection(line) if box.intersection(line).area > 0 else box for box in boxes]
    words = tuple(replace(word, box=box) for word, box in zip(reading.words, inside, strict=True))
    return replace(reading, words=words)


def _moved(line: Line, dx: float, dy: float) -> Line:
    quad = line.quad
    if quad is not None:
        a, b, c, d = ((x + dx, y + dy) for x, y in quad)
        quad = (a, b, c, d)
    return replace(line, box=line.box.moved(dx, dy), quad=quad)
