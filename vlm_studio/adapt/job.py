"""A training as a folder: what the app writes for the process that trains, and what that process tells back.

::

    job.json                  what to learn from and how (Job)
    lines/0000.png ...        strips of corrected lines
    progress.jsonl            one TrainPoint a line, appended
    control                   "go", "pause" or "stop", written by the app
    checkpoint.safetensors    the adapter and its optimiser, with the step in its metadata
    adapter_config.json, adapter_model.safetensors    the finished adapter
    kept_back.json            pages whose lines were kept back to test on
    log.txt                   what the process printed

Everything that matters survives a crash of either side: a file is written beside its place and moved into it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from vlm_studio.core.adapters import TrainPoint, TrainSettings
from vlm_studio.model.files import replace_file

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
CHECKPOINT = "checkpoint.safetensors"

Trains = Literal["reader", "large"]
"""The line reader of nano (adapt/train.py), or a model of the hub (adapt/qlora.py)."""


@dataclass(frozen=True, slots=True)
class JobLine:
    """A strip, by its file's name in the folder `lines`, and what it says."""

    file: str
    text: str


@dataclass(frozen=True, slots=True)
class Job:
    base: str
    """Folder of the base weights: assets/nano, or a checkpoint of the hub."""
    general: str
    """The zip of lines of other hands (adapt/general.py)."""
    settings: TrainSettings
    learn: tuple[JobLine, ...]
    check: tuple[JobLine, ...]
    """Held-out lines: only measured on the way, never learned from."""
    threads: int
    trains: Trains = "reader"


def write_job(folder: Path, job: Job) -> None:
    replace_file(folder / "job.json", json.dumps(asdict(job), ensure_ascii=False).encode())


def read_job(folder: Path) -> Job:
    """Raises OSError, ValueError, KeyError or TypeError."""
    value = json.loads((folder / "job.json").read_text("utf-8"))
    return Job(
        value["base"],
        value["general"],
        TrainSettings(**value["settings"]),
        tuple(JobLine(**line) for line in value["learn"]),
        tuple(JobLine(**line) for line in value["check"]),
        int(value["threads"]),
        "large" if value["trains"] == "large" else "reader",
    )


def add_point(folder: Path, point: TrainPoint) -> None:
    with (folder / "progress.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(point)) + "\n")


def points(folder: Path) -> Sequence[TrainPoint]:
    """Every point so far; a line that is still being written is left for the next time."""
    try:
        text = (folder / "progress.jsonl").read_text("utf-8")
    except FileNotFoundError:
        return ()
    found: list[TrainPoint] = []
    for line in text.splitlines(keepends=True):
        if not line.endswith("\n"):
            continue
        point = TrainPoint(**json.loads(line))
        # A training that went on from a checkpoint takes some steps again: the newer point counts.
        found = (
            [p for p in found if p.phase != "train" or p.step < point.step]
            if point.phase == "train"
            else found
        )
        found.append(point)
    return found


def control(folder: Path) -> str:
    try:
        return (folder / "control").read_text("utf-8").strip() or "go"
    except FileNotFoundError:
        return "go"


def set_control(folder: Path, word: str) -> None:
    replace_file(folder / "control", word.encode())
