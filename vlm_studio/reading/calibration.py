"""Confidences that mean what they say: of the words read with 0.8, eight in ten should be right.

A recogniser trained with CTC is surer than right, and what is found likeliest of several is surer still. One logistic
curve a reader puts that right (Platt 1999); it changes no order, so what is read stays as it is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from vlm_studio.core.documents import LineReading, WordReading

_LEAST = 1e-4
"""A share is taken as no nearer to 0 or 1 than this: no number of lines can tell."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """logit(confidence) = offset + slope * logit(share of the probability). Fitted by benchmarks/confidence.py."""

    offset: float
    slope: float

    def confidence(self, share: float) -> float:
        """What a word that a reader gives this share (0-1) is right with."""
        share = min(max(share, _LEAST), 1 - _LEAST)
        return 1 / (1 + math.exp(-self.offset - self.slope * math.log(share / (1 - share))))

    def word(self, word: WordReading) -> WordReading:
        """Other readings keep their proportion to the first."""
        confidence = self.confidence(word.confidence)
        factor = confidence / max(word.confidence, _LEAST)
        others = tuple(replace(a, probability=min(1.0, factor * a.probability)) for a in word.alternatives)
        return replace(word, confidence=confidence, alternatives=others)

    def line(self, reading: LineReading) -> LineReading:
        words = tuple(self.word(word) for word in reading.words)
        return replace(reading, words=words, confidence=mean_confidence(words)) if words else reading


AS_FOUND = Calibration(0.0, 1.0)
NANO = Calibration(-0.71, 0.72)
"""Of the line reader of nano, and of a hand learned with it, where three widths were looked at."""
FAST = Calibration(-1.68, 0.76)
"""Of `fast` on handwriting. Of print more is right than this says."""


def mean_confidence(words: tuple[WordReading, ...]) -> float:
    """The geometric mean; of no words nothing may be asked."""
    return math.exp(sum(math.log(max(w.confidence, 1e-6)) for w in words) / len(words))
