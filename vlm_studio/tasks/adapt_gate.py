"""The gate: whether an adapter reads a hand better than the base, beyond what chance could make of a few lines.

Paired bootstrap (Efron and Tibshirani 1993, ch. 16; for recognisers Bisani and Ney 2004): the same held-out lines are
read twice, lines are drawn with replacement, and the change of the error rate is computed anew each time. An adapter
passes when it makes fewer errors in nine of ten such draws, and other hands are read about as well as before.

Why nine of ten and no more: twenty corrected lines leave six or eight to test on. With 8 lines an adapter that makes 40%
fewer errors passes 75 times of 100, against 62 where 95 of 100 draws are asked for; one that changes nothing passes
13 times, against 9 (simulated by benchmarks/adapt_gate.py). The two mistakes do not cost the same. An adapter that passes
by luck reads about as well as none, since what reads worse on the held-out pages never passes, forgetting has a limit of its
own, and one click takes it off. One that is refused by bad luck throws an hour of somebody's corrections away.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vlm_studio.core.adapters import Interval, Verdict
from vlm_studio.tasks.scoring import score, total

RESAMPLES = 4_000
CONFIDENCE = 0.80
"""Of the interval; a tenth of the draws lies above it."""
FEWEST_LINES = 6
"""Fewer held-out lines say nothing."""
WELL_READ = 0.05
"""CER of held-out pages below which correcting more is no advice to give: there is little to gain (docs/hands.md)."""
MAY_FORGET = 0.02
"""CER that the general set may lose, absolute: an adapter is worn for its owner's pages, so a little is no harm."""


def judge(
    wanted: Sequence[str],
    before: Sequence[str],
    after: Sequence[str],
    pages: int,
    general: tuple[float, float],
) -> Verdict:
    """`wanted`: what the held-out lines say; `before`, `after`: how they are read; `general`: CER of both on the others.

    An adapter passes when the whole interval of the change is below 0 and other hands are not read much worse.
    """
    old, new = total(list(zip(before, wanted, strict=True))), total(list(zip(after, wanted, strict=True)))
    change = bootstrap(wanted, before, after)
    passed, why = decide(len(wanted), change, old.cer, general)
    return Verdict(
        passed, why, len(wanted), pages, old.cer, new.cer, old.wer, new.wer, change, general[0], general[1]
    )


def bootstrap(wanted: Sequence[str], before: Sequence[str], after: Sequence[str]) -> Interval:
    """Change of the CER from `before` to `after` with its interval; the same texts give exactly 0, 0, 0."""
    lengths = np.array([max(1, score("", text).characters) for text in wanted], dtype=np.float64)
    old = np.array([score(b, w).cer for b, w in zip(before, wanted, strict=True)]) * lengths
    new = np.array([score(a, w).cer for a, w in zip(after, wanted, strict=True)]) * lengths
    return interval(old, new, lengths)


def interval(
    old: np.ndarray, new: np.ndarray, lengths: np.ndarray, confidence: float = CONFIDENCE
) -> Interval:
    """Of the change from `old` to `new` wrong letters of lines (N,) with `lengths` letters, per letter."""
    if not len(lengths):
        return Interval(0.0, 0.0, 0.0)
    drawn = np.random.default_rng(7).integers(0, len(lengths), (RESAMPLES, len(lengths)))
    changes = (new - old)[drawn].sum(1) / lengths[drawn].sum(1)
    tail = (1 - confidence) / 2
    low, high = np.quantile(changes, [tail, 1 - tail])
    return Interval(float((new - old).sum() / lengths.sum()), float(low), float(high))


def decide(lines: int, change: Interval, old: float, general: tuple[float, float]) -> tuple[bool, str]:
    """Whether an adapter passes, and why or why not; `old` is the CER of the held-out lines before."""
    if lines < FEWEST_LINES:
        return False, f"{lines} held-out lines are too few to tell. Correct more lines on a page of its own."
    forgot = general[1] - general[0]
    less = -change.mean / old if old else 0.0
    if change.mean >= 0:
        left = f"They are read with {old:.1%} letter errors as it is: little is left to learn."
        more = left if old < WELL_READ else "Correct more lines, the doubtful ones first, and train again."
        return False, f"It reads your held-out pages no better than before, so it is not used. {more}"
    if change.high >= 0:
        return False, (
            f"It makes {less:.0%} fewer letter errors on your held-out pages, but so few lines could show that by "
            "chance, so it is not used. Correct more lines and train again."
        )
    if forgot > MAY_FORGET:
        return False, (
            f"It reads your hand better, but makes {100 * forgot:.1f} points more letter errors in other hands, so it is not used. "
            "Train for fewer steps."
        )
    return True, f"It makes {less:.0%} fewer letter errors on pages of yours that it has never seen."
