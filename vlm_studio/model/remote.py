"""An engine that runs elsewhere: a client of the OpenAI chat-completions API, images as data URIs in their order.

Works with any server of that API. A server of ours (serve/) tells more: its model card, token ids, what the model
looked at, and an idempotency key lets a request that broke off go on where it stopped.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from vlm_studio.core.answers import DoneEvent, EngineEvent, StatusEvent, TokenEvent
from vlm_studio.core.cancel import CancelToken
from vlm_studio.core.conversation import Ask, Variant
from vlm_studio.core.documents import LineReading
from vlm_studio.core.errors import GenerationFailed, InvalidRequest, StudioError
from vlm_studio.core.ids import new_id
from vlm_studio.core.ports import ModelCard, Recorder
from vlm_studio.core.traces import Trace
from vlm_studio.model import remote_wire as wire
from vlm_studio.model.remote_http import Again, Server
from vlm_studio.model.trace_wire import trace_from_json

if TYPE_CHECKING:
    from PIL.Image import Image

log = logging.getLogger(__name__)

BATCH = 32
CHAT = "/chat/completions"
TRIES = 10
"""Attempts at one request, over about 50 seconds: a replica that died has loaded its model again by then."""
LONGEST_PAUSE = 8.0


@dataclass(frozen=True, slots=True)
class _Told:
    """What the server said of itself."""

    model: str
    card: ModelCard
    ours: bool
    """Whether it is a server of this project."""


class RemoteEngine:
    """Engine port over a URL like ``http://host:8000/v1``; ``#name`` behind it picks one of its models. Thread-safe."""

    def __init__(self, url: str, api_key: str = "") -> None:
        """Raises InvalidRequest for anything but an http or https address; connects at first use."""
        base, _, self._wanted = url.partition("#")
        self.server = Server(base, api_key)
        self._told: _Told | None = None
        self._lock = threading.Lock()

    @property
    def card(self) -> ModelCard:
        """The server's own card, or a careful one. Raises ModelUnavailable."""
        return self._known().card

    def stream(
        self,
        ask: Ask,
        images: Mapping[str, Image],
        cancel: CancelToken,
        recorder: Recorder | None = None,
    ) -> Iterator[EngineEvent]:
        """As the port says. A recorder cannot watch a model elsewhere and stays empty: see `trace`."""
        events: queue.Queue[EngineEvent | StudioError | None] = queue.Queue()
        key = new_id()

        def work() -> None:
            try:
                self._converse(ask, images, cancel, key, events.put)
            except StudioError as failure:
                events.put(failure)
            except Exception as failure:
                log.exception("the remote engine failed")
                wrapped = GenerationFailed(
                    "The model server's answer made no sense.", "The log has the details."
                )
                wrapped.__cause__ = failure
                events.put(wrapped)
            finally:
                events.put(None)

        # A thread of its own: Stop answers at once, whatever the network does.
        threading.Thread(target=work, name="remote", daemon=True).start()
        try:
            yield from _until_stopped(events, cancel)
        finally:
            if cancel.cancelled and self._told is not None and self._told.ours:
                threading.Thread(target=self.server.stop, args=(CHAT, key), daemon=True).start()

    def logprobs(self, ask: Ask, images: Mapping[str, Image], continuation: Sequence[int]) -> np.ndarray:
        """Only a server of ours knows this. Raises InvalidRequest with another one."""
        found = self._forced("/logprobs", ask, images, continuation)
        return wire.numbers(found.get("logprobs"), len(continuation))

    def trace(self, ask: Ask, images: Mapping[str, Image], continuation: Sequence[int]) -> Trace:
        """What the model looked at for given tokens. Raises TraceUnavailable, InvalidRequest."""
        return _trace(self._forced("/inspect", ask, images, continuation))

    def gradients(
        self, ask: Ask, images: Mapping[str, Image], continuation: Sequence[int], tokens: Sequence[int]
    ) -> Trace:
        """The same weighted by what speaks for the tokens at places `tokens` of `continuation`."""
        found = self._forced("/inspect", ask, images, continuation, tokens=list(tokens))
        return _trace(found)

    def read(
        self, strips: Sequence[Image], cancel: CancelToken, variant: Variant | None = None
    ) -> Iterator[LineReading]:
        """One reading per strip, in order, `BATCH` strips a request. Raises InvalidRequest with a foreign server."""
        told = self._ours("read strips of writing")
        chosen = variant or Variant(told.model)
        for start in range(0, len(strips), BATCH):
            cancel.raise_if_cancelled()
            body = wire.read_body(strips[start : start + BATCH], told.model, chosen)
            found = self._patiently(
                cancel, lambda body=body: self.server.post("/read", body, new_id(), chosen.adapter or "")
            )
            yield from wire.readings(found, told.model)

    def _forced(
        self, path: str, ask: Ask, images: Mapping[str, Image], continuation: Sequence[int], **more: Any
    ) -> dict[str, Any]:
        told = self._ours("look into its model")
        body = wire.request_body(ask, images, told.model, ours=True)
        body |= {"continuation": list(continuation), **more}
        adapter = ask.variant.adapter or ""
        found: dict[str, Any] = self._patiently(
            CancelToken(), lambda: self.server.post(path, body, new_id(), adapter)
        )
        return found

    def _ours(self, what: str) -> _Told:
        told = self._known()
        if not told.ours:
            raise InvalidRequest(
                f"That server does not {what}.", "Use one that runs python -m vlm_studio serve."
            )
        return told

    def _known(self) -> _Told:
        with self._lock:
            if self._told is None:
                listed = self.server.get("/models").get("data")
                self._told = _told(listed if isinstance(listed, list) else [], self._wanted)
            return self._told

    def _converse(
        self, ask: Ask, images: Mapping[str, Image], cancel: CancelToken, key: str, emit: Any
    ) -> None:
        told = self._known()
        body = wire.request_body(ask, images, told.model, ours=told.ours)
        body |= {
            "stream": True,
            "logprobs": True,
            "top_logprobs": 5,
            "stream_options": {"include_usage": True},
        }
        reply = wire.Reply()

        def attempt() -> None:
            reply.begin_again()
            for value in self.server.stream(CHAT, body, key, ask.variant.adapter or "", told.ours):
                if cancel.cancelled:
                    return
                if isinstance(value, str):
                    emit(StatusEvent(value))
                    continue
                for event in reply.add(value):
                    emit(event)
            if not reply.ended:
                raise Again("The connection to the model server broke.", resumable=told.ours)

        self._patiently(cancel, attempt, emit)
        emit(DoneEvent(reply.answer(cancelled=cancel.cancelled)))

    def _patiently(self, cancel: CancelToken, attempt: Any, emit: Any = None) -> Any:
        """`attempt`, made again after a pause while the server is busy or gone. Raises what it is in the end."""
        for number in range(1, TRIES + 1):
            try:
                return attempt()
            except Again as again:
                if number == TRIES or not again.resumable or cancel.cancelled:
                    raise again.error() from again
                if emit is not None:
                    emit(StatusEvent(f"{again} Trying again ({number} of {TRIES - 1})."))
                _pause(min(LONGEST_PAUSE, 0.5 * 2 ** (number - 1)), cancel)
        raise AssertionError("unreachable")


def _until_stopped(
    events: queue.Queue[EngineEvent | StudioError | None], cancel: CancelToken
) -> Iterator[EngineEvent]:
    tokens: list[TokenEvent] = []
    started = time.monotonic()
    try:
        while True:
            try:
                event = events.get(timeout=0.1)
            except queue.Empty:
                if cancel.cancelled:
                    yield DoneEvent(wire.stopped(tokens, (time.monotonic() - started) * 1000))
                    return
                continue
            if event is None:
                return
            if isinstance(event, StudioError):
                raise event
            if isinstance(event, TokenEvent):
                tokens.append(event)
            yield event
    except GeneratorExit:
        cancel.cancel()
        raise


def _trace(found: Mapping[str, Any]) -> Trace:
    value = found.get("trace")
    return trace_from_json(value if isinstance(value, dict) else {})


def _told(listed: Sequence[Any], wanted: str) -> _Told:
    entries = [entry for entry in listed if isinstance(entry, dict) and isinstance(entry.get("id"), str)]
    chosen = next((e for e in entries if e["id"] == wanted), None) if wanted else next(iter(entries), None)
    if chosen is None:
        name = f"no model {wanted!r}" if wanted else "no model at all"
        raise wire.unavailable(f"The model server has {name}.")
    extra = chosen.get("vlm_studio")
    if isinstance(extra, dict) and isinstance(extra.get("card"), dict):
        return _Told(str(chosen["id"]).partition(":")[0], wire.card_from_json(extra["card"]), True)
    return _Told(chosen["id"], wire.foreign_card(chosen["id"]), False)


def _pause(seconds: float, cancel: CancelToken) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until and not cancel.cancelled:
        time.sleep(0.05)
