"""Everything a person made: listed, searched, renamed, exported, backed up, restored, deleted and brought back."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from PIL import Image

from vlm_studio.core.conversation import TextPart
from vlm_studio.core.documents import Correction, PageReading
from vlm_studio.core.errors import DamagedFile, FileTooLarge, InvalidRequest, StoreError
from vlm_studio.core.sessions import (
    ArchiveReport,
    KeptLine,
    KeptPage,
    ListedSession,
    SearchHit,
    Session,
    SessionFacts,
    SessionKind,
    StorageUse,
)
from vlm_studio.core.settings import Limits
from vlm_studio.tasks.sessions_document import WRITERS, Block, Document, Entry, PageBlock, file_name

KEEP_DELETED_DAYS = 30.0
"""How long a deleted session can be brought back."""
HITS = 300
"""Finds that are grouped into sessions."""
SNIPPETS = 3
"""Finds that are shown of one session."""
FORMATS = ("zip", *WRITERS)
"""``zip`` is the one that can be imported again."""
BACKUP_FILE = "vlm-studio-backup"

Show = Literal["current", "archived", "deleted"]
_EMPTY = SessionFacts(0, "")


class SessionRows(Protocol):
    def get(self, owner: str, session_id: str, deleted: bool = False) -> Session: ...
    def list(
        self,
        owner: str,
        kind: SessionKind | None = None,
        archived: bool | None = False,
        tag: str | None = None,
        deleted: bool = False,
        limit: int = 50,
        offset: int = 0,
    ) -> tuple[Session, ...]: ...
    def count(
        self,
        owner: str,
        kind: SessionKind | None = None,
        archived: bool | None = False,
        tag: str | None = None,
        deleted: bool = False,
    ) -> int: ...
    def rename(self, owner: str, session_id: str, title: str) -> Session: ...
    def pin(self, owner: str, session_id: str, pinned: bool = True) -> Session: ...
    def archive(self, owner: str, session_id: str, archived: bool = True) -> Session: ...
    def tag(self, owner: str, session_id: str, tags: Iterable[str]) -> Session: ...
    def tags(self, owner: str) -> tuple[str, ...]: ...
    def delete(self, owner: str, session_id: str) -> None: ...
    def undelete(self, owner: str, session_id: str) -> Session: ...
    def purge(self, owner: str, session_id: str) -> None: ...
    def purge_deleted(self, owner: str, older_than_days: float = 30.0) -> int: ...
    def pages(self, owner: str, session_id: str) -> tuple[KeptPage, ...]: ...
    def page_image(self, owner: str, page_id: str) -> bytes: ...


class TranscriptRows(Protocol):
    def reading(self, owner: str, page_id: str) -> PageReading | None: ...
    def lines(self, owner: str, page_id: str) -> tuple[KeptLine, ...]: ...
    def versions(self, owner: str, line_id: str) -> tuple[Correction, ...]: ...


class Finder(Protocol):
    def search(self, owner: str, query: str, limit: int = 50) -> tuple[SearchHit, ...]: ...


class Blobs(Protocol):
    def read(self, owner: str, sha256: str) -> bytes: ...
    def usage(self) -> StorageUse: ...
    def cleanup(self) -> tuple[int, int]: ...


class Archives(Protocol):
    def kind_of(self, path: Path) -> str: ...
    def rows(self, owner: str, session_id: str) -> dict[str, list[dict[str, Any]]]: ...
    def export(self, owner: str, session_ids: Sequence[str], target: Path) -> ArchiveReport: ...
    def import_archive(
        self, owner: str, path: Path, verify: Callable[[str, str], object]
    ) -> ArchiveReport: ...


class Copies(Protocol):
    def create(self, target: Path) -> ArchiveReport: ...
    def restore(self, source: Path) -> ArchiveReport: ...


Facts = Callable[[str, Sequence[str]], Mapping[str, SessionFacts]]
Contents = Callable[[str, str], Iterable[Block]]
"""The blocks of a session (owner, id), in the order in which they are read."""


@dataclass(frozen=True, slots=True)
class Listing:
    items: tuple[ListedSession, ...]
    total: int
    """How many there are altogether under the same filter."""
    at_least: bool = False
    """A search of a very common word stops at HITS finds: there may be more."""


@dataclass(frozen=True, slots=True)
class Freed:
    sessions: int
    files: int
    n_bytes: int


class Sessions:
    """The Sessions tab's, the API's and the command line's use cases. Every method takes the owner."""

    def __init__(
        self,
        sessions: SessionRows,
        transcripts: TranscriptRows,
        index: Finder,
        blobs: Blobs,
        archives: Archives,
        copies: Copies,
        facts: Facts,
        limits: Limits,
    ) -> None:
        self.sessions, self.transcripts, self.index, self.blobs = sessions, transcripts, index, blobs
        self.archives, self.copies, self.facts, self.limits = archives, copies, facts, limits
        self.contents: dict[str, Contents] = {"transcribe": self._pages_of}
        """By kind of session; a kind without its own is exported by what the search knows of it."""
        self.checks: dict[str, Callable[[str, str], object]] = {}
        """By kind: looks at an imported session (owner, id) as the app will; raises where it cannot be used."""

    def list(
        self,
        owner: str,
        text: str = "",
        kind: str = "",
        tag: str = "",
        show: Show = "current",
        limit: int = 50,
    ) -> Listing:
        """Pinned first, then the newest; with `text`, what holds it, the best find first.

        A search looks into archived sessions too. Empty `kind` and `tag`: all of them.
        """
        if text.strip():
            return self._found(owner, text, kind, tag, show, limit)
        asked: Any = {"kind": kind or None, "tag": tag or None, "archived": show == "archived"}
        if show == "deleted":
            asked |= {"archived": None, "deleted": True}
        rows = self.sessions.list(owner, limit=limit, **asked)
        return Listing(self._listed(owner, rows), self.sessions.count(owner, **asked))

    def _found(self, owner: str, text: str, kind: str, tag: str, show: Show, limit: int) -> Listing:
        if show == "deleted":
            # What is deleted is out of the index; its titles can still be looked through.
            wanted = text.casefold().split()
            gone = self.sessions.list(owner, archived=None, deleted=True, limit=10_000)
            rows = [s for s in gone if all(word in s.title.casefold() for word in wanted)]
            rows = [s for s in rows if (not kind or s.kind == kind) and (not tag or tag in s.tags)]
            return Listing(self._listed(owner, rows[:limit]), len(rows))
        hits: dict[str, list[SearchHit]] = {}
        finds = self.index.search(owner, text, HITS)
        for hit in finds:
            hits.setdefault(hit.session_id, []).append(hit)
        rows = [self.sessions.get(owner, session_id) for session_id in hits]
        rows = [
            s for s in rows
            if (not kind or s.kind == kind) and (not tag or tag in s.tags)
            and (show != "archived" or s.archived)
        ]  # fmt: skip
        return Listing(self._listed(owner, rows[:limit], hits), len(rows), len(finds) >= HITS)

    def _listed(
        self, owner: str, rows: Sequence[Session], hits: Mapping[str, Sequence[SearchHit]] | None = None
    ) -> tuple[ListedSession, ...]:
        facts = self.facts(owner, [row.id for row in rows])
        listed = []
        for row in rows:
            found = (hits or {}).get(row.id, ())
            places = tuple(hit for hit in found if hit.what != "title")[:SNIPPETS]
            snippets = tuple(hit.snippet for hit in places)
            listed.append(ListedSession(row, facts.get(row.id, _EMPTY), snippets, len(found), places))
        return tuple(listed)

    def get(self, owner: str, session_id: str, deleted: bool = False) -> Session:
        """Raises NotFound; a deleted one is found only with `deleted`."""
        return self.sessions.get(owner, session_id, deleted)

    def rename(self, owner: str, session_id: str, title: str) -> Session:
        return self.sessions.rename(owner, session_id, title)

    def pin(self, owner: str, session_id: str, pinned: bool = True) -> Session:
        return self.sessions.pin(owner, session_id, pinned)

    def archive(self, owner: str, session_id: str, archived: bool = True) -> Session:
        return self.sessions.archive(owner, session_id, archived)

    def tag(self, owner: str, session_id: str, tags: Iterable[str]) -> Session:
        return self.sessions.tag(owner, session_id, tags)

    def tags(self, owner: str) -> tuple[str, ...]:
        return self.sessions.tags(owner)

    def delete(self, owner: str, session_id: str) -> Session:
        """Out of sight; `undelete` brings it back for KEEP_DELETED_DAYS. Returns what was deleted."""
        gone = self.sessions.get(owner, session_id)
        self.sessions.delete(owner, session_id)
        return gone

    def undelete(self, owner: str, session_id: str) -> Session:
        return self.sessions.undelete(owner, session_id)

    def purge(self, owner: str, session_id: str) -> None:
        """For good; only what was deleted before."""
        self.sessions.purge(owner, session_id)

    def tidy(self, owner: str) -> int:
        """Purge what was deleted KEEP_DELETED_DAYS ago; how many sessions that were."""
        return self.sessions.purge_deleted(owner, KEEP_DELETED_DAYS)

    def clean(self, owner: str, older_than_days: float = KEEP_DELETED_DAYS) -> Freed:
        """`tidy`, with another age, and delete the files that nothing refers to any more."""
        purged = self.sessions.purge_deleted(owner, older_than_days)
        return Freed(purged, *self.blobs.cleanup())

    def usage(self) -> StorageUse:
        """Of all owners together."""
        return self.blobs.usage()

    def export(
        self, owner: str, session_ids: Sequence[str], kind: str, folder: Path
    ) -> tuple[Path, ArchiveReport]:
        """Write sessions (none named: all) into a new file in `folder`, and say what it is called.

        Raises NotFound, InvalidRequest for an unknown format, nothing to export, or a file that exists.
        """
        if kind not in FORMATS:
            raise InvalidRequest(f"There is no export format {kind!r}.", f"Use one of: {', '.join(FORMATS)}.")
        sessions = [self.sessions.get(owner, i) for i in session_ids] or list(self._all(owner))
        if not sessions:
            raise InvalidRequest("There is nothing to export yet.", "Read a page first.")
        if kind == "zip":
            path = folder / file_name(sessions, ".zip")
            return path, self.archives.export(owner, [s.id for s in sessions], path)
        extension, write = WRITERS[kind]
        path = folder / file_name(sessions, extension)
        documents = (Document(s, tuple(self.blocks(owner, s))) for s in sessions)
        try:
            with path.open("xb") as file:
                for piece in write(documents, lambda sha256: self.blobs.read(owner, sha256), self.limits):
                    file.write(piece)
        except FileExistsError as error:
            raise InvalidRequest(f"{path} exists already.", "Choose another folder.") from error
        except OSError as error:
            raise StoreError(f"The export could not be written: {error.strerror or error}.") from error
        return path, ArchiveReport(len(sessions), 0)

    def blocks(self, owner: str, session: Session) -> Iterable[Block]:
        contents = self.contents.get(session.kind, self._passages_of)
        return contents(owner, session.id)

    def import_file(self, owner: str, path: Path) -> ArchiveReport:
        """Add the sessions of an exported zip file as new ones: all, or none.

        Raises UserInputError (UnsupportedFile, DamagedFile, FileTooLarge) for a file that is none.
        """
        if self.archives.kind_of(path) == BACKUP_FILE:
            raise InvalidRequest("This is a backup of everything, not an export.", "Restore it instead.")
        return self.archives.import_archive(owner, path, self._verify)

    def is_backup(self, path: Path) -> bool:
        return self.archives.kind_of(path) == BACKUP_FILE

    def backup(self, target: Path) -> ArchiveReport:
        """Everything of all owners, while the app runs, into a new zip file or a folder."""
        return self.copies.create(target)

    def restore(self, source: Path) -> ArchiveReport:
        """Everything as it was in a backup; a backup of what is there now is kept and named in the report."""
        return self.copies.restore(source)

    def _all(self, owner: str) -> Iterator[Session]:
        total, step = self.sessions.count(owner, archived=None), 500
        for start in range(0, total, step):
            yield from self.sessions.list(owner, archived=None, limit=step, offset=start)

    def _pages_of(self, owner: str, session_id: str) -> Iterator[Block]:
        for kept in self.sessions.pages(owner, session_id):
            reading = self.transcripts.reading(owner, kept.id)
            if reading is None:
                reading = PageReading(kept.page, (), "", 0.0, ("Not read yet.",))
            yours = tuple(line.author == "person" for line in self.transcripts.lines(owner, kept.id))
            yield PageBlock(kept.filename, reading, yours)

    def _passages_of(self, owner: str, session_id: str) -> Iterator[Block]:
        for row in self.archives.rows(owner, session_id).get("passage", ()):
            if row["kind"] != "title" and row["text"]:
                yield Entry(str(row["kind"]), (TextPart(str(row["text"])),))

    def _verify(self, owner: str, session_id: str) -> None:
        """Look at an imported session as the app will: a picture that is none, or is not as large as its
        page says, would fail later and somewhere else."""
        for kept in self.sessions.pages(owner, session_id):
            _check_picture(self.sessions.page_image(owner, kept.id), kept, self.limits)
            self.transcripts.reading(owner, kept.id)
            for line in self.transcripts.lines(owner, kept.id):
                self.transcripts.versions(owner, line.id)
        check = self.checks.get(self.sessions.get(owner, session_id).kind)
        if check is not None:
            check(owner, session_id)


def _check_picture(data: bytes, kept: KeptPage, limits: Limits) -> None:
    try:
        with Image.open(io.BytesIO(data), formats=["PNG", "JPEG"]) as image:
            size = image.size
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise DamagedFile(
            "A page of the file has no picture that can be shown.", "Export it again."
        ) from error
    if size[0] * size[1] > limits.image_pixels:
        raise FileTooLarge("A page of the file has too many pixels.")
    if size != (kept.page.width_px, kept.page.height_px):
        raise DamagedFile("A page of the file is not of the size it says.", "Export it again.")
