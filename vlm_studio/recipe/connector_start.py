"""A connector that reads before it has learned anything.

Seen in prototypes: identical latents never separate, and CTC on random pooling sits on its plateau for thousands of steps.
So the start is built by hand: latent k looks at the frames of letter k, or where there are none at the frames without a
letter, carries those frames' features, and the speller is the tower's own character head. Training only has to sharpen it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from vlm_studio.model.spelling import PLACE_SIZE, VISION_SIZE, SpellingConnector, place_code
from vlm_studio.model.tower import FEATURE_SIZE

_GATE = 4.0
"""Opens the projection's gates: silu(4) is nearly 4, and far from where noise could close it."""
_SHARPNESS = 12.0
"""How much lower the attention score of another letter's frame is: e^-12 of the weight."""
_FALLBACK = 4.0
"""Score of a frame without a letter: a latent that has no frame of its own sees only those."""
_LATENT_FLAG = VISION_SIZE  # a column of the latents that no frame has
_PRESENCE = FEATURE_SIZE + PLACE_SIZE  # first of the frames' columns of ones
_NO_LETTER = VISION_SIZE - 1  # the frames' flag


def warm_start(
    connector: SpellingConnector, head: nn.Linear, features: Tensor, generator: torch.Generator
) -> None:
    """Set the connector's weights in place; `features` (any, 120) is a sample of tower features that fixes the scales."""
    with torch.no_grad():
        for name, parameter in connector.named_parameters():
            if parameter.ndim > 1 and name != "letters":
                parameter.copy_(0.004 * torch.randn(parameter.shape, generator=generator))
        spread = float(features.float().pow(2).mean().sqrt())
        _pass_through(connector.modality_projection, spread)
        resampler: Any = connector.perceiver_resampler
        size = resampler.latents.shape[1]
        # Root mean squares of a context row and of a latent row, which their norms divide by.
        ones = VISION_SIZE - _PRESENCE - 1
        frame_level = ((FEATURE_SIZE + PLACE_SIZE / 2 + ones) / size) ** 0.5
        latent_level = ((PLACE_SIZE / 2 + 1) / size) ** 0.5
        resampler.latents[:, FEATURE_SIZE:_PRESENCE] += place_code((torch.arange(64) + 0.5) / 64)
        resampler.latents[:, _LATENT_FLAG] += 1.0
        attention = resampler.layers[0].self_attn
        _look_at_own_place(attention, frame_level * latent_level)
        _carry(attention)
        resampler.layers[0].mlp.down_proj.weight.zero_()
        # The final norm divides by about `final`; the speller multiplies that and the scales above back in.
        final = ((FEATURE_SIZE / frame_level**2 + PLACE_SIZE / 2 + 1) / size) ** 0.5
        connector.speller.weight.zero_()
        connector.speller.weight[:, :FEATURE_SIZE] = head.weight * spread * frame_level * final
        connector.speller.bias.copy_(head.bias)


def _pass_through(projection: Any, spread: float) -> None:
    """Make the gated, bias-free projection copy its input to its first outputs, features divided by `spread`."""
    opened = float(nn.functional.silu(torch.tensor(_GATE)))
    projection.down_proj.weight[: VISION_SIZE + 1].zero_()  # and nothing onto the latents' flag
    for column in range(VISION_SIZE):
        projection.gate_proj.weight[column].zero_()
        projection.gate_proj.weight[column, _PRESENCE] = _GATE
        projection.up_proj.weight[column].zero_()
        projection.up_proj.weight[column, column] = 1 / (spread if column < FEATURE_SIZE else 1.0)
        projection.down_proj.weight[column, column] = 1 / opened


def _look_at_own_place(attention: Any, levels: float) -> None:
    """Score frames by the product of place codes in every head, and latents as keys far below any frame."""
    gain = (_SHARPNESS * levels / (PLACE_SIZE / 2 * attention.scaling)) ** 0.5
    for h in range(attention.num_heads):
        first = h * attention.head_dim
        for k in range(PLACE_SIZE):
            for projection in (attention.q_proj, attention.k_proj):
                projection.weight[first + k].zero_()
                projection.weight[first + k, FEATURE_SIZE + k] = gain
        flag = first + PLACE_SIZE
        attention.q_proj.weight[flag].zero_()
        attention.k_proj.weight[flag].zero_()
        attention.q_proj.weight[flag, _LATENT_FLAG] = 2 * gain
        attention.k_proj.weight[flag, _LATENT_FLAG] = -40 * gain
        # Every latent has the flag, so its product with the frames' flag is one score for all of them.
        share = PLACE_SIZE / 2 * gain * _FALLBACK / (2 * _SHARPNESS)
        attention.k_proj.weight[flag, _NO_LETTER] = share


def _carry(attention: Any) -> None:
    """Send features through the values: head h carries its eighth of the 120."""
    share = FEATURE_SIZE // attention.num_heads
    attention.o_proj.weight[:FEATURE_SIZE].zero_()
    for h in range(attention.num_heads):
        for k in range(share):
            row = h * attention.head_dim + k
            attention.v_proj.weight[row].zero_()
            attention.v_proj.weight[row, h * share + k] = 1.0
            attention.o_proj.weight[h * share + k, row] = 1.0
