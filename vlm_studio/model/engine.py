"""One engine for nano and for Idefics2-8B: an event stream with probabilities, a Stop that stops, and kept prefixes.

Tokens are chosen by a loop of our own, because `generate` hides the distribution, cannot be stopped inside a thread
that someone else advances, and starts every question from nothing. A test pins it to `generate`.
"""

from __future__ import annotations

import gc
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from vlm_studio.core.answers import Answer, DoneEvent, EngineEvent, StatusEvent, Usage
from vlm_studio.core.cancel import CancelToken
from vlm_studio.core.conversation import Ask, Variant
from vlm_studio.core.documents import LineReading
from vlm_studio.core.errors import AdapterRejected, Cancelled, OutOfMemory, StudioError
from vlm_studio.core.ports import AdapterScope, ModelCard, Opened, Recorder
from vlm_studio.model.cache import Key, PooledCache, PrefixCache
from vlm_studio.model.decoding import Decoded, Decoder
from vlm_studio.model.device_line import DeviceLine
from vlm_studio.model.encoding import Encoder, Pooled, pooled_key, stoppable
from vlm_studio.model.foreign_errors import translated
from vlm_studio.model.lean import LeanDecoder
from vlm_studio.model.memory import forecast, free_bytes, size, smaller
from vlm_studio.model.processor import Feeder, FeedPlan, ModelInput, batched, prepare
from vlm_studio.model.strip_reading import StripReader

if TYPE_CHECKING:
    from PIL.Image import Image

log = logging.getLogger(__name__)

Emit = Callable[[EngineEvent], None]
Settle = Callable[[], None]


@dataclass(frozen=True)
class LoadedModel:
    """A model in memory with all that is needed to feed it."""

    model: Any
    processor: Any
    """The model's own, as transformers has it."""
    feeder: Feeder
    card: ModelCard
    end_ids: frozenset[int]
    never_ids: frozenset[int]
    """Image and fence tokens: a model that writes them would break its own next turn."""
    revision: str = ""
    """Weights and precision, as part of every cache key."""
    lean: LeanDecoder | None = None
    """Makes its decode steps quicker, where there is such a way."""
    notes: tuple[str, ...] = ()
    """How it was loaded and why so, in sentences."""

    @property
    def image_token_id(self) -> int:
        return self.feeder.image_token_id


class HFEngine:
    """Engine port over a transformers model. Thread-safe: one generation at a time, others wait in line."""

    def __init__(
        self,
        loaded: LoadedModel,
        prefixes: int = 4,
        pooled_bytes: int = 256 * 1024**2,
        adapters: AdapterScope | None = None,
        pooled_folder: Path | None = None,
    ) -> None:
        """`prefixes` conversations keep their attention cache; `pooled_bytes` bounds the pooled tokens in memory.

        `pooled_folder` keeps pooled tokens over restarts; None: only in memory.
        """
        self.loaded = loaded
        self.adapters = adapters
        self.prefixes = PrefixCache(prefixes)
        self.pooled = PooledCache(pooled_bytes, pooled_folder)
        self._encoder = Encoder(loaded.model, loaded.feeder, self.pooled)
        self._decoder = Decoder(
            loaded.model, loaded.feeder.tokenizer, loaded.end_ids, loaded.never_ids, loaded.lean
        )
        self._reader = StripReader(loaded, self._encoder)
        self._line = DeviceLine()

    @property
    def card(self) -> ModelCard:
        return self.loaded.card

    def stream(
        self,
        ask: Ask,
        images: Mapping[str, Image],
        cancel: CancelToken,
        recorder: Recorder | None = None,
    ) -> Iterator[EngineEvent]:
        """Token and status events, then one DoneEvent. Raises only StudioError.

        The work is done by a thread of its own, so that whoever advances this iterator, from whichever thread, and
        whoever abandons it, leaves the device lock, the hooks and the adapter where they belong.
        """
        events: queue.Queue[EngineEvent | BaseException | None] = queue.Queue()
        started = time.monotonic()

        def work() -> None:
            try:
                with self._turn(ask.variant, cancel, events.put):
                    answer, settle = self._answer(ask, images, cancel, recorder, events.put, started)
                    events.put(DoneEvent(answer))
                    settle()
            except Cancelled:
                waited = (time.monotonic() - started) * 1000
                events.put(DoneEvent(Answer("", (), "cancelled", Usage(), 0.0, waited)))
            except BaseException as failure:
                events.put(failure)
            finally:
                events.put(None)

        worker = threading.Thread(target=work, name="engine", daemon=True)
        worker.start()
        try:
            while (event := events.get()) is not None:
                if isinstance(event, StudioError):
                    raise event
                if isinstance(event, BaseException):
                    raise RuntimeError("the engine failed") from event
                yield event
            # It only frees its tensors now; a process that ended meanwhile would be aborted.
            worker.join()
        except GeneratorExit:
            cancel.cancel()
            raise

    def logprobs(self, ask: Ask, images: Mapping[str, Image], continuation: Sequence[int]) -> np.ndarray:
        """Natural log-probabilities [len(continuation)] of forced output tokens, without any cache."""
        with self._turn(ask.variant, CancelToken()), torch.inference_mode():
            given = prepare(self.loaded.feeder, ask, images, FeedPlan(ask.variant.splitting))
            features = self._encoder.encode(
                given, given.fed, self._pooled_keys(given, ask.variant), CancelToken()
            )
            ids = torch.tensor([[*given.ids, *continuation]], device=self.loaded.model.device)
            logits = self.loaded.model(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                use_cache=False,
                logits_to_keep=len(continuation) + 1,
                mm_encoder_outputs=_as_outputs(features),
            ).logits[0]
            chosen = torch.log_softmax(logits[:-1].float(), -1)
            forced = torch.tensor(list(continuation), device=ids.device)
            return np.asarray(chosen.gather(1, forced[:, None])[:, 0].cpu().numpy())

    def read(
        self, strips: Sequence[Image], cancel: CancelToken, variant: Variant | None = None
    ) -> Iterator[LineReading]:
        """One reading per strip, in order, read in batches; no word boxes. Raises only StudioError."""
        chosen = variant or Variant(self.card.name)
        for batch in self._reader.batches(strips):
            # The device is given back between batches, never held over a yield.
            with self._turn(chosen, cancel), torch.inference_mode():
                readings = self._reader.read(batch, self._made_by(chosen), self._adapter_key(chosen), cancel)
            yield from readings

    @contextmanager
    def opened(self, ask: Ask, images: Mapping[str, Image]) -> Iterator[Opened]:
        """The model with `ask.variant`'s adapter on and what it would be fed; nobody else uses it inside."""
        with self._turn(ask.variant, CancelToken()):
            given = prepare(self.loaded.feeder, ask, images, FeedPlan(ask.variant.splitting))
            inputs, crops = batched(self.loaded.feeder, given)
            device = self.loaded.model.device
            inputs = {name: value.to(device) for name, value in inputs.items()}
            yield Opened(self.loaded.model, inputs, crops, self.loaded.feeder.tokenizer.decode)

    @contextmanager
    def _turn(self, variant: Variant, cancel: CancelToken, emit: Emit | None = None) -> Iterator[None]:
        """The device, with `variant`'s adapter on it. Raises Cancelled, AdapterRejected and what the model raises."""

        def tell(ahead: int) -> None:
            if emit is not None:
                emit(StatusEvent(f"Waiting for the model: {ahead} before you."))

        with self._line.turn(cancel, tell), self._adapter(variant), translated():
            yield

    def _adapter(self, variant: Variant) -> AbstractContextManager[None]:
        if self.adapters is not None:
            return self.adapters.scope(variant)
        if variant.adapter is not None:
            raise AdapterRejected(f"{self.card.title} runs without adapters here.", "Choose the base model.")
        return nullcontext()

    def _made_by(self, variant: Variant) -> str:
        return f"{self.card.name} {self.loaded.revision} {self._adapter_key(variant)}"

    def _adapter_key(self, variant: Variant) -> str:
        return self.adapters.key(variant) if self.adapters is not None else ""

    def _pooled_keys(self, given: ModelInput, variant: Variant) -> list[str]:
        made_by = self._made_by(variant)
        return [pooled_key(fed, made_by) for fed in given.fed]

    def _answer(
        self,
        ask: Ask,
        images: Mapping[str, Image],
        cancel: CancelToken,
        recorder: Recorder | None,
        emit: Emit,
        started: float,
    ) -> tuple[Answer, Settle]:
        """The answer, with as much of the images as memory holds, and what is still to be done once it is out.

        Raises StudioError.
        """
        plan = FeedPlan(ask.variant.splitting)
        notes: list[str] = []
        begun = False

        def forward(event: EngineEvent) -> None:
            nonlocal begun
            begun = begun or not isinstance(event, StatusEvent)
            emit(event)

        while True:
            given = prepare(self.loaded.feeder, ask, images, plan)
            lacking = self._lacking(ask, given, recorder is not None)
            if not lacking:
                try:
                    with translated():
                        answer, settle = self._run(ask, given, cancel, recorder, forward, started)
                    return replace(answer, notes=(*notes, *answer.notes)), settle
                except OutOfMemory as failure:
                    if begun:
                        raise
                    lacking = failure.message
            # Outside the except block, so that the failed attempt's tensors are let go first.
            self._let_go()
            step = smaller(plan, given)
            if step is None:
                raise OutOfMemory(lacking, "Use fewer or smaller images, or a shorter conversation.")
            plan, told = step
            notes.append(told)
            emit(StatusEvent(told))

    def _lacking(self, ask: Ask, given: ModelInput, watched: bool) -> str:
        """Empty where the forecast fits; otherwise what does not."""
        model = self.loaded.model
        need = forecast(model.config, given, ask.params.max_new_tokens, model.dtype.itemsize, watched).peak
        free = free_bytes(model.device)
        if need <= free:
            return ""
        return f"This needs about {size(need)} of memory and {size(free)} are free."

    def _let_go(self) -> None:
        self.prefixes.clear()
        self.pooled.clear()
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _run(
        self,
        ask: Ask,
        given: ModelInput,
        cancel: CancelToken,
        recorder: Recorder | None,
        emit: Emit,
        started: float,
    ) -> tuple[Answer, Settle]:
        watching = recorder is not None
        pooled_keys = self._pooled_keys(given, ask.variant)
        keys = _keys(given, pooled_keys, self._made_by(ask.variant))
        # A recording needs every token to pass through the model, so it takes no short cut.
        name = f"{ask.conversation_id} {self._made_by(ask.variant)}" if ask.conversation_id else None
        cache, kept = self.prefixes.take(None if watching else name, keys)
        wanted = [at for at, fed in enumerate(given.fed) if fed.crop.token_positions[0] >= kept]

        def looking(at: int, of: int) -> None:
            emit(StatusEvent(f"Looking: part {at} of {of}."))

        with (
            torch.inference_mode(),
            recorder.watch(self.loaded.model, given.crops) if recorder else nullcontext(),
        ):
            with stoppable(self.loaded.model, cancel):
                features = self._encoder.encode(
                    given,
                    [given.fed[at] for at in wanted],
                    [pooled_keys[at] for at in wanted],
                    cancel,
                    fresh=watching,
                    tell=looking if len(wanted) > 1 else None,
                )
                logits = self._decoder.prefill(given.ids, kept, cache, _as_outputs(features))
            decoded = self._decoder.decode(
                ask.params, logits, cache, given.ids, cancel, emit, self._adapter_key(ask.variant), watching
            )

        def settle() -> None:
            if name is not None and not watching:
                with torch.inference_mode():
                    fed = self._decoder.settle(decoded, len(given.ids), cache)
                self.prefixes.keep(name, [*keys, *((token, "", 0) for token in fed)], cache)

        return _told(decoded, given, kept, started, self.loaded.feeder.image_seq_len), settle


def _told(decoded: Decoded, given: ModelInput, kept: int, started: float, per_crop: int) -> Answer:
    now = time.monotonic()
    notes = ("The answer began to repeat itself and was stopped.",) if decoded.reason == "loop" else ()
    return Answer(
        text=decoded.text,
        tokens=decoded.tokens,
        finish_reason=decoded.reason,
        usage=Usage(len(given.ids), len(given.fed) * per_crop, len(decoded.tokens), kept),
        first_token_ms=max(0.0, (decoded.first_at - started) * 1000) if decoded.first_at else 0.0,
        total_ms=(now - started) * 1000,
        notes=notes,
    )


def _keys(given: ModelInput, pooled_keys: Sequence[str], made_by: str) -> list[Key]:
    """Token ids, with each image token named by its crop: equal keys mean equal cache entries.

    The first token is named by model and adapter, so that no entry of another is ever taken for one of this.
    """
    keys: list[Key] = [(token, "", 0) for token in given.ids]
    for fed, name in zip(given.fed, pooled_keys, strict=True):
        first, stop = fed.crop.token_positions
        for at in range(first, stop):
            keys[at] = (keys[at][0], name, at - first)
    keys[0] = (keys[0][0], made_by, 0)
    return keys


def _as_outputs(features: Any) -> Any:
    return None if features is None else {"image": Pooled([features])}
