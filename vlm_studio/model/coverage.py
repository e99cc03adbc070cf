"""Which of many lines to take, so that few of them show as many different letters as they can."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence


def richest(texts: Sequence[str], count: int, known: str = "") -> list[int]:
    """Places of `count` of the `texts` that show most of the letters that `known` has few of, the best first.

    Greedy: a letter is worth less the more often `known` and the texts already taken have it; long texts cost more.
    """
    had = Counter(known)
    letters = [Counter(text) for text in texts]
    taken: Counter[str] = Counter()
    left = list(range(len(texts)))
    chosen: list[int] = []

    def gain(place: int) -> float:
        worth = sum(
            (math.sqrt(taken[c] + n) - math.sqrt(taken[c])) / (1 + had[c]) for c, n in letters[place].items()
        )
        return worth / math.sqrt(max(1, len(texts[place])))

    while left and len(chosen) < count:
        best = max(left, key=gain)
        left.remove(best)
        chosen.append(best)
        taken += letters[best]
    return chosen
