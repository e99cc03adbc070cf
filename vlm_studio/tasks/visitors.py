"""A shared app: how much a visitor may keep, and that it is kept for a while only."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from typing import Protocol

from vlm_studio.core.errors import InvalidRequest, StudioError

log = logging.getLogger(__name__)

SWEEP_SECONDS = 600.0


class VisitorRows(Protocol):
    def usage(self, owner: str) -> tuple[int, int]: ...
    def expire(self, hours: float) -> int: ...


@dataclass(frozen=True, slots=True)
class Quota:
    """What one visitor may keep."""

    sessions: int = 40
    n_bytes: int = 200 * 1024**2
    hours: float = 24.0
    """Since the last change of a session; then it is deleted for good."""


class Visitors:
    """Admits visitors' new sessions and files, and deletes old ones every ten minutes."""

    def __init__(self, rows: VisitorRows, quota: Quota | None = None) -> None:
        self.rows, self.quota = rows, quota or Quota()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def admit(self, owner: str) -> None:
        """Raises InvalidRequest where `owner` keeps as much as a visitor may."""
        sessions, n_bytes = self.rows.usage(owner)
        if sessions >= self.quota.sessions or n_bytes >= self.quota.n_bytes:
            raise InvalidRequest(
                f"A visitor of this shared app keeps up to {self.quota.sessions} sessions and "
                f"{self.quota.n_bytes // 1024**2} MB.",
                "Delete some for good in Sessions, or run the app on your own machine, where nothing is limited.",
            )

    def start(self) -> None:
        """Sweep now and from time to time, in a thread of its own."""
        self._thread = threading.Thread(target=self._sweep, name="visitors", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(10)

    def _sweep(self) -> None:
        while True:
            try:
                gone = self.rows.expire(self.quota.hours)
                if gone:
                    log.info("%d old sessions of visitors are gone", gone)
            except StudioError:
                log.exception("old sessions could not be deleted")
            if self._stop.wait(SWEEP_SECONDS):
                return
