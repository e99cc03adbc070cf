"""Comparisons that are kept, with the strips they were made on. A row of another owner is NotFound."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from vlm_studio.core.comparison import Comparison, KeptComparison, LinesComparison
from vlm_studio.core.comparison_json import comparison_of, comparison_value
from vlm_studio.core.errors import NotFound, StoreError
from vlm_studio.core.ids import new_id, utc_now
from vlm_studio.store.database import Database
from vlm_studio.store.search import SearchIndex
from vlm_studio.store.session_store import SessionStore

_SELECT = (
    "SELECT comparison.id, session_id, comparison.created_at, found FROM comparison "
    "JOIN session ON session.id = session_id"
)
_SEEN = "session.owner = ? AND session.deleted_at IS NULL"


class ComparisonStore:
    """Every method takes the owner."""

    def __init__(self, database: Database, sessions: SessionStore, index: SearchIndex) -> None:
        self.database, self.sessions, self.index = database, sessions, index

    def save(
        self, owner: str, session_id: str, images: Sequence[str], found: Comparison | LinesComparison
    ) -> KeptComparison:
        """Keep a comparison on strips whose blobs are stored already, in one write. Raises NotFound."""
        comparison_id = new_id()
        with self.database.write() as db:
            self.sessions.touch(owner, session_id)
            value = json.dumps(comparison_value(found), ensure_ascii=False)
            db.execute(
                "INSERT INTO comparison (id, session_id, created_at, found) VALUES (?, ?, ?, ?)",
                (comparison_id, session_id, utc_now(), value),
            )
            for place, sha256 in enumerate(images):
                db.execute(
                    "INSERT INTO comparison_image (comparison_id, ord, sha256) VALUES (?, ?, ?)",
                    (comparison_id, place, sha256),
                )
            told = f"{found.left.label}: {found.left.text}\n{found.right.label}: {found.right.text}"
            self.index.index("comparison", session_id, comparison_id, told)
        return self.get(owner, comparison_id)

    def get(self, owner: str, comparison_id: str) -> KeptComparison:
        """Raises NotFound, StoreError where it is damaged."""
        with self.database.read() as db:
            row = db.execute(
                f"{_SELECT} WHERE comparison.id = ? AND {_SEEN}", (comparison_id, owner)
            ).fetchone()
        if row is None:
            raise NotFound("There is no such comparison.", "Its session may have been deleted.")
        return self._kept(row)

    def list(self, owner: str, session_id: str) -> tuple[KeptComparison, ...]:
        """Of a session, newest first. Raises NotFound, StoreError where one is damaged."""
        self.sessions.get(owner, session_id)
        with self.database.read() as db:
            rows = db.execute(
                f"{_SELECT} WHERE session_id = ? AND {_SEEN} ORDER BY comparison.created_at DESC, comparison.id DESC",
                (session_id, owner),
            ).fetchall()
        return tuple(map(self._kept, rows))

    def _kept(self, row: Any) -> KeptComparison:
        with self.database.read() as db:
            images = db.execute(
                "SELECT sha256 FROM comparison_image WHERE comparison_id = ? ORDER BY ord", (row[0],)
            ).fetchall()
        try:
            found = comparison_of(json.loads(row[3]))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise StoreError("This comparison is damaged in the database.", "Compare again.") from error
        return KeptComparison(row[0], row[1], row[2], tuple(str(image[0]) for image in images), found)
