"""Adapters as files: PEFT's `adapter_config.json` and `adapter_model.safetensors`, judged before anything uses them.

Nothing of a configuration is passed on as it came. PEFT would follow some of its fields to import a class
(`auto_mapping`), to fetch another model (`base_model_name_or_path`) or to run a regular expression over every module
name (`target_modules`): only the rank and the scaling are taken from it, the modules are those that the weights name.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn

from vlm_studio.core.errors import AdapterRejected

CONFIG_BYTES = 256 * 1024
WEIGHTS_BYTES = 1024**3
"""More than any LoRA of the 8B takes."""
HEADER_BYTES = 4 * 1024**2
RANK = 256

_KEY = re.compile(r"base_model\.model\.([A-Za-z_][\w.]{0,200})\.lora_([AB])\.(?:default\.)?weight")
_TYPES = {"F32", "F16", "BF16"}
# What a configuration may say besides its rank, scaling and modules: anything that changes what the two matrices
# mean is refused, the rest (names, versions, dropout) says nothing about inference and is not kept.
_PLAIN: dict[str, tuple[Any, ...]] = {
    "bias": ("none",),
    "fan_in_fan_out": (False,),
    "use_dora": (False,),
    "use_qalora": (False,),
    "use_bdlora": (None, False),
    "lora_bias": (False,),
    "modules_to_save": (None, []),
    "rank_pattern": ({}, None),
    "alpha_pattern": ({}, None),
    "layer_replication": (None,),
    "trainable_token_indices": (None,),
    "target_parameters": (None, []),
    "alora_invocation_tokens": (None,),
    "arrow_config": (None,),
    "auto_mapping": (None,),
}
_IGNORED = {
    "peft_type", "task_type", "peft_version", "base_model_name_or_path", "revision", "inference_mode", "r",
    "target_modules", "exclude_modules", "lora_alpha", "lora_dropout", "use_rslora", "init_lora_weights",
    "layers_to_transform", "layers_pattern", "megatron_config", "megatron_core", "loftq_config", "eva_config",
    "corda_config", "lora_ga_config", "velora_config", "qalora_group_size", "monteclora_config", "runtime_config",
    "kasa_config", "ensure_weight_tying",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class LoraWeights:
    """The two matrices of each adapted module: what a module adds is `up @ down * scaling`."""

    rank: int
    alpha: float
    scaling: float
    down: Mapping[str, Tensor]
    """(rank, in) of a linear module, (rank, in, height, width) of a convolution."""
    up: Mapping[str, Tensor]
    """(out, rank), or (out, rank, 1, 1)."""

    @property
    def modules(self) -> tuple[str, ...]:
        return tuple(self.down)

    @property
    def parameters(self) -> int:
        return sum(t.numel() for side in (self.down, self.up) for t in side.values())


def parse_adapter(config: Mapping[str, Any], weights: bytes) -> LoraWeights:
    """Judge a configuration and its weights. Raises AdapterRejected for whatever is not a plain LoRA."""
    rank, alpha, scaling = _numbers(config)
    _check_header(weights)
    try:
        tensors = load(weights)
    except (SafetensorError, ValueError, KeyError) as failure:
        raise _rejected("its weights are damaged") from failure
    sides: dict[str, dict[str, Tensor]] = {"A": {}, "B": {}}
    for key, tensor in tensors.items():
        found = _KEY.fullmatch(key)
        if found is None:
            raise _rejected(f"it has a part that no LoRA has ({key[:60]!r})")
        sides[found[2]][found[1]] = tensor.float()
    down, up = sides["A"], sides["B"]
    if not down or set(down) != set(up):
        raise _rejected("its matrices do not come in pairs")
    for module in down:
        a, b = down[module], up[module]
        if a.ndim not in {2, 4} or b.ndim != a.ndim or a.shape[0] != rank or b.shape[1] != rank:
            raise _rejected(f"the matrices of {module[:60]!r} do not have rank {rank}")
        if a.ndim == 4 and b.shape[2:] != (1, 1):
            raise _rejected(f"the convolution {module[:60]!r} is not one of a LoRA")
        if not bool(torch.isfinite(a).all()) or not bool(torch.isfinite(b).all()):
            raise _rejected("its weights are not all numbers")
    return LoraWeights(rank, alpha, scaling, down, up)


def check_fits(adapter: LoraWeights, base: nn.Module) -> None:
    """Raises AdapterRejected unless every module it adapts is in `base`, with these sizes."""
    for name in adapter.modules:
        try:
            module: Any = base.get_submodule(name)
        except AttributeError:
            module = None
        module = getattr(module, "base_layer", module)
        a, b = adapter.down[name], adapter.up[name]
        if isinstance(module, nn.Conv2d):
            fits = module.groups == 1 and a.shape[1:] == (module.in_channels, *module.kernel_size)
            fits = fits and b.shape[0] == module.out_channels
        else:
            # A module in 4 bits is a subclass of Linear with its sizes as attributes.
            fits = isinstance(module, nn.Linear) and a.shape[1:] == (module.in_features,)
            fits = fits and b.shape[0] == module.out_features
        if not fits:
            raise AdapterRejected(
                "This adapter was made for another model.",
                f"It changes {name[:80]!r}, which is not like that here.",
            )


def clean_config(adapter: LoraWeights, base: str) -> dict[str, Any]:
    """The configuration as this app writes it: what PEFT needs to load the weights, and nothing else."""
    return {
        "peft_type": "LORA",
        "base_model_name_or_path": base,
        "r": adapter.rank,
        "lora_alpha": adapter.alpha,
        "target_modules": sorted(adapter.modules),
        "bias": "none",
        "lora_dropout": 0.0,
        "inference_mode": True,
    }


def read_config(data: bytes) -> dict[str, Any]:
    """An `adapter_config.json`. Raises AdapterRejected."""
    try:
        if len(data) > CONFIG_BYTES:
            raise ValueError("too long")
        value = json.loads(data)
        if not isinstance(value, dict):
            raise ValueError("no object")
    except (ValueError, RecursionError) as failure:
        raise _rejected("its configuration cannot be read") from failure
    return value


def read_folder(folder: Path) -> tuple[dict[str, Any], bytes]:
    """(configuration, weights) of an adapter that lies in a folder of ours. Raises AdapterRejected."""
    try:
        config = read_config((folder / "adapter_config.json").read_bytes())
        return config, (folder / "adapter_model.safetensors").read_bytes()
    except OSError as failure:
        raise AdapterRejected(
            f"The adapter {folder.name!r} is not installed.", "Restore the folder assets/nano/adapters."
        ) from failure


def _numbers(config: Mapping[str, Any]) -> tuple[int, float, float]:
    if config.get("peft_type") != "LORA":
        raise _rejected("it is no LoRA")
    for key, value in config.items():
        if key in _PLAIN:
            if value not in _PLAIN[key]:
                raise _rejected(f"{key} is a kind of LoRA that is not supported")
        elif key not in _IGNORED:
            raise _rejected(f"its configuration has {str(key)[:40]!r}, which is not known")
    rank, alpha = config.get("r"), config.get("lora_alpha", 8)
    if not isinstance(rank, int) or isinstance(rank, bool) or not 1 <= rank <= RANK:
        raise _rejected("its rank is not one")
    if not isinstance(alpha, (int, float)) or isinstance(alpha, bool) or not 0 < alpha <= 10_000:
        raise _rejected("its scaling is not one")
    scaling = alpha / (rank**0.5 if config.get("use_rslora") is True else rank)
    # Written out again as a plain LoRA: the same scaling without the other rule.
    return rank, scaling * rank, scaling


def _check_header(weights: bytes) -> None:
    """Sizes and types before a tensor is made: a short file must not ask for much memory."""
    if not 8 < len(weights) <= WEIGHTS_BYTES:
        raise _rejected("its weights are too large or empty")
    length = struct.unpack("<Q", weights[:8])[0]
    try:
        if length > min(HEADER_BYTES, len(weights)):
            raise ValueError("too long")
        header = json.loads(weights[8 : 8 + length])
        kinds = {entry["dtype"] for name, entry in header.items() if name != "__metadata__"}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as failure:
        raise _rejected("its weights are no safetensors file") from failure
    if not kinds <= _TYPES:
        raise _rejected("its weights are of a type that no LoRA has")


def _rejected(why: str) -> AdapterRejected:
    return AdapterRejected(f"This adapter cannot be used: {why}.", "Export it again, or use another one.")
