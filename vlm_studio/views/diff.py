"""Two texts side by side, character by character, as escaped HTML."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Literal

Operation = Literal["equal", "insert", "delete"]


def diff_html(spans: Sequence[tuple[str, str]]) -> str:
    """`spans` are (operation, text): deleted text is struck out, inserted text underlined."""
    tags = {"equal": ("", ""), "insert": ("<ins>", "</ins>"), "delete": ("<del>", "</del>")}
    parts = []
    for operation, text in spans:
        before, after = tags[operation]
        parts.append(f"{before}{escape(text)}{after}")
    return '<div class="studio-diff">' + "".join(parts) + "</div>"
