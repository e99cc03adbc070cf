"""Nano's connector: Idefics2's own, whose 64 pooled tokens are then spelled in the language model's own letters.

The language model never learned what a pen stroke is, but it knows its single-character tokens. So each pooled token is
given to it as a mix of exactly those embeddings: what it sees is the line spelled out, with doubt left in.

Where a frame stands is told to the perceiver in letters, not in pixels: the tower's character head counts them, and latent
k looks for letter k ("integrate and fire", Dong and Xu 2020, with the head's own counts). So one pooled token is one letter
and the rest are blanks, which a language model copies far more easily than letters scattered among blanks.
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
"""`hidden_size` of nano's vision config: a tower feature, the code of its place in the line, ones, and the flag.

The ones stand in for the biases that Idefics2's projection lacks, and tell a frame from a latent among the keys. The flag
marks a frame that shows no letter."""
N_LATENTS = 64
SHOWN_FROM = 0.3
"""The head's probability of any letter from which a frame shows one."""

PERCEIVER: dict[str, Any] = {
    "hidden_size": 576,
    "resampler_n_latents": N_LATENTS,
    "resampler_depth": 1,
    "resampler_n_heads": 8,
    "resampler_head_dim": 72,
    "num_key_value_heads": 8,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-6,
}
"""Geometry of the resampler; 576 is SmolLM2-135M's width."""


def place_code(places: Tensor) -> Tensor:
    """Sine-cosine code (..., 32) of places (...) in 0-1.

    The odd frequencies 1, 3, ... 31 make the product of two codes fall from its peak to zero over exactly 1/64, the
    distance of two latents, with no second peak anywhere.
    """
    angles = places[..., None] * (
        2 * math.pi * torch.arange(1, PLACE_SIZE, 2, device=places.device, dtype=places.dtype)
    )
    return torch.cat([angles.cos(), angles.sin()], -1)


def letter_numbers(scores: Tensor, frames: Tensor) -> Tensor:
    """Which letter of its strip each frame shows, 0-based, and -1 for none: (N, T) long.

    `scores` (N, T, 1 + alphabet) are the character head's before softmax. A frame shows a letter where the head finds one
    at all likely, so that a letter which greedy reading would miss still gets a pooled token; neighbours with the same
    likeliest letter show the same one, as in CTC.
    """
    shares = scores.float().softmax(-1)
    within = torch.arange(scores.shape[1], device=scores.device)[None] < frames[:, None]
    shows = (1 - shares[..., 0] > SHOWN_FROM) & within
    letter = shares[..., 1:].argmax(-1)
    goes_on = torch.zeros_like(shows)
    goes_on[:, 1:] = shows[:, :-1] & (letter[:, 1:] == letter[:, :-1])
    return torch.where(shows, (shows & ~goes_on).cumsum(1) - 1, -1)


def with_place(features: Tensor, scores: Tensor, frames: Tensor) -> Tensor:
    """(N, T, 120) tower features, head scores and frames (N,) -> (N, T, 160), what the connector reads.

    A frame of letter k has the code of (k + 1/2)/64; one without a letter has no code but the flag, the last column. A
    strip of more than 64 letters is squeezed: neighbours then share a pooled token.
    """
    numbers = letter_numbers(scores, frames)
    shown = (numbers >= 0).to(features.dtype)[..., None]
    count = (numbers.amax(1, keepdim=True) + 1).clamp(min=N_LATENTS)
    code = place_code((numbers.float() + 0.5) / count).to(features.dtype) * shown
    ones = features.new_ones(*features.shape[:2], PRESENCE_SIZE - 1)
    return torch.cat([features, code, ones, 1 - shown], -1)


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
