"""From corrections to an adapter: the real store and the real gate, with a trainer and a model that do as they are told."""

from __future__ import annotations

import io
import itertools
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.store.kept import OTHER, OWNER, Kept
from vlm_studio.core.adapters import AdapterFacts, Interval, TrainPoint, TrainSettings, Verdict
from vlm_studio.core.cancel import CancelToken
from vlm_studio.core.documents import Asset, Box, Line, LineReading, Page, PageReading, ReadLine
from vlm_studio.core.errors import AdapterRejected, Busy, InvalidRequest, ModelUnavailable, NotFound
from vlm_studio.store.adapter_store import AdapterStore
from vlm_studio.tasks.adapt import INTERRUPTED, NEW_WEIGHTS, STOPPED, Adapting, Judging, Learned
from vlm_studio.tasks.adapt_manage import Adapters
from vlm_studio.tasks.live import LiveRuns

CONFIG = {"peft_type": "LORA", "r": 2}
VERDICT = Verdict(True, "Better.", 9, 1, 0.2, 0.1, 0.4, 0.3, Interval(-0.1, -0.2, 0.0), 0.1, 0.1)


class Reads:
    """Every strip says what is written in its first pixel's colour; spoils a letter unless it is `good`."""

    def __init__(self, good: bool, name: str = "nano") -> None:
        self.good, self.name = good, name

    def read(self, strips: Sequence[Image.Image], cancel: CancelToken) -> Iterator[LineReading]:
        for number, strip in enumerate(strips):
            text = f"the line that is written in grey {strip.convert('L').getpixel((3, 3))}"
            yield LineReading(
                text if self.good else text.replace("line", f"lime{number % 3}"), 0.9, (), self.name
            )


class Model:
    name, sha256 = "nano", "f" * 64

    def reader(
        self, adapter: tuple[Mapping[str, Any], bytes] | None, name: str = "", strength: float = 1.0
    ) -> Reads:
        return Reads(adapter is not None and adapter[1] == b"good", name or "nano")

    def parameters(self, config: Mapping[str, Any], weights: bytes) -> int:
        if weights not in {b"good", b"bad"}:
            raise AdapterRejected("This adapter cannot be used.")
        return 4

    def clean(self, config: Mapping[str, Any], weights: bytes) -> dict[str, Any]:
        return {"peft_type": "LORA", "r": config["r"]}

    def general(self) -> list[tuple[Image.Image, str]]:
        return [(Image.new("L", (60, 20), 9), "the line that is written in grey 9")]


class Trainer:
    """Ends when told to, with the weights it was told to end with."""

    def __init__(self) -> None:
        self.weights: bytes | None = b"good"
        self.over = threading.Event()
        self.words: list[str] = []
        self.learn: list[tuple[Image.Image, str]] = []
        self.check: list[tuple[Image.Image, str]] = []
        self.alive = False
        self.taken = False
        self.let_go_of: list[str] = []

    def prepare(
        self, training_id: str, learn: Any, check: Any, settings: TrainSettings, checkpoint: Any = None
    ) -> None:
        self.checkpoint = checkpoint
        self.learn, self.check = list(learn), list(check)

    def hold(self, training_id: str) -> None:
        if self.taken:
            raise Busy("Another process is at it.")

    def let_go(self, training_id: str) -> None:
        self.let_go_of.append(training_id)

    def elsewhere(self, training_id: str) -> bool:
        return self.taken

    def begin(self, training_id: str) -> None:
        self.alive = True

    def running(self, training_id: str) -> bool:
        return self.alive

    def wait(self, training_id: str, seconds: float) -> bool:
        if self.over.wait(0.01):
            self.alive = False
        return not self.alive

    def points(self, training_id: str) -> Sequence[TrainPoint]:
        return [TrainPoint("train", 1, 2, 0.1, 0.5, 0.2)] if self.over.is_set() else []

    def control(self, training_id: str, word: str) -> None:
        self.words.append(word)
        if word == "stop":
            self.weights = None
            self.over.set()

    def held(self, training_id: str) -> list[tuple[Image.Image, str]]:
        return self.check

    def product(self, training_id: str) -> tuple[dict[str, Any], bytes] | None:
        return (dict(CONFIG), self.weights) if self.weights is not None and self.over.is_set() else None

    def remove(self, training_id: str) -> None:
        self.alive = False


def large(name: str, rank: int) -> tuple[Path, str]:
    if name != "idefics2-8b":
        raise ModelUnavailable("The weights are not on this machine.")
    return Path("checkpoint"), "revision"


class Desk:
    def __init__(self, root: Path) -> None:
        self.kept = Kept(root)
        self.rows = AdapterStore(self.kept.database, self.kept.sessions, self.kept.blobs)
        self.trainer, self.live = Trainer(), LiveRuns()
        model = Model()
        self.adapting = Adapting(
            self.kept.transcripts,
            self.kept.blobs,
            self.rows,
            lambda: self.trainer,
            lambda: model,
            self.live,
            "1",
            large,
        )  # type: ignore[arg-type]
        self.adapters = Adapters(
            self.rows, lambda: model, self.rows.in_use, self.rows.trusted_files, lambda: ("nano", "")
        )  # type: ignore[arg-type]
        self.session = self.kept.sessions.create(OWNER, "transcribe", "Letters")

    def correct(self, shade: int, count: int, owner: str = OWNER) -> None:
        """A page of that shade of grey with so many lines, all put right."""
        buffer = io.BytesIO()
        Image.new("L", (200, 30 * count), shade).save(buffer, "PNG")
        sha = self.kept.blobs.put(buffer.getvalue(), "image/png")
        page = Page(sha, 0, sha, 200, 30 * count)
        (kept,) = self.kept.sessions.add_asset(
            owner, self.session.id, Asset(sha, "image/png", "p.png", 9), [page]
        )
        lines = tuple(
            ReadLine(Line(Box(5, 30 * n + 3, 190, 30 * n + 25)), LineReading("lime", 0.4, (), "nano"))
            for n in range(count)
        )
        for line in self.kept.transcripts.save_reading(owner, kept.id, PageReading(page, lines, "nano", 0.1)):
            self.kept.transcripts.correct(owner, line.id, f"the line that is written in grey {shade}")

    def learned(self) -> list[object]:
        run = self.adapting.start(OWNER, "My hand")
        self.trainer.over.set()
        live = self.adapting.watching(OWNER, run.id)
        events = list(live.follow()) if live is not None else []
        assert live is None or not live.running
        return events


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path / "data")
    yield made
    made.live.stop_all(5)
    made.kept.database.close()


@pytest.fixture
def ready(desk: Desk) -> Desk:
    desk.correct(200, 14)
    desk.correct(90, 8)
    return desk


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


def test_an_adapter_goes_out_and_comes_in_again(ready: Desk) -> None:
    ready.learned()
    (adapter,) = ready.adapters.list(OWNER)
    data, name = ready.adapters.export(OWNER, adapter.id)
    assert name == "My hand.adapter.zip"
    with pytest.raises(NotFound):
        ready.adapters.export(OTHER, adapter.id)
    back = ready.adapters.take_in(OTHER, data)
    assert (back.owner, back.name, back.source, back.active, back.verdict) == (
        OTHER,
        "My hand",
        "imported",
        False,
        None,
    )
    assert "fewer letter errors" in back.notes
    assert ready.adapters.take_in(OTHER, data).id == back.id
    assert ready.adapters.take_in(OWNER, data).id == adapter.id
    ready.adapters.activate(OTHER, back.id)
    assert ready.adapters.reader_name(OTHER, "", "nano") == f"nano+{back.id}"
    ready.adapters.delete(OTHER, back.id)
    assert ready.adapters.reader_name(OTHER, "", "nano") == "nano"


@pytest.mark.parametrize("name", ["nano+01abc", "fast+x", "+"])
def test_a_client_cannot_name_an_adapter(ready: Desk, name: str) -> None:
    with pytest.raises(InvalidRequest):
        ready.adapters.reader_name(OWNER, "", name)


def test_other_readers_stay_what_they_are(ready: Desk) -> None:
    ready.learned()
    assert ready.adapters.reader_name(OWNER, "", "fast") == "fast"
    ready.adapters.choose(OWNER, ready.session.id, "base")
    assert ready.adapters.reader_name(OWNER, ready.session.id, "auto") == "auto"
    ready.adapters.choose(OWNER, ready.session.id, "active")
    assert ready.adapters.reader_name(OWNER, ready.session.id, "auto").startswith("nano+")


def test_files_that_are_no_exported_adapter_are_refused(ready: Desk) -> None:
    import json
    import zipfile

    ready.learned()
    (adapter,) = ready.adapters.list(OWNER)
    good, _ = ready.adapters.export(OWNER, adapter.id)

    def changed(**files: bytes | None) -> bytes:
        out = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(good)) as old, zipfile.ZipFile(out, "w") as new:
            for name in {*old.namelist(), *files}:
                data = files.get(name, old.read(name) if name in old.namelist() else None)
                if data is not None:
                    new.writestr(name, data)
        return out.getvalue()

    with zipfile.ZipFile(io.BytesIO(good)) as archive:
        card = json.loads(archive.read("card.json"))
    other_base = {**card, "facts": {**card["facts"], "base_sha256": "0" * 64}}
    for data in (
        b"",
        b"PK\x03\x04nothing",
        good[: len(good) // 2],
        changed(**{"../../escape": b"x"}),
        changed(**{"adapter_model.bin": b"\x80\x04"}),
        changed(**{"card.json": None}),
        changed(**{"card.json": b"[]"}),
        changed(**{"card.json": b"{}"}),
        changed(**{"card.json": json.dumps({**card, "facts": {"kind": "hand"}}).encode()}),
        changed(**{"card.json": json.dumps(other_base).encode()}),
        changed(**{"adapter_config.json": b"[1]"}),
        changed(**{"adapter_model.safetensors": b"worse"}),
    ):
        with pytest.raises(AdapterRejected):
            ready.adapters.take_in(OWNER, data)
    assert len(ready.adapters.list(OWNER)) == 1


def test_a_model_of_the_hub_is_taught_and_never_worn_by_the_reader(ready: Desk) -> None:
    with pytest.raises(ModelUnavailable):
        ready.adapting.start(OWNER, "x", TrainSettings(model="another"))
    run = ready.adapting.start(OWNER, "Large", TrainSettings(model="idefics2-8b"))
    assert ready.trainer.checkpoint == Path("checkpoint")
    ready.trainer.over.set()
    live = ready.adapting.watching(OWNER, run.id)
    list(live.follow() if live is not None else ())
    (adapter,) = ready.adapters.list(OWNER)
    assert (adapter.facts.kind, adapter.facts.base_sha256, adapter.verdict) == ("engine", "revision", None)
    with pytest.raises(AdapterRejected):
        ready.adapters.activate(OWNER, adapter.id)
