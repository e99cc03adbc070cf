"""Documents taken in, in the background: page by page, in turn, going on where the app was stopped.

One thread for all; documents take turns, so that a long one holds up nobody. How far each got stands in the
store after every page: closing the tab loses nothing, and neither does ending the app.
"""

from __future__ import annotations

import io
import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from PIL import Image

from vlm_studio.core.asked import KeptDocument
from vlm_studio.core.cancel import CancelToken
from vlm_studio.core.documents import Page
from vlm_studio.core.errors import Cancelled, StudioError, UserInputError
from vlm_studio.core.passages import PageText
from vlm_studio.core.sessions import JobState
from vlm_studio.core.settings import Limits
from vlm_studio.ingest.images import open_image
from vlm_studio.ingest.pdf import PdfFile
from vlm_studio.tasks.ask_pdf import PageReader, read_pdf_page
from vlm_studio.tasks.documents_terms import Rarity

log = logging.getLogger(__name__)

TURN_SECONDS = 2.0
"""How long a document is worked on before the next has its turn; at least one page."""


class IndexRows(Protocol):
    def unfinished(self) -> tuple[KeptDocument, ...]: ...
    def missing_page(self, document_id: str) -> int | None: ...
    def save_page(self, document: KeptDocument, page: PageText) -> None: ...
    def set_state(
        self, document_id: str, state: JobState, message: str = "", only_from: Sequence[JobState] = ()
    ) -> bool: ...


class Indexer:
    """Works while there is something to do; `start` wakes it. Closing it waits for the page at hand."""

    def __init__(
        self,
        store: IndexRows,
        read_blob: Callable[[str], bytes],
        reader: PageReader,
        rarity: Rarity,
        limits: Limits,
    ) -> None:
        self.store, self.read_blob, self.reader = store, read_blob, reader
        self.rarity, self.limits = rarity, limits
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._cancel = CancelToken()
        self._open: tuple[str, PdfFile] | None = None

    def start(self) -> None:
        """Work on what waits, unless that is under way already."""
        with self._lock:
            if self._cancel.cancelled or (self._thread is not None and self._thread.is_alive()):
                return
            if self.store.unfinished():
                self._thread = threading.Thread(target=self._work, name="documents", daemon=True)
                self._thread.start()

    def wait(self, timeout: float) -> bool:
        """Until nothing is left to do; False where `timeout` seconds were not enough."""
        thread = self._thread
        if thread is not None:
            thread.join(timeout)
        return thread is None or not thread.is_alive()

    def close(self, timeout: float = 10.0) -> bool:
        self._cancel.cancel()
        return self.wait(timeout)

    def _work(self) -> None:
        try:
            while not self._cancel.cancelled:
                waiting = self.store.unfinished()
                if not waiting:
                    with self._lock:
                        # Whoever adds a document after this look starts a new thread.
                        if not self.store.unfinished():
                            self._thread = None
                            return
                    continue
                self._turn(waiting[0])
        except Cancelled:
            log.info("taking in documents was stopped; it goes on at the next start")
        except Exception:
            log.exception("taking in documents ended")
        finally:
            self._close_pdf()

    def _turn(self, document: KeptDocument) -> None:
        """Some pages of one document."""
        if not self.store.set_state(document.id, "running", document.message, ("queued", "running")):
            return
        started = time.monotonic()
        while time.monotonic() - started < TURN_SECONDS and not self._cancel.cancelled:
            index = self.store.missing_page(document.id)
            if index is None:
                self.store.set_state(document.id, "done", document.message, ("running",))
                return
            if index > 0 and not self._still_wanted(document.id):
                return
            try:
                page = self._page(document, index)
            except Cancelled:
                raise
            except StudioError as problem:
                log.info("%s: %s", document.id, problem, exc_info=True)
                self.store.set_state(document.id, "failed", str(problem), ("running",))
                return
            self.store.save_page(document, page)

    def _still_wanted(self, document_id: str) -> bool:
        """False once a person paused, cancelled or removed it."""
        return any(d.id == document_id for d in self.store.unfinished())

    def _page(self, document: KeptDocument, index: int) -> PageText:
        """Raises StudioError where the file cannot be used at all; a bad page is an empty one with a note."""
        pdf = self._pdf(document) if document.mime == "application/pdf" else None
        try:
            if pdf is not None:
                return read_pdf_page(pdf, index, self.reader, self.rarity, self._cancel)
            image = open_image(self.read_blob(document.sha256), document.name, self.limits, index)
            return self.reader.read(Page("", index, "", image.width, image.height), image, self._cancel)
        except UserInputError as problem:
            if document.pages == 1 and pdf is None:
                raise
            return PageText(index, 595.0, 842.0, "pt", (), "none", (str(problem),))

    def _pdf(self, document: KeptDocument) -> PdfFile:
        if self._open is None or self._open[0] != document.id:
            self._close_pdf()
            data = self.read_blob(document.sha256)
            self._open = (document.id, PdfFile(data, document.name, self.limits))
        return self._open[1]

    def _close_pdf(self) -> None:
        if self._open is not None:
            self._open[1].close()
            self._open = None


def page_image(data: bytes, document: KeptDocument, index: int, limits: Limits, dpi: float) -> Image.Image:
    """The page as it is displayed, upright RGB. Raises UserInputError."""
    if document.mime != "application/pdf":
        return open_image(data, document.name, limits, index)
    with PdfFile(data, document.name, limits) as pdf:
        return Image.open(io.BytesIO(pdf.page(index, dpi).jpeg)).convert("RGB")
