"""New lines out of a person's own words: corrected lines are cut at their word gaps, and the words joined in another order.

Twenty lines show each letter in few surroundings, and a reader that sees only them learns the sentences by heart. Words
in any order cost the person nothing, and what a letter stands beside no longer tells which it is. Words with rare letters
are taken more often. Twenty lines also lack some letters wholly, capitals most of all, and what learns from them alone
comes to think that this hand never writes them: so some words are borrowed from other hands, those first that have what
the person's own lack.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

import cv2
import numpy as np

from vlm_studio.model.characters import ALPHABET, BLANK, FRAME_PIXELS, STRIP_HEIGHT, encode

HEIGHT = 64
"""Rows of a line that is joined, px."""
WIDTH = 500
"""Columns that are filled, px: shorter than most lines, so that a step costs less."""
INK = 0.7
"""Strength that every line's ink is brought to, so that words of two photographs look like one pen's."""
PAPER = 0.92
BORROWED = 0.25
"""Share of the words that are of other hands."""
_NEVER = -1e30


@dataclass(frozen=True, slots=True)
class CutWord:
    """A word of a line, as its writer wrote it."""

    ink: np.ndarray
    """Float32 (H, W), 0 where the paper is, about 0.7 where the pen was."""
    text: str


def cut_words(pixels: np.ndarray, text: str, log_probs: np.ndarray) -> tuple[CutWord, ...]:
    """The words of a line, grey uint8 (H, W), that says `text`; none where they cannot be found in it.

    `log_probs` (T, 1 + alphabet), natural: how the line is read, frame by frame.
    """
    codes = encode(text)
    places = letter_frames(log_probs, codes)
    words = "".join(ALPHABET[code - 1] for code in codes).split(" ")
    if not places or not all(words):
        return ()
    ink = _ink(pixels)
    height, width = ink.shape
    columns = cv2.GaussianBlur(
        np.maximum(ink - 0.07, 0).sum(0, keepdims=True), (0, 0), max(1.0, height / 24)
    )[0]
    scale = FRAME_PIXELS * height / STRIP_HEIGHT
    cuts, letter = [0], 0
    for word in words[:-1]:
        last, following = letter + len(word) - 1, letter + len(word) + 1
        start = min(int((places[last][1] + 0.5) * scale), width - 1)
        end = min(max(int((places[following][0] + 0.5) * scale), start + 1), width)
        cuts.append(start + int(columns[start:end].argmin()))
        letter = following
    cuts.append(width)
    found = (
        CutWord(ink[:, left:right], word)
        for word, left, right in zip(words, cuts[:-1], cuts[1:], strict=True)
    )
    return tuple(word for word in found if word.ink.shape[1] >= 4)


class Words:
    """Words to take at random: a person's own, and some of other hands."""

    def __init__(self, own: Sequence[CutWord], others: Sequence[CutWord] = ()) -> None:
        """`own` must not be empty."""
        self._own, self._others = own, others
        letters = Counter(letter for word in own for letter in word.text)
        self._own_weights = list(accumulate(max(letters[c] ** -0.5 for c in word.text) for word in own))
        self._other_weights = list(
            accumulate(max(1 / (1 + letters[c]) for c in word.text) for word in others)
        )

    def take(self, rng: random.Random) -> CutWord:
        if self._others and rng.random() < BORROWED:
            return rng.choices(self._others, cum_weights=self._other_weights)[0]
        return rng.choices(self._own, cum_weights=self._own_weights)[0]


def join_words(take: Callable[[random.Random], CutWord], rng: random.Random) -> tuple[np.ndarray, str]:
    """A line of words as `take` gives them, grey uint8 (HEIGHT, about WIDTH), and what it says; one word at least."""
    parts: list[np.ndarray] = []
    texts: list[str] = []
    filled = 0
    while filled < WIDTH:
        word = take(rng)
        factor = HEIGHT / word.ink.shape[0]
        size = (max(3, round(word.ink.shape[1] * factor)), HEIGHT)
        if parts and filled + size[0] > 1.15 * WIDTH:
            break
        method = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
        parts.append(cv2.resize(word.ink, size, interpolation=method))
        texts.append(word.text)
        filled += size[0]
    sheet = np.clip(PAPER - np.concatenate(parts, axis=1), 0, 1)
    return (255 * sheet).astype(np.uint8), " ".join(texts)


def letter_frames(log_probs: np.ndarray, codes: Sequence[int]) -> list[tuple[int, int]]:
    """First and last frame of each of `codes` on the likeliest way through `log_probs` (T, classes); empty where none fits.

    Viterbi over the CTC lattice: blanks may stand between letters and must where a letter is doubled.
    """
    if not codes:
        return []
    states = np.full(2 * len(codes) + 1, BLANK)
    states[1::2] = codes
    may_skip = np.zeros(len(states), dtype=bool)
    may_skip[3::2] = states[3::2] != states[1:-2:2]
    best = np.full(len(states), _NEVER)
    best[:2] = log_probs[0, states[:2]]
    steps = np.zeros((len(log_probs), len(states)), dtype=np.int8)
    for frame in range(1, len(log_probs)):
        before = np.pad(best, (2, 0), constant_values=_NEVER)
        ways = np.stack([best, before[1:-1], np.where(may_skip, before[:-2], _NEVER)])
        steps[frame] = ways.argmax(0)
        best = ways.max(0) + log_probs[frame, states]
    state = len(states) - 1 if best[-1] > best[-2] else len(states) - 2
    if best[state] < _NEVER / 2:
        return []
    path = np.zeros(len(log_probs), dtype=np.int64)
    for frame in range(len(log_probs) - 1, -1, -1):
        path[frame] = state
        state -= int(steps[frame, state])
    frames = [np.flatnonzero(path == 2 * place + 1) for place in range(len(codes))]
    return [(int(own[0]), int(own[-1])) for own in frames] if all(map(len, frames)) else []


def _ink(pixels: np.ndarray) -> np.ndarray:
    picture = pixels.astype(np.float32) / 255
    ink = np.clip(float(np.median(picture)) - picture, 0, 1)
    strength = max(0.1, float(np.percentile(ink, 97)))
    return np.asarray(np.clip(ink * (INK / strength), 0, 1))
