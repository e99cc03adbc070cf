"""Small pages drawn for the tests, and the things of a page that tests ask about."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

PAPER = (252, 250, 244)
LEFT = ("the quick brown fox", "jumps over a lazy dog", "while seven wise owls", "watch from old trees")
RIGHT = ("near the river bank", "stone walls hold the", "warm light of a late", "spring morning sun")


def draw(
    texts: Sequence[tuple[float, float, str]], size: tuple[int, int] = (900, 420), font: int = 28
) -> Image.Image:
    """A page with each (x, y, text) in dark ink."""
    page = Image.new("RGB", size, PAPER)
    pen = ImageDraw.Draw(page)
    for x, y, text in texts:
        pen.text((x, y), text, fill=(30, 30, 60), font=ImageFont.load_default(size=font))
    return page


def two_columns(heading: str = "") -> Image.Image:
    """LEFT beside RIGHT, under a heading over both where there is one."""
    texts = [(60.0, 130.0 + 62 * n, text) for n, text in enumerate(LEFT)]
    texts += [(500.0, 140.0 + 62 * n, text) for n, text in enumerate(RIGHT)]
    return draw([(160.0, 50.0, heading), *texts] if heading else texts)


def turned(page: Image.Image, degrees: float) -> Image.Image:
    """Counter-clockwise, nothing cut off."""
    return page.rotate(degrees, resample=Image.Resampling.BICUBIC, expand=True, fillcolor=PAPER)


def shadowed(page: Image.Image) -> Image.Image:
    """A hard shadow from the left: a third of the light is left at the edge."""
    pixels = np.asarray(page).astype(np.float64)
    light = np.linspace(0.33, 1.0, page.width)[None, :, None]
    return Image.fromarray((pixels * light).astype(np.uint8))


def line_strip(text: str, font: int = 34) -> Image.Image:
    """One line, cut close."""
    length = ImageFont.load_default(size=font).getlength(text)
    return draw([(8, 2, text)], (int(length) + 16, round(font * 1.4)), font)
