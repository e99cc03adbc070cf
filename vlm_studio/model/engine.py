"""One engine for nano and for Idefics2-8B: an event stream with probabilities, a Stop that stops, and kept prefixes.

Tokens are chosen by a loop of our own, because `generate` hides the distribution, cannot be stopped inside a thread
that someone else advances, and starts every question from nothing. A test pins it to `generate`.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from vlm_studio.core.answers import (
    Answer,
    DoneEvent,
    EngineEvent,
    FinishReason,
    StatusEvent,
    TokenEvent,
    TopToken,
    Usage,
)
from vlm_studio.core.cancel import CancelToken
from vlm_studio.core.conversation import Ask, GenParams, ImagePart, TextPart
from vlm_studio.core.errors import InvalidRequest, StudioError
from vlm_studio.core.ports import ModelCard, Recorder
from vlm_studio.model.cache import Key, PooledCache, PrefixCache
from vlm_studio.model.foreign_errors import translated
from vlm_studio.model.sampling import Sampler, loops

if TYPE_CHECKING:
    from PIL.Image import Image

log = logging.getLogger(__name__)

TOP = 5


@dataclass(frozen=True)
class LoadedModel:
    """A model in memory with all that is needed to feed it."""

    model: Any
    processor: Any
    card: ModelCard
    end_ids: frozenset[int]
    never_ids: frozenset[int]
    """Image and fence tokens: a model that writes them would break its own next turn."""
    image_token_id: int


@dataclass
class _Line:
    """Who uses the device, in order of arrival."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    waiting: int = 0


class HFEngine:
    """Engine port over a transformers model. Thread-safe: one generation at a time, others wait in line."""

    def __init__(self, loaded: LoadedModel, prefixes: int = 4, pooled_bytes: int = 256 * 1024**2) -> None:
        """`prefixes` conversations keep their attention cache; `pooled_bytes` bounds the kept pooled tokens."""
        self.loaded = loaded
        self.prefixes = PrefixCache(prefixes)
        self.pooled = PooledCache(pooled_bytes)
        self._line = _Line()
        self._guard = threading.Lock()

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
        whoever abandons it, leaves the device lock and the hooks where they belong.
        """
        events: queue.Queue[EngineEvent | BaseException | None] = queue.Queue()

        def work() -> None:
            try:
                with self._turn(events, cancel), translated():
                    self._generate(ask, images, cancel, recorder, events.put)
            except BaseException as failure:
                events.put(failure)
            finally:
                events.put(None)

        threading.Thread(target=work, name="engine", daemon=True).start()
        try:
            while (event := events.get()) is not None:
                if isinstance(event, StudioError):
                    raise event
                if isinstance(event, BaseException):
                    raise RuntimeError("the engine failed") from event
                yield event
        except GeneratorExit:
            cancel.cancel()
            raise

    def logprobs(self, ask: Ask, images: Mapping[str, Image], continuation: Sequence[int]) -> np.ndarray:
        """Natural log-probabilities [len(continuation)] of forced output tokens, without any cache."""
        with self._line.lock, translated(), torch.inference_mode():
            inputs = self._inputs(ask, images)
            forced = torch.tensor([list(continuation)], device=inputs["input_ids"].device)
            inputs["input_ids"] = torch.cat([inputs["input_ids"], forced], 1)
            inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
            logits = self.loaded.model(**inputs, use_cache=False, logits_to_keep=forced.shape[1] + 1).logits[
                0
            ]
            chosen = torch.log_softmax(logits[:-1].float(), -1).gather(1, forced[0][:, None])[:, 0]
            return np.asarray(chosen.cpu().numpy())

    def _turn(self, events: queue.Queue[Any], cancel: CancelToken) -> _Turn:
        return _Turn(self._line, self._guard, events, cancel)

    def _inputs(self, ask: Ask, images: Mapping[str, Image]) -> dict[str, Tensor]:
        """What the processor makes of an Ask, on the model's device. Raises InvalidRequest."""
        messages = [
            {
                "role": turn.role,
                "content": [
                    {"type": "image"} if isinstance(part, ImagePart) else {"type": "text", "text": part.text}
                    for part in turn.parts
                ],
            }
            for turn in ask.turns
        ]
        pictures = [images[part.image_sha256] for turn in ask.turns for part in turn.images]
        text = self.loaded.processor.apply_chat_template(messages, add_generation_prompt=True)
        prepared = self.loaded.processor(
            text=[text], images=[pictures] if pictures else None, return_tensors="pt"
        )
        if not any(
            isinstance(part, TextPart) and part.text.strip() for turn in ask.turns for part in turn.parts
        ):
            raise InvalidRequest("The message is empty.", "Type a question.")
        return {name: value.to(self.loaded.model.device) for name, value in prepared.items()}

    def _generate(
        self,
        ask: Ask,
        images: Mapping[str, Image],
        cancel: CancelToken,
        recorder: Recorder | None,
        emit: Any,
    ) -> None:
        started = time.monotonic()
        inputs = self._inputs(ask, images)
        ids = inputs["input_ids"][0].tolist()
        order = [part.image_sha256 for turn in ask.turns for part in turn.images]
        keys = self._keys(ids, order)
        watching = recorder is not None
        # A recording needs every token to pass through the model, so it takes no short cut.
        cache, kept = self.prefixes.take(None if watching else ask.conversation_id, keys)
        n_images = sum(token == self.loaded.image_token_id for token in ids)
        with torch.inference_mode():
            features = self._features(inputs, images, ask, ids, kept)
            feed = {"input_ids": inputs["input_ids"][:, kept:], "attention_mask": inputs["attention_mask"]}
            if recorder is None:
                logits = self._forward(feed, cache, features)
                answer = self._loop(ask.params, logits, cache, keys, cancel, emit, started)
            else:
                with recorder.watch(self.loaded.model, ()):
                    logits = self._forward(feed, cache, features)
                    answer = self._loop(ask.params, logits, cache, keys, cancel, emit, started)
        tokens, reason, first_ms, text = answer
        if not watching:
            self.prefixes.keep(ask.conversation_id, keys, cache)
        usage = Usage(len(ids), n_images, len(tokens), kept)
        emit(
            DoneEvent(
                Answer(text, tuple(tokens), reason, usage, first_ms, (time.monotonic() - started) * 1000)
            )
        )

    def _keys(self, ids: Sequence[int], order: Sequence[str]) -> list[Key]:
        """Token ids, with each image token named by its image: equal keys mean equal cache entries."""
        per_image = sum(token == self.loaded.image_token_id for token in ids) // max(1, len(order))
        seen, keys = 0, []
        for token in ids:
            if token == self.loaded.image_token_id and order:
                keys.append((token, order[min(seen // per_image, len(order) - 1)], seen % per_image))
                seen += 1
            else:
                keys.append((token, "", 0))
        return keys

    def _features(
        self,
        inputs: Mapping[str, Tensor],
        images: Mapping[str, Image],
        ask: Ask,
        ids: Sequence[int],
        kept: int,
    ) -> Any:
        """Pooled tokens of the images whose tokens are still to be fed, from the cache where it has them."""
        order = [part.image_sha256 for turn in ask.turns for part in turn.images]
        if not order:
            return None
        per_image = sum(token == self.loaded.image_token_id for token in ids) // len(order)
        done = sum(token == self.loaded.image_token_id for token in ids[:kept]) // max(1, per_image)
        wanted = order[done:]
        if not wanted:
            return None
        if per_image and all(self.pooled.get(sha) is not None for sha in wanted):
            rows = [self.pooled.get(sha) for sha in wanted]
        else:
            output = self.loaded.model.get_image_features(
                inputs["pixel_values"], inputs.get("pixel_attention_mask"), return_dict=True
            )
            every = torch.cat(list(output.pooler_output), 0).split(per_image)
            for sha, row in zip(order, every, strict=True):
                self.pooled.put(sha, row)
            rows = list(every[done:])
        return {"image": _Pooled([torch.cat([row for row in rows if row is not None], 0)])}

    def _forward(self, feed: Mapping[str, Tensor], cache: Any, features: Any) -> Tensor:
        """Logits (vocabulary,) after the last fed token; `cache` grows in place."""
        output = self.loaded.model(
            **feed, past_key_values=cache, use_cache=True, logits_to_keep=1, mm_encoder_outputs=features
        )
        logits: Tensor = output.logits[0, -1].float()
        return logits

    def _loop(
        self,
        params: GenParams,
        logits: Tensor,
        cache: Any,
        keys: list[Key],
        cancel: CancelToken,
        emit: Any,
        started: float,
    ) -> tuple[list[TokenEvent], FinishReason, float, str]:
        """Tokens until the end, a Stop or a loop. `keys` grows with each token that enters the cache."""
        sampler = Sampler(params, self.loaded.never_ids, [key[0] for key in keys])
        tokenizer = self.loaded.processor.tokenizer
        tokens: list[TokenEvent] = []
        ids: list[int] = []
        shown, first_ms = "", 0.0
        reason: FinishReason = "length"
        for _ in range(params.max_new_tokens):
            if cancel.cancelled:
                reason = "cancelled"
                break
            logprobs = torch.log_softmax(logits, -1)
            token = sampler.next(logits)
            if token in self.loaded.end_ids:
                reason = "stop"
                break
            ids.append(token)
            text = tokenizer.decode(ids, skip_special_tokens=True)
            # A character of several tokens is shown once it is whole.
            fresh = "" if text.endswith("\ufffd") else text[len(shown) :]
            shown += fresh
            event = TokenEvent(fresh, token, float(logprobs[token]), _top(logprobs, tokenizer))
            tokens.append(event)
            first_ms = first_ms or (time.monotonic() - started) * 1000
            emit(event)
            if loops(ids):
                reason = "loop"
                break
            step = torch.tensor([[token]], device=logits.device)
            mask = torch.ones((1, len(keys) + 1), dtype=torch.long, device=logits.device)
            logits = self._forward({"input_ids": step, "attention_mask": mask}, cache, None)
            keys.append((token, "", 0))
        return tokens, reason, first_ms, tokenizer.decode(ids, skip_special_tokens=True)


class _Pooled:
    """What `mm_encoder_outputs` must look like for Idefics2: an object with the pooled tokens of each sample."""

    def __init__(self, pooler_output: list[Tensor]) -> None:
        self.pooler_output = pooler_output


class _Turn:
    """Waits for the device and tells how many are in front."""

    def __init__(
        self, line: _Line, guard: threading.Lock, events: queue.Queue[Any], cancel: CancelToken
    ) -> None:
        self._line, self._guard, self._events, self._cancel = line, guard, events, cancel

    def __enter__(self) -> None:
        with self._guard:
            ahead = self._line.waiting
            self._line.waiting += 1
        if ahead:
            self._events.put(StatusEvent(f"Waiting for the model: {ahead} before you."))
        try:
            while not self._line.lock.acquire(timeout=0.2):
                self._cancel.raise_if_cancelled()
        except BaseException:
            self._leave()
            raise

    def __exit__(self, *_: object) -> None:
        self._line.lock.release()
        self._leave()

    def _leave(self) -> None:
        with self._guard:
            self._line.waiting -= 1


def _top(logprobs: Tensor, tokenizer: Any) -> tuple[TopToken, ...]:
    values, found = logprobs.topk(TOP)
    return tuple(
        TopToken(tokenizer.decode([token]), token, value)
        for token, value in zip(found.tolist(), values.tolist(), strict=True)
    )
