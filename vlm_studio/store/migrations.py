"""The schema as named, append-only steps. A released step is never edited; a new one is added below.

Rows are keyed to an owner. Times are UTC ISO 8601 text. JSON columns hold parameters and metrics only.
"""

from __future__ import annotations

from sqlite_utils import Database, Migrations

migrations = Migrations("vlm_studio")


@migrations()
def m001_sessions(db: Database) -> None:
    """Sessions, uploaded files and their pages."""
    for statement in (
        """CREATE TABLE session (
            id TEXT PRIMARY KEY, owner TEXT NOT NULL, kind TEXT NOT NULL, title TEXT NOT NULL,
            created_at TEXT NOT NULL, updated_at TEXT NOT NULL,
            pinned INTEGER NOT NULL DEFAULT 0, archived INTEGER NOT NULL DEFAULT 0,
            deleted_at TEXT, meta TEXT NOT NULL DEFAULT '{}')""",
        "CREATE INDEX session_owner ON session(owner, updated_at)",
        """CREATE TABLE session_tag (
            session_id TEXT NOT NULL REFERENCES session(id) ON DELETE CASCADE,
            tag TEXT NOT NULL, PRIMARY KEY (session_id, tag))""",
        """CREATE TABLE blob (
            sha256 TEXT PRIMARY KEY, mime TEXT NOT NULL, n_bytes INTEGER NOT NULL,
            created_at TEXT NOT NULL)""",
        """CREATE TABLE asset (
            id TEXT PRIMARY KEY, session_id TEXT NOT NULL REFERENCES session(id) ON DELETE CASCADE,
            ord INTEGER NOT NULL, sha256 TEXT NOT NULL REFERENCES blob(sha256),
            mime TEXT NOT NULL, filename TEXT NOT NULL, n_bytes INTEGER NOT NULL)""",
        "CREATE INDEX asset_session ON asset(session_id, ord)",
        """CREATE TABLE page (
            id TEXT PRIMARY KEY, asset_id TEXT NOT NULL REFERENCES asset(id) ON DELETE CASCADE,
            idx INTEGER NOT NULL, image_sha256 TEXT NOT NULL REFERENCES blob(sha256),
            width_px INTEGER NOT NULL, height_px INTEGER NOT NULL, dpi INTEGER,
            UNIQUE (asset_id, idx))""",
    ):
        db.execute(statement)
