"""Things that are kept: sessions, runs, jobs, search hits. Ids are made by the store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vlm_studio.core.documents import Box

SessionKind = Literal["transcribe", "documents", "chat", "inspect", "adapt"]

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
