"""Trainings as processes of their own: begun, watched, paused, stopped and begun again where they were."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image as PilImage
from PIL.Image import Image

from vlm_studio.adapt.job import (
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
from vlm_studio.core.errors import GenerationFailed, NotFound, StoreError
from vlm_studio.core.settings import PROJECT_ROOT
from vlm_studio.model.adapter_file import read_config

PROGRAMS: dict[Trains, str] = {"reader": "vlm_studio.adapt.train", "large": "vlm_studio.adapt.qlora"}
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
        self._lock = threading.Lock()

    def prepare(
        self,
        training_id: str,
        learn: Sequence[tuple[Image, str]],
        check: Sequence[tuple[Image, str]],
        settings: TrainSettings,
        checkpoint: Path | None = None,
    ) -> None:
        """Write the folder: strips with their texts, to learn from and to measure on the way. Raises StoreError.

        `checkpoint` of a model of the hub: QLoRA on that, in place of nano's reader.
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
            with (folder / "log.txt").open("ab") as log:
                self._running[training_id] = subprocess.Popen(
                    [sys.executable, "-m", PROGRAMS[read_job(folder).trains], str(folder.resolve())],
                    cwd=PROJECT_ROOT,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
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
        raise GenerationFailed(
            f"The training ended by itself (status {code}).",
            f"Go on with it; {folder / 'log.txt'} has the details.",
        )

    def remove(self, training_id: str) -> None:
        """Stop it and delete its folder."""
        self._end(training_id, 10.0)
        shutil.rmtree(self._folder(training_id), ignore_errors=True)

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

    def _folder(self, training_id: str) -> Path:
        if not training_id.isalnum():
            raise NotFound("There is no such training.")
        return self.root / training_id


def _opened(path: Path) -> Image:
    with PilImage.open(path) as image:
        return image.convert("RGB")
