"""Generations that run for callers over the network: begun once, watched by any number, stopped when nobody is left.

The engine is advanced by a thread; what it says arrives on the event loop, so that a hundred waiting callers cost no
thread. A call with an idempotency key is kept for a while: the same key again joins it, or gets the same answer.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Protocol

from vlm_studio.core.answers import EngineEvent, StatusEvent
from vlm_studio.core.cancel import CancelToken
from vlm_studio.core.errors import Busy, InvalidRequest

log = logging.getLogger(__name__)

KEPT = 512
"""Answers kept by their key; the oldest go first."""
START_SECONDS = 5.0
RENEW_SECONDS = 1.0
"""How often a replica says that a call still runs, and learns that it was stopped through another one."""
GRACE_SECONDS = 10.0
"""A call with a key goes on so long without its caller, who may be about to try again."""

Work = Callable[[CancelToken], Iterator[EngineEvent]]


class Call:
    """One generation. Everything but the thread's body runs on the event loop that made it."""

    def __init__(self, fingerprint: str = "", grace: float = 0.0) -> None:
        self.fingerprint, self.grace = fingerprint, grace
        self.cancel = CancelToken()
        self.events: list[EngineEvent] = []
        self.error: BaseException | None = None
        self.ended = False
        self.viewers = 0
        self._changed = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._leaving: asyncio.TimerHandle | None = None

    def start(self, work: Work, done: Callable[[Call], None]) -> None:
        def body() -> None:
            error: BaseException | None = None
            try:
                for event in work(self.cancel):
                    self._loop.call_soon_threadsafe(self._add, event)
            except BaseException as failure:
                error = failure
            self._loop.call_soon_threadsafe(self._end, error, done)

        # A caller may be gone before it ever began to listen.
        self._leaving = self._loop.call_later(max(self.grace, START_SECONDS), self._abandon)
        threading.Thread(target=body, name="call", daemon=True).start()

    @classmethod
    def over(cls, fingerprint: str, events: Sequence[EngineEvent]) -> Call:
        """A call that has been answered already."""
        call = cls(fingerprint)
        call.events, call.ended = list(events), True
        return call

    async def follow(self, every: float | None = None) -> AsyncIterator[EngineEvent | None]:
        """All events from the first on; None when `every` seconds passed without one. Raises what the work raised."""
        self.viewers += 1
        self._stay()
        at = 0
        try:
            while True:
                changed = self._changed
                while at < len(self.events):
                    at += 1
                    yield self.events[at - 1]
                if self.ended:
                    if self.error is not None:
                        raise self.error
                    return
                try:
                    async with asyncio.timeout(every):
                        await changed.wait()
                except TimeoutError:
                    yield None
        finally:
            self._leave()

    async def settled(self, seconds: float) -> None:
        """Waits until it is known whether it begins well, at most so long. Raises what the work raised."""
        try:
            async with asyncio.timeout(seconds):
                while not self.ended and all(isinstance(e, StatusEvent) for e in self.events):
                    await self._changed.wait()
        except TimeoutError:
            return
        if self.error is not None:
            raise self.error

    async def ended_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                while not self.ended:
                    await self._changed.wait()
        except TimeoutError:
            return False
        return True

    def _leave(self) -> None:
        self.viewers -= 1
        if self.viewers == 0 and not self.ended:
            self._leaving = self._loop.call_later(self.grace, self._abandon)

    def _stay(self) -> None:
        if self._leaving is not None:
            self._leaving.cancel()
            self._leaving = None

    def _abandon(self) -> None:
        if self.viewers == 0 and not self.ended:
            self.cancel.cancel()

    def _add(self, event: EngineEvent) -> None:
        self.events.append(event)
        self._wake()

    def _end(self, error: BaseException | None, done: Callable[[Call], None]) -> None:
        self.error, self.ended = error, True
        self._stay()
        done(self)
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


class SharedLog(Protocol):
    """Answers by idempotency key, for several replicas together."""

    async def claim(self, key: str, fingerprint: str) -> tuple[str, str, Sequence[EngineEvent]]:
        """(``new``, ``running`` or ``done``; the fingerprint it was begun with; the events if done)."""
        ...

    async def renew(self, key: str, fingerprint: str) -> bool:
        """False where its caller had it stopped through another replica."""
        ...

    async def stop(self, key: str) -> bool: ...

    async def finish(self, key: str, fingerprint: str, events: Sequence[EngineEvent]) -> None: ...

    async def release(self, key: str) -> None: ...


class Calls:
    """All running calls of this process, up to `capacity`, and answered ones by key for `keep` seconds."""

    def __init__(self, capacity: int, keep: float = 600.0, shared: SharedLog | None = None) -> None:
        self.capacity, self.keep, self.shared = capacity, keep, shared
        self.running: set[Call] = set()
        self.draining = False
        self._by_key: dict[str, Call] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def begin(self, key: str, fingerprint: str, work: Work) -> tuple[Call, bool]:
        """(the call, whether it is a new one). An empty `key` is always new.

        Raises Busy where too many run already or the server is about to stop, InvalidRequest for a key that
        belongs to another body.
        """
        if key:
            found = self._by_key.get(key) or await self._elsewhere(key, fingerprint)
            if found is not None and not (found.ended and found.error is not None):
                _require_same(found.fingerprint, fingerprint)
                return found, False
        if self.draining or len(self.running) >= self.capacity:
            await self._release(key)
            raise Busy("The server has as much to do as it takes.", "Try again in some seconds.")
        call = Call(fingerprint, GRACE_SECONDS if key else 0.0)
        self.running.add(call)
        if key:
            self._remember(key, call)
        call.start(work, self.running.discard)
        return call, True

    async def stop(self, key: str) -> bool:
        """Stop the call of a key, at its caller's own wish; whether there was one running, here or elsewhere."""
        call = self._by_key.get(key)
        if call is None or call.ended:
            return self.shared is not None and await self.shared.stop(key)
        call.cancel.cancel()
        return True

    def close(self) -> None:
        """Take nothing new from now on; what runs goes on."""
        self.draining = True

    async def drain(self, seconds: float) -> int:
        """Close, let what runs end, stop the rest after `seconds`; how many had to be stopped."""
        self.close()
        waited = 0.0
        while self.running and waited < seconds:
            await asyncio.sleep(0.05)
            waited += 0.05
        stopped = list(self.running)
        for call in stopped:
            call.cancel.cancel()
        return len(stopped)

    async def _elsewhere(self, key: str, fingerprint: str) -> Call | None:
        if self.shared is None:
            return None
        state, theirs, events = await self.shared.claim(key, fingerprint)
        if state == "new":
            return None
        _require_same(theirs, fingerprint)
        if state == "done":
            return Call.over(theirs, events)
        raise Busy("This very request is being answered already.", "Try again in a second.")

    async def _release(self, key: str) -> None:
        if key and self.shared is not None:
            await self.shared.release(key)

    async def _see_out(self, key: str, call: Call) -> None:
        """Keeps the claim alive while the call runs, then hands its answer over."""
        shared, mark = self.shared, call.fingerprint
        while not await call.ended_within(RENEW_SECONDS):
            if shared is not None and not await shared.renew(key, mark):
                call.cancel.cancel()
        good = call.error is None and not call.cancel.cancelled
        if shared is not None:
            await (shared.finish(key, mark, call.events) if good else shared.release(key))
        asyncio.get_running_loop().call_later(self.keep if good else 0, self._forget, key, call)

    def _forget(self, key: str, call: Call) -> None:
        if self._by_key.get(key) is call:
            del self._by_key[key]

    def _remember(self, key: str, call: Call) -> None:
        self._by_key[key] = call
        for old in [k for k, c in self._by_key.items() if c.ended][: max(0, len(self._by_key) - KEPT)]:
            del self._by_key[old]
        task = asyncio.get_running_loop().create_task(self._see_out(key, call))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _require_same(theirs: str, ours: str) -> None:
    if theirs != ours:
        raise InvalidRequest(
            "This idempotency key belongs to another request.", "Use a new key for each request."
        )
