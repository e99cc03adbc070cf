"""What the tasks need from the outside, as protocols. Implementations never import each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from vlm_studio.core.answers import EngineEvent
from vlm_studio.core.cancel import CancelToken
from vlm_studio.core.conversation import Ask, Variant
from vlm_studio.core.documents import Line, LineReading
from vlm_studio.core.traces import Crop, Trace

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What a model is and can do: the only thing the app asks a model about itself."""

    name: str
    title: str
    summary: str
    """One sentence for a person, saying also what it cannot do."""
    reads_strips: bool
    sees_pictures: bool
    """False for nano: it reads writing and knows no cats."""
    feed: Literal["strips", "pages"]
    image_seq_len: int
    longest_edge: int
    licence: str
    measured: Mapping[str, Any]
    """Numbers with their conditions, as shipped beside the weights."""


class LineFinder(Protocol):
    def find(self, image: Image) -> tuple[Line, ...]:
        """Lines of an upright RGB page, in reading order; empty for a blank page."""
        ...


class Reader(Protocol):
    """Strips in, text out. Several strips are one batch; results come in their order."""

    @property
    def name(self) -> str: ...

    def read(self, strips: Sequence[Image], cancel: CancelToken) -> Iterator[LineReading]:
        """One reading per strip, word boxes in strip pixels. Raises only StudioError."""
        ...


class Recorder(Protocol):
    """Watches one generation. `result` is valid only after exit."""

    def watch(self, model: Any, crops: Sequence[Crop]) -> AbstractContextManager[None]: ...

    def result(self) -> Trace | None: ...


class AdapterScope(Protocol):
    """Adapters of one loaded model. Used only under the engine's lock, in the thread that computes."""

    def scope(self, variant: Variant) -> AbstractContextManager[None]:
        """`variant.adapter` (None: the base model) at `variant.adapter_scale` inside, as it was before afterwards.

        Raises NotFound or AdapterRejected.
        """
        ...

    def key(self, variant: Variant) -> str:
        """A hash of the content of what `scope` would put on; empty for the base model. Part of every cache key."""
        ...


@dataclass(frozen=True, slots=True)
class Opened:
    """A model with what it would be fed for one request."""

    model: Any
    inputs: Mapping[str, Any]
    """`input_ids`, `attention_mask` and, with images, `pixel_values` and `pixel_attention_mask`, one sample."""
    crops: tuple[Crop, ...]
    """In feeding order; `grid_hw` is that of the padded `pixel_values`."""
    decode: Callable[[Sequence[int]], str] | None = None
    """Token ids into text."""


class Engine(Protocol):
    """A multimodal language model: nano, the 8B, a scripted one, or a remote server."""

    @property
    def card(self) -> ModelCard: ...

    def stream(
        self,
        ask: Ask,
        images: Mapping[str, Image],
        cancel: CancelToken,
        recorder: Recorder | None = None,
    ) -> Iterator[EngineEvent]:
        """Token and status events in order, then exactly one DoneEvent (also when cancelled).

        `images` maps each ImagePart's hash to an upright RGB image. Raises only StudioError.
        """
        ...

    def logprobs(self, ask: Ask, images: Mapping[str, Image], continuation: Sequence[int]) -> np.ndarray:
        """Natural log-probabilities [len(continuation)] of forced output tokens."""
        ...

    def read(
        self, strips: Sequence[Image], cancel: CancelToken, variant: Variant | None = None
    ) -> Iterator[LineReading]:
        """One reading per strip of writing, in order, read in batches; no word boxes. Raises only StudioError."""
        ...


class LocalEngine(Engine, Protocol):
    """An engine whose model is in this process, so that it can be looked into."""

    def opened(self, ask: Ask, images: Mapping[str, Image]) -> AbstractContextManager[Opened]:
        """The model with `ask.variant`'s adapter on and what it would be fed; nobody else uses it inside.

        For methods that need more than one forward pass gives, such as gradients. Raises only StudioError.
        """
        ...
