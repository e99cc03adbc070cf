"""Reading order: columns first, lines within them, headings that span columns where they stand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vlm_studio.core.documents import Box


def find_gutter(boxes: Sequence[Box], line_height: float) -> tuple[float, float] | None:
    """The empty vertical stripe (x0, x1) between two columns, or None.

    Empty but for a few boxes that span it (headings). Both sides must hold at least three boxes and stand
    side by side over most of their height, or an indented block would count as a column.
    """
    if len(boxes) < 6:
        return None
    left = min(box.left for box in boxes)
    right = max(box.right for box in boxes)
    coverage = np.zeros(max(2, int(right - left) + 1), dtype=np.int32)
    for box in boxes:
        coverage[int(box.left - left) : int(box.right - left) + 1] += 1
    allowed = max(0, int(0.12 * len(boxes)))
    best: tuple[float, float] | None = None
    for start, stop in _runs(coverage <= allowed):
        stripe = (left + start, left + stop)
        if stop - start < 1.1 * line_height or not _separates(boxes, stripe):
            continue
        if best is None or stop - start > best[1] - best[0]:
            best = stripe
    return best


def _runs(mask: np.ndarray) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(np.int8), [0]])))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def _separates(boxes: Sequence[Box], stripe: tuple[float, float]) -> bool:
    middle = (stripe[0] + stripe[1]) / 2
    left = [box for box in boxes if box.right <= middle]
    right = [box for box in boxes if box.left >= middle]
    if len(left) < 3 or len(right) < 3:
        return False
    top = max(min(b.top for b in left), min(b.top for b in right))
    bottom = min(max(b.bottom for b in left), max(b.bottom for b in right))
    shorter = min(max(b.bottom for b in side) - min(b.top for b in side) for side in (left, right))
    width = min(max(b.right for b in side) - min(b.left for b in side) for side in (left, right))
    whole = max(b.right for b in boxes) - min(b.left for b in boxes)
    # A narrow strip of marks at the margin (numbers, bullets) belongs to the lines beside it.
    return bottom - top > 0.5 * shorter and width > 0.18 * whole


def reading_order(boxes: Sequence[Box], line_height: float, depth: int = 0) -> list[tuple[int, int]]:
    """(index, column) of every box in reading order."""
    indices = sorted(range(len(boxes)), key=lambda i: (boxes[i].top + boxes[i].bottom) / 2)
    gutter = find_gutter(boxes, line_height) if depth < 3 else None
    if gutter is None:
        return [(i, 0) for i in indices]
    middle = (gutter[0] + gutter[1]) / 2
    ordered: list[tuple[int, int]] = []
    band: list[int] = []
    for i in indices:
        # A box that spans the gutter ends the columns above it and starts new ones below.
        if boxes[i].left < gutter[0] and boxes[i].right > gutter[1]:
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
