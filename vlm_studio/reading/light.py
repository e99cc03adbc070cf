"""Pages and strips as under one light: shadows and paper tone divided out, faint pencil made as dark as ink."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
from PIL import Image as PilImage

if TYPE_CHECKING:
    from PIL.Image import Image

_DARKEST_PAPER = 20
"""Below this a pixel is no paper in shadow but a table or the night around it; dividing would make noise of it."""
_INK = 130.0
"""How much darker than its paper faint writing is made."""
_FAINTEST = 24.0
"""Less contrast than this (of 255) is paper, its other side or the camera's noise, and stays as it is."""
_STRONGEST = 3.5

_DARK = 110
"""A picture of writing whose middle brightness (of 255) is below this may be light on dark."""


def dark_on_light(rgb: np.ndarray, reach: int) -> np.ndarray:
    """uint8 (H, W, 3) in, the same out; light writing on a dark ground (a blackboard, a dark screen) is turned over.

    Writing covers less than the paper around it, so brightness against the surroundings (`reach` pixels wide) is
    skewed to the side of the ink. The edge of a shadow, or of a sheet on a dark table, is as light as it is dark.
    """
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.float32)
    if float(np.median(grey)) >= _DARK:
        return rgb
    apart = grey - cv2.GaussianBlur(grey, (0, 0), max(2.0, reach / 2))
    spread = float(apart.std())
    skewed = float((apart**3).mean()) > 0.5 * spread**3
    return np.asarray(255 - rgb) if skewed and spread > 2 else rgb


def flatten_light(rgb: np.ndarray, reach: int) -> np.ndarray:
    """uint8 (H, W, 3) in, the same out: ink stays, paper becomes white.

    `reach` (pixels) is wider than any stroke and narrower than the shadows. The paper under the ink is found by
    a morphological closing, which follows the hard edge of a shadow where a blur would smear it.
    """
    wide = max(3, reach) | 1
    paper = cv2.morphologyEx(rgb, cv2.MORPH_CLOSE, np.ones((wide, wide), np.uint8))
    paper = cv2.GaussianBlur(paper, (0, 0), wide / 8)
    even = rgb.astype(np.float32) / np.maximum(paper, _DARKEST_PAPER).astype(np.float32) * 255
    return np.clip(even, 0, 255).astype(np.uint8)


def deepen_ink(even: np.ndarray, reach: int) -> np.ndarray:
    """`even` as `flatten_light` gives it, with faint writing darkened; `reach` (pixels) is about a line's height.

    The gain follows the darkest ink around, so that a pencil note beside ink is lifted and the ink is left.
    """
    ink = 255.0 - even.astype(np.float32)
    level = ink.min(axis=2)
    # Smoothed a little: one speck of dust must not decide for the writing around it.
    peak = cv2.dilate(cv2.GaussianBlur(level, (0, 0), 1.2), np.ones((reach | 1, reach | 1), np.uint8))
    peak = cv2.GaussianBlur(peak, (0, 0), max(1.0, reach / 2))
    gain = np.clip(_INK / np.maximum(peak, 1.0), 1.0, _STRONGEST)
    there = np.clip((peak - 0.6 * _FAINTEST) / (0.4 * _FAINTEST), 0.0, 1.0)
    gain = 1.0 + (gain - 1.0) * there
    return np.clip(255.0 - ink * gain[..., None], 0, 255).astype(np.uint8)


def even_strip(strip: Image) -> Image:
    """A cut line on white paper with dark ink, whatever light it was photographed in. Same size, RGB."""
    rgb = np.asarray(strip.convert("RGB"))
    if min(rgb.shape[:2]) < 8:
        return strip
    return PilImage.fromarray(deepen_ink(flatten_light(rgb, rgb.shape[0] // 2), rgb.shape[0] // 2))
