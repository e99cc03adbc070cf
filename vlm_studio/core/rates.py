"""How often somebody may do something: a bucket of tokens for each name, refilled steadily."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

_NAMES = 10_000
"""Buckets kept; a name that was quiet longest is forgotten first, and is then allowed a full burst."""


class Rates:
    """Up to `burst` at once and `per_minute` in the long run, for each name apart. Thread-safe."""

    def __init__(self, per_minute: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.per_minute, self.burst = per_minute, burst
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, name: str) -> float:
        """0 where it is allowed now, otherwise the seconds to wait; a refused try costs nothing."""
        now = self._clock()
        with self._lock:
            left, since = self._buckets.pop(name, (float(self.burst), now))
            left = min(float(self.burst), left + (now - since) * self.per_minute / 60)
            wait = 0.0 if left >= 1 else (1 - left) * 60 / self.per_minute
            self._buckets[name] = (left - 1 if left >= 1 else left, now)
            while len(self._buckets) > _NAMES:
                self._buckets.popitem(last=False)
        return wait
