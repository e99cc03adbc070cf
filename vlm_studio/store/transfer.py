"""Sessions as a zip file that another copy of the app can take in: rows as JSON lines, files by their hash.

What goes along is decided by the foreign keys (store/references.py): every row that leads to the session,
and every blob such a row keeps. An import gives all rows new ids, belongs to whoever imports, and happens
whole or not at all::

    manifest.json            format, version, hash of every part
    sessions/000001.jsonl    {"table": "line", "row": {...}} a line, parents first
    blobs/<sha256>
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import sqlite3
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from sqlite_utils import Database as SqliteDatabase

from vlm_studio import __version__
from vlm_studio.core.errors import DamagedFile, NotFound, StoreError, StudioError, UserInputError
from vlm_studio.core.ids import utc_now
from vlm_studio.core.sessions import ArchiveReport
from vlm_studio.store.archive import (
    BLOB_BYTES,
    MANIFEST,
    Archive,
    ArchiveLimits,
    hash_of,
    kind_of,
    manifest_of,
    new_file,
    read_capped,
)
from vlm_studio.store.blobs import BlobStore
from vlm_studio.store.database import Database
from vlm_studio.store.import_plan import ImportPlan, rows_in

FORMAT = "vlm-studio-sessions"
VERSION = 1
_ENTRY = re.compile(r"manifest\.json|sessions/[0-9]{6}\.jsonl|blobs/[0-9a-f]{64}")
_PROBLEM = "Left out “{title}”: {reason}"

Verify = Callable[[str, str], object]
"""Looks at an imported session (owner, id) as the app will; raises where it cannot be used."""


class Transfer:
    """Every method takes the owner; only their sessions leave, and what comes in is theirs."""

    def __init__(self, database: Database, blobs: BlobStore, limits: ArchiveLimits | None = None) -> None:
        self.database, self.blobs = database, blobs
        self.limits = limits or ArchiveLimits()

    @staticmethod
    def kind_of(path: Path) -> str:
        """``vlm-studio-sessions``, ``vlm-studio-backup``, or empty for any other file."""
        return kind_of(path)

    def rows(self, owner: str, session_id: str) -> dict[str, list[dict[str, Any]]]:
        """Every row of a session by table, as the database has it. Raises NotFound."""
        with self.database.read() as db:
            self._require(db, owner, session_id)
            found: dict[str, list[dict[str, Any]]] = {}
            for table, row in self._rows(db, session_id):
                found.setdefault(table, []).append(row)
        return found

    def export(self, owner: str, session_ids: Sequence[str], target: Path) -> ArchiveReport:
        """Write sessions to a zip file; no ids: all of the owner's that are not deleted.

        A session whose stored file is damaged is left out and named in the report; where only one was
        asked for that is raised. Raises NotFound, InvalidRequest where `target` exists, StoreError.
        """
        ids = list(dict.fromkeys(session_ids)) or self._all(owner)
        problems: list[str] = []
        parts: dict[str, str] = {}
        blobs: dict[str, dict[str, Any]] = {}
        with new_file(target) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
            for number, session_id in enumerate(ids, start=1):
                with self.database.snapshot() as db:
                    title = self._require(db, owner, session_id)
                    try:
                        self._write_blobs(db, archive, session_id, blobs)
                    except (NotFound, StoreError) as error:
                        if len(ids) == 1:
                            raise
                        problems.append(_PROBLEM.format(title=title, reason=error.message))
                        continue
                    name = f"sessions/{number:06d}.jsonl"
                    parts[name] = self._write_rows(db, archive, name, session_id)
            manifest = {
                "format": FORMAT, "version": VERSION, "app": __version__, "created_at": utc_now(),
                "sessions": parts, "blobs": blobs,
            }  # fmt: skip
            archive.writestr(MANIFEST, json.dumps(manifest, ensure_ascii=False))
        return ArchiveReport(len(parts), len(blobs), tuple(problems))

    def import_archive(self, owner: str, path: Path, verify: Verify) -> ArchiveReport:
        """Take in the sessions of a zip file under new ids: all of them, or none.

        `verify` is called on each before it is kept. Raises UserInputError (UnsupportedFile, DamagedFile,
        FileTooLarge) for a file that was not made by this app, was changed or is broken; StoreError.
        """
        archive = Archive(path, _ENTRY, self.limits)
        try:
            manifest = manifest_of(archive, FORMAT, VERSION)
            parts, blobs = _parts(manifest, archive)
            with self.database.read() as db:
                plan = ImportPlan(self.blobs.schema, db, owner, frozenset(blobs))
            for name, sha256 in parts.items():
                _check_part(archive, name, sha256)
                with archive.open(name) as file:
                    for table, row in rows_in(file):
                        plan.collect(table, row)
            for sha256, mime in blobs.items():
                with archive.open(f"blobs/{sha256}") as file:
                    data = read_capped(file, BLOB_BYTES, "blobs")
                if hashlib.sha256(data).hexdigest() != sha256:
                    raise _changed("a stored file")
                self.blobs.put(data, mime)
            session_ids = self._insert(owner, archive, list(parts), plan, verify)
        finally:
            archive.close()
        return ArchiveReport(len(session_ids), len(blobs), session_ids=session_ids)

    def _insert(
        self, owner: str, archive: Archive, parts: list[str], plan: ImportPlan, verify: Verify
    ) -> tuple[str, ...]:
        try:
            with self.database.write() as db:
                # A row may come before the one of its own table that it refers to.
                db.execute("PRAGMA defer_foreign_keys = ON")
                plan.assign(db)
                for name in parts:
                    with archive.open(name) as file:
                        for table, row in rows_in(file):
                            _insert_row(db, table, plan.renewed(table, row))
                session_ids = plan.session_ids()
                for session_id in session_ids:
                    verify(owner, session_id)
                return session_ids
        except (UserInputError, StoreError):
            raise
        except (
            sqlite3.IntegrityError, StudioError, ValueError, TypeError, KeyError, IndexError, OverflowError,
            RecursionError,
        ) as error:  # fmt: skip
            raise DamagedFile(
                "The file's content does not fit together, so nothing was imported.", "Export it again."
            ) from error

    def _all(self, owner: str) -> list[str]:
        with self.database.read() as db:
            rows = db.execute(
                "SELECT id FROM session WHERE owner = ? AND deleted_at IS NULL ORDER BY created_at, id",
                (owner,),
            ).fetchall()
        return [str(row[0]) for row in rows]

    @staticmethod
    def _require(db: SqliteDatabase, owner: str, session_id: str) -> str:
        row = db.execute(
            "SELECT title FROM session WHERE id = ? AND owner = ? AND deleted_at IS NULL", (session_id, owner)
        ).fetchone()
        if row is None:
            raise NotFound("There is no such session.", "It may have been deleted.")
        return str(row[0])

    def _rows(self, db: SqliteDatabase, session_id: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Parents first. Without the owner's name, which is nobody's business elsewhere."""
        schema = self.blobs.schema
        for table in schema.session_tables():
            cursor = db.execute(schema.rows_of_session(table), (session_id,))
            names = [str(column[0]) for column in cursor.description]
            for values in cursor:
                yield table, {n: v for n, v in zip(names, values, strict=True) if n != "owner"}

    def _write_rows(self, db: SqliteDatabase, archive: zipfile.ZipFile, name: str, session_id: str) -> str:
        digest = hashlib.sha256()
        with archive.open(name, "w", force_zip64=True) as file:
            for table, row in self._rows(db, session_id):
                line = json.dumps({"table": table, "row": row}, ensure_ascii=False, default=_bytes) + "\n"
                raw = line.encode()
                digest.update(raw)
                file.write(raw)
        return digest.hexdigest()

    def _write_blobs(
        self, db: SqliteDatabase, archive: zipfile.ZipFile, session_id: str, done: dict[str, dict[str, Any]]
    ) -> None:
        schema = self.blobs.schema
        for table, column in schema.blob_columns():
            if schema.path_to_session(table) is None:
                continue
            rows = db.execute(
                f"SELECT DISTINCT blob.sha256, blob.mime FROM ({schema.rows_of_session(table)}) AS kept "
                f'JOIN blob ON blob.sha256 = kept."{column}"',
                (session_id,),
            ).fetchall()
            for sha256, mime in rows:
                if sha256 in done:
                    continue
                data = self.blobs.trusted_bytes(sha256)
                # Pictures are packed already.
                archive.writestr(f"blobs/{sha256}", data, zipfile.ZIP_STORED)
                done[sha256] = {"mime": mime, "n_bytes": len(data)}


def _parts(manifest: dict[str, Any], archive: Archive) -> tuple[dict[str, str], dict[str, str]]:
    """(session part to its hash, blob to its media type), which are exactly what the archive holds."""
    parts, blobs = manifest.get("sessions"), manifest.get("blobs")
    if not isinstance(parts, dict) or not isinstance(blobs, dict):
        raise DamagedFile("The file's list of contents is broken.", "Export it again.")
    mimes = {str(k): str(v.get("mime")) if isinstance(v, dict) else "" for k, v in blobs.items()}
    listed = {MANIFEST, *parts, *(f"blobs/{sha256}" for sha256 in mimes)}
    if listed != archive.names:
        raise DamagedFile("The file holds other parts than it says.", "Export it again.")
    return {str(k): str(v) for k, v in sorted(parts.items())}, mimes


def _check_part(archive: Archive, name: str, sha256: str) -> None:
    with archive.open(name) as file:
        if hash_of(file)[0] != sha256:
            raise _changed("a session")


def _changed(what: str) -> DamagedFile:
    return DamagedFile(
        f"The file was changed or damaged after it was made: {what} is not what was exported.",
        "Export it again.",
    )


def _bytes(value: object) -> object:
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode()}
    raise TypeError(f"{type(value).__name__} has no JSON")


def _insert_row(db: SqliteDatabase, table: str, row: dict[str, Any]) -> None:
    """Names were checked against the schema by the plan."""
    names = ", ".join(f'"{name}"' for name in row)
    marks = ", ".join("?" * len(row))
    db.execute(f'INSERT INTO "{table}" ({names}) VALUES ({marks})', tuple(row.values()))
