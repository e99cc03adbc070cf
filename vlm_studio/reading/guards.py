"""Against readers that skip, invent or repeat: simple checks on ink and text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np

from vlm_studio.core.documents import Box, Line

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_SKIPPED = 12
"""More places than this are texture, not writing, and are left alone."""


def has_ink(strip: Image) -> bool:
    """False for blank paper: nothing clearly darker than its surroundings."""
    grey = np.asarray(strip.convert("L")).astype(np.float32)
    if min(grey.shape) < 3:
        return False
    paper = cv2.GaussianBlur(grey, (0, 0), max(4.0, grey.shape[0] / 3))
    darker = paper - grey
    return bool((darker > 22).mean() > 0.004)


def skipped_ink(even: np.ndarray, lines: Sequence[Line]) -> list[Line]:
    """Places with as much ink as a word that no line covers. `even` is RGB with white paper."""
    height, width = even.shape[:2]
    ink = (even.max(axis=2) < 150).astype(np.uint8)
    # What reaches over much of the page in one piece is the table around it, or a frame.
    count, labels, stats, _ = cv2.connectedComponentsWithStats(ink)
    frames = [n for n in range(1, count) if stats[n, 2] > 0.3 * width and stats[n, 3] > 0.3 * height]
    ink[np.isin(labels, frames)] = 0
    for line in lines:
        box = line.box
        pad = 0.35 * box.height
        ink[
            max(0, int(box.top - pad)) : int(box.bottom + pad),
            max(0, int(box.left - pad)) : int(box.right + pad),
        ] = 0
    # Rulings and edges of the paper are long, thin or at the border.
    edge = max(2, round(0.012 * max(height, width)))
    ink[:edge], ink[-edge:], ink[:, :edge], ink[:, -edge:] = 0, 0, 0, 0
    for kernel in ((max(25, width // 14), 1), (1, max(25, height // 14))):
        rule = cv2.morphologyEx(ink, cv2.MORPH_OPEN, np.ones(kernel[::-1], np.uint8))
        ink[cv2.dilate(rule, np.ones((3, 3), np.uint8)) > 0] = 0
    usual = float(np.median([line.box.height for line in lines])) if lines else height / 30
    reach = max(3, int(0.5 * usual)) | 1
    joined = cv2.dilate(ink, np.ones((max(3, reach // 3), reach), np.uint8))
    count, _, stats, _ = cv2.connectedComponentsWithStats(joined)
    found: list[Line] = []
    for left, top, wide, high, _ in stats[1:count].tolist():
        amount = int(ink[top : top + high, left : left + wide].sum())
        looks = 0.45 * usual < high < 3 * usual and wide > 0.9 * usual
        if looks and amount > 0.035 * wide * high and amount > 0.12 * usual * usual:
            found.append(Line(Box(left, top, left + wide, top + high), maybe_skipped=True))
    return found if len(found) <= MAX_SKIPPED else []


_REPEATED = re.compile(r"(.{2,24}?)\1{4,}", re.DOTALL)


def repeats(text: str) -> bool:
    """True where the same piece of writing stands five times in a row, as a looping reader writes it.

    Dots, dashes and digits may: contents, rules and columns of numbers look so.
    """
    return any(any(c.isalpha() for c in found[1]) for found in _REPEATED.finditer(text + " "))
