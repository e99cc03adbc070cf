"""The shipped nano with its language model, loaded once: the real thing is small enough for tests. And a tiny Idefics2."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from PIL import Image

from vlm_studio.core.answers import Answer, DoneEvent, StatusEvent, TokenEvent
from vlm_studio.core.cancel import CancelToken
from vlm_studio.core.conversation import Ask
from vlm_studio.core.ports import ModelCard, Recorder
from vlm_studio.model.engine import HFEngine, LoadedModel

ROOT = Path(__file__).resolve().parents[2]
TINY = ModelCard("tiny", "Tiny", "Random weights.", True, True, "pages", 8, 980, "none", {})


@pytest.fixture(scope="session")
def nano() -> LoadedModel:
    from vlm_studio.model.catalog import load_nano

    return load_nano(ROOT / "assets", None)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.model import tiny

    return tiny.save(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def idefics2(checkpoint: Path) -> LoadedModel:
    """The tiny checkpoint in full precision, through the code that loads the 8B."""
    from vlm_studio.model.loading import load

    return load(checkpoint, TINY, "tiny", "fp32")


class Told:
    """What an engine said in the course of one answer."""

    def __init__(
        self,
        engine: HFEngine,
        ask: Ask,
        images: Mapping[str, Image.Image] | None = None,
        recorder: Recorder | None = None,
        cancel: CancelToken | None = None,
    ) -> None:
        *events, done = list(engine.stream(ask, images or {}, cancel or CancelToken(), recorder))
        assert isinstance(done, DoneEvent)
        self.answer: Answer = done.answer
        self.status = [e.message for e in events if isinstance(e, StatusEvent)]
        assert self.answer.tokens == tuple(e for e in events if isinstance(e, TokenEvent))

    @property
    def ids(self) -> list[int]:
        return [t.token_id for t in self.answer.tokens]

    @property
    def logprobs(self) -> Sequence[float]:
        return [t.logprob for t in self.answer.tokens]
