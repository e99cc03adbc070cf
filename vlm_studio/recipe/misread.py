"""How the tower misreads, learned from its own readings of training lines, so that notes can be misread without being drawn."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable

import torch
from rapidfuzz.distance import Levenshtein
from torch import nn

from vlm_studio.model.characters import spell
from vlm_studio.recipe.features import Line


class Misreader:
    """What becomes of each letter, with what probability; made from (read, wanted) pairs."""

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        seen: Counter[str] = Counter()
        self._errors: dict[str, Counter[str]] = defaultdict(Counter)
        for read, wanted in pairs:
            seen.update(wanted)
            for edit in Levenshtein.opcodes(wanted, read):
                piece = read[edit.dest_start : edit.dest_end]
                if edit.tag == "insert" and edit.src_start:
                    before = wanted[edit.src_start - 1]
                    self._errors[before][before + piece] += 1
                elif edit.tag in {"replace", "delete"}:
                    for k in range(edit.src_start, edit.src_end):
                        at = k - edit.src_start
                        self._errors[wanted[k]][piece[at] if at < len(piece) else ""] += 1
        self._rates = {letter: sum(self._errors[letter].values()) / seen[letter] for letter in seen}

    def __call__(self, text: str, strength: float, rng: random.Random) -> str:
        """`text` with errors as frequent as the tower's times `strength`."""
        return "".join(
            self.instead(c, rng) if rng.random() < strength * self._rates.get(c, 0.0) else c for c in text
        )

    def instead(self, letter: str, rng: random.Random) -> str:
        """What `letter` is taken for where it is misread; itself where it never was."""
        taken = self._errors.get(letter)
        return rng.choices(list(taken), list(taken.values()))[0] if taken else letter

    def at(self, strength: float, rng: random.Random) -> Callable[[str], str]:
        return lambda text: self(text, strength, rng)


@torch.inference_mode()
def learned_misreader(head: nn.Linear, lines: Iterable[Line]) -> Misreader:
    """From cached tower features of training lines, read greedily."""
    return Misreader((spell(head(f).log_softmax(-1).numpy()), text) for f, text in lines)
