"""A page with its lines drawn on it, at the size a browser needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from vlm_studio.core.documents import Box, Line, Point, ReadLine

DISPLAY_WIDTH = 1100
"""Pixels. Wider pages are scaled down for display; reading always uses the full page."""

_UNREAD = (79, 70, 229)
_READ = (16, 122, 87)
_DOUBTFUL = (202, 107, 10)
_SKIPPED = (148, 142, 136)
_SELECTED = (220, 38, 38)


@dataclass(frozen=True, slots=True)
class Overlay:
    image: Image.Image
    scale: float
    """Display pixels per page pixel."""


def draw_lines(
    page: Image.Image,
    lines: Sequence[Line | ReadLine],
    selected: int | None = None,
    region: Box | None = None,
) -> Overlay:
    """`page` (RGB) with each line outlined: blue unread, green read, orange doubtful, grey maybe skipped.

    The selected one is red and filled; `region` (page pixels) is a word of it or what a person has marked.
    """
    scale = min(1.0, DISPLAY_WIDTH / page.width)
    size = (max(1, round(page.width * scale)), max(1, round(page.height * scale)))
    base = page.resize(size, Image.Resampling.LANCZOS) if scale < 1 else page.copy()
    layer = Image.new("RGBA", base.size, (0, 0, 0, 0))
    pen = ImageDraw.Draw(layer)
    for index, item in enumerate(lines):
        colour = _SELECTED if index == selected else _colour(item)
        corners = [(x * scale, y * scale) for x, y in corners_of(_line(item))]
        pen.polygon(corners, fill=(*colour, 46 if index == selected else 18))
        pen.line([*corners, corners[0]], fill=(*colour, 235 if index == selected else 150), width=2)
    if region is not None:
        box = region.scaled(scale)
        pen.rectangle((box.left, box.top, box.right, box.bottom), outline=(*_SELECTED, 255), width=2)
    return Overlay(Image.alpha_composite(base.convert("RGBA"), layer).convert("RGB"), scale)


def line_at(lines: Sequence[Line | ReadLine], x: float, y: float) -> int | None:
    """Index of the line whose box holds the point (page pixels); the smallest where several do."""
    hits = [
        (line.box.area, index)
        for index, line in enumerate(map(_line, lines))
        if line.box.left <= x < line.box.right and line.box.top <= y < line.box.bottom
    ]
    return min(hits)[1] if hits else None


def word_at(read: ReadLine, x: float, y: float) -> int:
    """Index of the word of a line that stands at a point (page pixels), or -1."""
    hits = [i for i, word in enumerate(read.reading.words) if word.box.left <= x < word.box.right]
    if len(hits) > 1:
        hits.sort(
            key=lambda i: abs((read.reading.words[i].box.top + read.reading.words[i].box.bottom) / 2 - y)
        )
    return hits[0] if hits else -1


def corners_of(line: Line) -> tuple[Point, ...]:
    """The four corners of a line: of its quad where it is slanted, of its box otherwise."""
    if line.quad is not None:
        return line.quad
    b = line.box
    return ((b.left, b.top), (b.right, b.top), (b.right, b.bottom), (b.left, b.bottom))


def _line(item: Line | ReadLine) -> Line:
    return item.line if isinstance(item, ReadLine) else item


def _colour(item: Line | ReadLine) -> tuple[int, int, int]:
    if isinstance(item, ReadLine) and item.reading.text:
        return _DOUBTFUL if any(word.doubtful for word in item.reading.words) else _READ
    return _SKIPPED if _line(item).maybe_skipped else _UNREAD
