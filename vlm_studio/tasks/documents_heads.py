"""Running heads and feet: lines at the edge of a page that say nothing but where one is in the document."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from vlm_studio.core.passages import PageText

EDGE = 0.09
"""Share of a page's height at its top and bottom where running heads stand."""
LONGEST_NUMBERED = 12
"""Words of a head that carries the number of its page; a longer line is text."""
NEAR = 0.8
"""A line closer than this share of its height to the next one belongs to the same paragraph."""

_NUMBER = re.compile(r"(?<![\w.,])\d{1,9}(?!\w|[.,]\d)")
_PAGE_NUMBER = re.compile(r"\W*(?:pages?|p\.|seite|s\.)?\W*#(?:\s*(?:of|/|de|sur|von|-|–|\|)\s*#)?\W*")
_COUNTED = re.compile(
    r"(?:chapter|chapitre|section|part|article|invoice|facture|lot|item|table|tableau|figure|fig\.|exhibit|appendix|annexe?"
    r"|letter|form|day|jour|week|semaine|lesson|unit|question|exercise|step|room|no\.?|n°|nr\.?)\s*$"
)
_DATE = re.compile(
    r"\s*(?:st|nd|rd|th|er)?\s*(?:of\s+)?(?:jan|feb|fév|mar|apr|avr|may|mai|jun|juin|jul|juil|aug|août|sep|oct|nov|dec|déc)"
)
"""Words before and after a number that counts something else than pages."""


@dataclass(frozen=True, slots=True)
class _Edge:
    """A line at the edge of a page, with the texts that make it a head where other pages have them too."""

    shape: str
    same: str
    numbered: frozenset[str]
    goes_on: bool
    places: tuple[int, ...]

    @property
    def bare(self) -> bool:
        """Whether it is a page number and nothing else."""
        return bool(_PAGE_NUMBER.fullmatch(self.shape))


def running_heads(pages: Sequence[PageText]) -> list[frozenset[int]]:
    """For each page the places of words in heads and feet that other pages repeat; the first time they stay.

    They are the same on all pages but for one number, which counts the pages: a line of a form or a list that differs in
    anything else says something of its own.
    """
    edges = [tuple(_edges(page)) for page in pages]
    same = Counter(text for found in edges for text in {edge.same for edge in found})
    numbered = Counter(text for found in edges for text in {t for edge in found for t in edge.numbered})
    running_on = Counter(t for found in edges for edge in found if edge.goes_on for t in edge.numbered)
    shapes = Counter(text for found in edges for text in {edge.shape for edge in found})
    few = len(pages) <= 3

    def repeats(count: int, edge: _Edge) -> bool:
        return count >= 3 or (count == 2 and few and edge.shape.strip("# -–|/") != "")

    seen: set[str] = set()
    skips = []
    for found in edges:
        skip: set[int] = set()
        for edge in found:
            # Where most of them go on in the line below, they are the first lines of sentences.
            keys = {
                t for t in edge.numbered if repeats(numbered[t], edge) and 2 * running_on[t] < numbered[t]
            }
            if repeats(same[edge.same], edge):
                keys.add(edge.same)
            if edge.bare and "#" != edge.shape.strip(" -–|/") and repeats(shapes[edge.shape], edge):
                keys.add(edge.shape)
            if keys and (edge.bare or keys & seen):
                skip.update(edge.places)
            seen |= keys
        skips.append(frozenset(skip))
    return skips


def _edges(page: PageText) -> Iterator[_Edge]:
    lines: dict[int, list[int]] = {}
    for place, word in enumerate(page.words):
        lines.setdefault(word.line, []).append(place)
    for number, members in lines.items():
        kept = [i for i in members if _at_edge(page, i)]
        if not kept:
            continue
        text = " ".join(page.words[i].text for i in kept).casefold()
        numbered: set[str] = set()
        if len(kept) <= LONGEST_NUMBERED:
            numbered = {
                f"{text[: m.start()]}#{int(m[0]) - page.index}{text[m.end() :]}"
                for m in _NUMBER.finditer(text)
                if not (_COUNTED.search(text[: m.start()]) or _DATE.match(text[m.end() :]))
            }
        goes_on = _goes_on(page, members, lines.get(number + 1, ()))
        yield _Edge(_NUMBER.sub("#", text), text, frozenset(numbered), goes_on, tuple(kept))


def _at_edge(page: PageText, place: int) -> bool:
    box = page.words[place].box
    middle = (box.top + box.bottom) / 2
    return middle < EDGE * page.height or middle > (1 - EDGE) * page.height


def _goes_on(page: PageText, line: Sequence[int], following: Sequence[int]) -> bool:
    """Whether a sentence runs from a line into the next, right below it."""
    if not following or not page.words[following[0]].text[:1].islower():
        return False
    above, below = page.words[line[-1]].box, page.words[following[0]].box
    return 0 <= below.top - above.top and below.top - above.bottom < NEAR * above.height
