"""Maps: weights land on the right pixels, mass is kept, and what is special to a word stays."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlm_studio.core.documents import Box
from vlm_studio.core.errors import InvalidRequest, TraceUnavailable
from vlm_studio.core.traces import Crop, Trace
from vlm_studio.trace import maps

SHA = "a" * 64
PAGE = (200, 280)
"""Height, width."""


def quadrant(ordinal: int, box: Box, start: int, kind: str = "tile") -> Crop:
    # 5 x 7 patches of 14 px are real, the padded grid is 6 x 9.
    return Crop(SHA, ordinal, kind, box, (5, 7), (6, 9), (start, start + 4), (70, 98), (14, 14))  # type: ignore[arg-type]


CROPS = (
    quadrant(0, Box(0, 0, 140, 100), 2),
    quadrant(1, Box(140, 0, 280, 100), 8),
    quadrant(2, Box(0, 100, 140, 200), 14),
    quadrant(3, Box(140, 100, 280, 200), 20),
    quadrant(4, Box(0, 0, 280, 200), 26, "whole"),
)


def one_hot(crop: int, row: int, col: int, latent: int = 1) -> Trace:
    perceiver = np.zeros((5, 2, 4, 54), dtype=np.float16)
    perceiver[crop, :, latent, row * 9 + col] = 1
    decoder = np.zeros((3, 2, 20), dtype=np.float16)
    decoder[1, :, crop * 4 + latent] = 0.5
    decoder[2, :, (crop * 4 + latent + 1) % 20] = 0.5
    return Trace(
        perceiver,
        decoder,
        (0, 1),
        CROPS,
        ("a", "b", "c"),
        (-1.0, -1.0, -1.0),
        "tiny",
        None,
        perceiver_latents=np.zeros((5, 2, 4, 4), dtype=np.float16),
    )


@pytest.mark.parametrize("method", ["raw", "rollout", "contrast"])
@given(crop=st.integers(0, 4), row=st.integers(0, 4), col=st.integers(0, 6))
def test_a_one_hot_weight_lands_on_its_pixels(method: str, crop: int, row: int, col: int) -> None:
    found = maps.word_map(one_hot(crop, row, col), [1], SHA, PAGE, method, side=280)  # type: ignore[arg-type]
    box = CROPS[crop].box
    high, wide = box.height / 5, box.width / 7
    expected = np.zeros(PAGE, dtype=bool)
    top, left = round(box.top + row * high), round(box.left + col * wide)
    expected[top : top + round(high), left : left + round(wide)] = True
    assert found.grid.shape == PAGE
    assert np.array_equal(found.grid > 0.5, expected)
    assert found.grid[~expected].max() < 1e-6


def test_words_that_look_elsewhere_get_their_own_map() -> None:
    with pytest.raises(InvalidRequest):
        maps.word_map(one_hot(0, 0, 0), [3], SHA, PAGE)
    with pytest.raises(InvalidRequest):
        maps.word_map(one_hot(0, 0, 0), [1], "b" * 64, PAGE)
    with pytest.raises(TraceUnavailable):
        maps.word_map(replace(one_hot(0, 0, 0), perceiver=np.zeros((0, 0, 0, 0))), [1], SHA, PAGE)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(20, 300), st.integers(20, 300), st.integers(0, 99))
def test_mass_is_kept_at_any_size(rows: int, cols: int, high: int, wide: int, seed: int) -> None:
    grid = np.random.default_rng(seed).random((rows, cols))
    crop = Crop(
        SHA, 0, "strip", Box(3, 2, wide - 4, high - 5), (rows, cols), (rows, cols + 3), (0, 64), (48, 333)
    )
    placed = maps.place([grid], [crop], (high, wide))
    assert np.isclose(placed.sum(), grid.sum())
    assert placed.shape == maps.cells_of((high, wide))


def test_patches_end_where_the_fed_pixels_end() -> None:
    # 620 px hold 44 patches of 14; the last 4 px belong to no patch. A pooled grid's last patch is cut short.
    crop = Crop(SHA, 0, "whole", Box(0, 0, 620, 877), (62, 44), (62, 44), (0, 64), (877, 620), (14, 14))
    rows, cols = maps.patch_edges(crop)
    assert cols[-1] == 616 and rows[-1] == 868
    coarse = replace(crop, patch_hw=(31, 22), grid_hw=(31, 22), patch_px=(29, 29))
    assert maps.patch_edges(coarse)[1][-1] == 620


def test_compose_follows_latents_back_to_patches() -> None:
    # Layer 0: latent 0 reads patch 0, latent 1 reads patch 1. Layer 1: latent 0 copies latent 1.
    patches = np.array([[[1.0, 0.0], [0.0, 1.0]], [[0.0, 0.0], [0.0, 0.0]]])
    latents = np.array([[[0.0, 0.0], [0.0, 0.0]], [[0.0, 1.0], [0.0, 1.0]]])
    kept = maps.compose(patches, latents)
    assert np.allclose(kept, [[0.5, 0.5], [0.0, 1.0]])
    assert np.allclose(maps.compose(patches, None), [[1.0, 0.0], [0.0, 1.0]])


def test_contrast_drops_what_every_word_looks_at() -> None:
    trace = one_hot(0, 0, 0)
    decoder = trace.decoder.copy()
    decoder[:, :, 19] = 0.9  # a sink
    weights = maps.word_weights(replace(trace, decoder=decoder), [1], "contrast")
    assert weights.argmax() == 1 and weights[19] < 1e-6
    assert maps.word_weights(replace(trace, decoder=decoder), [1], "raw").argmax() == 19


def test_effective_rank_and_similarity() -> None:
    assert maps.effective_rank(np.eye(6)) == pytest.approx(6)
    assert maps.effective_rank(np.outer(np.arange(1, 7), np.ones(3))) == pytest.approx(1)
    assert maps.effective_rank(np.zeros((4, 3))) == 1
    cosine = maps.similarity(np.array([[1.0, 0.0], [2.0, 0.0], [0.0, 3.0], [0.0, 0.0]]))
    assert np.allclose(cosine, [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]])


def test_coverage_and_the_pixels_nobody_keeps() -> None:
    kept = np.zeros((2, 1, 4))
    kept[0, 0, 0] = kept[1, 0, 1] = 1
    assert np.allclose(maps.coverage(kept), [[2, 2, 0, 0]])
    assert maps.forgotten_share(kept) == 0.5


def test_region_finds_its_tokens_and_its_words() -> None:
    trace = one_hot(1, 2, 3, latent=2)
    kept = maps.token_patches(trace, 1)
    shares = maps.tokens_of_region(kept, CROPS[1], Box(200, 40, 220, 60))
    assert shares.argmax() == 2 and shares[2] == pytest.approx(1)
    scores = maps.words_of_region(trace, [(0, 0), (1, 1), (2, 2)], Box(200, 40, 220, 60), SHA, PAGE)
    assert scores[1] > 50 and scores[0] == 0 and scores[2] == 0


def test_measures() -> None:
    values = np.zeros((10, 20))
    values[2, 3] = 3
    values[9, 19] = 1
    inside = maps.box_mask(Box(30, 20, 40, 30), (100, 200), (10, 20))
    assert maps.mass_inside(values, inside) == 0.75
    assert maps.points_inside(values, inside)
    assert maps.box_mask(Box(0, 0, 100, 100), (100, 200), (10, 20)).mean() == pytest.approx(0.5)
    assert maps.hottest(np.zeros((10, 20)), 0.1).sum() == 20
    assert maps.centre_map((11, 11)).argmax() == 60
    assert maps.random_map((6, 6), (2, 2), 1)[0, 0] == maps.random_map((6, 6), (2, 2), 1)[2, 2]
