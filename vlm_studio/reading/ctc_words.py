"""How likely a recogniser finds a given word in a stretch of frames, and which frames each of its letters stands on."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

BLANK = 0
_LEAST = 1e-9
"""Of a probability, so that its logarithm is a number."""


@dataclass(frozen=True, slots=True)
class LetterChance:
    """A letter of a word, the ink it stands on, and how likely that ink is found to be this letter."""

    text: str
    left: float
    right: float
    """Columns of the strip, pixels."""
    chance: float
    """0-1, the best frame of its stretch."""


@dataclass(frozen=True, slots=True)
class WordChances:
    """A word at its place, as one recogniser finds it; the ink alone, without word frequencies."""

    chance: float
    """That these frames spell this word and nothing else, summed over all alignments (CTC), 0-1."""
    letters: tuple[LetterChance, ...]


def spelled_chance(probabilities: np.ndarray, columns: Sequence[int]) -> float:
    """That (frames, classes) spell exactly these columns, 0-1."""
    return float(spelled_chances(probabilities, [columns])[0]) if columns else 0.0


def spelled_chances(probabilities: np.ndarray, words: Sequence[Sequence[int]]) -> np.ndarray:
    """(words,): that (frames, classes) spell exactly each of these rows of columns, none of them empty, 0-1.

    The forward algorithm of CTC (Graves et al. 2006), for all words at once.
    """
    if not len(probabilities) or not words:
        return np.zeros(len(words))
    longest = 2 * max(map(len, words)) + 1
    states = np.full((len(words), longest), BLANK)
    skips = np.zeros(states.shape, dtype=bool)
    for row, columns in enumerate(words):
        own = _states(columns)
        states[row, : len(own)], skips[row, : len(own)] = own, _skips(own)
    # What stands beyond the end of a shorter word is reached from its end, and leads nowhere.
    emitted = probabilities[:, states].astype(np.float64)
    forward = np.zeros(states.shape)
    forward[:, :2] = emitted[0, :, :2]
    for frame in emitted[1:]:
        before = forward
        forward = before.copy()
        forward[:, 1:] += before[:, :-1]
        forward[:, 2:] += np.where(skips[:, 2:], before[:, :-2], 0.0)
        forward *= frame
    ends = np.array([2 * len(columns) for columns in words])
    rows = np.arange(len(words))
    return np.asarray(np.minimum(1.0, forward[rows, ends] + forward[rows, ends - 1]))


def stretches(probabilities: np.ndarray, columns: Sequence[int]) -> list[tuple[int, int]]:
    """First and last (exclusive) frame of each letter on the likeliest alignment: they share all frames out.

    Empty where there are fewer frames than the word needs.
    """
    states = _states(columns)
    skips = _skips(states)
    scores = np.log(np.maximum(probabilities[:, states].astype(np.float64), _LEAST))
    if not len(scores) or not columns:
        return []
    best = np.full(len(states), -np.inf)
    best[:2] = scores[0, :2]
    came: list[np.ndarray] = []
    for row in scores[1:]:
        options = np.full((3, len(states)), -np.inf)
        options[0] = best
        options[1, 1:] = best[:-1]
        options[2, 2:] = np.where(skips[2:], best[:-2], -np.inf)
        came.append(options.argmax(0))
        best = options.max(0) + row
    state = len(states) - 1 if best[-1] >= best[-2] else len(states) - 2
    if not np.isfinite(best[state]):
        return []
    path = [state]
    for steps in reversed(came):
        state -= int(steps[state])
        path.append(state)
    path.reverse()
    middles = [float(np.mean([t for t, s in enumerate(path) if s == 2 * k + 1])) for k in range(len(columns))]
    cuts = [0, *(round((a + b + 1) / 2) for a, b in itertools.pairwise(middles)), len(path)]
    return list(itertools.pairwise(cuts))


def _states(columns: Sequence[int]) -> list[int]:
    """Blanks around and between the letters."""
    states = [BLANK]
    for column in columns:
        states += [column, BLANK]
    return states


def _skips(states: Sequence[int]) -> np.ndarray:
    """Where the blank before a letter may be left out: after another letter."""
    found = np.zeros(len(states), dtype=bool)
    for k in range(3, len(states), 2):
        found[k] = states[k] != states[k - 2]
    return found
