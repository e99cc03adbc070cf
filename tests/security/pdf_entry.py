"""Everything that the app does with a PDF from outside, many files through one process of the PDF reader.

The app starts that process anew for each file, which takes a second; here one lives until a file kills it.
"""

from __future__ import annotations

import zlib
from typing import Any
from unittest import mock

from tests.security.pdf_seeds import FOLDER, PASSWORD
from vlm_studio.core.settings import Limits
from vlm_studio.ingest import pdf
from vlm_studio.ingest.upload import make_asset, pdf_page

LIMITS = Limits(page_pixels=300_000, page_seconds=20.0)
PAGES = 3
DPI = 72.0
TABLES_OF = 8
"""Tables are looked for in one of so many files: that takes ten times as long as all the rest."""
FILES_OF_ONE_PROCESS = 400
_Child = pdf._Child


class _Lent:
    """A process as `PdfFile` sees it; what `PdfFile` kills goes on for the next file."""

    living: Any = None
    files = 0
    died = 0
    """How often a file ended the process or took too long."""

    def __init__(self, limits: Limits) -> None:
        cls = type(self)
        if cls.living is not None and (
            cls.files >= FILES_OF_ONE_PROCESS or cls.living.process.poll() is not None
        ):
            cls.living.kill()
            cls.living = None
        if cls.living is None:
            cls.living, cls.files = _Child(limits), 0
        cls.files += 1

    def ask(self, *args: Any) -> Any:
        cls = type(self)
        try:
            answer = cls.living.ask(*args)
        except TimeoutError:
            cls.died += 1
            raise
        if answer is None:
            cls.died += 1
            cls.living.kill()
        return answer

    def kill(self) -> None:
        """Nothing of the file is asked any more."""


def pdf_seeds() -> tuple[bytes, ...]:
    return tuple(path.read_bytes() for path in sorted(FOLDER.glob("*.pdf")))


def open_pdf(data: bytes) -> None:
    """Pages as images with their words, the text layer, tables, and the file without its password."""
    asset = make_asset(data, "a.pdf", LIMITS)
    with mock.patch.object(pdf, "_Child", _Lent), pdf.PdfFile(data, "a.pdf", LIMITS, PASSWORD) as file:
        for index in range(min(PAGES, file.page_count)):
            pdf_page(asset, file.page(index, DPI))
            file.text(index)
        if zlib.crc32(data) % TABLES_OF == 0:
            file.tables(0)
        if b"/Encrypt" in data:
            file.unlocked()


def ended_processes() -> int:
    """How many files ended the process that read them, by a crash or by taking too long."""
    return _Lent.died


def close() -> None:
    if _Lent.living is not None:
        _Lent.living.kill()
        _Lent.living = None
