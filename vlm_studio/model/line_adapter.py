"""A personal adapter on the line reader: merged into a copy of its weights, which are small (3 million numbers)."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from vlm_studio.model.adapter_file import LoraWeights, check_fits, parse_adapter
from vlm_studio.model.tower import LineScorer


def adapted(base: LineScorer, config: Mapping[str, Any], weights: bytes, strength: float = 1.0) -> LineScorer:
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
    return changed.eval()


def delta(adapter: LoraWeights, name: str) -> torch.Tensor:
    """What the adapter adds to the weights of a module, in their shape."""
    a, b = adapter.down[name], adapter.up[name]
    return (b.flatten(1) @ a.flatten(1)).reshape(b.shape[0], *a.shape[1:]) * adapter.scaling


def adaptable(base: nn.Module, first_block: int) -> list[str]:
    """Modules of a LineScorer that a personal adapter learns on: from block `first_block` to the head.

    Depthwise convolutions are left out: there a LoRA has more numbers than the layer itself.
    """
    names = []
    for name, module in base.named_modules():
        late = not name.startswith(("tower.stem", "tower.blocks.")) or (
            name.startswith("tower.blocks.") and int(name.split(".")[2]) >= first_block
        )
        plain = isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.groups == 1)
        if late and plain and ".squeeze." not in name:
            names.append(name)
    return names
