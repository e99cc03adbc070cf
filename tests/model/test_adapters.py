"""Adapters on a loaded model, on nano's own: strength 0 is the base bit for bit, two of the same give no difference."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from safetensors.torch import save

from vlm_studio.core.conversation import Variant
from vlm_studio.core.errors import AdapterRejected, NotFound
from vlm_studio.model.adapters import AdapterShelf
from vlm_studio.model.engine import LoadedModel

Shelve = Callable[[str, int], None]


@pytest.fixture
def shelf(nano: LoadedModel) -> Iterator[AdapterShelf]:
    linears = [
        name
        for name, module in nano.model.named_modules()
        if isinstance(module, torch.nn.Linear) and (".layers.0." in name or "modality_projection" in name)
    ]
    made = {
        "one": lora(nano, linears, 1),
        "same": lora(nano, linears, 1),
        "other": lora(nano, linears[:4], 2),
    }

    def files(name: str) -> tuple[dict[str, Any], bytes]:
        if name not in made:
            raise NotFound("There is no such adapter.")
        return {"peft_type": "LORA", "r": 4, "lora_alpha": 8}, made[name]

    shelf = AdapterShelf(nano.model, files, kept=2)
    yield shelf
    for branch in list(shelf._branches):
        shelf._take_out(branch)


def lora(nano: LoadedModel, names: list[str], seed: int) -> bytes:
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name in names:
        module = nano.model.get_submodule(name)
        rows, columns = module.weight.shape
        head = f"base_model.model.{name}"
        tensors[f"{head}.lora_A.weight"] = torch.randn(4, columns, generator=generator) * 0.05
        tensors[f"{head}.lora_B.weight"] = torch.randn(rows, 4, generator=generator) * 0.05
    return save(tensors)


def logits(nano: LoadedModel, shelf: AdapterShelf, variant: Variant) -> torch.Tensor:
    with torch.inference_mode(), shelf.scope(variant):
        return nano.model(input_ids=torch.tensor([[1, 5, 9, 14, 3]])).logits.clone()


def test_strength_nought_and_after_the_scope_equal_the_base_bit_for_bit(
    nano: LoadedModel, shelf: AdapterShelf
) -> None:
    base = logits(nano, shelf, Variant())
    worn = logits(nano, shelf, Variant(adapter="one"))
    assert not torch.equal(base, worn)
    assert torch.equal(base, logits(nano, shelf, Variant(adapter="one", adapter_scale=0.0)))
    assert torch.equal(base, logits(nano, shelf, Variant()))


def test_two_identical_adapters_give_no_difference(nano: LoadedModel, shelf: AdapterShelf) -> None:
    one, same = Variant(adapter="one"), Variant(adapter="same")
    assert torch.equal(logits(nano, shelf, one), logits(nano, shelf, same))
    assert shelf.key(one) == shelf.key(same)


def test_strength_changes_the_answer_steadily(nano: LoadedModel, shelf: AdapterShelf) -> None:
    base = logits(nano, shelf, Variant())
    distances = [
        float((logits(nano, shelf, Variant(adapter="one", adapter_scale=s)) - base).norm())
        for s in (0.25, 0.5, 1.0, 1.5)
    ]
    assert distances == sorted(distances)
    assert distances[0] > 0


def test_keys_tell_content_and_strength(shelf: AdapterShelf) -> None:
    assert shelf.key(Variant()) == shelf.key(Variant(adapter="one", adapter_scale=0)) == ""
    keys = {shelf.key(Variant(adapter=a, adapter_scale=s)) for a in ("one", "other") for s in (0.5, 1.0)}
    assert len(keys) == 4


def test_an_adapter_that_fails_inside_leaves_the_base(nano: LoadedModel, shelf: AdapterShelf) -> None:
    base = logits(nano, shelf, Variant())
    with pytest.raises(ZeroDivisionError), shelf.scope(Variant(adapter="one")):
        raise ZeroDivisionError
    assert torch.equal(base, logits(nano, shelf, Variant()))


def test_only_so_many_stay_in_the_model_and_the_rest_come_back(
    nano: LoadedModel, shelf: AdapterShelf
) -> None:
    first = logits(nano, shelf, Variant(adapter="one"))
    base = logits(nano, shelf, Variant())
    shelf._kept = 1
    logits(nano, shelf, Variant(adapter="other"))
    assert len(shelf._branches) == 1
    assert torch.equal(base, logits(nano, shelf, Variant()))
    assert torch.equal(first, logits(nano, shelf, Variant(adapter="one")))


def test_unknown_names_and_strengths_are_refused(nano: LoadedModel, shelf: AdapterShelf) -> None:
    with pytest.raises(NotFound), shelf.scope(Variant(adapter="none")):
        pass
    with pytest.raises(AdapterRejected), shelf.scope(Variant(adapter="one", adapter_scale=1.6)):
        pass


def test_the_change_of_each_module_is_that_of_the_product(nano: LoadedModel, shelf: AdapterShelf) -> None:
    weights = shelf.weights("other")
    name = weights.modules[0]
    product = weights.up[name] @ weights.down[name] * weights.scaling
    wanted = (float(product.norm()), float(nano.model.get_submodule(name).weight.norm()))
    assert shelf.norms_by_module("other")[name] == pytest.approx(wanted, rel=1e-4)
