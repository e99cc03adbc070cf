"""Reading order: columns first, lines within them, headings that span columns where they stand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vlm_studio.core.documents import Box

_WIDE_ENOUGH = ((3, 1.6), (5, 1.1), (8, 0.55))
"""(rows on both sides, gutter's width in line heights): the more rows agree on it, the narrower it may be."""


def find_gutter(boxes: Sequence[Box], line_height: float) -> Box | None:
    """The empty stripe between two columns, from the first of their rows to the last, or None.

    Boxes that span it (headings, a paragraph over the whole width) end the columns above them. Columns hold at
    least three rows on both sides and stand side by side, and they hold a good part of the boxes, or gaps
    between words that happen to lie one above the other would part a paragraph.
    """
    if len(boxes) < 6:
        return None
    rows = sorted(boxes, key=lambda box: box.top + box.bottom)
    best, most = None, 0.0
    for x in np.arange(min(b.left for b in boxes), max(b.right for b in boxes), max(1.0, line_height / 4)):
        stripes = [
            stripe for band in _bands(rows, x) if (stripe := _stripe(band, x, line_height)) is not None
        ]
        if not stripes:
            continue
        count = sum(inside for _, inside in stripes)
        left, right = max(box.left for box, _ in stripes), min(box.right for box, _ in stripes)
        # Among places with as many boxes, the widest.
        value = count + min(1.0, (right - left) / (20 * line_height))
        if count >= 0.35 * len(boxes) and value > most and _no_margin(boxes, left, right):
            top, bottom = stripes[0][0].top, stripes[-1][0].bottom
            best, most = Box(left, top, right, bottom), value
    return best


def _bands(rows: Sequence[Box], x: float) -> list[list[Box]]:
    """Runs of boxes, from the top, between those that span `x`."""
    bands: list[list[Box]] = [[]]
    for box in rows:
        if box.left < x < box.right:
            bands.append([])
        else:
            bands[-1].append(box)
    return bands


def _stripe(band: Sequence[Box], x: float, line_height: float) -> tuple[Box, int] | None:
    """The empty stripe at `x` in a band and how many boxes the band holds; None where it parts no columns."""
    left = [box for box in band if box.right <= x]
    right = [box for box in band if box.left >= x]
    count = min(_count_rows(left, line_height), _count_rows(right, line_height))
    if count < _WIDE_ENOUGH[0][0]:
        return None
    needed = min(width for rows, width in _WIDE_ENOUGH if count >= rows)
    start, stop = max(b.right for b in left), min(b.left for b in right)
    extents = [(min(b.top for b in side), max(b.bottom for b in side)) for side in (left, right)]
    top, bottom = max(e[0] for e in extents), min(e[1] for e in extents)
    if stop - start < needed * line_height or bottom - top <= 0.5 * min(e[1] - e[0] for e in extents):
        return None
    return Box(start, min(e[0] for e in extents), stop, max(e[1] for e in extents)), len(band)


def _count_rows(boxes: Sequence[Box], line_height: float) -> int:
    """Rows of a side: boxes in order from the top, those at one height counted once."""
    count, last = 0, -1e9
    for box in boxes:
        middle = (box.top + box.bottom) / 2
        if middle - last > 0.5 * line_height:
            count, last = count + 1, middle
    return count


def _no_margin(boxes: Sequence[Box], start: float, stop: float) -> bool:
    """A narrow strip of marks at the margin (numbers, bullets) belongs to the lines beside it."""
    left, right = min(b.left for b in boxes), max(b.right for b in boxes)
    narrower = min(start - left, right - stop)
    return narrower > 0.18 * (right - left)


def reading_order(boxes: Sequence[Box], line_height: float, depth: int = 0) -> list[tuple[int, int]]:
    """(index, column) of every box in reading order."""
    indices = sorted(range(len(boxes)), key=lambda i: (boxes[i].top + boxes[i].bottom) / 2)
    gutter = find_gutter(boxes, line_height) if depth < 3 else None
    if gutter is None:
        return [(i, 0) for i in indices]
    middle = (gutter.left + gutter.right) / 2
    ordered: list[tuple[int, int]] = []
    band: list[int] = []
    for i in indices:
        # A box that spans the gutter ends the columns above it and starts new ones below.
        if boxes[i].left < gutter.left and boxes[i].right > gutter.right:
            ordered += _columns(band, boxes, middle, line_height, depth)
            ordered.append((i, 0))
            band = []
        else:
            band.append(i)
    return ordered + _columns(band, boxes, middle, line_height, depth)


def _columns(
    band: list[int], boxes: Sequence[Box], middle: float, line_height: float, depth: int
) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    first = 0
    for side in (0, 1):
        members = [i for i in band if ((boxes[i].left + boxes[i].right) / 2 > middle) == bool(side)]
        inner = reading_order([boxes[i] for i in members], line_height, depth + 1)
        found += [(members[i], first + column) for i, column in inner]
        first = max([column for _, column in found], default=-1) + 1
    return found
