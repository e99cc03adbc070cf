"""A data folder of every released schema opens in this version, with all that was in it; a backup of it too."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlite_utils import Database as SqliteDatabase

from tests.store.kept import OWNER, Kept, png
from vlm_studio.store.backup import FORMAT, VERSION, Backups
from vlm_studio.store.migrations import migrations

NOW = "2026-11-24T10:00:00.000000+00:00"
SESSION, ASSET, PAGE, LINE = ("01" + letter * 24 for letter in "abcd")
NAMES = [step.name for step in migrations.pending(SqliteDatabase(memory=True))]


def m001(db: sqlite3.Connection, folder: Path) -> None:
    """A session with a file and its page, as the first version wrote them."""
    data = png()
    sha256 = hashlib.sha256(data).hexdigest()
    blob = folder / "blobs" / sha256[:2] / sha256
    blob.parent.mkdir(parents=True)
    blob.write_bytes(data)
    db.execute(
        "INSERT INTO session VALUES (?, ?, 'transcribe', 'Diary', ?, ?, 0, 0, NULL, '{}')",
        (SESSION, OWNER, NOW, NOW),
    )
    db.execute("INSERT INTO blob VALUES (?, 'image/png', ?, ?)", (sha256, len(data), NOW))
    db.execute(
        "INSERT INTO asset VALUES (?, ?, 0, ?, 'image/png', 'a.png', ?)", (ASSET, SESSION, sha256, len(data))
    )
    db.execute("INSERT INTO page VALUES (?, ?, 0, ?, 8, 8, NULL, NULL)", (PAGE, ASSET, sha256))
    db.execute(
        "INSERT INTO passage (session_id, kind, ref, text, folded) VALUES (?, 'title', ?, 'Diary', 'diary')",
        (SESSION, SESSION),
    )


def m002(db: sqlite3.Connection, folder: Path) -> None:
    """A line with what a reader and then a person made of it."""
    db.execute("INSERT INTO page_reading VALUES (?, 'fast', 1.0, ?, '[]')", (PAGE, NOW))
    db.execute("INSERT INTO line VALUES (?, ?, 0, 1, 1, 7, 7, NULL, 0, 0, 2, NULL, NULL)", (LINE, PAGE))
    for number, text, author in ((1, "teh cat", "reader"), (2, "the cat", "person")):
        db.execute(
            "INSERT INTO line_version VALUES (?, ?, ?, ?, ?, ?, 0.9, ?, '[]', '[]')",
            (LINE, number, number - 1 or None, text, author, author, NOW),
        )


RELEASED: dict[str, Callable[[sqlite3.Connection, Path], None]] = {
    "m001_sessions": m001,
    "m002_transcripts": m002,
}
"""What each step's own version wrote. A released step that writes something new gets its own entry."""


def folder_of(version: str, folder: Path) -> Path:
    """A data folder as the app left it when `version` was the newest step."""
    folder.mkdir()
    db = SqliteDatabase(folder / "studio.db")
    after = NAMES[NAMES.index(version) + 1 :]
    migrations.apply(db, stop_before=after[:1])
    for name in NAMES[: NAMES.index(version) + 1]:
        if name in RELEASED:
            RELEASED[name](db.conn, folder)
    db.conn.commit()
    db.conn.close()
    return folder


@pytest.mark.parametrize("version", NAMES)
def test_what_an_older_version_kept_is_all_here(version: str, tmp_path: Path) -> None:
    kept = Kept(folder_of(version, tmp_path / "data"))
    try:
        (session,) = kept.sessions.list(OWNER)
        assert (session.id, session.title) == (SESSION, "Diary")
        (page,) = kept.sessions.pages(OWNER, SESSION)
        assert kept.sessions.page_image(OWNER, page.id) == png()
        assert [hit.session_id for hit in kept.index.search(OWNER, "diary")] == [SESSION]
        if version != "m001_sessions":
            (line,) = kept.transcripts.lines(OWNER, page.id)
            assert (line.reading.text, line.author, line.versions) == ("the cat", "person", 2)
            assert kept.transcripts.undo(OWNER, line.id).reading.text == "teh cat"
        kept.sessions.rename(OWNER, SESSION, "Still writable")
        assert not migrations.pending(kept.database.connection())
        assert kept.database.connection().conn.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert kept.database.connection().conn.execute("PRAGMA foreign_key_check").fetchone() is None
    finally:
        kept.database.close()


def zipped(folder: Path, target: Path) -> Path:
    """A backup as the version that left `folder` would have written it: no newer table is in it."""
    files = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    listed = {
        name: {"sha256": hashlib.sha256(data).hexdigest(), "n_bytes": len(data)}
        for name, data in files.items()
    }
    manifest = {"format": FORMAT, "version": VERSION, "app": "0.1.0", "created_at": NOW, "files": listed}
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("manifest.json", json.dumps(manifest))
        for name, data in files.items():
            archive.writestr(name, data)
    return target


@pytest.mark.parametrize("version", NAMES)
def test_a_backup_of_an_older_version_is_restored(version: str, tmp_path: Path) -> None:
    source = zipped(folder_of(version, tmp_path / "old"), tmp_path / "backup.zip")
    fresh = Kept(tmp_path / "new")
    try:
        assert Backups(fresh.database, fresh.blobs).restore(source).sessions == 1
        assert fresh.sessions.get(OWNER, SESSION).title == "Diary"
        assert fresh.sessions.page_image(OWNER, PAGE) == png()
        assert not migrations.pending(fresh.database.connection())
    finally:
        fresh.database.close()
