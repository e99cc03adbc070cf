"""Files by the hash of their content: ``blobs/ab/abcdef...``. A page uploaded twice is stored once.

A blob lives as long as a row refers to it (store/references.py). A new one is safe from `cleanup` for an
hour, so that whoever stored it has time to write the row.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
import tempfile
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path

from sqlite_utils import Database as SqliteDatabase

from vlm_studio.core.errors import InvalidRequest, NotFound, StoreError
from vlm_studio.core.ids import utc_now
from vlm_studio.core.sessions import StorageUse
from vlm_studio.store.database import Database, translated
from vlm_studio.store.references import Schema

log = logging.getLogger(__name__)

GRACE_SECONDS = 3600.0
"""A blob younger than this is never cleaned up."""

_HASH = re.compile(r"[0-9a-f]{64}")
_MIME = re.compile(r"[a-z0-9]+/[a-z0-9][a-z0-9.+-]{0,100}")
_TEMP_PREFIX = ".tmp-"


class BlobStore:
    """Content-addressed files under `root`, with a row each. Safe for threads and a second process."""

    def __init__(self, root: Path, database: Database) -> None:
        self.root = root
        self.database = database

    @cached_property
    def schema(self) -> Schema:
        with self.database.read() as db:
            return Schema.of(db)

    def path_of(self, sha256: str) -> Path:
        """Where the blob lies. Never leaves the data folder: anything but a hash raises NotFound."""
        if not _HASH.fullmatch(sha256):
            raise NotFound("There is no such file.", "It may have been deleted.")
        return self.root / sha256[:2] / sha256

    def put(self, data: bytes, mime: str) -> str:
        """Store `data` and return its SHA-256 in hex. Storing it again costs nothing.

        Raises StoreError where it cannot be written (disk full); nothing half-written is left.
        """
        if not _MIME.fullmatch(mime):
            raise InvalidRequest(f"{mime[:60]!r} is not a media type.", "Give one such as image/png.")
        sha256 = hashlib.sha256(data).hexdigest()
        path = self.path_of(sha256)
        if not self._intact(path, data):
            self._write(path, data)
        with self.database.write() as db:
            # First the row, which takes the write lock: a clean-up elsewhere is over by then, or yet to come.
            db.execute(
                "INSERT INTO blob (sha256, mime, n_bytes, stored_at) VALUES (?, ?, ?, ?) "
                "ON CONFLICT (sha256) DO UPDATE SET stored_at = excluded.stored_at",
                (sha256, mime, len(data), utc_now()),
            )
            if not path.exists():
                self._write(path, data)
        return sha256

    def read(self, owner: str, sha256: str) -> bytes:
        """The content, for somebody who has it in one of their sessions.

        Raises NotFound where it is missing or only others have it, StoreError where it is damaged.
        """
        if not self.owned_by(owner, sha256):
            raise NotFound("There is no such file.", "It may have been deleted.")
        return self.trusted_bytes(sha256)

    def trusted_bytes(self, sha256: str) -> bytes:
        """The content, for callers that came by the hash through a row they may see.

        Raises NotFound where it is missing, StoreError where the file is not what was stored.
        """
        path = self.path_of(sha256)
        try:
            data = path.read_bytes()
        except FileNotFoundError as error:
            raise NotFound(
                "A stored file is missing from the data folder.", "Restore a backup, or upload it again."
            ) from error
        except OSError as error:
            raise StoreError(
                f"A stored file cannot be read: {error.strerror or error}.", "Check the data folder."
            ) from error
        if hashlib.sha256(data).hexdigest() != sha256:
            raise StoreError(
                "A stored file is damaged: its content is not what was saved.",
                "Upload it again, or restore a backup.",
            )
        return data

    def owned_by(self, owner: str, sha256: str) -> bool:
        self.path_of(sha256)
        with self.database.read() as db:
            return any(db.execute(query, (sha256, owner)).fetchone() for query in self.schema.owner_queries())

    def shown(self, hashes: Iterable[str]) -> set[str]:
        """Those of `hashes` that are in a session which is not deleted, whoever's it is."""
        queries = self.schema.shown_queries()
        with self.database.read() as db:
            return {sha256 for sha256 in hashes if any(db.execute(q, (sha256,)).fetchone() for q in queries)}

    def mime_of(self, sha256: str) -> str:
        """Raises NotFound."""
        with self.database.read() as db:
            row = db.execute("SELECT mime FROM blob WHERE sha256 = ?", (sha256,)).fetchone()
        if row is None:
            raise NotFound("There is no such file.", "It may have been deleted.")
        return str(row[0])

    def references(self, sha256: str) -> int:
        """How many rows keep this blob."""
        with self.database.read() as db:
            return sum(
                int(db.execute(f'SELECT count(*) FROM "{t}" WHERE "{c}" = ?', (sha256,)).fetchone()[0])
                for t, c in self.schema.blob_columns()
            )

    def usage(self) -> StorageUse:
        with self.database.read() as db:
            count, n_bytes = db.execute("SELECT count(*), coalesce(sum(n_bytes), 0) FROM blob").fetchone()
            orphans, orphan_bytes = db.execute(
                f"SELECT count(*), coalesce(sum(n_bytes), 0) FROM blob WHERE {self.schema.unreferenced()}"
            ).fetchone()
            pages, page_size = (db.execute(f"PRAGMA {p}").fetchone()[0] for p in ("page_count", "page_size"))
        return StorageUse(
            int(pages) * int(page_size), int(n_bytes), int(count), int(orphan_bytes), int(orphans)
        )

    def cleanup(self, min_age: float = GRACE_SECONDS) -> tuple[int, int]:
        """Delete what nothing refers to and what a crash left behind: (files, bytes) freed.

        `min_age` in seconds; less than an hour is for tests.
        """
        limit = (datetime.now(UTC) - timedelta(seconds=min_age)).isoformat(timespec="microseconds")
        freed = [0, 0]
        with self.database.write() as db:
            # The DELETE takes the write lock before any file goes, so that a `put` of the same content
            # either came before and is seen here, or comes after and writes the file again.
            gone = [
                str(row[0])
                for row in db.execute(
                    "DELETE FROM blob WHERE stored_at <= ? "
                    f"AND {self.schema.unreferenced()} RETURNING sha256",
                    (limit,),
                ).fetchall()
            ]
            for path in [*map(self.path_of, gone), *self._strays(db, time.time() - min_age)]:
                _remove(path, freed)
        return freed[0], freed[1]

    def _strays(self, db: SqliteDatabase, before: float) -> Iterator[Path]:
        """Old files without a row: temporary ones, and whole ones whose row was never written."""
        for path in sorted(self.root.glob("*/*")):
            known = _HASH.fullmatch(path.name)
            if not known and not path.name.startswith(_TEMP_PREFIX):
                continue
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime > before:
                    continue
                row = known and db.execute("SELECT 1 FROM blob WHERE sha256 = ?", (path.name,)).fetchone()
                if not row:
                    yield path

    @staticmethod
    def _intact(path: Path, data: bytes) -> bool:
        """Whether the file is there and whole: a damaged one is replaced by storing it again."""
        try:
            return path.stat().st_size == len(data) and path.read_bytes() == data
        except OSError:
            return False

    @staticmethod
    def _write(path: Path, data: bytes) -> None:
        """All of it under its name, or nothing: a temporary file beside it, synced, then renamed."""
        with translated():
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(prefix=_TEMP_PREFIX, dir=path.parent)
            temporary = Path(name)
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                temporary.replace(path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
            _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Make the new name itself durable. Windows has no such call and does not need it."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path, freed: list[int]) -> None:
    try:
        size = path.stat().st_size
        path.unlink()
    except FileNotFoundError:
        return
    except OSError:
        # On Windows a file that somebody reads cannot go; the next clean-up finds it as a stray.
        log.warning("could not delete a blob", exc_info=True)
        return
    freed[0] += 1
    freed[1] += size
