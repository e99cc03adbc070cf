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
    patch_px: tuple[int, int] | None = None
    """Height, width of a patch in model pixels; None: the real patches share the fed pixels evenly."""


@dataclass(frozen=True, slots=True)
class PooledTokens:
    """What can be said of the pooled tokens of each crop without looking at attention."""

    similarity: np.ndarray
    """[crop, latent, latent] float16, cosine in -1..1."""
    effective_rank: tuple[float, ...]
    """Per crop, 1..latents: how many different things the tokens say."""
    says: tuple[tuple[str, ...], ...] = ()
    """Per crop and latent the word or letter of the language model's own vocabulary that is nearest."""
    spells: tuple[tuple[str, ...], ...] = ()
    """Per crop and latent the letter that nano's connector spells with it; empty text: none."""


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
    perceiver_latents: np.ndarray | None = None
    """[crop, layer, latent, latent] float16, taken from the latents; with `perceiver`, rows sum to 1."""
    pooled: PooledTokens | None = None
    weighting: Literal["attention", "gradient"] = "attention"
    """`gradient`: the arrays are attention x its gradient, only what speaks for the token kept."""
    hidden: np.ndarray | None = None
    """[output token, layer, image token] float16: cosine of the hidden state that wrote the token with the one at
    each image token, the mean over image tokens taken off both."""
    prompt_decoder: np.ndarray | None = None
    """As `decoder`, for the words of the prompt after its last image."""
    prompt_texts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class HeatMap:
    """A map over one image: `grid` [rows, cols] float32 in 0..1 after scaling raw_min..raw_max."""

    image_sha256: str
    grid: np.ndarray
    raw_min: float
    raw_max: float
    label: str


Area = Literal["hot", "cold", "random", "centre", "blank"]


@dataclass(frozen=True, slots=True)
class MaskedDrop:
    """What masking one area of an image did to the words asked about."""

    area: Area
    share: float
    """Of the image's pixels that were masked, 0..1."""
    drop: float
    """Mean natural log-probability lost per token; positive: the words became less likely."""


@dataclass(frozen=True, slots=True)
class Honesty:
    """Whether a heat map says what the model used, tested by taking it away."""

    drops: tuple[MaskedDrop, ...]
    better_than_random: bool
    verdict: str
    """One sentence for a person."""
    deletion_auc: float | None = None
    """Mean probability ratio left while the hottest pixels go first, 0..1; low is good."""
    insertion_auc: float | None = None
    """Mean probability ratio while the hottest pixels come back first; high is good."""

    def drop_of(self, area: Area) -> float:
        """Mean over the masks of that kind; 0 where there was none."""
        found = [d.drop for d in self.drops if d.area == area]
        return sum(found) / len(found) if found else 0.0


@dataclass(frozen=True, slots=True)
class WordSource:
    """A word of an answer, with its probability with the image and with a blank one."""

    text: str
    first_token: int
    last_token: int
    """Inclusive, places in the answer's tokens."""
    with_image: float
    without_image: float
    """Geometric mean of its tokens' probabilities, 0..1."""
    source: Literal["read", "mixed", "guessed"]
