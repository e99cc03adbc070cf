"""Questions over documents: files to pages, pages to passages, a question to an answer with its proof.

What a document says is only ever searched and quoted. Nothing in it is taken for an instruction.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from PIL import Image

from vlm_studio.core.answers import Citation, DocumentAnswer
from vlm_studio.core.cancel import CancelToken
from vlm_studio.core.documents import Page
from vlm_studio.core.passages import PageText, PageWord, Passage
from vlm_studio.core.settings import Limits
from vlm_studio.ingest.images import page_count
from vlm_studio.ingest.pdf import TEXT_LAYER, PdfFile
from vlm_studio.ingest.upload import make_asset, open_pages
from vlm_studio.tasks.documents_answer import Found, answer
from vlm_studio.tasks.documents_passages import boxes_of, passages_of
from vlm_studio.tasks.documents_quality import layer_is_good
from vlm_studio.tasks.documents_question import Question, understand
from vlm_studio.tasks.documents_rank import Corpus, Similar
from vlm_studio.tasks.documents_scope import refuse_beyond
from vlm_studio.tasks.documents_terms import Rarity, Thesaurus
from vlm_studio.tasks.documents_weigh import Evidence
from vlm_studio.tasks.transcribe import PageRead, Transcriber

READ_DPI = 200.0
"""Resolution at which a page of a PDF is read where its text layer is missing or no good."""
POINTS_PER_INCH = 72.0
HIDDEN = "{} words of its text layer show no ink on the page and were left out."
SURE = 0.9
"""Mean confidence of the quick reader from which its reading of a page stands (print)."""


@dataclass(frozen=True, slots=True)
class AskedDocument:
    """A document as it is asked: the pages that were taken in, each once."""

    name: str
    pages: tuple[PageText, ...]
    id: str = ""
    """Of the kept document; empty where it is not kept."""


class PageReader:
    """Pages that carry no usable text, read: the quick reader first, the best one where it is in doubt."""

    def __init__(self, transcriber: Callable[[], Transcriber], quick: str = "fast") -> None:
        """`transcriber` is made at the first page that has to be read: digital PDFs never need one."""
        self._make, self.quick = transcriber, quick

    @cached_property
    def transcriber(self) -> Transcriber:
        return self._make()

    def read(self, page: Page, image: Image.Image, cancel: CancelToken) -> PageText:
        """Words in pixels of the image. Raises Cancelled, ModelUnavailable."""
        best = self.transcriber.choose()[0]
        first = self._with(self.quick if self.quick in self.transcriber.names else best, page, image, cancel)
        if first[1] >= SURE or best == first[0].source:
            return first[0]
        return self._with(best, page, image, cancel)[0]

    def _with(
        self, reader: str, page: Page, image: Image.Image, cancel: CancelToken
    ) -> tuple[PageText, float]:
        words: list[PageWord] = []
        sure: list[float] = []
        for event in self.transcriber.read_page(page, image, reader, cancel):
            if not isinstance(event, PageRead):
                continue
            for number, line in enumerate(event.reading.lines):
                height = line.line.box.height
                for word in line.reading.words:
                    words.append(PageWord(word.text, word.box, number, 0.75 * height))
                    sure += [word.confidence] * len(word.text)
        cancel.raise_if_cancelled()
        mean = sum(sure) / len(sure) if sure else 1.0
        text = PageText(page.index, page.width_px, page.height_px, "px", tuple(words), reader)
        return text, mean


def read_document(
    data: bytes, filename: str, limits: Limits, reader: PageReader, rarity: Rarity, password: str = "",
    wanted: Sequence[int] | None = None, cancel: CancelToken | None = None,
) -> Iterator[PageText]:  # fmt: skip
    """The pages of an image or PDF as text with places; `wanted` (0-based) leaves the others out.

    Raises UserInputError for a file that cannot be opened, InvalidRequest for one without a wanted page.
    """
    cancel = cancel or CancelToken()
    if make_asset(data, filename, limits).mime != "application/pdf":
        refuse_beyond(wanted, [(filename, page_count(data, filename, limits))])
        for opened in open_pages(data, filename, limits):
            cancel.raise_if_cancelled()
            if wanted is None or opened.page.index in wanted:
                yield reader.read(opened.page, opened.image, cancel)
        return
    with PdfFile(data, filename, limits, password) as pdf:
        refuse_beyond(wanted, [(filename, pdf.page_count)])
        for index in range(pdf.page_count) if wanted is None else wanted:
            cancel.raise_if_cancelled()
            if 0 <= index < pdf.page_count:
                yield read_pdf_page(pdf, index, reader, rarity, cancel)


def read_pdf_page(
    pdf: PdfFile, index: int, reader: PageReader, rarity: Rarity, cancel: CancelToken
) -> PageText:
    """The text layer where it is good; else the page is rendered and read, and its places turned to points."""
    note = (pdf.note,) if pdf.note else ()
    layer = pdf.text(index)
    if layer_is_good(layer, rarity):
        hidden = (HIDDEN.format(layer.hidden),) if layer.hidden else ()
        return replace(layer.page, notes=(*note, *hidden))
    rendered = pdf.page(index, READ_DPI)
    image = Image.open(io.BytesIO(rendered.jpeg)).convert("RGB")
    read = reader.read(Page("", index, "", image.width, image.height), image, cancel)
    scale = POINTS_PER_INCH / rendered.dpi
    words = tuple(replace(w, box=w.box.scaled(scale), size=w.size * scale) for w in read.words)
    return PageText(
        index, layer.page.width, layer.page.height, "pt", words, read.source, (*note, *read.notes)
    )


@dataclass(frozen=True, slots=True)
class Scope:
    """Which documents and pages may answer; empty: all."""

    documents: frozenset[int] = frozenset()
    pages: frozenset[int] = frozenset()
    """0-based."""

    def holds(self, passage: Passage) -> bool:
        return (not self.documents or passage.document in self.documents) and (
            not self.pages or passage.page in self.pages
        )


EVERYTHING = Scope()


class Documents:
    """Documents taken in, ready to be asked any number of questions."""

    def __init__(
        self, documents: Sequence[AskedDocument], rarity: Rarity, similar: Similar | None = None
    ) -> None:
        self.documents, self.rarity, self.similar = tuple(documents), rarity, similar
        self.passages = [p for i, d in enumerate(documents) for p in passages_of(d.pages, i)]
        read = any(page.source != TEXT_LAYER for d in documents for page in d.pages)
        self.corpus = Corpus(self.passages, [d.name for d in documents], read, rarity, Thesaurus())
        self._pages = {(i, page.index): page for i, d in enumerate(documents) for page in d.pages}

    def find(self, text: str, scope: Scope = EVERYTHING) -> tuple[Question, Found]:
        """Raises InvalidRequest for an empty question."""
        question = understand(text, self.rarity)
        return question, answer(self.corpus, question, scope.holds, self.similar)

    def ask(self, text: str, scope: Scope = EVERYTHING) -> DocumentAnswer:
        """Raises InvalidRequest for an empty question."""
        started = time.monotonic()
        _, found = self.find(text, scope)
        citations = tuple(self.cited(evidence) for evidence in found.evidence)
        return DocumentAnswer(found.text, bool(citations), citations, time.monotonic() - started, found.why)

    def cited(self, evidence: Evidence) -> Citation:
        first = evidence.passages[0]
        document = self.documents[first.document]
        page = self._pages[first.document, first.page]
        boxes = [box for p in evidence.passages for box in boxes_of(page, p.words, whole_row=bool(p.cells))]
        return Citation(
            document.name, document.id or str(first.document), first.page, evidence.quote, tuple(boxes)
        )


def json_value(found: DocumentAnswer, seconds: float) -> dict[str, Any]:
    """What the command line and the API give."""
    return {
        "answer": found.text,
        "found": found.found,
        "citations": [
            {
                "file": citation.document,
                "page": citation.page_index + 1,
                "quote": citation.quote,
                "boxes": [box.as_list() for box in citation.boxes],
            }
            for citation in found.citations
        ],
        "seconds": round(seconds, 3),
    }
