"""Adapter files from outside: what is no plain LoRA for this base is refused, whatever it claims to be."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest
import torch
from safetensors.torch import save
from torch import nn

from vlm_studio.core.errors import AdapterRejected
from vlm_studio.model.adapter_file import check_fits, clean_config, parse_adapter, read_config

CONFIG: dict[str, Any] = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q"]}


class Base(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q = nn.Linear(6, 5)
        self.conv = nn.Conv2d(3, 8, 3)
        self.deep = nn.Conv2d(6, 6, 3, groups=6)


def lora(name: str = "q", down: tuple[int, ...] = (4, 6), up: tuple[int, ...] = (5, 4), **more: Any) -> bytes:
    head = f"base_model.model.{name}"
    tensors = {f"{head}.lora_A.weight": torch.randn(down), f"{head}.lora_B.weight": torch.randn(up)}
    return save({**tensors, **more})


def test_a_plain_lora_is_taken_and_fits() -> None:
    adapter = parse_adapter(CONFIG, lora())
    check_fits(adapter, Base())
    assert (adapter.rank, adapter.scaling, adapter.modules, adapter.parameters) == (4, 2.0, ("q",), 44)
    check_fits(parse_adapter(CONFIG, lora("conv", (4, 3, 3, 3), (8, 4, 1, 1))), Base())
    again = clean_config(adapter, "nano")
    assert parse_adapter(again, lora()).scaling == adapter.scaling


def test_rank_stabilised_scaling_is_written_out_as_a_plain_one() -> None:
    adapter = parse_adapter({**CONFIG, "use_rslora": True}, lora())
    assert adapter.scaling == 4.0
    assert parse_adapter(clean_config(adapter, ""), lora()).scaling == 4.0


@pytest.mark.parametrize(
    "change",
    [
        {"peft_type": "IA3"},
        {"auto_mapping": {"base_model_class": "os", "parent_library": "posix"}},
        {"use_dora": True},
        {"bias": "all"},
        {"modules_to_save": ["q"]},
        {"layer_replication": [[0, 4]]},
        {"rank_pattern": {"q": 99}},
        {"r": 0},
        {"r": True},
        {"r": 10**9},
        {"lora_alpha": "8"},
        {"lora_alpha": float("nan")},
        {"fan_in_fan_out": True},
        {"post_init_hook": "os.system"},
    ],
)
def test_a_configuration_that_is_more_than_a_lora_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(AdapterRejected):
        parse_adapter({**CONFIG, **change}, lora())


def header(value: Any, body: bytes = b"\0" * 64) -> bytes:
    text = json.dumps(value).encode()
    return struct.pack("<Q", len(text)) + text + body


@pytest.mark.parametrize(
    "weights",
    [
        b"",
        b"\x80\x04\x95pickled",
        struct.pack("<Q", 1 << 40) + b"{}",
        header([1, 2]),
        header({"a": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}}),
        header({"a": {"dtype": "I64", "shape": [1], "data_offsets": [0, 8]}}),
        lora(extra=torch.zeros(2)),
        save({"base_model.model.q.lora_A.weight": torch.zeros(4, 6)}),
        lora("q.__class__/../x"),
        lora(down=(3, 6)),
        lora(up=(5, 3)),
        lora("conv", (4, 3, 3, 3), (8, 4, 3, 3)),
        save({"base_model.model.q.lora_A.weight": torch.full((4, 6), float("nan")),
              "base_model.model.q.lora_B.weight": torch.zeros(5, 4)}),
    ],
)  # fmt: skip
def test_weights_that_are_no_lora_are_refused(weights: bytes) -> None:
    with pytest.raises(AdapterRejected):
        parse_adapter(CONFIG, weights)


@pytest.mark.parametrize(
    "weights",
    [
        lora("nowhere"),
        lora(down=(4, 7)),
        lora(up=(6, 4)),
        lora("deep", (4, 6, 3, 3), (6, 4, 1, 1)),
        lora("conv"),
    ],
)
def test_an_adapter_of_another_model_is_refused(weights: bytes) -> None:
    with pytest.raises(AdapterRejected, match="another model"):
        check_fits(parse_adapter(CONFIG, weights), Base())


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b"[" * 100_000, b" " * 300_000])
def test_a_configuration_that_cannot_be_read_is_refused(data: bytes) -> None:
    with pytest.raises(AdapterRejected):
        read_config(data)
