"""Documents that are kept and asked: files come in, are taken in in the background, and answer questions."""

from __future__ import annotations

import csv
import io
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from PIL import Image

from vlm_studio.core.answers import DocumentAnswer
from vlm_studio.core.asked import AskedTurn, KeptDocument
from vlm_studio.core.cancel import CancelToken
from vlm_studio.core.conversation import TextPart, Variant
from vlm_studio.core.documents import Asset
from vlm_studio.core.errors import InvalidRequest, NotFound, StudioError
from vlm_studio.core.ids import new_id, utc_now
from vlm_studio.core.passages import PageText
from vlm_studio.core.sessions import JobState, Session, SessionKind
from vlm_studio.core.settings import Limits
from vlm_studio.ingest.images import page_count
from vlm_studio.ingest.pdf import PdfFile
from vlm_studio.ingest.upload import make_asset
from vlm_studio.tasks.ask_pdf import AskedDocument, Documents, Scope
from vlm_studio.tasks.documents_followup import completed, leans_back
from vlm_studio.tasks.documents_index import Indexer, page_image
from vlm_studio.tasks.documents_phrase import Phraser
from vlm_studio.tasks.documents_question import understand
from vlm_studio.tasks.documents_rank import Similar
from vlm_studio.tasks.documents_scope import beyond, length_of, pages_of, refuse_beyond
from vlm_studio.tasks.documents_stance import PageStance, stances
from vlm_studio.tasks.intake import Taken, take_files
from vlm_studio.tasks.sessions_document import Entry

log = logging.getLogger(__name__)

AUTO = Variant("auto")
LOOKING = "Looking it up."
DISPLAY_DPI = 130.0
KEPT_SESSIONS, KEPT_IMAGES = 4, 24
"""Sessions whose passages, and pages whose pictures, stay in memory."""


class SessionRows(Protocol):
    def create(self, owner: str, kind: SessionKind, title: str) -> Session: ...
    def get(self, owner: str, session_id: str) -> Session: ...


class DocumentRows(Protocol):
    def add(self, owner: str, session_id: str, asset: Asset, pages: int) -> KeptDocument: ...
    def documents(self, owner: str, session_id: str) -> tuple[KeptDocument, ...]: ...
    def document(self, owner: str, document_id: str) -> KeptDocument: ...
    def remove(self, owner: str, document_id: str) -> None: ...
    def set_state(
        self, document_id: str, state: JobState, message: str = "", only_from: Sequence[JobState] = ()
    ) -> bool: ...
    def pages(self, owner: str, document_id: str) -> tuple[PageText, ...]: ...
    def add_turn(self, owner: str, session_id: str, turn: AskedTurn) -> None: ...
    def turns(self, owner: str, session_id: str) -> tuple[AskedTurn, ...]: ...


class Blobs(Protocol):
    def put(self, data: bytes, mime: str) -> str: ...
    def read(self, owner: str, sha256: str) -> bytes: ...


@dataclass(frozen=True, slots=True)
class DocumentRow:
    """What one document answers, where the same was asked of each."""

    document: KeptDocument
    answer: DocumentAnswer


class DocumentSessions:
    """The Documents tab's and the API's use cases. Every method takes the owner of the rows."""

    def __init__(
        self,
        sessions: SessionRows,
        store: DocumentRows,
        blobs: Blobs,
        indexer: Indexer,
        limits: Limits,
        similar: Similar | None,
        phraser: Phraser | None = None,
    ) -> None:
        self.sessions, self.store, self.blobs = sessions, store, blobs
        self.indexer, self.limits, self.similar, self.phraser = indexer, limits, similar, phraser
        self._asked: OrderedDict[tuple[str, str], tuple[object, Documents]] = OrderedDict()
        self._images: OrderedDict[tuple[str, int], Image.Image] = OrderedDict()
        self._answering: set[tuple[str, str]] = set()
        self._lock = threading.Lock()

    def add_files(
        self, owner: str, session_id: str, files: Sequence[tuple[str, bytes]], password: str = ""
    ) -> Taken[KeptDocument]:
        """Keep files in a session (a new one where `session_id` is empty) and begin to take them in.

        Returns once they are opened. Raises NotFound for somebody else's session, InvalidRequest for too many
        files, StoreError.
        """
        notes: list[str] = []

        def keep(session_id: str, name: str, data: bytes) -> Iterator[tuple[str, KeptDocument]]:
            asset, content, pages, note = self._opened(name, data, password)
            self.blobs.put(content, asset.mime)
            session_id = session_id or self.sessions.create(owner, "documents", asset.filename).id
            yield session_id, self.store.add(owner, session_id, asset, pages)
            if note:
                notes.append(note)

        taken = take_files(session_id, files, self.limits, keep)
        self.indexer.start()
        return replace(taken, problems=(*taken.problems, *notes))

    def _opened(self, name: str, data: bytes, password: str) -> tuple[Asset, bytes, int, str]:
        """The file as it is kept (an encrypted PDF unlocked), how many pages it has, and what to know of it."""
        asset = make_asset(data, name, self.limits)
        if asset.mime != "application/pdf":
            return asset, data, page_count(data, asset.filename, self.limits), ""
        with PdfFile(data, asset.filename, self.limits, password) as pdf:
            pages, note = pdf.page_count, pdf.note
            if password:
                data = pdf.unlocked()
                asset = make_asset(data, name, self.limits)
        return asset, data, pages, note

    def documents(self, owner: str, session_id: str) -> tuple[KeptDocument, ...]:
        return self.store.documents(owner, session_id)

    def pause(self, owner: str, document_id: str) -> None:
        self._set(owner, document_id, "paused", ("queued", "running"))

    def resume(self, owner: str, document_id: str) -> None:
        """Go on with a paused, cancelled or failed one."""
        self._set(owner, document_id, "queued", ("paused", "cancelled", "failed"))
        self.indexer.start()

    def cancel(self, owner: str, document_id: str) -> None:
        """Stop taking it in; the pages that are there can be asked."""
        self._set(owner, document_id, "cancelled", ("queued", "running", "paused"))

    def remove(self, owner: str, document_id: str) -> None:
        self.store.remove(owner, document_id)

    def _set(self, owner: str, document_id: str, state: JobState, only_from: Sequence[JobState]) -> None:
        self.store.document(owner, document_id)
        self.store.set_state(document_id, state, "", only_from)

    def settle(self, owner: str, session_id: str, seconds: float) -> None:
        """Wait until the session's documents are taken in, or `seconds` are over."""
        until = time.monotonic() + seconds
        while any(d.waiting for d in self.store.documents(owner, session_id)) and time.monotonic() < until:
            self.indexer.start()
            self.indexer.wait(0.5)

    def turns(self, owner: str, session_id: str) -> tuple[AskedTurn, ...]:
        return self.store.turns(owner, session_id)

    def entries(self, owner: str, session_id: str) -> Iterator[Entry]:
        """Every question with its answer and the quotes it rests on, as a document has it."""
        for turn in self.store.turns(owner, session_id):
            yield Entry("You", (TextPart(turn.question),))
            quotes = [
                TextPart(f"{c.document}, page {c.page_index + 1}: “{c.quote}”", quoted=True)
                for c in turn.answer.citations
            ]
            yield Entry("Answer", (TextPart(turn.answer.text), *quotes))

    def ask(
        self,
        owner: str,
        session_id: str,
        text: str,
        chosen: Sequence[str] = (),
        pages: str = "",
        variant: Variant = AUTO,
    ) -> AskedTurn:
        """Ask the documents of a session, or the `chosen` ones (ids), and keep question and answer.

        Raises InvalidRequest for an empty question, a bad page range, or while no page is taken in yet.
        """
        *_, turn = self._asking(owner, session_id, text, chosen, pages, variant)
        assert isinstance(turn, AskedTurn)
        return turn

    def asking(
        self, owner: str, session_id: str, text: str, chosen: Sequence[str], pages: str, variant: Variant
    ) -> Iterator[str | AskedTurn]:
        """As `ask`, with sentences on what is going on first: a large model may have to be loaded.

        The first sentence comes once the question is taken: what could be wrong with it has been raised by then,
        also that another one of this session is being answered.
        `variant`: who puts the answer into a sentence, where that model sees pages.
        """
        place = (owner, session_id)
        with self._lock:
            if place in self._answering:
                raise InvalidRequest("An answer is still being written.", "Ask this once it is there.")
            self._answering.add(place)
        try:
            yield from self._asking(owner, session_id, text, chosen, pages, variant)
        finally:
            self._answering.discard(place)

    def _asking(
        self, owner: str, session_id: str, text: str, chosen: Sequence[str], pages: str, variant: Variant
    ) -> Iterator[str | AskedTurn]:
        self._taken_in(owner, session_id, chosen, pages)
        understand(text, self.indexer.rarity, self.limits.question_chars)
        yield LOOKING
        asked = self._ready(owner, session_id)
        search = self._completed(owner, session_id, text, asked)
        answer = asked.ask(search, self._scope(asked, chosen, pages))
        said_by, note = None, ""
        try:
            said = yield from self._phrased(owner, search, answer, variant)
            if said:
                # Named by its card: `auto` may be another model tomorrow.
                named = self.phraser.card(variant).name if self.phraser else variant.model_id
                answer, said_by = replace(answer, text=said), replace(variant, model_id=named)
        except StudioError as failure:
            log.warning("the answer stays as it was quoted", exc_info=True)
            note = f"{failure.message} The answer is quoted instead."
        turn = AskedTurn(
            new_id(), text.strip(), search, answer, tuple(chosen), pages, utc_now(), said_by, note
        )
        self.store.add_turn(owner, session_id, turn)
        yield turn

    def _phrased(
        self, owner: str, question: str, answer: DocumentAnswer, variant: Variant
    ) -> Generator[str, None, str]:
        """A sentence of a model that sees pages, where it keeps to the quotes. Raises StudioError."""
        if self.phraser is None or not answer.found or not self.phraser.able(variant):
            return ""
        lead = answer.text.removesuffix(f"({answer.citations[0].quote})").strip()
        places = [(c, self.image(owner, c.document_id, c.page_index)) for c in answer.citations]
        return (yield from self.phraser.phrase(question, lead, places, variant, CancelToken()))

    def _completed(self, owner: str, session_id: str, text: str, asked: Documents) -> str:
        question = understand(text, asked.rarity, self.limits.question_chars)
        before = self.store.turns(owner, session_id)
        if not before or not leans_back(question):
            return question.text
        return completed(question, understand(before[-1].asked_as, asked.rarity))

    def ask_each(self, owner: str, session_id: str, text: str, pages: str = "") -> tuple[DocumentRow, ...]:
        """The same question of every document by itself. Nothing is kept."""
        documents = self._taken_in(owner, session_id, (), pages)
        wanted = pages_of(pages)
        asked = self._ready(owner, session_id)
        found = []
        for document in documents:
            if beyond(wanted, document.pages):
                answer = DocumentAnswer(length_of(document.name, document.pages), False, (), 0.0)
            else:
                answer = asked.ask(text, self._scope(asked, (document.id,), pages))
            found.append(DocumentRow(document, answer))
        return tuple(found)

    def stances(self, owner: str, session_id: str, turn_id: str) -> tuple[PageStance, ...]:
        """Which pages agree with a kept answer, differ, or are silent. Raises NotFound."""
        turn = next((t for t in self.store.turns(owner, session_id) if t.id == turn_id), None)
        if turn is None:
            raise NotFound("There is no such question.", "It may have been deleted.")
        asked = self._ready(owner, session_id)
        return stances(asked, turn.asked_as, self._scope(asked, turn.documents, turn.pages))

    def image(self, owner: str, document_id: str, index: int) -> Image.Image:
        """A page as it is displayed, at DISPLAY_DPI. Raises NotFound, UserInputError."""
        document = self.store.document(owner, document_id)
        if not 0 <= index < document.pages:
            raise NotFound(f"{document.name} has no page {index + 1}.", f"It has {document.pages}.")
        with self._lock:
            if (document_id, index) in self._images:
                self._images.move_to_end((document_id, index))
                return self._images[document_id, index]
        data = self.blobs.read(owner, document.sha256)
        image = page_image(data, document, index, self.limits, DISPLAY_DPI)
        with self._lock:
            self._images[document_id, index] = image
            while len(self._images) > KEPT_IMAGES:
                self._images.popitem(last=False)
        return image

    def page(self, owner: str, document_id: str, index: int) -> PageText | None:
        """The words of a page, where it is taken in."""
        return next((p for p in self.store.pages(owner, document_id) if p.index == index), None)

    def _taken_in(
        self, owner: str, session_id: str, chosen: Sequence[str] = (), pages: str = ""
    ) -> tuple[KeptDocument, ...]:
        """The documents to be asked, as far as they are there. Raises InvalidRequest where that is nothing."""
        kept = self.store.documents(owner, session_id)
        found = tuple(d for d in kept if d.done and (not chosen or d.id in chosen))
        if not found:
            raise InvalidRequest(
                "No page is taken in yet.", "Wait a moment, or add a document." if kept else "Add a document."
            )
        refuse_beyond(pages_of(pages), [(d.name, d.pages) for d in found])
        return found

    def _ready(self, owner: str, session_id: str) -> Documents:
        """What is taken in so far, ready to be asked."""
        kept = self._taken_in(owner, session_id)
        stamp = tuple((d.id, d.done) for d in kept)
        with self._lock:
            found = self._asked.get((owner, session_id))
        if found is not None and found[0] == stamp:
            return found[1]
        asked = [
            AskedDocument(document.name, self.store.pages(owner, document.id), document.id)
            for document in kept
        ]
        made = Documents(asked, self.indexer.rarity, self.similar)
        with self._lock:
            self._asked[owner, session_id] = (stamp, made)
            self._asked.move_to_end((owner, session_id))
            while len(self._asked) > KEPT_SESSIONS:
                self._asked.popitem(last=False)
        return made

    @staticmethod
    def _ids(asked: Documents) -> dict[str, int]:
        return {document.id: number for number, document in enumerate(asked.documents)}

    def _scope(self, asked: Documents, chosen: Sequence[str], pages: str) -> Scope:
        places = self._ids(asked)
        # An id that is not there any more would otherwise widen the question to all.
        documents = frozenset(places.get(document_id, -1) for document_id in chosen)
        return Scope(documents, frozenset(pages_of(pages) or ()))


def as_csv(rows: Sequence[DocumentRow]) -> bytes:
    """A line for each document. Cells that a spreadsheet would take for formulas are quoted."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(["document", "answer", "found", "page", "quote"])
    for row in rows:
        first = row.answer.citations[0] if row.answer.citations else None
        cells = [
            row.document.name, row.answer.text, "yes" if row.answer.found else "no",
            str(first.page_index + 1) if first else "", first.quote if first else "",
        ]  # fmt: skip
        writer.writerow(["'" + cell if cell[:1] in "=+-@\t\r" and cell else cell for cell in cells])
    return ("\ufeff" + buffer.getvalue()).encode("utf-8")
