"""Lines cut out of a page: upright strips, with a way back from strip pixels to page pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
from PIL import Image as PilImage

from vlm_studio.core.documents import Box, Line
from vlm_studio.reading.light import dark_on_light

if TYPE_CHECKING:
    from PIL.Image import Image


TRIM = 0.08
"""Share of a line's height that is left out above and below it: the finder's boxes are higher than the writing, and readers
learn from lines that are cut close. Whole pages lose a third of their letter errors by it (vlm_studio/recipe/LOG.md)."""
ENDS = 0.08
"""Share of a line's height that is added at either end."""


@dataclass(frozen=True, slots=True)
class Strip:
    """A line as an upright image; `to_page` is the 3x3 matrix from its pixels to the page's."""

    image: Image
    to_page: np.ndarray

    def word_on_page(self, box: Box) -> Box:
        """A word of the strip as a box on the page, as high as the line was found to be."""
        over = self.image.height * TRIM / (1 - 2 * TRIM)
        return self.on_page(Box(box.left, box.top - over, box.right, box.bottom + over))

    def on_page(self, box: Box) -> Box:
        """A box of the strip as the upright box around it on the page."""
        corners = np.array(
            [[[box.left, box.top], [box.right, box.top], [box.right, box.bottom], [box.left, box.bottom]]]
        )
        points = cv2.perspectiveTransform(corners.astype(np.float64), self.to_page)[0]
        (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
        return Box(float(left), float(top), float(right), float(bottom))


def cut_strip(page: Image, line: Line) -> Strip:
    """The line, upright, dark on light, cut close above and below."""
    quad = line.quad
    box = line.box
    if quad is None:
        over, side = TRIM * box.height, ENDS * box.height
        left, top = max(0, int(box.left - side)), max(0, round(box.top + over))
        right, bottom = min(page.width, round(box.right + side)), min(page.height, round(box.bottom - over))
        area = (left, top, max(left + 1, right), max(top + 1, bottom))
        place = np.array([[1, 0, left], [0, 1, top], [0, 0, 1]], dtype=np.float64)
        return Strip(_dark_on_light(page.crop(area)), place)
    corners = np.array(quad, dtype=np.float64)
    along, down = corners[1] - corners[0], corners[3] - corners[0]
    width, height = float(np.hypot(*along)), float(np.hypot(*down))
    side = ENDS * height / max(width, 1) * along
    over = TRIM * down
    source = np.array([corners[0] - side + over, corners[1] + side + over, corners[3] - side - over])
    size = max(2, round(width + 2 * ENDS * height)), max(2, round(height * (1 - 2 * TRIM)))
    target = np.array([[0, 0], [size[0], 0], [0, size[1]]], dtype=np.float64)
    forward = cv2.getAffineTransform(source.astype(np.float32), target.astype(np.float32))
    pixels = cv2.warpAffine(
        np.asarray(page), forward, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    back = cv2.invertAffineTransform(forward.astype(np.float64))
    return Strip(_dark_on_light(PilImage.fromarray(pixels)), np.vstack([back, [0, 0, 1]]))


def _dark_on_light(strip: Image) -> Image:
    if strip.mode != "RGB" or min(strip.size) < 8:
        return strip
    pixels = np.asarray(strip)
    turned = dark_on_light(pixels, strip.height // 2)
    return strip if turned is pixels else PilImage.fromarray(turned)


def split_at_gaps(strip: Image, max_ratio: float) -> list[tuple[int, Image]]:
    """(x offset, piece) of a strip longer than `max_ratio` times its height, cut at its widest gaps."""
    width, height = strip.size
    if width <= max_ratio * height:
        return [(0, strip)]
    grey = np.asarray(strip.convert("L")).astype(np.float32)
    ink = np.maximum(np.median(grey) - grey - 18, 0).sum(axis=0)
    smooth = cv2.GaussianBlur(ink[None], (0, 0), max(1.0, height / 8))[0]
    pieces, start = [], 0
    while width - start > max_ratio * height:
        first, last = start + int(0.5 * max_ratio * height), start + int(max_ratio * height)
        cut = first + _widest_gap(smooth[first:last])
        pieces.append((start, strip.crop((start, 0, cut, height))))
        start = cut
    return [*pieces, (start, strip.crop((start, 0, width, height)))]


def _widest_gap(ink: np.ndarray) -> int:
    """Middle of the longest run of columns with hardly any ink; of equal ones the last."""
    empty = ink <= ink.min() + 0.02 * ink.max()
    edges = np.flatnonzero(np.diff(np.concatenate([[False], empty, [False]]).astype(np.int8)))
    runs = zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)
    start, stop = max(runs, key=lambda run: (run[1] - run[0], run[0]))
    return int((start + stop) // 2)
