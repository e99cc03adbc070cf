from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vlm_studio.core.adapters import Adapter, AdapterFacts
from vlm_studio.core.answers import Answer, DoneEvent, EngineEvent, TokenEvent, Usage
from vlm_studio.core.cancel import CancelToken
from vlm_studio.core.comparison import Comparison, LinePair
from vlm_studio.core.comparison_json import comparison_of, comparison_value
from vlm_studio.core.conversation import Ask, Variant
from vlm_studio.core.documents import Box, LineReading, WordReading
from vlm_studio.core.errors import InvalidRequest, TraceUnavailable
from vlm_studio.core.traces import Crop, Trace
from vlm_studio.reading.ctc_words import LetterChance, WordChances
from vlm_studio.tasks.compare import Comparing, Sides, confusions, prompt_hash, reading_ask
from vlm_studio.tasks.compare_lessons import by_layer, lessons, what_holds
from vlm_studio.tasks.compare_sides import ModelBench, ReaderBench

STRIP = Image.new("RGB", (80, 20), "white")
SAYS = {None: "dear sisler", "reading": "dear sister"}


class TwoTongues:
    """Says one thing as the base and another with the adapter; sure of a letter by how much of it is worn."""

    card = SimpleNamespace(name="nano")

    def stream(
        self, ask: Ask, images: Mapping[str, Image.Image], cancel: CancelToken, recorder: object = None
    ) -> Iterator[EngineEvent]:
        text = self._text(ask.variant)
        tokens = tuple(TokenEvent(letter, ord(letter), -0.1) for letter in text)
        try:
            yield from tokens
            yield DoneEvent(Answer(text, tokens, "stop", Usage(), 1.0, 1.0))
        except GeneratorExit:
            cancel.cancel()  # as HFEngine does when its stream is left early
            raise

    def logprobs(
        self, ask: Ask, images: Mapping[str, Image.Image], continuation: Sequence[int]
    ) -> np.ndarray:
        own = self._text(ask.variant)
        return np.array([-0.1 if own[k] == chr(c) else -3.0 for k, c in enumerate(continuation)])

    def read(
        self, strips: Sequence[Image.Image], cancel: CancelToken, variant: Variant | None = None
    ) -> Iterator[LineReading]:
        for _ in strips:
            yield LineReading(self._text(variant or Variant()), 0.9)

    @staticmethod
    def _text(variant: Variant) -> str:
        return SAYS[variant.adapter if variant.adapter_scale else None]


class Looks:
    """The base looks at the left half of the strip for every word, the adapter at the right one."""

    def trace(self, ask: Ask, images: Mapping[str, Image.Image], continuation: Sequence[int]) -> Trace:
        rows = len(continuation)
        ((sha256, image),) = images.items()
        worn = bool(ask.variant.adapter and ask.variant.adapter_scale)
        perceiver = np.zeros((1, 1, 2, 4), np.float16)
        perceiver[..., slice(2, 4) if worn else slice(0, 2)] = 0.5
        decoder = np.random.default_rng(3).random((rows, 1, 2)).astype(np.float16)
        crop = Crop(sha256, 0, "strip", Box(0, 0, *image.size), (1, 4), (1, 4), (0, 2), (48, 32))
        return Trace(perceiver, decoder, (0,), (crop,), (), (), "nano", ask.variant.adapter)


class Hand:
    """A line reader whose adapter reads `sister`, and is as sure as it is strong."""

    def __init__(self, worn: Variant) -> None:
        self.strength = worn.adapter_scale if worn.adapter else 0.0
        self.name = "nano"

    def read(self, strips: Sequence[Image.Image], cancel: CancelToken) -> Iterator[LineReading]:
        for strip in strips:
            word = "sister" if self.strength else "sisler"
            box = Box(0, 0, strip.width / 2, strip.height)
            yield LineReading(word, 0.9, (WordReading(word, 0.9, box),), self.name)

    def chances(self, strip: Image.Image, words: Sequence[WordReading]) -> list[WordChances]:
        chance = 0.2 + 0.5 * self.strength
        letter = LetterChance("s", 0, strip.width / 2, chance)
        return [WordChances(chance, (letter,)) for _ in words]


def adapter(adapter_id: str, name: str) -> tuple[Adapter, str]:
    facts = AdapterFacts("hand", "nano", "f" * 64, 8, 10)
    return Adapter(adapter_id, "me", name, "", facts, "a" * 64, "trained", ""), f"nano+{name}.aaaaaaaa"


@pytest.fixture
def comparing() -> Comparing:
    engine: Any = TwoTongues()
    return Comparing(
        lambda: engine.card,
        {"model": ModelBench(lambda: engine, Looks), "reader": ReaderBench(Hand)},
        lambda: ("reading",),
        lambda owner: (
            [adapter("h1", "Ann"), adapter("h2", "Bo"), adapter("h3", "bo")] if owner == "me" else []
        ),
    )


def on_strip(comparing: Comparing, sides: Sides, reference: str = "") -> Comparison:
    return comparing.one(reading_ask("a" * 64), {"a" * 64: STRIP}, sides, reference)


def test_base_and_adapter_on_the_same_line(comparing: Comparing) -> None:
    found = on_strip(comparing, comparing.sides("me", "base", "reading"), "dear sister")
    assert (found.left.text, found.right.text) == ("dear sisler", "dear sister")
    assert found.left.rates is not None
    assert found.right.rates is not None
    assert found.right.rates.cer == 0 < found.left.rates.cer
    assert ("delete", "l") in found.spans
    dear, sister = found.words
    assert dear.left == dear.right
    assert sister.text == "sister"
    assert sister.left < sister.right


def test_the_map_of_each_word_is_made_on_both_sides_for_the_same_words(comparing: Comparing) -> None:
    found = on_strip(comparing, comparing.sides("me", "base", "reading"))
    assert [shift.text for shift in found.shifts] == [word.text for word in found.words]
    shift = found.shifts[0]
    half = len(shift.left) // 2
    assert max(shift.left[:half]) == max(shift.right[half:]) == 1.0
    assert max(shift.left[half:]) == max(shift.right[:half]) == 0.0
    assert shift.moved == 1.0


def test_a_model_that_cannot_be_looked_into_is_compared_without_maps(comparing: Comparing) -> None:
    def refused(*_: object) -> Trace:
        raise TraceUnavailable("It runs on another machine.")

    engine: Any = TwoTongues()
    bench = ModelBench(lambda: engine, lambda: SimpleNamespace(trace=refused))  # type: ignore[arg-type]
    sides = comparing.sides("me", "base", "reading")
    both = bench.one(reading_ask("a" * 64), {"a" * 64: STRIP}, sides.left, sides.right, CancelToken())
    assert both.shifts == ()
    assert both.words


@pytest.mark.parametrize(
    ("left", "right", "strength"),
    [
        ("base", "base", 1.0),
        ("base", "reading", 0.0),
        ("reading", "reading", 1.0),
        ("base", "h1", 0.0),
        ("h1", "h1", 1.0),
        ("h1", "h2", 1.0),
    ],
)
def test_the_same_way_twice_gives_no_difference(
    comparing: Comparing, left: str, right: str, strength: float
) -> None:
    found = on_strip(comparing, comparing.sides("me", left, right, strength))
    assert found.left.text == found.right.text
    assert {kind for kind, _ in found.spans} == {"equal"}
    assert all(word.left == word.right for word in found.words)
    assert all(shift.left == shift.right and shift.moved == 0 for shift in found.shifts)


def test_a_hand_is_compared_with_the_base_of_the_line_reader(comparing: Comparing) -> None:
    sides = comparing.sides("me", "base", "Ann", 0.5)
    found = on_strip(comparing, sides, "sister")
    assert (found.part, found.left.text, found.right.text) == ("reader", "sisler", "sister")
    assert (found.right.label, found.right.signed) == ("Ann at 50%", "nano+Ann.aaaaaaaa")
    assert (found.right.variant.adapter, found.right.variant.adapter_scale) == ("h1", 0.5)
    assert found.right.rates is not None
    assert found.right.rates.cer == 0
    assert found.words[0].left == pytest.approx(0.2)
    assert found.words[0].right == pytest.approx(0.45)
    shift = found.shifts[0]
    half = len(shift.left) // 2
    assert set(shift.left[:half]) == {0.2}
    assert set(shift.right[half:]) == {0.0}


def test_hands_are_named_by_id_or_by_a_name_that_only_one_has(comparing: Comparing) -> None:
    assert [c.name for c in comparing.choices("me")] == ["base", "reading", "h1", "h2", "h3"]
    assert [c.name for c in comparing.choices("you")] == ["base", "reading"]
    with pytest.raises(InvalidRequest, match="Several"):
        comparing.sides("me", "base", "BO")
    with pytest.raises(InvalidRequest, match="no adapter 'h1'"):
        comparing.sides("you", "base", "h1")
    with pytest.raises(InvalidRequest, match="different parts"):
        comparing.sides("me", "reading", "h1")
    with pytest.raises(InvalidRequest, match="answers no questions"):
        comparing.one(
            reading_ask("a" * 64, "Who wrote this?"), {"a" * 64: STRIP}, comparing.sides("me", "base", "h1")
        )


def test_a_comparison_comes_back_from_json_as_it_was(comparing: Comparing) -> None:
    found = on_strip(comparing, comparing.sides("me", "base", "h1"), "sister")
    many = comparing.lines([STRIP], comparing.sides("me", "base", "reading"), ["dear sister"])
    for one in (found, many):
        assert comparison_of(json.loads(json.dumps(comparison_value(one)))) == one
    for change in (
        {"part": "x"},
        {"spans": [["<b>", "x"]]},
        {"shifts": [{"text": "a", "left": [1], "right": []}]},
    ):
        with pytest.raises(ValueError):
            comparison_of({**comparison_value(found), **change})


def test_prompt_hash_knows_input_and_seed_but_no_adapter() -> None:
    ask = reading_ask("a" * 64)
    assert prompt_hash(ask) == prompt_hash(replace(ask, variant=Variant(adapter="reading")))
    assert prompt_hash(ask) != prompt_hash(reading_ask("b" * 64))
    assert prompt_hash(ask) != prompt_hash(reading_ask("a" * 64, "What is it?"))


def test_many_lines_with_references(comparing: Comparing) -> None:
    sides = comparing.sides("me", "base", "reading")
    found = comparing.lines([STRIP, STRIP], sides, ["dear sister", "dear sister"])
    assert found.right.rates is not None
    assert found.right.rates.cer == 0
    (only,) = found.confusions
    assert (only.wanted, only.read, only.left, only.right, only.lines) == ("t", "l", 2, 0, (0, 1))
    with pytest.raises(InvalidRequest, match="Lines of text: 1"):
        comparing.lines([STRIP, STRIP], sides, ["x"])
    hands = comparing.lines([STRIP, STRIP], comparing.sides("me", "base", "Ann"))
    assert [(pair.left, pair.right) for pair in hands.lines] == [("sisler", "sister")] * 2


def test_names_and_strengths_are_checked(comparing: Comparing) -> None:
    with pytest.raises(InvalidRequest):
        comparing.sides("me", "base", "../../etc")
    with pytest.raises(InvalidRequest):
        comparing.sides("me", "base", "reading", 1.51)


def test_confusions_put_what_differs_between_the_sides_first() -> None:
    pairs = [
        LinePair("caT dog", "cat dog", "cat dog"),
        LinePair("cap", "cap", "cat"),
        LinePair("cax", "ca", "cat"),
    ]
    found = confusions(pairs)
    assert {(c.wanted, c.read) for c in found[:3]} == {("t", "T"), ("t", "x"), ("t", "")}
    assert (found[-1].wanted, found[-1].read, found[-1].left, found[-1].right) == ("t", "p", 1, 1)
    assert confusions([LinePair("This is a sentence about a sentence.", "cat", "cat")]) == ()


def test_lessons_are_read_from_the_shipped_curves() -> None:
    rows = [
        {"step": 5, "loss": 2.0, "parameters": 9},
        {"step": 10, "cer": {"en": 0.2, "fr": 0.4}, "parameters": 9},
    ]
    measured = {"reading": {"en": {"cer": 0.1, "wer": 0.3}, "other": {"cer": 0.9}}, "frozen": {}}
    curves = {"stages": {"reading": rows, "tower": []}, "evaluation": measured}
    (lesson,) = lessons(curves, {"reading": {"q": 0.1}})
    assert lesson.shipped == {"en": 0.1}
    assert (lesson.name, lesson.parameters, lesson.last) == ("reading", 9, {"en": 0.2, "fr": 0.4})
    assert [p.loss for p in lesson.points] == [2.0, None]
    assert lesson.points[1].cer == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("reading", "frozen", "told"),
    [(0.1, 0.3, "too"), (0.3, 0.1, "does not hold"), (0.2, 0.201, "about equal")],
)
def test_what_holds_is_said_from_the_figures(reading: float, frozen: float, told: str) -> None:
    stages = {
        "reading": [{"step": 1, "cer": {"en": reading}, "parameters": 90}],
        "frozen": [{"step": 1, "cer": {"en": frozen}, "parameters": 9}],
    }
    sentence = what_holds(lessons({"stages": stages}, {}))
    assert told in sentence
    assert "10 times" in sentence
    assert "above 100%" not in sentence
    stages["frozen"][0]["cer"] = {"en": 3.6}
    assert "above 100%" in what_holds(lessons({"stages": stages}, {}))
    assert "not said" in what_holds(())


def test_changes_are_joined_by_layer_in_their_order() -> None:
    norms = {
        "model.text_model.layers.10.mlp.up_proj": (1.0, 2.0),
        "model.text_model.layers.3.mlp.up_proj": (3.0, 30.0),
        "model.text_model.layers.3.self_attn.q_proj": (4.0, 40.0),
        "model.connector.speller": (1.0, 4.0),
        # Nearly empty before: on its own it says that all has changed.
        "model.connector.perceiver_resampler.layers.0.mlp.down_proj": (3.0, 0.1),
        "model.connector.perceiver_resampler.layers.0.mlp.up_proj": (0.0, 10.0),
    }
    found = by_layer(norms)
    assert list(found) == ["perceiver_resampler", "speller", "language layer 3", "language layer 10"]
    assert found["language layer 3"] == pytest.approx(0.1)
    assert found["perceiver_resampler"] == pytest.approx(0.3, abs=0.001)
