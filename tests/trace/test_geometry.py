"""The arithmetic says what transformers' own processor does, pixel for pixel and patch for patch."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from vlm_studio.core.documents import Box, Line
from vlm_studio.trace.geometry import IDEFICS2_8B, feed_cost, page_crops, strip_crop, writing_size

SHA = "a" * 64


@pytest.mark.parametrize("hw", [(1754, 1240), (480, 640), (110, 1900), (97, 2001), (3000, 401), (700, 700)])
@pytest.mark.parametrize("split", [False, True])
def test_sizes_and_padding_equal_the_processors(hw: tuple[int, int], split: bool) -> None:
    from transformers.models.idefics2 import Idefics2ImageProcessor

    picture = Image.fromarray(np.random.default_rng(1).integers(0, 255, (*hw, 3), dtype=np.uint8))
    found = Idefics2ImageProcessor()([picture], do_image_splitting=split, return_tensors="pt")
    mask = found["pixel_attention_mask"][0]
    crops = page_crops(SHA, hw, split)
    assert len(crops) == len(mask)
    for crop, seen in zip(crops, mask, strict=True):
        real = int(seen[:, 0].sum()), int(seen[0].sum())
        assert crop.model_size_hw == real
        assert crop.patch_hw == (real[0] // 14, real[1] // 14)
        assert crop.grid_hw == (seen.shape[0] // 14, seen.shape[1] // 14)


def test_pooled_tokens_stand_between_their_marks() -> None:
    from transformers.models.idefics2.processing_idefics2 import Idefics2Processor

    assert Idefics2Processor is not None
    spans = [crop.token_positions for crop in page_crops(SHA, (480, 640), True, first_token=7)]
    assert spans == [(8, 72), (73, 137), (138, 202), (203, 267), (268, 332)]
    assert feed_cost(page_crops(SHA, (480, 640), True)).prompt_tokens == 326
    assert feed_cost(page_crops(SHA, (480, 640), False)).prompt_tokens == 66


def test_splitting_costs_what_was_computed_before() -> None:
    on, off = (feed_cost(page_crops(SHA, (1754, 1240), split)) for split in (True, False))
    assert (off.patches, on.patches, on.padded_patches) == (3430, 14342, 17150)
    assert off.vision_tflop == pytest.approx(5.1, rel=0.05) and on.vision_tflop == pytest.approx(
        25.3, rel=0.05
    )
    assert on.kv_bytes == 326 * 131072


def test_writing_is_measured_where_the_model_sees_it_largest() -> None:
    lines = [Line(Box(100, 100, 500, 140)), Line(Box(100, 860, 1100, 900))]
    off = writing_size(lines, page_crops(SHA, (1754, 1240), False))
    on = writing_size(lines, page_crops(SHA, (1754, 1240), True))
    assert (
        off is not None and off.median_px == pytest.approx(40 * 980 / 1754, abs=0.1) and off.cut_by_seam == 0
    )
    # The first lies within a tile that is not reduced; the second crosses from tile to tile.
    assert on is not None and on.median_px == pytest.approx((40 + 40 * 980 / 1754) / 2, abs=0.5)
    assert on.cut_by_seam == 1
    assert writing_size([], page_crops(SHA, (100, 100), False)) is None


def test_tiles_cut_elsewhere_are_followed() -> None:
    parts = (Box(0, 0, 620, 800), Box(620, 0, 1240, 800), Box(0, 800, 620, 1754), Box(620, 800, 1240, 1754))
    crops = page_crops(SHA, (1754, 1240), True, geometry=IDEFICS2_8B, tiles=parts)
    assert [crop.box for crop in crops[:4]] == list(parts) and crops[4].kind == "whole"
    assert crops[2].model_size_hw == (954, 620)


@pytest.mark.parametrize("size", [(640, 48), (1000, 33), (20, 60), (9000, 40), (333, 77)])
def test_a_strip_has_the_size_that_the_tower_is_fed(size: tuple[int, int]) -> None:
    from vlm_studio.model.characters import FRAME_PIXELS, prepare_strip

    fed = prepare_strip(np.zeros((size[1], size[0]), dtype=np.uint8))
    crop = strip_crop(SHA, size)
    assert crop.model_size_hw == fed.shape[1:] and crop.patch_hw == (1, fed.shape[2] // FRAME_PIXELS)
