"""Adapters under training: in half the memory, kept so that a stopped run goes on as if it had not been."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model, set_peft_model_state_dict
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

MOMENTS = ("exp_avg", "exp_avg_sq", "step")
"""What AdamW keeps of each weight."""


def halved(base: Any) -> Any:
    """`base` with its language model in bfloat16; the connector is cheap, and rounding would blur what it spells."""
    base.model.text_model.to(torch.bfloat16)
    base.lm_head.to(torch.bfloat16)
    return base


def with_lora(base: Any, config: LoraConfig, device: str) -> Any:
    """`base` frozen, its language model in bfloat16, with new low-rank branches in float32."""
    model = get_peft_model(halved(base.requires_grad_(False)), config).to(device)
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


def learned_of(model: Any) -> dict[str, Tensor]:
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def save(
    file: Path, learned: Mapping[str, Tensor], optimiser: torch.optim.Optimizer, step: int, seconds: float
) -> None:
    """Weights, moments, step and seconds in `file`, which gets its name last, so it is never half."""
    tensors: dict[str, Tensor] = {}
    for name, weight in learned.items():
        tensors[name] = weight.detach().cpu().contiguous()
        for moment in MOMENTS:
            tensors[f"{name}:{moment}"] = optimiser.state[weight][moment].cpu().contiguous()
    part = file.with_suffix(".part")
    save_file(tensors, part, metadata={"step": str(step), "seconds": str(seconds)})
    part.rename(file)


def resume(file: Path, learned: Mapping[str, Tensor], optimiser: torch.optim.Optimizer) -> tuple[int, float]:
    """Weights and moments of the last checkpoint in place; its step and seconds, or zeros where there is none."""
    if not file.exists():
        return 0, 0.0
    state = load_file(file)
    with torch.no_grad():
        for name, weight in learned.items():
            weight.copy_(state[name])
            optimiser.state[weight] = {m: state[f"{name}:{m}"].to(weight.device) for m in MOMENTS}
    with safe_open(file, "pt") as opened:
        told = opened.metadata()
    return int(told["step"]), float(told["seconds"])
