"""ZeroGPU on Hugging Face Spaces, and nothing anywhere else. `app.py` imports this before all that may touch CUDA.

On ZeroGPU a process has a GPU only inside a decorated call, and that call runs in a forked process: arguments and results
are pickled, whatever it changes is lost, and an exception arrives as its class name. So the model is loaded once by
the main process, each computation is one call, and errors travel as values.
"""

from __future__ import annotations

import functools
import importlib
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from vlm_studio.core import errors
from vlm_studio.core.answers import Answer, DoneEvent, EngineEvent, TokenEvent, Usage
from vlm_studio.core.cancel import CancelToken
from vlm_studio.core.conversation import Ask, Variant
from vlm_studio.core.documents import LineReading
from vlm_studio.core.errors import GenerationFailed, StudioError
from vlm_studio.core.ports import Engine, ModelCard, Recorder

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

Function = TypeVar("Function", bound=Callable[..., Any])

SHORTEST, LONGEST = 20, 120
"""Seconds. A visitor's daily share is 2 minutes without an account, and a call must fit into what is left of it."""
START_SECONDS, IMAGE_SECONDS, TOKEN_SECONDS = 8.0, 1.5, 0.06
"""Generous for Idefics2-8B in bfloat16: moving it to the card, looking at one image, writing one token."""


def zero_gpu(env: Mapping[str, str] = os.environ) -> bool:
    return env.get("SPACES_ZERO_GPU", "").lower() in {"1", "t", "true"}


_spaces: Any = importlib.import_module("spaces") if zero_gpu() else None


def gpu(duration: Callable[..., int]) -> Callable[[Function], Function]:
    """Decorates what needs the GPU; `duration` says from its arguments for how many seconds at most."""

    def decorate(function: Function) -> Function:
        if _spaces is None:
            return function
        decorated: Function = _spaces.GPU(function, duration=duration)
        return decorated

    return decorate


def announce() -> None:
    """Once everything is decorated and loaded: what Gradio's own `launch` would tell ZeroGPU, which we do without."""
    if _spaces is not None:
        importlib.import_module("spaces.zero").startup()


def seconds_for(ask: Ask, *_: Any) -> int:
    """How long an answer may take."""
    images = sum(len(turn.images) for turn in ask.turns)
    wanted = START_SECONDS + IMAGE_SECONDS * images + TOKEN_SECONDS * ask.params.max_new_tokens
    return _clipped(wanted)


def seconds_to_look(ask: Ask, images: Any, continuation: Sequence[int], *_: Any) -> int:
    """How long it may take to look at given tokens: a pass forward, perhaps one back."""
    return _clipped(START_SECONDS + 2 * IMAGE_SECONDS * len(images) + TOKEN_SECONDS * len(continuation))


def seconds_to_read(strips: Sequence[Any], *_: Any) -> int:
    return _clipped(START_SECONDS + IMAGE_SECONDS * len(strips))


def _clipped(seconds: float) -> int:
    return int(min(LONGEST, max(SHORTEST, seconds)))


class GpuEngine:
    """An engine each of whose computations is one ZeroGPU call. `engine` holds its model already.

    Make it before `announce`: functions decorated later are not known.
    """

    def __init__(self, engine: Engine) -> None:
        self._card = engine.card

        # Closures, not methods: what they hold is there in the fork and is not pickled.
        def stream(ask: Ask, images: Mapping[str, Image]) -> Iterator[Any]:
            yield from _told(engine.stream(ask, images, CancelToken()))

        def read(strips: Sequence[Image], variant: Variant | None) -> Iterator[Any]:
            yield from _told(engine.read(strips, CancelToken(), variant))

        def logprobs(ask: Ask, images: Mapping[str, Image], continuation: Sequence[int]) -> Any:
            return _value(functools.partial(engine.logprobs, ask, images, continuation))

        self._stream = gpu(seconds_for)(stream)
        self._read = gpu(seconds_to_read)(read)
        self._logprobs = gpu(seconds_to_look)(logprobs)

    @property
    def card(self) -> ModelCard:
        return self._card

    def stream(
        self, ask: Ask, images: Mapping[str, Image], cancel: CancelToken, recorder: Recorder | None = None
    ) -> Iterator[EngineEvent]:
        """As the port says; a recorder stays empty, because the fork's copy of it is another one."""
        started, tokens = time.monotonic(), list[TokenEvent]()
        events: Any = self._stream(ask, images)
        try:
            for event in _raised(events):
                if isinstance(event, TokenEvent):
                    tokens.append(event)
                yield event
                if cancel.cancelled and not isinstance(event, DoneEvent):
                    yield DoneEvent(_stopped(tokens, (time.monotonic() - started) * 1000))
                    return
        finally:
            events.close()

    def logprobs(self, ask: Ask, images: Mapping[str, Image], continuation: Sequence[int]) -> np.ndarray:
        found: np.ndarray = _opened(self._logprobs(ask, images, list(continuation)))
        return found

    def read(
        self, strips: Sequence[Image], cancel: CancelToken, variant: Variant | None = None
    ) -> Iterator[LineReading]:
        readings: Any = self._read(list(strips), variant)
        try:
            for reading in _raised(readings):
                cancel.raise_if_cancelled()
                yield reading
        finally:
            readings.close()


class GpuTracer:
    """Looks into a model, one ZeroGPU call a look."""

    def __init__(self, tracer: Any) -> None:
        def trace(ask: Ask, images: Mapping[str, Image], continuation: Sequence[int]) -> Any:
            return _value(functools.partial(tracer.trace, ask, images, continuation))

        def gradients(
            ask: Ask, images: Mapping[str, Image], continuation: Sequence[int], tokens: Sequence[int]
        ) -> Any:
            return _value(functools.partial(tracer.gradients, ask, images, continuation, tokens))

        self._trace, self._gradients = gpu(seconds_to_look)(trace), gpu(seconds_to_look)(gradients)

    def trace(self, ask: Ask, images: Mapping[str, Image], continuation: Sequence[int]) -> Any:
        return _opened(self._trace(ask, images, list(continuation)))

    def gradients(
        self, ask: Ask, images: Mapping[str, Image], continuation: Sequence[int], tokens: Sequence[int]
    ) -> Any:
        return _opened(self._gradients(ask, images, list(continuation), list(tokens)))


def _told(values: Iterator[Any]) -> Iterator[Any]:
    """`values`, and a failure as the last of them: an exception would lose its words on the way."""
    try:
        yield from values
    except StudioError as error:
        yield _Failure(type(error).__name__, error.message, error.hint)


def _value(work: Callable[[], Any]) -> Any:
    try:
        return work()
    except StudioError as error:
        return _Failure(type(error).__name__, error.message, error.hint)


def _raised(values: Iterator[Any]) -> Iterator[Any]:
    try:
        for value in values:
            yield _opened(value)
    except (StudioError, GeneratorExit):
        raise
    except Exception as error:
        # Gradio's own error of a call that was refused says why: the visitor's share is used up, or nothing is free.
        raise GenerationFailed(f"The GPU gave up: {error}", "Try again in a moment.") from error


def _opened(value: Any) -> Any:
    if isinstance(value, _Failure):
        raise getattr(errors, value.kind, GenerationFailed)(value.message, value.hint)
    return value


class _Failure:
    """A StudioError on its way out of the fork."""

    def __init__(self, kind: str, message: str, hint: str) -> None:
        self.kind, self.message, self.hint = kind, message, hint


def _stopped(tokens: Sequence[TokenEvent], total_ms: float) -> Answer:
    usage = Usage(output_tokens=len(tokens))
    return Answer("".join(t.text for t in tokens), tuple(tokens), "cancelled", usage, 0.0, total_ms)
