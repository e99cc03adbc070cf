"""The little Markdown that small models write, as HTML: lists, bold, code. Everything else is escaped text.

There are no links and no images, so that nothing in an answer can fetch or lead anywhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape

_FENCE = re.compile(r"^\s*```")
_ITEM = re.compile(r"^\s*(?:[-*•]|(\d{1,3})[.)])\s+(.*)$")
_HEADING = re.compile(r"^#{1,6}\s+(.*)$")
_BOLD = re.compile(r"\*\*(?=\S)(.+?)(?<=\S)\*\*")
_CODE = re.compile(r"`([^`\n]+)`")


def light_markdown(text: str) -> str:
    """`text` as HTML blocks; safe for any text."""
    return "".join(_blocks(text.strip("\n").split("\n")))


def _blocks(lines: list[str]) -> Iterator[str]:
    at = 0
    while at < len(lines):
        if _FENCE.match(lines[at]):
            end = next((i for i in range(at + 1, len(lines)) if _FENCE.match(lines[i])), len(lines))
            yield f"<pre><code>{escape(chr(10).join(lines[at + 1 : end]))}</code></pre>"
            at = end + 1
        elif found := _ITEM.match(lines[at]):
            end = next((i for i in range(at, len(lines)) if not _ITEM.match(lines[i])), len(lines))
            items = "".join(f"<li>{_inline(m[2])}</li>" for m in map(_ITEM.match, lines[at:end]) if m)
            start = f' start="{int(found[1])}"' if found[1] else ""
            yield f"<ol{start}>{items}</ol>" if found[1] else f"<ul>{items}</ul>"
            at = end
        elif heading := _HEADING.match(lines[at]):
            yield f"<p><strong>{_inline(heading[1])}</strong></p>"
            at += 1
        elif not lines[at].strip():
            at += 1
        else:
            end = next((i for i in range(at, len(lines)) if _is_break(lines[i])), len(lines))
            yield f"<p>{'<br>'.join(_inline(line) for line in lines[at:end])}</p>"
            at = end


def _is_break(line: str) -> bool:
    return not line.strip() or any(p.match(line) for p in (_FENCE, _ITEM, _HEADING))


def _inline(text: str) -> str:
    return _CODE.sub(r"<code>\1</code>", _BOLD.sub(r"<strong>\1</strong>", escape(text)))
