"""Two real replicas of nano on Ray Serve. Skipped where Ray is not; run by a Python that has requirements-ray.txt.

Killed ones are benchmarks/faults_serve.py's.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.serve.test_cli_serve import free_port
from vlm_studio.core.answers import DoneEvent, TokenEvent
from vlm_studio.core.cancel import CancelToken
from vlm_studio.core.conversation import Ask, GenParams, ImagePart, TextPart, Turn, Variant
from vlm_studio.model.remote import RemoteEngine

pytest.importorskip("ray")

ROOT = Path(__file__).resolve().parents[2]
NANO = "idefics2-nano"
LINE = ROOT / "tests" / "data" / "lines" / "05.jpg"
LOOK = Ask(
    (Turn("user", (ImagePart("a"), TextPart("Read the line."))),),
    Variant(NANO, adapter="reading"),
    GenParams(max_new_tokens=8),
)
TALK = Ask(
    (Turn("user", (TextPart("Count from one to one hundred."),)),), params=GenParams(max_new_tokens=80)
)


class Replicas:
    """The routes of a server with two replicas."""

    def __init__(self, url: str) -> None:
        self.url, self.engine = url, RemoteEngine(f"{url}/v1")
        self._pause = threading.Event()

    def about(self, adapter: str = "") -> dict[str, Any]:
        headers = {"serve_multiplexed_model_id": adapter} if adapter else {}
        found: dict[str, Any] = httpx.get(f"{self.url}/replica", headers=headers, timeout=60).json()
        return found

    def until(self, wanted: int) -> dict[int, dict[str, Any]]:
        """What the replicas say of themselves, by process, once so many of them answer."""
        for _ in range(600):
            found = [self.about() for _ in range(8)]
            there = {one["pid"]: one for one in found}
            if len(there) >= wanted:
                return there
            self._pause.wait(0.2)
        raise AssertionError(f"no {wanted} replicas")


@pytest.fixture(scope="module")
def replicas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replicas]:
    port, data = free_port(), tmp_path_factory.mktemp("ray")
    env = {**os.environ, "VLM_STUDIO_MODEL": NANO, "VLM_STUDIO_DATA_DIR": str(data), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "vlm_studio", "serve", "--port", str(port), "--ray", "--replicas", "2"]
    log = data / "log.txt"
    with (
        log.open("wb") as said,
        subprocess.Popen(command, cwd=ROOT, env=env, stdout=said, stderr=said) as server,
    ):
        made = Replicas(f"http://127.0.0.1:{port}")
        try:
            for _ in range(1200):
                try:
                    if httpx.get(f"{made.url}/healthz", timeout=5).status_code == 200:
                        break
                except httpx.HTTPError:
                    assert server.poll() is None, log.read_text("utf-8", "replace")[-2000:]
                made._pause.wait(0.2)
            made.until(2)
            yield made
        finally:
            server.send_signal(signal.SIGTERM)
            ended = server.wait(120)
    assert ended == 0


def test_callers_of_an_adapter_come_to_the_replica_that_wears_it(replicas: Replicas) -> None:
    strip = Image.open(LINE)
    read = next(replicas.engine.read([strip], CancelToken(), Variant(NANO, adapter="reading")))
    assert read.text
    assert len({replicas.about("reading")["replica"] for _ in range(12)}) == 1
    assert len({replicas.about()["replica"] for _ in range(24)}) == 2


def test_a_look_inside_goes_over_replicas(replicas: Replicas) -> None:
    images = {"a": Image.open(LINE).convert("RGB")}
    said = [e for e in replicas.engine.stream(LOOK, images, CancelToken()) if isinstance(e, TokenEvent)]
    tokens = [event.token_id for event in said]
    trace = replicas.engine.trace(LOOK, images, tokens)
    assert (len(trace.decoder), trace.decoder.shape[-1]) == (len(tokens), 64)
    assert trace.crops[0].kind == "strip"
    written, forced = [e.logprob for e in said], replicas.engine.logprobs(LOOK, images, tokens)
    assert np.allclose(written, forced, atol=0.05)
    weighted = replicas.engine.gradients(LOOK, images, tokens, [0])
    assert weighted.decoder.shape == trace.decoder.shape


def test_stop_reaches_the_replica_that_answers(replicas: Replicas) -> None:
    cancel = CancelToken()
    for event in replicas.engine.stream(TALK, {}, cancel):
        if isinstance(event, TokenEvent):
            cancel.cancel()
    assert isinstance(event, DoneEvent) and event.answer.finish_reason == "cancelled"
    for _ in range(100):
        if all(one["running"] == 0 for one in replicas.until(2).values()):
            return
    raise AssertionError("a replica still works for nobody")
