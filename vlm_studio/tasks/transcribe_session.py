"""Transcriptions that are kept: files come in, pages are read in the background, people put lines right.

Reading runs in its own thread (tasks/live.py): closing the tab loses nothing, and a second viewer sees
it from the start. A page is saved with one write when it is read; a stopped one with what there is.
"""

from __future__ import annotations

import io
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from PIL import Image

from vlm_studio.core.cancel import CancelToken
from vlm_studio.core.documents import (
    SAME_LINE,
    Asset,
    Box,
    Correction,
    LineReading,
    Page,
    PageReading,
    ReadLine,
)
from vlm_studio.core.errors import InvalidRequest
from vlm_studio.core.sessions import KeptLine, KeptPage, Session, SessionKind
from vlm_studio.core.settings import Limits
from vlm_studio.ingest.upload import make_asset, open_pages
from vlm_studio.tasks.export import FilePage, export
from vlm_studio.tasks.intake import Taken, take_files
from vlm_studio.tasks.live import LiveRun, LiveRuns
from vlm_studio.tasks.scoring import Score, difference, score
from vlm_studio.tasks.transcribe import PageEvent, PageRead, Transcriber, with_note

_ENDING = re.compile(r"\.\w{1,5}$")
"""Of a file name, which a session has for its title until somebody gives it another."""

_NOTES = "notes"
"""In a session's settings: what to know of its files, by their hash."""


class SessionRows(Protocol):
    def create(self, owner: str, kind: SessionKind, title: str) -> Session: ...
    def get(self, owner: str, session_id: str) -> Session: ...
    def add_asset(
        self, owner: str, session_id: str, asset: Asset, pages: Sequence[Page] = ()
    ) -> tuple[KeptPage, ...]: ...
    def pages(self, owner: str, session_id: str) -> tuple[KeptPage, ...]: ...
    def page(self, owner: str, page_id: str) -> KeptPage: ...
    def page_image(self, owner: str, page_id: str) -> bytes: ...
    def meta(self, owner: str, session_id: str) -> dict[str, Any]: ...
    def set_meta(self, owner: str, session_id: str, values: Mapping[str, Any]) -> None: ...


class TranscriptRows(Protocol):
    def save_reading(self, owner: str, page_id: str, reading: PageReading) -> tuple[KeptLine, ...]: ...
    def lines(self, owner: str, page_id: str) -> tuple[KeptLine, ...]: ...
    def line(self, owner: str, line_id: str) -> KeptLine: ...
    def reading(self, owner: str, page_id: str) -> PageReading | None: ...
    def correct(self, owner: str, line_id: str, text: str) -> KeptLine: ...
    def add_version(self, owner: str, line_id: str, reading: LineReading) -> KeptLine: ...
    def add_line(self, owner: str, page_id: str, read: ReadLine) -> KeptLine: ...
    def undo(self, owner: str, line_id: str) -> KeptLine: ...
    def redo(self, owner: str, line_id: str) -> KeptLine: ...
    def versions(self, owner: str, line_id: str) -> tuple[Correction, ...]: ...


class Blobs(Protocol):
    def put(self, data: bytes, mime: str) -> str: ...


@dataclass(frozen=True, slots=True)
class Progress:
    """One step of reading a session: `event` of page number `page` (0-based) of `total`."""

    page: int
    total: int
    event: PageEvent


class TranscribeSessions:
    """The Transcribe tab's and the API's use cases. Every method takes the owner of the rows."""

    def __init__(
        self,
        transcriber: Transcriber,
        sessions: SessionRows,
        transcripts: TranscriptRows,
        blobs: Blobs,
        live: LiveRuns,
        limits: Limits,
        personal: Callable[[str, str, str], str] | None = None,
    ) -> None:
        """`personal` gives (owner, session id, reader's name) the name of that reader with the owner's adapter."""
        self.transcriber = transcriber
        self.personal = personal or (lambda owner, session_id, reader: reader)
        self.sessions, self.transcripts, self.blobs = sessions, transcripts, blobs
        self.live, self.limits = live, limits
        self._starting = threading.Lock()

    def add_files(
        self, owner: str, session_id: str, files: Sequence[tuple[str, bytes]], password: str = ""
    ) -> Taken[KeptPage]:
        """Keep the files' pages in a session (a new one where `session_id` is empty).

        Raises NotFound for somebody else's session, InvalidRequest for too many files, StoreError.
        """

        def keep(session_id: str, name: str, data: bytes) -> Iterator[tuple[str, KeptPage]]:
            asset = make_asset(data, name, self.limits)
            pages, note = self._keep_pages(data, asset, password)
            session_id = session_id or self.sessions.create(owner, "transcribe", asset.filename).id
            if note:
                known = self.sessions.meta(owner, session_id).get(_NOTES, {})
                self.sessions.set_meta(owner, session_id, {_NOTES: {**known, asset.sha256: note}})
            for page in self.sessions.add_asset(owner, session_id, asset, pages):
                yield session_id, page

        return take_files(session_id, files, self.limits, keep)

    def _keep_pages(self, data: bytes, asset: Asset, password: str) -> tuple[list[Page], str]:
        """The pages, and what to know of their file."""
        pages, note = [], ""
        for opened in open_pages(data, asset.filename, self.limits, password):
            self.blobs.put(opened.encoded, opened.mime)
            pages.append(opened.page)
            note = opened.note
        self.blobs.put(data, asset.mime)
        return pages, note

    def start(self, owner: str, session_id: str, reader: str) -> LiveRun[object]:
        """Read every page of the session that nobody has read yet; joins a reading that is under way."""
        with self._starting:
            return self.running(owner, session_id) or self._start(owner, session_id, reader)

    def _start(self, owner: str, session_id: str, reader: str) -> LiveRun[object]:
        pages = self.sessions.pages(owner, session_id)
        reader = self.personal(owner, session_id, reader)
        notes = self.sessions.meta(owner, session_id).get(_NOTES, {})

        def work(cancel: CancelToken) -> Iterator[object]:
            for number, kept in enumerate(pages):
                if cancel.cancelled:
                    return
                if self.transcripts.reading(owner, kept.id) is not None:
                    continue
                image = self.image(owner, kept.id)
                for event in self.transcriber.read_page(kept.page, image, reader, cancel):
                    if isinstance(event, PageRead):
                        event = PageRead(with_note(event.reading, notes.get(kept.page.asset_sha256, "")))
                        self.transcripts.save_reading(owner, kept.id, event.reading)
                    yield Progress(number, len(pages), event)

        return self.live.start(session_id, owner, work)

    def running(self, owner: str, session_id: str) -> LiveRun[object] | None:
        """The reading under way, for a viewer that comes (back) to it."""
        return self.live.under_way(session_id, owner)

    def stop(self, owner: str, session_id: str) -> None:
        self.live.stop(session_id, owner)

    def pages(self, owner: str, session_id: str) -> tuple[KeptPage, ...]:
        return self.sessions.pages(owner, session_id)

    def image(self, owner: str, page_id: str) -> Image.Image:
        return Image.open(io.BytesIO(self.sessions.page_image(owner, page_id))).convert("RGB")

    def lines(self, owner: str, page_id: str) -> tuple[KeptLine, ...]:
        return self.transcripts.lines(owner, page_id)

    def reading(self, owner: str, page_id: str) -> PageReading | None:
        return self.transcripts.reading(owner, page_id)

    def correct(self, owner: str, line_id: str, text: str) -> KeptLine:
        """A person's own text for a line. Raises InvalidRequest when it is empty."""
        if not text.strip():
            raise InvalidRequest("This line has no text.", "Type what stands there, or leave it as it was.")
        kept = self.transcripts.line(owner, line_id)
        if kept.reading.text == text.strip() and kept.author == "person":
            return kept
        return self.transcripts.correct(owner, line_id, text)

    def undo(self, owner: str, line_id: str) -> KeptLine:
        return self.transcripts.undo(owner, line_id)

    def redo(self, owner: str, line_id: str) -> KeptLine:
        return self.transcripts.redo(owner, line_id)

    def changes(self, owner: str, line_id: str) -> tuple[tuple[str, str], ...]:
        """What the person changed in what a reader read; empty where nobody has."""
        versions = self.transcripts.versions(owner, line_id)
        current = self.transcripts.line(owner, line_id)
        read = [v.text for v in versions if v.author == "reader" and v.number < current.version]
        if current.author != "person" or not read:
            return ()
        return difference(read[-1], current.reading.text)

    def reread(self, owner: str, line_id: str, reader: str) -> KeptLine:
        """One line with another reader; its reading becomes the newest version."""
        kept = self.transcripts.line(owner, line_id)
        image = self.image(owner, kept.page_id)
        reader = self.personal(owner, self.sessions.page(owner, kept.page_id).session_id, reader)
        (read,) = self.transcriber.read_lines(
            image, [kept.line], self.transcriber.reader(reader), CancelToken()
        )
        return self.transcripts.add_version(owner, line_id, read.reading)

    def read_region(self, owner: str, page_id: str, region: Box, reader: str) -> tuple[KeptLine, ...]:
        """Lines inside a region that a person marked: a new version of those that the page has, others added where they stand."""
        image = self.image(owner, page_id)
        reader = self.personal(owner, self.sessions.page(owner, page_id).session_id, reader)
        found = self.transcriber.read_region(image, region, reader, CancelToken())
        known = list(self.transcripts.lines(owner, page_id))
        kept = []
        for read in found:
            same = next((old for old in known if old.line.box.overlap(read.line.box) >= SAME_LINE), None)
            if same is None:
                kept.append(self.transcripts.add_line(owner, page_id, read))
            else:
                known.remove(same)
                kept.append(self.transcripts.add_version(owner, same.id, read.reading))
        return tuple(kept)

    def compare(self, owner: str, page_id: str, reference: str) -> tuple[Score, tuple[tuple[str, str], ...]]:
        """Error rates of a page against a pasted text, and the difference. Raises InvalidRequest."""
        reading = self.transcripts.reading(owner, page_id)
        if not reference.strip() or reading is None:
            raise InvalidRequest("There is nothing to compare with.", "Paste the correct text of this page.")
        return score(reading.text, reference), difference(reading.text, reference)

    def export(self, owner: str, session_id: str, kind: str) -> tuple[bytes, str]:
        """(content, file name) of a whole session. Raises InvalidRequest where nothing was read yet."""
        pages = []
        for kept in self.sessions.pages(owner, session_id):
            reading = self.transcripts.reading(owner, kept.id)
            if reading is not None:
                image = self.sessions.page_image(owner, kept.id) if kind == "pdf" else b""
                pages.append(FilePage(kept.filename, reading, image))
        if not pages:
            raise InvalidRequest("Nothing has been read yet.", "Wait until the first page is read.")
        content, extension = export(pages, kind, self.limits)
        title = _ENDING.sub("", self.sessions.get(owner, session_id).title)
        safe = "".join(c if c.isalnum() or c in "-_ " else "_" for c in title).strip()[:60] or "transcription"
        return content, safe + extension
