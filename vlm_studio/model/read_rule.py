"""How nano settles what a strip says: the character head proposes, the language model may tip a close balance.

Pure arithmetic on one strip's scores; it knows neither torch nor which language model is asked. The safeguard against
fluent invention is structural: the language model only ranks texts that the character head found likely by itself, and
with no language model, or with weight 0, the reading is the head's own.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from vlm_studio.model.characters import ALPHABET, BLANK, FRAME_PIXELS, encode, spell

LanguageScorer = Callable[[Sequence[str]], Sequence[float]]
"""Texts -> natural log-probability of each as a whole. Called once per strip, and only where the head hesitates."""

_IMPOSSIBLE = -1e30


@dataclass(frozen=True, slots=True)
class Rule:
    """The settings of the reading rule; defaults as tuned on validation (recipe/LOG.md)."""

    beam: int = 12
    """Texts kept while decoding."""
    kept: int = 8
    """Texts that the language model ranks."""
    weight: float = 0.0
    """Weight of the language model's log-probability against the head's."""
    reward: float = 0.0
    """Added for each character, against the language model's liking for short texts."""
    margin: float = 4.0
    """Texts whose head score is this many nats below the best are not considered."""
    warmth: float = 1.0
    """Exponent that calibrates a word's confidence: below 1 it lifts, above 1 it lowers."""


@dataclass(frozen=True, slots=True)
class ReadWord:
    """A word of the reading, where it stands and how sure it is."""

    text: str
    first: int
    last: int
    """Pixels of the prepared strip (48 px high), half open."""
    confidence: float
    """0-1, calibrated: of words at 0.8 about four in five are right."""
    alternatives: tuple[tuple[str, float], ...]
    """Other readings with their share of the candidates' probability, likeliest first."""


@dataclass(frozen=True, slots=True)
class StripReading:
    """What a strip says by the rule."""

    text: str
    words: tuple[ReadWord, ...]
    character_confidences: tuple[float, ...]
    """One for each character of `text`, 0-1, the head's own."""
    character_spans: tuple[tuple[int, int], ...]
    """Pixels of the prepared strip for each character of `text`, half open."""


def read_strip(
    log_probs: np.ndarray, scorer: LanguageScorer | None = None, rule: Rule | None = None
) -> StripReading:
    """Read one strip from `log_probs` (T, 1 + alphabet), natural logs, blank in column 0."""
    rule = rule or Rule()
    ranked = candidates(log_probs, rule)
    if scorer is not None and rule.weight and len(ranked) > 1:
        ranked = _rerank(ranked, scorer, rule)
    text = ranked[0][0] if ranked else ""
    frames, sure = align(log_probs, text)
    spans = tuple((a * FRAME_PIXELS, (b + 1) * FRAME_PIXELS) for a, b in frames)
    return StripReading(text, _words(text, spans, sure, ranked, rule), tuple(sure), spans)


def candidates(log_probs: np.ndarray, rule: Rule) -> list[tuple[str, float]]:
    """Likely texts with the head's log-probability, best first; the greedy text is always among them."""
    found = [(text.strip(), value) for text, value in _beam(log_probs, rule.beam)]
    best: dict[str, float] = {}
    for text, value in found:
        best[text] = max(value, best.get(text, _IMPOSSIBLE))
    greedy = spell(log_probs)
    best.setdefault(greedy, min(best.values(), default=0.0))
    ranked = sorted(best.items(), key=lambda item: -item[1])
    return [(text, value) for text, value in ranked if value >= ranked[0][1] - rule.margin][: rule.kept]


def _beam(log_probs: np.ndarray, beam: int) -> list[tuple[str, float]]:
    """Prefix beam search: the probability of a text summed over all its alignments."""
    # prefix -> (log-probability ending in blank, ending in its last letter)
    prefixes: dict[tuple[int, ...], tuple[float, float]] = {(): (0.0, _IMPOSSIBLE)}
    for scores in log_probs:
        likely = np.flatnonzero(scores > -7.0)
        likely = likely[np.argsort(-scores[likely])][:10]
        grown: dict[tuple[int, ...], list[float]] = {}
        for prefix, (blank, letter) in prefixes.items():
            total = float(np.logaddexp(blank, letter))
            for column in likely.tolist():
                value = float(scores[column])
                if column == BLANK:
                    _add(grown, prefix, 0, total + value)
                elif prefix and column == prefix[-1]:
                    _add(grown, prefix, 1, letter + value)
                    _add(grown, (*prefix, column), 1, blank + value)
                else:
                    _add(grown, (*prefix, column), 1, total + value)
        best = sorted(grown.items(), key=lambda item: -float(np.logaddexp(item[1][0], item[1][1])))[:beam]
        prefixes = {prefix: (ends[0], ends[1]) for prefix, ends in best}
    return [("".join(ALPHABET[c - 1] for c in p), float(np.logaddexp(*ends))) for p, ends in prefixes.items()]


def _add(grown: dict[tuple[int, ...], list[float]], prefix: tuple[int, ...], end: int, value: float) -> None:
    """Sum `value` into one of the two endings of `prefix`, in place."""
    ends = grown.setdefault(prefix, [_IMPOSSIBLE, _IMPOSSIBLE])
    ends[end] = float(np.logaddexp(ends[end], value))


def _rerank(ranked: list[tuple[str, float]], scorer: LanguageScorer, rule: Rule) -> list[tuple[str, float]]:
    """The same texts with the language model's opinion added to their scores."""
    spoken = scorer([text for text, _ in ranked])
    mixed = [
        (text, value + rule.weight * said + rule.reward * len(text))
        for (text, value), said in zip(ranked, spoken, strict=True)
    ]
    return sorted(mixed, key=lambda item: -item[1])


def align(log_probs: np.ndarray, text: str) -> tuple[list[tuple[int, int]], list[float]]:
    """First and last frame (inclusive) of each character of `text`, and the head's mean probability of it there.

    The best CTC path through exactly this text. Characters outside the alphabet and texts longer than the frames can hold
    are spread evenly with confidence 0.
    """
    codes = encode(text)
    steps = len(log_probs)
    repeats = sum(a == b for a, b in itertools.pairwise(codes))
    if len(codes) != len(text) or len(codes) + repeats > steps or not codes:
        even = [
            (k * steps // max(1, len(text)), max(0, (k + 1) * steps // max(1, len(text)) - 1))
            for k in range(len(text))
        ]
        return even, [0.0] * len(text)
    path = _best_path(log_probs, codes)
    frames: list[tuple[int, int]] = []
    sure: list[float] = []
    for k, code in enumerate(codes):
        own = np.flatnonzero(path == 2 * k + 1)
        frames.append((int(own[0]), int(own[-1])))
        sure.append(float(np.exp(log_probs[own, code]).max()))
    return frames, sure


def _best_path(log_probs: np.ndarray, codes: list[int]) -> np.ndarray:
    """State of each frame on the best path; state 2k + 1 is letter k, even states are blanks."""
    states = np.zeros(2 * len(codes) + 1, dtype=np.int64)
    states[1::2] = codes
    # A letter may follow the letter before it directly only where the two differ.
    skips = np.zeros(len(states), dtype=bool)
    skips[3::2] = states[3::2] != states[1:-2:2]
    score = np.full(len(states), _IMPOSSIBLE)
    score[:2] = log_probs[0, states[:2]]
    came = np.zeros((len(log_probs), len(states)), dtype=np.int64)
    for t in range(1, len(log_probs)):
        options = np.stack(
            [
                score,
                np.concatenate([[_IMPOSSIBLE], score[:-1]]),
                np.where(skips, np.concatenate([[_IMPOSSIBLE] * 2, score[:-2]]), _IMPOSSIBLE),
            ]
        )
        came[t] = options.argmax(0)
        score = options.max(0) + log_probs[t, states]
    path = np.zeros(len(log_probs), dtype=np.int64)
    path[-1] = len(states) - 1 if score[-1] >= score[-2] else len(states) - 2
    for t in range(len(log_probs) - 1, 0, -1):
        path[t - 1] = path[t] - came[t, path[t]]
    return path


def _words(
    text: str,
    spans: Sequence[tuple[int, int]],
    sure: Sequence[float],
    ranked: list[tuple[str, float]],
    rule: Rule,
) -> tuple[ReadWord, ...]:
    """Words of `text` with places, confidences and what the other candidates have there."""
    values = np.array([value for _t, value in ranked]) if ranked else np.zeros(1)
    shares = np.exp(values - values.max())
    shares /= shares.sum()
    own = text.split(" ")
    others: list[dict[str, float]] = [{} for _ in own]
    for (candidate, _value), share in zip(ranked, shares, strict=False):
        pieces = candidate.split(" ")
        if len(pieces) != len(own):
            continue  # words that were split or joined differently have no counterpart to show
        for k, piece in enumerate(pieces):
            if piece != own[k]:
                others[k][piece] = others[k].get(piece, 0.0) + float(share)
    words = []
    start = 0
    for k, word in enumerate(own):
        end = start + len(word)
        if word:
            weakest = float(np.prod(sure[start:end])) if end > start else 0.0
            confidence = float(np.clip(weakest, 1e-6, 1.0) ** rule.warmth)
            alternatives = tuple(sorted(others[k].items(), key=lambda item: -item[1])[:4])
            words.append(ReadWord(word, spans[start][0], spans[end - 1][1], confidence, alternatives))
        start = end + 1
    return tuple(words)
