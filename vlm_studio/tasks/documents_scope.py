"""Page ranges as people write them."""

from __future__ import annotations

import re

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
