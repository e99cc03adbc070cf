"""What an Idefics2 image processor makes of an image, and what that costs: by arithmetic, without any weights.

Sizes follow transformers' `Idefics2ImageProcessor`: each side is clamped by itself, tiles are cut first and resized
after, everything is padded to the largest crop. A test compares them with the processor's own output.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from vlm_studio.core.documents import Box, Line
from vlm_studio.core.traces import Crop


@dataclass(frozen=True, slots=True)
class Geometry:
    """The numbers of a model's configuration that decide what it sees; defaults are those of idefics2-8b."""

    longest_edge: int = 980
    shortest_edge: int = 378
    patch: int = 14
    latents: int = 64
    vision_layers: int = 27
    vision_size: int = 1152
    vision_mlp: int = 4304
    projection_weights: int = 91_750_400
    resampler_layers: int = 3
    resampler_size: int = 4096
    resampler_heads: int = 16
    resampler_head_size: int = 96
    resampler_kv_heads: int = 4
    language_layers: int = 32
    language_weights: int = 6_979_600_000
    """Of the decoder's layers, embeddings left out."""
    kv_bytes_per_token: int = 131_072
    """Keys and values of all layers in 16 bits."""


IDEFICS2_8B = Geometry()


@dataclass(frozen=True, slots=True)
class FeedCost:
    """What feeding images this way costs."""

    crops: int
    patches: int
    """Real ones."""
    padded_patches: int
    """Computed ones: every crop is padded to the largest."""
    image_tokens: int
    """Pooled tokens that the language model sees."""
    prompt_tokens: int
    """The same with the marks around them."""
    vision_tflop: float
    """Vision tower and connector over the padded patches."""
    language_tflop: float
    """Prefill of these tokens."""
    kv_bytes: int
    """Kept by the language model for these tokens, in 16 bits."""


@dataclass(frozen=True, slots=True)
class WritingSize:
    """How large the lines of a page are for the model."""

    median_px: float
    smallest_px: float
    """Height of a line in the pixels that the tower is fed, through the crop that shows it largest."""
    cut_by_seam: int
    """Lines that lie across the border of two tiles."""


def resized_hw(height: int, width: int, geometry: Geometry = IDEFICS2_8B) -> tuple[int, int]:
    """Height, width that the processor resizes an image to. Thin images lose their aspect ratio, as in the original."""
    ratio, longest = width / height, geometry.longest_edge
    if width >= height and width > longest:
        height, width = int(longest / ratio), longest
    elif height > width and height > longest:
        height, width = longest, int(longest * ratio)
    return max(height, geometry.shortest_edge), max(width, geometry.shortest_edge)


def page_crops(
    image_sha256: str,
    image_hw: tuple[int, int],
    split: bool,
    first_token: int = 0,
    geometry: Geometry = IDEFICS2_8B,
    tiles: Sequence[Box] = (),
    alone: bool = False,
) -> tuple[Crop, ...]:
    """The crops of one image: top left, top right, bottom left, bottom right, whole; or only the whole.

    `first_token` is the place in the prompt of the mark before the image; `tiles` are the parts where an image is
    cut elsewhere than in the middle; `alone`: no crop is padded to another's size.
    """
    height, width = image_hw
    middle_y, middle_x = height // 2, width // 2
    boxes = [Box(0, 0, width, height)]
    if split and tiles:
        boxes = [*tiles, *boxes]
    elif split:
        quarters = [(0, 0, middle_x, middle_y), (middle_x, 0, width, middle_y)]
        quarters += [(0, middle_y, middle_x, height), (middle_x, middle_y, width, height)]
        boxes = [*(Box(*quarter) for quarter in quarters), *boxes]
    sizes = [resized_hw(int(box.height), int(box.width), geometry) for box in boxes]
    patch = geometry.patch
    grid = max(h for h, _ in sizes) // patch, max(w for _, w in sizes) // patch
    crops = []
    for ordinal, (box, (high, wide)) in enumerate(zip(boxes, sizes, strict=True)):
        start = first_token + 1 + ordinal * (geometry.latents + 1)
        crops.append(
            Crop(
                image_sha256=image_sha256,
                ordinal=ordinal,
                kind="whole" if ordinal == len(boxes) - 1 else "tile",
                box=box,
                patch_hw=(high // patch, wide // patch),
                grid_hw=(high // patch, wide // patch) if alone else grid,
                token_positions=(start, start + geometry.latents),
                model_size_hw=(high, wide),
                patch_px=(patch, patch),
            )
        )
    return tuple(crops)


STRIP_HEIGHT, FRAME, WIDEST, NARROWEST = 48, 8, 2400, 32
"""Pixels, of nano: what it is fed is one row of frames."""


def strip_crop(image_sha256: str, size: tuple[int, int], latents: int = 64) -> Crop:
    """A line of writing (width, height) as nano is fed it, before anything is asked."""
    width, height = size
    wide = min(max(math.ceil(STRIP_HEIGHT * width / height), NARROWEST), WIDEST)
    frames = max(1, wide // FRAME)
    return Crop(
        image_sha256=image_sha256,
        ordinal=0,
        kind="strip",
        box=Box(0, 0, width, height),
        patch_hw=(1, frames),
        grid_hw=(1, frames),
        token_positions=(0, latents),
        model_size_hw=(STRIP_HEIGHT, wide),
        patch_px=(STRIP_HEIGHT, FRAME),
    )


def feed_cost(crops: Sequence[Crop], geometry: Geometry = IDEFICS2_8B) -> FeedCost:
    """Patches, tokens and arithmetic of feeding these crops; a multiplication and an addition are two operations."""
    patches = sum(crop.patch_hw[0] * crop.patch_hw[1] for crop in crops)
    padded = [crop.grid_hw[0] * crop.grid_hw[1] for crop in crops]
    size = geometry.vision_size
    layer = 4 * size * size + 2 * size * geometry.vision_mlp
    tower = geometry.vision_layers * sum(2 * layer * n + 4 * n * n * size for n in padded)
    keys = 2 * geometry.resampler_kv_heads * geometry.resampler_head_size * geometry.resampler_size
    inner = geometry.resampler_heads * geometry.resampler_head_size
    resampler = geometry.resampler_layers * sum(
        2 * keys * (n + geometry.latents) + 4 * geometry.latents * (n + geometry.latents) * inner
        for n in padded
    )
    tokens = geometry.latents * len(crops)
    marked = tokens + len(crops) + len({crop.image_sha256 for crop in crops})
    return FeedCost(
        crops=len(crops),
        patches=patches,
        padded_patches=sum(padded),
        image_tokens=tokens,
        prompt_tokens=marked,
        vision_tflop=(tower + 2 * geometry.projection_weights * sum(padded) + resampler) / 1e12,
        language_tflop=2 * geometry.language_weights * marked / 1e12,
        kv_bytes=marked * geometry.kv_bytes_per_token,
    )


def forecast_bytes(
    crops: int,
    patches: int,
    heads: int,
    perceiver_layers: int,
    latents: int,
    decoder_layers: int,
    tokens: int,
) -> tuple[int, int]:
    """(bytes kept, largest bytes for a moment) of recording one answer of `tokens` tokens: shown before it starts.

    Kept: float16, heads averaged. For a moment: one perceiver layer of all heads and crops in float32.
    """
    kept = 2 * crops * latents * (perceiver_layers * (patches + latents) + tokens * decoder_layers)
    return kept, 4 * crops * heads * latents * (patches + latents)


def writing_size(lines: Sequence[Line], crops: Sequence[Crop]) -> WritingSize | None:
    """Heights of the lines in the model's pixels; None where there is no line."""
    heights = [max(_height_in(line.box, crop) for crop in crops) for line in lines]
    if not heights:
        return None
    seams = [crop.box for crop in crops if crop.kind == "tile"]
    cut = sum(bool(seams) and not any(_holds(box, line.box) for box in seams) for line in lines)
    return WritingSize(statistics.median(heights), min(heights), cut)


def _height_in(line: Box, crop: Crop) -> float:
    """Height of a line in the pixels of a crop; 0 where the crop shows less than half of it."""
    shown = line.intersection(crop.box)
    if line.area <= 0 or shown.area < 0.5 * line.area:
        return 0.0
    return line.height * crop.model_size_hw[0] / max(crop.box.height, 1e-9)


def _holds(box: Box, line: Box) -> bool:
    """Whether hardly anything of the line lies outside."""
    return line.intersection(box).area > 0.98 * line.area
