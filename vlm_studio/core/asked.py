"""Documents that are kept and asked: what is taken in, how far, and the questions with their answers."""

from __future__ import annotations

from dataclasses import dataclass

from vlm_studio.core.answers import DocumentAnswer
from vlm_studio.core.conversation import Variant
from vlm_studio.core.sessions import JobState


@dataclass(frozen=True, slots=True)
class KeptDocument:
    """A file of a documents session, and how far it has been taken in."""

    id: str
    session_id: str
    owner: str
    name: str
    """File name, as the person knows it."""
    sha256: str
    """Of the stored file; an encrypted PDF is stored unlocked."""
    mime: str
    pages: int
    done: int
    """Pages taken in."""
    read: int
    """Pages among them that a reader had to read."""
    state: JobState
    message: str
    """Why it failed, or what a person should know."""

    @property
    def waiting(self) -> bool:
        return self.state in {"queued", "running"}


@dataclass(frozen=True, slots=True)
class AskedTurn:
    """A question and its answer, as they are kept."""

    id: str
    question: str
    asked_as: str
    """The question as it was searched: a follow-up takes words of the one before."""
    answer: DocumentAnswer
    documents: tuple[str, ...]
    """Ids of the documents it was asked of; empty: all."""
    pages: str
    """Page ranges it was asked of, as typed; empty: all."""
    created_at: str
    said_by: Variant | None = None
    """The model that put the answer into a sentence, and how it was fed; None: it stands as it was quoted."""
    note: str = ""
    """Why no model did so, where one should have."""
