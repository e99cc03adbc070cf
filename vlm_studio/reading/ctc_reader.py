"""Strips into text with any recogniser that scores characters frame by frame (CTC): the reading around the network."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
from PIL import Image as PilImage

from vlm_studio.core.cancel import CancelToken
from vlm_studio.core.documents import STRETCHES, LineReading, WordReading
from vlm_studio.reading.calibration import AS_FOUND, NANO, Calibration, mean_confidence
from vlm_studio.reading.ctc_words import (
    BLANK,
    LetterChance,
    WordChances,
    spelled_chance,
    spelled_chances,
    stretches,
)
from vlm_studio.reading.guards import has_ink, repeats
from vlm_studio.reading.lexicon import WordList, spellings, weigh
from vlm_studio.reading.spelling import apart, spell, words_of
from vlm_studio.reading.strips import split_at_gaps

if TYPE_CHECKING:
    from pathlib import Path

    from PIL.Image import Image

FRAME_SHARE = 8 / 48
"""Width of a frame as a share of the strip's height: both recognisers see 8 of 48 px at a time."""
MAX_RATIO = 48.0
"""Width over height, once stretched, up to which a strip is read in one piece; longer ones are cut at word gaps."""
BATCH = 8
LIKELIEST = 3
"""Spellings of a word whose neighbours in the word list are asked about."""
_HARDLY = 1e-17
"""Probability of what the frames cannot spell."""
SURE = 0.8
"""Confidence of a line, not calibrated, above which it is not read at another width."""


class Recogniser(Protocol):
    @property
    def characters(self) -> Sequence[str]:
        """What each column of the probabilities stands for; column 0 is the CTC blank."""
        ...

    def probabilities(self, pieces: Sequence[Image]) -> list[np.ndarray]:
        """(frames, classes) in 0-1 for each piece, in order. Raises ModelUnavailable."""
        ...


class CtcReader:
    """Reader port. As thread-safe as its recogniser."""

    def __init__(
        self,
        name: str,
        recogniser: Recogniser,
        clean: Callable[[str], str] = str,
        words: WordList | None = None,
        stretches: Sequence[float] = (1.0,),
        sure: float = SURE,
        calibration: Calibration = AS_FOUND,
    ) -> None:
        """`clean` is applied to every word; `words`, where given, settles doubtful ones; `calibration` comes last of all.

        A line is read as many times as wide as the first of `stretches` says; where that is less than `sure`, at the others
        too, and the surest reading counts.
        """
        self.name = name
        self._stretches = tuple(stretches)
        self._sure = sure
        self.recogniser = recogniser
        self._clean = clean
        self._words = words
        self._calibration = calibration

    def read(self, strips: Sequence[Image], cancel: CancelToken) -> Iterator[LineReading]:
        """One reading a strip, in order. Raises ModelUnavailable or Cancelled."""
        for start in range(0, len(strips), BATCH):
            cancel.raise_if_cancelled()
            yield from self._batch(strips[start : start + BATCH])

    def chances(self, strip: Image, words: Sequence[WordReading]) -> list[WordChances]:
        """How likely the ink of a strip is found to be each of these words, where their boxes stand (strip pixels).

        Word frequencies have no say in it. Raises ModelUnavailable.
        """
        if not has_ink(strip):
            return [WordChances(0.0, ()) for _ in words]
        found = [self._chances_at(strip, words, stretch) for stretch in self._stretches]
        return max(found, key=lambda chances: sum(math.log(max(c.chance, 1e-9)) for c in chances))

    def _chances_at(self, strip: Image, words: Sequence[WordReading], stretch: float) -> list[WordChances]:
        pieces = _cut(strip, stretch)
        scored = self.recogniser.probabilities([piece for _, piece in pieces])
        starts = [offset for offset, _ in pieces]
        frame_px = _frame_px(strip, stretch)
        found = []
        for place, word in enumerate(words):
            piece = max((k for k, start in enumerate(starts) if start <= word.box.left), default=0)
            left = words[place - 1].box.right if place else 0.0
            right = words[place + 1].box.left if place + 1 < len(words) else float(strip.width)
            reach = (left + word.box.left) / 2 - starts[piece], (word.box.right + right) / 2 - starts[piece]
            found.append(self._chances(scored[piece], word, reach, starts[piece], frame_px))
        return found

    def _chances(
        self,
        probabilities: np.ndarray,
        word: WordReading,
        reach: tuple[float, float],
        offset: int,
        frame_px: float,
    ) -> WordChances:
        """`reach`: the columns of the piece that are nearer to this word than to another, pixels."""
        places = {letter: k for k, letter in enumerate(self.recogniser.characters) if k != BLANK}
        letters = [letter for letter in word.text if letter in places]
        first, end = max(0, round(reach[0] / frame_px)), min(len(probabilities), round(reach[1] / frame_px))
        rows = probabilities[first:end].copy()
        # The space beside a word is no letter of it; one between its letters is. A box reaches beyond both ends.
        centres = offset + (np.arange(first, first + len(rows)) + 0.5) * frame_px
        beside = (centres < word.box.left + frame_px) | (centres > word.box.right - frame_px)
        rows[beside, BLANK] += rows[beside, places[" "]]
        rows[beside, places[" "]] = 0.0
        columns = [places[letter] for letter in letters]
        spans = stretches(rows, columns)
        return WordChances(
            spelled_chance(rows, columns),
            tuple(
                LetterChance(
                    letter,
                    offset + (first + start) * frame_px,
                    offset + (first + stop) * frame_px,
                    float(rows[start:stop, column].max(initial=0.0)),
                )
                for letter, column, (start, stop) in zip(letters, columns, spans, strict=False)
            ),
        )

    def _batch(self, strips: Sequence[Image]) -> list[LineReading]:
        best = [self._reading(()) for _ in strips]
        doubted = [k for k, strip in enumerate(strips) if has_ink(strip)]
        for stretch in self._stretches:
            for k, reading in zip(doubted, self._read([strips[k] for k in doubted], stretch), strict=True):
                if _sureness(reading) > _sureness(best[k]):
                    best[k] = reading
            doubted = [k for k in doubted if _sureness(best[k]) < self._sure]
        return [self._calibration.line(reading) for reading in best]

    def _read(self, strips: Sequence[Image], stretch: float) -> list[LineReading]:
        """One look at strips with ink on them."""
        pieces = [(number, *cut) for number, strip in enumerate(strips) for cut in _cut(strip, stretch)]
        scored = self.recogniser.probabilities([piece for *_, piece in pieces]) if pieces else []
        found: list[list[WordReading]] = [[] for _ in strips]
        for (number, offset, piece), probabilities in zip(pieces, scored, strict=True):
            found[number] += self._piece(probabilities, offset, _frame_px(piece, stretch), piece.height)
        return [self._reading(apart(words, strip.width)) for words, strip in zip(found, strips, strict=True)]

    def _piece(
        self, probabilities: np.ndarray, offset: int, frame_px: float, height: int
    ) -> list[WordReading]:
        characters = self.recogniser.characters
        settle = None if self._words is None else _Settler(probabilities, characters, self._words)
        spelled = spell(probabilities, characters)
        return words_of(spelled, len(probabilities), offset, frame_px, height, self._clean, settle)

    def _reading(self, words: tuple[WordReading, ...]) -> LineReading:
        if not words:
            return LineReading("", 1.0, (), self.name)
        text = " ".join(word.text for word in words)
        warnings = ("The same piece is repeated; look at the strip.",) if repeats(text) else ()
        return LineReading(text, mean_confidence(words), words, self.name, warnings)


class _Settler:
    """Likely spellings of a stretch of frames, and words that are near them, weighed by how frequent they are as words."""

    def __init__(self, probabilities: np.ndarray, characters: Sequence[str], words: WordList) -> None:
        self._characters, self._words = characters, words
        self._places = {letter: k for k, letter in enumerate(characters)}
        self._probabilities = probabilities
        self._log_probs = np.log(np.maximum(probabilities, 1e-9))
        # A word has no space inside; where one is likely, its frames were already cut there.
        self._log_probs[:, self._places[" "]] = -30.0

    def __call__(self, first: int, end: int) -> list[tuple[str, float]]:
        found = spellings(self._log_probs[first:end], self._characters)
        known = {text for text, _ in found}
        near = {other for text, _ in found[:LIKELIEST] for other in self._words.near(text)} - known
        written = sorted(other for other in near if all(letter in self._places for letter in other))
        columns = [[self._places[letter] for letter in other] for other in written]
        chances = spelled_chances(self._probabilities[first:end], columns)
        asked = zip(written, np.log(np.maximum(chances, _HARDLY)).tolist(), strict=True)
        return weigh([*found, *asked], self._words)


def _sureness(reading: LineReading) -> float:
    """What was read with no words may be blank, or have words at another width."""
    return reading.confidence if reading.words else 0.0


def _cut(strip: Image, stretch: float) -> list[tuple[int, Image]]:
    """(x offset in the strip, piece `stretch` times as wide as it stands there) of all of a strip."""
    return [(offset, _wider(piece, stretch)) for offset, piece in split_at_gaps(strip, MAX_RATIO / stretch)]


def _wider(piece: Image, stretch: float) -> Image:
    if stretch == 1:
        return piece
    width = max(1, round(piece.width * stretch))
    return piece.resize((width, piece.height), PilImage.Resampling.BICUBIC)


def _frame_px(strip: Image, stretch: float) -> float:
    """Width of a frame in pixels of the strip as it was before it was stretched."""
    return strip.height * FRAME_SHARE / stretch


def careful(name: str, recogniser: Recogniser, words: Path, learned: bool = False) -> CtcReader:
    """A reader around `recogniser` with all that the app has to help it: other widths, and word frequencies.

    What has `learned` a hand is surer than right of its first look, so it always takes all of them.
    """
    sure = 1.01 if learned else SURE
    listed = WordList(words)
    return CtcReader(name, recogniser, words=listed, stretches=STRETCHES, sure=sure, calibration=NANO)
