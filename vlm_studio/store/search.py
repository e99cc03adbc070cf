"""Search over everything read, asked or answered: one FTS5 index over the rows of `passage`.

Text is folded before it is indexed and before it is sought: case, accents, ß/ss, œ/oe. Snippets are cut from
the text as it was written, so that what is shown is what stands on the page.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import Any

from vlm_studio.core.documents import Box
from vlm_studio.core.folding import fold
from vlm_studio.core.sessions import SearchHit
from vlm_studio.store.database import Database

MARK_START, MARK_END = "\x02", "\x03"

_WORD = re.compile(r"[^\W_]+")
_QUERY_PART = re.compile(r'"([^"]*)"|(\S+)')
_SNIPPET_CHARS = 160
_MAX_TERMS = 16
_MAX_CANDIDATES = 2_000
"""Matches that are ranked; of a word that stands in every line, the newest are enough."""


class SearchIndex:
    """Writes join the transaction that is open, so that a line and its index row appear together."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def index(
        self,
        kind: str,
        session_id: str,
        ref: str,
        text: str,
        extra: str = "",
        page_id: str | None = None,
        box: Box | None = None,
    ) -> None:
        """Make `text` findable, replacing what (kind, ref) said before; empty text and extra remove it.

        kind: title, line, turn, passage...; ref: id of the row it comes from. `extra` is found too, but
        counts less (other readings of a word). `page_id` and `box` (page pixels) say where it stands.
        """
        if not text.strip() and not extra.strip():
            self.remove(kind, ref)
            return
        place = box or None
        corners = (None,) * 4 if place is None else (place.left, place.top, place.right, place.bottom)
        with self.database.write() as db:
            db.execute(
                "INSERT INTO passage (session_id, kind, ref, text, extra, folded, folded_extra, page_id, "
                "x0, y0, x1, y1) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
                "ON CONFLICT (kind, ref) DO UPDATE SET session_id = excluded.session_id, "
                "text = excluded.text, extra = excluded.extra, "
                "folded = excluded.folded, folded_extra = excluded.folded_extra, page_id = excluded.page_id, "
                "x0 = excluded.x0, y0 = excluded.y0, x1 = excluded.x1, y1 = excluded.y1",
                (session_id, kind, ref, text, extra, fold(text), fold(extra), page_id, *corners),
            )

    def remove(self, kind: str, ref: str) -> None:
        """Take one out of the index; nothing happens where it is not there."""
        with self.database.write() as db:
            db.execute("DELETE FROM passage WHERE kind = ? AND ref = ?", (kind, ref))

    def search(
        self,
        owner: str,
        query: str,
        limit: int = 50,
        kinds: Iterable[str] = (),
        session_id: str | None = None,
    ) -> tuple[SearchHit, ...]:
        """Best first. All words must be there; the last one may be unfinished; "quoted words" stand together.

        `kinds` narrows to what was found (line, turn...), `session_id` to one session. Any text is a valid
        query; one without a letter or digit finds nothing.
        """
        expression = fts_expression(query)
        if not expression:
            return ()
        condition = ""
        values: list[str] = []
        wanted = tuple(kinds)
        if wanted:
            condition += f" AND passage.kind IN ({','.join('?' * len(wanted))})"
            values += wanted
        if session_id is not None:
            condition += " AND session.id = ?"
            values.append(session_id)
        with self.database.read() as db:
            rows = db.execute(
                # The newest matches are looked up first, and only those are ranked and fetched.
                "SELECT session.id, session.kind, session.title, passage.text, passage.extra, passage.kind, "
                "passage.ref, passage.page_id, page.image_sha256, "
                "passage.x0, passage.y0, passage.x1, passage.y1 FROM "
                "(SELECT passage_fts.rowid AS found, bm25(passage_fts, 1.0, 0.3) AS score FROM passage_fts "
                "JOIN passage ON passage.id = passage_fts.rowid "
                "JOIN session ON session.id = passage.session_id WHERE passage_fts MATCH ? AND session.owner = ? AND session.deleted_at IS NULL"
                f"{condition} ORDER BY passage_fts.rowid DESC LIMIT {_MAX_CANDIDATES}) "
                "JOIN passage ON passage.id = found JOIN session ON session.id = passage.session_id "
                "LEFT JOIN page ON page.id = passage.page_id ORDER BY score, found DESC LIMIT ?",
                (expression, owner, *values, limit),
            ).fetchall()
        terms = _terms(query)
        return tuple(_hit(row, terms) for row in rows)


def fts_expression(query: str) -> str:
    """What a person typed as an FTS5 expression that never fails: every word inside quotes.

    The last word is a prefix unless it is followed by a blank, is inside quotes, or is a single Latin letter
    (which would match nearly everything). Empty where there is nothing to look for.
    """
    parts: list[str] = []
    for phrase, word in _QUERY_PART.findall(query.replace("\0", " ")):
        words = _WORD.findall(fold(phrase or word))
        if words:
            parts.append('"' + " ".join(words) + '"')
    parts = parts[:_MAX_TERMS]
    if not parts:
        return ""
    last = parts[-1].strip('"').split()[-1]
    unfinished = not query[-1].isspace() and not query.rstrip().endswith('"')
    if unfinished and (len(last) > 1 or not last.isascii()):
        parts[-1] += "*"
    return " ".join(parts)


def _terms(query: str) -> tuple[str, ...]:
    """Folded words to mark; the last may be the beginning of a word."""
    return tuple(_WORD.findall(fold(query)))


def snippet(text: str, terms: tuple[str, ...], chars: int = _SNIPPET_CHARS) -> str:
    """The stretch of `text` with the first match, matches between U+0002 and U+0003, cut at `chars`."""
    clean = text.replace(MARK_START, "").replace(MARK_END, "")
    spans = [
        match.span()
        for match in _WORD.finditer(unicodedata.normalize("NFC", clean))
        if _matches(fold(match.group()), terms)
    ]
    clean = unicodedata.normalize("NFC", clean)
    start = max(0, (spans[0][0] if spans else 0) - chars // 3)
    if start:
        start = clean.find(" ", start) + 1 or start
    stop = min(len(clean), start + chars)
    if stop < len(clean):
        stop = max(clean.rfind(" ", start, stop), start + chars // 2)
    pieces, place = ["…" if start else ""], start
    for left, right in spans:
        if left < start or right > stop:
            continue
        pieces += [clean[place:left], MARK_START, clean[left:right], MARK_END]
        place = right
    pieces += [clean[place:stop], "…" if stop < len(clean) else ""]
    return " ".join("".join(pieces).split())


def _matches(word: str, terms: tuple[str, ...]) -> bool:
    return word in terms or bool(terms and len(terms[-1]) > 1 and word.startswith(terms[-1]))


def _hit(row: Any, terms: tuple[str, ...]) -> SearchHit:
    shown = snippet(row[3], terms)
    if MARK_START not in shown and row[4]:
        other = snippet(row[4], terms, chars=60)
        if MARK_START in other:
            shown = f"{shown} (also read: {other})".strip()
    box = None if row[9] is None else Box(*row[9:13])
    return SearchHit(
        session_id=row[0], kind=row[1], title=row[2], snippet=shown, page_image_sha256=row[8], box=box,
        what=row[5], ref=row[6], page_id=row[7],
    )  # fmt: skip
