"""Where a page may be cut so that no line of writing is cut with it, and how thin strips keep their shape.

Idefics2's own processor halves an image blindly, and stretches whatever is thinner than 378 px to that height: a line of
writing 1900 x 110 comes out drawn seven times too tall. Both are decided here instead, on pixels alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image as PilImage

from vlm_studio.core.conversation import Splitting
from vlm_studio.core.documents import Box

Image = PilImage.Image

SMALL = 640
"""Longest side of the copy on which seams are sought, pixels."""
WINDOW = 0.16
"""How far from the middle a seam may lie, as a share of the side."""
OVERLAP = 0.05
"""Share of the width by which left and right tiles reach over a middle that has no gap: about a word."""


@dataclass(frozen=True, slots=True)
class Halves:
    """Pixels where the first half of a side ends and the second begins; they overlap or meet."""

    end: int
    start: int


def tiles(image: Image) -> tuple[Box, Box, Box, Box]:
    """Four parts of `image`, top left, top right, bottom left, bottom right, that together show all of it.

    The rows are cut where there is least ink near the middle, and the columns in a gutter where there is one;
    where writing runs across the middle, the parts overlap by a word. Pictures are halved as Idefics2 does it.
    """
    width, height = image.size
    rows, columns = Halves(height // 2, height // 2), Halves(width // 2, width // 2)
    if looks_like_writing(image):
        ink = _ink(image)
        rows = _row_seam(ink, height)
        columns = _column_seam(ink, width)
    top, bottom = (0, rows.end), (rows.start, height)
    left, right = (0, columns.end), (columns.start, width)
    first, second, third, fourth = (
        Box(across[0], down[0], across[1], down[1]) for down in (top, bottom) for across in (left, right)
    )
    return first, second, third, fourth


def splits(image: Image, splitting: Splitting, longest_edge: int) -> bool:
    """Whether an image is fed in four tiles beside the whole; `longest_edge` is the model's window in pixels.

    `auto`: writing that is larger than the window, and not a single line of it.
    """
    if splitting != "auto":
        return splitting == "on"
    long, short = max(image.size), min(image.size)
    return long > longest_edge and long < 4 * short and looks_like_writing(image)


def crops(image: Image, splitting: Splitting, longest_edge: int) -> int:
    """How many crops of an image are fed."""
    return 5 if splits(image, splitting, longest_edge) else 1


def looks_like_writing(image: Image) -> bool:
    """Whether an image is mostly flat ground with many small dark marks, as pages are and photographs are not."""
    grey = _small_grey(image)
    ground = cv2.medianBlur(grey, 31)
    apart = np.abs(grey.astype(np.int16) - ground)
    marks = ((ground.astype(np.int16) - grey) > 28).astype(np.uint8)
    share = float(marks.mean())
    if float((apart < 14).mean()) < 0.62 or not 0.004 < share < 0.35:
        return False
    count, _labels, stats, _centres = cv2.connectedComponentsWithStats(marks)
    tall = stats[1:, cv2.CC_STAT_HEIGHT]
    letters = int(((tall >= 3) & (tall < grey.shape[0] * 0.25)).sum())
    return count > 8 and letters >= 8


def _small_grey(image: Image) -> np.ndarray:
    scale = min(1.0, SMALL / max(image.size))
    size = (max(32, round(image.width * scale)), max(32, round(image.height * scale)))
    grey = np.asarray(image.convert("L").resize(size, PilImage.Resampling.BOX))
    # Grain of a camera is not ink.
    return cv2.GaussianBlur(grey, (0, 0), 0.8)


def _ink(image: Image) -> np.ndarray:
    """Darkness against the ground (rows, columns), float32, on the small copy."""
    grey = _small_grey(image)
    ground = cv2.medianBlur(grey, 31).astype(np.float32)
    ink: np.ndarray = np.maximum(ground - grey - 18, 0)
    return ink


def _row_seam(ink: np.ndarray, height: int) -> Halves:
    place, _emptiest = _least(ink.mean(1))
    seam = round(place / ink.shape[0] * height)
    return Halves(seam, seam)


def _column_seam(ink: np.ndarray, width: int) -> Halves:
    place, emptiest = _least(ink.mean(0))
    seam = round(place / ink.shape[1] * width)
    if emptiest <= 0.03 * float(ink.mean(0).mean()):
        return Halves(seam, seam)
    reach = round(OVERLAP * width)
    return Halves(width // 2 + reach, width // 2 - reach)


def _least(profile: np.ndarray) -> tuple[float, float]:
    """Middle of the emptiest stretch near the middle of `profile`, and how much ink it holds."""
    count = len(profile)
    first, last = int(count * (0.5 - WINDOW)), int(np.ceil(count * (0.5 + WINDOW)))
    smooth = cv2.GaussianBlur(profile.astype(np.float32)[None], (0, 0), 1.0)[0]
    window = smooth[first:last]
    low = window <= window.min() + 0.02 * float(smooth.mean())
    # The widest empty stretch wins; among equals, the one nearest to the middle.
    best, best_key, start = 0.5 * count, (-1.0, 0.0), None
    for at in range(len(low) + 1):
        if at < len(low) and low[at]:
            start = at if start is None else start
        elif start is not None:
            middle = first + (start + at - 1) / 2 + 0.5
            key = (float(min(at - start, count // 20)), -abs(middle - count / 2))
            if key > best_key:
                best, best_key = middle, key
            start = None
    return best, float(window.min())


def paper_colour(image: Image) -> tuple[int, int, int]:
    """The colour that most of an RGB image has, to continue it beyond its edge."""
    small = np.asarray(image.convert("RGB").resize((64, 64), PilImage.Resampling.BOX)).reshape(-1, 3)
    grey = small.mean(1)
    counts, edges = np.histogram(grey, bins=16, range=(0, 256))
    top = int(counts.argmax())
    chosen = small[(grey >= edges[top]) & (grey <= edges[top + 1])]
    red, green, blue = (int(v) for v in np.median(chosen, axis=0))
    return red, green, blue


def wrapped(strip: Image, ratio: float) -> Image:
    """A long strip of writing as several rows on one canvas, cut at word gaps, no flatter than it must be.

    As many rows as fit while the canvas stays at least `ratio` times as wide as high: letters come out as large
    as the model's window allows. A strip that is not longer than that is returned as it is.
    """
    width, height = strip.size
    pitch = height * 1.1
    rows = int(np.sqrt(width / (pitch * ratio)))
    if rows < 2:
        return strip
    pieces = cut_at_gaps(strip, rows)
    canvas = PilImage.new("RGB", (max(p.width for p in pieces), round(pitch * rows)), paper_colour(strip))
    for row, piece in enumerate(pieces):
        canvas.paste(piece, (0, round(row * pitch)))
    return canvas


def cut_at_gaps(strip: Image, parts: int) -> list[Image]:
    """`strip` in `parts` pieces of about one width, from left to right, cut between words."""
    ends = _word_gaps(strip, parts)
    return [
        strip.crop((a, 0, b, strip.height)) for a, b in zip([0, *ends], [*ends, strip.width], strict=True)
    ]


def _word_gaps(strip: Image, rows: int) -> list[int]:
    """Where to cut `strip` into `rows` parts of about one length: the middle of the widest gap near each place."""
    grey = np.asarray(strip.convert("L")).astype(np.float32)
    columns = np.maximum(np.median(grey) - grey - 18, 0).sum(0)
    smooth = cv2.GaussianBlur(columns[None], (0, 0), max(1.0, strip.height / 10))[0]
    ends = []
    for row in range(1, rows):
        middle = strip.width * row // rows
        reach = max(2, round(strip.width / rows * 0.2))
        start = max(0, middle - reach)
        ends.append(start + int(smooth[start : middle + reach].argmin()))
    return ends
