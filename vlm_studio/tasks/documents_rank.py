"""Which passage answers a question: how much of the question it covers, with what stands around it.

A passage is scored by the weight of the question's words it holds (Jones, Walker and Robertson 2000 give the
idea of weighing words by their rarity); words found in its headings, the heads of its columns or its
neighbours count for less. Where a meaning model is installed, its similarity is added.
"""

from __future__ import annotations

import itertools
import logging
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from vlm_studio.core.errors import ModelUnavailable
from vlm_studio.core.passages import Passage
from vlm_studio.tasks.documents_question import Question, Term
from vlm_studio.tasks.documents_terms import STOP, Rarity, Thesaurus, Vocabulary, tokens

log = logging.getLogger(__name__)

HEADER, HEADING, NEIGHBOUR, BLOCK, NAME = 0.85, 0.7, 0.45, 0.3, 0.4
"""What a word counts where it is not in the passage itself but in the head of a column or a caption, in a
heading, in the sentence before or after, in the same paragraph or table, or in the document's name."""
PROXIMITY = 0.12
SIMILARITY = 0.5
NEAREST = 64
"""Passages whose meaning is compared with the question's."""

Similar = Callable[[str, Sequence[str]], Sequence[float]]
"""Cosine similarity of a question with each text, about 0..1."""


@dataclass(frozen=True, slots=True)
class Scored:
    passage: Passage
    score: float
    coverage: float
    """0..1, share of the question's weight found in the passage and around it."""
    own: float
    """0..1, share found in the passage itself and the heads over it."""
    matched: Mapping[str, frozenset[str]]
    """The question's words to the words of the passage that stand for them."""
    near: frozenset[str] = frozenset()
    """The question's words that are in the passage or around it."""
    close: float = 0.0
    """0..1, share of the question's neighbouring words that are near each other."""
    similarity: float = 0.0


@dataclass(slots=True)
class _Entry:
    own: Counter[str]
    around: dict[str, float]
    """Words near it, with the most that a match there counts."""


@dataclass(slots=True)
class Corpus:
    """Passages of the documents asked, ready to be ranked."""

    passages: Sequence[Passage]
    names: Sequence[str]
    """Of the documents, by their place."""
    read: bool
    """Whether a reader read some of it, so that slips are pardoned."""
    rarity: Rarity
    thesaurus: Thesaurus
    entries: list[_Entry] = field(default_factory=list)
    _vocabulary: Vocabulary = field(init=False)
    _places: dict[tuple[int, int], int] = field(default_factory=dict)
    holders: dict[str, set[int]] = field(default_factory=dict)
    """Word to the places of passages that hold it or have it around them."""

    def __post_init__(self) -> None:
        self._places = {(p.document, p.number): i for i, p in enumerate(self.passages)}
        titles = self._titles()
        for place, passage in enumerate(self.passages):
            own = Counter(t.folded for t in tokens(passage.text))
            around: dict[str, float] = {}
            for word in titles[passage.document]:
                around[word] = NAME
            for depth, heading in enumerate(reversed(passage.context)):
                _add(around, heading, HEADING if depth < 2 else BLOCK + 0.1)
            for other in self._beside(place):
                _add(around, other.text, NEIGHBOUR if other.block == passage.block else BLOCK)
            for cell in passage.cells:
                _add(around, cell.header, HEADER)
            self.entries.append(_Entry(own, around))
            for word in (*own, *around):
                self.holders.setdefault(word, set()).add(place)
        self._vocabulary = Vocabulary(self.holders, self.thesaurus, self.read)

    def _titles(self) -> list[set[str]]:
        found = [
            {t.folded for t in tokens(name.replace("_", " ").replace("-", " "))} - STOP for name in self.names
        ]
        for document in range(len(self.names)):
            first = [p for p in self.passages if p.document == document][:3]
            for passage in first:
                found[document] |= {t.folded for t in tokens(passage.text)} - STOP
        return found

    def _beside(self, place: int) -> list[Passage]:
        here = self.passages[place]
        near = [self.passages[i] for i in (place - 1, place + 1) if 0 <= i < len(self.passages)]
        return [p for p in near if p.document == here.document and p.page == here.page]

    def after(self, passage: Passage) -> Passage | None:
        """What is read next on the same page."""
        place = self._places.get((passage.document, passage.number + 1))
        following = None if place is None else self.passages[place]
        return following if following is not None and following.page == passage.page else None

    def unknown(self, question: Question) -> float:
        """Share of the question's weight that no passage has, not by another word either."""
        matches = self.matches(question)
        total = sum(term.weight for term in question.terms) or 1.0
        return sum(term.weight for term in question.terms if not matches[term.word]) / total

    def matches(self, question: Question) -> dict[str, dict[str, float]]:
        """Each of the question's words to the words of the documents that stand for it."""
        return {term.word: self._vocabulary.alternatives(term.word) for term in question.terms}

    def weights(self, question: Question, matches: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
        """How much each word tells: by its rarity in the language and in these documents."""
        total = max(1, len(self.passages))
        found = {}
        for term in question.terms:
            exact = [word for word, grade in matches[term.word].items() if grade >= 0.85]
            count = sum(len(self.holders[word]) for word in exact)
            local = math.log(1 + total / (1 + count)) / math.log(1 + total)
            found[term.word] = term.weight * (0.45 + 0.55 * local)
        return found


def _add(around: dict[str, float], text: str, grade: float) -> None:
    for token in tokens(text):
        if token.folded not in STOP:
            around[token.folded] = max(grade, around.get(token.folded, 0.0))


def rank(
    corpus: Corpus, question: Question, allowed: Callable[[Passage], bool] = lambda passage: True,
    similar: Similar | None = None,
) -> list[Scored]:  # fmt: skip
    """Best first; passages that share no word with the question only where a meaning model finds them near."""
    matches = corpus.matches(question)
    weights = corpus.weights(question, matches)
    candidates = {place for found in matches.values() for word in found for place in corpus.holders[word]}
    scored = [
        _score(corpus, place, question.terms, matches, weights)
        for place in sorted(candidates)
        if allowed(corpus.passages[place])
    ]
    scored.sort(key=lambda s: -s.score)
    if similar is not None:
        # Meaning finds what shares no word at all; in a long document only what words found is compared.
        others = (
            p
            for i, p in enumerate(corpus.passages)
            if i not in candidates and p.kind != "heading" and allowed(p)
        )
        room = NEAREST - len(scored)
        scored += [Scored(p, 0.0, 0.0, 0.0, {}) for p in itertools.islice(others, max(0, room))]
        scored = _with_meaning(scored, question, similar)
    return scored


def _score(
    corpus: Corpus, place: int, terms: Sequence[Term], matches: Mapping[str, Mapping[str, float]],
    weights: Mapping[str, float],
) -> Scored:  # fmt: skip
    passage, entry = corpus.passages[place], corpus.entries[place]
    total = sum(weights.values()) or 1.0
    covered = own_covered = 0.0
    matched: dict[str, frozenset[str]] = {}
    near_words: set[str] = set()
    for term in terms:
        best = best_own = 0.0
        hits = set()
        for word, grade in matches[term.word].items():
            if word in entry.own:
                hits.add(word)
                best_own = max(best_own, grade)
            near = entry.around.get(word, 0.0) * grade
            best = max(best, near)
            if near >= HEADING * grade and near > 0:
                best_own = max(best_own, near)
        best = max(best, best_own)
        if best > 0:
            near_words.add(term.word)
        covered += weights[term.word] * best
        own_covered += weights[term.word] * best_own
        if hits:
            matched[term.word] = frozenset(hits)
    length = sum(entry.own.values())
    close = _closeness(passage, terms, matched)
    score = covered / total + PROXIMITY * close
    score -= 0.04 * max(0.0, math.log(max(1, length) / 25))
    if passage.kind == "heading":
        score -= 0.12
    return Scored(passage, score, covered / total, own_covered / total, matched, frozenset(near_words), close)


def _closeness(passage: Passage, terms: Sequence[Term], matched: Mapping[str, frozenset[str]]) -> float:
    """Share of the question's neighbouring words that are near each other in the passage too."""
    pairs = [(a.word, b.word) for a, b in itertools.pairwise(terms)]
    if not pairs or len(matched) < 2:
        return 0.0
    places: dict[str, list[int]] = {}
    for place, token in enumerate(tokens(passage.text)):
        places.setdefault(token.folded, []).append(place)
    close = 0
    for first, second in pairs:
        here = [p for word in matched.get(first, ()) for p in places.get(word, ())]
        there = [p for word in matched.get(second, ()) for p in places.get(word, ())]
        close += any(abs(a - b) <= 3 for a in here for b in there if a != b)
    return close / len(pairs)


def _with_meaning(scored: list[Scored], question: Question, similar: Similar) -> list[Scored]:
    near, far = scored[:NEAREST], scored[NEAREST:]
    try:
        values = similar(question.text, [_in_context(s.passage) for s in near])
    except ModelUnavailable:
        log.warning("the meaning model cannot be used; words alone decide", exc_info=True)
        return scored
    near = [
        replace(s, score=s.score + SIMILARITY * value, similarity=value)
        for s, value in zip(near, values, strict=True)
    ]
    near.sort(key=lambda s: -s.score)
    return near + far


def _in_context(passage: Passage) -> str:
    """A row with the heads of its columns, a sentence after its heading: what it means on its own."""
    if passage.cells:
        text = "; ".join(
            f"{cell.header}: {cell.text}" if cell.header else cell.text for cell in passage.cells
        )
    else:
        text = passage.text
    return f"{passage.context[-1]}. {text}" if passage.context else text
