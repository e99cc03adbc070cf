"""What visitors of a shared app keep: how much each has, and what has become old."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from vlm_studio.store.blobs import BlobStore
from vlm_studio.store.database import Database

VISITOR = "visitor:"
"""How the owner of a visitor's rows begins; see ui/shared.py."""

_BYTES = """SELECT coalesce(sum(n_bytes), 0) FROM blob WHERE sha256 IN (
    SELECT asset.sha256 FROM asset JOIN session ON session.id = asset.session_id WHERE owner = :owner
    UNION
    SELECT page.image_sha256 FROM page JOIN asset ON asset.id = page.asset_id
        JOIN session ON session.id = asset.session_id WHERE owner = :owner)"""


class VisitorStore:
    def __init__(self, database: Database, blobs: BlobStore) -> None:
        self.database, self.blobs = database, blobs

    def usage(self, owner: str) -> tuple[int, int]:
        """(sessions, bytes of files and pages) of one owner, deleted ones too until they are purged."""
        with self.database.read() as db:
            sessions = db.execute("SELECT count(*) FROM session WHERE owner = ?", (owner,)).fetchone()[0]
            n_bytes = db.execute(_BYTES, {"owner": owner}).fetchone()[0]
        return int(sessions), int(n_bytes)

    def expire(self, hours: float) -> int:
        """Delete for good what visitors have not touched for so long, and files nobody needs any more.

        Rows of people who log in are never touched. How many sessions that were.
        """
        limit = (datetime.now(UTC) - timedelta(hours=hours)).isoformat(timespec="microseconds")
        with self.database.write() as db:
            done = db.execute(
                "DELETE FROM session WHERE substr(owner, 1, ?) = ? AND updated_at <= ?",
                (len(VISITOR), VISITOR, limit),
            )
            gone = int(done.rowcount)
        self.blobs.cleanup()
        return gone
