"""An engine that is fetched and loaded by the first question put to it, and says how far it is."""

from __future__ import annotations

import gc
import logging
import queue
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from vlm_studio.core.answers import Answer, DoneEvent, EngineEvent, StatusEvent, Usage
from vlm_studio.core.cancel import CancelToken
from vlm_studio.core.conversation import Ask, Variant
from vlm_studio.core.documents import LineReading
from vlm_studio.core.errors import Cancelled, StudioError
from vlm_studio.core.ports import Engine, LocalEngine, ModelCard, Opened, Recorder
from vlm_studio.model.device_line import DeviceLine
from vlm_studio.model.weights import Tell

if TYPE_CHECKING:
    from PIL.Image import Image

log = logging.getLogger(__name__)

Load = Callable[[Tell, CancelToken], LocalEngine]


class HubEngine:
    """Engine port over a model that comes into memory when it is first used. Thread-safe."""

    def __init__(self, card: ModelCard, load: Load, instead: Callable[[], Engine] | None = None) -> None:
        """`instead` answers where loading fails, and the answer says so; None: the failure is raised.

        It is raised too where there are images: what answers instead may not see them.
        """
        self._card = card
        self._load = load
        self._instead = instead
        self._loaded: LocalEngine | None = None
        self._line = DeviceLine()

    @property
    def card(self) -> ModelCard:
        return self._card

    @property
    def loaded(self) -> LocalEngine | None:
        """None while it is not in memory."""
        return self._loaded

    def engine(self, tell: Tell = log.info, cancel: CancelToken | None = None) -> LocalEngine:
        """The loaded engine. Raises ModelUnavailable, OutOfMemory or Cancelled."""

        def waiting(_ahead: int) -> None:
            tell(f"{self._card.title} is being loaded.")

        with self._line.turn(cancel or CancelToken(), waiting):
            if self._loaded is None:
                self._loaded = self._load(tell, cancel or CancelToken())
            return self._loaded

    def unload(self) -> None:
        """Give the memory back; the next question loads the model again."""
        with self._line.turn(CancelToken()):
            self._loaded = None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def stream(
        self,
        ask: Ask,
        images: Mapping[str, Image],
        cancel: CancelToken,
        recorder: Recorder | None = None,
    ) -> Iterator[EngineEvent]:
        """As the port says; status events tell of fetching and loading first."""
        started = time.monotonic()
        engine: Engine | None = self._loaded
        note = ""
        if engine is None:
            try:
                engine = yield from self._loading(cancel)
            except Cancelled:
                waited = (time.monotonic() - started) * 1000
                yield DoneEvent(Answer("", (), "cancelled", Usage(), 0.0, waited))
                return
            except StudioError as failure:
                if self._instead is None or images:
                    raise
                engine = self._instead()
                note = f"{failure.message} {engine.card.title} answers instead."
                yield StatusEvent(note)
        for event in engine.stream(ask, images, cancel, recorder):
            if note and isinstance(event, DoneEvent):
                event = DoneEvent(replace(event.answer, notes=(note, *event.answer.notes)))
            yield event

    def logprobs(self, ask: Ask, images: Mapping[str, Image], continuation: Sequence[int]) -> np.ndarray:
        return self.engine().logprobs(ask, images, continuation)

    def read(
        self, strips: Sequence[Image], cancel: CancelToken, variant: Variant | None = None
    ) -> Iterator[LineReading]:
        yield from self.engine(cancel=cancel).read(strips, cancel, variant)

    @contextmanager
    def opened(self, ask: Ask, images: Mapping[str, Image]) -> Iterator[Opened]:
        with self.engine().opened(ask, images) as opened:
            yield opened

    def _loading(self, cancel: CancelToken) -> Generator[StatusEvent, None, LocalEngine]:
        """Status events while another thread loads; the engine as the generator's value."""
        told: queue.Queue[str | BaseException | LocalEngine] = queue.Queue()

        def work() -> None:
            try:
                told.put(self.engine(told.put, cancel))
            except BaseException as failure:
                told.put(failure)

        threading.Thread(target=work, name="loading", daemon=True).start()
        try:
            while isinstance(said := told.get(), str):
                yield StatusEvent(said)
        except GeneratorExit:
            cancel.cancel()
            raise
        if isinstance(said, BaseException):
            raise said
        return said
