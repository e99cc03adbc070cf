"""From ranked passages to an answer: which words of which passage answer, and whether any does.

The quote is always the page's own words. The answer puts the words asked for first and the quote behind
them; a number is never reworded. Where too little of the question is found, the answer is that the
documents do not say, with the reason.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from vlm_studio.core.folding import fold
from vlm_studio.core.passages import Cell, Passage
from vlm_studio.tasks.documents_question import Kind, Question
from vlm_studio.tasks.documents_rank import Corpus, Scored, Similar, rank
from vlm_studio.tasks.documents_spans import Span, spans
from vlm_studio.tasks.documents_terms import STOP, stem, tokens

LOOKED_AT = 14
"""Ranked passages in which an answer of the right kind is sought."""
ENOUGH = 0.5
"""Share of the question's weight below which nothing is answered."""

_SHAPED: frozenset[Kind] = frozenset(
    {"person", "date", "year", "time", "money", "number", "percent", "duration", "measure", "place", "email", "phone", "url", "code", "quantity", "name"}
)  # fmt: skip
_STRICT: frozenset[Kind] = frozenset({"email", "phone", "url", "time", "year", "percent", "duration", "date"})
"""Kinds whose shape is so plain that a passage without it does not answer."""
_NEGATIONS = re.compile(
    r"\b(?:not|no|never|none|cannot|can't|without|neither|nor|forbidden|prohibited|unable|isn't|aren't|doesn't|won't|"
    r"ne|pas|jamais|aucun|aucune|interdit|interdite|interdits|sans|non)\b"
)


@dataclass(frozen=True, slots=True)
class Evidence:
    """A passage that answers, and the words in it that do (empty: the whole passage)."""

    passages: tuple[Passage, ...]
    """The passage, with those that go on from it where the answer needs them."""
    span: str
    score: float
    """0..1: how much speaks for it."""

    @property
    def quote(self) -> str:
        return " ".join(p.text for p in self.passages)


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
    weighed = sorted(
        (e for s in ranked[:LOOKED_AT] if (e := _weigh(corpus, question, s)) is not None),
        key=lambda e: -e.score,
    )
    if not weighed or weighed[0].score < ENOUGH:
        return Found(_unsaid(question), (), _why_not(corpus, question, ranked))
    best = weighed[0]
    others = [e for e in weighed[1:] if e.score > 0.8 * best.score and _agrees(best, e)]
    evidence = (best, *others[:2])
    return Found(_worded(question, best), evidence, "")


def _weigh(corpus: Corpus, question: Question, scored: Scored) -> Evidence | None:
    """How well a passage answers, and with which words."""
    passage = scored.passage
    score = scored.score
    if passage.kind == "heading" and not question.kind == "what":
        score -= 0.1
    chosen: tuple[Passage, ...] = (passage,)
    text = ""
    if question.kind in _SHAPED:
        found = _best_span(question, scored)
        if found is None and passage.kind != "row":
            following = _following(corpus, passage)
            later = _best_span(question, Scored(following, 0, 0, 0, {})) if following else None
            if following and later:
                chosen, found = (passage, following), (later[0], later[1] - 0.25)
        if found is not None:
            text, fit = found
            score += 0.22 * fit
        else:
            score -= 0.45 if question.kind in _STRICT else 0.2
    elif passage.cells:
        text = _best_cell(question, scored)
    if question.kind == "define" and re.search(
        r"\b(?:is|are|means|refers to|stands for|est|sont|signifie|désigne)\b|:|—| – ", passage.text
    ):
        score += 0.12
    if question.kind == "why" and re.search(
        r"\b(?:because|since|due to|owing|so that|in order|as a result|therefore|caused|reason|car|parce qu|afin|en raison|grâce|pour)\b",
        passage.text,
        re.IGNORECASE,
    ):
        score += 0.15
    return Evidence(chosen, text, score)


def _following(corpus: Corpus, passage: Passage) -> Passage | None:
    """What is read next on the same page."""
    for other in corpus.passages:
        if other.document == passage.document and other.number == passage.number + 1:
            return other if other.page == passage.page else None
    return None


def _asked(question: Question) -> set[str]:
    return {stem(term.word) for term in question.terms}


def _best_span(question: Question, scored: Scored) -> tuple[str, float] | None:
    """The answer of the right kind nearest to the question's words, and 0..1 how well it fits."""
    passage = scored.passage
    if passage.cells:
        return _span_in_cells(question, scored)
    text = passage.text
    asked = _asked(question)
    hits = [t.start for t in tokens(text) if any(t.folded in words for words in scored.matched.values())]
    best: tuple[float, Span] | None = None
    for span in spans(question.kind, text):
        said = text[span.start : span.stop]
        words = {stem(t.folded) for t in tokens(said) if t.folded not in STOP}
        if words and words <= asked:
            continue
        near = min((min(abs(span.start - h), abs(span.stop - h)) for h in hits), default=60)
        fit = span.strength - min(0.35, near / 300)
        if question.kind in {"number", "quantity"} and _followed_by_focus(question, text, span):
            fit += 0.3
        if best is None or fit > best[0]:
            best = (fit, span)
    if best is None:
        return None
    return text[best[1].start : best[1].stop].strip(" ,;"), min(1.0, best[0])


def _followed_by_focus(question: Question, text: str, span: Span) -> bool:
    after = [stem(t.folded) for t in tokens(text[span.stop : span.stop + 40])[:3]]
    return any(stem(word) in after for word in question.focus)


def _span_in_cells(question: Question, scored: Scored) -> tuple[str, float] | None:
    """The cell that the question's words point at, by its head and by the kind of what it says."""
    best: tuple[float, str] | None = None
    for cell in scored.passage.cells:
        found = spans(question.kind, cell.text)
        strength = max((s.strength for s in found), default=0.0)
        if not found and question.kind in {"person", "place", "name"} and not re.search(r"\d", cell.text):
            strength = 0.45
        if strength == 0.0 or _only_repeats(question, cell):
            continue
        fit = 0.6 * strength + 0.6 * _points_at(question, cell)
        if best is None or fit > best[0] + 1e-9:
            said = (
                cell.text if len(cell.text) < 40 or not found else cell.text[found[0].start : found[0].stop]
            )
            best = (fit, said)
    return None if best is None else (best[1], min(1.0, best[0]))


def _only_repeats(question: Question, cell: Cell) -> bool:
    """Whether a cell says only what the question says: it is what is asked about, not the answer."""
    asked = _asked(question)
    words = {stem(t.folded) for t in tokens(cell.text) if t.folded not in STOP}
    return bool(words) and len(words & asked) * 2 >= len(words)


def _points_at(question: Question, cell: Cell) -> float:
    """Share of the words in a column's head that the question has."""
    head = [stem(t.folded) for t in tokens(cell.header) if t.folded not in STOP]
    if not head:
        return 0.0
    asked = _asked(question) | {stem(w) for w in question.focus}
    return sum(word in asked for word in head) / len(head)


def _best_cell(question: Question, scored: Scored) -> str:
    """For questions without a shape: the cell under the head that is asked for, else the one not asked about."""
    cells = [c for c in scored.passage.cells if not _only_repeats(question, c)]
    if not cells:
        return ""
    pointed = max(cells, key=lambda c: _points_at(question, c))
    if _points_at(question, pointed) > 0:
        return pointed.text
    return cells[0].text if len(cells) == 1 else ""


def _agrees(best: Evidence, other: Evidence) -> bool:
    if other.passages[0] == best.passages[0] or other.passages[0] in best.passages:
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
    return f"{best.span} ({quote})" if len(quote.split()) > 3 else quote


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
