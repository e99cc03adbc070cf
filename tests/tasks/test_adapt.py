"""From corrections to an adapter: the real store and the real gate, with a trainer and a model that do as they are told."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator, Sequence

import pytest
from PIL import Image

from tests.store.kept import OTHER, OWNER
from tests.tasks.adapt_desk import CONFIG, VERDICT, Desk, Reads
from vlm_studio.core.adapters import AdapterFacts, TrainPoint, TrainSettings
from vlm_studio.core.cancel import CancelToken
from vlm_studio.core.documents import LineReading
from vlm_studio.core.errors import Busy, InvalidRequest, NotFound
from vlm_studio.tasks.adapt import INTERRUPTED, NEW_WEIGHTS, STOPPED, Judging, Learned


def test_lines_become_an_adapter_that_is_used(ready: Desk) -> None:
    ready.learned()
    assert len(ready.trainer.learn) == 14
    assert {text for _, text in ready.trainer.check} == {"the line that is written in grey 90"}
    (adapter,) = ready.adapters.list(OWNER)
    assert adapter.active
    assert adapter.verdict is not None
    assert adapter.verdict.passed
    assert (adapter.facts.lines, adapter.verdict.lines, adapter.verdict.pages) == (14, 8, 1)
    (run,) = ready.adapting.trainings(OWNER)
    assert (run.state, run.adapter_id) == ("done", adapter.id)
    name = ready.adapters.reader_name(OWNER, ready.session.id, "auto")
    assert name == f"nano+{adapter.id}"
    assert ready.adapters.reader(name).name == f"nano+my-hand.{adapter.weights_sha256[:8]}"


def test_what_is_not_better_is_kept_but_never_used(ready: Desk) -> None:
    ready.trainer.weights = b"bad"
    ready.learned()
    (adapter,) = ready.adapters.list(OWNER)
    assert not adapter.active
    assert adapter.verdict is not None
    assert "no better" in adapter.verdict.why
    with pytest.raises(InvalidRequest, match="no better"):
        ready.adapters.activate(OWNER, adapter.id)
    with pytest.raises(InvalidRequest):
        ready.adapters.choose(OWNER, ready.session.id, adapter.id)
    assert ready.adapters.reader_name(OWNER, ready.session.id, "auto") == "auto"


def test_events_come_to_whoever_watches(ready: Desk) -> None:
    run = ready.adapting.start(OWNER, "My hand")
    live = ready.adapting.watching(OWNER, run.id)
    assert live is not None
    assert ready.adapting.watching(OTHER, run.id) is None
    with pytest.raises(InvalidRequest, match="running already"):
        ready.adapting.start(OWNER, "Another")
    ready.trainer.over.set()
    events = list(live.follow())
    assert [kind for kind, _ in itertools.groupby(map(type, events))] == [TrainPoint, Judging, Learned]
    judging = [event for event in events if isinstance(event, Judging)]
    assert [event.done for event in judging] == list(range(judging[-1].total + 1))


def test_stopped_and_taken_up_again(ready: Desk) -> None:
    run = ready.adapting.start(OWNER, "My hand")
    live = ready.adapting.watching(OWNER, run.id)
    ready.adapting.pause(OWNER, run.id)
    assert ready.adapting.trainings(OWNER)[0].state == "paused"
    ready.adapting.stop(OWNER, run.id)
    assert live is not None
    list(live.follow())
    assert ready.trainer.words == ["pause", "stop"]
    stopped = ready.adapting.trainings(OWNER)[0]
    assert (stopped.state, stopped.adapter_id) == ("cancelled", None)
    ready.trainer.weights = b"good"
    ready.adapting.go_on(OWNER, run.id)
    again = ready.adapting.watching(OWNER, run.id)
    list(again.follow() if again is not None else ())
    assert ready.adapting.trainings(OWNER)[0].state == "done"
    with pytest.raises(NotFound):
        ready.adapting.go_on(OTHER, run.id)


def test_an_app_that_ended_while_the_gate_read_goes_on_with_the_gate(ready: Desk) -> None:
    run = ready.rows.add_training(OWNER, "My hand", TrainSettings(), 9, 9, 1)
    ready.rows.set_training(OWNER, run.id, "running")
    learn = ready.adapting.split(OWNER)
    ready.trainer.check = [(ready.adapting.strip(OWNER, line), line.text) for line in learn.held]
    ready.trainer.over.set()
    assert ready.adapting.trainings(OWNER)[0].message == INTERRUPTED
    ready.adapting.go_on(OWNER, run.id)
    live = ready.adapting.watching(OWNER, run.id)
    events = list(live.follow()) if live is not None else []
    assert not ready.trainer.alive
    assert isinstance(events[-1], Learned)


def test_what_another_process_is_at_is_left_to_it(ready: Desk) -> None:
    run = ready.rows.add_training(OWNER, "My hand", TrainSettings(), 9, 9, 1)
    ready.rows.set_training(OWNER, run.id, "running")
    ready.trainer.taken = True
    assert ready.adapting.trainings(OWNER)[0].state == "running"
    for act in (ready.adapting.go_on, ready.adapting.discard):
        with pytest.raises(Busy):
            act(OWNER, run.id)
    assert not ready.trainer.alive
    ready.trainer.taken = False
    assert ready.adapting.trainings(OWNER)[0].message == INTERRUPTED


def test_a_training_is_let_go_when_it_is_over(ready: Desk) -> None:
    run = ready.adapting.start(OWNER, "My hand")
    live = ready.adapting.watching(OWNER, run.id)
    assert ready.trainer.let_go_of == []
    ready.trainer.over.set()
    list(live.follow() if live is not None else ())
    assert ready.trainer.let_go_of == [run.id]


def test_an_app_that_ends_does_not_wait_for_the_gate(ready: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(self: Reads, strips: object, cancel: CancelToken) -> Iterator[LineReading]:
        cancel.cancel()
        cancel.raise_if_cancelled()
        yield LineReading("", 0.0)

    monkeypatch.setattr(Reads, "read", stopped)
    run = ready.adapting.start(OWNER, "My hand")
    live = ready.adapting.watching(OWNER, run.id)
    ready.trainer.over.set()
    assert live is not None
    assert not any(isinstance(event, Learned) for event in live.follow())
    found = ready.rows.training(OWNER, run.id)
    assert (found.state, found.message, found.adapter_id) == ("cancelled", INTERRUPTED, None)


def test_the_gate_is_stopped_and_begun_anew_but_never_paused(
    ready: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, read = threading.Event(), Reads.read

    def waits(self: Reads, strips: Sequence[Image.Image], cancel: CancelToken) -> Iterator[LineReading]:
        reading.set()
        while not cancel.cancelled:
            time.sleep(0.01)
        cancel.raise_if_cancelled()
        yield LineReading("", 0.0)

    monkeypatch.setattr(Reads, "read", waits)
    run = ready.adapting.start(OWNER, "My hand")
    live = ready.adapting.watching(OWNER, run.id)
    assert live is not None
    assert not ready.adapting.judging(OWNER, run.id)
    ready.trainer.over.set()
    assert reading.wait(5)
    assert ready.adapting.judging(OWNER, run.id)
    assert ready.adapting.pause(OWNER, run.id).state == "running"
    ready.adapting.stop(OWNER, run.id)
    assert not any(isinstance(event, Learned) for event in live.follow())
    found = ready.rows.training(OWNER, run.id)
    assert (found.state, found.message) == ("cancelled", STOPPED)
    monkeypatch.setattr(Reads, "read", read)
    ready.trainer.weights = b"good"
    ready.adapting.go_on(OWNER, run.id)
    again = ready.adapting.watching(OWNER, run.id)
    list(again.follow() if again is not None else ())
    assert ready.rows.training(OWNER, run.id).state == "done"


def test_a_training_whose_process_is_gone_says_so(ready: Desk) -> None:
    run = ready.rows.add_training(OWNER, "My hand", TrainSettings(), 9, 9, 1)
    ready.rows.set_training(OWNER, run.id, "running")
    (found,) = ready.adapting.trainings(OWNER)
    assert found.state == "cancelled"
    assert "Go on" in found.message


def test_too_little_is_refused_with_advice(desk: Desk) -> None:
    desk.correct(200, 14)
    with pytest.raises(InvalidRequest, match="another page"):
        desk.adapting.start(OWNER, "My hand")
    with pytest.raises(InvalidRequest, match="steps"):
        desk.adapting.start(OWNER, "My hand", TrainSettings(steps=100_000))


def test_adapters_of_other_weights_of_the_reader_are_no_reason_to_stop(ready: Desk) -> None:
    def add(sha256: str) -> None:
        facts = AdapterFacts("hand", "nano", sha256, 2, 4, 99)
        ready.rows.add(OWNER, "Ann", facts, CONFIG, b"good", "trained", VERDICT)

    add("e" * 64)
    told = ready.adapting.advice(OWNER)
    assert told.ready
    assert told.sentence.startswith(NEW_WEIGHTS)
    assert "Nothing new" not in told.sentence
    add("f" * 64)
    assert "Nothing new" in ready.adapting.advice(OWNER).sentence


def test_left_out_lines_are_not_learned_from(ready: Desk) -> None:
    first = ready.adapting.lines(OWNER)[0].line.line_id
    with pytest.raises(NotFound):
        ready.adapting.leave_out(OTHER, first, True)
    ready.adapting.leave_out(OWNER, first, True)
    assert first not in {line.line_id for line in ready.adapting.usable(OWNER)}
    assert len(ready.adapting.usable(OWNER)) == 21
    ready.adapting.leave_out(OWNER, first, False)
    assert len(ready.adapting.usable(OWNER)) == 22
