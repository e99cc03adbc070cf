"""Each computation is one call in a forked process: words, errors, Stop and traces survive the way back."""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.serve.scripted import CARD, ScriptedEngine, ScriptedTracer
from tests.serve.test_remote import trace
from vlm_studio.core.answers import DoneEvent, TokenEvent
from vlm_studio.core.cancel import CancelToken
from vlm_studio.core.conversation import Ask, GenParams, ImagePart, TextPart, Turn
from vlm_studio.core.errors import InvalidRequest, OutOfMemory

FAKE = Path(__file__).resolve().parent / "fake"
PICTURE = Image.new("RGB", (8, 6), "red")
ASK = Ask((Turn("user", (TextPart("Read."), ImagePart("a"))),), params=GenParams(max_new_tokens=8))

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="ZeroGPU forks")


@pytest.fixture
def shim(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The shim as it is on ZeroGPU."""
    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    monkeypatch.syspath_prepend(str(FAKE))
    name = "vlm_studio.spaces_shim"
    before = sys.modules.pop(name, None)
    yield importlib.import_module(name)
    for fake in [m for m in sys.modules if m.split(".")[0] == "spaces"]:
        del sys.modules[fake]
    sys.modules.pop(name)
    if before is not None:
        sys.modules[name] = before


def collected(engine: Any, ask: Ask = ASK, cancel: CancelToken | None = None) -> list[Any]:
    return list(engine.stream(ask, {"a": PICTURE}, cancel or CancelToken()))


def test_words_come_back_and_the_call_says_how_long_it_may_take(shim: ModuleType) -> None:
    engine = shim.GpuEngine(ScriptedEngine())
    *events, done = collected(engine)
    assert isinstance(done, DoneEvent) and done.answer.text == "The cat sat."
    assert [e.text for e in events if isinstance(e, TokenEvent)] == ["The ", "cat ", "sat", "."]
    assert engine.card == CARD
    assert np.allclose(engine.logprobs(ASK, {"a": PICTURE}, [3, 5]), [-0.3, -0.5])
    assert [r.text for r in engine.read([PICTURE, PICTURE], CancelToken())] == ["None 8", "None 8"]
    spaces = sys.modules["spaces"]
    assert spaces.DECORATED == ["stream", "read", "logprobs"]
    assert all(shim.SHORTEST <= seconds <= shim.LONGEST for seconds in spaces.DURATIONS)
    longer = Ask((Turn("user", (ImagePart("a"),) * 9),), params=GenParams(max_new_tokens=512))
    assert shim.SHORTEST < shim.seconds_for(longer) < shim.LONGEST


def test_an_error_keeps_its_words_on_the_way(shim: ModuleType) -> None:
    fails = OutOfMemory("The model ran out of memory.", "Use fewer images.")
    with pytest.raises(OutOfMemory, match="fewer images"):
        collected(shim.GpuEngine(ScriptedEngine(fails=fails)))


def test_stop_ends_with_what_was_said_and_stops_the_fork(
    shim: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_SPACES_STOPPED", str(tmp_path / "stopped"))
    engine, cancel = shim.GpuEngine(ScriptedEngine()), CancelToken()
    got: list[Any] = []
    for event in engine.stream(ASK, {"a": PICTURE}, cancel):
        got.append(event)
        if isinstance(event, TokenEvent):
            cancel.cancel()
    assert isinstance(got[-1], DoneEvent)
    assert (got[-1].answer.finish_reason, got[-1].answer.text) == ("cancelled", "The ")
    assert (tmp_path / "stopped").exists()


def test_traces_come_back(shim: ModuleType) -> None:
    tracer = shim.GpuTracer(ScriptedTracer(trace()))
    assert np.array_equal(tracer.trace(ASK, {}, [1]).perceiver, trace().perceiver)
    assert np.array_equal(tracer.gradients(ASK, {}, [1], [0]).decoder, trace().decoder)

    class Refuses:
        def trace(self, *_: Any) -> None:
            raise InvalidRequest("No.", "Yes.")

    with pytest.raises(InvalidRequest):
        shim.GpuTracer(Refuses()).trace(ASK, {}, [1])


def test_elsewhere_it_is_nothing() -> None:
    shim = importlib.import_module("vlm_studio.spaces_shim")

    def function() -> None: ...

    assert shim.gpu(lambda: 1)(function) is function
    shim.announce()
    engine = shim.GpuEngine(ScriptedEngine(gate=threading.Semaphore(9)))
    assert collected(engine)[-1].answer.text == "The cat sat."
