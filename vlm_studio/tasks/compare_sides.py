"""The two things that an adapter may sit on, each run one way and the other: nano's language model, and its line reader."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

import vlm_studio.trace.maps as maps
from vlm_studio.core.answers import Answer, DoneEvent
from vlm_studio.core.cancel import CancelToken
from vlm_studio.core.comparison import WordChance, WordShift
from vlm_studio.core.conversation import Ask, Variant
from vlm_studio.core.documents import LineReading
from vlm_studio.core.errors import TraceUnavailable
from vlm_studio.core.ports import Engine
from vlm_studio.core.traces import Trace
from vlm_studio.reading.ctc_words import WordChances
from vlm_studio.tasks.adapt import HandReader
from vlm_studio.tasks.inspect_feed import words_of

if TYPE_CHECKING:
    from PIL.Image import Image

COLUMNS = maps.MAP_SIDE
"""Values of a map of the line reader, over the width of a strip."""


@dataclass(frozen=True, slots=True)
class Said:
    """What one way says, and how long it took."""

    text: str
    seconds: float
    tokens: int


@dataclass(frozen=True, slots=True)
class Both:
    """One line both ways. Words are those of the right answer."""

    left: Said
    right: Said
    words: tuple[WordChance, ...]
    shifts: tuple[WordShift, ...]


class Bench(Protocol):
    """Runs something with an adapter and without, from the same weights. Raises only StudioError."""

    def one(
        self, ask: Ask, images: Mapping[str, Image], left: Variant, right: Variant, cancel: CancelToken
    ) -> Both: ...
    def read(self, strips: Sequence[Image], variant: Variant, cancel: CancelToken) -> list[str]: ...


class Looks(Protocol):
    """What looks into an engine (trace/tracer.py)."""

    def trace(self, ask: Ask, images: Mapping[str, Image], continuation: Sequence[int]) -> Trace: ...


class ModelBench:
    """A language model whose adapter is switched in a scope, in one loaded model."""

    def __init__(self, engine: Callable[[], Engine], looks: Callable[[], Looks]) -> None:
        self._engine, self._looks = engine, looks

    def one(
        self, ask: Ask, images: Mapping[str, Image], left: Variant, right: Variant, cancel: CancelToken
    ) -> Both:
        engine = self._engine()
        sides = [replace(ask, variant=variant) for variant in (left, right)]
        answers, said = [], []
        for side in sides:
            started = time.monotonic()
            answer = _answer(engine, side, images, cancel)
            answers.append(answer)
            said.append(Said(answer.text, time.monotonic() - started, len(answer.tokens)))
        tokens = answers[1].tokens
        ids = [token.token_id for token in tokens]
        words = words_of(tokens)
        if not words:
            return Both(said[0], said[1], (), ())
        chances = [engine.logprobs(side, images, ids) for side in sides]
        found = tuple(
            WordChance(word, *(math.exp(float(side[first : last + 1].sum())) for side in chances))
            for word, first, last in words
        )
        cancel.raise_if_cancelled()
        return Both(said[0], said[1], found, self._shifts(sides, images, ids, words))

    def read(self, strips: Sequence[Image], variant: Variant, cancel: CancelToken) -> list[str]:
        return [reading.text for reading in self._engine().read(strips, cancel, variant)]

    def _shifts(
        self,
        sides: Sequence[Ask],
        images: Mapping[str, Image],
        ids: Sequence[int],
        words: Sequence[tuple[str, int, int]],
    ) -> tuple[WordShift, ...]:
        """The maps of Inspect, made on both sides for the same words."""
        ((sha256, image),) = images.items()
        try:
            traces = [self._looks().trace(side, images, ids) for side in sides]
        except TraceUnavailable:
            return ()
        return tuple(
            word_shift(word, [_columns(trace, first, last, sha256, image) for trace in traces])
            for word, first, last in words
        )


class ReaderBench:
    """nano's line reader, with a hand adapter added to a copy of its weights at any strength."""

    def __init__(self, reader: Callable[[Variant], HandReader]) -> None:
        """`reader` gives the line reader that wears a variant's adapter. It raises NotFound."""
        self._reader = reader

    def one(
        self, ask: Ask, images: Mapping[str, Image], left: Variant, right: Variant, cancel: CancelToken
    ) -> Both:
        ((_, strip),) = images.items()
        readers = [self._reader(variant) for variant in (left, right)]
        read: list[LineReading] = []
        said = []
        for reader in readers:
            started = time.monotonic()
            read += reader.read([strip], cancel)
            said.append(Said(read[-1].text, time.monotonic() - started, 0))
        words = read[1].words
        chances = [reader.chances(strip, words) for reader in readers]
        return Both(
            said[0],
            said[1],
            tuple(WordChance(w.text, a.chance, b.chance) for w, a, b in zip(words, *chances, strict=True)),
            tuple(
                word_shift(w.text, [_stretch(side, strip.width) for side in pair], absolute=True)
                for w, *pair in zip(words, *chances, strict=True)
            ),
        )

    def read(self, strips: Sequence[Image], variant: Variant, cancel: CancelToken) -> list[str]:
        return [reading.text for reading in self._reader(variant).read(strips, cancel)]


def word_shift(text: str, sides: Sequence[np.ndarray], absolute: bool = False) -> WordShift:
    """Left and right map [columns] on one scale; `absolute` ones are 0-1 already."""
    top = 1.0 if absolute else max(float(side.max(initial=0.0)) for side in sides) or 1.0
    left, right = (tuple(round(float(v) / top, 3) for v in side) for side in sides)
    return WordShift(text, left, right)


def _columns(trace: Trace, first: int, last: int, sha256: str, image: Image) -> np.ndarray:
    """The map that Inspect shows of these tokens, summed over the height of the strip."""
    heat = maps.word_map(trace, range(first, last + 1), sha256, (image.height, image.width))
    columns: np.ndarray = maps.raw_values(heat).sum(0)
    return columns


def _stretch(found: WordChances, width: int) -> np.ndarray:
    """[COLUMNS] over the strip: how likely the ink there is the letter of the word that stands there; else 0."""
    values = np.zeros(COLUMNS)
    for letter in found.letters:
        first, last = (int(COLUMNS * x / max(1, width)) for x in (letter.left, letter.right))
        values[first : max(first + 1, last)] = letter.chance
    return values


def _answer(engine: Engine, ask: Ask, images: Mapping[str, Image], cancel: CancelToken) -> Answer:
    """To the very end: an engine takes a stream that is left early for a Stop."""
    answers = [e.answer for e in engine.stream(ask, images, cancel) if isinstance(e, DoneEvent)]
    if answers[-1].finish_reason == "cancelled":
        cancel.cancel()
        cancel.raise_if_cancelled()
    return answers[-1]
