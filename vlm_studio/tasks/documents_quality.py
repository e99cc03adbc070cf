"""Whether a PDF's own text can be trusted, or its pages have to be read like photos."""

from __future__ import annotations

import re

from vlm_studio.core.folding import fold
from vlm_studio.ingest.pdf import PdfText
from vlm_studio.tasks.documents_terms import Rarity

SCANNED = 0.6
"""Share of a page under pictures from which it is taken for a scan."""
FEW_WORDS = 12
"""A scan with fewer words than this carries a stamp or page number, not its text."""
KNOWN_ON_SCAN, KNOWN = 0.5, 0.12
"""Share of words that are in the word list, below which a layer is junk: over a scan, and anywhere. A digital
page may be in a language the list does not know."""
ODD = 0.12
"""Share of characters that no text has (private use, controls, replacement marks)."""
ENOUGH_WORDS = 15

_WORD = re.compile(r"[^\W\d_]{3,}")


def layer_is_good(text: PdfText, rarity: Rarity) -> bool:
    """True too for a page that shows nothing: there is nothing to read on it."""
    words = [word.text for word in text.page.words]
    if not words:
        return text.blank
    scanned = text.pictured >= SCANNED
    if scanned and len(words) < FEW_WORDS:
        return False
    letters = "".join(words)
    odd = sum(not c.isprintable() or "\ue000" <= c <= "\uf8ff" or c == "\ufffd" for c in letters)
    if odd > ODD * len(letters):
        return False
    plain = [fold(w) for w in _WORD.findall(" ".join(words))]
    if len(plain) < ENOUGH_WORDS:
        return not scanned or len(plain) * 3 >= len(words)
    known = sum(rarity.known(word) for word in plain) / len(plain)
    return known >= (KNOWN_ON_SCAN if scanned else KNOWN)
