"""From the probabilities of a CTC recogniser to words with confidences, alternatives and places."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from vlm_studio.core.documents import Alternative, Box, WordReading

SETTLED_ABOVE = 0.95
"""A word whose letters are surer than this together is what the ink says; nothing else is considered."""


@dataclass(frozen=True, slots=True)
class Letter:
    """One character, the frames it was read from, and what else it might be."""

    text: str
    first: int
    last: int
    """Inclusive."""
    probability: float
    others: tuple[tuple[str, float], ...]


Spelled = tuple[Letter, ...]


def spell(probabilities: np.ndarray, characters: Sequence[str], blank: int = 0) -> Spelled:
    """Best path of (frames, classes), repeats merged and blanks dropped; up to three others a letter."""
    best = probabilities.argmax(axis=1)
    letters: list[Letter] = []
    start = 0
    for frame in range(1, len(best) + 1):
        if frame < len(best) and best[frame] == best[start]:
            continue
        if best[start] != blank:
            rows = probabilities[start:frame]
            peak = rows[rows[:, best[start]].argmax()]
            ranked = np.argpartition(peak, -4)[-4:]
            ranked = ranked[np.argsort(-peak[ranked])]
            others = tuple(
                (characters[i] if i != blank else "", float(peak[i]))
                for i in ranked
                if i != best[start] and peak[i] > 0.01
            )
            letters.append(
                Letter(characters[best[start]], start, frame - 1, float(peak[best[start]]), others)
            )
        start = frame
    return tuple(letters)


Settle = Callable[[int, int], Sequence[tuple[str, float]]]
"""Frames of a doubtful word (half open) -> likely texts with their share of the probability, best first."""


def words_of(
    letters: Spelled,
    frames: int,
    offset: float,
    frame_px: float,
    height: float,
    clean: Callable[[str], str] = str,
    settle: Settle | None = None,
) -> list[WordReading]:
    """Words of a strip in its pixels.

    `frames` is how many the piece has, `offset` where it begins in the strip, `frame_px` a frame's width.
    """
    words: list[WordReading] = []
    run: list[Letter] = []
    begins = 0
    for letter in (*letters, Letter(" ", frames, frames, 1.0, ())):
        if letter.text.isspace():
            if run:
                words.append(_word(run, (begins, letter.first), offset, frame_px, height, clean, settle))
            run, begins = [], letter.last + 1
        else:
            run.append(letter)
    return words


def apart(words: Sequence[WordReading], width: float) -> tuple[WordReading, ...]:
    """The same words, their boxes within a strip `width` px wide; two that overlap meet in the middle."""
    boxes = [replace(word.box, right=min(word.box.right, width)) for word in words]
    for place in range(1, len(boxes)):
        left, right = boxes[place - 1], boxes[place]
        if right.left < left.right:
            middle = min(max((left.right + right.left) / 2, left.left), right.right)
            boxes[place - 1], boxes[place] = replace(left, right=middle), replace(right, left=middle)
    return tuple(replace(word, box=box) for word, box in zip(words, boxes, strict=True))


def _word(
    run: list[Letter],
    span: tuple[int, int],
    offset: float,
    frame_px: float,
    height: float,
    clean: Callable[[str], str],
    settle: Settle | None,
) -> WordReading:
    text = clean("".join(letter.text for letter in run))
    certain = math.prod(max(letter.probability, 1e-6) for letter in run)
    confidence = certain ** (1 / len(run) ** 0.5)
    box = Box(
        offset + max(0.0, (run[0].first - 0.6) * frame_px),
        0.0,
        offset + (run[-1].last + 1.6) * frame_px,
        height,
    )
    ranked = settle(*span) if settle is not None and certain < SETTLED_ABOVE else ()
    if ranked:
        text, confidence = clean(ranked[0][0]), ranked[0][1]
        alternatives = tuple(Alternative(clean(other), share) for other, share in ranked[1:4] if share > 0.02)
    else:
        alternatives = _alternatives(run, clean) if certain < SETTLED_ABOVE else ()
    return WordReading(text, confidence, box, tuple(a for a in alternatives if a.text != text))


def _alternatives(run: list[Letter], clean: Callable[[str], str]) -> tuple[Alternative, ...]:
    """Words that differ in one letter, the likeliest exchanges first."""
    found: dict[str, float] = {}
    for place, letter in enumerate(run):
        for other, probability in letter.others:
            text = clean("".join(other if i == place else x.text for i, x in enumerate(run)))
            weight = probability / max(letter.probability, 1e-6)
            if text.strip():
                found[text] = max(found.get(text, 0.0), min(weight / (1 + weight), 1.0))
    ranked = sorted(found.items(), key=lambda item: -item[1])[:3]
    return tuple(Alternative(text, probability) for text, probability in ranked)
