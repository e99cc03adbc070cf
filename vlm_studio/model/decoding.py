"""From a prompt to tokens, one at a time: what is fed, what is chosen, when it ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from vlm_studio.core.answers import EngineEvent, FinishReason, TokenEvent, TopToken
from vlm_studio.core.cancel import CancelToken
from vlm_studio.core.conversation import GenParams
from vlm_studio.model.lean import LeanDecoder, close
from vlm_studio.model.sampling import Sampler, loops

TOP = 5


@dataclass(frozen=True, slots=True)
class Decoded:
    """Output tokens and how they ended."""

    tokens: tuple[TokenEvent, ...]
    text: str
    reason: FinishReason
    fed: tuple[int, ...]
    """Those output tokens that entered the attention cache."""
    first_at: float
    """`time.monotonic` of the first token; 0 where there was none."""
    unsettled: tuple[int, ...] = ()
    """Output tokens for `Decoder.settle`."""


class Decoder:
    """Runs one loaded model. Used only under the engine's lock."""

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        end_ids: frozenset[int],
        never_ids: frozenset[int],
        lean: LeanDecoder | None = None,
    ) -> None:
        """`lean` makes the steps after the prompt, where it can."""
        self.model = model
        self.lean = lean
        self._room = 0
        self.tokenizer = tokenizer
        self.end_ids = end_ids
        self.never_ids = never_ids

    def prefill(self, ids: Sequence[int], kept: int, cache: Any, features: Any) -> Tensor:
        """Logits (vocabulary,) after `ids`, of which the first `kept` are in `cache` already; it grows in place."""
        fed = torch.tensor([ids[kept:]], device=self.model.device)
        return self._forward(fed, len(ids), cache, features)

    def decode(
        self,
        params: GenParams,
        logits: Tensor,
        cache: Any,
        prompt: Sequence[int],
        cancel: CancelToken,
        emit: Callable[[EngineEvent], None],
        adapter: str = "",
        watched: bool = False,
    ) -> Decoded:
        """Tokens until the end, a Stop or a loop; each is handed to `emit` at once.

        `adapter` names what is on the model now. `watched`: every token passes through the model's own modules.
        """
        lean = self.lean
        if watched or lean is None or not lean.adapt(adapter):
            return self._decode(params, logits, cache, prompt, cancel, emit, self._step)
        self._room = params.max_new_tokens
        # Where tokens are drawn, a close call is decided by chance anyway.
        step = self._settled_step if params.temperature == 0 else self._quick_step
        decoded = self._decode(params, logits, cache, prompt, cancel, emit, step)
        if decoded.fed:
            lean.lend(cache, drop=len(decoded.fed))
        return replace(decoded, fed=(), unsettled=decoded.fed)

    def settle(self, decoded: Decoded, prompt: int, cache: Any) -> tuple[int, ...]:
        """Bring the answer's tokens into `cache` as the model itself makes them; which they are.

        What quick steps left there is not kept: so a kept prefix changes nothing. A stopped answer is left out.
        """
        if not decoded.unsettled or decoded.reason == "cancelled":
            return decoded.fed
        fed = torch.tensor([decoded.unsettled], device=self.model.device)
        self._forward(fed, prompt + len(decoded.unsettled), cache, None)
        return decoded.unsettled

    def _decode(
        self,
        params: GenParams,
        logits: Tensor,
        cache: Any,
        prompt: Sequence[int],
        cancel: CancelToken,
        emit: Callable[[EngineEvent], None],
        step: Callable[[int, int, Any], Tensor],
    ) -> Decoded:
        sampler = Sampler(params, self.never_ids, prompt)
        tokens: list[TokenEvent] = []
        ids: list[int] = []
        fed: list[int] = []
        shown, first_at = "", 0.0
        reason: FinishReason = "length"
        for _ in range(params.max_new_tokens):
            if cancel.cancelled:
                reason = "cancelled"
                break
            token = sampler.next(logits)
            if token in self.end_ids:
                reason = "stop"
                break
            ids.append(token)
            text = self.tokenizer.decode(ids, skip_special_tokens=True)
            # A character of several tokens is shown once it is whole.
            fresh = "" if text.endswith("\ufffd") else text[len(shown) :]
            shown += fresh
            logprobs = torch.log_softmax(logits, -1)
            event = TokenEvent(fresh, token, float(logprobs[token]), self._top(logprobs))
            tokens.append(event)
            first_at = first_at or time.monotonic()
            emit(event)
            if loops(ids):
                reason = "loop"
                break
            if len(ids) < params.max_new_tokens:
                logits = step(token, len(prompt) + len(ids), cache)
                fed.append(token)
        text = self.tokenizer.decode(ids, skip_special_tokens=True)
        return Decoded(tuple(tokens), text, reason, tuple(fed), first_at)

    def _step(self, token: int, length: int, cache: Any) -> Tensor:
        """Logits (vocabulary,) after `token`, which becomes the `length`-th token of `cache`."""
        return self._forward(torch.tensor([[token]], device=self.model.device), length, cache, None)

    def _quick_step(self, token: int, _length: int, cache: Any) -> Tensor:
        assert self.lean is not None
        if self._room:
            # Not before the first token is out: keys and values of a long chat are copied.
            self.lean.begin(cache, self._room)
            self._room = 0
        return self.lean.step([token])[0]

    def _settled_step(self, token: int, length: int, cache: Any) -> Tensor:
        assert self.lean is not None
        logits = self._quick_step(token, length, cache)
        return self.lean.step([token], again=True)[0] if close(logits) else logits

    def _forward(self, fed: Tensor, length: int, cache: Any, features: Any) -> Tensor:
        output = self.model(
            input_ids=fed,
            attention_mask=torch.ones((1, length), dtype=torch.long, device=fed.device),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
            mm_encoder_outputs=features,
        )
        logits: Tensor = output.logits[0, -1].float()
        return logits

    def _top(self, logprobs: Tensor) -> tuple[TopToken, ...]:
        values, found = logprobs.topk(TOP)
        return tuple(
            TopToken(self.tokenizer.decode([token]), token, value)
            for token, value in zip(found.tolist(), values.tolist(), strict=True)
        )
