"""Text as it is compared: without case, accents and ligatures."""

from __future__ import annotations

import unicodedata

_LETTERS = str.maketrans(
    {"œ": "oe", "æ": "ae", "ø": "o", "đ": "d", "ł": "l", "ı": "i", "þ": "th", "ð": "d", "’": "'", "ʼ": "'"}
)


def fold(text: str) -> str:
    """Lower case without accents: Größe is grosse, Cœur is coeur."""
    decomposed = unicodedata.normalize("NFKD", text.casefold().translate(_LETTERS))
    return "".join(c for c in decomposed if not unicodedata.combining(c)).casefold()
