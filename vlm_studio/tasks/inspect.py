"""Inspect: put pages in front of a model, ask, and keep the answer together with what was recorded inside.

An inspection is looked at later from every side (tasks/inspect_look.py), most of them without any model.
"""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from PIL import Image

from vlm_studio.core.answers import Answer, DoneEvent, StatusEvent
from vlm_studio.core.cancel import CancelToken
from vlm_studio.core.conversation import Ask, GenParams, ImagePart, Part, TextPart, Turn, Variant
from vlm_studio.core.documents import Asset, Box, Line, Page
from vlm_studio.core.errors import GenerationFailed, InvalidRequest, NotFound
from vlm_studio.core.inspections import Fed, Inspection
from vlm_studio.core.ports import Engine, LineFinder
from vlm_studio.core.sessions import KeptPage, Session, SessionKind
from vlm_studio.core.settings import Limits
from vlm_studio.core.traces import Trace, WordSource
from vlm_studio.ingest.upload import make_asset, open_pages
from vlm_studio.tasks.inspect_feed import blank, hash_of, on_pages, rounded, strips_of, whole_page, words_of
from vlm_studio.tasks.live import LiveRun, LiveRuns
from vlm_studio.trace.honesty import word_source
from vlm_studio.trace.store_format import MIME, pack

MAX_STRIPS = 16
"""Fed at once: about 1,000 pooled tokens."""
MAX_TOKENS = 192
READ_LINE, READ_LINES = "Read the line.", "Read the lines."
_LINES = "lines"
"""In a session's settings: the lines of its pages, as they were found."""


class SessionRows(Protocol):
    def create(self, owner: str, kind: SessionKind, title: str) -> Session: ...
    def get(self, owner: str, session_id: str, deleted: bool = False) -> Session: ...
    def add_asset(
        self, owner: str, session_id: str, asset: Asset, pages: Sequence[Page] = ()
    ) -> tuple[KeptPage, ...]: ...
    def pages(self, owner: str, session_id: str) -> tuple[KeptPage, ...]: ...
    def page(self, owner: str, page_id: str) -> KeptPage: ...
    def page_image(self, owner: str, page_id: str) -> bytes: ...
    def assets(self, owner: str, session_id: str) -> tuple[tuple[str, Asset], ...]: ...
    def meta(self, owner: str, session_id: str) -> dict[str, Any]: ...
    def set_meta(self, owner: str, session_id: str, values: Mapping[str, Any]) -> None: ...
    def list(
        self,
        owner: str,
        kind: SessionKind | None = None,
        archived: bool | None = False,
        tag: str | None = None,
        deleted: bool = False,
        limit: int = 50,
    ) -> tuple[Session, ...]: ...


class InspectionRows(Protocol):
    def save(self, owner: str, session_id: str, made: Inspection, trace: bytes, mime: str) -> Inspection: ...
    def list(self, owner: str, session_id: str) -> tuple[Inspection, ...]: ...
    def get(self, owner: str, inspection_id: str) -> Inspection: ...
    def trace(self, owner: str, inspection_id: str) -> bytes: ...


class Blobs(Protocol):
    def put(self, data: bytes, mime: str) -> str: ...


class Tracer(Protocol):
    def trace(self, ask: Ask, images: Mapping[str, Image.Image], continuation: Sequence[int]) -> Trace: ...
    def gradients(
        self,
        ask: Ask,
        images: Mapping[str, Image.Image],
        continuation: Sequence[int],
        tokens: Sequence[int],
    ) -> Trace: ...


@dataclass(frozen=True, slots=True)
class Step:
    """Something a person waiting would like to know, and how far it is, 0..1."""

    message: str
    share: float
    text: str = ""
    """The answer so far."""


@dataclass(frozen=True, slots=True)
class Inspected:
    inspection: Inspection


Models = Callable[[], tuple[Engine, Tracer]]


class Inspections:
    """The Inspect tab's, the API's and the command line's use cases. Every method takes the owner of the rows."""

    def __init__(
        self,
        models: Models,
        finder: Callable[[], LineFinder],
        sessions: SessionRows,
        rows: InspectionRows,
        blobs: Blobs,
        live: LiveRuns,
        limits: Limits,
        variant: Callable[[str], Variant] = lambda _: Variant(),
        tiles: Callable[[Image.Image], Sequence[Box]] = lambda _: (),
    ) -> None:
        """`models`, `finder` are made at first use; `variant` is what to put a question with where nobody chose.

        `tiles` cuts a page as this app feeds it to a model of pages.
        """
        self._models, self._finder, self._variant = models, finder, variant
        self.sessions, self.rows, self.blobs = sessions, rows, blobs
        self.live, self.limits, self.tiles = live, limits, tiles
        self._finding = threading.Lock()

    @property
    def engine(self) -> Engine:
        """Loaded at first use. Raises ModelUnavailable."""
        return self._models()[0]

    @property
    def tracer(self) -> Tracer:
        return self._models()[1]

    def open_file(self, owner: str, name: str, data: bytes, password: str = "") -> str:
        """A session for a file's pages; its id. Raises UserInputError, StoreError."""
        asset = make_asset(data, name, self.limits)
        pages = []
        for opened in open_pages(data, asset.filename, self.limits, password):
            self.blobs.put(opened.encoded, opened.mime)
            pages.append(opened.page)
        self.blobs.put(data, asset.mime)
        session = self.sessions.create(owner, "inspect", asset.filename)
        self.sessions.add_asset(owner, session.id, asset, pages)
        return session.id

    def open_page(self, owner: str, page_id: str) -> str:
        """A session for a page that another session has; its id. Raises NotFound."""
        kept = self.sessions.page(owner, page_id)
        asset = dict(self.sessions.assets(owner, kept.session_id))[kept.asset_id]
        session = self.sessions.create(owner, "inspect", kept.filename)
        self.sessions.add_asset(owner, session.id, asset, [kept.page])
        return session.id

    def recent_pages(self, owner: str, count: int = 6) -> tuple[KeptPage, ...]:
        """First pages of what was read or asked about lately, newest first."""
        found: list[KeptPage] = []
        kinds: tuple[SessionKind, ...] = ("transcribe", "documents")
        sessions = [s for kind in kinds for s in self.sessions.list(owner, kind, limit=count)]
        for session in sorted(sessions, key=lambda s: s.updated_at, reverse=True)[:count]:
            found += self.sessions.pages(owner, session.id)[:1]
        return tuple(found)

    def pages(self, owner: str, session_id: str) -> tuple[KeptPage, ...]:
        return self.sessions.pages(owner, session_id)

    def image(self, owner: str, page_id: str) -> Image.Image:
        return Image.open(io.BytesIO(self.sessions.page_image(owner, page_id))).convert("RGB")

    def lines(self, owner: str, page_id: str) -> tuple[Line, ...]:
        """The lines of writing on a page: found once, kept with the session."""
        kept = self.sessions.page(owner, page_id)
        with self._finding:
            known = self.sessions.meta(owner, kept.session_id).get(_LINES, {})
            try:
                return tuple(_line_of(values) for values in known[page_id])
            except (KeyError, TypeError, ValueError, IndexError):
                found = [rounded(line) for line in self._finder().find(self.image(owner, page_id))]
            lines = tuple(line for line in found if not line.maybe_skipped)
            known = {**(known if isinstance(known, dict) else {}), page_id: [_line_value(x) for x in lines]}
            self.sessions.set_meta(owner, kept.session_id, {_LINES: known})
        return lines

    def of_session(self, owner: str, session_id: str) -> tuple[Inspection, ...]:
        """Oldest first."""
        return self.rows.list(owner, session_id)

    def get(self, owner: str, inspection_id: str) -> Inspection:
        return self.rows.get(owner, inspection_id)

    def start(
        self,
        owner: str,
        session_id: str,
        page_id: str,
        lines: Sequence[int],
        question: str = "",
        variant: Variant | None = None,
    ) -> LiveRun[object]:
        """Ask about some lines of a page (all where none are named) and look into the answer.

        Events are Steps and one Inspected. Raises InvalidRequest, NotFound; the run raises StudioError.
        """
        kept = self.sessions.page(owner, page_id)
        if kept.session_id != session_id:
            raise NotFound("There is no such page in this session.", "Open it again.")
        if len(question) > self.limits.question_chars:
            raise InvalidRequest(
                "The question is too long.", f"Use up to {self.limits.question_chars} characters."
            )
        if self.running(owner, session_id) is not None:
            raise InvalidRequest("The model is still busy with this page.", "Wait, or press Stop.")

        def work(cancel: CancelToken) -> Iterator[object]:
            yield Step("Waking the model ...", 0.02)
            given = self._fed(owner, page_id, lines)
            yield from self._work(
                owner, kept, given, question.strip(), variant or self._variant(question.strip()), cancel
            )

        return self.live.start(f"inspect-{session_id}", owner, work)

    def running(self, owner: str, session_id: str) -> LiveRun[object] | None:
        return self.live.under_way(f"inspect-{session_id}", owner)

    def stop(self, owner: str, session_id: str) -> None:
        run = self.running(owner, session_id)
        if run is not None:
            run.cancel.cancel()

    def _fed(self, owner: str, page_id: str, lines: Sequence[int]) -> list[tuple[Fed, Image.Image]]:
        """What the engine of this machine is given: strips, or the page as it is."""
        page = self.image(owner, page_id)
        if self.engine.card.feed == "pages":
            return whole_page(page, page_id)
        found = self.lines(owner, page_id)
        if not found:
            raise InvalidRequest(
                "No line of writing was found on this page, and this model reads nothing else.",
                "Try a page with writing.",
            )
        for i in lines:
            if not 0 <= i < len(found):
                count = f"{len(found)} line{'' if len(found) == 1 else 's'}"
                raise InvalidRequest(
                    f"There is no line {i + 1} on this page: it has {count}.", "Choose one of them."
                )
        given = [strip for i in lines or range(len(found)) for strip in strips_of(page, page_id, found[i])]
        if len(given) > MAX_STRIPS:
            raise InvalidRequest(
                f"{len(given)} strips at once are too many for this model.",
                f"Choose up to {MAX_STRIPS} lines.",
            )
        return given

    def _work(
        self,
        owner: str,
        kept: KeptPage,
        given: Sequence[tuple[Fed, Image.Image]],
        question: str,
        variant: Variant,
        cancel: CancelToken,
    ) -> Iterator[object]:
        question = question or (READ_LINE if len(given) == 1 else READ_LINES)
        images = {fed.sha256: image for fed, image in given}
        ask = ask_about([fed for fed, _ in given], question, variant)
        started = time.monotonic()
        answer = None
        for event in self.engine.stream(ask, images, cancel):
            if isinstance(event, DoneEvent):
                answer = event.answer
            elif isinstance(event, StatusEvent):
                yield Step(event.message, 0.1)
            else:
                yield Step("The model is writing ...", 0.3, event.text)
        if answer is None or not answer.tokens:
            cancel.raise_if_cancelled()
            raise GenerationFailed(
                "The model answered nothing.", "Ask in other words, or choose another line."
            )
        answered = time.monotonic()
        yield Step("Looking into the answer ...", 0.6)
        ids = [token.token_id for token in answer.tokens]
        trace = self.tracer.trace(ask, images, ids)
        yield Step("Read or guessed? Asking again with blank paper ...", 0.8)
        made = Inspection(
            question=question,
            answer=answer.text,
            tokens=answer.tokens,
            words=self._sources(ask, images, answer),
            fed=tuple(fed for fed, _ in given),
            model=self.engine.card.name,
            adapter=variant.adapter,
            seconds=answered - started,
            trace_seconds=time.monotonic() - answered,
            notes=answer.notes
            + (("Stopped before the end.",) if answer.finish_reason == "cancelled" else ()),
        )
        sizes = {sha: image.size for sha, image in images.items()}
        placed = on_pages(trace, made.fed, sizes, {kept.id: kept.page.image_sha256})
        data = pack(_named(placed, answer, variant))
        yield Inspected(self.rows.save(owner, kept.session_id, made, data, MIME))

    def _sources(self, ask: Ask, images: Mapping[str, Image.Image], answer: Answer) -> tuple[WordSource, ...]:
        """Each word's probability with the images and with blank paper in their place."""
        seen = np.array([token.logprob for token in answer.tokens])
        unseen = blank_logprobs(self.engine, ask, images, [token.token_id for token in answer.tokens])
        return tuple(
            word_source(
                word,
                first,
                last,
                float(np.exp(seen[first : last + 1].mean())),
                float(np.exp(unseen[first : last + 1].mean())),
            )
            for word, first, last in words_of(answer.tokens)
        )


def ask_about(fed: Sequence[Fed], question: str, variant: Variant) -> Ask:
    """One turn: the images in their order, then the question. Greedy, so that it can be asked again."""
    parts: tuple[Part, ...] = (*(ImagePart(f.sha256) for f in fed), TextPart(question))
    return Ask((Turn("user", parts),), variant, GenParams(max_new_tokens=MAX_TOKENS))


def blank_logprobs(
    engine: Engine, ask: Ask, images: Mapping[str, Image.Image], tokens: Sequence[int]
) -> np.ndarray:
    """Log-probabilities of an answer where every image is blank paper of the same size."""
    emptied = {sha: blank(image) for sha, image in images.items()}
    return engine.logprobs(*renamed(ask, emptied), tokens)


def renamed(ask: Ask, images: Mapping[str, Image.Image]) -> tuple[Ask, dict[str, Image.Image]]:
    """The same question about changed images, which get names of their own: caches go by the name."""
    names = {sha: hash_of(image) for sha, image in images.items()}
    turns = tuple(
        Turn(
            turn.role,
            tuple(
                ImagePart(names[part.image_sha256]) if isinstance(part, ImagePart) else part
                for part in turn.parts
            ),
        )
        for turn in ask.turns
    )
    return Ask(turns, ask.variant, ask.params), {names[sha]: image for sha, image in images.items()}


def _named(trace: Trace, answer: Answer, variant: Variant) -> Trace:
    return replace(
        trace,
        token_texts=tuple(token.text for token in answer.tokens),
        token_logprobs=tuple(token.logprob for token in answer.tokens),
        adapter=variant.adapter,
    )


def _line_value(line: Line) -> list[Any]:
    return [*line.box.as_list(2), None if line.quad is None else [list(p) for p in line.quad]]


def _line_of(values: Sequence[Any]) -> Line:
    x0, y0, x1, y1 = (float(v) for v in values[:4])
    quad = None
    if values[4] is not None:
        a, b, c, d = ((float(x), float(y)) for x, y in values[4])
        quad = (a, b, c, d)
    return Line(Box(x0, y0, x1, y1), quad)
