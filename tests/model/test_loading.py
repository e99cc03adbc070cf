"""How a model is brought into memory: the choice for each kind of machine, and what the choice makes of the weights."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import bitsandbytes as bnb
import pytest
import torch
from transformers import Idefics2Config

from tests.model.conftest import TINY, Told
from vlm_studio.core.conversation import Ask, GenParams, TextPart, Turn, Variant
from vlm_studio.core.errors import InvalidRequest, ModelUnavailable
from vlm_studio.core.settings import Settings
from vlm_studio.model.catalog import IDEFICS2_8B, NANO
from vlm_studio.model.engine import HFEngine
from vlm_studio.model.loading import arguments, device_map, load, parameters
from vlm_studio.model.machine import Machine, choose
from vlm_studio.model.memory import GIB, forecast
from vlm_studio.model.processor import ModelInput
from vlm_studio.model.shelf import EngineShelf

RTX_4060 = Machine("cuda", "RTX 4060", int(7.6 * GIB), 16 * GIB, (8, 9))
RTX_4090 = Machine("cuda", "RTX 4090", 23 * GIB, 32 * GIB, (8, 9))
H100 = Machine("cuda", "H100", 78 * GIB, 128 * GIB, (9, 0))
T4 = Machine("cuda", "T4", 15 * GIB, 16 * GIB, (7, 5), bf16=False)
SMALL = Machine("cuda", "GTX 1660", int(5.4 * GIB), 16 * GIB, (7, 5), bf16=False)
OLD = Machine("cuda", "GTX 980", 20 * GIB, 16 * GIB, (5, 2), bf16=False)
APPLE = Machine("mps", "Apple GPU", 24 * GIB, 24 * GIB)
LAPTOP = Machine("cpu", "processor", 10 * GIB, 10 * GIB)
EIGHT_B = Idefics2Config(
    image_token_id=32001,
    vision_config={
        "hidden_size": 1152,
        "intermediate_size": 4304,
        "num_hidden_layers": 27,
        "num_attention_heads": 16,
        "image_size": 980,
        "patch_size": 14,
    },
    perceiver_config={
        "hidden_size": 4096,
        "resampler_n_latents": 64,
        "resampler_depth": 3,
        "resampler_n_heads": 16,
        "resampler_head_dim": 96,
        "num_key_value_heads": 4,
    },
    text_config={
        "model_type": "mistral",
        "vocab_size": 32003,
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
    },
)


@pytest.mark.parametrize(
    ("machine", "precision", "compute", "connector", "tower_out"),
    [
        (RTX_4060, "nf4", "bf16", False, False),
        (replace(RTX_4060, free_bytes=7 * GIB), "nf4", "bf16", True, False),
        (RTX_4090, "nf4", "bf16", False, False),
        (H100, "bf16", "bf16", False, False),
        (T4, "nf4", "fp16", False, False),
        (APPLE, "bf16", "bf16", False, False),
        (LAPTOP, "nf4", "bf16", False, False),
        (replace(RTX_4060, free_bytes=int(6.2 * GIB)), "nf4", "bf16", True, True),
    ],
    ids=lambda v: getattr(v, "name", str(v)),
)
def test_auto_suits_the_machine_and_says_why(
    machine: Machine, precision: str, compute: str, connector: bool, tower_out: bool
) -> None:
    plan = choose(machine, IDEFICS2_8B)
    assert (plan.precision, plan.compute) == (precision, compute)
    assert (plan.quantized_connector, plan.vision_on_cpu) == (connector, tower_out)
    assert plan.why.endswith(".") and plan.need_bytes < machine.free_bytes


@pytest.mark.parametrize(
    ("machine", "wanted", "said"),
    [
        (SMALL, "auto", "needs"),
        (OLD, "auto", "too old"),
        (APPLE, "nf4", "no 4-bit"),
        (LAPTOP, "bf16", "needs"),
        (RTX_4090, "fp32", "needs"),
    ],
)
def test_what_cannot_run_is_refused_in_one_sentence(machine: Machine, wanted: str, said: str) -> None:
    with pytest.raises(ModelUnavailable, match=said) as failure:
        choose(machine, IDEFICS2_8B, wanted)  # type: ignore[arg-type]
    assert "nano" in failure.value.hint or wanted == "nf4"


def test_the_8b_counts_as_many_weights_as_the_forecast_says() -> None:
    counted = parameters(EIGHT_B)
    assert replace(counted, language=IDEFICS2_8B.language) == IDEFICS2_8B
    assert counted.language == pytest.approx(IDEFICS2_8B.language, rel=1e-4)  # norms are not quantized
    assert choose(RTX_4090, counted).need_bytes / GIB == pytest.approx(6.3, abs=0.1)


def test_a_conversation_of_the_8b_takes_128_kb_a_token() -> None:
    need = forecast(EIGHT_B, ModelInput(tuple(range(300)), (), ()), 26, 2, False)
    assert need.keys_values == 326 * 128 * 1024 and need.vision == need.maps == 0


def test_the_tower_may_wait_in_main_memory_and_everything_has_a_place() -> None:
    plan = choose(replace(RTX_4060, free_bytes=int(6.2 * GIB)), IDEFICS2_8B)
    places = device_map(plan)
    assert places["model.vision_model"] == "cpu" and places["lm_head"] == 0
    with torch.device("meta"):
        from transformers import Idefics2ForConditionalGeneration

        model = Idefics2ForConditionalGeneration(EIGHT_B)
    for name, _parameter in model.named_parameters():
        assert sum(name.startswith(f"{part}.") for part in places) == 1, name
    assert arguments(plan)["quantization_config"].llm_int8_enable_fp32_cpu_offload


@pytest.mark.parametrize("connector", [False, True])
def test_4_bits_leave_tower_and_head_alone_and_answer(checkpoint: Path, connector: bool) -> None:
    """On the processor a quantized tower or head of these sizes would crash or be wrong in silence."""
    room = (
        3 * GIB
        if not connector
        else choose(LAPTOP, _tiny_parts(checkpoint), "nf4").need_bytes + 1_288_490_100
    )
    loaded = load(checkpoint, TINY, "tiny", "nf4", replace(LAPTOP, free_bytes=room))
    four = {n: m for n, m in loaded.model.named_modules() if isinstance(m, bnb.nn.Linear4bit)}
    parts = {name.split(".")[1] for name in four}
    assert parts == ({"text_model", "connector"} if connector else {"text_model"})
    every = {n for n, m in loaded.model.named_modules() if isinstance(m, torch.nn.Linear)}
    assert {n for n in every if n != "lm_head" and n.split(".")[1] in parts} == set(four)
    for module in four.values():
        assert module.weight.quant_type == "nf4" and not module.weight.quant_state.nested
        assert module.compute_dtype == torch.bfloat16
    assert not any(p.requires_grad for p in loaded.model.parameters())
    told = Told(
        HFEngine(loaded),
        Ask((Turn("user", (TextPart("Hello"),)),), Variant("tiny"), GenParams(max_new_tokens=4)),
    )
    assert all(-20 < value <= 0 for value in told.logprobs)


def _tiny_parts(checkpoint: Path) -> object:
    return parameters(Idefics2Config.from_pretrained(checkpoint))


def test_a_damaged_checkpoint_is_one_sentence(checkpoint: Path, tmp_path: Path) -> None:
    def copy(name: str) -> Path:
        return Path(shutil.copytree(checkpoint, tmp_path / name))

    cut = copy("cut")
    shard = sorted(cut.glob("*.safetensors"))[0]
    shard.write_bytes(shard.read_bytes()[:-5000])
    empty = copy("empty")
    for file in empty.glob("*.safetensors"):
        file.unlink()
    other = copy("other")
    told = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(told | {"image_token_id": 7}))
    for folder in (cut, empty, other, tmp_path / "nothing"):
        with pytest.raises(ModelUnavailable) as failure:
            load(folder, TINY, "tiny", "fp32")
        assert failure.value.hint


def test_the_shelf_offers_what_runs_and_falls_back_to_nano(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, cache_dir=tmp_path, offline=True)
    shelf = EngineShelf(settings, machine=lambda: RTX_4090)
    choices = {c.name: c for c in shelf.choices()}
    assert choices["idefics2-8b"].runs and not choices["idefics2-8b"].here
    assert "fetched" in choices["idefics2-8b"].why
    assert shelf.choose_default()[0] == NANO
    assert not {c.name: c for c in EngineShelf(settings, machine=lambda: OLD).choices()}["idefics2-8b"].runs
    with pytest.raises(InvalidRequest):
        shelf.get("idefics9")
    with pytest.raises(InvalidRequest):
        EngineShelf(replace(settings, precision="int3"), machine=lambda: RTX_4090).choices()
    request = Ask((Turn("user", (TextPart("Hello"),)),), Variant("idefics2-8b"))
    with pytest.raises(ModelUnavailable, match="offline"):
        Told(shelf.get("idefics2-8b"), request)  # type: ignore[arg-type]
