"""Adapters on a loaded model: put on in a scope, at any strength, and taken off again; never merged, never reloaded.

The low-rank branches are PEFT's own layers, set into the model beside its weights. While nothing is worn every branch
is off, and a layer computes exactly what it did before there was one.
"""

from __future__ import annotations

import hashlib
import importlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from vlm_studio.core.conversation import Variant
from vlm_studio.core.errors import AdapterRejected
from vlm_studio.model.adapter_file import LoraWeights, check_fits, clean_config, parse_adapter

HIGHEST_SCALE = 1.5
KEPT = 4
"""Adapters whose branches stay in the model; the one not used for longest is taken out first."""


@dataclass(frozen=True, slots=True)
class _Shelved:
    branch: str
    """Name of its branches inside the model: a hash of configuration and weights."""
    weights: LoraWeights


class AdapterShelf:
    """`AdapterScope` over one model. Used only under the engine's lock, in the thread that computes."""

    def __init__(
        self, model: Any, files: Callable[[str], tuple[Mapping[str, Any], bytes]], kept: int = KEPT
    ) -> None:
        """`files` gives configuration and weights for an adapter's name. It raises NotFound."""
        self.model, self._files, self._kept = model, files, kept
        self._known: OrderedDict[str, _Shelved] = OrderedDict()
        self._branches: OrderedDict[str, dict[str, Any]] = OrderedDict()

    @contextmanager
    def scope(self, variant: Variant) -> Iterator[None]:
        """`variant.adapter` at its strength inside; the base model afterwards. Raises NotFound, AdapterRejected."""
        if not _worn(variant):
            yield
            return
        shelved = self._shelved(str(variant.adapter))
        layers = self._put_in(shelved).values()
        try:
            for layer in layers:
                layer.enable_adapters(True)
                layer.set_adapter(shelved.branch, inference_mode=True)
                layer.set_scale(shelved.branch, variant.adapter_scale)
            yield
        finally:
            for layer in layers:
                layer.enable_adapters(False)

    def key(self, variant: Variant) -> str:
        """Empty for the base model, which strength 0 is."""
        if not _worn(variant):
            return ""
        return f"{self._shelved(str(variant.adapter)).branch}x{variant.adapter_scale:g}"

    def weights(self, name: str) -> LoraWeights:
        """What an adapter is made of, for measuring it. Raises NotFound, AdapterRejected."""
        return self._shelved(name).weights

    def norms_by_module(self, name: str) -> dict[str, tuple[float, float]]:
        """Frobenius norms for each module that an adapter changes: of what it adds, and of the module's own weights.

        Computed from the small matrices, without ever forming their product. Weights in 4 bits are left out.
        """
        weights = self.weights(name)
        found = {}
        for module_name in weights.modules:
            module: Any = self.model.get_submodule(module_name)
            weight = getattr(module, "base_layer", module).weight
            if weight.is_floating_point():
                found[module_name] = added_norm(weights, module_name), float(weight.float().norm())
        return found

    def _shelved(self, name: str) -> _Shelved:
        if name not in self._known:
            config, data = self._files(name)
            weights = parse_adapter(config, data)
            check_fits(weights, self.model)
            digest = hashlib.sha256(data)
            digest.update(repr(sorted(clean_config(weights, "").items())).encode())
            self._known[name] = _Shelved("b" + digest.hexdigest()[:16], weights)
            while len(self._known) > 4 * self._kept:
                self._known.popitem(last=False)
        self._known.move_to_end(name)
        return self._known[name]

    def _put_in(self, shelved: _Shelved) -> dict[str, Any]:
        """Its branches in the model, switched off; the oldest ones go where there are too many."""
        if shelved.branch in self._branches:
            self._branches.move_to_end(shelved.branch)
            return self._branches[shelved.branch]
        while len(self._branches) >= self._kept:
            self._take_out(next(iter(self._branches)))
        weights = shelved.weights
        # At the first adapter, not at the start: PEFT takes seconds to come, and most never wear one.
        peft = importlib.import_module("peft")
        config = peft.LoraConfig(
            r=weights.rank, lora_alpha=weights.alpha, target_modules=list(weights.modules)
        )
        layers: dict[str, Any] = {}
        self._branches[shelved.branch] = layers
        # PEFT notes each configuration on the model and warns of the second; the shelf keeps its own account.
        vars(self.model).pop("peft_config", None)
        try:
            peft.inject_adapter_in_model(config, self.model, shelved.branch)
            for name in weights.modules:
                layer = self.model.get_submodule(name)
                layers[name] = layer
                _fill(layer, shelved.branch, weights, name)
                layer.enable_adapters(False)
        except (RuntimeError, ValueError, TypeError) as failure:
            self._take_out(shelved.branch)
            raise AdapterRejected(
                "This adapter could not be put on the model.", "Use another one."
            ) from failure
        return layers

    def _take_out(self, branch: str) -> None:
        """Its branches out of the model; a layer that has no other is the model's own again."""
        for name, layer in self._branches.pop(branch, {}).items():
            if branch in layer.lora_A:
                layer.delete_adapter(branch)
            layer.enable_adapters(False)
            if not layer.lora_A:
                parent, _, child = name.rpartition(".")
                setattr(self.model.get_submodule(parent), child, layer.get_base_layer())


def added_norm(weights: LoraWeights, name: str) -> float:
    """Frobenius norm of what an adapter adds to a module: the trace of two rank x rank matrices."""
    a, b = weights.down[name].flatten(1).double(), weights.up[name].flatten(1).double()
    return float(((b.T @ b) * (a @ a.T)).sum().clamp_min(0).sqrt()) * weights.scaling


def _worn(variant: Variant) -> bool:
    """Whether anything is put on at all. Raises AdapterRejected for a strength out of range."""
    if not 0 <= variant.adapter_scale <= HIGHEST_SCALE:
        raise AdapterRejected(
            f"An adapter's strength is 0 to {HIGHEST_SCALE:g}.", f"{variant.adapter_scale:g} is not."
        )
    return variant.adapter is not None and variant.adapter_scale > 0


def _fill(layer: Any, branch: str, weights: LoraWeights, name: str) -> None:
    base = layer.get_base_layer().weight
    # 4-bit weights are bytes: the branch beside them computes in half precision.
    dtype = base.dtype if base.is_floating_point() else torch.float16
    for side, values in (
        (layer.lora_A[branch], weights.down[name]),
        (layer.lora_B[branch], weights.up[name]),
    ):
        side.to(device=base.device, dtype=dtype)
        with torch.no_grad():
            side.weight.copy_(values.to(device=base.device, dtype=dtype))
        side.weight.requires_grad_(False)
