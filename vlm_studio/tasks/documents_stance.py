"""Which pages say the same as an answer, which say something else, and which are silent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vlm_studio.core.answers import Citation
from vlm_studio.core.folding import fold
from vlm_studio.tasks.ask_pdf import EVERYTHING, Documents, Scope
from vlm_studio.tasks.documents_answer import weigh_all
from vlm_studio.tasks.documents_question import understand
from vlm_studio.tasks.documents_rank import rank

SPEAKS = 0.5
"""Likelihood from which a page is taken to speak to the question; a share of the best page's."""

Stance = Literal["agrees", "differs", "silent"]


@dataclass(frozen=True, slots=True)
class PageStance:
    document: int
    page: int
    """0-based."""
    stance: Stance
    says: str
    """The words on that page that would answer; empty where it is silent."""
    citation: Citation | None


def stances(documents: Documents, text: str, scope: Scope = EVERYTHING) -> tuple[PageStance, ...]:
    """One for each page in scope, in order. A page differs where it answers with other words of the same kind."""
    question = understand(text, documents.rarity)
    ranked = rank(documents.corpus, question, scope.holds, documents.similar)
    weighed = weigh_all(documents.corpus, question, ranked)
    best = weighed[0] if weighed else None
    speaking: dict[tuple[int, int], PageStance] = {}
    for evidence in weighed:
        place = evidence.passages[0].document, evidence.passages[0].page
        if best is None or place in speaking or evidence.score < max(SPEAKS, 0.75 * best.score):
            continue
        said = evidence.span or evidence.quote
        same = fold(best.span or best.quote) in fold(evidence.quote)
        stance: Stance = "agrees" if same else "differs"
        speaking[place] = PageStance(*place, stance, said, documents.cited(evidence))
    return tuple(
        speaking.get((number, page.index), PageStance(number, page.index, "silent", "", None))
        for number, document in enumerate(documents.documents)
        for page in document.pages
        if (not scope.documents or number in scope.documents)
        and (not scope.pages or page.index in scope.pages)
    )
