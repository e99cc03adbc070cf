"""A personal adapter on the line reader: merged into a copy of its weights, which are small (3 million numbers)."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from vlm_studio.model.adapter_file import LoraWeights, check_fits, parse_adapter
from vlm_studio.model.tower import BLOCKS, LineScorer


@dataclass(frozen=True, slots=True)
class Adapted:
    scorer: LineScorer
    first_block: int
    """Blocks of its tower before this one are the base's own, and so is the stem, unless this is -1."""


def adapted(base: LineScorer, config: Mapping[str, Any], weights: bytes, strength: float = 1.0) -> Adapted:
    """A copy of `base` that reads with the adapter at `strength` (0: as `base`), in evaluation mode.

    Raises AdapterRejected.
    """
    adapter = parse_adapter(config, weights)
    check_fits(adapter, base)
    changed = copy.deepcopy(base)
    with torch.no_grad():
        for name in adapter.modules:
            weight: Any = changed.get_submodule(name).weight
            weight += strength * delta(adapter, name)
    return Adapted(changed.eval(), min(map(_block, adapter.modules), default=len(BLOCKS)))


def delta(adapter: LoraWeights, name: str) -> torch.Tensor:
    """What the adapter adds to the weights of a module, in their shape."""
    a, b = adapter.down[name], adapter.up[name]
    return (b.flatten(1) @ a.flatten(1)).reshape(b.shape[0], *a.shape[1:]) * adapter.scaling


def low_rank(change: torch.Tensor, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The LoRA matrices, (rank, in, ...) and (out, rank, ...), whose product is the nearest of this rank to a change of weights.

    Nearest in the Frobenius norm (Eckart and Young 1936); each has half of the singular values. For a scaling of 1.
    """
    u, s, v = torch.linalg.svd(change.flatten(1), full_matrices=False)
    root = s[:rank].sqrt()
    down, up = root[:, None] * v[:rank], u[:, :rank] * root
    kernel = (1,) * (change.ndim - 2)
    return down.reshape(-1, *change.shape[1:]).contiguous(), up.reshape(*up.shape, *kernel).contiguous()


def adaptable(base: nn.Module, first_block: int) -> list[str]:
    """Modules of a LineScorer that a personal adapter learns on: from block `first_block` to the head.

    Depthwise convolutions are left out: there a LoRA has more numbers than the layer itself.
    """
    names = []
    for name, module in base.named_modules():
        plain = isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.groups == 1)
        if plain and _block(name) >= first_block and ".squeeze." not in name:
            names.append(name)
    return names


def _block(name: str) -> int:
    """Number of the tower's block that a module of a LineScorer is in; the stem counts as -1, the rest as after them all."""
    if name.startswith("tower.blocks."):
        return int(name.split(".")[2])
    return -1 if name.startswith("tower.stem") else len(BLOCKS)
