"""Masks of one size, painted where they belong, and verdicts that a bad map cannot earn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlm_studio.core.documents import Box
from vlm_studio.core.traces import Area, MaskedDrop
from vlm_studio.trace import honesty

AREAS: tuple[Area, ...] = ("hot", "cold", "random", "centre")


@given(st.integers(0, 50), st.floats(0.05, 0.6), st.booleans())
def test_all_areas_hide_exactly_as_much_and_only_what_was_fed(seed: int, share: float, flat: bool) -> None:
    values = np.zeros((30, 40)) if flat else np.random.default_rng(seed).random((30, 40))
    fed = honesty.fed_cells([Box(0, 0, 200, 60), Box(0, 240, 400, 300)], (300, 400), (30, 40))
    assert fed.sum() == 6 * 20 + 6 * 40
    masks = {area: honesty.area_mask(values, fed, area, share, seed) for area in AREAS}
    assert {int(mask.sum()) for mask in masks.values()} == {max(1, round(fed.sum() * share))}
    assert not any((mask & ~fed).any() for mask in masks.values())
    if not flat and share < 0.5:
        assert values[masks["hot"]].min() > values[masks["cold"]].max()
    assert np.array_equal(honesty.area_mask(values, fed, "blank", share), fed)


def test_a_mask_of_the_page_is_painted_on_the_strip_that_shows_it() -> None:
    mask = np.zeros((10, 10), dtype=bool)
    mask[4, 5] = True  # page pixels 40-50 down, 50-60 across
    strip = np.full((20, 60, 3), 200, dtype=np.uint8)
    strip[8:12] = 10
    painted = honesty.hidden(strip, mask, Box(30, 40, 60, 50), (100, 100))
    assert (painted[:, 40:] == 200).all() and np.array_equal(painted[:, :40], strip[:, :40])
    assert strip[9, 50, 0] == 10


def drops(hot: float, cold: float, random: float, centre: float, blank: float) -> list[MaskedDrop]:
    values = {"hot": hot, "cold": cold, "centre": centre, "blank": blank}
    found = [MaskedDrop(area, 0.2, value) for area, value in values.items()]  # type: ignore[arg-type]
    return [*found, MaskedDrop("random", 0.2, random), MaskedDrop("random", 0.2, random / 2)]


def test_a_map_no_better_than_random_is_called_so() -> None:
    good = honesty.judged(drops(3.0, 0.0, 0.5, 0.4, 5.0))
    assert good.better_than_random and good.verdict.startswith("Believe it")
    for bad in (drops(0.4, 0.0, 0.5, 0.1, 5.0), drops(1.0, 1.5, 0.2, 0.0, 5.0), drops(-1.0, 0, -2.0, 0, 4.0)):
        found = honesty.judged(bad)
        assert not found.better_than_random and found.verdict.startswith("Do not believe it")
    assert "Half a reason" in honesty.judged(drops(1.0, 0.0, 0.5, 2.0, 5.0)).verdict
    assert "hardly needs the picture" in honesty.judged(drops(0.02, 0.0, 0.0, 0.0, 0.01)).verdict


def test_words_are_read_guessed_or_between() -> None:
    assert honesty.word_source("cat", 0, 1, 0.9, 0.01).source == "read"
    assert honesty.word_source("the", 0, 0, 0.9, 0.88).source == "guessed"
    assert honesty.word_source("of", 0, 0, 0.9, 0.6).source == "mixed"


def test_curves() -> None:
    assert honesty.curve_area([1.0, 1.0, 1.0]) == pytest.approx(1.0)
    assert honesty.curve_area([1.0, 0.0]) == pytest.approx(0.5)
    assert honesty.curve_area([2.0, 2.0]) == pytest.approx(1.0)
