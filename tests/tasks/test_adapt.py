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

    def used() -> set[str]:
        parts = ready.adapting.split(OWNER)
        return {line.line_id for line in (*parts.learn, *parts.held)}

    assert first not in used()
    assert len(used()) == 21
    ready.adapting.leave_out(OWNER, first, False)
    assert len(used()) == 22


def stopped(desk: Desk) -> str:
    """A training that was stopped; its id."""
    run = desk.adapting.start(OWNER, "My hand")
    live = desk.adapting.watching(OWNER, run.id)
    desk.adapting.stop(OWNER, run.id)
    list(live.follow() if live is not None else ())
    desk.trainer.over.clear()
    return run.id


def test_a_training_that_was_gone_on_with_in_another_window_is_not_discarded(ready: Desk) -> None:
    run_id = stopped(ready)
    ready.adapting.go_on(OWNER, run_id)
    with pytest.raises(Busy, match="stop it first"):
        ready.adapting.discard(OWNER, run_id)
    assert ready.trainer.alive
    assert ready.trainer.removed == []
    ready.trainer.weights = b"good"
    ready.trainer.over.set()
    live = ready.adapting.watching(OWNER, run_id)
    list(live.follow() if live is not None else ())
    with pytest.raises(InvalidRequest, match="ended well"):
        ready.adapting.discard(OWNER, run_id)
    assert ready.rows.training(OWNER, run_id).message != "Discarded."
    assert ready.adapting.pause(OWNER, run_id).state == "done"


def test_going_on_with_a_training_that_is_gone_says_so(ready: Desk) -> None:
    run_id = stopped(ready)
    ready.adapting.discard(OWNER, run_id)
    ready.adapting.discard(OWNER, run_id)
    with pytest.raises(NotFound, match="discarded"):
        ready.adapting.go_on(OWNER, run_id)
    assert not ready.trainer.alive


def test_a_training_that_is_discarded_while_it_still_stops_stays_discarded(ready: Desk) -> None:
    run = ready.adapting.start(OWNER, "My hand")
    live = ready.adapting.watching(OWNER, run.id)
    ready.rows.set_training(OWNER, run.id, "cancelled", STOPPED)
    ready.trainer.weights = None
    ready.adapting.discard(OWNER, run.id)
    list(live.follow() if live is not None else ())
    found = ready.rows.training(OWNER, run.id)
    assert (found.state, found.message) == ("done", "Discarded.")


def test_pages_that_a_training_kept_back_are_kept_back_again(desk: Desk) -> None:
    desk.correct(200, 10)
    desk.correct(90, 10)

    def held() -> set[str]:
        return {line.page_image_sha256 for line in desk.adapting.split(OWNER).held}

    first = held()
    learned = next(line for line in desk.adapting.lines(OWNER) if line.line.page_image_sha256 not in first)
    desk.learned()
    desk.adapting.leave_out(OWNER, learned.line.line_id, True)
    assert held() == first
    assert "Nothing new" in desk.adapting.advice(OWNER).sentence
    other = next(iter({line.line.page_image_sha256 for line in desk.adapting.lines(OWNER)} - first))
    desk.trainer.pages = {desk.rows.trainings(OWNER)[0].id: (other,)}
    assert held() == {other}


def test_what_a_training_left_goes_with_its_adapter(ready: Desk) -> None:
    ready.learned()
    (adapter,), (run,) = ready.adapters.list(OWNER), ready.adapting.trainings(OWNER)
    assert ready.trainer.without_checkpoint == [run.id]
    ready.adapting.forget(OTHER, adapter.id)
    assert ready.trainer.removed == []
    ready.adapting.forget(OWNER, adapter.id)
    assert ready.trainer.removed == [run.id]
    assert ready.adapting.trainings(OWNER) == ()
    assert ready.adapters.list(OWNER) == (adapter,)
