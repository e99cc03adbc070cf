"""Trainings as processes of their own: begun, watched, paused, stopped and begun again where they were."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from PIL import Image as PilImage
from PIL.Image import Image

from vlm_studio.adapt.job import (
    CHECKPOINT,
    CONFIG,
    WEIGHTS,
    Job,
    JobLine,
    Trains,
    points,
    read_job,
    set_control,
    write_job,
)
from vlm_studio.core.adapters import TrainPoint, TrainSettings
from vlm_studio.core.errors import Busy, GenerationFailed, NotFound, StoreError
from vlm_studio.core.settings import PROJECT_ROOT
from vlm_studio.model.adapter_file import read_config

log = logging.getLogger(__name__)

PROGRAMS: dict[Trains, str] = {"reader": "vlm_studio.adapt.train", "large": "vlm_studio.adapt.qlora"}
KEPT_BACK = "kept_back.json"
"""Beside the job: hashes of the pages that were kept back."""
STOPPED = 3
"""Exit status of a training that was asked to stop."""


@dataclass(frozen=True, slots=True)
class Sources:
    """What every training reads beside its own folder."""

    nano: Path
    general: Path


class Trainer:
    """Thread-safe. A training is a folder under `root`, by its id."""

    def __init__(self, root: Path, sources: Sources, threads: int = 0) -> None:
        """`threads` of the training process; 0: half of the machine's, two at least where it has them."""
        self.root, self.sources = root, sources
        cores = os.cpu_count() or 1
        self.threads = threads or min(cores, max(2, cores // 2))
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._held: dict[str, FileLock] = {}
        self._lock = threading.Lock()

    def prepare(
        self,
        training_id: str,
        learn: Sequence[tuple[Image, str]],
        check: Sequence[tuple[Image, str]],
        settings: TrainSettings,
        checkpoint: Path | None = None,
        pages: Sequence[str] = (),
    ) -> None:
        """Write the folder: strips with their texts, to learn from and to measure on the way. Raises StoreError.

        `checkpoint` of a model of the hub: QLoRA on that, in place of nano's reader.
        `pages`: those that `check` stands on.
        """
        folder = self._folder(training_id)
        names: list[JobLine] = []
        try:
            (folder / "lines").mkdir(parents=True, exist_ok=True)
            for number, (image, text) in enumerate([*learn, *check]):
                buffer = io.BytesIO()
                image.convert("L").save(buffer, "PNG")
                name = f"{number:04d}.png"
                (folder / "lines" / name).write_bytes(buffer.getvalue())
                names.append(JobLine(name, text))
            (folder / KEPT_BACK).write_text(json.dumps(list(pages)), "utf-8")
            write_job(
                folder,
                Job(
                    base=str((checkpoint or self.sources.nano).resolve()),
                    general=str(self.sources.general.resolve()),
                    settings=settings,
                    learn=tuple(names[: len(learn)]),
                    check=tuple(names[len(learn) :]),
                    threads=self.threads,
                    trains="large" if checkpoint else "reader",
                ),
            )
        except OSError as failure:
            raise StoreError(
                f"The training could not be written: {failure.strerror or failure}.",
                "Check the data folder and its free space.",
            ) from failure

    def hold(self, training_id: str) -> None:
        """Keep other processes of the app off a training until `let_go`, or until this one ends. Raises Busy.

        Held already by this process: nothing happens.
        """
        with self._lock:
            if training_id in self._held:
                return
            try:
                self._held[training_id] = self._claim(training_id)
            except Timeout as failure:
                raise Busy(
                    "Another window of the app is at this training.",
                    "Go on there, or close it; a moment after it has ended, go on here.",
                ) from failure

    def let_go(self, training_id: str) -> None:
        with self._lock:
            if claim := self._held.pop(training_id, None):
                claim.release()

    def elsewhere(self, training_id: str) -> bool:
        """Whether another process of the app is at it."""
        with self._lock:
            if training_id in self._held:
                return False
            try:
                self._claim(training_id).release()
            except Timeout:
                return True
        return False

    def _claim(self, training_id: str) -> FileLock:
        """Raises Timeout where another process has it. The system lets go when its process ends, however it does."""
        # Beside the folder, so that a training can be deleted by whoever holds it; released by another thread than took it.
        claim = FileLock(self._lock_file(training_id), thread_local=False)
        self.root.mkdir(parents=True, exist_ok=True)
        claim.acquire(timeout=0)
        return claim

    def begin(self, training_id: str) -> None:
        """Start the process, or go on from its last checkpoint. Nothing happens where it runs already."""
        folder = self._folder(training_id)
        if not (folder / "job.json").exists():
            raise NotFound("What this training learned from is gone.", "Start a new one.")
        with self._lock:
            if self.running(training_id):
                set_control(folder, "go")
                return
            set_control(folder, "go")
            environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(PROJECT_ROOT)}
            with (folder / "log.txt").open("ab") as printed:
                self._running[training_id] = subprocess.Popen(
                    [sys.executable, "-m", PROGRAMS[read_job(folder).trains], str(folder.resolve())],
                    cwd=PROJECT_ROOT,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=printed,
                    stderr=printed,
                )

    def running(self, training_id: str) -> bool:
        process = self._running.get(training_id)
        return process is not None and process.poll() is None

    def wait(self, training_id: str, seconds: float) -> bool:
        """Whether it is over after `seconds` at most."""
        process = self._running.get(training_id)
        if process is None:
            return True
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def points(self, training_id: str) -> Sequence[TrainPoint]:
        return points(self._folder(training_id))

    def control(self, training_id: str, word: str) -> None:
        """``go``, ``pause`` (stays in memory) or ``stop`` (ends with a checkpoint)."""
        folder = self._folder(training_id)
        if folder.exists():
            set_control(folder, word)

    def held(self, training_id: str) -> list[tuple[Image, str]]:
        """The lines that were kept back, as they were when it began. Raises NotFound."""
        folder = self._folder(training_id)
        try:
            return [(_opened(folder / "lines" / line.file), line.text) for line in read_job(folder).check]
        except (OSError, ValueError, KeyError, TypeError) as failure:
            raise NotFound("What this training learned from is gone.", "Start a new one.") from failure

    def product(self, training_id: str) -> tuple[dict[str, Any], bytes] | None:
        """(configuration, weights) of a training that is done; None where it stopped before.

        Raises GenerationFailed where its process ended by itself without either.
        """
        folder = self._folder(training_id)
        if (folder / CONFIG).exists():
            return read_config((folder / CONFIG).read_bytes()), (folder / WEIGHTS).read_bytes()
        process = self._running.get(training_id)
        code = None if process is None else process.poll()
        if code in {None, STOPPED}:
            return None
        log.error("training %s ended with status %s:\n%s", training_id, code, _said(folder / "log.txt"))
        raise GenerationFailed(
            f"The training ended by itself (status {code}).", "Go on with it; the app's log has the details."
        )

    def kept_pages(self, training_id: str) -> tuple[str, ...]:
        """Hashes of the pages that were kept back; none where the training is gone."""
        try:
            return tuple(json.loads((self._folder(training_id) / KEPT_BACK).read_text("utf-8")))
        except (OSError, ValueError):
            return ()

    def drop_checkpoint(self, training_id: str) -> None:
        """Nobody goes on with a training whose adapter is kept, and a checkpoint takes forty megabytes."""
        with contextlib.suppress(OSError):
            (self._folder(training_id) / CHECKPOINT).unlink(missing_ok=True)

    def remove(self, training_id: str) -> None:
        """Stop it and delete its folder, for whoever holds it."""
        self._end(training_id, 10.0)
        shutil.rmtree(self._folder(training_id), ignore_errors=True)
        with contextlib.suppress(OSError):  # Windows keeps a file that is open
            self._lock_file(training_id).unlink(missing_ok=True)

    def close(self, timeout: float = 10.0) -> None:
        """Ask all to stop; each leaves a checkpoint to go on from."""
        for training_id in list(self._running):
            self.control(training_id, "stop")
        for training_id in list(self._running):
            self._end(training_id, timeout)

    def _end(self, training_id: str, timeout: float) -> None:
        process = self._running.get(training_id)
        if process is None or process.poll() is not None:
            return
        self.control(training_id, "stop")
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout)
            return
        process.kill()
        process.wait(timeout)

    def _lock_file(self, training_id: str) -> Path:
        return self._folder(training_id).with_suffix(".lock")

    def _folder(self, training_id: str) -> Path:
        if not training_id.isalnum():
            raise NotFound("There is no such training.")
        return self.root / training_id


def _said(printed: Path) -> str:
    """The end of what a process printed."""
    with contextlib.suppress(OSError):
        return printed.read_text("utf-8", "replace")[-4000:]
    return ""


def _opened(path: Path) -> Image:
    with PilImage.open(path) as image:
        return image.convert("RGB")
