"""What was read on pages: lines, the versions of their text, and the corrections to learn from.

A line's versions form a tree: a new one is a child of what the line said then. `current` is what it says now;
undo moves to the parent, redo back towards `redo_to`. No version is ever deleted, and none that a person
wrote is ever replaced by a reader's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlite_utils import Database as SqliteDatabase

from vlm_studio.core.documents import (
    SAME_LINE,
    Author,
    Correction,
    Line,
    LineReading,
    PageReading,
    ReadLine,
    WordReading,
)
from vlm_studio.core.errors import InvalidRequest, NotFound
from vlm_studio.core.ids import new_id, utc_now
from vlm_studio.core.sessions import KeptLine, TrainingLine
from vlm_studio.store.database import Database
from vlm_studio.store.reading_json import (
    line_of,
    quad_json,
    reading_of,
    strings_json,
    strings_of,
    words_json,
)
from vlm_studio.store.search import SearchIndex
from vlm_studio.store.session_store import SOURCE, SessionStore

LINE_CHARS = 4_000

_LINE = (
    "SELECT line.id, line.page_id, x0, y0, x1, y1, quad, col, maybe_skipped, v.text, v.confidence, v.words, "
    "v.writer, v.warnings, v.author, v.created_at, line.current, "
    "(SELECT count(*) FROM line_version WHERE line_id = line.id), v.parent IS NOT NULL, "
    "line.redo_to IS NOT NULL FROM line "
    "JOIN line_version v ON v.line_id = line.id AND v.number = line.current "
    "JOIN page ON page.id = line.page_id JOIN asset ON asset.id = page.asset_id "
    "JOIN session ON session.id = asset.session_id"
)
_SEEN = "session.owner = ? AND session.deleted_at IS NULL"


class TranscriptStore:
    """Every method takes the owner; a page or line of somebody else raises NotFound."""

    def __init__(self, database: Database, sessions: SessionStore, index: SearchIndex) -> None:
        self.database = database
        self.sessions = sessions
        self.index = index

    def save_reading(self, owner: str, page_id: str, reading: PageReading) -> tuple[KeptLine, ...]:
        """Keep a page as it was read, in one write.

        On a page read before, a line found again (same place) gets another version; what a person wrote
        stays what the line says, with the new reading in its history. Lines not found again go out of sight,
        unless a person wrote them.
        """
        now = utc_now()
        with self.database.write() as db:
            kept_page = self.sessions.page(owner, page_id)
            self.sessions.touch(owner, kept_page.session_id)
            db.execute(
                "INSERT OR REPLACE INTO page_reading (page_id, reader, seconds, created_at, notes) "
                "VALUES (?, ?, ?, ?, ?)",
                (page_id, reading.reader, reading.seconds, now, strings_json(reading.notes)),
            )
            before = list(self.lines(owner, page_id))
            for place, read in enumerate(reading.lines):
                old = _found_again(read.line, before)
                if old is None:
                    self._insert(db, kept_page.session_id, page_id, place, read, now)
                    continue
                before.remove(old)
                self._add_version(db, old.id, read.reading, "reader", read.reading.reader, now,
                                  show=old.author == "reader")  # fmt: skip
                self._move(db, old.id, place, read.line if old.author == "reader" else None)
                self._index(db, kept_page.session_id, old.id)
            for old in before:
                if old.author == "reader":
                    db.execute("UPDATE line SET removed_at = ? WHERE id = ?", (now, old.id))
                    self.index.remove("line", old.id)
                else:
                    self._place(db, page_id, old.id, old.line)
        return self.lines(owner, page_id)

    def lines(self, owner: str, page_id: str) -> tuple[KeptLine, ...]:
        """The lines of a page in reading order, as they are now."""
        self.sessions.page(owner, page_id)
        with self.database.read() as db:
            rows = db.execute(
                f"{_LINE} WHERE line.page_id = ? AND removed_at IS NULL AND {_SEEN} "
                "ORDER BY line.ord, line.id",
                (page_id, owner),
            ).fetchall()
        return tuple(map(_kept, rows))

    def line(self, owner: str, line_id: str) -> KeptLine:
        """Raises NotFound."""
        with self.database.read() as db:
            row = db.execute(f"{_LINE} WHERE line.id = ? AND {_SEEN}", (line_id, owner)).fetchone()
        if row is None:
            raise NotFound("There is no such line.", "Its session may have been deleted.")
        return _kept(row)

    def reading(self, owner: str, page_id: str) -> PageReading | None:
        """The page as it reads now, corrections included; None where nobody has read it yet."""
        kept_page = self.sessions.page(owner, page_id)
        with self.database.read() as db:
            row = db.execute(
                "SELECT reader, seconds, notes FROM page_reading WHERE page_id = ?", (page_id,)
            ).fetchone()
        lines = self.lines(owner, page_id)
        if row is None and not lines:
            return None
        reader, seconds, notes = row or ("", 0.0, "[]")
        return PageReading(
            page=kept_page.page,
            lines=tuple(kept.read for kept in lines),
            reader=str(reader),
            seconds=float(seconds),
            notes=strings_of(notes),
        )

    def correct(
        self, owner: str, line_id: str, text: str, words: Sequence[WordReading] = (), writer: str = ""
    ) -> KeptLine:
        """A person says what stands there. The same text again confirms a line; it is kept as theirs.

        `words`: their places, where the caller knows them. Raises InvalidRequest for a text too long.
        """
        clean = " ".join(text.split())
        if len(clean) > LINE_CHARS:
            raise InvalidRequest(f"A line has at most {LINE_CHARS} characters.", "Split it into two lines.")
        with self.database.write() as db:
            before = self.line(owner, line_id)
            if before.author == "person" and before.reading.text == clean:
                return before
            reading = LineReading(clean, 1.0, tuple(words), writer or owner)
            self._add_version(db, line_id, reading, "person", writer or owner, utc_now())
            self._changed(db, owner, before.page_id, line_id)
        return self.line(owner, line_id)

    def add_version(self, owner: str, line_id: str, reading: LineReading) -> KeptLine:
        """A reader read this line again, because a person asked: that is what it says now; undo goes back."""
        with self.database.write() as db:
            before = self.line(owner, line_id)
            self._add_version(db, line_id, reading, "reader", reading.reader, utc_now())
            self._changed(db, owner, before.page_id, line_id)
        return self.line(owner, line_id)

    def add_line(self, owner: str, page_id: str, read: ReadLine) -> KeptLine:
        """A line that was not found before (a region somebody drew), put where it stands in reading order."""
        with self.database.write() as db:
            session_id = self.sessions.page(owner, page_id).session_id
            self.sessions.touch(owner, session_id)
            line_id = self._insert(db, session_id, page_id, 0, read, utc_now())
            self._place(db, page_id, line_id, read.line)
        return self.line(owner, line_id)

    def remove_line(self, owner: str, line_id: str, removed: bool = True) -> None:
        """Take a line that is none out of sight, or bring it back."""
        with self.database.write() as db:
            before = self.line(owner, line_id)
            db.execute(
                "UPDATE line SET removed_at = ? WHERE id = ?", (utc_now() if removed else None, line_id)
            )
            self._changed(db, owner, before.page_id, line_id)

    def undo(self, owner: str, line_id: str) -> KeptLine:
        """One version back; nothing happens where there is none (`can_undo`)."""
        with self.database.write() as db:
            before = self.line(owner, line_id)
            db.execute(
                "UPDATE line SET redo_to = coalesce(redo_to, current), "
                "current = (SELECT parent FROM line_version "
                "WHERE line_id = line.id AND number = line.current) "
                "WHERE id = ? AND EXISTS (SELECT 1 FROM line_version "
                "WHERE line_id = line.id AND number = line.current AND parent IS NOT NULL)",
                (line_id,),
            )
            self._changed(db, owner, before.page_id, line_id)
        return self.line(owner, line_id)

    def redo(self, owner: str, line_id: str) -> KeptLine:
        """One version forward again after `undo`; nothing happens where there is none (`can_redo`)."""
        with self.database.write() as db:
            before = self.line(owner, line_id)
            row = db.execute("SELECT current, redo_to FROM line WHERE id = ?", (line_id,)).fetchone()
            parents = dict(
                db.execute("SELECT number, parent FROM line_version WHERE line_id = ?", (line_id,)).fetchall()
            )
            step, goal = row[1], row[1]
            while step is not None and parents.get(step) != row[0]:
                step = parents.get(step)
            if step is not None:
                db.execute(
                    "UPDATE line SET current = ?, redo_to = ? WHERE id = ?",
                    (step, None if step == goal else goal, line_id),
                )
            self._changed(db, owner, before.page_id, line_id)
        return self.line(owner, line_id)

    def versions(self, owner: str, line_id: str) -> tuple[Correction, ...]:
        """The whole history of a line, oldest first, with who wrote what."""
        current = self.line(owner, line_id).version
        with self.database.read() as db:
            rows = db.execute(
                "SELECT number, text, author, writer, created_at, confidence, words, warnings "
                "FROM line_version WHERE line_id = ? ORDER BY number",
                (line_id,),
            ).fetchall()
        return tuple(
            Correction(
                line_id=line_id, text=r[1], author=r[2], reader=r[3], created_at=r[4], number=r[0],
                current=r[0] == current, reading=reading_of(r[1], r[5], r[6], r[3], r[7]),
            )
            for r in rows
        )  # fmt: skip

    def corrections(
        self, owner: str, since: str | None = None, session_id: str | None = None
    ) -> tuple[TrainingLine, ...]:
        """Every line that reads now as a person wrote or confirmed it, oldest first: what to learn from.

        `since`: only those written after that time (UTC, ISO 8601).
        """
        with self.database.read() as db:
            rows = db.execute(
                "SELECT line.id, session.id, page.image_sha256, x0, y0, x1, y1, quad, col, maybe_skipped, "
                "v.text, coalesce((SELECT r.text FROM line_version r WHERE r.line_id = line.id "
                "AND r.author = 'reader' AND r.number < v.number ORDER BY r.number DESC LIMIT 1), ''), "
                f"v.writer, v.created_at, {SOURCE} "
                "FROM line JOIN line_version v ON v.line_id = line.id AND v.number = line.current "
                "JOIN page ON page.id = line.page_id JOIN asset ON asset.id = page.asset_id "
                f"JOIN session ON session.id = asset.session_id WHERE {_SEEN} AND v.author = 'person' "
                "AND removed_at IS NULL AND v.text <> '' AND v.created_at > ? "
                "AND session.id = coalesce(?, session.id) ORDER BY v.created_at, line.id",
                (owner, since or "", session_id),
            ).fetchall()
        return tuple(TrainingLine(r[0], r[1], r[2], line_of(*r[3:10]), *r[10:15]) for r in rows)

    def notes(self, owner: str, page_id: str) -> tuple[str, ...]:
        """Sentences of the reader about the page."""
        reading = self.reading(owner, page_id)
        return () if reading is None else reading.notes

    def _insert(
        self, db: SqliteDatabase, session_id: str, page_id: str, place: int, read: ReadLine, now: str
    ) -> str:
        line_id, line = new_id(), read.line
        box = line.box
        db.execute(
            "INSERT INTO line (id, page_id, ord, x0, y0, x1, y1, quad, col, maybe_skipped, current) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1)",
            (
                line_id, page_id, place, box.left, box.top, box.right, box.bottom, quad_json(line.quad),
                line.column, int(line.maybe_skipped),
            ),
        )  # fmt: skip
        self._add_version(db, line_id, read.reading, "reader", read.reading.reader, now)
        self._index(db, session_id, line_id)
        return line_id

    @staticmethod
    def _add_version(
        db: SqliteDatabase, line_id: str, reading: LineReading, author: Author, writer: str, now: str,
        show: bool = True,
    ) -> None:  # fmt: skip
        number = int(
            db.execute(
                "SELECT coalesce(max(number), 0) + 1 FROM line_version WHERE line_id = ?", (line_id,)
            ).fetchone()[0]
        )
        db.execute(
            "INSERT INTO line_version (line_id, number, parent, text, author, writer, confidence, "
            "created_at, words, warnings) "
            "VALUES (?, ?, (SELECT current FROM line WHERE id = ? AND ? > 1), ?, ?, ?, ?, ?, ?, ?)",
            (
                line_id, number, line_id, number, reading.text, author, writer, reading.confidence, now,
                words_json(reading.words), strings_json(reading.warnings),
            ),
        )  # fmt: skip
        if show:
            db.execute("UPDATE line SET current = ?, redo_to = NULL WHERE id = ?", (number, line_id))

    @staticmethod
    def _move(db: SqliteDatabase, line_id: str, place: int, line: Line | None) -> None:
        """Its new place in reading order and, where given, its newly found box."""
        db.execute("UPDATE line SET ord = ? WHERE id = ?", (place, line_id))
        if line is not None:
            box = line.box
            db.execute(
                "UPDATE line SET x0 = ?, y0 = ?, x1 = ?, y1 = ?, quad = ?, col = ?, maybe_skipped = ? "
                "WHERE id = ?",
                (
                    box.left, box.top, box.right, box.bottom, quad_json(line.quad), line.column,
                    int(line.maybe_skipped), line_id,
                ),
            )  # fmt: skip

    @staticmethod
    def _place(db: SqliteDatabase, page_id: str, line_id: str, line: Line) -> None:
        """Put a line after the last one of its column that begins above it, and make room."""
        rows = db.execute(
            "SELECT ord FROM line WHERE page_id = ? AND id <> ? AND removed_at IS NULL "
            "AND (col < ? OR (col = ? AND (y0 + y1) / 2 <= ?)) ORDER BY ord DESC LIMIT 1",
            (page_id, line_id, line.column, line.column, (line.box.top + line.box.bottom) / 2),
        ).fetchone()
        place = 0 if rows is None else int(rows[0]) + 1
        db.execute(
            "UPDATE line SET ord = ord + 1 WHERE page_id = ? AND ord >= ? AND id <> ?",
            (page_id, place, line_id),
        )
        db.execute("UPDATE line SET ord = ? WHERE id = ?", (place, line_id))

    def _changed(self, db: SqliteDatabase, owner: str, page_id: str, line_id: str) -> None:
        session_id = self.sessions.page(owner, page_id).session_id
        self.sessions.touch(owner, session_id)
        self._index(db, session_id, line_id)

    def _index(self, db: SqliteDatabase, session_id: str, line_id: str) -> None:
        """Findable by what it says now and, counting less, by every other reading it ever had."""
        row = db.execute(
            "SELECT page_id, x0, y0, x1, y1, quad, col, maybe_skipped, current, removed_at FROM line "
            "WHERE id = ?",
            (line_id,),
        ).fetchone()
        if row[9] is not None:
            self.index.remove("line", line_id)
            return
        text, others = "", []
        for number, version, words in db.execute(
            "SELECT number, text, words FROM line_version WHERE line_id = ? ORDER BY number DESC", (line_id,)
        ).fetchall():
            if number == row[8]:
                text = version
            else:
                others.append(version)
            others += [a.text for w in reading_of("", 0, words, "", "[]").words for a in w.alternatives]
        extra = " · ".join(dict.fromkeys(o for o in others if o and o != text))
        self.index.index("line", session_id, line_id, text, extra, row[0], line_of(*row[1:8]).box)


def _found_again(line: Line, before: Sequence[KeptLine]) -> KeptLine | None:
    """The line of `before` at the same place, if any."""
    best, best_share = None, SAME_LINE
    for old in before:
        share = line.box.overlap(old.line.box)
        if share >= best_share:
            best, best_share = old, share
    return best


def _kept(row: Any) -> KeptLine:
    return KeptLine(
        id=row[0], page_id=row[1], line=line_of(*row[2:9]), reading=reading_of(*row[9:14]),
        author=row[14], writer=row[12], created_at=row[15], version=row[16], versions=row[17],
        can_undo=bool(row[18]), can_redo=bool(row[19]),
    )  # fmt: skip
