"""One database file: a connection per reading thread, one writer at a time, foreign faults translated."""

from __future__ import annotations

import sqlite3
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlite_utils import Database as SqliteDatabase

from vlm_studio.core.errors import InvalidRequest, StoreError
from vlm_studio.store.migrations import migrations

_PRAGMAS = ("foreign_keys=ON", "busy_timeout=5000", "synchronous=NORMAL", "journal_mode=WAL")


class Database:
    """Opens and migrates on construction. Raises StoreError where the file cannot be used.

    SQLite allows one writer: `write` takes a lock of ours and begins IMMEDIATE, so that a read
    that turns into a write never fails with a stale snapshot (SQLITE_BUSY_SNAPSHOT).
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._write_lock = threading.RLock()
        self._local = threading.local()
        # Weak: the connection of a thread that ended closes with it, and its files with that.
        self._all: weakref.WeakSet[SqliteDatabase] = weakref.WeakSet()
        with translated():
            path.parent.mkdir(parents=True, exist_ok=True)
            migrations.apply(self.connection())

    def connection(self) -> SqliteDatabase:
        """This thread's connection, opened at first use."""
        db: SqliteDatabase | None = getattr(self._local, "db", None)
        if db is None:
            raw = sqlite3.connect(self.path, check_same_thread=False)
            for pragma in _PRAGMAS:
                raw.execute(f"PRAGMA {pragma}")
            db = SqliteDatabase(raw)
            self._all.add(db)
            self._local.db = db
        return db

    @contextmanager
    def read(self) -> Iterator[SqliteDatabase]:
        with translated():
            yield self.connection()

    @contextmanager
    def write(self) -> Iterator[SqliteDatabase]:
        """One user-visible change: everything inside happens, or nothing. Nests by savepoint."""
        with self._write_lock, translated():
            db = self.connection()
            if db.conn.in_transaction:
                with db.atomic():
                    yield db
                return
            db.conn.execute("BEGIN IMMEDIATE")
            try:
                yield db
            except BaseException:
                db.rollback()
                raise
            db.commit()

    @contextmanager
    def snapshot(self) -> Iterator[SqliteDatabase]:
        """Several reads of one and the same state, whatever others write meanwhile."""
        with translated():
            db = self.connection()
            if db.conn.in_transaction:
                yield db
                return
            db.conn.execute("BEGIN")
            try:
                yield db
            finally:
                db.rollback()

    def replace_content(self, source: Path, first: Callable[[], None]) -> None:
        """Make everything what the database file `source` holds, for all connections at once.

        `first` runs before, while no other thread of this process can write: it keeps a copy.
        """
        with self._write_lock, translated():
            first()
            raw = sqlite3.connect(source)
            try:
                raw.backup(self.connection().conn)
            finally:
                raw.close()
            migrations.apply(self.connection())

    def close(self) -> None:
        for db in list(self._all):
            db.conn.close()
        self._all.clear()
        self._local = threading.local()


@contextmanager
def translated() -> Iterator[None]:
    """sqlite3 and disk faults become StoreError, once, here."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if "full" in str(error):
            raise StoreError(
                "The disk is full, so nothing was saved.", "Free some space and try again."
            ) from error
        raise StoreError(f"The database refused: {error}.", "Try again in a moment.") from error
    except sqlite3.IntegrityError:
        # A constraint of ours: a fault of the program, not of the disk.
        raise
    except sqlite3.DatabaseError as error:
        raise StoreError(f"The database is damaged: {error}.", "Restore a backup of studio.db.") from error
    except UnicodeEncodeError as error:
        # JSON from outside may hold one of the two numbers of a character without the other.
        raise InvalidRequest(
            "A text holds half of a character, which cannot be kept.", "Type it anew."
        ) from error
    except OSError as error:
        raise StoreError(
            f"Saving failed: {error.strerror or error}.", "Check the data folder and its free space."
        ) from error
