"""From ranked passages to an answer, or to saying that the documents do not say.

The quote is always the page's own words. The answer puts the words asked for first and the quote behind
them; a number is never reworded. Where too little speaks for the best passage, nothing is answered, and
the reason is given.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from vlm_studio.core.folding import fold
from vlm_studio.core.passages import Passage
from vlm_studio.tasks.documents_question import Question
from vlm_studio.tasks.documents_rank import Corpus, Scored, Similar, rank
from vlm_studio.tasks.documents_weigh import Evidence, weigh

LOOKED_AT = 32
"""Ranked passages in which an answer is sought."""
ENOUGH = 0.52
"""Likelihood below which nothing is answered."""
OTHERS = 2
"""Further citations at most: passages that hold the same answer."""

_NEGATIONS = re.compile(
    r"\b(?:not|no|never|none|cannot|can't|without|neither|nor|forbidden|prohibited|unable|isn't|aren't|doesn't|won't|"
    r"against|banned|denied|refuse[ds]?|reject(?:ed|s)?|contre|refuse[es]*|rejete[es]*|"
    r"ne|pas|jamais|aucun|aucune|interdit|interdite|interdits|sans|non|deconseille)\b"
)


@dataclass(frozen=True, slots=True)
class Found:
    """What the documents say; `evidence` is empty where they do not."""

    text: str
    evidence: tuple[Evidence, ...]
    why: str


def answer(
    corpus: Corpus, question: Question, allowed: Callable[[Passage], bool] = lambda passage: True,
    similar: Similar | None = None,
) -> Found:  # fmt: skip
    """The best answer in the passages that `allowed` lets through."""
    ranked = rank(corpus, question, allowed, similar)
    weighed = weigh_all(corpus, question, ranked)
    if not weighed or weighed[0].score < ENOUGH:
        return Found(_unsaid(question), (), _why_not(corpus, question, ranked))
    best = weighed[0]
    others = [e for e in weighed[1:] if e.score > 0.6 * best.score and _agrees(best, e)]
    return Found(_worded(question, best), (best, *others[:OTHERS]), "")


def weigh_all(corpus: Corpus, question: Question, ranked: Sequence[Scored]) -> list[Evidence]:
    """The likeliest first."""
    unknown = corpus.unknown(question)
    weighed = [weigh(corpus, question, scored, unknown) for scored in ranked[:LOOKED_AT]]
    return sorted(weighed, key=lambda e: -e.score)


def _agrees(best: Evidence, other: Evidence) -> bool:
    if set(other.passages) & set(best.passages):
        return False
    return bool(best.span) and fold(best.span) in fold(other.quote)


def _worded(question: Question, best: Evidence) -> str:
    """The words asked for, then the quote that holds them."""
    quote = best.quote
    if question.kind == "yesno":
        word = ("Non", "Oui") if question.french else ("No", "Yes")
        negative = bool(_NEGATIONS.search(fold(quote))) != bool(_NEGATIONS.search(fold(question.text)))
        return f"{word[0] if negative else word[1]}: {quote}"
    if not best.span or len(quote) <= len(best.span) + 6:
        return quote
    return f"{best.span} ({quote})"


def _unsaid(question: Question) -> str:
    return "Le document ne le dit pas." if question.french else "The document does not say."


def _why_not(corpus: Corpus, question: Question, ranked: Sequence[Scored]) -> str:
    """Which words of the question no passage holds, or that none holds enough of them."""
    matches = corpus.matches(question)
    missing = [term.word for term in question.terms if not matches[term.word]]
    if missing:
        return f"Nothing in it speaks of: {', '.join(missing)}."
    if not ranked:
        return "No passage shares a word with the question."
    return "No passage holds enough of the question's words together."
