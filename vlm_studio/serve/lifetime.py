"""Running an ASGI app until it is told to stop, in such a way that what comes after it still runs."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType

import uvicorn
from starlette.types import ASGIApp


def run_until_stopped(
    app: ASGIApp, host: str, port: int, grace: int, on_stop: Callable[[], None] = lambda: None
) -> None:
    """Serve `app`. From the first signal on nothing new is accepted; what runs has `grace` seconds to end.

    `on_stop` is called at the signal. Returns like any function: uvicorn raises the signal again when it has ended, which
    would otherwise end the process before anything around this call could be saved.
    """
    before = {number: signal.signal(number, _ended_already) for number in (signal.SIGINT, signal.SIGTERM)}
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=grace,
    )
    try:
        _Server(config, on_stop).run()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, on_stop: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_stop = on_stop

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._on_stop()
        super().handle_exit(sig, frame)


def _ended_already(sig: int, frame: FrameType | None) -> None:
    """The second time that uvicorn raises a signal it has obeyed."""
