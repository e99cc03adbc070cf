"""Lines cut out of a page, and the way back."""

from __future__ import annotations

import math

import numpy as np
import pytest
from PIL import Image, ImageDraw

from tests.reading.pages import shadowed
from vlm_studio.core.documents import Box, Line, Point
from vlm_studio.reading.strips import ENDS, TRIM, cut_strip, split_at_gaps


def slanted(centre: Point, width: float, height: float, degrees: float) -> tuple[Point, Point, Point, Point]:
    """Corners, clockwise from the top left, of a rectangle turned by `degrees` (clockwise on the page)."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    halves = ((-width, -height), (width, -height), (width, height), (-width, height))
    a, b, c, d = (
        (centre[0] + (x * cos - y * sin) / 2, centre[1] + (x * sin + y * cos) / 2) for x, y in halves
    )
    return a, b, c, d


def around(quad: tuple[Point, ...]) -> Box:
    xs, ys = [x for x, _ in quad], [y for _, y in quad]
    return Box(min(xs), min(ys), max(xs), max(ys))


@pytest.mark.parametrize("degrees", [-12, -4, 3, 15])
def test_the_strip_of_a_slanted_line_is_upright(degrees: float) -> None:
    page = Image.new("RGB", (700, 500), "white")
    ImageDraw.Draw(page).polygon(slanted((350, 250), 400, 20, degrees), fill="black")
    quad = slanted((350, 250), 420, 60, degrees)
    strip = cut_strip(page, Line(around(quad), quad)).image
    assert strip.size == pytest.approx((420 + 120 * ENDS, 60 - 120 * TRIM), abs=1)
    dark = np.asarray(strip.convert("L")) < 128
    tops = dark[:, 25:400].argmax(axis=0)
    assert np.abs(tops - (20 - 60 * TRIM)).max() <= 1.5, "the bar's upper edge is level"
    assert dark[:, 25:400].sum(axis=0) == pytest.approx(20, abs=2)


def test_an_upright_line_is_cut_like_a_slanted_one() -> None:
    page = Image.new("RGB", (700, 500), "white")
    quad = slanted((350, 250), 420, 60, 0)
    box = around(quad)
    upright, turned = cut_strip(page, Line(box)), cut_strip(page, Line(box, quad))
    assert upright.image.size == pytest.approx(turned.image.size, abs=1)
    whole = Box(0, 0, *upright.image.size)
    for strip in (upright, turned):
        on_page = strip.on_page(whole)
        assert (on_page.left, on_page.top) == pytest.approx((140 - 60 * ENDS, 220 + 60 * TRIM), abs=1.5)


@pytest.mark.parametrize("degrees", [0, 7, -10])
def test_a_word_box_maps_back_to_its_ink(degrees: float) -> None:
    page = Image.new("RGB", (700, 500), "white")
    quad = slanted((350, 250), 420, 60, degrees)
    spot = (quad[0][0] * 0.3 + quad[2][0] * 0.7, quad[0][1] * 0.3 + quad[2][1] * 0.7)
    ImageDraw.Draw(page).ellipse((spot[0] - 5, spot[1] - 5, spot[0] + 5, spot[1] + 5), fill="black")
    strip = cut_strip(page, Line(around(quad), quad if degrees else None))
    ys, xs = np.nonzero(np.asarray(strip.image.convert("L")) < 128)
    found = strip.on_page(Box(xs.min(), ys.min(), xs.max() + 1, ys.max() + 1))
    assert (found.left + found.right) / 2 == pytest.approx(spot[0], abs=1.5)
    assert (found.top + found.bottom) / 2 == pytest.approx(spot[1], abs=1.5)
    assert found.width == pytest.approx(11, abs=4)


def test_a_line_at_the_edge_of_the_page_is_cut_within_it() -> None:
    page = Image.new("RGB", (300, 100), "white")
    strip = cut_strip(page, Line(Box(-5, 60, 305, 100)))
    assert strip.image.size[0] <= 300 and min(strip.image.getpixel((0, strip.image.height - 1))) == 255
    quad = slanted((150, 90), 320, 40, 4)
    edge = cut_strip(page, Line(around(quad), quad)).image
    assert np.asarray(edge).min() == 255, "what lies outside is paper, not black"


def long_line() -> tuple[Image.Image, list[tuple[int, int]]]:
    """A strip 40 px high of black blocks with gaps, and the gaps."""
    strip = Image.new("RGB", (2600, 40), "white")
    pen, gaps, x = ImageDraw.Draw(strip), [], 10
    for number in range(24):
        width = 60 + 17 * (number * 7 % 5)
        # Letters with their small gaps: a cut there would part a word.
        for letter in range(x, x + width - 10, 13):
            pen.rectangle((letter, 10, letter + 9, 30), fill="black")
        last = letter + 9
        x += width + 14
        gaps.append((last, x))
    return strip.crop((0, 0, x, 40)), gaps


@pytest.mark.parametrize("light", ["even", "shadow"])
def test_a_long_line_is_cut_at_word_gaps_only(light: str) -> None:
    strip, gaps = long_line()
    strip = shadowed(strip) if light == "shadow" else strip
    pieces = split_at_gaps(strip, max_ratio=12)
    assert len(pieces) > 3
    for offset, piece in pieces:
        assert piece.width <= 12 * 40 and piece.height == 40
        assert offset == 0 or any(start < offset < stop for start, stop in gaps), f"cut at {offset}"
    assert [offset for offset, _ in pieces] == list(np.cumsum([0, *(p.width for _, p in pieces[:-1])]))
    assert pieces[-1][0] + pieces[-1][1].width == strip.width, "nothing is lost"


def test_a_short_line_stays_whole() -> None:
    strip, _ = long_line()
    assert split_at_gaps(strip.crop((0, 0, 400, 40)), 12)[0][1].size == (400, 40)
