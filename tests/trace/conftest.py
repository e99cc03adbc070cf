"""A tiny Idefics2 with random weights: the real architecture, two layers of everything."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from vlm_studio.core.documents import Box
from vlm_studio.core.traces import Crop

IMAGE_TOKEN = 90
LATENTS = 4


@pytest.fixture(scope="session")
def tiny_model() -> Any:
    import torch
    from transformers import Idefics2Config, Idefics2ForConditionalGeneration

    torch.manual_seed(3)
    config = Idefics2Config(
        image_token_id=IMAGE_TOKEN,
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "image_size": 70,
            "patch_size": 14,
        },
        perceiver_config={
            "hidden_size": 32,
            "resampler_n_latents": LATENTS,
            "resampler_depth": 3,
            "resampler_n_heads": 4,
            "resampler_head_dim": 8,
            "num_key_value_heads": 2,
        },
        text_config={
            "model_type": "mistral",
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "vocab_size": 100,
            "pad_token_id": 0,
            "bos_token_id": 1,
            "eos_token_id": 2,
        },
    )
    model = Idefics2ForConditionalGeneration(config).eval()
    with torch.no_grad():
        resampler = model.model.connector.perceiver_resampler
        resampler.latents.copy_(torch.randn_like(resampler.latents))
    model.generation_config.eos_token_id = None
    return model


@pytest.fixture
def tiny_inputs() -> dict[str, Any]:
    """One image of two crops, 70x56 and 42x70 real pixels, padded to 70x70."""
    import torch

    torch.manual_seed(5)
    pixels = torch.randn(1, 2, 3, 70, 70)
    mask = torch.zeros(1, 2, 70, 70, dtype=torch.long)
    mask[0, 0, :70, :56] = 1
    mask[0, 1, :42, :70] = 1
    pixels = pixels * mask[:, :, None]
    ids = torch.tensor([[1, 5, *[IMAGE_TOKEN] * LATENTS, 7, *[IMAGE_TOKEN] * LATENTS, 8, 9]])
    return {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "pixel_values": pixels,
        "pixel_attention_mask": mask,
    }


@pytest.fixture
def tiny_crops() -> tuple[Crop, ...]:
    return (
        crop("tile", Box(0, 0, 80, 100), (5, 4), (5, 5), (2, 6), (70, 56)),
        crop("whole", Box(0, 0, 160, 100), (3, 5), (5, 5), (7, 11), (42, 70)),
    )


def crop(
    kind: Any,
    box: Box,
    patch_hw: tuple[int, int],
    grid_hw: tuple[int, int],
    tokens: tuple[int, int],
    size: tuple[int, int],
) -> Crop:
    return Crop("a" * 64, 0, kind, box, patch_hw, grid_hw, tokens, size, (14, 14))


@pytest.fixture
def random_numbers() -> np.random.Generator:
    return np.random.default_rng(11)
