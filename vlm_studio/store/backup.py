"""A copy of everything, made while the app runs, and the way back.

A backup is a zip file or a folder with the same parts. A folder is brought up to date by the next backup
into it; its older database stays beside the new one::

    manifest.json        format, version, hash and length of every file
    studio.db            one consistent state of the database
    blobs/ab/abcdef...   stored files by their hash
    traces/...           recordings of runs

A restore checks every hash, that the database is whole, and that its schema is ours to the letter, so that
no trigger comes in with it. What was there before is backed up first.
"""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from sqlite_utils import Database as SqliteDatabase

from vlm_studio import __version__
from vlm_studio.core.errors import DamagedFile, InvalidRequest, NotFound, StoreError, UnsupportedFile
from vlm_studio.core.ids import utc_now
from vlm_studio.core.sessions import ArchiveReport
from vlm_studio.store.archive import (
    BLOB_BYTES,
    MANIFEST,
    SHA256,
    Archive,
    Folder,
    hash_of,
    manifest_of,
    new_file,
    read_capped,
    require_space,
)
from vlm_studio.store.blobs import BlobStore
from vlm_studio.store.database import Database, translated
from vlm_studio.store.migrations import migrations

FORMAT = "vlm-studio-backup"
VERSION = 1
DATABASE = "studio.db"
FOLDERS = ("traces",)
"""Folders beside the database whose files go along as they are."""

_BLOB = r"blobs/[0-9a-f]{2}/[0-9a-f]{64}"
_PLAIN = rf"(?:{'|'.join(FOLDERS)})(?:/[\w-][\w.-]*)+"
_ENTRY = re.compile(rf"manifest\.json|studio\.db|{_BLOB}|{_PLAIN}", re.ASCII)
_PARTS = re.compile(rf"studio\.db|{_BLOB}|{_PLAIN}", re.ASCII)

_BELONGS = re.compile(rf"\.part-.*|blobs|{'|'.join(FOLDERS)}|(?:studio|manifest)(?:-until-\d+)?\.(?:db|json)")

Put = Callable[[str, Path, bool], None]
"""Takes (name, file, whether it is packed already) into the backup."""


class Backups:
    """Of all owners together: for whoever runs the app, not for its visitors."""

    def __init__(self, database: Database, blobs: BlobStore) -> None:
        self.database, self.blobs = database, blobs
        self.root = database.path.parent

    def create(self, target: Path) -> ArchiveReport:
        """Back up everything to `target`: a new zip file where its name ends so, a folder otherwise.

        A stored file that is damaged does not stop it; the report names it. Raises InvalidRequest where
        the zip file exists or the folder holds something else, StoreError.
        """
        folder = target.suffix.lower() != ".zip"
        if folder:
            _require_backup_folder(target, self.root)
        with translated():
            target.parent.mkdir(parents=True, exist_ok=True)
        with self.database.read() as db:
            (blob_bytes,) = db.execute("SELECT coalesce(sum(n_bytes), 0) FROM blob").fetchone()
        require_space(target.parent, int(blob_bytes) + 2 * self.database.path.stat().st_size)
        with tempfile.TemporaryDirectory(prefix=".part-", dir=target.parent) as scratch:
            state = Path(scratch) / DATABASE
            self._copy_database(state)
            if folder:
                return self._fill(state, _into_folder(target))
            with new_file(target) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
                return self._fill(state, _into_zip(archive))

    def restore(self, source: Path) -> ArchiveReport:
        """Make everything as it was in a backup, and keep a backup of what is there now in `backups/`.

        Raises UserInputError (UnsupportedFile, DamagedFile) where the backup is not whole or not of this
        app, and nothing has changed then; StoreError.
        """
        opened: Archive | Folder = Folder(source) if source.is_dir() else Archive(source, _ENTRY)
        try:
            files = _listed(manifest_of(opened, FORMAT, VERSION))
            with translated(), tempfile.TemporaryDirectory(prefix=".restore-", dir=self.root) as folder:
                state = Path(folder) / DATABASE
                for name, sha256 in files.items():
                    if not name.startswith("blobs/"):
                        _take(opened, name, sha256, Path(folder) / name)
                mimes, sessions = _checked(state)
                self._take_blobs(opened, files, mimes)
                kept = self.root / "backups" / f"before-restore-{_stamp()}.zip"
                self.database.replace_content(state, lambda: self._keep(kept))
                for name in FOLDERS:
                    if (Path(folder) / name).is_dir():
                        shutil.copytree(Path(folder) / name, self.root / name, dirs_exist_ok=True)
        finally:
            opened.close()
        with self.database.write() as db:
            db.execute("INSERT INTO passage_fts(passage_fts) VALUES ('rebuild')")
        missing = [sha256 for sha256 in mimes if not self.blobs.path_of(sha256).exists()]
        problems = tuple(f"The stored file {sha256[:12]} is in neither place." for sha256 in missing)
        return ArchiveReport(sessions, len(mimes) - len(missing), problems, kept=str(kept))

    def _keep(self, kept: Path) -> None:
        self.create(kept)

    def _copy_database(self, path: Path) -> None:
        with self.database.read() as db, closing(sqlite3.connect(path)) as copy:
            db.conn.backup(copy)
            # One file that stands for itself, without a write-ahead log beside it.
            copy.execute("PRAGMA journal_mode=DELETE")
            if copy.execute("PRAGMA quick_check").fetchone()[0] != "ok":
                raise StoreError("The database is damaged.", "Restore an earlier backup of it.")

    def _fill(self, state: Path, put: Put) -> ArchiveReport:
        files: dict[str, dict[str, Any]] = {}
        problems: list[str] = []
        with closing(sqlite3.connect(state)) as copy:
            sessions = int(copy.execute("SELECT count(*) FROM session").fetchone()[0])
            hashes = [str(r[0]) for r in copy.execute("SELECT sha256 FROM blob ORDER BY sha256")]
        found = 0
        for sha256 in hashes:
            path = self.blobs.path_of(sha256)
            try:
                data = self.blobs.trusted_bytes(sha256)
            except (NotFound, StoreError) as error:
                # One that was cleaned up since is missed by nobody.
                if self.blobs.references(sha256):
                    problems.append(f"Left out {sha256[:12]}: {error.message}")
                continue
            put(f"blobs/{sha256[:2]}/{sha256}", path, True)
            files[f"blobs/{sha256[:2]}/{sha256}"] = {"sha256": sha256, "n_bytes": len(data)}
            found += 1
        for name, path in [(DATABASE, state), *self._plain_files()]:
            put(name, path, False)
            with path.open("rb") as file:
                sha256, length = hash_of(file)
            files[name] = {"sha256": sha256, "n_bytes": length}
        manifest = {
            "format": FORMAT, "version": VERSION, "app": __version__, "created_at": utc_now(), "files": files,
        }  # fmt: skip
        listed = state.with_name(MANIFEST)
        listed.write_text(json.dumps(manifest), "utf-8")
        put(MANIFEST, listed, False)
        return ArchiveReport(sessions, found, tuple(problems))

    def _plain_files(self) -> Iterator[tuple[str, Path]]:
        for folder in FOLDERS:
            for path in sorted((self.root / folder).rglob("*")):
                name = path.relative_to(self.root).as_posix()
                if path.is_file() and not path.is_symlink() and _PARTS.fullmatch(name):
                    yield name, path

    def _take_blobs(self, opened: Archive | Folder, files: dict[str, str], mimes: dict[str, str]) -> None:
        for name, sha256 in files.items():
            if not name.startswith("blobs/") or sha256 not in mimes:
                continue
            with opened.open(name) as file:
                data = read_capped(file, BLOB_BYTES, name)
            if self.blobs.put(data, mimes[sha256]) != sha256:
                raise _changed(name)


def _into_zip(archive: zipfile.ZipFile) -> Put:
    def put(name: str, path: Path, packed: bool) -> None:
        archive.write(path, name, zipfile.ZIP_STORED if packed else zipfile.ZIP_DEFLATED)

    return put


def _into_folder(target: Path) -> Put:
    stamp = _stamp()

    def put(name: str, path: Path, packed: bool) -> None:
        place = target / name
        if packed and _same(path, place):
            return
        with translated():
            place.parent.mkdir(parents=True, exist_ok=True)
            part = place.with_name(f".part-{place.name}")
            shutil.copyfile(path, part)
            if name in {DATABASE, MANIFEST} and place.exists():
                place.rename(target / f"{place.stem}-until-{stamp}{place.suffix}")
            part.replace(place)

    return put


def _same(path: Path, place: Path) -> bool:
    """Whether a blob is in the backup already, whole."""
    if not place.exists() or place.stat().st_size != path.stat().st_size:
        return False
    with place.open("rb") as file:
        return hash_of(file)[0] == path.name


def _require_backup_folder(target: Path, root: Path) -> None:
    """Empty, new, or an earlier backup. Raises InvalidRequest."""
    with translated():
        target.mkdir(parents=True, exist_ok=True)
        strange = [p.name for p in target.iterdir() if not _BELONGS.fullmatch(p.name)]
    if strange or root.resolve() in (target.resolve(), *target.resolve().parents):
        raise InvalidRequest(
            f"The folder {target} holds something else than a backup.",
            "Name an empty folder, or an earlier backup.",
        )


def _listed(manifest: dict[str, Any]) -> dict[str, str]:
    """Name to hash of every file of a backup; names are of the form we write, whatever is listed."""
    files = manifest.get("files")
    found: dict[str, str] = {}
    for name, facts in files.items() if isinstance(files, dict) else ():
        sha256 = str(facts.get("sha256")) if isinstance(facts, dict) else ""
        blob = name.startswith("blobs/")
        place = f"blobs/{sha256[:2]}/{sha256}"
        if not _PARTS.fullmatch(name) or not SHA256.fullmatch(sha256) or (blob and name != place):
            raise DamagedFile("The backup's list of contents is broken.", "Use another backup.")
        found[name] = sha256
    if DATABASE not in found:
        raise DamagedFile("The backup holds no database.", "Use another backup.")
    return found


def _take(opened: Archive | Folder, name: str, sha256: str, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    with opened.open(name) as file, place.open("wb") as target:
        if hash_of(file, target)[0] != sha256:
            raise _changed(name)


def _changed(name: str) -> DamagedFile:
    return DamagedFile(f"{name} in the backup is not what was saved.", "Use another backup.")


def _checked(state: Path) -> tuple[dict[str, str], int]:
    """(hash to media type of every blob, number of sessions) of a database that is whole and ours."""
    try:
        with closing(sqlite3.connect(state)) as raw:
            # First: nothing that stands in a foreign schema is ever run.
            _require_our_schema(SqliteDatabase(raw))
            if raw.execute("PRAGMA integrity_check").fetchone()[0] != "ok":
                raise DamagedFile("The database in the backup is damaged.", "Use another backup.")
            if raw.execute("PRAGMA foreign_key_check").fetchone() is not None:
                raise DamagedFile("The database in the backup does not fit together.", "Use another backup.")
            mimes = {str(s): str(m) for s, m in raw.execute("SELECT sha256, mime FROM blob")}
            if not all(map(SHA256.fullmatch, mimes)):
                raise DamagedFile("The database in the backup is damaged.", "Use another backup.")
            return mimes, int(raw.execute("SELECT count(*) FROM session").fetchone()[0])
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        raise DamagedFile("The database in the backup is damaged.", "Use another backup.") from error


def _require_our_schema(db: SqliteDatabase) -> None:
    """The schema is what our own migrations make up to the same step."""
    applied = [m.name for m in migrations.applied(db)]
    ours = SqliteDatabase(memory=True)
    names = [m.name for m in migrations.pending(ours)]
    if not applied or applied != names[: len(applied)]:
        raise UnsupportedFile(
            "The backup was made by another version of the app than this one.", "Update VLM Studio first."
        )
    migrations.apply(ours, stop_before=names[len(applied) : len(applied) + 1])
    if _schema_of(db) != _schema_of(ours):
        raise UnsupportedFile("The backup's database is not as this app makes it.", "Use another backup.")


def _schema_of(db: SqliteDatabase) -> set[tuple[str, ...]]:
    rows = db.conn.execute("SELECT type, name, tbl_name, coalesce(sql, '') FROM sqlite_master")
    return {tuple(str(v) for v in row) for row in rows if not str(row[1]).startswith("sqlite_")}


def _stamp() -> str:
    return re.sub(r"[^0-9]", "", utc_now())[:20]
