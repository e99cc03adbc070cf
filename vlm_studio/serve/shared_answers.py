"""Answers by idempotency key for several replicas: who works on what, and what was answered, for a while.

Plain Python without Ray: on Ray Serve one actor holds it. A claim that its replica no longer renews is free again, so a
request whose replica died is answered by the next one that is asked.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from vlm_studio.core.answers import EngineEvent

LEASE_SECONDS = 8.0
"""A running claim is renewed every second."""
KEEP_SECONDS = 600.0
KEPT = 4096


@dataclass
class _Entry:
    fingerprint: str
    until: float
    events: tuple[EngineEvent, ...] | None = None
    stopped: bool = False


class SharedAnswers:
    """Not thread-safe: an actor runs one method at a time."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self.claimed = self.finished = self.repeated = 0

    def claim(self, key: str, fingerprint: str) -> tuple[str, str, tuple[EngineEvent, ...]]:
        """(``new``, ``running`` or ``done``; whose fingerprint; the events if done). ``new`` is now the caller's."""
        self._forget()
        entry = self._entries.get(key)
        if entry is not None:
            self.repeated += 1
            return ("done", entry.fingerprint, entry.events) if entry.events is not None else ("running", entry.fingerprint, ())  # fmt: skip
        self.claimed += 1
        self._entries[key] = _Entry(fingerprint, self._clock() + LEASE_SECONDS)
        return "new", fingerprint, ()

    def renew(self, key: str, fingerprint: str) -> bool:
        """False where the caller wants it no more. A claim that a restart forgot is there again."""
        entry = self._entries.setdefault(key, _Entry(fingerprint, 0.0))
        if entry.events is None:
            entry.until = self._clock() + LEASE_SECONDS
        return not entry.stopped

    def stop(self, key: str) -> bool:
        """The caller wants it no more; whether it was running. Its replica learns so when it renews."""
        self._forget()
        entry = self._entries.get(key)
        if entry is None or entry.events is not None:
            return False
        entry.stopped = True
        return True

    def finish(self, key: str, fingerprint: str, events: Sequence[EngineEvent]) -> None:
        entry = self._entries.setdefault(key, _Entry(fingerprint, 0.0))
        if entry.events is None:
            self.finished += 1
            entry.events, entry.until = tuple(events), self._clock() + KEEP_SECONDS

    def release(self, key: str) -> None:
        """Nothing came of it: the next caller may begin it anew."""
        entry = self._entries.get(key)
        if entry is not None and entry.events is None:
            del self._entries[key]

    def counts(self) -> dict[str, int]:
        """Requests begun, answered, and asked for again."""
        return {"claimed": self.claimed, "finished": self.finished, "repeated": self.repeated}

    def _forget(self) -> None:
        now = self._clock()
        for key in [key for key, entry in self._entries.items() if entry.until < now]:
            del self._entries[key]
        while len(self._entries) >= KEPT:
            self._entries.popitem(last=False)
