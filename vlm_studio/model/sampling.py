"""Which token comes next, and when an answer has begun to repeat itself."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from vlm_studio.core.conversation import GenParams

LOOP_REPEATS = 4
"""A piece of up to `LOOP_LONGEST` tokens that follows itself so often is a loop."""
LOOP_TOKENS = 12
"""Shorter repetitions are dots, dashes and laughter."""
LOOP_LONGEST = 24


class Sampler:
    """Greedy at temperature 0; otherwise temperature, then top-p, with a seed of its own."""

    def __init__(self, params: GenParams, never: Iterable[int], prompt: Sequence[int]) -> None:
        self.params = params
        self._never = list(never)
        self._seen = set(prompt)
        self._generator: torch.Generator | None = None

    def next(self, logits: Tensor) -> int:
        """A token id for `logits` (vocabulary,), which stay unchanged."""
        scores = logits.clone()
        if self._never:
            scores[self._never] = -torch.inf
        if self.params.repetition_penalty != 1.0:
            # Keskar et al. 2019 (CTRL): seen tokens' scores shrink towards zero, or grow below it.
            seen = torch.tensor(sorted(self._seen), device=scores.device)
            had = scores[seen]
            penalty = self.params.repetition_penalty
            scores[seen] = torch.where(had > 0, had / penalty, had * penalty)
        token = int(scores.argmax()) if self.params.temperature == 0 else self._draw(scores)
        self._seen.add(token)
        return token

    def _draw(self, scores: Tensor) -> int:
        if self._generator is None:
            self._generator = torch.Generator(device=scores.device).manual_seed(self.params.seed)
        probabilities = (scores / self.params.temperature).softmax(-1)
        ranked, order = probabilities.sort(descending=True)
        # The smallest set of tokens whose mass reaches top_p: one is in it while what is before it has not.
        ranked[ranked.cumsum(-1) - ranked >= self.params.top_p] = 0
        return int(order[torch.multinomial(ranked, 1, generator=self._generator)])


def loops(ids: Sequence[int]) -> bool:
    """Whether `ids` ends in a piece that repeats `LOOP_REPEATS` times and over `LOOP_TOKENS` tokens."""
    for size in range(1, LOOP_LONGEST + 1):
        repeats = max(LOOP_REPEATS, -(-LOOP_TOKENS // size))
        if len(ids) < size * repeats:
            continue
        tail = list(ids[-size * repeats :])
        if all(tail[k] == tail[k + size] for k in range(len(tail) - size)):
            return True
    return False
