"""A finder and readers that do what they are told, and pages for them."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator, Sequence

from PIL import Image

from vlm_studio.core.cancel import CancelToken
from vlm_studio.core.documents import Box, Line, LineReading, Page, WordReading
from vlm_studio.tasks.transcribe import Transcriber

ROW = 40


class RowFinder:
    """Lines 40 px apart, as many as the page's corner says: see `marked`."""

    def find(self, image: Image.Image) -> tuple[Line, ...]:
        red, green, _ = image.convert("RGB").getpixel((4, 4))
        found, skipped = round((255 - red) / 25), round((255 - green) / 120)
        boxes = [Box(20, ROW * n + 5, image.width - 20, ROW * n + 35) for n in range(found)]
        lines = [Line(box) for box in boxes]
        return tuple(lines + [Line(Box(20, 350, 90, 380), maybe_skipped=True)] * skipped)


class CountingReader:
    """Reads "<name> 1", "<name> 2"... in the order of the strips it is given; with `gate`, waits before each."""

    def __init__(self, name: str, gate: threading.Semaphore | None = None) -> None:
        self.name, self.gate = name, gate
        self.strips = 0
        self.empty = False

    def read(self, strips: Sequence[Image.Image], cancel: CancelToken) -> Iterator[LineReading]:
        for strip in strips:
            if self.gate is not None:
                self.gate.acquire(timeout=20)
            cancel.raise_if_cancelled()
            self.strips += 1
            if self.empty:
                yield LineReading("", 1.0, (), self.name)
                continue
            words = (
                WordReading(self.name, 0.9, Box(0, 0, 60, strip.height)),
                WordReading(str(self.strips), 0.5, Box(70, 0, 90, strip.height)),
            )
            yield LineReading(f"{self.name} {self.strips}", 0.7, words, self.name)


def marked(image: Image.Image, at: tuple[int, int], lines: int, skipped: int = 0) -> Image.Image:
    """Its colour tells RowFinder how many lines there are; large enough to survive a JPEG."""
    image.paste((255 - 25 * lines, 255 - 120 * skipped, 255), (*at, at[0] + 16, at[1] + 16))
    return image


def page_image(lines: int, skipped: int = 0, width: int = 300) -> Image.Image:
    return marked(Image.new("RGB", (width, 400), "white"), (0, 0), lines, skipped)


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def page_of(image: Image.Image) -> Page:
    return Page("0" * 64, 0, "0" * 64, image.width, image.height)


def transcriber(*readers: CountingReader) -> Transcriber:
    """`auto` is the first reader."""
    made = {reader.name: (lambda reader=reader: reader) for reader in readers}
    return Transcriber(RowFinder(), made, lambda: (readers[0].name, "It is the first."))
