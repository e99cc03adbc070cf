"""How much memory a model and a request will take, before they take it; and what can be given up when it is short."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import psutil
import torch

from vlm_studio.core.conversation import Precision
from vlm_studio.model.processor import FeedPlan, ModelInput

GIB = 1024**3
BYTES_PER_WEIGHT: dict[Precision, float] = {"nf4": 0.5625, "bf16": 2, "fp16": 2, "fp32": 4}
"""NF4 with a float32 scale for each 64 weights; kept apart from it are what quantization skips, in bfloat16."""
LONGEST_EDGES = (980, 700, 448)
"""Steps of the ladder, pixels: 4,900, 2,500 and 1,024 patches at most."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """Bytes a request needs beside the weights."""

    keys_values: int
    """Of the whole conversation with its answer."""
    vision: int
    """For a moment, while the largest crop is encoded."""
    prompt: int
    """For a moment, while the prompt goes through the language model."""
    maps: int
    """While attention is recorded."""

    @property
    def peak(self) -> int:
        return self.keys_values + max(self.vision, self.prompt) + self.maps


def forecast(config: Any, given: ModelInput, new_tokens: int, item: int, watched: bool) -> Forecast:
    """Bytes for `given` and `new_tokens` of answer, in a type of `item` bytes; from the model's configuration.

    Attention through sdpa needs no (patches x patches) matrix; where a kernel does make one (the processor, masks),
    this is the smaller number. Vision and prompt: the widest layer's activations, in and out.
    """
    text = config.text_config
    head = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    tokens = len(given.ids)
    per_token = 2 * text.num_hidden_layers * text.num_key_value_heads * head * item
    patches = max((c.grid_hw[0] * c.grid_hw[1] for c in given.crops), default=0)
    wide = max(config.vision_config.intermediate_size, text.intermediate_size)
    perceiver = config.perceiver_config
    maps = 0
    if watched:
        heads, latents = perceiver.resampler_n_heads, perceiver.resampler_n_latents
        crops = len(given.crops)
        maps = 4 * heads * latents * (patches + latents) + 2 * crops * latents * (
            perceiver.resampler_depth * (patches + latents) + new_tokens * text.num_hidden_layers
        )
    return Forecast(
        keys_values=per_token * (tokens + new_tokens),
        vision=patches * (2 * wide + 6 * config.vision_config.hidden_size) * item,
        prompt=tokens * (2 * text.intermediate_size + 6 * text.hidden_size) * item,
        maps=maps,
    )


def weight_bytes(parameters: int, quantized: int, precision: Precision) -> int:
    """Bytes of `parameters` weights of which `quantized` can be quantized; the rest stays in 16 bits beside NF4."""
    if precision == "nf4":
        return int(quantized * BYTES_PER_WEIGHT["nf4"] + (parameters - quantized) * 2)
    return int(parameters * BYTES_PER_WEIGHT[precision])


def free_bytes(device: torch.device) -> int:
    """Memory that `device` can still give out, what torch holds in reserve included."""
    if device.type == "cuda":
        free, _total = torch.cuda.mem_get_info(device)
        reserve = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(free + reserve)
    if device.type == "mps":
        return int(torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory())
    return int(psutil.virtual_memory().available)


def smaller(plan: FeedPlan, given: ModelInput) -> tuple[FeedPlan, str] | None:
    """The next step down the ladder and what it gives up, in words; None at its foot."""
    kinds = {crop.kind for crop in given.crops}
    images = len(given.images)
    if "tile" in kinds:
        return replace(plan, splitting="off"), "Memory is short: images are fed whole, not in tiles as well."
    below = [edge for edge in LONGEST_EDGES if edge < plan.longest_edge]
    if "whole" in kinds and below:
        return (
            replace(plan, longest_edge=below[0]),
            f"Memory is short: images are scaled down to {below[0]} pixels.",
        )
    if images > 1:
        return (
            replace(plan, images=images // 2),
            f"Memory is short: only the first {images // 2} of {images} images are used.",
        )
    return None


def size(n_bytes: float) -> str:
    """`n_bytes` for a person, one decimal in GB."""
    return f"{n_bytes / GIB:.1f} GB"
