"""Which of the likely spellings of a doubtful word people write: frequencies weigh what the ink leaves open.

For each doubtful word, a prefix beam search over its own frames (Graves 2012, ch. 7.5) gives the likely spellings with
their probability summed over alignments. The search keeps what the frames find likely, and a whole word may hang on one
letter that they do not: so the words of the list that are a few letters away are asked about too. To each spelling its
frequency as a word is added, with a weight tuned on validation lines. A word that the ink makes clear is never touched, so
that a misspelling written clearly stays one.
"""

from __future__ import annotations

import functools
import gzip
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from rapidfuzz import process
from rapidfuzz.distance import Levenshtein

_SPLIT = re.compile(r"['’\-/]")
_EDGE = re.compile(r"^\W+|\W+$")
NEAR = 12
"""Words of the list that are asked about for one unknown word, at most."""
_LN10 = math.log(10)
_NEVER = -1e30


@dataclass(frozen=True, slots=True)
class Weights:
    """How much word frequencies count. Tuned on validation lines (vlm_studio/recipe/LOG.md)."""

    frequency: float = 0.7
    """Weight of the natural log of a word's frequency against the recogniser's log-probability."""
    unknown: float = 900.0
    """Centibels of a word that is in no list."""
    letter: float = 0.9
    """Added to a candidate for each character, against the liking for short words."""
    odd_case: float = 2.0
    """Nats taken from a word with capitals inside, as in "hELLo"."""
    mixed: float = 1.5
    """Nats taken from a word of letters and digits, as in "l95O"."""
    beam: int = 20


class WordList:
    """Word frequencies in English and French, read at first use."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def _languages(self) -> tuple[dict[str, int], ...]:
        """Centibels of the words of each language."""
        rows = [row.split("\t") for row in gzip.decompress(self.path.read_bytes()).decode().splitlines()]
        columns = range(1, len(rows[0]) if rows else 2)
        return tuple({row[0]: int(row[k]) for row in rows if row[k]} for k in columns)

    def log_probability(self, word: str, weights: Weights) -> float:
        """Natural log of the frequency of `word`, case and the punctuation around it put aside.

        Parts of a word are of one language, whichever likes them best together: French elides before no English word.
        """
        bare = _EDGE.sub("", word)
        if not bare or any(c.isdigit() for c in bare):
            number = -weights.unknown / 100 * _LN10 * 0.7
            mixed = any(c.isalpha() for c in bare)
            return number - (weights.mixed / max(weights.frequency, 1e-6) if mixed else 0.0)
        parts = [part.lower() for part in _SPLIT.split(bare) if part]
        likings = (sum(own.get(part, weights.unknown) for part in parts) for own in self._languages)
        total = -min(likings) / 100 * _LN10
        if bare not in {bare.lower(), bare.upper(), bare.capitalize()} and not _SPLIT.search(bare):
            total -= weights.odd_case / max(weights.frequency, 1e-6)
        return total

    def near(self, word: str) -> tuple[str, ...]:
        """Words of the list a few letters from an unknown one, in its case, with the punctuation around it as it is.

        Of a word with parts, as in "l'entaprise", each unknown part is exchanged by itself. Short words and numbers have none.
        """
        bare = _EDGE.sub("", word)
        if not bare or any(c.isdigit() for c in bare):
            return ()
        start = word.index(bare)
        found: list[str] = []
        for part in re.finditer(r"[^'’\-/]+", bare):
            first, last = start + part.start(), start + part.end()
            found += [word[:first] + _in_case(w, part[0]) + word[last:] for w in self._near(part[0].lower())]
        return tuple(found)

    @functools.lru_cache(maxsize=4096)  # noqa: B019  an app has one list for as long as it lives
    def _near(self, word: str) -> tuple[str, ...]:
        if len(word) < 4 or self._known(word):
            return ()
        most = 1 if len(word) < 5 else 2 if len(word) < 8 else 3
        found: list[tuple[float, int, str]] = []
        for length in range(len(word) - 2, len(word) + 3):
            choices = self._by_length.get(length, [])
            for other, distance, _ in process.extract(
                word, choices, scorer=Levenshtein.distance, score_cutoff=most, limit=NEAR
            ):
                found.append((distance, min(self._known(other)), other))
        return tuple(other for *_, other in sorted(found)[:NEAR])

    def _known(self, word: str) -> list[int]:
        """Its centibels in the languages that have it."""
        return [own[word] for own in self._languages if word in own]

    @cached_property
    def _by_length(self) -> dict[int, list[str]]:
        found: dict[int, list[str]] = {}
        for word in sorted(set().union(*self._languages)):
            found.setdefault(len(word), []).append(word)
        return found


def _in_case(word: str, like: str) -> str:
    if len(like) > 1 and like.isupper():
        return word.upper()
    return word.capitalize() if like[0].isupper() else word


def spellings(
    log_probs: np.ndarray, letters: Sequence[str], beam: int = Weights().beam, blank: int = 0
) -> list[tuple[str, float]]:
    """Likely texts of `log_probs` (frames, classes) with their natural log-probability, best first."""
    prefixes: dict[tuple[int, ...], tuple[float, float]] = {(): (0.0, _NEVER)}
    for row in log_probs:
        likely = [(int(k), float(row[k])) for k in np.flatnonzero(row > -6.5)] or [
            (int(row.argmax()), float(row.max()))
        ]
        grown: dict[tuple[int, ...], list[float]] = {}
        for prefix, (in_blank, in_letter) in prefixes.items():
            total = _add(in_blank, in_letter)
            for column, value in likely:
                if column == blank:
                    ends = grown.setdefault(prefix, [_NEVER, _NEVER])
                    ends[0] = _add(ends[0], total + value)
                elif prefix and column == prefix[-1]:
                    ends = grown.setdefault(prefix, [_NEVER, _NEVER])
                    ends[1] = _add(ends[1], in_letter + value)
                    ends = grown.setdefault((*prefix, column), [_NEVER, _NEVER])
                    ends[1] = _add(ends[1], in_blank + value)
                else:
                    ends = grown.setdefault((*prefix, column), [_NEVER, _NEVER])
                    ends[1] = _add(ends[1], total + value)
        kept = sorted(grown.items(), key=lambda item: -_add(*item[1]))[:beam]
        prefixes = {prefix: (ends[0], ends[1]) for prefix, ends in kept}
    found = [("".join(letters[c] for c in prefix), _add(*ends)) for prefix, ends in prefixes.items()]
    return sorted(found, key=lambda item: -item[1])


def weigh(
    candidates: Sequence[tuple[str, float]], words: WordList, weights: Weights = Weights()
) -> list[tuple[str, float]]:
    """(text, share of the candidates' probability), best first, after word frequencies have had their say."""
    scored = [
        (text, value + weights.frequency * words.log_probability(text, weights) + weights.letter * len(text))
        for text, value in candidates
        if text
    ]
    if not scored:
        return []
    top = max(value for _, value in scored)
    shares = [(text, math.exp(value - top)) for text, value in scored]
    total = sum(share for _, share in shares)
    return sorted(((text, share / total) for text, share in shares), key=lambda item: -item[1])


def _add(a: float, b: float) -> float:
    """log(exp a + exp b)."""
    if a < b:
        a, b = b, a
    return a if b <= _NEVER else a + math.log1p(math.exp(b - a))
