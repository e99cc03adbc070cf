"""A server on the loopback interface, in this process, on a port of its own."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator

import pytest
import uvicorn

from tests.serve.scripted import ScriptedEngine
from vlm_studio.core.settings import Settings
from vlm_studio.serve.access import Access
from vlm_studio.serve.api import build_api
from vlm_studio.serve.service import Service

Serve = Callable[..., str]


class Running:
    """An ASGI app behind uvicorn in a thread."""

    def __init__(self, app: object) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        config = uvicorn.Config(app, log_level="error", lifespan="off", timeout_graceful_shutdown=1)  # type: ignore[arg-type]
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, args=([self.socket],), daemon=True)
        self.thread.start()

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join(10)
        self.socket.close()


@pytest.fixture
def engine() -> ScriptedEngine:
    return ScriptedEngine()


@pytest.fixture
def service(engine: ScriptedEngine) -> Service:
    return Service(engine, adapters=lambda: ("reading",))


@pytest.fixture
def serve(settings: Settings) -> Iterator[Callable[..., str]]:
    """serve(service, keys="") -> URL of a running server."""
    running: list[Running] = []

    def start(service: Service, keys: str = "") -> str:
        running.append(Running(build_api(service, Access(keys), settings)))
        return running[-1].url

    yield start
    for one in running:
        one.stop()
