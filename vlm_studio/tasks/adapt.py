"""Teach it my hand: from corrections to an adapter that the gate let through, and what becomes of adapters."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from PIL import Image as PilImage

from vlm_studio.core.adapters import (
    Adapter,
    AdapterFacts,
    LearnLine,
    ReadLineOf,
    TrainingRun,
    TrainPoint,
    TrainSettings,
    Verdict,
)
from vlm_studio.core.cancel import CancelToken
from vlm_studio.core.documents import WordReading
from vlm_studio.core.errors import Busy, Cancelled, InvalidRequest, NotFound, StudioError
from vlm_studio.core.ports import Reader
from vlm_studio.core.sessions import JobState, TrainingLine
from vlm_studio.reading.ctc_words import WordChances
from vlm_studio.reading.strips import cut_strip
from vlm_studio.tasks.adapt_gate import judge
from vlm_studio.tasks.adapt_lines import Advice, NextLine, Split, advice, next_lines, split
from vlm_studio.tasks.adapt_rows import AdapterRows, Corrections, PageFiles
from vlm_studio.tasks.live import LiveRun, LiveRuns
from vlm_studio.tasks.scoring import total

if TYPE_CHECKING:
    from PIL.Image import Image

INTERRUPTED = "It was interrupted. Go on where it was."
STOPPED = "Stopped. Go on where it was."
NEW_WEIGHTS = "The reader has new weights that your adapters were not made for: teach it again."
STEPS = range(5, 401)
ACTIVE = {"queued", "running", "paused"}
"""States of a training that is not over, as it is on record."""


class Trains(Protocol):
    """The process that trains (adapt/process.py)."""

    def prepare(
        self, training_id: str, learn: Sequence[tuple[Image, str]], check: Sequence[tuple[Image, str]],
        settings: TrainSettings, checkpoint: Path | None = None, pages: Sequence[str] = (),
    ) -> None: ...  # fmt: skip
    def hold(self, training_id: str) -> None: ...
    def let_go(self, training_id: str) -> None: ...
    def elsewhere(self, training_id: str) -> bool: ...
    def begin(self, training_id: str) -> None: ...
    def running(self, training_id: str) -> bool: ...
    def wait(self, training_id: str, seconds: float) -> bool: ...
    def points(self, training_id: str) -> Sequence[TrainPoint]: ...
    def control(self, training_id: str, word: str) -> None: ...
    def held(self, training_id: str) -> list[tuple[Image, str]]: ...
    def product(self, training_id: str) -> tuple[dict[str, Any], bytes] | None: ...
    def kept_pages(self, training_id: str) -> tuple[str, ...]: ...
    def drop_checkpoint(self, training_id: str) -> None: ...
    def remove(self, training_id: str) -> None: ...
    def close(self, timeout: float = 10.0) -> None: ...


class HandReader(Reader, Protocol):
    """A reader that also says how likely the ink is a given word (reading/ctc_reader.py)."""

    def chances(self, strip: Image, words: Sequence[WordReading]) -> list[WordChances]: ...


class HandModel(Protocol):
    """The line reader that hands are learned on (model/, put together in studio.py)."""

    @property
    def name(self) -> str: ...

    @property
    def sha256(self) -> str:
        """Of its weights. Raises ModelUnavailable."""
        ...

    def reader(
        self, adapter: tuple[Mapping[str, Any], bytes] | None, name: str = "", strength: float = 1.0
    ) -> HandReader:
        """The base where there is no adapter, or no strength. Raises AdapterRejected where it does not fit."""
        ...

    def parameters(self, config: Mapping[str, Any], weights: bytes) -> int:
        """Raises AdapterRejected where it does not fit."""
        ...

    def clean(self, config: Mapping[str, Any], weights: bytes) -> dict[str, Any]:
        """The configuration with nothing in it that is not needed. Raises AdapterRejected."""
        ...

    def general(self) -> list[tuple[Image, str]]:
        """Lines of other hands with what they say."""
        ...


@dataclass(frozen=True, slots=True)
class Judging:
    """The training is over; held-out and general lines are being read without and with the adapter."""

    done: int = 0
    total: int = 0
    """Lines, each counted as often as it is read."""


@dataclass(frozen=True, slots=True)
class Learned:
    """An adapter is there; `adapter.verdict` says whether it is used, and why."""

    adapter: Adapter


TrainEvent = TrainPoint | Judging | Learned


class Adapting:
    """The Teach tab's and the command line's use cases. Every method takes the owner."""

    def __init__(
        self, corrections: Corrections, files: PageFiles, rows: AdapterRows, trainer: Callable[[], Trains],
        model: Callable[[], HandModel], live: LiveRuns, version: str,
        large: Callable[[str, int], tuple[Path, str]],
    ) -> None:  # fmt: skip
        """`large` gives (a model of the hub, rank) its checkpoint and revision.

        It raises ModelUnavailable where that model cannot be taught here, with a forecast of the memory.
        """
        self._large = large
        self.corrections, self.files, self.rows = corrections, files, rows
        self._trainer, self._model, self.live, self.version = trainer, model, live, version
        self._turn = threading.Lock()
        """Of whoever begins or discards a training, or puts its end on record: another window may do so, too."""

    @property
    def trainer(self) -> Trains:
        return self._trainer()

    @property
    def model(self) -> HandModel:
        return self._model()

    def lines(self, owner: str) -> tuple[LearnLine, ...]:
        """Everything the owner put right, oldest first."""
        out = self.rows.left_out(owner)
        return tuple(LearnLine(line, line.line_id in out) for line in self.corrections.corrections(owner))

    def leave_out(self, owner: str, line_id: str, out: bool) -> None:
        """Learn nothing from a line, or learn from it again. Raises NotFound."""
        if all(line.line.line_id != line_id for line in self.lines(owner)):
            raise NotFound("There is no such corrected line.")
        self.rows.leave_out(line_id, out)

    def split(self, owner: str) -> Split:
        """All lines that are not left out; pages that the newest training kept back are kept back again."""
        entries = self.lines(owner)
        known = (self.trainer.kept_pages(run.id) for run in self.rows.trainings(owner))
        left_out = {entry.line.line_id for entry in entries if entry.left_out}
        return split([entry.line for entry in entries], left_out, next(filter(None, known), ()))

    def advice(self, owner: str) -> Advice:
        """What to do next; adapters that were made for other weights of the reader do not count."""
        kept = [a for a in self.rows.list(owner) if a.facts.kind == "hand"]
        fitting = [a for a in kept if a.facts.base_sha256 == self.model.sha256]
        told = advice(self.split(owner), fitting)
        return Advice(told.ready, f"{NEW_WEIGHTS} {told.sentence}") if kept and not fitting else told

    def next_lines(self, owner: str, count: int = 12) -> tuple[NextLine, ...]:
        corrected = self.corrections.corrections(owner)
        return next_lines(self.rows.uncorrected(owner), corrected, count)

    def strip(self, owner: str, line: TrainingLine | ReadLineOf) -> Image:
        """The line as it is cut out of its page. Raises NotFound."""
        page = PilImage.open(io.BytesIO(self.files.read(owner, line.page_image_sha256)))
        return cut_strip(page.convert("RGB"), line.line).image

    def start(self, owner: str, name: str, settings: TrainSettings | None = None) -> TrainingRun:
        """Begin a training on all lines that are not left out. Raises InvalidRequest where they are too few."""
        settings = settings or TrainSettings()
        if settings.steps not in STEPS:
            raise InvalidRequest(
                f"{settings.steps} steps are not possible.", f"Choose {STEPS.start} to {STEPS.stop - 1}."
            )
        if any(self.trainer.running(run.id) for run in self.rows.trainings(owner)):
            raise InvalidRequest("A training is running already.", "Wait for it, or stop it.")
        checkpoint = self._large(settings.model, settings.rank)[0] if settings.model else None
        told = self.advice(owner)
        if not told.ready:
            raise InvalidRequest("There is not enough to learn from yet.", told.sentence)
        parts = self.split(owner)
        learn, held = (
            [(self.strip(owner, line), line.text) for line in side] for side in (parts.learn, parts.held)
        )
        run = self.rows.add_training(owner, name, settings, len(learn), len(held), parts.held_pages)
        pages = sorted({line.page_image_sha256 for line in parts.held})
        self.trainer.prepare(run.id, learn, held, settings, checkpoint, pages)
        return self.go_on(owner, run.id)

    def go_on(self, owner: str, training_id: str) -> TrainingRun:
        """Begin, or go on after a pause, a stop or a crash. Raises NotFound, or Busy where another process is at it."""
        run = self.rows.training(owner, training_id)
        if run.state == "done":
            return _ended_well(run)
        with self._turn:
            self.trainer.hold(training_id)
            run = self.rows.training(owner, training_id)
            if run.state == "done":  # in another window, or by the process that had it until now
                self.trainer.let_go(training_id)
                return _ended_well(run)
            try:
                if not self._learned(training_id):
                    self.trainer.begin(training_id)
            except StudioError:
                self.trainer.let_go(training_id)
                raise
            run = self.rows.set_training(owner, training_id, "running")
            if self.watching(owner, training_id) is None:
                self.live.start(training_id, owner, lambda cancel: self._watch(run, cancel))
        return run

    def _learned(self, training_id: str) -> bool:
        """Whether only the gate is left: the app may have ended while it read."""
        try:
            return self.trainer.product(training_id) is not None
        except StudioError:
            return False

    def judging(self, owner: str, training_id: str) -> bool:
        """Whether the gate reads: the process that trained has ended by then."""
        return self.watching(owner, training_id) is not None and not self.trainer.running(training_id)

    def pause(self, owner: str, training_id: str) -> TrainingRun:
        """It stays in memory and waits; nothing happens where it is over or only the gate is left, which can be stopped."""
        run = self.rows.training(owner, training_id)
        if run.state not in ACTIVE or self.judging(owner, training_id):
            return run
        self.trainer.control(training_id, "pause")
        return self.rows.set_training(owner, training_id, "paused")

    def stop(self, owner: str, training_id: str) -> TrainingRun:
        """It ends with a checkpoint; `go_on` takes it up again, or begins the gate anew."""
        run = self.rows.training(owner, training_id)
        if run.state in {"done", "failed"}:
            return run
        judging = self.judging(owner, training_id)
        self.trainer.control(training_id, "stop")
        run = self.rows.set_training(owner, training_id, "cancelled", STOPPED)
        if judging:
            self.live.stop(training_id, owner)
        return run

    def discard(self, owner: str, training_id: str) -> None:
        """Forget a training that was stopped or failed. Raises NotFound, InvalidRequest where it has ended well.

        Raises Busy where it runs, whichever window it was begun in.
        """
        self.rows.training(owner, training_id)
        with self._turn:
            self.trainer.hold(training_id)
            run = self.rows.training(owner, training_id)
            if run.state in ACTIVE and (self.trainer.running(run.id) or self.watching(owner, run.id)):
                raise Busy("It is running; stop it first.")
            if run.adapter_id is None:
                self.trainer.remove(training_id)
                self.rows.set_training(owner, training_id, "done", "Discarded.")
            self.trainer.let_go(training_id)
        if run.adapter_id is not None:
            raise InvalidRequest("This training has ended well.", "Delete its adapter if it is not wanted.")

    def forget(self, owner: str, adapter_id: str) -> None:
        """Remove what is left of the training that made an adapter, before that is deleted for good. Raises Busy."""
        training_id = self.rows.training_of(owner, adapter_id)
        if training_id is None:
            return
        with self._turn:
            self.trainer.hold(training_id)
            self.trainer.remove(training_id)
            self.rows.delete_training(owner, training_id)
            self.trainer.let_go(training_id)

    def watching(self, owner: str, training_id: str) -> LiveRun[object] | None:
        """The live run of a training, for a viewer that comes (back) to it."""
        return self.live.under_way(training_id, owner)

    def trainings(self, owner: str) -> tuple[TrainingRun, ...]:
        """Newest first; one whose process is gone says so."""
        found = []
        for run in self.rows.trainings(owner):
            if run.state in ACTIVE and not self.trainer.running(run.id):
                if self.watching(owner, run.id) is None and not self.trainer.elsewhere(run.id):
                    run = self.rows.training(owner, run.id)  # it may have ended since the list was made
                    if run.state in ACTIVE:
                        run = self.rows.set_training(owner, run.id, "cancelled", INTERRUPTED)
            found.append(run)
        return tuple(found)

    def points(self, owner: str, training_id: str) -> Sequence[TrainPoint]:
        self.rows.training(owner, training_id)
        return self.trainer.points(training_id)

    def _watch(self, run: TrainingRun, cancel: CancelToken) -> Iterator[TrainEvent]:
        """Points as they come, then the gate; in a thread of its own, whoever looks on."""
        told = len(self.trainer.points(run.id))
        over = False
        while not over:
            if cancel.cancelled:
                self.trainer.control(run.id, "stop")
            over = self.trainer.wait(run.id, 0.3)
            fresh = self.trainer.points(run.id)
            yield from fresh[told:]
            told = max(told, len(fresh))
        try:
            product = self.trainer.product(run.id)
            if product is None:
                self._halted(run, "cancelled", INTERRUPTED if cancel.cancelled else STOPPED)
                return
            yield Judging()
            adapter = yield from self._finish(run, cancel, *product)
            self.trainer.drop_checkpoint(run.id)
            yield Learned(adapter)
        except Cancelled:
            if self.rows.training(run.owner, run.id).state != "cancelled":  # by `stop`, which says so
                self._halted(run, "cancelled", INTERRUPTED)
        except StudioError as failure:
            self._halted(run, "failed", str(failure))
            raise
        finally:
            self.trainer.let_go(run.id)

    def _halted(self, run: TrainingRun, state: JobState, message: str) -> None:
        """On record; one that was discarded meanwhile stays discarded."""
        with self._turn:
            if self.rows.training(run.owner, run.id).state != "done":
                self.rows.set_training(run.owner, run.id, state, message)

    def _finish(
        self, run: TrainingRun, cancel: CancelToken, config: Mapping[str, Any], weights: bytes
    ) -> Generator[Judging, None, Adapter]:
        """Judge what was learned, keep it, and read with it if the gate lets it through.

        What a model of the hub learned is kept unmeasured: the gate reads with nano's reader.
        """
        if run.settings.model:
            base, rank = run.settings.model, run.settings.rank
            revision = self._large(base, rank)[1]
            facts = AdapterFacts("engine", base, revision, rank, len(weights) // 2, run.lines, self.version)
            adapter = self.rows.add(run.owner, run.name, facts, config, weights, "trained")
            self.rows.set_training(run.owner, run.id, "done", "Learned; not measured.", adapter.id)
            return adapter
        held = self.trainer.held(run.id)
        verdict = yield from self._judged(held, run.held_pages, (config, weights), cancel)
        facts = AdapterFacts(
            "hand", self.model.name, self.model.sha256, run.settings.rank,
            self.model.parameters(config, weights), run.lines, self.version,
        )  # fmt: skip
        adapter = self.rows.add(run.owner, run.name, facts, config, weights, "trained", verdict)
        if verdict.passed:
            self.rows.activate(run.owner, adapter.id)
        self.rows.set_training(run.owner, run.id, "done", verdict.why, adapter.id)
        return self.rows.get(run.owner, adapter.id)

    def _judged(
        self, held: Sequence[tuple[Image, str]], pages: int, adapter: tuple[Mapping[str, Any], bytes],
        cancel: CancelToken,
    ) -> Generator[Judging, None, Verdict]:  # fmt: skip
        """Read held-out lines and the general set without and with the adapter, as the app reads. Raises Cancelled."""
        general = self.model.general()
        strips = [image for image, _ in (*held, *general)]
        read: list[list[str]] = []
        for reader in (self.model.reader(None), self.model.reader(adapter)):
            read.append([])
            for reading in reader.read(strips, cancel):
                read[-1].append(reading.text)
                yield Judging(sum(map(len, read)), 2 * len(strips))
        own = [side[: len(held)] for side in read]
        others = [list(zip(side[len(held) :], (text for _, text in general), strict=True)) for side in read]
        rates = [total(side).cer for side in others]
        return judge([text for _, text in held], own[0], own[1], pages, (rates[0], rates[1]))


def _ended_well(run: TrainingRun) -> TrainingRun:
    """Raises NotFound for one that is over and left no adapter."""
    if run.adapter_id is None:
        raise NotFound(
            "This training is gone: it was discarded, or its adapter was deleted.", "Start a new one."
        )
    return run
