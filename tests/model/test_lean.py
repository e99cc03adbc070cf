"""Quick steps: 4-bit weights that are the file's own, adapters beside them, packed once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import DynamicCache

from tests.model.test_adapters import lora
from vlm_studio.core.conversation import Variant
from vlm_studio.model.adapters import AdapterShelf
from vlm_studio.model.engine import LoadedModel
from vlm_studio.model.lean import _weights, packed

PROMPT = [1, 9690, 198, 2683, 359, 253, 4540]


def four_bit(rows: int, columns: int) -> torch.Tensor:
    """Weights as Q4_1 has them: sixteen levels in each group of 32, the first and the last of them in use."""
    codes = torch.randint(
        0, 16, (rows, columns // 32, 32), generator=torch.Generator().manual_seed(2)
    ).float()
    codes[..., 0], codes[..., 1] = 0, 15
    scale = torch.linspace(0.01, 0.05, rows)[:, None, None]
    return ((codes - 7) * scale).reshape(rows, columns).half().float()


def test_weights_that_are_4_bits_stay_what_they_are() -> None:
    weight = four_bit(96, 128)
    units = torch.eye(128, dtype=torch.bfloat16)
    seen = torch.cat([packed(weight)(units[k : k + 1]) for k in range(128)]).float().T
    # What is left is bfloat16's own rounding of scale, offset and result.
    assert float((seen - weight).abs().max()) < 0.01 * float(weight.abs().max())


def test_packed_once_and_made_anew_where_the_file_is_damaged(tmp_path: Path) -> None:
    layer = nn.Linear(64, 32, bias=False)
    layer.weight.data = four_bit(32, 64)
    first = _weights([[layer], [layer, layer]], tmp_path / "weights")
    (file,) = tmp_path.iterdir()
    layer.weight.data.zero_()
    again = _weights([[layer], [layer, layer]], tmp_path / "weights")
    x = torch.ones(1, 64, dtype=torch.bfloat16)
    assert torch.equal(first[1](x), again[1](x)) and bool(again[1](x).any())
    file.write_bytes(file.read_bytes()[:50])
    assert not _weights([[layer], [layer, layer]], tmp_path / "weights")[0](x).any()


def test_a_step_done_again_is_the_models_own(nano: LoadedModel) -> None:
    model, lean = nano.model, nano.lean
    assert lean is not None
    rows = torch.tensor([PROMPT, PROMPT[::-1]])
    with torch.inference_mode():
        cache: Any = DynamicCache()
        model(input_ids=rows[:, :-2], past_key_values=cache, use_cache=True, logits_to_keep=1)
        assert lean.adapt("")
        lean.begin(cache, 2)
        for column in rows[:, -2:].T.tolist():
            quick = lean.step(column)
            again = lean.step(column, again=True)
        slow = model(input_ids=rows, logits_to_keep=1).logits[:, -1]
        lean.lend(cache)
    top = slow.topk(5).indices
    exactly = (again - slow).gather(1, top).abs().max()
    assert float(exactly) < 1e-3 < float((quick - slow).gather(1, top).abs().max())
    assert cache.get_seq_length() == len(PROMPT)


def test_an_adapter_adds_to_quick_steps_what_it_adds_to_the_model(nano: LoadedModel) -> None:
    model, lean = nano.model, nano.lean
    assert lean is not None
    names = [
        f"model.text_model.layers.{layer}.{part}"
        for layer in (0, 11)
        for part in (
            "self_attn.q_proj",
            "self_attn.v_proj",
            "self_attn.o_proj",
            "mlp.up_proj",
            "mlp.down_proj",
        )
    ]
    shelf = AdapterShelf(
        model, lambda _: ({"peft_type": "LORA", "r": 4, "lora_alpha": 8}, lora(nano, names, 1))
    )
    worn, base = Variant("idefics2-nano", adapter="mine"), Variant("idefics2-nano")

    def last(variant: Variant) -> tuple[torch.Tensor, torch.Tensor]:
        with torch.inference_mode(), shelf.scope(variant):
            cache: Any = DynamicCache()
            model(
                input_ids=torch.tensor([PROMPT[:-1]]), past_key_values=cache, use_cache=True, logits_to_keep=1
            )
            assert lean.adapt(shelf.key(variant))
            lean.begin(cache, 1)
            quick = lean.step(PROMPT[-1:])[0]
            slow = model(input_ids=torch.tensor([PROMPT]), logits_to_keep=1).logits[0, -1]
        return torch.log_softmax(quick, -1), torch.log_softmax(slow, -1)

    try:
        found = {variant.adapter: last(variant) for variant in (base, worn)}
        again = last(base)
    finally:
        for branch in list(shelf._branches):
            shelf._take_out(branch)
        lean.adapt("")
    for quick, slow in found.values():
        top = slow.topk(5).indices
        assert float((quick - slow)[top].abs().max()) < 0.3
    apart = found[None][1] - found["mine"][1]
    assert float(apart[found[None][1].topk(5).indices].abs().max()) > 0.5
    assert torch.equal(again[0], found[None][0])
