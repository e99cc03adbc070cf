"""Two replicas and one log of answers: each request is computed once, and one whose replica died is free again."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from vlm_studio.core.answers import Answer, DoneEvent, EngineEvent, TokenEvent, Usage
from vlm_studio.core.cancel import CancelToken
from vlm_studio.core.errors import Busy, GenerationFailed, InvalidRequest
from vlm_studio.serve.calls import Calls
from vlm_studio.serve.shared_answers import LEASE_SECONDS, SharedAnswers

DONE = DoneEvent(Answer("a", (TokenEvent("a", 1, -0.1),), "stop", Usage(), 1.0, 2.0))


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Log:
    """The actor's face over a plain object."""

    def __init__(self, answers: SharedAnswers) -> None:
        self.answers = answers

    async def claim(self, key: str, fingerprint: str) -> tuple[str, str, Sequence[EngineEvent]]:
        return self.answers.claim(key, fingerprint)

    async def renew(self, key: str, fingerprint: str) -> bool:
        return self.answers.renew(key, fingerprint)

    async def stop(self, key: str) -> bool:
        return self.answers.stop(key)

    async def finish(self, key: str, fingerprint: str, events: Sequence[EngineEvent]) -> None:
        self.answers.finish(key, fingerprint, events)

    async def release(self, key: str) -> None:
        self.answers.release(key)


def test_a_claim_lives_as_long_as_it_is_renewed() -> None:
    clock = Clock()
    answers = SharedAnswers(clock)
    assert answers.claim("k", "f")[0] == "new"
    clock.now += LEASE_SECONDS - 1
    assert answers.renew("k", "f")
    clock.now += LEASE_SECONDS - 1
    assert answers.claim("k", "f")[0] == "running"
    clock.now += 2
    assert answers.claim("k", "f")[0] == "new"
    answers.finish("k", "f", [DONE])
    assert answers.claim("k", "other") == ("done", "f", (DONE,))
    answers.release("k")
    assert answers.claim("k", "f")[0] == "done"
    assert answers.counts() == {"claimed": 2, "finished": 1, "repeated": 3}


def test_a_log_that_started_anew_learns_what_still_runs() -> None:
    answers = SharedAnswers(Clock())
    assert answers.renew("k", "f") and answers.claim("k", "f")[0] == "running"
    answers = SharedAnswers(Clock())
    answers.finish("k", "f", [DONE])
    assert answers.claim("k", "f") == ("done", "f", (DONE,))


class Work:
    """Counts how often it is done."""

    def __init__(self, error: Exception | None = None) -> None:
        self.times, self.error = 0, error

    def __call__(self, cancel: CancelToken) -> Iterator[EngineEvent]:
        self.times += 1
        if self.error is not None:
            raise self.error
        yield from (*DONE.answer.tokens, DONE)


async def answered(calls: Calls, key: str, work: Work, fingerprint: str = "f") -> list[EngineEvent | None]:
    call, _ = await calls.begin(key, fingerprint, work)
    return [event async for event in call.follow()]


def played(scene: Coroutine[object, object, None]) -> None:
    """In a thread of its own: the browser of other tests keeps a loop running in this one."""
    with ThreadPoolExecutor(1) as threads:
        threads.submit(asyncio.run, scene).result()


async def settled() -> None:
    """Whatever a call still has to hand over."""
    for _ in range(20):
        await asyncio.sleep(0)


def test_the_other_replica_gives_the_same_answer_without_computing() -> None:
    async def scene() -> None:
        log, work = Log(SharedAnswers()), Work()
        first, second = Calls(4, shared=log), Calls(4, shared=log)
        one = await answered(first, "k", work)
        await settled()
        assert await answered(second, "k", work) == one and work.times == 1
        with pytest.raises(InvalidRequest):
            await second.begin("k", "another body", work)

    played(scene())


def test_while_one_answers_the_other_says_come_back() -> None:
    async def scene() -> None:
        log, work = Log(SharedAnswers()), Work()
        assert log.answers.claim("k", "f")[0] == "new"
        with pytest.raises(Busy):
            await Calls(4, shared=log).begin("k", "f", work)
        assert work.times == 0

    played(scene())


def test_stop_reaches_the_replica_that_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vlm_studio.serve.calls.RENEW_SECONDS", 0.01)

    def endless(cancel: CancelToken) -> Iterator[EngineEvent]:
        yield DONE.answer.tokens[0]
        while not cancel.cancelled:
            pass
        yield replace(DONE, answer=replace(DONE.answer, finish_reason="cancelled"))

    async def scene() -> None:
        log = Log(SharedAnswers())
        answering, other = Calls(4, shared=log), Calls(4, shared=log)
        call, _ = await answering.begin("k", "f", endless)
        assert await other.stop("k") and not await other.stop("unknown")
        assert [event async for event in call.follow()][-1] != DONE
        await settled()
        assert log.answers.claim("k", "f")[0] == "new"

    played(scene())


def test_a_failure_is_not_kept() -> None:
    async def scene() -> None:
        log = Log(SharedAnswers())
        calls = Calls(4, shared=log)
        with pytest.raises(GenerationFailed):
            await answered(calls, "k", Work(GenerationFailed("No.", "Again.")))
        await settled()
        assert await answered(Calls(4, shared=log), "k", Work()) == [*DONE.answer.tokens, DONE]

    played(scene())


def test_no_room_gives_the_claim_back() -> None:
    async def scene() -> None:
        log, full = Log(SharedAnswers()), Calls(0)
        full.shared = log
        with pytest.raises(Busy):
            await full.begin("k", "f", Work())
        assert log.answers.claim("k", "f")[0] == "new"

    played(scene())
