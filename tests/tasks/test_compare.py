from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from vlm_studio.core.answers import Answer, DoneEvent, EngineEvent, TokenEvent, Usage
from vlm_studio.core.cancel import CancelToken
from vlm_studio.core.comparison import LinePair
from vlm_studio.core.conversation import Ask, Variant
from vlm_studio.core.documents import LineReading
from vlm_studio.core.errors import InvalidRequest
from vlm_studio.tasks.compare import (
    Comparing,
    by_layer,
    confusions,
    lessons,
    prompt_hash,
    reading_ask,
    what_holds,
    words_of,
)

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


@pytest.fixture
def comparing() -> Comparing:
    return Comparing(lambda: TwoTongues(), lambda: ("reading",))  # type: ignore[arg-type, return-value]


def test_base_and_adapter_on_the_same_line(comparing: Comparing) -> None:
    found = comparing.one(
        reading_ask("a" * 64),
        {"a" * 64: STRIP},
        comparing.variant("base"),
        comparing.variant("reading"),
        "dear sister",
    )
    assert (found.left.text, found.right.text) == ("dear sisler", "dear sister")
    assert found.left.rates is not None
    assert found.right.rates is not None
    assert found.right.rates.cer == 0 < found.left.rates.cer
    assert ("delete", "l") in found.spans
    dear, sister = found.words
    assert dear.left == dear.right
    assert sister.text == "sister"
    assert sister.left < sister.right


@pytest.mark.parametrize(
    ("left", "right"),
    [(("base", 1.0), ("base", 1.0)), (("base", 1.0), ("reading", 0.0)), (("reading", 1.0),) * 2],
)
def test_the_same_way_twice_gives_no_difference(
    comparing: Comparing, left: tuple[str, float], right: tuple[str, float]
) -> None:
    found = comparing.one(
        reading_ask("a" * 64), {"a" * 64: STRIP}, comparing.variant(*left), comparing.variant(*right)
    )
    assert found.left.text == found.right.text
    assert {kind for kind, _ in found.spans} == {"equal"}
    assert all(word.left == word.right for word in found.words)


def test_prompt_hash_knows_input_and_seed_but_no_adapter() -> None:
    ask = reading_ask("a" * 64)
    assert prompt_hash(ask) == prompt_hash(replace(ask, variant=Variant(adapter="reading")))
    assert prompt_hash(ask) != prompt_hash(reading_ask("b" * 64))
    assert prompt_hash(ask) != prompt_hash(reading_ask("a" * 64, "What is it?"))


def test_many_lines_with_references(comparing: Comparing) -> None:
    found = comparing.lines(
        [STRIP, STRIP],
        comparing.variant("base"),
        comparing.variant("reading"),
        ["dear sister", "dear sister"],
    )
    assert found.right.rates is not None
    assert found.right.rates.cer == 0
    (only,) = found.confusions
    assert (only.wanted, only.read, only.left, only.right, only.lines) == ("t", "l", 2, 0, (0, 1))
    with pytest.raises(InvalidRequest, match="1 lines of text for 2"):
        comparing.lines([STRIP, STRIP], comparing.variant("base"), comparing.variant("base"), ["x"])


def test_names_and_strengths_are_checked(comparing: Comparing) -> None:
    with pytest.raises(InvalidRequest):
        comparing.variant("../../etc")
    with pytest.raises(InvalidRequest):
        comparing.variant("reading", 1.51)


def test_words_are_as_likely_as_all_their_tokens() -> None:
    words = words_of(["an", "d", " so", " ", "on"], [-1.0] * 5, [-0.5] * 5)
    assert [w.text for w in words] == ["and", "so", "on"]
    assert words[0].left == pytest.approx(np.exp(-2))
    assert words[0].right == pytest.approx(np.exp(-1))


def test_confusions_put_what_differs_between_the_sides_first() -> None:
    pairs = [
        LinePair("caT dog", "cat dog", "cat dog"),
        LinePair("cap", "cap", "cat"),
        LinePair("cax", "ca", "cat"),
    ]
    found = confusions(pairs)
    assert {(c.wanted, c.read) for c in found[:3]} == {("t", "T"), ("t", "x"), ("t", "")}
    assert (found[-1].wanted, found[-1].read, found[-1].left, found[-1].right) == ("t", "p", 1, 1)


def test_lessons_are_read_from_the_shipped_curves() -> None:
    rows = [
        {"step": 5, "loss": 2.0, "parameters": 9},
        {"step": 10, "cer": {"en": 0.2, "fr": 0.4}, "parameters": 9},
    ]
    (lesson,) = lessons({"stages": {"reading": rows, "tower": []}}, {"reading": {"q": 0.1}})
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
    assert "not said" in what_holds(())


def test_changes_are_joined_by_layer() -> None:
    change = {
        "model.text_model.layers.3.mlp.up_proj": 0.1,
        "model.text_model.layers.3.self_attn.q_proj": 0.3,
        "model.connector.speller": 0.5,
    }
    assert by_layer(change) == {"language layer 3": pytest.approx(0.2), "speller": 0.5}
