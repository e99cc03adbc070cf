"""One light for every page: shadows go, ink stays, pencil gets as dark as ink."""

from __future__ import annotations

import numpy as np
from PIL import Image

from tests.reading.pages import PAPER, draw, line_strip, shadowed
from vlm_studio.reading.light import dark_on_light, deepen_ink, even_strip, flatten_light


def test_light_is_evened_out() -> None:
    page = shadowed(draw([(60, 40, "some writing in the shade")]))
    even = flatten_light(np.asarray(page), 23)
    assert even[200, 20].min() > 235 and even[200, 880].min() > 235
    assert (even[40:80, 60:300].max(axis=2) < 140).sum() > 200, "the ink is still dark"


def test_the_hard_edge_of_a_shadow_is_no_ink() -> None:
    pixels = np.full((200, 400, 3), 240, np.uint8)
    pixels[:, :180] = 90
    even = flatten_light(pixels, 21)
    assert (even.min(axis=2) < 170).mean() < 0.02


def test_pencil_is_darkened_and_ink_left() -> None:
    sheet = np.full((120, 600, 3), 255, np.uint8)
    sheet[50:54, 40:200] = 215
    sheet[50:54, 400:560] = 40
    deep = deepen_ink(sheet, 25)
    assert deep[52, 120, 0] < 170
    assert abs(int(deep[52, 480, 0]) - 40) < 5
    assert deep[10, 300].min() == 255


def test_noise_is_not_made_ink() -> None:
    noise = np.random.default_rng(0).normal(250, 2.5, (100, 300, 3)).clip(0, 255).astype(np.uint8)
    assert deepen_ink(noise, 21).min() > 215


def test_a_strip_keeps_its_size_and_a_sliver_is_left() -> None:
    strip = line_strip("the quick brown fox")
    assert even_strip(strip).size == strip.size
    sliver = Image.new("RGB", (40, 3), PAPER)
    assert even_strip(sliver) is sliver


def test_chalk_is_turned_into_ink_and_ink_in_shadow_is_left() -> None:
    ink = np.asarray(line_strip("the quick brown fox"))
    assert np.array_equal(dark_on_light(255 - ink, 24), ink)
    assert np.array_equal(dark_on_light(ink, 24), ink)
    night = (ink * 0.35).astype(np.uint8)
    assert np.array_equal(dark_on_light(night, 24), night)
    half = night.copy()
    half[:, half.shape[1] // 2 :] //= 2
    assert np.array_equal(dark_on_light(half, 24), half)
