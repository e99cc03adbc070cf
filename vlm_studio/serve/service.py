"""One engine for callers over the network: chat, forced log-probabilities, and what the model looked at."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from PIL.Image import Image

from vlm_studio.core.answers import Answer, DoneEvent, EngineEvent, StatusEvent
from vlm_studio.core.cancel import CancelToken
from vlm_studio.core.conversation import Ask, Variant
from vlm_studio.core.errors import Cancelled, GenerationFailed, InvalidRequest, TraceUnavailable
from vlm_studio.core.ports import Engine
from vlm_studio.core.settings import Limits
from vlm_studio.core.traces import Trace
from vlm_studio.model.trace_wire import trace_to_json
from vlm_studio.serve import replies
from vlm_studio.serve.calls import Call, Calls
from vlm_studio.serve.metrics import Metrics
from vlm_studio.serve.requests import ChatRequest, ReadRequest, chat_request, read_request
from vlm_studio.serve.stops import until


class Tracer(Protocol):
    """What the model looked at for each token of an answer; see trace/tracer.py."""

    def trace(self, ask: Ask, images: Mapping[str, Image], continuation: Sequence[int]) -> Trace: ...

    def gradients(
        self, ask: Ask, images: Mapping[str, Image], continuation: Sequence[int], tokens: Sequence[int]
    ) -> Trace: ...


CAPACITY = 64
"""Generations that run or wait in the engine's line; more are told to come back."""


@dataclass
class Service:
    """What the routes need. Without a `tracer` nobody is told what the model looked at."""

    engine: Engine
    limits: Limits = field(default_factory=Limits)
    adapters: Callable[[], Sequence[str]] = tuple
    tracer: Tracer | None = None
    calls: Calls = field(default_factory=lambda: Calls(CAPACITY))
    metrics: Metrics = field(default_factory=Metrics)
    prepare: Callable[[str], Awaitable[object]] | None = None
    """Called with the name of a wanted adapter before the model is used with it."""
    started: int = field(default_factory=lambda: int(time.time()))

    def __post_init__(self) -> None:
        self.metrics.watch("generations_running", "Running or waiting", lambda: len(self.calls.running))

    def models(self) -> dict[str, Any]:
        return replies.model_list(self.engine.card, self.adapters(), self.started)

    def parse(self, body: bytes, client: str) -> ChatRequest:
        """Raises StudioError. Decodes images, so it belongs on a thread."""
        return chat_request(body, self.engine.card.name, self.adapters(), self.limits, client)

    def parse_strips(self, body: bytes) -> ReadRequest:
        """Raises StudioError. Decodes images, so it belongs on a thread."""
        return read_request(body, self.engine.card.name, self.adapters(), self.limits)

    async def begin(self, request: ChatRequest, body: bytes, client: str, key: str) -> Call:
        """Raises Busy, or InvalidRequest for a key that came with another body."""

        def work(cancel: CancelToken) -> Iterator[EngineEvent]:
            return self._counted(request, cancel)

        await self.ready(request.ask.variant)
        scoped = f"{client}/{key}" if key else ""
        call, _ = await self.calls.begin(scoped, hashlib.sha256(body).hexdigest(), work)
        return call

    async def ready(self, variant: Variant) -> None:
        """Says that an adapter is about to be used, to whoever wants to know."""
        if self.prepare is not None and variant.adapter:
            await self.prepare(variant.adapter)

    def _counted(self, request: ChatRequest, cancel: CancelToken) -> Iterator[EngineEvent]:
        # The engine is stopped by its caller or by a stop text; only the first is a cancelled call.
        inner = _Either(cancel)
        try:
            for event in until(self.engine.stream(request.ask, request.images, inner), request.stop, inner):
                if isinstance(event, DoneEvent):
                    self.metrics.generated(event.answer)
                yield event
        except Exception as error:
            self.metrics.failed(error)
            raise

    def logprobs(self, request: ChatRequest, continuation: Sequence[int]) -> list[float]:
        """Natural log-probabilities of forced tokens. Blocks; belongs on a thread."""
        found: np.ndarray = self.engine.logprobs(request.ask, request.images, continuation)
        return [float(v) for v in found]

    def inspect(
        self, request: ChatRequest, continuation: Sequence[int], tokens: Sequence[int] | None
    ) -> dict[str, Any]:
        """What the model looked at for given tokens, as JSON; with `tokens` (places) weighted by gradients.

        Blocks; belongs on a thread. Raises TraceUnavailable.
        """
        if self.tracer is None:
            raise TraceUnavailable("This server records nothing.", "Ask it without /v1/inspect.")
        if tokens is None:
            return trace_to_json(self.tracer.trace(request.ask, request.images, continuation))
        if not all(place < len(continuation) for place in tokens):
            raise InvalidRequest("tokens points behind the continuation.", "Count from 0.")
        return trace_to_json(self.tracer.gradients(request.ask, request.images, continuation, tokens))

    def read(self, request: ReadRequest) -> list[dict[str, Any]]:
        """Readings of strips of writing, in order. Blocks; belongs on a thread."""
        found = self.engine.read(request.strips, CancelToken(), request.variant)
        return [{"text": r.text, "confidence": r.confidence, "warnings": list(r.warnings)} for r in found]


class _Either(CancelToken):
    """Cancelled by itself or together with `outer`."""

    __slots__ = ("_outer",)

    def __init__(self, outer: CancelToken) -> None:
        super().__init__()
        self._outer = outer

    @property
    def cancelled(self) -> bool:
        return self._event.is_set() or self._outer.cancelled

    def raise_if_cancelled(self) -> None:
        if self.cancelled:
            raise Cancelled("Stopped.", "The caller left.")


def answer_of(events: Sequence[EngineEvent | None]) -> Answer:
    """The answer that ends a stream. Raises GenerationFailed where there is none."""
    done = [event for event in events if isinstance(event, DoneEvent)]
    if len(done) != 1:
        raise GenerationFailed("The engine gave no answer.", "Try again; the log has the details.")
    return done[0].answer


def status_line(event: EngineEvent | None) -> bytes:
    """An SSE comment: keeps the connection alive, and tells clients of ours how far it is."""
    text = event.message if isinstance(event, StatusEvent) else "still working"
    return f": {' '.join(text.split())}\n\n".encode()
