"""How far a reading is from a reference: character and word error rate, and the difference itself."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from rapidfuzz.distance import Levenshtein


@dataclass(frozen=True, slots=True)
class Score:
    """Error rates in 0.. (above 1 where more is wrong than was written); counts are of the reference."""

    cer: float
    wer: float
    characters: int
    words: int


def normal(text: str) -> str:
    """NFC with runs of white space made one: é and e + accent are the same letter, line breaks a space."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def score(reading: str, reference: str) -> Score:
    """Errors over the length of `reference`; an empty reference counts every invented character as one."""
    read, wanted = normal(reading), normal(reference)
    letters = Levenshtein.distance(read, wanted)
    words = Levenshtein.distance(read.split(), wanted.split())
    return Score(
        letters / max(1, len(wanted)), words / max(1, len(wanted.split())), len(wanted), len(wanted.split())
    )


def total(pairs: Sequence[tuple[str, str]]) -> Score:
    """Over many (reading, reference) pairs: all errors over all characters, long lines counting more."""
    scores = [score(*pair) for pair in pairs]
    characters, words = sum(s.characters for s in scores), sum(s.words for s in scores)
    wrong_letters = sum(s.cer * max(1, s.characters) for s in scores)
    wrong_words = sum(s.wer * max(1, s.words) for s in scores)
    return Score(wrong_letters / max(1, characters), wrong_words / max(1, words), characters, words)


UNLIKE = 0.35
"""Share of letters that stay, below which one text is no version of the other."""


def alike(one: str, other: str) -> bool:
    """Whether two texts have so much in common that one can be a misreading of the other."""
    return Levenshtein.normalized_similarity(normal(one), normal(other)) >= UNLIKE


def difference(old: str, new: str) -> tuple[tuple[str, str], ...]:
    """What turns `old` into `new`, as ("equal" | "delete" | "insert", text) spans in order.

    Between two equal spans stands at most one deletion and one insertion: words, not single letters, alternate. Texts
    that have little in common are one deletion and one insertion: letters that happen to be in both say nothing.
    """
    before, after = normal(old), normal(new)
    if not alike(old, new):
        return tuple(span for span in (("delete", before), ("insert", after)) if span[1])
    spans: list[tuple[str, str]] = []
    gone = come = ""
    for step in Levenshtein.opcodes(before, after):
        if step.tag != "equal":
            gone += before[step.src_start : step.src_end]
            come += after[step.dest_start : step.dest_end]
            continue
        spans += [("delete", gone), ("insert", come), ("equal", before[step.src_start : step.src_end])]
        gone = come = ""
    spans += [("delete", gone), ("insert", come)]
    return tuple(span for span in spans if span[1])
