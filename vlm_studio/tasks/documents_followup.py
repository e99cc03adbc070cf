"""A follow-up question, completed with what the one before was about."""

from __future__ import annotations

import re

from vlm_studio.core.folding import fold
from vlm_studio.tasks.documents_question import Question
from vlm_studio.tasks.documents_terms import tokens

_LEANS = re.compile(
    r"^(?:and|what about|how about|but|also|then|et|mais|qu'en est-il|alors)\b|"
    r"\b(?:it|its|they|them|their|this|these|those|he|she|his|her|him|il|elle|ils|elles|celui-ci|celle-ci|cela|ca)\b"
)
_ARTICLE = re.compile(r"(?:the|a|an|le|la|les|un|une)\b|l'", re.IGNORECASE)
_LINK = re.compile(
    r"(?:\b(?:in|on|at|for|of|to|from|by|en|pour|de|du|des|dans)\s+)?(?:(?:the|a|an|le|la|les|un|une|l')\s*)?$|^(?:in|on|at|for|of|to|from|by|en|pour|de|du|des|dans)\b",
    re.IGNORECASE,
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
        return _exchanged(before, question, text[starts.end() :].strip(" ,"))
    return f"{text} ({words})?" if words else question.text


def _exchanged(before: Question, question: Question, phrase: str) -> str:
    """The question before, asked again of something else: "How large is the deposit?" and "And the rent?"."""
    asked = before.text.rstrip(" ?")
    named = any(term.proper for term in question.terms)
    words = tokens(asked)
    weights = {term.word: term.proper for term in before.terms}
    # A year or name takes the place of one, where there is one; anything else that of what was asked about last.
    likes = [t for t in words if t.folded in weights and (weights[t.folded] or not named)] or [
        t for t in words if t.folded in weights
    ]
    if (named and not any(weights[t.folded] for t in likes)) or not likes:
        return f"{asked} {phrase}?"
    last = likes[-1]
    start = last.start
    for earlier in reversed(likes[:-1]):
        between = asked[earlier.start + len(earlier.written) : start]
        if between.strip(" -'’"):
            break
        start = earlier.start
    head = _LINK.sub("", asked[:start]) if _LINK.match(phrase) or _ARTICLE.match(phrase) else asked[:start]
    return f"{head.rstrip()} {phrase}{asked[last.start + len(last.written) :]}?"
