"""Documents with the words of their pages, how far they are taken in, and the questions asked of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from vlm_studio.core.answers import Citation, DocumentAnswer
from vlm_studio.core.asked import AskedTurn, KeptDocument
from vlm_studio.core.chat_json import variant_of
from vlm_studio.core.documents import Asset, Box
from vlm_studio.core.errors import NotFound
from vlm_studio.core.ids import new_id, utc_now
from vlm_studio.core.passages import PageText, PageWord
from vlm_studio.core.sessions import JobState
from vlm_studio.store.database import Database
from vlm_studio.store.search import SearchIndex
from vlm_studio.store.session_store import SessionStore

_DOCUMENT = (
    "SELECT document.id, document.session_id, session.owner, asset.filename, asset.sha256, asset.mime, document.pages, "
    "(SELECT count(*) FROM document_page WHERE document_id = document.id), "
    "(SELECT count(*) FROM document_page WHERE document_id = document.id AND source <> 'text layer'), "
    "document.state, document.message FROM document JOIN asset ON asset.id = document.asset_id "
    "JOIN session ON session.id = document.session_id"
)
_TURN = "SELECT id, question, asked_as, answer, found, why, seconds, citations, scope, created_at FROM document_turn"


class DocumentStore:
    """Every method that a person's request reaches takes the owner; what is not theirs is not there."""

    def __init__(self, database: Database, sessions: SessionStore, index: SearchIndex) -> None:
        self.database, self.sessions, self.index = database, sessions, index

    def add(self, owner: str, session_id: str, asset: Asset, pages: int) -> KeptDocument:
        """A file whose blob is stored, waiting to be taken in. Raises NotFound."""
        document_id, now = new_id(), utc_now()
        with self.database.write() as db:
            before = {asset_id for asset_id, _ in self.sessions.assets(owner, session_id)}
            self.sessions.add_asset(owner, session_id, asset)
            (asset_id,) = {i for i, _ in self.sessions.assets(owner, session_id)} - before
            db.execute(
                "INSERT INTO document (id, session_id, asset_id, pages, state, created_at, updated_at) "
                "VALUES (?, ?, ?, ?, 'queued', ?, ?)",
                (document_id, session_id, asset_id, pages, now, now),
            )
        return self.document(owner, document_id)

    def documents(self, owner: str, session_id: str) -> tuple[KeptDocument, ...]:
        """In the order they were added. Raises NotFound."""
        self.sessions.get(owner, session_id)
        with self.database.read() as db:
            rows = db.execute(
                f"{_DOCUMENT} WHERE session.id = ? ORDER BY asset.ord", (session_id,)
            ).fetchall()
        return tuple(KeptDocument(*row) for row in rows)

    def document(self, owner: str, document_id: str) -> KeptDocument:
        """Raises NotFound."""
        with self.database.read() as db:
            row = db.execute(
                f"{_DOCUMENT} WHERE document.id = ? AND session.owner = ? AND session.deleted_at IS NULL",
                (document_id, owner),
            ).fetchone()
        if row is None:
            raise NotFound("There is no such document.", "It may have been deleted.")
        return KeptDocument(*row)

    def remove(self, owner: str, document_id: str) -> None:
        """Take a document out of its session, for good."""
        document = self.document(owner, document_id)
        with self.database.write() as db:
            row = db.execute("SELECT asset_id FROM document WHERE id = ?", (document_id,)).fetchone()
            for idx in range(document.pages):
                self.index.remove("passage", f"{document_id}/{idx}")
            self.sessions.remove_asset(owner, str(row[0]))

    def unfinished(self) -> tuple[KeptDocument, ...]:
        """Everybody's documents that wait or were being taken in, the longest untouched first."""
        with self.database.read() as db:
            rows = db.execute(
                f"{_DOCUMENT} WHERE document.state IN ('queued', 'running') AND session.deleted_at IS NULL "
                "ORDER BY document.updated_at"
            ).fetchall()
        return tuple(KeptDocument(*row) for row in rows)

    def set_state(
        self, document_id: str, state: JobState, message: str = "", only_from: Sequence[JobState] = ()
    ) -> bool:
        """Whether it changed: with `only_from`, only where the state is one of those."""
        marks = ",".join("?" * len(only_from))
        condition = f" AND state IN ({marks})" if only_from else ""
        with self.database.write() as db:
            done = db.execute(
                f"UPDATE document SET state = ?, message = ?, updated_at = ? WHERE id = ?{condition}",
                (state, message, utc_now(), document_id, *only_from),
            )
        return bool(done.rowcount)

    def missing_page(self, document_id: str) -> int | None:
        """The first page (0-based) that is not taken in yet."""
        with self.database.read() as db:
            rows = db.execute(
                "SELECT idx FROM document_page WHERE document_id = ?", (document_id,)
            ).fetchall()
            total = db.execute("SELECT pages FROM document WHERE id = ?", (document_id,)).fetchone()
        there = {int(row[0]) for row in rows}
        return next((i for i in range(int(total[0]) if total else 0) if i not in there), None)

    def save_page(self, document: KeptDocument, page: PageText) -> None:
        """The words of a page, findable by the search over everything; nothing where the document is gone."""
        words = [[w.text, *w.box.as_list(2), w.line, round(w.size, 2), int(w.bold)] for w in page.words]
        with self.database.write() as db:
            if not db.execute("SELECT 1 FROM document WHERE id = ?", (document.id,)).fetchone():
                return
            db.execute(
                "INSERT OR REPLACE INTO document_page (document_id, idx, width, height, unit, words, source, notes) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    document.id, page.index, page.width, page.height, page.unit,
                    json.dumps(words, ensure_ascii=False), page.source,
                    json.dumps(list(page.notes), ensure_ascii=False),
                ),
            )  # fmt: skip
            db.execute("UPDATE document SET updated_at = ? WHERE id = ?", (utc_now(), document.id))
            text = " ".join(word.text for word in page.words)
            self.index.index("passage", document.session_id, f"{document.id}/{page.index}", text)

    def pages(self, owner: str, document_id: str) -> tuple[PageText, ...]:
        """The pages taken in so far, in order."""
        self.document(owner, document_id)
        with self.database.read() as db:
            rows = db.execute(
                "SELECT idx, width, height, unit, words, source, notes FROM document_page "
                "WHERE document_id = ? ORDER BY idx",
                (document_id,),
            ).fetchall()
        return tuple(_page(row) for row in rows)

    def add_turn(self, owner: str, session_id: str, turn: AskedTurn) -> None:
        """Keep a question with its answer; both are findable."""
        scope: dict[str, Any] = {"documents": list(turn.documents), "pages": turn.pages}
        if turn.said_by is not None:
            scope["said_by"] = asdict(turn.said_by)
        if turn.note:
            scope["note"] = turn.note
        citations = [
            [c.document, c.document_id, c.page_index, c.quote, [b.as_list(2) for b in c.boxes]]
            for c in turn.answer.citations
        ]
        with self.database.write() as db:
            self.sessions.touch(owner, session_id)
            db.execute(
                "INSERT INTO document_turn (id, session_id, question, asked_as, answer, found, why, seconds, "
                "citations, scope, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    turn.id, session_id, turn.question, turn.asked_as, turn.answer.text, int(turn.answer.found),
                    turn.answer.why, turn.answer.seconds, json.dumps(citations, ensure_ascii=False),
                    json.dumps(scope), turn.created_at,
                ),
            )  # fmt: skip
            self.index.index("turn", session_id, turn.id, f"{turn.question} {turn.answer.text}")

    def turns(self, owner: str, session_id: str) -> tuple[AskedTurn, ...]:
        """Oldest first. Raises NotFound."""
        self.sessions.get(owner, session_id)
        with self.database.read() as db:
            rows = db.execute(
                f"{_TURN} WHERE session_id = ? ORDER BY created_at, id", (session_id,)
            ).fetchall()
        return tuple(map(_turn, rows))


def _page(row: Sequence[Any]) -> PageText:
    words = tuple(
        PageWord(str(w[0]), Box(*w[1:5]), int(w[5]), float(w[6]), bool(w[7])) for w in json.loads(row[4])
    )
    return PageText(int(row[0]), row[1], row[2], row[3], words, row[5], tuple(json.loads(row[6])))


def _turn(row: Sequence[Any]) -> AskedTurn:
    citations = tuple(
        Citation(name, document_id, int(page), quote, tuple(Box(*box) for box in boxes))
        for name, document_id, page, quote, boxes in json.loads(row[7])
    )
    scope = json.loads(row[8])
    answer = DocumentAnswer(row[3], bool(row[4]), citations, float(row[6]), row[5])
    said_by = variant_of(scope["said_by"]) if "said_by" in scope else None
    return AskedTurn(
        row[0], row[1], row[2], answer, tuple(scope["documents"]), scope["pages"], row[9], said_by,
        str(scope.get("note", "")),
    )  # fmt: skip
