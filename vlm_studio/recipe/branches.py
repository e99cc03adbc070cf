"""Low-rank branches to be trained on a model that takes half the memory meanwhile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model, set_peft_model_state_dict
from safetensors.torch import load_file
from torch import nn


def halved_language(base: Any) -> Any:
    """`base` with its language model in bfloat16; the connector is cheap, and rounding would blur what it spells."""
    base.model.text_model.to(torch.bfloat16)
    base.lm_head.to(torch.bfloat16)
    return base


def with_lora(base: Any, config: LoraConfig, device: str) -> Any:
    """`base` frozen, its language model in bfloat16, with new low-rank branches in float32."""
    model = get_peft_model(halved_language(base.requires_grad_(False)), config).to(device)
    model.config.use_cache = False
    return model


def put_on(model: Any, folder: Path) -> None:
    """An exported or saved adapter's weights onto `model`'s branches; it has to have the same ones, or fewer."""
    state = load_file(folder / "adapter_model.safetensors")
    mine = {name for name, _p in model.named_parameters()}
    kept = {k: v for k, v in state.items() if _branch(k) in mine}
    if not kept:
        raise ValueError(f"{folder} has no branch that this model has.")
    set_peft_model_state_dict(model, {k: v.float() for k, v in kept.items()})


def _branch(name: str) -> str:
    stem, _, end = name.rpartition(".")
    return f"{stem}.default.{end}"


def learned_of(model: Any) -> list[nn.Parameter]:
    return [parameter for parameter in model.parameters() if parameter.requires_grad]
