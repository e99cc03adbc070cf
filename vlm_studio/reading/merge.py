"""Two recognisers that see the same frames, read as one: each can veto what the other only imagines.

Both work on strips 48 px high and look at 8 px at a time, so their frames stand beside each other. Their probabilities are
multiplied, the second's with a smaller weight (a logarithmic opinion pool, Genest and Zidek 1986): where both agree
the letter becomes surer, where they disagree it falls into doubt, and the word with it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from vlm_studio.core.errors import ModelUnavailable
from vlm_studio.reading.ctc_reader import CtcReader, Recogniser
from vlm_studio.reading.fast import plain_punctuation, shared_recogniser
from vlm_studio.reading.lexicon import WordList

if TYPE_CHECKING:
    from pathlib import Path

    from PIL.Image import Image

log = logging.getLogger(__name__)

SHARE = 0.15
"""Weight of the second recogniser; tuned on validation lines (vlm_studio/recipe/LOG.md)."""
FLOOR = 1e-6
"""Probability below which neither recogniser can press a letter: no veto is absolute."""


class Merged:
    """Recogniser in the letters of the first. The second may fail to load: then the first reads alone."""

    def __init__(
        self,
        first: Recogniser,
        second: Recogniser,
        share: float = SHARE,
        clean: Callable[[str], str] = str,
    ) -> None:
        """`clean` turns the second's characters into those of the first; what it still lacks is left out."""
        self.first, self.second, self.share = first, second, share
        self._clean = clean
        self._alone = False

    @property
    def characters(self) -> Sequence[str]:
        return self.first.characters

    def probabilities(self, pieces: Sequence[Image]) -> list[np.ndarray]:
        """(frames, classes of the first), each row summing to 1. Raises ModelUnavailable where the first cannot load."""
        mine = self.first.probabilities(pieces)
        if self._alone:
            return mine
        try:
            columns, starts, targets = self._columns
            others = self.second.probabilities(pieces)
        except ModelUnavailable:
            log.warning("reading without the second recogniser, which cannot be loaded")
            self._alone = True
            return mine
        found = []
        for own, other in zip(mine, others, strict=True):
            translated = np.zeros((len(other), own.shape[1]), dtype=own.dtype)
            translated[:, targets] = np.add.reduceat(other[:, columns], starts, axis=1)
            found.append(pooled(own, translated, self.share))
        return found

    @cached_property
    def _columns(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The second's columns that the first has letters for, grouped; where each group starts; the first's column of it."""
        places = {letter: k for k, letter in enumerate(self.first.characters)}
        pairs = sorted(
            (places[self._clean(letter)], k)
            for k, letter in enumerate(self.second.characters)
            if self._clean(letter) in places
        )
        targets, starts = np.unique([target for target, _ in pairs], return_index=True)
        return np.array([k for _, k in pairs]), starts, targets


def pooled(first: np.ndarray, second: np.ndarray, share: float) -> np.ndarray:
    """(frames, classes): the two multiplied with weights 1 - `share` and `share`; frames that only `first` has stay."""
    both = min(len(first), len(second))
    mixed = (1 - share) * np.log(first[:both] + FLOOR) + share * np.log(second[:both] + FLOOR)
    product = np.exp(mixed)
    found = first.copy()
    found[:both] = product / product.sum(1, keepdims=True)
    return found


def seconded(name: str, recogniser: Recogniser, words: Path) -> CtcReader:
    """A reader around `recogniser` with all that the app has to help it: the recogniser of `fast`, and word frequencies."""
    both = Merged(recogniser, shared_recogniser(), clean=plain_punctuation)
    return CtcReader(name, both, words=WordList(words))
