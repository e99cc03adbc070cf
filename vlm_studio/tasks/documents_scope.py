"""Page ranges as people write them, and whether there are such pages."""

from __future__ import annotations

import re
from collections.abc import Sequence

from vlm_studio.core.errors import InvalidRequest

MOST_PAGES = 10_000
_RANGE = re.compile(r"(\d+)\s*(?:[-–]\s*(\d+))?")


def pages_of(text: str) -> tuple[int, ...] | None:
    """0-based pages of ``1-3,7``, in order, each once; None for an empty text: all. Raises InvalidRequest."""
    if not text.strip():
        return None
    found: set[int] = set()
    for part in re.split(r"[,;]", text):
        match = _RANGE.fullmatch(part.strip())
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if not 1 <= first <= last <= MOST_PAGES:
            raise InvalidRequest(f"{text!r} is no page range.", "Write it like 1-3,7.")
        found.update(range(first - 1, last))
    return tuple(sorted(found))


def beyond(wanted: Sequence[int] | None, pages: int) -> bool:
    """Whether a document of so many pages has none of the wanted ones (0-based; None: all)."""
    return bool(wanted) and min(wanted or ()) >= pages


def length_of(name: str, pages: int) -> str:
    return f"{name} has {pages} page{'' if pages == 1 else 's'}."


def refuse_beyond(wanted: Sequence[int] | None, documents: Sequence[tuple[str, int]]) -> None:
    """Raises InvalidRequest where none of the documents (name, number of pages) has one of the wanted pages.

    Searching no page would end in "the document does not say", though nobody has looked.
    """
    name, pages = max(documents, key=lambda document: document[1])
    if beyond(wanted, pages):
        rest = "" if len(documents) == 1 else " The other documents are no longer."
        within = "page 1" if pages == 1 else f"pages 1-{pages}"
        raise InvalidRequest(
            length_of(name, pages) + rest, f"Ask of {within}, or leave the page range empty to ask of all."
        )
