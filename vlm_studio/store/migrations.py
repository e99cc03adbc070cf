"""The schema as named, append-only steps. A released step is never edited; a new one is added below.

Rows are keyed to an owner. Times are UTC ISO 8601 text. Three things follow from foreign keys alone
(store/references.py), so a new table takes part in them by declaring its own:

- a column that REFERENCES blob(sha256) keeps that blob from being cleaned up (give it an index);
- a table that leads to `session` by foreign keys, or has a column `owner`, lets that owner read those blobs;
- the rows of a table that leads to `session` go with the session: into its export, and when it is purged
  (ON DELETE CASCADE). Ids are TEXT from core.ids, so that an import can give them new ones.
"""

from __future__ import annotations

from sqlite_utils import Database, Migrations

migrations = Migrations("vlm_studio")


@migrations()
def m001_sessions(db: Database) -> None:
    """Sessions, uploaded files and their pages, and the text of everything for the search."""
    for statement in (
        """CREATE TABLE session (
            id TEXT PRIMARY KEY, owner TEXT NOT NULL, kind TEXT NOT NULL, title TEXT NOT NULL,
            created_at TEXT NOT NULL, updated_at TEXT NOT NULL,
            pinned INTEGER NOT NULL DEFAULT 0, archived INTEGER NOT NULL DEFAULT 0,
            deleted_at TEXT, meta TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(meta)))""",
        "CREATE INDEX session_owner ON session(owner, updated_at)",
        """CREATE TABLE session_tag (
            session_id TEXT NOT NULL REFERENCES session(id) ON DELETE CASCADE,
            tag TEXT NOT NULL, PRIMARY KEY (session_id, tag))""",
        """CREATE TABLE blob (
            sha256 TEXT PRIMARY KEY, mime TEXT NOT NULL, n_bytes INTEGER NOT NULL,
            stored_at TEXT NOT NULL)""",
        """CREATE TABLE asset (
            id TEXT PRIMARY KEY, session_id TEXT NOT NULL REFERENCES session(id) ON DELETE CASCADE,
            ord INTEGER NOT NULL, sha256 TEXT NOT NULL REFERENCES blob(sha256),
            mime TEXT NOT NULL, filename TEXT NOT NULL, n_bytes INTEGER NOT NULL)""",
        "CREATE INDEX asset_session ON asset(session_id, ord)",
        "CREATE INDEX asset_blob ON asset(sha256)",
        """CREATE TABLE page (
            id TEXT PRIMARY KEY, asset_id TEXT NOT NULL REFERENCES asset(id) ON DELETE CASCADE,
            idx INTEGER NOT NULL, image_sha256 TEXT NOT NULL REFERENCES blob(sha256),
            width_px INTEGER NOT NULL, height_px INTEGER NOT NULL, dpi INTEGER,
            text_layer TEXT CHECK (text_layer IS NULL OR json_valid(text_layer)),
            UNIQUE (asset_id, idx))""",
        "CREATE INDEX page_blob ON page(image_sha256)",
        # One row for each thing that can be found; `folded` is what FTS sees (store/search.py).
        """CREATE TABLE passage (
            id INTEGER PRIMARY KEY, session_id TEXT NOT NULL REFERENCES session(id) ON DELETE CASCADE,
            kind TEXT NOT NULL, ref TEXT NOT NULL, text TEXT NOT NULL, extra TEXT NOT NULL DEFAULT '',
            folded TEXT NOT NULL, folded_extra TEXT NOT NULL DEFAULT '',
            page_id TEXT REFERENCES page(id) ON DELETE CASCADE, x0 REAL, y0 REAL, x1 REAL, y1 REAL,
            UNIQUE (kind, ref))""",
        "CREATE INDEX passage_session ON passage(session_id)",
        "CREATE INDEX passage_page ON passage(page_id)",
        """CREATE VIRTUAL TABLE passage_fts USING fts5(folded, folded_extra, content='passage',
            content_rowid='id', prefix='2 3', tokenize='unicode61 remove_diacritics 2')""",
        """CREATE TRIGGER passage_added AFTER INSERT ON passage BEGIN
            INSERT INTO passage_fts(rowid, folded, folded_extra)
            VALUES (new.id, new.folded, new.folded_extra); END""",
        """CREATE TRIGGER passage_gone AFTER DELETE ON passage BEGIN
            INSERT INTO passage_fts(passage_fts, rowid, folded, folded_extra)
            VALUES ('delete', old.id, old.folded, old.folded_extra); END""",
        """CREATE TRIGGER passage_changed AFTER UPDATE OF folded, folded_extra ON passage BEGIN
            INSERT INTO passage_fts(passage_fts, rowid, folded, folded_extra)
            VALUES ('delete', old.id, old.folded, old.folded_extra);
            INSERT INTO passage_fts(rowid, folded, folded_extra)
            VALUES (new.id, new.folded, new.folded_extra); END""",
    ):
        db.execute(statement)


@migrations()
def m002_transcripts(db: Database) -> None:
    """What was read on a page: lines, and every version of their text. No version is ever deleted."""
    for statement in (
        """CREATE TABLE page_reading (
            page_id TEXT PRIMARY KEY REFERENCES page(id) ON DELETE CASCADE,
            reader TEXT NOT NULL, seconds REAL NOT NULL, created_at TEXT NOT NULL,
            notes TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(notes)))""",
        # `current` is the version shown; `redo_to` the one that undo came from, null after an edit.
        """CREATE TABLE line (
            id TEXT PRIMARY KEY, page_id TEXT NOT NULL REFERENCES page(id) ON DELETE CASCADE,
            ord INTEGER NOT NULL, x0 REAL NOT NULL, y0 REAL NOT NULL, x1 REAL NOT NULL, y1 REAL NOT NULL,
            quad TEXT CHECK (quad IS NULL OR json_valid(quad)),
            col INTEGER NOT NULL DEFAULT 0, maybe_skipped INTEGER NOT NULL DEFAULT 0,
            current INTEGER NOT NULL, redo_to INTEGER, removed_at TEXT)""",
        "CREATE INDEX line_page ON line(page_id, ord)",
        """CREATE TABLE line_version (
            line_id TEXT NOT NULL REFERENCES line(id) ON DELETE CASCADE, number INTEGER NOT NULL,
            parent INTEGER, text TEXT NOT NULL, author TEXT NOT NULL CHECK (author IN ('reader', 'person')),
            writer TEXT NOT NULL, confidence REAL NOT NULL, created_at TEXT NOT NULL,
            words TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(words)),
            warnings TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(warnings)),
            PRIMARY KEY (line_id, number))""",
    ):
        db.execute(statement)


@migrations()
def m003_chat(db: Database) -> None:
    """Conversations: numbered images, a tree of turns, and the parts of each turn in their order."""
    for statement in (
        """CREATE TABLE chat_image (
            id TEXT PRIMARY KEY, session_id TEXT NOT NULL REFERENCES session(id) ON DELETE CASCADE,
            number INTEGER NOT NULL, sha256 TEXT NOT NULL REFERENCES blob(sha256), name TEXT NOT NULL,
            width_px INTEGER NOT NULL, height_px INTEGER NOT NULL, waiting INTEGER NOT NULL DEFAULT 0,
            crop_of INTEGER, x0 REAL, y0 REAL, x1 REAL, y1 REAL,
            reading TEXT CHECK (reading IS NULL OR json_valid(reading)),
            UNIQUE (session_id, number), UNIQUE (session_id, sha256))""",
        "CREATE INDEX chat_image_blob ON chat_image(sha256)",
        """CREATE TABLE chat_turn (
            id TEXT PRIMARY KEY, session_id TEXT NOT NULL REFERENCES session(id) ON DELETE CASCADE,
            parent_id TEXT REFERENCES chat_turn(id) ON DELETE CASCADE,
            role TEXT NOT NULL CHECK (role IN ('user', 'assistant')),
            status TEXT NOT NULL CHECK (status IN ('done', 'stopped', 'failed')),
            created_at TEXT NOT NULL, run TEXT CHECK (run IS NULL OR json_valid(run)))""",
        "CREATE INDEX chat_turn_session ON chat_turn(session_id)",
        "CREATE INDEX chat_turn_parent ON chat_turn(parent_id)",
        # A part is a text or an image.
        """CREATE TABLE chat_part (
            turn_id TEXT NOT NULL REFERENCES chat_turn(id) ON DELETE CASCADE, ord INTEGER NOT NULL,
            text TEXT, quoted INTEGER NOT NULL DEFAULT 0,
            image_sha256 TEXT REFERENCES blob(sha256), alt TEXT NOT NULL DEFAULT '', crop_of TEXT,
            PRIMARY KEY (turn_id, ord), CHECK ((text IS NULL) <> (image_sha256 IS NULL)))""",
        "CREATE INDEX chat_part_blob ON chat_part(image_sha256)",
    ):
        db.execute(statement)


@migrations()
def m006_traces(db: Database) -> None:
    """Answers that were looked into: what was fed, and the recording as a blob (trace/store_format.py)."""
    for statement in (
        """CREATE TABLE inspection (
            id TEXT PRIMARY KEY, session_id TEXT NOT NULL REFERENCES session(id) ON DELETE CASCADE,
            created_at TEXT NOT NULL, question TEXT NOT NULL, answer TEXT NOT NULL, model TEXT NOT NULL,
            adapter TEXT, seconds REAL NOT NULL, trace_seconds REAL NOT NULL,
            trace_sha256 TEXT NOT NULL REFERENCES blob(sha256),
            tokens TEXT NOT NULL CHECK (json_valid(tokens)), words TEXT NOT NULL CHECK (json_valid(words)),
            notes TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(notes)))""",
        "CREATE INDEX inspection_session ON inspection(session_id, created_at)",
        "CREATE INDEX inspection_blob ON inspection(trace_sha256)",
        """CREATE TABLE inspection_image (
            inspection_id TEXT NOT NULL REFERENCES inspection(id) ON DELETE CASCADE, ord INTEGER NOT NULL,
            page_id TEXT NOT NULL REFERENCES page(id) ON DELETE CASCADE, sha256 TEXT NOT NULL,
            x0 REAL NOT NULL, y0 REAL NOT NULL, x1 REAL NOT NULL, y1 REAL NOT NULL,
            line TEXT CHECK (line IS NULL OR json_valid(line)),
            piece_from INTEGER, piece_to INTEGER, PRIMARY KEY (inspection_id, ord))""",
        "CREATE INDEX inspection_image_page ON inspection_image(page_id)",
    ):
        db.execute(statement)


@migrations()
def m005_adapters(db: Database) -> None:
    """Adapters, who reads with which, the trainings that made them, and lines that nothing is learned from."""
    for statement in (
        """CREATE TABLE adapter (
            id TEXT PRIMARY KEY, owner TEXT NOT NULL, name TEXT NOT NULL, notes TEXT NOT NULL DEFAULT '',
            facts TEXT NOT NULL CHECK (json_valid(facts)), config TEXT NOT NULL CHECK (json_valid(config)),
            weights_sha256 TEXT NOT NULL REFERENCES blob(sha256),
            source TEXT NOT NULL CHECK (source IN ('trained', 'imported')), created_at TEXT NOT NULL,
            verdict TEXT CHECK (verdict IS NULL OR json_valid(verdict)),
            active INTEGER NOT NULL DEFAULT 0)""",
        "CREATE INDEX adapter_owner ON adapter(owner, created_at)",
        "CREATE INDEX adapter_blob ON adapter(weights_sha256)",
        # No adapter: this session is read with the base model, whatever its owner uses elsewhere.
        """CREATE TABLE session_adapter (
            session_id TEXT PRIMARY KEY REFERENCES session(id) ON DELETE CASCADE,
            adapter_id TEXT REFERENCES adapter(id) ON DELETE CASCADE)""",
        """CREATE TABLE training (
            id TEXT PRIMARY KEY, owner TEXT NOT NULL, name TEXT NOT NULL, state TEXT NOT NULL,
            settings TEXT NOT NULL CHECK (json_valid(settings)), lines INTEGER NOT NULL,
            held_lines INTEGER NOT NULL, held_pages INTEGER NOT NULL, message TEXT NOT NULL DEFAULT '',
            adapter_id TEXT REFERENCES adapter(id) ON DELETE SET NULL,
            created_at TEXT NOT NULL, updated_at TEXT NOT NULL)""",
        "CREATE INDEX training_owner ON training(owner, created_at)",
        """CREATE TABLE line_left_out (
            line_id TEXT PRIMARY KEY REFERENCES line(id) ON DELETE CASCADE)""",
    ):
        db.execute(statement)


@migrations()
def m004_documents(db: Database) -> None:
    """Documents taken in page by page, and what was asked of them."""
    for statement in (
        # How far the background work got is kept with the document: it goes on after a restart.
        """CREATE TABLE document (
            id TEXT PRIMARY KEY, session_id TEXT NOT NULL REFERENCES session(id) ON DELETE CASCADE,
            asset_id TEXT NOT NULL UNIQUE REFERENCES asset(id) ON DELETE CASCADE, pages INTEGER NOT NULL,
            state TEXT NOT NULL CHECK (state IN ('queued', 'running', 'paused', 'done', 'failed', 'cancelled')),
            message TEXT NOT NULL DEFAULT '', created_at TEXT NOT NULL, updated_at TEXT NOT NULL)""",
        "CREATE INDEX document_session ON document(session_id)",
        "CREATE INDEX document_state ON document(state)",
        """CREATE TABLE document_page (
            document_id TEXT NOT NULL REFERENCES document(id) ON DELETE CASCADE, idx INTEGER NOT NULL,
            width REAL NOT NULL, height REAL NOT NULL, unit TEXT NOT NULL CHECK (unit IN ('pt', 'px')),
            words TEXT NOT NULL CHECK (json_valid(words)), source TEXT NOT NULL,
            notes TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(notes)),
            PRIMARY KEY (document_id, idx))""",
        """CREATE TABLE document_turn (
            id TEXT PRIMARY KEY, session_id TEXT NOT NULL REFERENCES session(id) ON DELETE CASCADE,
            question TEXT NOT NULL, asked_as TEXT NOT NULL, answer TEXT NOT NULL, found INTEGER NOT NULL,
            why TEXT NOT NULL, seconds REAL NOT NULL,
            citations TEXT NOT NULL CHECK (json_valid(citations)),
            scope TEXT NOT NULL CHECK (json_valid(scope)), created_at TEXT NOT NULL)""",
        "CREATE INDEX document_turn_session ON document_turn(session_id, created_at)",
    ):
        db.execute(statement)


@migrations()
def m007_comparisons(db: Database) -> None:
    """What a model says without and with an adapter, and the strips that it was asked about."""
    for statement in (
        """CREATE TABLE comparison (
            id TEXT PRIMARY KEY, session_id TEXT NOT NULL REFERENCES session(id) ON DELETE CASCADE,
            created_at TEXT NOT NULL, found TEXT NOT NULL CHECK (json_valid(found)))""",
        "CREATE INDEX comparison_session ON comparison(session_id, created_at)",
        """CREATE TABLE comparison_image (
            comparison_id TEXT NOT NULL REFERENCES comparison(id) ON DELETE CASCADE, ord INTEGER NOT NULL,
            sha256 TEXT NOT NULL REFERENCES blob(sha256), PRIMARY KEY (comparison_id, ord))""",
        "CREATE INDEX comparison_image_blob ON comparison_image(sha256)",
    ):
        db.execute(statement)
