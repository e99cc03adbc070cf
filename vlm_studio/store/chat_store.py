"""Conversations: numbered images and a tree of turns. A row of another owner is NotFound.

`leaf` in the session's settings is the last turn of the path that is shown; every other branch stays.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, cast

from sqlite_utils import Database as SqliteDatabase

from vlm_studio.core.chat import ChatImage, ChatTurn, Draft, ImageText
from vlm_studio.core.chat_json import run_of, run_value, text_of, text_value
from vlm_studio.core.conversation import ImagePart, Part, TextPart, Turn
from vlm_studio.core.documents import Box
from vlm_studio.core.errors import InvalidRequest, NotFound
from vlm_studio.core.ids import new_id, utc_now
from vlm_studio.store.database import Database
from vlm_studio.store.search import SearchIndex
from vlm_studio.store.session_store import SessionStore

LEAF = "leaf"
_IMAGE = (
    "SELECT number, sha256, name, width_px, height_px, waiting, crop_of, x0, y0, x1, y1, reading "
    "FROM chat_image WHERE session_id = ?"
)
_TURN = (
    "SELECT chat_turn.id, session_id, parent_id, role, status, chat_turn.created_at, run FROM chat_turn "
    "JOIN session ON session.id = session_id"
)
_SEEN = "session.owner = ? AND session.deleted_at IS NULL"


class ChatStore:
    """Every method takes the owner."""

    def __init__(self, database: Database, sessions: SessionStore, index: SearchIndex) -> None:
        self.database, self.sessions, self.index = database, sessions, index

    def images(self, owner: str, session_id: str) -> tuple[ChatImage, ...]:
        """In the order of their numbers. Raises NotFound."""
        self.sessions.get(owner, session_id)
        with self.database.read() as db:
            rows = db.execute(f"{_IMAGE} ORDER BY number", (session_id,)).fetchall()
        return tuple(map(_image, rows))

    def add_image(self, owner: str, session_id: str, image: ChatImage) -> ChatImage:
        """Attach an image whose blob is stored already; its number is given here.

        The same content again is the same image: it keeps its number and waits once more.
        """
        with self.database.write() as db:
            self.sessions.touch(owner, session_id)
            box = image.box
            corners = (None,) * 4 if box is None else (box.left, box.top, box.right, box.bottom)
            db.execute(
                "INSERT INTO chat_image (id, session_id, number, sha256, name, width_px, height_px, waiting, "
                "crop_of, x0, y0, x1, y1) VALUES (?, ?, (SELECT coalesce(max(number), 0) + 1 FROM chat_image "
                "WHERE session_id = ?), ?, ?, ?, ?, 1, ?, ?, ?, ?, ?) "
                "ON CONFLICT (session_id, sha256) DO UPDATE SET waiting = 1",
                (
                    new_id(), session_id, session_id, image.sha256, image.name, image.width_px,
                    image.height_px, image.crop_of, *corners,
                ),
            )  # fmt: skip
            row = db.execute(f"{_IMAGE} AND sha256 = ?", (session_id, image.sha256)).fetchone()
        return _image(row)

    def remove_waiting(self, owner: str, session_id: str, number: int) -> None:
        """Take an image out of the message being written; one that was sent before stays in its turns."""
        with self.database.write() as db:
            self.sessions.touch(owner, session_id)
            done = db.execute(
                "UPDATE chat_image SET waiting = 0 WHERE session_id = ? AND number = ? AND waiting",
                (session_id, number),
            )
            if done.rowcount == 0:
                raise NotFound(f"No image {number} is waiting to be sent.", "It may have been sent already.")
            gone = db.execute(
                "DELETE FROM chat_image WHERE session_id = ? AND number = ? AND NOT EXISTS (SELECT 1 FROM "
                "chat_part JOIN chat_turn ON chat_turn.id = turn_id WHERE chat_turn.session_id = "
                "chat_image.session_id AND image_sha256 = chat_image.sha256) RETURNING id",
                (session_id, number),
            ).fetchall()
            for row in gone:
                self.index.remove("image", str(row[0]))

    def keep_text(self, owner: str, session_id: str, number: int, read: ImageText) -> None:
        """What a reader read on an image; findable from then on."""
        with self.database.write() as db:
            self.sessions.get(owner, session_id)
            row = db.execute(
                "UPDATE chat_image SET reading = ? WHERE session_id = ? AND number = ? RETURNING id",
                (json.dumps(text_value(read), ensure_ascii=False), session_id, number),
            ).fetchone()
            if row is None:
                raise NotFound(f"There is no image {number} in this chat.", "It may have been removed.")
            self.index.index("image", session_id, str(row[0]), read.text)

    def add_turn(self, owner: str, session_id: str, draft: Draft) -> ChatTurn:
        """Keep a turn, in one write, as the last one shown; images it holds wait no longer.

        Raises NotFound, InvalidRequest where its parent is of another conversation.
        """
        turn_id = new_id()
        with self.database.write() as db:
            self.sessions.touch(owner, session_id)
            if draft.parent_id is not None and self.turn(owner, draft.parent_id).session_id != session_id:
                raise InvalidRequest("This turn belongs to another chat.")
            run = None if draft.run is None else json.dumps(run_value(draft.run), ensure_ascii=False)
            db.execute(
                "INSERT INTO chat_turn (id, session_id, parent_id, role, status, created_at, run) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                (turn_id, session_id, draft.parent_id, draft.turn.role, draft.status, utc_now(), run),
            )
            for place, part in enumerate(draft.turn.parts):
                _insert_part(db, session_id, turn_id, place, part)
            self.sessions.set_meta(owner, session_id, {LEAF: turn_id})
            self.index.index("turn", session_id, turn_id, _said(draft.turn.parts))
        return self.turn(owner, turn_id)

    def turn(self, owner: str, turn_id: str) -> ChatTurn:
        """Raises NotFound."""
        with self.database.read() as db:
            row = db.execute(f"{_TURN} WHERE chat_turn.id = ? AND {_SEEN}", (turn_id, owner)).fetchone()
            if row is None:
                raise NotFound("There is no such message.", "Its chat may have been deleted.")
            return self._kept(db, row)

    def path(self, owner: str, session_id: str) -> tuple[ChatTurn, ...]:
        """The turns shown, first to last. Raises NotFound."""
        leaf = self.sessions.meta(owner, session_id).get(LEAF)
        found: list[ChatTurn] = []
        seen: set[str] = set()
        with self.database.read() as db:
            while leaf and leaf not in seen:
                seen.add(leaf)
                row = db.execute(
                    f"{_TURN} WHERE chat_turn.id = ? AND session_id = ? AND {_SEEN}",
                    (leaf, session_id, owner),
                ).fetchone()
                if row is None:
                    break
                found.append(self._kept(db, row))
                leaf = found[-1].parent_id
        return tuple(reversed(found))

    def all_turns(self, owner: str, session_id: str) -> tuple[ChatTurn, ...]:
        """Every branch, oldest turn first."""
        self.sessions.get(owner, session_id)
        with self.database.read() as db:
            rows = db.execute(
                f"{_TURN} WHERE session_id = ? AND {_SEEN} ORDER BY chat_turn.created_at, chat_turn.id",
                (session_id, owner),
            ).fetchall()
            return tuple(self._kept(db, row) for row in rows)

    def show(self, owner: str, turn_id: str) -> None:
        """Make the path through this turn the one shown, on to the newest turn below it."""
        with self.database.write() as db:
            session_id = self.turn(owner, turn_id).session_id
            while row := db.execute(
                "SELECT id FROM chat_turn WHERE parent_id = ? ORDER BY created_at DESC, id DESC LIMIT 1",
                (turn_id,),
            ).fetchone():
                turn_id = str(row[0])
            self.sessions.set_meta(owner, session_id, {LEAF: turn_id})

    def show_until(self, owner: str, session_id: str, turn_id: str | None) -> None:
        """End the path shown at this turn (None: before the first), where another branch is about to begin."""
        with self.database.write():
            if turn_id is not None and self.turn(owner, turn_id).session_id != session_id:
                raise InvalidRequest("This turn belongs to another chat.")
            self.sessions.set_meta(owner, session_id, {LEAF: turn_id})

    def _kept(self, db: SqliteDatabase, row: Any) -> ChatTurn:
        parts = db.execute(
            "SELECT text, quoted, image_sha256, alt, crop_of FROM chat_part WHERE turn_id = ? ORDER BY ord",
            (row[0],),
        ).fetchall()
        versions = db.execute(
            "SELECT id FROM chat_turn WHERE session_id = ? AND parent_id IS ? AND role = ? "
            "ORDER BY created_at, id",
            (row[1], row[2], row[3]),
        ).fetchall()
        return ChatTurn(
            id=row[0], session_id=row[1], parent_id=row[2], turn=Turn(row[3], tuple(map(_part, parts))),
            status=row[4], created_at=row[5], run=None if row[6] is None else run_of(json.loads(row[6])),
            versions=tuple(str(v[0]) for v in versions),
        )  # fmt: skip


def _insert_part(db: SqliteDatabase, session_id: str, turn_id: str, place: int, part: Part) -> None:
    if isinstance(part, TextPart):
        values: Sequence[Any] = (part.text, int(part.quoted), None, "", None)
    else:
        values = (None, 0, part.image_sha256, part.alt, part.crop_of)
        done = db.execute(
            "UPDATE chat_image SET waiting = 0 WHERE session_id = ? AND sha256 = ?",
            (session_id, part.image_sha256),
        )
        if done.rowcount == 0:
            raise NotFound("An image of this message is not in this chat.", "Attach it again.")
    db.execute(
        "INSERT INTO chat_part (turn_id, ord, text, quoted, image_sha256, alt, crop_of) "
        "VALUES (?, ?, ?, ?, ?, ?, ?)",
        (turn_id, place, *values),
    )


def _part(row: Iterable[Any]) -> Part:
    text, quoted, sha256, alt, crop_of = row
    return TextPart(text, bool(quoted)) if text is not None else ImagePart(sha256, alt, crop_of)


def _image(row: Any) -> ChatImage:
    box = None if row[7] is None else Box(*cast("tuple[float, float, float, float]", tuple(row[7:11])))
    return ChatImage(
        number=row[0], sha256=row[1], name=row[2], width_px=row[3], height_px=row[4], waiting=bool(row[5]),
        crop_of=row[6], box=box, read=None if row[11] is None else text_of(json.loads(row[11])),
    )  # fmt: skip


def _said(parts: Iterable[Part]) -> str:
    """What can be found of a turn: its words without quotes, an image among them by its number."""
    said, after_image = "", False
    for part in parts:
        if isinstance(part, ImagePart):
            said += " " + part.alt.partition(":")[0] if said else ""
        elif not part.quoted:
            said += part.text if after_image and not part.text[:1].isalnum() else " " + part.text
        after_image = isinstance(part, ImagePart)
    return said.strip()
