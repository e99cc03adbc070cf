"""An engine that says what it is told to, word by word, and chats over it."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from vlm_studio.core.answers import Answer, DoneEvent, EngineEvent, FinishReason, TokenEvent, Usage
from vlm_studio.core.cancel import CancelToken
from vlm_studio.core.chat import ChatImage, ChatTurn
from vlm_studio.core.conversation import Ask, GenParams
from vlm_studio.core.ports import ModelCard
from vlm_studio.core.settings import Limits
from vlm_studio.store.blobs import BlobStore
from vlm_studio.store.chat_store import ChatStore
from vlm_studio.store.database import Database
from vlm_studio.store.search import SearchIndex
from vlm_studio.store.session_store import SessionStore
from vlm_studio.tasks.chat import Chats, Kept
from vlm_studio.tasks.chat_answer import Answerer
from vlm_studio.tasks.chat_feed import Options
from vlm_studio.tasks.chat_replies import Finding
from vlm_studio.tasks.live import LiveRun, LiveRuns

from .fakes import CountingReader, page_image, png, transcriber

OWNER, EVE = "local", "user:eve"


@dataclass
class ScriptedEngine:
    """Answers "<words> <number of asks so far>"; with `gate`, waits before each word; fails with `failure`."""

    words: str = "so be it"
    sees: bool = True
    gate: threading.Semaphore | None = None
    failure: Exception | None = None
    asks: list[Ask] = field(default_factory=list)
    pictures: list[dict[str, Image.Image]] = field(default_factory=list)

    @property
    def card(self) -> ModelCard:
        return ModelCard(
            "scripted", "Scripted", "For tests.", True, self.sees, "pages" if self.sees else "strips", 64, 980,
            "none", {},
        )  # fmt: skip

    def stream(
        self, ask: Ask, images: Mapping[str, Image.Image], cancel: CancelToken, recorder: Any = None
    ) -> Iterator[EngineEvent]:
        self.asks.append(ask)
        self.pictures.append(dict(images))
        tokens: list[TokenEvent] = []
        reason: FinishReason = "stop"
        for place, word in enumerate(f"{self.words} {len(self.asks)}".split()):
            if self.gate is not None:
                self.gate.acquire(timeout=20)
            if cancel.cancelled:
                reason = "cancelled"
                break
            tokens.append(TokenEvent(f" {word}" if place else word, place, -0.5))
            yield tokens[-1]
            if self.failure is not None:
                raise self.failure
        text = "".join(t.text for t in tokens)
        yield DoneEvent(Answer(text, tuple(tokens), reason, Usage(10, 0, len(tokens), 4), 5.0, 9.0))

    def logprobs(self, ask: Ask, images: Mapping[str, Image.Image], continuation: Sequence[int]) -> Any:
        raise NotImplementedError

    def read(self, *_: Any) -> Any:
        raise NotImplementedError


class Desk:
    """Chats on a temporary folder; `restart` closes everything and opens it again, as a new process would."""

    def __init__(self, root: Path, engine: ScriptedEngine, reader: CountingReader | None = None) -> None:
        self.root, self.engine = root, engine
        self.reader = reader or CountingReader("fast")
        self.findings: list[Finding] = []
        self._open()

    def _open(self) -> None:
        self.database = Database(self.root / "studio.db")
        self.blobs = BlobStore(self.root / "blobs", self.database)
        self.index = SearchIndex(self.database)
        self.sessions = SessionStore(self.database, self.blobs, self.index)
        self.rows = ChatStore(self.database, self.sessions, self.index)
        self.live = LiveRuns()
        answerer = Answerer(
            lambda _: self.engine.card,
            lambda _: self.engine,
            transcriber(self.reader),
            lambda _q, _i: self.findings,
        )
        self.chats = Chats(self.sessions, self.rows, self.blobs, self.live, answerer, Limits())

    def restart(self) -> None:
        self.live.stop_all(20)
        self.database.close()
        self._open()

    def say(self, session_id: str, text: str, owner: str = OWNER, **params: Any) -> ChatTurn:
        """Send and wait; the answer."""
        return ended(self.chats.send(owner, session_id, text, options(**params)))

    def shown(self, session_id: str) -> list[str]:
        return [t.turn.text for t in self.chats.path(OWNER, session_id)]

    def attach(self, *lines: int, session_id: str = "", owner: str = OWNER) -> tuple[str, list[ChatImage]]:
        """An image for each, with so many lines of writing, no two alike."""
        files = [(f"{n}.png", png(page_image(count, width=300 + n))) for n, count in enumerate(lines)]
        done = self.chats.attach(owner, session_id, files)
        assert not done.problems
        return done.session_id, list(done.kept)


def options(**params: Any) -> Options:
    return Options(params=GenParams(**params))


def ended(run: LiveRun[object]) -> ChatTurn:
    *_, last = run.follow(timeout=30)
    assert isinstance(last, Kept)
    return last.turn
