"""A store on a temporary folder, and pages to put into it."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from vlm_studio.core.documents import (
    Alternative,
    Asset,
    Box,
    Line,
    LineReading,
    Page,
    PageReading,
    ReadLine,
    Word,
    WordReading,
)
from vlm_studio.core.sessions import KeptPage, Session
from vlm_studio.store.blobs import BlobStore
from vlm_studio.store.database import Database
from vlm_studio.store.search import SearchIndex
from vlm_studio.store.session_store import SessionStore
from vlm_studio.store.transcript_store import TranscriptStore

OWNER, OTHER = "local", "user:eve"


@dataclass
class Kept:
    """Everything of one data folder."""

    root: Path

    def __post_init__(self) -> None:
        self.database = Database(self.root / "studio.db")
        self.blobs = BlobStore(self.root / "blobs", self.database)
        self.index = SearchIndex(self.database)
        self.sessions = SessionStore(self.database, self.blobs, self.index)
        self.transcripts = TranscriptStore(self.database, self.sessions, self.index)

    def session_with_page(
        self, title: str = "Notes", owner: str = OWNER, colour: int = 255
    ) -> tuple[Session, KeptPage]:
        image = png(colour)
        sha = self.blobs.put(image, "image/png")
        session = self.sessions.create(owner, "transcribe", title)
        layer = (Word("Größe", Box(1, 2, 30.5, 12)),)
        page = Page(sha, 0, sha, 40, 30, dpi=150, text_layer=layer)
        (kept,) = self.sessions.add_asset(
            owner, session.id, Asset(sha, "image/png", "notes.png", len(image)), [page]
        )
        return session, kept


def png(colour: int = 255, size: tuple[int, int] = (40, 30)) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", size, colour).save(buffer, "PNG")
    return buffer.getvalue()


def read_line(text: str, top: float, confidence: float = 0.9, column: int = 0) -> ReadLine:
    box = Box(2, top, 38, top + 6)
    words = (
        WordReading(text.split()[0], 0.5, Box(2, top, 10, top + 6), (Alternative("chapeau", 0.25),), "loop"),
    )
    quad = ((2.0, top), (38.0, top + 1), (38.0, top + 6), (2.0, top + 5))
    return ReadLine(Line(box, quad, False, column), LineReading(text, confidence, words, "fast", ("why",)))


def page_reading(page: Page, *texts: str) -> PageReading:
    lines = tuple(read_line(text, 1 + 8 * number) for number, text in enumerate(texts))
    return PageReading(page, lines, "fast", 0.5, ("A note.",))
