"""An engine that says what it is told to, token by token, and remembers what it was asked."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL.Image import Image

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
from vlm_studio.core.conversation import Ask, Variant
from vlm_studio.core.documents import LineReading
from vlm_studio.core.ports import ModelCard, Recorder
from vlm_studio.core.traces import Trace

CARD = ModelCard(
    "scripted", "Scripted", "Says what it is told to.", True, False, "strips", 64, 2400, "none",
    {"cer": {"en": 0.1}},
)  # fmt: skip


@dataclass
class ScriptedEngine:
    """Says `words`; with `gate`, waits for it before each of them."""

    words: tuple[str, ...] = ("The ", "cat ", "sat", ".")
    gate: threading.Semaphore | None = None
    fails: Exception | None = None
    asks: list[Ask] = field(default_factory=list)
    images: list[Mapping[str, Image]] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)
    card: ModelCard = CARD

    def stream(
        self,
        ask: Ask,
        images: Mapping[str, Image],
        cancel: CancelToken,
        recorder: Recorder | None = None,
    ) -> Iterator[EngineEvent]:
        self.asks.append(ask)
        self.images.append(images)
        yield StatusEvent("Waiting for the model:\n0 before you.")
        if self.fails is not None:
            raise self.fails
        said: list[TokenEvent] = []
        reason: FinishReason = "stop"
        for number, word in enumerate(self.words):
            while self.gate is not None and not self.gate.acquire(timeout=0.02):
                if cancel.cancelled:
                    break
            if cancel.cancelled:
                self.stopped.set()
                reason = "cancelled"
                break
            if len(said) == ask.params.max_new_tokens:
                reason = "length"
                break
            said.append(
                TokenEvent(
                    word, 100 + number, -0.5, (TopToken(word, 100 + number, -0.5), TopToken("dog", 7, -1.5))
                )
            )
            yield said[-1]
        text = "".join(t.text for t in said)
        yield DoneEvent(Answer(text, tuple(said), reason, Usage(10, 4, len(said), 3), 5.0, 9.0, ("A note.",)))

    def logprobs(self, ask: Ask, images: Mapping[str, Image], continuation: Sequence[int]) -> np.ndarray:
        return np.array([-float(t) / 10 for t in continuation])

    def read(
        self, strips: Sequence[Image], cancel: CancelToken, variant: Variant | None = None
    ) -> Iterator[LineReading]:
        for strip in strips:
            yield LineReading(f"{variant and variant.adapter} {strip.width}", 0.5, (), "scripted", ("faint",))


class ScriptedTracer:
    """Gives the same trace whatever it is asked, and remembers what that was."""

    def __init__(self, trace: Trace) -> None:
        self.kept = trace
        self.asked: list[tuple[tuple[int, ...], tuple[int, ...] | None]] = []

    def trace(self, ask: Ask, images: Mapping[str, Image], continuation: Sequence[int]) -> Trace:
        self.asked.append((tuple(continuation), None))
        return self.kept

    def gradients(
        self, ask: Ask, images: Mapping[str, Image], continuation: Sequence[int], tokens: Sequence[int]
    ) -> Trace:
        self.asked.append((tuple(continuation), tuple(tokens)))
        return self.kept
