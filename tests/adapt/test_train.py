"""A training, for real and small: what it learns is an adapter that fits, and no interruption changes a number of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from vlm_studio.adapt import train
from vlm_studio.adapt.hand_model import NanoHand
from vlm_studio.adapt.job import CHECKPOINT, WEIGHTS, set_control
from vlm_studio.adapt.material import FIRST_BLOCK, Material, Prepared, choose
from vlm_studio.adapt.process import Sources, Trainer
from vlm_studio.adapt.train import Stopped, Training, follow, main
from vlm_studio.core.adapters import TrainSettings
from vlm_studio.core.errors import Busy, NotFound
from vlm_studio.model.adapter_file import LoraWeights
from vlm_studio.model.characters import ALPHABET
from vlm_studio.model.checkpoint import Reached, read_checkpoint
from vlm_studio.model.line_adapter import adaptable, adapted, delta, low_rank
from vlm_studio.model.line_recogniser import LineRecogniser
from vlm_studio.reading.ctc_reader import CtcReader

from .conftest import ROOT

NANO = ROOT / "assets" / "nano"
SOURCES = Sources(NANO, ROOT / "assets" / "general" / "lines.zip")
SETTINGS = TrainSettings(rank=2, steps=4, batch=2, mix=0.0, variants=1, recomposed=0.5)

Strips = list[tuple[Image.Image, str]]


@pytest.fixture
def trainer(tmp_path: Path, strips: Strips, monkeypatch: pytest.MonkeyPatch) -> Trainer:
    monkeypatch.setattr(train, "EVERY", 2)
    made = Trainer(tmp_path, SOURCES, threads=1)
    for name in ("a", "b"):
        made.prepare(name, strips[:4], strips[4:], SETTINGS)
    return made


def hand() -> NanoHand:
    return NanoHand(NANO, SOURCES.general, lambda name, recogniser, _: CtcReader(name, recogniser))


def test_a_stopped_training_goes_on_to_the_same_adapter(
    trainer: Trainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main([str(tmp_path / "a")]) == 0

    def stop_at_two(self: Training, step: int, average: object, optimiser: object) -> None:
        if step == 3:
            raise Stopped  # as a crash: what came after the last checkpoint is lost

    with monkeypatch.context() as patched:
        patched.setattr(Training, "_obey", stop_at_two)
        assert main([str(tmp_path / "b")]) == 3
        assert trainer.product("b") is None
    assert main([str(tmp_path / "b")]) == 0
    assert (tmp_path / "a" / WEIGHTS).read_bytes() == (tmp_path / "b" / WEIGHTS).read_bytes()
    steps = [(p.phase, p.step) for p in trainer.points("b")]
    assert steps == [("train", 0), ("train", 2), ("train", 4), ("done", 4)]
    start, *later = trainer.points("a")[:-1]
    assert start.cer is not None and start.loss is None
    assert all(p.cer is not None and p.loss is not None for p in later)
    product = trainer.product("a")
    assert product is not None
    assert hand().parameters(*product) > 0
    assert [text for _, text in trainer.held("a")] == ["Paris", "un mot"]


def test_two_processes_never_have_the_same_training(trainer: Trainer) -> None:
    other = Trainer(trainer.root, trainer.sources, 1)
    trainer.hold("a")
    trainer.hold("a")
    assert other.elsewhere("a")
    assert not trainer.elsewhere("a")
    with pytest.raises(Busy):
        other.hold("a")
    other.hold("b")
    trainer.let_go("a")
    other.hold("a")
    assert trainer.elsewhere("a")


def test_what_a_training_leaves_is_taken_away(trainer: Trainer, tmp_path: Path, strips: Strips) -> None:
    trainer.prepare("c", strips[:4], strips[4:], SETTINGS, pages=["one", "two"])
    assert trainer.kept_pages("c") == ("one", "two")
    (tmp_path / "c" / CHECKPOINT).write_bytes(b"large")
    for _ in range(2):
        trainer.drop_checkpoint("c")
        assert not (tmp_path / "c" / CHECKPOINT).exists()
    assert len(trainer.held("c")) == 2
    for _ in range(2):
        trainer.hold("c")
        trainer.remove("c")
        trainer.let_go("c")
        assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]
    assert trainer.kept_pages("c") == ()


def test_asked_to_stop_it_leaves_a_checkpoint(trainer: Trainer, tmp_path: Path) -> None:
    set_control(tmp_path / "a", "stop")
    training = Training(tmp_path / "a")
    training._unfreeze()
    optimiser = torch.optim.AdamW(training._trained())
    average = [torch.nn.Parameter(p.detach() + 1) for p in training._trained()]
    with pytest.raises(Stopped):
        training._obey(1, average, optimiser)
    found = [torch.nn.Parameter(torch.zeros_like(p)) for p in average]
    path = tmp_path / "a" / CHECKPOINT
    parts = [*training._trained(), *found]
    assert read_checkpoint(path, parts, optimiser, training.base_sha256).step == 1
    assert all(torch.equal(a, b) for a, b in zip(found, average, strict=True))
    # One that another version wrote, or that began from other weights: the training begins anew.
    assert read_checkpoint(path, training._trained(), optimiser, training.base_sha256).step == 0
    assert read_checkpoint(path, parts, optimiser, "of the weights before") == Reached(
        of="of the weights before"
    )


def test_the_merged_copy_reads_as_peft_would() -> None:
    peft = pytest.importorskip("peft")
    base = LineRecogniser(NANO).load()
    names = adaptable(base, FIRST_BLOCK)
    assert "head" in names
    assert not any(name.startswith("tower.blocks.3.") for name in names)
    torch.manual_seed(3)
    worn = peft.inject_adapter_in_model(
        peft.LoraConfig(r=2, lora_alpha=4, target_modules=names, init_lora_weights=False),
        LineRecogniser(NANO).load(),
    ).eval()
    from safetensors.torch import save

    state = {f"base_model.model.{k}": v.contiguous() for k, v in peft.get_peft_model_state_dict(worn).items()}
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 4}
    merged = adapted(base, config, save(state)).scorer
    pixels, frames = torch.rand(1, 3, 48, 160) * 2 - 1, torch.tensor([20])
    with torch.inference_mode():
        plain, one, other = base(pixels, frames), worn(pixels, frames), merged(pixels, frames)
    assert torch.allclose(one, other, atol=1e-3)
    assert not torch.allclose(plain, other, atol=1e-2)


def test_what_is_kept_of_a_change_is_the_nearest_of_its_rank() -> None:
    def product(down: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
        return delta(LoraWeights(len(down), len(down), 1.0, {"m": down}, {"m": up}), "m")

    generator = torch.Generator().manual_seed(2)
    change = torch.randn(24, 10, 1, 3, generator=generator)
    down, up = low_rank(change, 24)
    assert down.shape == (24, 10, 1, 3) and up.shape == (24, 24, 1, 1)
    assert torch.allclose(product(down, up), change, atol=1e-5)
    lost = (product(*low_rank(change, 5)) - change).norm()
    assert torch.isclose(lost, torch.linalg.svdvals(change.flatten(1))[5:].norm(), rtol=1e-4)


def test_two_of_the_same_adapter_read_exactly_alike(strips: Strips) -> None:
    from safetensors.torch import save

    generator = torch.Generator().manual_seed(1)
    weights = save(
        {
            "base_model.model.head.lora_A.weight": torch.randn(2, 120, generator=generator),
            "base_model.model.head.lora_B.weight": torch.randn(1 + len(ALPHABET), 2, generator=generator)
            * 0.1,
        }
    )
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 2}
    pieces = [image for image, _ in strips[:2]]
    first, second = (
        LineRecogniser(NANO, (dict(config), bytes(weights))).probabilities(pieces) for _ in range(2)
    )
    assert all((a == b).all() for a, b in zip(first, second, strict=True))


def test_batches_depend_on_the_step_alone_and_every_line_has_its_turn() -> None:
    def lines(kind: str, count: int) -> list[Prepared]:
        return [Prepared(torch.zeros(1, 1, 1), n, f"{kind}{n}") for n in range(count)]

    own, joined, others = lines("own", 6), lines("joined", 9), lines("other", 9)
    settings = TrainSettings(batch=8, mix=0.5, recomposed=0.5)
    material = Material(own, joined, others, [])
    batches = [choose(material, step, settings) for step in range(3)]
    assert batches == [choose(material, step, settings) for step in range(3)]
    seen = [line.text for batch in batches for line in batch if line.text.startswith("own")]
    assert sorted(seen) == [f"own{n}" for n in range(6)]
    for kind, count in (("own", 2), ("joined", 2), ("other", 4)):
        assert all(sum(line.text.startswith(kind) for line in batch) == count for batch in batches)
    assert len(choose(Material(own, [], [], []), 0, settings)) == 8


def test_the_average_follows_and_forgets_its_start() -> None:
    average, trained = [torch.zeros(2)], [torch.ones(2)]
    follow(average, trained, 0)
    assert torch.allclose(average[0], torch.full((2,), 0.9))
    for step in range(1, 40):
        follow(average, trained, step)
    assert float(average[0].min()) > 0.999


def test_an_unknown_training_is_not_found(trainer: Trainer) -> None:
    for name in ("c", "../a"):
        with pytest.raises(NotFound):
            trainer.begin(name)


def test_delta_is_the_product() -> None:
    from vlm_studio.model.adapter_file import LoraWeights

    down, up = torch.randn(2, 3, 1, 1), torch.randn(4, 2, 1, 1)
    found = delta(LoraWeights(2, 4, 2.0, {"x": down}, {"x": up}), "x")
    assert found.shape == (4, 3, 1, 1)
    assert torch.allclose(found[:, :, 0, 0], 2 * up[:, :, 0, 0] @ down[:, :, 0, 0])
