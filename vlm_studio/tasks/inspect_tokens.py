"""The pooled tokens of one crop: where each looks, what it says, what none of them keeps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

import vlm_studio.trace.maps as maps
from vlm_studio.core.documents import Box
from vlm_studio.core.traces import Area, Crop
from vlm_studio.tasks.inspect_feed import fed_image
from vlm_studio.tasks.inspect_look import Checked, Look
from vlm_studio.trace.honesty import hidden

STRONGEST = 8
"""Tokens that are named for a marked part at most."""


@dataclass(frozen=True, slots=True)
class CropTokens:
    crop: Crop
    kept: np.ndarray
    """[latent, rows, cols]: what each took from the patches, sums to 1."""
    labels: tuple[str, ...]
    """What each spells (nano) or is nearest to; empty text: nothing."""
    says: tuple[str, ...]
    """The nearest of the language model's words; empty where not recorded."""
    spells: bool
    coverage: np.ndarray
    """[rows, cols], 1 = an even share."""
    missed: float
    """Share of the patches that hardly any token keeps, 0..1."""
    similarity: np.ndarray | None
    rank: float
    """Effective rank, 1..latents; 0 where not recorded."""


def crop_tokens(look: Look, crop: int) -> CropTokens:
    """Raises TraceUnavailable where the perceiver was not recorded."""
    kept = maps.token_patches(look.trace, crop)
    pooled = look.trace.pooled
    none = ("",) * len(kept)
    says = pooled.says[crop] if pooled is not None and pooled.says else none
    spells = pooled is not None and bool(pooled.spells)
    return CropTokens(
        crop=look.trace.crops[crop],
        kept=kept,
        labels=pooled.spells[crop] if pooled is not None and pooled.spells else says,
        says=says,
        spells=spells,
        coverage=maps.coverage(kept),
        missed=maps.forgotten_share(kept),
        similarity=None if pooled is None else pooled.similarity[crop],
        rank=0.0 if pooled is None else pooled.effective_rank[crop],
    )


def tokens_of_pixels(tokens: CropTokens, part: Box) -> list[int]:
    """The tokens that keep most of a part of the crop, the strongest first; `part` in shares of the crop, 0..1."""
    box = tokens.crop.box
    region = Box(
        box.left + part.left * box.width,
        box.top + part.top * box.height,
        box.left + part.right * box.width,
        box.top + part.bottom * box.height,
    )
    shares = maps.tokens_of_region(tokens.kept, tokens.crop, region)
    order = np.argsort(shares)[::-1]
    top = float(shares[order[0]])
    return [int(i) for i in order[:STRONGEST] if shares[i] > max(0.1, 0.35 * top)]


def seen_by(pages: dict[str, Image.Image], look: Look, crop: int) -> Image.Image:
    """The image that a crop shows: a strip, or a part of a page. `pages` are the fed pages by id."""
    found = look.trace.crops[crop]
    if found.kind == "strip":
        fed = look.inspection.fed[crop]
        return fed_image(pages[fed.page_id], fed)
    page = next(p for p in look.pages if p.page.image_sha256 == found.image_sha256)
    box = found.box
    return pages[page.id].crop((int(box.left), int(box.top), int(box.right), int(box.bottom)))


def masked_examples(
    pages: dict[str, Image.Image], look: Look, checked: Checked
) -> list[tuple[Area, Image.Image]]:
    """What the model was shown in a test: the fed image that has most of the hot area, with each area painted over."""
    page = next(p for p in look.pages if p.page.image_sha256 == checked.page_sha256)
    size = (page.page.height_px, page.page.width_px)
    hot = checked.masks[0][1]
    fed = max(
        (f for f in look.inspection.fed if f.page_id == page.id), key=lambda f: _cells_in(hot, f.box, size)
    )
    image = np.asarray(fed_image(pages[page.id], fed).convert("RGB"))
    examples: dict[Area, Image.Image] = {}
    for area, mask in checked.masks:
        examples.setdefault(area, Image.fromarray(hidden(image, mask, fed.box, size)))
    return list(examples.items())


def _cells_in(mask: np.ndarray, box: Box, size: tuple[int, int]) -> int:
    """Masked cells within a box of a page of `size` (height, width)."""
    down, across = mask.shape[0] / size[0], mask.shape[1] / size[1]
    rows = slice(int(box.top * down), int(box.bottom * down) + 1)
    cols = slice(int(box.left * across), int(box.right * across) + 1)
    return int(mask[rows, cols].sum())
