"""QLoRA's own code on a small random Idefics2: what it costs, that it learns, stops and goes on. The 8B needs CUDA."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from tests.model.tiny import save
from vlm_studio.adapt import qlora
from vlm_studio.adapt.job import CONFIG, WEIGHTS, Job, JobLine, points, set_control, write_job
from vlm_studio.adapt.qlora import TARGETS, LineLearner, Need, forecast, learn, mean_loss, need
from vlm_studio.core.adapters import TrainSettings
from vlm_studio.core.errors import ModelUnavailable
from vlm_studio.core.ports import ModelCard
from vlm_studio.model.adapter_file import check_fits, parse_adapter, read_config
from vlm_studio.model.engine import LoadedModel
from vlm_studio.model.loading import load
from vlm_studio.model.machine import Machine

CARD = ModelCard("tiny", "tiny", "", True, True, "pages", 8, 980, "", {})
SETTINGS = TrainSettings(rank=2, steps=6, batch=1, rate=0.02)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("tiny"))


def tiny(checkpoint: Path) -> LoadedModel:
    return load(checkpoint, CARD, "", "fp32", Machine("cpu", "processor", 10**10, 10**10))


@pytest.fixture
def folder(tmp_path: Path, checkpoint: Path, strips: list[tuple[Image.Image, str]]) -> Path:
    (tmp_path / "lines").mkdir()
    strips[0][0].save(tmp_path / "lines" / "0.png")
    write_job(tmp_path, Job(str(checkpoint), "", SETTINGS, (JobLine("0.png", "Le lac"),), (), 1, "large"))
    return tmp_path


def test_it_learns_a_line_and_writes_an_adapter_that_fits(
    folder: Path, checkpoint: Path, strips: list[tuple[Image.Image, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qlora, "EVERY", 2)
    loaded = tiny(checkpoint)
    before = mean_loss(LineLearner(loaded, SETTINGS), [(strips[0][0], "Le lac")])
    assert learn(folder, tiny(checkpoint))
    found = [p for p in points(folder) if p.phase == "train"]
    assert [p.step for p in found] == [2, 4, 6]
    assert before is not None
    assert found[-1].loss is not None
    assert found[-1].loss < before
    adapter = parse_adapter(read_config((folder / CONFIG).read_bytes()), (folder / WEIGHTS).read_bytes())
    check_fits(adapter, tiny(checkpoint).model)
    assert not any("vision_model" in name or "lm_head" in name for name in adapter.modules)
    assert any("perceiver_resampler" in name for name in adapter.modules)


def test_asked_to_stop_it_keeps_where_it_was(folder: Path, checkpoint: Path) -> None:
    set_control(folder, "stop")
    assert not learn(folder, tiny(checkpoint))
    assert not (folder / WEIGHTS).exists()
    set_control(folder, "go")
    assert learn(folder, tiny(checkpoint))


def test_the_forecast_counts_what_is_trained(checkpoint: Path) -> None:
    loaded = tiny(checkpoint)
    found = need(loaded.model.config, weights=10**6, rank=2, tokens=100)
    learner = LineLearner(loaded, SETTINGS)
    assert found.trained == 16 * sum(p.numel() for p in learner.trained)
    assert need(loaded.model.config, 10**6, 4, 100).trained == 2 * found.trained
    assert need(loaded.model.config, 10**6, 2, 200).activations == 2 * found.activations


def test_what_the_machine_lacks_is_said_before_anything_is_loaded(checkpoint: Path) -> None:
    with pytest.raises(ModelUnavailable, match="CUDA"):
        forecast(checkpoint, 8, Machine("cpu", "processor", 10**12, 10**12))
    card = Machine("cuda", "card", 24 * 2**30, 10**11, (8, 9))
    assert forecast(checkpoint, 8, card).total < card.free_bytes
    with pytest.raises(ModelUnavailable, match="are free"):
        forecast(checkpoint, 8, Machine("cuda", "card", 10**6, 10**11, (8, 9)))


def test_the_forecast_says_whether_it_fits() -> None:
    wanted = Need(5 * 2**30, 2**29, 2**29)
    assert "it fits" in wanted.sentence(24 * 2**30)
    assert "it fits" not in wanted.sentence(4 * 2**30)


def test_targets_leave_the_vision_tower_alone() -> None:
    assert TARGETS.fullmatch("model.text_model.layers.31.mlp.down_proj")
    assert TARGETS.fullmatch("model.connector.perceiver_resampler.layers.0.self_attn.q_proj")
    assert TARGETS.fullmatch("model.connector.modality_projection.gate_proj")
    assert not TARGETS.fullmatch("model.vision_model.encoder.layers.0.self_attn.q_proj")
    assert not TARGETS.fullmatch("lm_head")
