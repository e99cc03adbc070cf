"""The tasks' way into an engine whose model is in this process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, cast

from vlm_studio.core.conversation import Ask
from vlm_studio.core.errors import TraceUnavailable
from vlm_studio.core.ports import Engine, LocalEngine
from vlm_studio.core.traces import Trace
from vlm_studio.trace.forced import forced_gradients, forced_trace

if TYPE_CHECKING:
    from PIL.Image import Image


class EngineTracer:
    """Opens the engine for each look; nothing of the model is held between two."""

    def __init__(self, engine: Engine, letters: str = "") -> None:
        """`letters` are those that nano's connector spells with, in its order."""
        self._engine = engine
        self._letters = letters

    def trace(self, ask: Ask, images: Mapping[str, Image], continuation: Sequence[int]) -> Trace:
        """What was looked at for each token of an answer. Raises StudioError."""
        with self._local().opened(ask, images) as opened:
            return forced_trace(opened, continuation, self._engine.card.name, self._letters)

    def gradients(
        self, ask: Ask, images: Mapping[str, Image], continuation: Sequence[int], tokens: Sequence[int]
    ) -> Trace:
        """The same weighted by what speaks for `tokens`: one pass forward and one back. Raises StudioError."""
        with self._local().opened(ask, images) as opened:
            return forced_gradients(opened, continuation, tokens)

    def _local(self) -> LocalEngine:
        if not hasattr(self._engine, "opened"):
            raise TraceUnavailable(
                f"{self._engine.card.title} runs on another machine and cannot be looked into from here.",
                "Use a model of this machine, or open an inspection that was kept.",
            )
        return cast("LocalEngine", self._engine)
