"""One device, one user at a time, in order of arrival."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from vlm_studio.core.cancel import CancelToken


class DeviceLine:
    """A fair lock that tells those who wait how many are in front of them."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._tickets: deque[object] = deque()

    @contextmanager
    def turn(self, cancel: CancelToken, tell: Callable[[int], None] | None = None) -> Iterator[None]:
        """The device is the caller's inside. `tell` gets the number of those in front, each time it changes.

        Raises Cancelled where Stop was pressed before its turn came.
        """
        ticket = object()
        told = 0
        with self._changed:
            self._tickets.append(ticket)
        try:
            with self._changed:
                while self._tickets[0] is not ticket:
                    ahead = self._tickets.index(ticket)
                    if ahead != told and tell is not None:
                        tell(ahead)
                    told = ahead
                    self._changed.wait(0.2)
                    cancel.raise_if_cancelled()
            yield
        finally:
            with self._changed:
                self._tickets.remove(ticket)
                self._changed.notify_all()
