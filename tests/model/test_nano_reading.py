"""One pooled token is one letter, and the shipped adapter reads what they spell: on real lines, above a floor."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image
from rapidfuzz.distance import Levenshtein

from vlm_studio.core.cancel import CancelToken
from vlm_studio.core.conversation import Variant
from vlm_studio.model.adapter_file import read_folder
from vlm_studio.model.adapters import AdapterShelf
from vlm_studio.model.characters import ALPHABET, fold, pad_strips, prepare_strip
from vlm_studio.model.engine import HFEngine, LoadedModel
from vlm_studio.model.spelling import SHOWN_FROM, letter_numbers, with_place

ROOT = Path(__file__).resolve().parents[2]
LINES = ROOT / "tests" / "data" / "lines"
ADAPTERS = ROOT / "assets" / "nano" / "adapters"


@pytest.fixture(scope="module")
def lines() -> list[tuple[Image.Image, str]]:
    """Real lines that one strip of 64 letters holds."""
    rows = [row.split("\t") for row in (LINES / "labels.tsv").read_text("utf-8").splitlines()]
    return [
        (Image.open(LINES / name).convert("RGB"), fold(text)) for name, text, _ in rows if len(text) <= 56
    ][:6]


@pytest.fixture(scope="module")
def engine(nano: LoadedModel) -> Iterator[HFEngine]:
    shelf = AdapterShelf(nano.model, lambda name: read_folder(ADAPTERS / name))
    yield HFEngine(nano, adapters=shelf)
    for branch in list(shelf._branches):
        shelf._take_out(branch)


def errors(read: list[str], lines: list[tuple[Image.Image, str]]) -> float:
    wrong = sum(Levenshtein.distance(fold(a), b) for a, (_, b) in zip(read, lines, strict=True))
    return wrong / sum(len(b) for _, b in lines)


def scores(*shown: str) -> torch.Tensor:
    """Head scores of one strip: a frame a letter, "" for a blank."""
    rows = torch.full((1, len(shown), 1 + len(ALPHABET)), -20.0)
    for at, letter in enumerate(shown):
        rows[0, at, ALPHABET.index(letter) + 1 if letter else 0] = 0.0
    return rows


def test_letters_are_counted_as_ctc_reads_them() -> None:
    numbers = letter_numbers(scores("", "a", "a", "", "a", "b", ""), torch.tensor([7]))
    assert numbers.tolist() == [[-1, 0, 0, -1, 1, 2, -1]]


def test_a_letter_that_greedy_reading_misses_still_gets_its_token() -> None:
    doubt = scores("a", "", "b")
    doubt[0, 1, ALPHABET.index("l") + 1] = torch.logit(torch.tensor(SHOWN_FROM + 0.05))
    assert letter_numbers(doubt, torch.tensor([3])).tolist() == [[0, 1, 2]]


def test_what_lies_beyond_a_strip_counts_nothing() -> None:
    given = scores("a", "", "b", "c")
    assert letter_numbers(given, torch.tensor([2])).tolist() == [[0, -1, -1, -1]]
    features = torch.randn(1, 4, 120)
    alone = with_place(features[:, :2], given[:, :2], torch.tensor([2]))
    assert torch.equal(with_place(features, given, torch.tensor([2]))[:, :2], alone)


def test_letter_ids_are_a_token_a_letter_and_decode_to_the_text(nano: LoadedModel) -> None:
    text = "Où est l'été ? 12 €, dit-il."
    ids = nano.processor.letter_ids(text)
    assert nano.processor.tokenizer.decode(ids) == text
    assert len(ids) == len(text)


def test_pooled_tokens_spell_real_lines(nano: LoadedModel, lines: list[tuple[Image.Image, str]]) -> None:
    pixels, frames = pad_strips([prepare_strip(image) for image, _ in lines])
    mask = torch.arange(pixels.shape[3] // 8)[None] < torch.from_numpy(frames)[:, None]
    body = nano.model.model
    with torch.inference_mode():
        hidden = body.vision_model(torch.from_numpy(pixels), torch.from_numpy(frames)).last_hidden_state
        best = body.connector.spelled(hidden, attention_mask=mask).argmax(-1).tolist()
    read = ["".join(ALPHABET[c - 1] for c in row if c) for row in best]
    assert errors(read, lines) < 0.25


def test_the_reading_adapter_reads_real_lines_and_its_frozen_twin_does_not(
    engine: HFEngine, lines: list[tuple[Image.Image, str]]
) -> None:
    lines = sorted(lines, key=lambda line: len(line[1]))[:3]
    images = [image for image, _ in lines]

    def read(adapter: str | None, count: int) -> float:
        variant = Variant("idefics2-nano", adapter=adapter)
        found = engine.read(images[:count], CancelToken(), variant)
        return errors([reading.text for reading in found], lines[:count])

    assert read("reading", len(lines)) < 0.35
    assert read("frozen", 1) > 0.5


def test_quick_steps_side_by_side_read_as_alone(
    engine: HFEngine, lines: list[tuple[Image.Image, str]]
) -> None:
    images = [image for image, _ in sorted(lines, key=lambda line: len(line[1]))[:2]]
    variant = Variant("idefics2-nano", adapter="reading")
    together = [reading.text for reading in engine.read(images, CancelToken(), variant)]
    alone = [next(iter(engine.read([image], CancelToken(), variant))).text for image in images]
    assert engine.loaded.lean is not None and together == alone
