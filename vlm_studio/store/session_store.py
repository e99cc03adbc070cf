"""Sessions, the files put into them and their pages. A row of another owner is NotFound."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

from sqlite_utils import Database as SqliteDatabase

from vlm_studio.core.documents import Asset, Box, Page, Word
from vlm_studio.core.errors import InvalidRequest, NotFound
from vlm_studio.core.ids import new_id, utc_now
from vlm_studio.core.sessions import KeptPage, Session, SessionKind
from vlm_studio.store.blobs import BlobStore
from vlm_studio.store.database import Database
from vlm_studio.store.search import SearchIndex

TITLE_CHARS = 200
TAG_CHARS = 40
TAGS = 20

SOURCE = "asset.filename || CASE WHEN page.idx > 0 THEN ', page ' || (page.idx + 1) ELSE '' END"
"""SQL of the file that a page is of, with its number where it is not the first."""

_SESSION = (
    "SELECT id, owner, kind, title, created_at, updated_at, pinned, archived, deleted_at, "
    "(SELECT json_group_array(tag) FROM session_tag WHERE session_id = session.id) FROM session"
)
_PAGE = (
    "SELECT page.id, asset.session_id, asset.id, asset.filename, asset.sha256, page.idx, page.image_sha256, "
    "page.width_px, page.height_px, page.dpi, page.text_layer FROM page "
    "JOIN asset ON asset.id = page.asset_id JOIN session ON session.id = asset.session_id"
)


def _everybody(owner: str) -> None:
    """On one's own machine nobody counts."""


def _nobody() -> None:
    """Nothing is made from what is stored."""


class SessionStore:
    """Every method takes the owner; what is not theirs is not there."""

    def __init__(self, database: Database, blobs: BlobStore, index: SearchIndex) -> None:
        self.database = database
        self.blobs = blobs
        self.index = index
        self.admit: Callable[[str], None] = _everybody
        """Called with the owner before something is added; raises where that owner keeps enough already."""
        self.removed: Callable[[], None] = _nobody
        """Called after something went, or went out of sight: what was made from it can go too."""

    def create(self, owner: str, kind: SessionKind, title: str) -> Session:
        """A new, empty session. Raises InvalidRequest for a kind that does not exist."""
        if kind not in get_args(SessionKind):
            raise InvalidRequest(f"There are no sessions of the kind {kind!r}.")
        session_id, now, title = new_id(), utc_now(), clean_title(title)
        self.admit(owner)
        with self.database.write() as db:
            db.execute(
                "INSERT INTO session (id, owner, kind, title, created_at, updated_at) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                (session_id, owner, kind, title, now, now),
            )
            self.index.index("title", session_id, session_id, title)
        return self.get(owner, session_id)

    def get(self, owner: str, session_id: str, deleted: bool = False) -> Session:
        """Raises NotFound, also for a deleted one unless `deleted` is set."""
        with self.database.read() as db:
            row = db.execute(f"{_SESSION} WHERE id = ? AND owner = ?", (session_id, owner)).fetchone()
        if row is None or (row[8] is not None and not deleted):
            raise NotFound("There is no such session.", "It may have been deleted.")
        return _session(row)

    def list(
        self,
        owner: str,
        kind: SessionKind | None = None,
        archived: bool | None = False,
        tag: str | None = None,
        deleted: bool = False,
        limit: int = 50,
        offset: int = 0,
    ) -> tuple[Session, ...]:
        """Pinned first, then the most recently changed. `archived` None: both; `deleted`: only those."""
        where, values = self._filter(owner, kind, archived, tag, deleted)
        with self.database.read() as db:
            rows = db.execute(
                f"{_SESSION} WHERE {where} ORDER BY pinned DESC, updated_at DESC, id DESC LIMIT ? OFFSET ?",
                (*values, limit, offset),
            ).fetchall()
        return tuple(map(_session, rows))

    def count(
        self,
        owner: str,
        kind: SessionKind | None = None,
        archived: bool | None = False,
        tag: str | None = None,
        deleted: bool = False,
    ) -> int:
        where, values = self._filter(owner, kind, archived, tag, deleted)
        with self.database.read() as db:
            return int(db.execute(f"SELECT count(*) FROM session WHERE {where}", values).fetchone()[0])

    @staticmethod
    def _filter(
        owner: str, kind: str | None, archived: bool | None, tag: str | None, deleted: bool
    ) -> tuple[str, tuple[Any, ...]]:
        parts = ["owner = ?", f"deleted_at IS {'NOT ' if deleted else ''}NULL"]
        values: tuple[Any, ...] = (owner,)
        if kind is not None:
            parts.append("kind = ?")
            values += (kind,)
        if archived is not None:
            parts.append("archived = ?")
            values += (int(archived),)
        if tag is not None:
            parts.append("EXISTS (SELECT 1 FROM session_tag WHERE session_id = session.id AND tag = ?)")
            values += (tag,)
        return " AND ".join(parts), values

    def rename(self, owner: str, session_id: str, title: str) -> Session:
        """Raises InvalidRequest for an empty title."""
        title = clean_title(title)
        with self.database.write():
            self._set(owner, session_id, "title", title)
            self.index.index("title", session_id, session_id, title)
        return self.get(owner, session_id)

    def pin(self, owner: str, session_id: str, pinned: bool = True) -> Session:
        self._set(owner, session_id, "pinned", int(pinned))
        return self.get(owner, session_id)

    def archive(self, owner: str, session_id: str, archived: bool = True) -> Session:
        self._set(owner, session_id, "archived", int(archived))
        return self.get(owner, session_id)

    def tag(self, owner: str, session_id: str, tags: Iterable[str]) -> Session:
        """Set the tags to exactly these; blanks are trimmed, doubles dropped. Raises InvalidRequest."""
        wanted = clean_tags(tags)
        with self.database.write() as db:
            self.get(owner, session_id)
            db.execute("DELETE FROM session_tag WHERE session_id = ?", (session_id,))
            for tag in wanted:
                db.execute("INSERT INTO session_tag (session_id, tag) VALUES (?, ?)", (session_id, tag))
        return self.get(owner, session_id)

    def tags(self, owner: str) -> tuple[str, ...]:
        """Every tag in use, in alphabetical order."""
        with self.database.read() as db:
            rows = db.execute(
                "SELECT DISTINCT tag FROM session_tag JOIN session ON session.id = session_id "
                "WHERE owner = ? AND deleted_at IS NULL ORDER BY tag COLLATE NOCASE",
                (owner,),
            ).fetchall()
        return tuple(str(row[0]) for row in rows)

    def delete(self, owner: str, session_id: str) -> None:
        """Out of sight at once, and `undelete` brings it back; only `purge` is for good."""
        self._set(owner, session_id, "deleted_at", utc_now())
        self.removed()

    def undelete(self, owner: str, session_id: str) -> Session:
        with self.database.write() as db:
            done = db.execute(
                "UPDATE session SET deleted_at = NULL WHERE id = ? AND owner = ?", (session_id, owner)
            )
            if done.rowcount == 0:
                raise NotFound("There is no such session.", "It was deleted for good.")
        return self.get(owner, session_id)

    def purge(self, owner: str, session_id: str) -> None:
        """Delete for good a session that was deleted before. Its blobs go with the next clean-up."""
        with self.database.write() as db:
            done = db.execute(
                "DELETE FROM session WHERE id = ? AND owner = ? AND deleted_at IS NOT NULL",
                (session_id, owner),
            )
            if done.rowcount == 0:
                raise NotFound("There is no such deleted session.", "Delete it first.")
        self.removed()

    def purge_deleted(self, owner: str, older_than_days: float = 30.0) -> int:
        """Delete for good what `owner` deleted that long ago; how many sessions that were."""
        limit = (datetime.now(UTC) - timedelta(days=older_than_days)).isoformat(timespec="microseconds")
        with self.database.write() as db:
            done = db.execute("DELETE FROM session WHERE owner = ? AND deleted_at <= ?", (owner, limit))
        if done.rowcount:
            self.removed()
        return int(done.rowcount)

    def meta(self, owner: str, session_id: str) -> dict[str, Any]:
        """Small settings of a session (chosen reader, page last looked at), as they were set."""
        self.get(owner, session_id)
        with self.database.read() as db:
            row = db.execute("SELECT meta FROM session WHERE id = ?", (session_id,)).fetchone()
        value = json.loads(row[0])
        return value if isinstance(value, dict) else {}

    def set_meta(self, owner: str, session_id: str, values: Mapping[str, Any]) -> None:
        """Merge JSON values into the session's settings; None removes a key."""
        with self.database.write():
            merged = {**self.meta(owner, session_id), **values}
            kept = {k: v for k, v in merged.items() if v is not None}
            self._set(owner, session_id, "meta", json.dumps(kept, ensure_ascii=False))

    def touch(self, owner: str, session_id: str) -> None:
        """Something in it changed: it moves to the top of the list. Call it inside that write."""
        self._set(owner, session_id, "updated_at", utc_now())

    def _set(self, owner: str, session_id: str, column: str, value: object) -> None:
        with self.database.write() as db:
            done = db.execute(
                f"UPDATE session SET {column} = ? WHERE id = ? AND owner = ? AND deleted_at IS NULL",
                (value, session_id, owner),
            )
            if done.rowcount == 0:
                raise NotFound("There is no such session.", "It may have been deleted.")

    def add_asset(
        self, owner: str, session_id: str, asset: Asset, pages: Sequence[Page] = ()
    ) -> tuple[KeptPage, ...]:
        """A file and its pages, in one write, after what is there. Their blobs must be stored already.

        Raises NotFound where the session is not theirs or a blob is missing.
        """
        asset_id = new_id()
        self.admit(owner)
        with self.database.write() as db:
            self.touch(owner, session_id)
            _require_blobs(db, [asset.sha256, *(p.image_sha256 for p in pages)])
            db.execute(
                "INSERT INTO asset (id, session_id, ord, sha256, mime, filename, n_bytes) VALUES (?, ?, "
                "(SELECT coalesce(max(ord) + 1, 0) FROM asset WHERE session_id = ?), ?, ?, ?, ?)",
                (
                    asset_id, session_id, session_id, asset.sha256, asset.mime, asset.filename, asset.n_bytes,
                ),
            )  # fmt: skip
            ids = [self._insert_page(db, asset_id, page) for page in pages]
        return tuple(self.page(owner, page_id) for page_id in ids)

    def add_pages(self, owner: str, asset_id: str, pages: Sequence[Page]) -> tuple[KeptPage, ...]:
        """More pages of a file that is there already (a PDF rendered page by page)."""
        with self.database.write() as db:
            row = db.execute("SELECT session_id FROM asset WHERE id = ?", (asset_id,)).fetchone()
            if row is None:
                raise NotFound("There is no such file.", "It may have been deleted.")
            self.touch(owner, str(row[0]))
            _require_blobs(db, [p.image_sha256 for p in pages])
            ids = [self._insert_page(db, asset_id, page) for page in pages]
        return tuple(self.page(owner, page_id) for page_id in ids)

    @staticmethod
    def _insert_page(db: SqliteDatabase, asset_id: str, page: Page) -> str:
        page_id = new_id()
        layer = None
        if page.text_layer is not None:
            layer = json.dumps([[w.text, *w.box.as_list(2)] for w in page.text_layer], ensure_ascii=False)
        try:
            db.execute(
                "INSERT INTO page (id, asset_id, idx, image_sha256, width_px, height_px, dpi, text_layer) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    page_id, asset_id, page.index, page.image_sha256, page.width_px, page.height_px,
                    page.dpi, layer,
                ),
            )  # fmt: skip
        except sqlite3.IntegrityError as error:
            raise InvalidRequest(f"Page {page.index + 1} of this file is there already.") from error
        return page_id

    def assets(self, owner: str, session_id: str) -> tuple[tuple[str, Asset], ...]:
        """(id, file) in the order they were added."""
        self.get(owner, session_id)
        with self.database.read() as db:
            rows = db.execute(
                "SELECT id, sha256, mime, filename, n_bytes FROM asset WHERE session_id = ? ORDER BY ord",
                (session_id,),
            ).fetchall()
        return tuple((str(r[0]), Asset(r[1], r[2], r[3], r[4])) for r in rows)

    def remove_asset(self, owner: str, asset_id: str) -> None:
        """Take a file, its pages and what was read on them out of its session, for good."""
        with self.database.write() as db:
            row = db.execute("SELECT session_id FROM asset WHERE id = ?", (asset_id,)).fetchone()
            if row is None:
                raise NotFound("There is no such file.", "It may have been deleted.")
            self.touch(owner, str(row[0]))
            db.execute("DELETE FROM asset WHERE id = ?", (asset_id,))
        self.removed()

    def pages(self, owner: str, session_id: str) -> tuple[KeptPage, ...]:
        """All pages of a session: files in the order they were added, pages in theirs."""
        self.get(owner, session_id)
        with self.database.read() as db:
            rows = db.execute(
                f"{_PAGE} WHERE session.id = ? AND session.owner = ? ORDER BY asset.ord, page.idx",
                (session_id, owner),
            ).fetchall()
        return tuple(map(_page, rows))

    def page(self, owner: str, page_id: str) -> KeptPage:
        """Raises NotFound."""
        with self.database.read() as db:
            row = db.execute(
                f"{_PAGE} WHERE page.id = ? AND session.owner = ? AND session.deleted_at IS NULL",
                (page_id, owner),
            ).fetchone()
        if row is None:
            raise NotFound("There is no such page.", "Its session may have been deleted.")
        return _page(row)

    def page_image(self, owner: str, page_id: str) -> bytes:
        """The upright page image as stored (PNG or JPEG). Raises NotFound, StoreError where damaged."""
        return self.blobs.trusted_bytes(self.page(owner, page_id).page.image_sha256)


def clean_title(title: str) -> str:
    """One line of at most TITLE_CHARS. Raises InvalidRequest where nothing is left."""
    text = " ".join("".join(c if c.isprintable() else " " for c in title).split())[:TITLE_CHARS].strip()
    if not text:
        raise InvalidRequest("A session needs a title.", "Type a few words.")
    return text


def clean_tags(tags: Iterable[str]) -> tuple[str, ...]:
    """Raises InvalidRequest for a tag that is too long, or too many of them."""
    seen: dict[str, str] = {}
    for raw in tags:
        text = " ".join("".join(c if c.isprintable() else " " for c in raw).split()).lstrip("#")
        if len(text) > TAG_CHARS:
            raise InvalidRequest(f"A tag has at most {TAG_CHARS} characters.", "Use a shorter word.")
        if text:
            seen.setdefault(text.casefold(), text)
    if len(seen) > TAGS:
        raise InvalidRequest(f"A session has at most {TAGS} tags.", "Remove some of them.")
    return tuple(seen.values())


def _require_blobs(db: SqliteDatabase, hashes: Sequence[str]) -> None:
    for sha256 in dict.fromkeys(hashes):
        if not db.execute("SELECT 1 FROM blob WHERE sha256 = ?", (sha256,)).fetchone():
            raise NotFound("A file that a page needs was never stored.", "Upload it again.")


def _session(row: Sequence[Any]) -> Session:
    return Session(
        id=row[0], owner=row[1], kind=row[2], title=row[3], created_at=row[4], updated_at=row[5],
        pinned=bool(row[6]), archived=bool(row[7]), deleted_at=row[8],
        tags=tuple(sorted(json.loads(row[9]), key=str.casefold)),
    )  # fmt: skip


def _page(row: Sequence[Any]) -> KeptPage:
    layer = None
    if row[10] is not None:
        layer = tuple(Word(w[0], Box(*w[1:5])) for w in json.loads(row[10]))
    page = Page(
        asset_sha256=row[4], index=row[5], image_sha256=row[6], width_px=row[7], height_px=row[8], dpi=row[9],
        text_layer=layer,
    )  # fmt: skip
    return KeptPage(id=row[0], session_id=row[1], asset_id=row[2], filename=row[3], page=page)
