"""What was recorded inside a model during a run, and pictures of it as plain numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from vlm_studio.core.documents import Box

if TYPE_CHECKING:
    import numpy as np

TRACE_VERSION = 1


@dataclass(frozen=True, slots=True)
class Crop:
    """One image as the vision tower sees it: a tile, the whole, or a line strip of nano."""

    image_sha256: str
    ordinal: int
    kind: Literal["tile", "whole", "strip"]
    box: Box
    """The part of the original image it shows, in that image's pixels."""
    patch_hw: tuple[int, int]
    """Rows, columns of real patches (nano: 1, frames)."""
    grid_hw: tuple[int, int]
    """Rows, columns after padding to the batch; the flat patch axis follows this one."""
    token_positions: tuple[int, int]
    """Start, stop of its pooled tokens in the prompt."""
    model_size_hw: tuple[int, int]
    """Pixels height, width that the tower was fed."""


@dataclass(frozen=True, slots=True)
class Trace:
    """Attention kept from one run, reduced while recording.

    perceiver: [crop, layer, latent, patch] float16, head mean, patches in grid order;
    decoder: [output token, layer, image token] float16, head mean.
    """

    perceiver: np.ndarray
    decoder: np.ndarray
    layer_ids: tuple[int, ...]
    crops: tuple[Crop, ...]
    token_texts: tuple[str, ...]
    token_logprobs: tuple[float, ...]
    model_id: str
    adapter: str | None
    version: int = TRACE_VERSION


@dataclass(frozen=True, slots=True)
class HeatMap:
    """A map over one image: `grid` [rows, cols] float32 in 0..1 after scaling raw_min..raw_max."""

    image_sha256: str
    grid: np.ndarray
    raw_min: float
    raw_max: float
    label: str
