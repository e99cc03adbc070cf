"""Teach the line reader a hand: ``python -m vlm_studio.adapt.train FOLDER``, in a process of its own.

The late half of the tower and the character head learn with CTC from the person's corrected lines, each in several
photographs of another day, from new lines joined from their words, and from other people's lines, on which the reader is
held to what it read before (learning without forgetting, Li and Hoiem 2016). Their weights are learned whole; what the
average along the way adds to the reader's own is kept as a LoRA, by singular values. That reads better than learning
two matrices of rank 8 themselves (recipe/LOG.md). Where the processor multiplies bfloat16 itself, it does.

Same lines, same seed, same machine, same number of threads: the same adapter, whether the training ran through, was paused,
or was killed and went on from its last checkpoint.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image
from rapidfuzz.distance import Levenshtein
from safetensors.torch import save
from torch import Tensor, nn

from vlm_studio.adapt.general import general_lines
from vlm_studio.adapt.job import (
    CHECKPOINT,
    CONFIG,
    WEIGHTS,
    Job,
    add_point,
    control,
    read_job,
)
from vlm_studio.adapt.material import (
    FIRST_BLOCK,
    Material,
    Prepared,
    Preparing,
    batch_of,
    choose,
    multiplies_bfloat16,
    scores_of,
)
from vlm_studio.core.adapters import TrainPoint, TrainSettings
from vlm_studio.model.adapter_file import clean_config, parse_adapter
from vlm_studio.model.characters import spell
from vlm_studio.model.checkpoint import Reached, read_checkpoint, write_checkpoint
from vlm_studio.model.files import replace_file
from vlm_studio.model.line_adapter import adaptable, low_rank
from vlm_studio.model.line_recogniser import LineRecogniser, weights_sha256

EVERY = 10
"""Steps between two points of the curve, each with a checkpoint."""
SLOWNESS = 0.95
"""Share of the averaged weights that a step leaves as it was, once some steps are made."""
ANCHOR = 1.0
"""Weight of staying with the earlier readings of other hands (Kullback-Leibler, nats a frame) beside the CTC loss."""


class Stopped(Exception):
    """The app asked the training to stop; its checkpoint is written."""


class Training:
    """One training in its folder. `run` ends with the adapter written, or raises Stopped."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.job: Job = read_job(folder)
        self.settings: TrainSettings = self.job.settings
        self.started = time.monotonic()
        base = Path(self.job.base)
        self.scorer = LineRecogniser(base).load()
        self.base_sha256 = weights_sha256(base)
        self.fast = multiplies_bfloat16()
        self.parent = os.getppid()

    def run(self) -> None:
        material = self._prepare()
        self._unfreeze()
        trained = self._trained()
        average = [nn.Parameter(p.detach().clone(), requires_grad=False) for p in trained]
        optimiser = torch.optim.Adam(trained, lr=self.settings.rate)
        parts = [*trained, *average]
        step = read_checkpoint(self.folder / CHECKPOINT, parts, optimiser, self.base_sha256).step
        if step == 0:
            self._tell("train", 0, None, self._cer(material.check, average))
        losses: list[float] = []
        while step < self.settings.steps:
            self._obey(step, average, optimiser)
            for group in optimiser.param_groups:
                group["lr"] = rate_at(step, self.settings)
            self.scorer.train()
            loss = self._loss(choose(material, step, self.settings))
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(trained, 2.0)
            optimiser.step()
            follow(average, trained, step)
            step += 1
            losses.append(float(loss.detach()))
            if step % EVERY == 0 or step == self.settings.steps:
                self._checkpoint(step, average, optimiser)
                self._tell("train", step, sum(losses) / len(losses), self._cer(material.check, average))
                losses = []
        self._export(average)
        self._tell("done", step)

    def _prepare(self) -> Material:
        job = self.job
        others = general_lines(Path(job.general), "mix") if self.settings.mix else []
        learn, check = (
            [(self._pixels(line.file), line.text) for line in side] for side in (job.learn, job.check)
        )

        def told(done: int, total: int) -> None:
            self._obey(0, [], None)
            if done % 20 == 0:
                self._tell("prepare", done, total=total)

        return Preparing(self.scorer, self.settings, self.fast, told).material(learn, others, check)

    def _pixels(self, file: str) -> np.ndarray:
        with Image.open(self.folder / "lines" / file) as image:
            return np.asarray(image.convert("L"))

    def _loss(self, lines: Sequence[Prepared]) -> Tensor:
        """CTC of all lines, and for lines of others how far they are read from how they were read before."""
        x, frames, targets, lengths = batch_of(lines)
        scores = scores_of(self.scorer, x, frames, self.fast)
        loss: Tensor = nn.functional.ctc_loss(
            scores.transpose(0, 1), targets, frames, lengths, zero_infinity=True
        )
        anchored = [
            nn.functional.kl_div(row[: line.frames], line.base, log_target=True, reduction="batchmean")
            for row, line in zip(scores, lines, strict=True)
            if line.base is not None
        ]
        return loss + ANCHOR * torch.stack(anchored).mean() if anchored else loss

    def _unfreeze(self) -> None:
        """Let the weights learn that a personal adapter may change, and no others."""
        weights = dict(self.scorer.named_parameters())
        names = [f"{module}.weight" for module in adaptable(self.scorer, FIRST_BLOCK)]
        self.before = {name: weights[name].detach().clone() for name in names}
        for name, parameter in weights.items():
            parameter.requires_grad_(name in self.before)

    def _trained(self) -> list[nn.Parameter]:
        return [p for p in self.scorer.parameters() if p.requires_grad]

    @torch.inference_mode()
    def _cer(self, lines: Sequence[Prepared], average: Sequence[Tensor]) -> float | None:
        """Greedy character error rate with the averaged weights, whole; None where nothing is held out."""
        if not lines:
            return None
        self.scorer.eval()
        trained = self._trained()
        kept = [p.detach().clone() for p in trained]
        put(trained, average)
        wrong = letters = 0
        for start in range(0, len(lines), 8):
            group = lines[start : start + 8]
            x, frames, _, _ = batch_of(group)
            scores = scores_of(self.scorer, x, frames, self.fast).numpy()
            for row, line in zip(scores, group, strict=True):
                wrong += Levenshtein.distance(spell(row[: line.frames]), line.text)
                letters += len(line.text)
        put(trained, kept)
        return wrong / max(1, letters)

    def _obey(self, step: int, average: Sequence[nn.Parameter], optimiser: Any) -> None:
        """Wait while paused. Raises Stopped, with a checkpoint written, when asked to or when the app is gone."""
        while True:
            word = control(self.folder)
            if word == "stop" or os.getppid() != self.parent:
                if optimiser is not None:
                    self._checkpoint(step, average, optimiser)
                raise Stopped
            if word != "pause":
                return
            time.sleep(0.2)

    def _tell(
        self, phase: Any, step: int, loss: float | None = None, cer: float | None = None, total: int = 0
    ) -> None:
        seconds = round(time.monotonic() - self.started, 1)
        add_point(self.folder, TrainPoint(phase, step, total or self.settings.steps, seconds, loss, cer))

    def _checkpoint(
        self, step: int, average: Sequence[nn.Parameter], optimiser: torch.optim.Optimizer
    ) -> None:
        reached = Reached(step, of=self.base_sha256)
        write_checkpoint(self.folder / CHECKPOINT, reached, [*self._trained(), *average], optimiser)

    def _export(self, average: Sequence[Tensor]) -> None:
        put(self._trained(), average)
        rank, learned = self.settings.rank, dict(self.scorer.named_parameters())
        state: dict[str, Tensor] = {}
        for name, before in self.before.items():
            down, up = low_rank(learned[name].detach() - before, rank)
            module = f"base_model.model.{name.removesuffix('.weight')}"
            state |= {f"{module}.lora_A.weight": down.half(), f"{module}.lora_B.weight": up.half()}
        weights = save(state)
        raw = {"peft_type": "LORA", "r": rank, "lora_alpha": rank}
        config = clean_config(parse_adapter(raw, weights), "idefics2-nano reader")
        replace_file(self.folder / WEIGHTS, weights)
        replace_file(self.folder / CONFIG, json.dumps(config, indent=1).encode())


@torch.no_grad()
def follow(average: Sequence[Tensor], trained: Sequence[Tensor], step: int) -> None:
    """One step of the exponential average; the first ones follow faster, so that the start is soon forgotten."""
    share = 1 - min(SLOWNESS, (1 + step) / (10 + step))
    for slow, quick in zip(average, trained, strict=True):
        slow.lerp_(quick, share)


@torch.no_grad()
def put(places: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    for place, value in zip(places, values, strict=True):
        place.copy_(value)


def rate_at(step: int, settings: TrainSettings) -> float:
    """A short warm-up, then a cosine to a twentieth."""
    part = step / max(1, settings.steps)
    return settings.rate * min(1.0, (step + 1) / 6) * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * part)))


def main(argv: Sequence[str]) -> int:
    """0: the adapter is there; 3: stopped, with a checkpoint."""
    if hasattr(os, "nice"):
        os.nice(5)  # whoever reads a page meanwhile goes first
    cv2.setNumThreads(1)
    folder = Path(argv[0])
    torch.set_num_threads(read_job(folder).threads)
    try:
        Training(folder).run()
    except Stopped:
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
