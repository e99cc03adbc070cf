"""How well a passage answers a question, and with which of its words."""

from __future__ import annotations

import math
import re
from dataclasses import astuple, dataclass

from vlm_studio.core.passages import Cell, Passage
from vlm_studio.tasks.documents_question import Kind, Question
from vlm_studio.tasks.documents_rank import Corpus, Scored
from vlm_studio.tasks.documents_spans import Span, spans
from vlm_studio.tasks.documents_terms import STOP, stem, tokens

_SHAPED: frozenset[Kind] = frozenset(
    {"person", "date", "year", "time", "money", "number", "percent", "duration", "measure", "place", "email", "phone",
     "url", "code", "quantity", "name", "colour"}
)  # fmt: skip
_STRICT: frozenset[Kind] = frozenset(
    {
        "email",
        "phone",
        "url",
        "person",
        "name",
        "date",
        "year",
        "time",
        "percent",
        "code",
        "duration",
        "colour",
    }
)
BARE = 0.4
"""Strength of a number that nothing says the kind of: enough in a cell, whose head says it, not in a sentence."""
OF_SOMETHING_ELSE = 0.3
"""Fit below which a number counts something else than what was asked for."""
BY, ADDRESS = 0.5, 0.9
"""Strengths of "by somebody" and of a place that could be an address (documents_spans)."""
_ADDRESS_WORDS = frozenset({"address", "adresse"})
_OTHER_UNIT = re.compile(
    r"\s?(?:%|€|\$|£|(?:seconds?|minutes?|hours?|days?|weeks?|months?|years?|euros?|pounds?|dollars?|per ?cent|cents?|jours?|mois|"
    r"semaines?|heures?|ans?|ann[ée]es?|km|cm|mm|kg|a\.m\.|p\.m\.|am|pm)\b)"
)
_DEFINES = re.compile(
    r"\b(?:is|are|means?|refers? to|stands? for|denotes?|est|sont|signifie|désigne|désignent)\b|:|—| – "
)
_REASONS = re.compile(
    r"\b(?:because|since|due to|owing|so that|in order|as a result|therefore|cause[sd]?|reasons?|for reasons of|car|"
    r"parce qu|afin|en raison|grâce|puisque)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Features:
    """What speaks for a passage and against it; each about 0..1."""

    coverage: float
    """Share of the question's weight in the passage and around it."""
    own: float
    """Share in the passage itself and the heads over it."""
    similarity: float
    """Of meaning; 0 without a meaning model."""
    fit: float
    """How surely it holds an answer of the kind asked for; 0.5 for kinds without a shape."""
    shapeless: float
    """1 where an answer of a kind with a shape was asked for and is not there; 2 for kinds of a plain shape."""
    unknown: float
    """Share of the question's weight that no passage of the documents has."""
    unnamed: float
    """Share of the question's names and numbers that are neither in the passage nor around it."""
    key: float
    """For a row: how much of what it is about the question names."""
    unfocused: float
    """1 where the thing asked for ("which brand") is not spoken of."""
    heading: float
    close: float
    """The question's neighbouring words are neighbours here too."""
    cue: float
    """It says why, or what something is, where that is asked."""


WEIGHTS = Features(
    coverage=3.0, own=1.5, similarity=2.5, fit=1.85, shapeless=-1.9, unknown=-0.9, unnamed=-0.85, key=1.2,
    unfocused=-0.5, heading=-1.0, close=0.75, cue=0.4,
)  # fmt: skip
"""Of a logistic model, fitted on the tuning half of benchmarks/ask.py."""
BIAS = -3.95
WORDS_ALONE = Features(
    coverage=2.7, own=2.3, similarity=0.0, fit=2.0, shapeless=-1.5, unknown=-0.6, unnamed=-1.0, key=1.1,
    unfocused=-0.9, heading=-1.0, close=1.1, cue=0.85,
)  # fmt: skip
"""The same without a meaning model."""
BIAS_WORDS_ALONE = -3.4


@dataclass(frozen=True, slots=True)
class Evidence:
    """A passage that answers, and the words in it that do (empty: the whole passage)."""

    passages: tuple[Passage, ...]
    """The passage, with the one that goes on from it where the answer needs it."""
    span: str
    score: float
    """0..1: how likely it answers."""
    features: Features

    @property
    def quote(self) -> str:
        return " ".join(p.text for p in self.passages)


def confidence(features: Features, meaning: bool) -> float:
    """0..1. `meaning`: whether a meaning model compared the passage."""
    weights, bias = (WEIGHTS, BIAS) if meaning else (WORDS_ALONE, BIAS_WORDS_ALONE)
    total = bias + sum(w * f for w, f in zip(astuple(weights), astuple(features), strict=True))
    return 1 / (1 + math.exp(-total))


def weigh(corpus: Corpus, question: Question, scored: Scored, unknown: float) -> Evidence:
    """`unknown`: share of the question's weight that no passage has."""
    passage = scored.passage
    chosen: tuple[Passage, ...] = (passage,)
    text, fit, shapeless = "", 0.5, 0.0
    if question.kind in _SHAPED:
        found = best_span(question, scored)
        if found is None and not passage.cells:
            following = corpus.after(passage)
            later = best_span(question, Scored(following, 0, 0, 0, {})) if following else None
            if following and later:
                chosen, found = (
                    (passage, following),
                    (
                        later[0],
                        later[1] - (0.1 if passage.kind == "heading" or len(passage.text) < 40 else 0.35),
                    ),
                )
        text, fit = found or ("", 0.0)
        shapeless = 0.0 if found else 2.0 if question.kind in _STRICT else 1.0
        if question.kind == "number" and fit < OF_SOMETHING_ELSE:
            shapeless = 1.0
    elif passage.cells:
        text = _best_cell(question, scored)
    asks_why = question.kind == "why" and _REASONS.search(passage.text)
    asks_what = question.kind == "define" and _DEFINES.search(passage.text)
    features = Features(
        scored.coverage, scored.own, scored.similarity, fit, shapeless, unknown,
        _unnamed(corpus, question, scored), _key(question, passage), _unfocused(question, scored, shapeless),
        float(passage.kind == "heading"), scored.close, float(bool(asks_why or asks_what)),
    )  # fmt: skip
    return Evidence(chosen, text, confidence(features, scored.similarity != 0.0), features)


def _unnamed(corpus: Corpus, question: Question, scored: Scored) -> float:
    names = [term for term in question.terms if term.proper]
    if not names:
        return 0.0
    return sum(t.weight for t in names if t.word not in scored.near) / sum(t.weight for t in names)


def _unfocused(question: Question, scored: Scored, shapeless: float) -> float:
    """A kind with a shape is its own focus: a date need not be called one."""
    if not question.focus or (question.kind in _SHAPED and question.kind != "number" and not shapeless):
        return 0.0
    terms = {term.word for term in question.terms}
    asked = [word for word in question.focus if word in terms]
    return float(bool(asked) and not any(word in scored.near for word in asked))


def _key(question: Question, passage: Passage) -> float:
    """Share of the words of a row's first cell, or of a short line's label, that the question has."""
    label = (
        passage.cells[0].text
        if passage.cells
        else passage.text.split(":")[0]
        if ":" in passage.text[:40]
        else ""
    )
    words = [stem(t.folded) for t in tokens(label) if t.folded not in STOP]
    if not words:
        return 0.0
    asked = _asked(question)
    return sum(word in asked for word in words) / len(words)


def _asked(question: Question) -> set[str]:
    return {stem(term.word) for term in question.terms}


def best_span(question: Question, scored: Scored) -> tuple[str, float] | None:
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
        if (words and words <= asked) or span.strength <= BARE or _too_weak(question, span):
            continue
        near = min(
            (min(abs(span.start - h), abs(span.stop - h)) for h in hits), default=60 if scored.matched else 0
        )
        fit = span.strength - min(0.35, near / 300)
        if question.kind == "number" or (question.kind == "quantity" and span.strength < 0.9):
            fit += 0.3 if _followed_by_focus(question, text, span) else -0.3 if question.focus else -0.1
            fit -= 0.3 * bool(_OTHER_UNIT.match(text[span.stop :]) and not _asks_time(question))
        if best is None or fit > best[0]:
            best = (fit, span)
    if best is None:
        return None
    return text[best[1].start : best[1].stop].strip(" ,;"), max(0.05, min(1.0, best[0]))


def _too_weak(question: Question, span: Span) -> bool:
    """An address is more than a place; a company is not whatever follows "by"."""
    if question.kind == "name":
        return span.strength == BY
    return (
        question.kind == "place" and span.strength < ADDRESS and not _ADDRESS_WORDS.isdisjoint(question.focus)
    )


def _asks_time(question: Question) -> bool:
    return any(_OTHER_UNIT.match(" " + word) for word in question.focus)


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
            whole = len(cell.text) < 40 or not found
            best = (fit, cell.text if whole else cell.text[found[0].start : found[0].stop])
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
