"""Things that are kept: sessions, runs, jobs, search hits. Ids are made by the store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vlm_studio.core.documents import Author, Box, Line, LineReading, Page, ReadLine

SessionKind = Literal["transcribe", "documents", "chat", "inspect", "adapt", "compare"]

LOCAL_OWNER = "local"
"""The one owner of an app that runs on its user's own machine without log-in."""


@dataclass(frozen=True, slots=True)
class Session:
    id: str
    owner: str
    kind: SessionKind
    title: str
    created_at: str
    """UTC, ISO 8601."""
    updated_at: str
    pinned: bool = False
    archived: bool = False
    deleted_at: str | None = None
    """Set by delete, so that it can be undone; purged later."""
    tags: tuple[str, ...] = ()


JobState = Literal["queued", "running", "paused", "done", "failed", "cancelled"]


@dataclass(frozen=True, slots=True)
class Job:
    """Background work that outlives a browser tab and a restart."""

    id: str
    owner: str
    kind: str
    subject: str
    """What it works on: a document id, a session id."""
    state: JobState
    done: int
    total: int
    message: str
    created_at: str
    updated_at: str


@dataclass(frozen=True, slots=True)
class SearchHit:
    """One find of a search over everything read, asked or answered."""

    session_id: str
    kind: SessionKind
    title: str
    snippet: str
    """Plain text; matches stand between the characters U+0002 and U+0003."""
    page_image_sha256: str | None = None
    box: Box | None = None
    """Place of the line on its page image, where there is one."""
    what: str = ""
    """What was found: ``title``, ``line``, ``turn``, ``passage``..."""
    ref: str = ""
    """Id of the line, turn or passage that was found."""
    page_id: str | None = None


@dataclass(frozen=True, slots=True)
class KeptPage:
    """A page as the store keeps it."""

    id: str
    session_id: str
    asset_id: str
    filename: str
    """Name of the file it came from, as the person knows it."""
    page: Page


@dataclass(frozen=True, slots=True)
class KeptLine:
    """A line as the store keeps it: where it stands, what it says now, and who wrote that."""

    id: str
    page_id: str
    line: Line
    reading: LineReading
    """The current version. Written by a person: confidence 1 and no word boxes unless given."""
    author: Author
    writer: str
    """Name of the reader, or of the owner where a person wrote it."""
    created_at: str
    """When the current version was written."""
    version: int
    """1-based number of the current version."""
    versions: int
    """How many versions there are; undo never deletes one."""
    can_undo: bool = False
    can_redo: bool = False

    @property
    def read(self) -> ReadLine:
        return ReadLine(self.line, self.reading)


@dataclass(frozen=True, slots=True)
class TrainingLine:
    """A line that a person wrote or confirmed: what a reader can learn from."""

    line_id: str
    session_id: str
    page_image_sha256: str
    line: Line
    text: str
    read_as: str
    """What the reader had made of it last; empty where none had."""
    writer: str
    created_at: str
    source: str = ""
    """The file that it stands in, with the page where that is not the first."""


@dataclass(frozen=True, slots=True)
class StorageUse:
    """What the data folder holds, in bytes."""

    database_bytes: int
    blob_bytes: int
    blobs: int
    orphan_bytes: int
    """Of blobs that nothing refers to: what a clean-up would free."""
    orphans: int


@dataclass(frozen=True, slots=True)
class SessionFacts:
    """What a list shows of a session besides its row."""

    pages: int
    preview: str
    """The first words of what was read, asked or answered; empty where nothing was."""


@dataclass(frozen=True, slots=True)
class ArchiveReport:
    """What an export, an import, a backup or a restore did."""

    sessions: int
    files: int
    """Stored files (images, documents) that went along."""
    problems: tuple[str, ...] = ()
    """A sentence for each thing that had to be left out."""
    session_ids: tuple[str, ...] = ()
    """New ids, where sessions were imported."""
    kept: str = ""
    """Path of the copy of what was there before, where something was replaced."""


@dataclass(frozen=True, slots=True)
class ListedSession:
    """A session as a list shows it."""

    session: Session
    facts: SessionFacts
    snippets: tuple[str, ...] = ()
    """Where the searched words stand, marked as in `SearchHit.snippet`; the best first."""
    hits: int = 0
    """How many places were found in it; 0 where nothing was searched."""
    places: tuple[SearchHit, ...] = ()
    """The finds that `snippets` quote, in their order: a line's page and box are there."""
