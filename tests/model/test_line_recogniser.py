"""The shipped weights: a strip reads the same alone and in any batch, real lines above a floor, damage is noticed."""

from __future__ import annotations

import itertools
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rapidfuzz.distance import Levenshtein
from safetensors.torch import save

from vlm_studio.core.cancel import CancelToken
from vlm_studio.core.errors import ModelUnavailable
from vlm_studio.model.characters import ALPHABET, fold, pad_strips, prepare_strip
from vlm_studio.model.line_adapter import adapted
from vlm_studio.model.line_recogniser import LEARNED_SHARE, WEIGHTS, LineRecogniser
from vlm_studio.reading.ctc_reader import CtcReader, careful
from vlm_studio.reading.fast import FastReader
from vlm_studio.reading.lexicon import WordList

ROOT = Path(__file__).resolve().parents[2]
NANO = ROOT / "assets" / "nano"
LINES = ROOT / "tests" / "data" / "lines"


@pytest.fixture(scope="module")
def recogniser() -> LineRecogniser:
    return LineRecogniser(NANO)


@pytest.fixture(scope="module")
def lines() -> list[tuple[Image.Image, str]]:
    rows = [row.split("\t") for row in (LINES / "labels.tsv").read_text("utf-8").splitlines()]
    return [(Image.open(LINES / name).convert("RGB"), text) for name, text, _ in rows]


def errors(read: list[str], lines: list[tuple[Image.Image, str]]) -> float:
    wrong = sum(Levenshtein.distance(fold(a), fold(b)) for a, (_, b) in zip(read, lines, strict=True))
    return wrong / sum(len(fold(text)) for _, text in lines)


def test_a_strip_is_the_same_alone_and_beside_others(
    recogniser: LineRecogniser, lines: list[tuple[Image.Image, str]]
) -> None:
    images = [image for image, _ in lines[:5]]
    together = recogniser.probabilities(images)
    for image, expected in zip(images, together, strict=True):
        (alone,) = recogniser.probabilities([image])
        assert alone.shape == expected.shape
        assert np.abs(alone - expected).max() < 2e-4
        assert np.allclose(alone.sum(1), 1, atol=1e-4)


def test_an_adapter_at_no_strength_is_the_base_bit_for_bit(
    recogniser: LineRecogniser, lines: list[tuple[Image.Image, str]]
) -> None:
    generator = torch.Generator().manual_seed(1)
    head = {"A": torch.randn(2, 120, generator=generator), "B": torch.randn(1 + len(ALPHABET), 2) * 0.05}
    weights = save({f"base_model.model.head.lora_{side}.weight": value for side, value in head.items()})
    adapter = ({"peft_type": "LORA", "r": 2, "lora_alpha": 2}, weights)
    images = [lines[0][0]]
    (base,) = recogniser.probabilities(images)
    (none,) = LineRecogniser(NANO, adapter, 0.0).probabilities(images)
    (half,) = LineRecogniser(NANO, adapter, 0.5).probabilities(images)
    (whole,) = LineRecogniser(NANO, adapter).probabilities(images)
    assert np.array_equal(base, none)
    assert 0 < np.abs(half - base).max() < np.abs(whole - base).max()


@pytest.mark.parametrize("names", [["tower.blocks.11.expand", "head"], ["tower.stem.out", "head"]])
def test_a_learned_hand_is_pooled_with_the_base(
    recogniser: LineRecogniser, lines: list[tuple[Image.Image, str]], names: list[str]
) -> None:
    base, generator, state = recogniser.load(), torch.Generator().manual_seed(2), {}
    for name in names:
        weight = base.get_submodule(name).weight
        assert isinstance(weight, torch.Tensor)
        for side, shape in (("A", (2, *weight.shape[1:])), ("B", (len(weight), 2, *[1] * (weight.ndim - 2)))):
            state[f"base_model.model.{name}.lora_{side}.weight"] = 0.1 * torch.randn(
                shape, generator=generator
            )
    adapter = ({"peft_type": "LORA", "r": 2, "lora_alpha": 2}, save(state))
    alone = adapted(base, *adapter).scorer
    images = [image for image, _ in lines[:3]]
    for image, found in zip(images, LineRecogniser(NANO, adapter).probabilities(images), strict=True):
        pixels, frames = pad_strips([prepare_strip(image)])
        with torch.inference_mode():
            both = [scorer(torch.from_numpy(pixels), torch.from_numpy(frames)) for scorer in (base, alone)]
        assert (both[0] - both[1]).abs().max() > 0.1
        pooled = both[0].lerp(both[1], LEARNED_SHARE).softmax(-1)[0, : frames[0]]
        assert np.abs(pooled.numpy() - found).max() < 2e-4


def test_the_reader_says_how_likely_each_word_is_at_its_place(
    recogniser: LineRecogniser, lines: list[tuple[Image.Image, str]]
) -> None:
    reader = careful("nano", recogniser, ROOT / "assets" / "words" / "words.tsv.gz")
    image = lines[0][0]
    (read,) = reader.read([image], CancelToken())
    true = reader.chances(image, read.words)
    false = reader.chances(image, [replace(word, text=word.text[::-1] + "x") for word in read.words])
    assert all(0 <= b.chance < a.chance <= 1 for a, b in zip(true, false, strict=True))
    ends = [(c.letters[0].left, c.letters[-1].right) for c in true]
    assert all(a[1] <= b[0] + 1 for a, b in itertools.pairwise(ends))
    assert reader.chances(Image.new("RGB", image.size, "white"), read.words)[0].chance == 0


def test_padding_changes_nothing(recogniser: LineRecogniser, lines: list[tuple[Image.Image, str]]) -> None:
    tower = recogniser.load().tower
    strip = prepare_strip(lines[0][0])
    pixels, frames = pad_strips([strip])
    wider = np.concatenate([pixels, np.ones((1, 3, 48, 64), np.float32)], axis=3)
    with torch.inference_mode():
        narrow = tower(torch.from_numpy(pixels), torch.from_numpy(frames))
        padded = tower(torch.from_numpy(wider), torch.from_numpy(frames))
    assert torch.allclose(narrow, padded[:, : narrow.shape[1]], atol=1e-4)


def test_real_lines_are_read_above_the_floor_and_better_than_fast_reads_them(
    recogniser: LineRecogniser, lines: list[tuple[Image.Image, str]]
) -> None:
    images = [image for image, _ in lines]
    words = ROOT / "assets" / "words" / "words.tsv.gz"
    readers = {
        "alone": CtcReader("nano", recogniser, words=WordList(words)),
        "fast": FastReader(),
        "together": careful("nano", recogniser, words),
    }
    wrong = {
        name: errors([r.text for r in reader.read(images, CancelToken())], lines)
        for name, reader in readers.items()
    }
    assert wrong["together"] < 0.13
    assert max(wrong["together"], wrong["alone"]) < 0.75 * wrong["fast"]


def test_altered_weights_are_refused(tmp_path: Path, lines: list[tuple[Image.Image, str]]) -> None:
    copy = shutil.copytree(NANO, tmp_path / "nano")
    data = bytearray((copy / WEIGHTS).read_bytes())
    data[-1] ^= 1
    (copy / WEIGHTS).write_bytes(bytes(data))
    with pytest.raises(ModelUnavailable, match="damaged"):
        LineRecogniser(copy).probabilities([lines[0][0]])
