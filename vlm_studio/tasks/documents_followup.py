"""A follow-up question, completed with what the one before was about."""

from __future__ import annotations

import re

from vlm_studio.core.folding import fold
from vlm_studio.tasks.documents_question import Question

_LEANS = re.compile(
    r"^(?:and|what about|how about|but|also|then|et|mais|qu'en est-il|alors)\b|"
    r"\b(?:it|its|they|them|their|this|these|those|he|she|his|her|him|il|elle|ils|elles|celui-ci|celle-ci|cela|ca)\b"
)
FEW_TERMS = 2
"""A question with fewer words of its own leans on the one before, where it also points back."""


def leans_back(question: Question) -> bool:
    """Whether a question cannot be understood alone: it begins with "and", says "it", or is a mere word or two."""
    folded = fold(question.text)
    if _LEANS.search(folded):
        return True
    return len(question.terms) < FEW_TERMS and len(folded.split()) <= 3


def completed(question: Question, before: Question) -> str:
    """The question with the words of the one before that it lacks; its own kind of answer stays."""
    own = {term.word for term in question.terms}
    lacking = [t for t in before.terms if t.word not in own]
    if question.terms and any(t.proper for t in question.terms):
        # "And in 2021?" takes the place of the year before.
        lacking = [t for t in lacking if not t.proper]
    words = " ".join(term.word for term in lacking)
    text = question.text.rstrip(" ?")
    starts = re.match(r"^(?:and|et|what about|how about|but|mais)\b", fold(text))
    if starts and not re.search(
        r"\b(?:who|when|where|why|how|what|which|qui|quand|ou|combien|quel\w*)\b", fold(text[starts.end() :])
    ):
        # Nothing of its own says what is asked: the question before is asked again of something else.
        kept = text[starts.end() :].strip(" ,")
        return f"{before.text.rstrip(' ?')} {kept}?"
    return f"{text} ({words})?" if words else question.text
