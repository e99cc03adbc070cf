"""Work that goes on while viewers come and go."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from vlm_studio.core.cancel import CancelToken
from vlm_studio.core.errors import NotFound, UserInputError
from vlm_studio.tasks.live import LiveRuns


def test_every_viewer_sees_everything_from_the_start() -> None:
    runs, gate = LiveRuns(), threading.Event()

    def work(cancel: CancelToken) -> Iterator[object]:
        yield 1
        gate.wait(10)
        yield 2

    run = runs.start("r", "me", work)
    first = run.follow()
    assert next(first) == 1
    first.close()  # the tab is closed while the work goes on
    gate.set()
    assert list(runs.get("r", "me").follow()) == [1, 2]
    assert list(run.follow(start=1)) == [2]


def test_an_error_reaches_the_viewer_after_the_last_event() -> None:
    def work(cancel: CancelToken) -> Iterator[object]:
        yield "partial"
        raise UserInputError("no")

    seen = []
    with pytest.raises(UserInputError):
        for event in LiveRuns().start("r", "me", work).follow():
            seen.append(event)
    assert seen == ["partial"]


def test_programming_errors_reach_the_viewer_too() -> None:
    def work(cancel: CancelToken) -> Iterator[object]:
        raise ZeroDivisionError
        yield

    with pytest.raises(ZeroDivisionError):
        list(LiveRuns().start("r", "me", work).follow())


def test_stop_reaches_the_work_and_somebody_else_cannot_see_it() -> None:
    runs, stopped = LiveRuns(), threading.Event()

    def work(cancel: CancelToken) -> Iterator[object]:
        while not cancel.cancelled:
            yield "tick"
        stopped.set()

    run = runs.start("r", "me", work)
    with pytest.raises(NotFound):
        runs.get("r", "you")
    assert runs.stop_all(10) and stopped.is_set() and not run.running
