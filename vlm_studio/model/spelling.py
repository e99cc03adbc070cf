"""Nano's connector: Idefics2's own, whose 64 pooled tokens are then spelled in the language model's own letters.

The language model never learned what a pen stroke is, but it knows its single-character tokens. So each pooled token is
given to it as a mix of exactly those embeddings: what it sees is the line spelled out, with doubt left in.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from transformers.models.idefics2.modeling_idefics2 import Idefics2Connector

from vlm_studio.model.characters import ALPHABET
from vlm_studio.model.tower import FEATURE_SIZE

PLACE_SIZE = 32
PRESENCE_SIZE = 8
VISION_SIZE = FEATURE_SIZE + PLACE_SIZE + PRESENCE_SIZE
"""`hidden_size` of nano's vision config: a tower feature, the code of its place in the strip, and ones.

The ones stand in for the biases that Idefics2's projection lacks, and tell a frame from a latent among the keys."""

PERCEIVER: dict[str, Any] = {
    "hidden_size": 576,
    "resampler_n_latents": 64,
    "resampler_depth": 1,
    "resampler_n_heads": 8,
    "resampler_head_dim": 72,
    "num_key_value_heads": 8,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-6,
}
"""Geometry of the resampler; 576 is SmolLM2-135M's width."""


def place_code(places: Tensor) -> Tensor:
    """Sine-cosine code (..., 32) of relative places (...) in 0-1.

    The odd frequencies 1, 3, ... 31 make the product of two codes fall from its peak to zero over exactly 1/64, the
    distance of two latents, with no second peak anywhere in the strip.
    """
    angles = places[..., None] * (
        2 * math.pi * torch.arange(1, PLACE_SIZE, 2, device=places.device, dtype=places.dtype)
    )
    return torch.cat([angles.cos(), angles.sin()], -1)


def with_place(features: Tensor, frames: Tensor) -> Tensor:
    """(N, T, 120) tower features and frames (N,) -> (N, T, 160), what the connector reads; frame t of n sits at (t + 1/2)/n."""
    steps = torch.arange(features.shape[1], device=features.device, dtype=torch.float32) + 0.5
    places = (steps[None] / frames[:, None].to(torch.float32)).clamp(max=1.0)
    ones = features.new_ones(*features.shape[:2], PRESENCE_SIZE)
    return torch.cat([features, place_code(places).to(features.dtype), ones], -1)


class SpellingConnector(Idefics2Connector):
    """(N, T, 160) and mask (N, T) -> (N, 64, 576): pooled tokens as mixes of letter embeddings.

    `letters` is the table of those embeddings, row 0 for the CTC blank; it is frozen but for that row's own `blank`.
    """

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        size = config.text_config.hidden_size
        self.speller = nn.Linear(size, len(ALPHABET) + 1)
        self.blank = nn.Parameter(torch.zeros(size))
        self.letters = nn.Parameter(torch.zeros(len(ALPHABET), size), requires_grad=False)

    def pooled(self, image_hidden_states: Tensor, attention_mask: Tensor) -> Tensor:
        """The resampler's output (N, 64, 576) before it is spelled."""
        pooled: Tensor = super().forward(image_hidden_states, attention_mask)
        return pooled

    def spelled(self, image_hidden_states: Tensor, attention_mask: Tensor) -> Tensor:
        """Scores (N, 64, 1 + alphabet) of each pooled token before softmax, blank first."""
        scores: Tensor = self.speller(self.pooled(image_hidden_states, attention_mask))
        return scores

    def forward(self, image_hidden_states: Tensor, attention_mask: Tensor) -> Tensor:
        shares = self.spelled(image_hidden_states, attention_mask).softmax(-1)
        return shares @ torch.cat([self.blank[None], self.letters]).to(shares.dtype)


def letter_embeddings(embeddings: Tensor, tokenizer: Any) -> Tensor:
    """The language model's embeddings (alphabet, 576) of each letter; the mean over bytes where a letter has several tokens."""
    rows = [embeddings[tokenizer.encode(letter, add_special_tokens=False)].mean(0) for letter in ALPHABET]
    return torch.stack(rows)
