"""Work that runs in its own thread while any number of viewers watch, leave and come back.

A browser tab that closes ends only its viewer. Events are kept for the run's life, so that a second
viewer (a reload, another tab) sees everything from the start. Nothing is lost when nobody watches.
"""

from __future__ import annotations

import contextvars
import functools
import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from vlm_studio.core.cancel import CancelToken
from vlm_studio.core.errors import NotFound, StudioError

log = logging.getLogger(__name__)

Event = TypeVar("Event")

_KEEP_SECONDS = 900.0


class LiveRun(Generic[Event]):
    """One piece of work: a thread that appends events, and viewers that follow them."""

    def __init__(self, run_id: str, owner: str) -> None:
        self.run_id = run_id
        self.owner = owner
        self.cancel = CancelToken()
        self.ended_at: float | None = None
        self._events: list[Event] = []
        self._error: BaseException | None = None
        self._changed = threading.Condition()

    @property
    def running(self) -> bool:
        return self.ended_at is None

    def follow(self, start: int = 0, timeout: float | None = None) -> Iterator[Event]:
        """Every event from number `start` on, until the work ends.

        Raises what the work raised (a StudioError, or the programming error itself), after its last
        event. With `timeout` (seconds) it returns quietly when nothing new comes for so long.
        """
        position = start
        while True:
            fresh, ended = self._after(position, timeout)
            position += len(fresh)
            yield from fresh
            if ended and position >= len(self._events):
                if self._error is not None:
                    raise self._error
                return
            if not fresh and not ended:
                return

    def _after(self, position: int, timeout: float | None) -> tuple[list[Event], bool]:
        """Waits for events after `position` or the end; what came, and whether it is over."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._events) > position or not self.running, timeout)
            return self._events[position:], not self.running

    def _add(self, event: Event) -> None:
        with self._changed:
            self._events.append(event)
            self._changed.notify_all()

    def _end(self, error: BaseException | None) -> None:
        with self._changed:
            self._error = error
            self.ended_at = time.monotonic()
            self._changed.notify_all()


class LiveRuns:
    """All running and recently ended work of this process, keyed by run id and owner."""

    def __init__(self) -> None:
        self._runs: dict[str, LiveRun[object]] = {}
        self._threads: dict[str, threading.Thread] = {}
        self._lock = threading.Lock()

    def start(
        self, run_id: str, owner: str, work: Callable[[CancelToken], Iterator[object]]
    ) -> LiveRun[object]:
        """Run `work(cancel)` in a thread; each value it yields becomes an event."""
        run: LiveRun[object] = LiveRun(run_id, owner)
        # The request's context goes along: a shared GPU asks it whose share of the day is used.
        body = functools.partial(contextvars.copy_context().run, self._work, run, work)
        thread = threading.Thread(target=body, name=f"run-{run_id}", daemon=True)
        with self._lock:
            self._forget_old()
            self._runs[run_id] = run
            self._threads[run_id] = thread
        thread.start()
        return run

    def get(self, run_id: str, owner: str) -> LiveRun[object]:
        """Raises NotFound also where the run is somebody else's."""
        with self._lock:
            run = self._runs.get(run_id)
        if run is None or run.owner != owner:
            raise NotFound("This run is no longer live.", "Open its session to see what was kept.")
        return run

    @property
    def running(self) -> int:
        """How many are under way."""
        with self._lock:
            return sum(run.running for run in self._runs.values())

    def under_way(self, run_id: str, owner: str) -> LiveRun[object] | None:
        """The run while it goes on, for a viewer that comes (back) to it; None where there is none of this owner."""
        try:
            run = self.get(run_id, owner)
        except NotFound:
            return None
        return run if run.running else None

    def stop(self, run_id: str, owner: str) -> None:
        """Ask it to end; nothing where it has ended, or is somebody else's."""
        run = self.under_way(run_id, owner)
        if run is not None:
            run.cancel.cancel()

    def stop_all(self, timeout: float) -> bool:
        """Cancel everything and wait; True when all ended within `timeout` seconds."""
        deadline = time.monotonic() + timeout
        with self._lock:
            runs, threads = list(self._runs.values()), list(self._threads.values())
        for run in runs:
            run.cancel.cancel()
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in threads)

    @staticmethod
    def _work(run: LiveRun[object], work: Callable[[CancelToken], Iterator[object]]) -> None:
        error: BaseException | None = None
        try:
            for event in work(run.cancel):
                run._add(event)
        except StudioError as failure:
            log.info("run %s ended: %s", run.run_id, failure, exc_info=failure)
            error = failure
        except BaseException as failure:
            log.exception("run %s failed", run.run_id)
            error = failure
        finally:
            run._end(error)

    def _forget_old(self) -> None:
        now = time.monotonic()
        for run_id, run in list(self._runs.items()):
            if run.ended_at is not None and now - run.ended_at > _KEEP_SECONDS:
                del self._runs[run_id], self._threads[run_id]
