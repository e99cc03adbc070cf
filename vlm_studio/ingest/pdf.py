"""PDFs through a child process that can be killed: pages as images with their words, and searchable PDFs."""

from __future__ import annotations

import logging
import queue
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from vlm_studio.core.documents import Box, Word
from vlm_studio.core.errors import DamagedFile, FileTooLarge, PasswordNeeded, StudioError, UnsupportedFile
from vlm_studio.core.passages import PageText, PageWord
from vlm_studio.core.settings import Limits
from vlm_studio.ingest.pdf_worker import read_message, write_message

log = logging.getLogger(__name__)

_START_SECONDS = 60.0

TEXT_LAYER = "text layer"
"""`PageText.source` of words that the PDF itself carries."""
REPAIRED = "{} was damaged and has been repaired: pages, or what stood on them, may be missing."


@dataclass(frozen=True, slots=True)
class PdfWord:
    """A word of the text layer, in pixels of the rendered page, with MuPDF's block and line numbers."""

    word: Word
    block: int
    line: int


@dataclass(frozen=True, slots=True)
class PdfPage:
    """A rendered page."""

    index: int
    jpeg: bytes
    width_px: int
    height_px: int
    dpi: float
    words: tuple[PdfWord, ...]


@dataclass(frozen=True, slots=True)
class PdfText:
    """The text layer of a page, what of it no eye can see left out."""

    page: PageText
    hidden: int
    """Words left out because the page shows no ink where they stand."""
    pictured: float
    """Share of the page that pictures cover, 0..1."""
    blank: bool
    """Whether the page shows nothing at all."""


@dataclass(frozen=True, slots=True)
class SearchablePage:
    """A page image (PNG or JPEG bytes) and its words in that image's pixels."""

    image: bytes
    width_px: int
    height_px: int
    words: tuple[Word, ...]
    dpi: float = 150.0


class _Child:
    """The process and a thread that reads its answers, so that waiting for one can time out anywhere."""

    def __init__(self, limits: Limits) -> None:
        command = [sys.executable, "-m", "vlm_studio.ingest.pdf_worker", str(limits.pdf_memory_bytes)]
        root = Path(__file__).resolve().parents[2]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=root
        )
        self._answers: queue.Queue[tuple[dict[str, Any], bytes] | None] = queue.Queue()
        assert self.process.stdout is not None
        threading.Thread(target=self._listen, args=(self.process.stdout,), daemon=True).start()

    def _listen(self, stream: IO[bytes]) -> None:
        try:
            while (message := read_message(stream)) is not None:
                self._answers.put(message)
        except (OSError, ValueError):
            log.info("the PDF process closed its pipe", exc_info=True)
        self._answers.put(None)

    def ask(
        self, header: dict[str, Any], payload: bytes, seconds: float
    ) -> tuple[dict[str, Any], bytes] | None:
        """None when the child died. Raises TimeoutError, and the child is dead afterwards."""
        assert self.process.stdin is not None
        try:
            write_message(self.process.stdin, header, payload)
            return self._answers.get(timeout=seconds)
        except queue.Empty:
            self.kill()
            raise TimeoutError from None
        except OSError:
            return None

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                try:
                    stream.close()
                except OSError:
                    log.debug("the pipe was closed already", exc_info=True)


class PdfFile:
    """An open PDF. Use as a context manager: the child ends with it.

    Raises UnsupportedFile, DamagedFile, PasswordNeeded or FileTooLarge. After a page that took too long the
    child is started anew, so the other pages can still be read.
    """

    def __init__(self, data: bytes, filename: str, limits: Limits, password: str = "") -> None:
        if b"%PDF-" not in data[:1024]:
            raise UnsupportedFile(
                f"{filename} is not a PDF, whatever its name says.", "Export it as PDF again."
            )
        self.filename, self.limits = filename, limits
        self._data, self._password = data, password
        self._child: _Child | None = None
        self._lock = threading.Lock()
        self.page_count = 0
        self.note = ""
        """What to know of the whole file: that it was damaged."""
        self._open()
        if self.page_count > limits.pdf_pages:
            self.close()
            raise FileTooLarge(
                f"{filename} has {self.page_count} pages; up to {limits.pdf_pages} are taken.",
                "Split it first.",
            )

    def __enter__(self) -> PdfFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child = None

    def page(self, index: int, dpi: float = 220.0) -> PdfPage:
        """Page `index` (0-based), at most `dpi` and within the pixel budget."""
        header, image = self._ask(
            {"op": "page", "index": index, "pixels": self.limits.page_pixels, "dpi": dpi}
        )
        words = tuple(
            PdfWord(Word(str(text), Box(x0, y0, x1, y1)), int(block), int(line))
            for x0, y0, x1, y1, text, block, line, _ in header["words"]
        )
        return PdfPage(index, image, int(header["width"]), int(header["height"]), float(header["dpi"]), words)

    def unlocked(self) -> bytes:
        """The file without its encryption, so that it can be opened later without the password."""
        with self._lock:
            if self._child is None:
                self._open()
            return self._answer({"op": "unlocked"}, b"", _START_SECONDS, "unlocking it")[1]

    def text(self, index: int) -> PdfText:
        """What can be read on page `index` (0-based) without a reader; quick, nothing is kept of its image."""
        header, _ = self._ask({"op": "text", "index": index})
        words = tuple(
            PageWord(str(text), Box(x0, y0, x1, y1), int(line), float(size), bool(bold))
            for x0, y0, x1, y1, text, line, size, bold in header["words"]
        )
        return PdfText(
            PageText(index, float(header["width"]), float(header["height"]), "pt", words, TEXT_LAYER),
            int(header["hidden"]),
            float(header["pictured"]),
            bool(header["blank"]),
        )

    def tables(self, index: int) -> list[list[tuple[int, int, str, Box]]]:
        """Tables of a page: cells as (row, column, text, box in points of the displayed page)."""
        header, _ = self._ask({"op": "tables", "index": index})
        return [[(int(r), int(c), str(t), Box(*box)) for r, c, t, box in table] for table in header["tables"]]

    def _open(self) -> None:
        self._child = _Child(self.limits)
        request = {"op": "open", "password": self._password}
        header, _ = self._answer(request, self._data, _START_SECONDS, "opening it")
        if header["state"] == "not pdf":
            self.close()
            raise UnsupportedFile(
                f"{self.filename} is not a PDF, whatever its name says.", "Export it again."
            )
        if header["state"] == "password":
            self.close()
            wrong = "That password does not open" if self._password else "A password protects"
            raise PasswordNeeded(f"{wrong} {self.filename}.", "Type the password of the PDF and try again.")
        self.page_count = int(header["pages"])
        self.note = REPAIRED.format(self.filename) if header["repaired"] else ""
        if self.page_count == 0:
            self.close()
            raise DamagedFile(f"{self.filename} has no readable page.", "Export it again and retry.")

    def _ask(self, request: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        with self._lock:
            if self._child is None:
                self._open()
            return self._answer(
                request, b"", self.limits.page_seconds, f"reading page {request['index'] + 1}"
            )

    def _answer(
        self, request: dict[str, Any], payload: bytes, seconds: float, what: str
    ) -> tuple[dict[str, Any], bytes]:
        assert self._child is not None
        try:
            answer = self._child.ask(request, payload, seconds)
        except TimeoutError as error:
            self._child = None
            raise FileTooLarge(
                f"{self.filename}: {what} is too complex; it was given up after {seconds:.0f} seconds.",
                "Print that page to a new PDF, or photograph it.",
            ) from error
        if answer is None:
            self.close()
            raise DamagedFile(
                f"{self.filename}: {what} crashed the PDF reader.", "Export it again and retry."
            )
        if not answer[0]["ok"]:
            raise self._failure(answer[0], what)
        return answer

    def _failure(self, header: dict[str, Any], what: str) -> StudioError:
        log.info("%s: %s: %s", self.filename, what, header.get("detail", header["error"]))
        if header["error"] == "memory":
            return FileTooLarge(f"{self.filename}: {what} needs too much memory.", "Print it to a new PDF.")
        return DamagedFile(f"{self.filename} is damaged: {what} failed.", "Export the PDF again and retry.")


def searchable_pdf(pages: Sequence[SearchablePage], limits: Limits) -> bytes:
    """A PDF that looks like the page images and can be searched and copied from. Raises StudioError."""
    header = {
        "op": "searchable",
        "pages": [
            {
                "bytes": len(page.image),
                "width": page.width_px,
                "height": page.height_px,
                "dpi": page.dpi,
                "words": [[*word.box.as_list(2), word.text] for word in page.words],
            }
            for page in pages
        ],
    }
    child = _Child(limits)
    try:
        answer = child.ask(header, b"".join(page.image for page in pages), _START_SECONDS + 2.0 * len(pages))
    except TimeoutError as error:
        raise FileTooLarge("Writing the PDF took too long.", "Export fewer pages at once.") from error
    finally:
        child.kill()
    if answer is None or not answer[0]["ok"]:
        raise StudioError("The searchable PDF could not be written.", "Try another format.")
    return answer[1]
