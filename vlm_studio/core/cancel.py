"""Stopping a computation from outside it."""

from __future__ import annotations

import threading

from vlm_studio.core.errors import Cancelled


class CancelToken:
    """Set once by whoever presses Stop; read by the computation at every step. Thread-safe."""

    __slots__ = ("_event",)

    def __init__(self) -> None:
        self._event = threading.Event()

    def cancel(self) -> None:
        self._event.set()

    @property
    def cancelled(self) -> bool:
        return self._event.is_set()

    def raise_if_cancelled(self) -> None:
        """Raises Cancelled when Stop was pressed."""
        if self._event.is_set():
            raise Cancelled("Stopped.", "What was read until then is kept.")
