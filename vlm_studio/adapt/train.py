"""Teach the line reader a hand: ``python -m vlm_studio.adapt.train FOLDER``, in a process of its own.

A LoRA on the late half of the tower and on the character head, learned with CTC from the person's corrected lines, each
in several photographs of another day, with other people's lines mixed in. The early half never changes, so what it makes
of every line is computed once and kept: that is what makes minutes of it on two cores.

Same lines, same seed, same number of threads: the same adapter, whether the training ran through, was paused, or was
killed and went on from its last checkpoint.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from peft import LoraConfig, get_peft_model_state_dict, inject_adapter_in_model
from PIL import Image
from rapidfuzz.distance import Levenshtein
from safetensors.torch import save
from torch import Tensor, nn

from vlm_studio.adapt.checkpoint import read_checkpoint, write_checkpoint
from vlm_studio.adapt.general import general_lines
from vlm_studio.adapt.job import (
    CHECKPOINT,
    CONFIG,
    WEIGHTS,
    Job,
    add_point,
    control,
    read_job,
    replace_file,
)
from vlm_studio.core.adapters import TrainPoint, TrainSettings
from vlm_studio.model.adapter_file import clean_config, parse_adapter
from vlm_studio.model.characters import encode, fold, pad_strips, prepare_strip, spell
from vlm_studio.model.distort import vary
from vlm_studio.model.line_adapter import adaptable
from vlm_studio.model.line_recogniser import LineRecogniser
from vlm_studio.model.tower import LineScorer

FIRST_BLOCK = 9
"""Blocks before this one stay as they are."""
KEPT_STRIPS = 480
"""Strips whose early features are kept; with more lines there are fewer variants of each. About 0.5 MB each."""
MIX_LINES = 40
CHECK_LINES = 40
"""Held-out lines that are read on the way, for the curve."""
EVERY = 10
"""Steps between two points of the curve, each with a checkpoint."""


class Stopped(Exception):
    """The app asked the training to stop; its checkpoint is written."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """What the early half makes of one strip: (channels, rows, columns) float16, its frames, its text."""

    early: Tensor
    frames: int
    text: str


class Training:
    """One training in its folder. `run` ends with the adapter written, or raises Stopped."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.job: Job = read_job(folder)
        self.settings: TrainSettings = self.job.settings
        self.started = time.monotonic()
        self.scorer = LineScorer(*LineRecogniser(Path(self.job.base)).load())
        self.parent = os.getppid()

    def run(self) -> None:
        learn, mix, check = self._prepare()
        self._inject()
        optimiser = torch.optim.AdamW(self._trained(), lr=self.settings.rate, weight_decay=0.01)
        step = read_checkpoint(self.folder / CHECKPOINT, self._trained(), optimiser)
        ctc = nn.CTCLoss(zero_infinity=True)
        losses: list[float] = []
        while step < self.settings.steps:
            self._obey(step, optimiser)
            for group in optimiser.param_groups:
                group["lr"] = rate_at(step, self.settings)
            self.scorer.train()
            x, frames, targets, lengths = batch_of(choose(learn, mix, step, self.settings))
            scores = self._late(x, frames).transpose(0, 1)
            loss = ctc(scores, targets, frames, lengths)
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self._trained(), 2.0)
            optimiser.step()
            step += 1
            losses.append(float(loss.detach()))
            if step % EVERY == 0 or step == self.settings.steps:
                self._checkpoint(step, optimiser)
                self._tell("train", step, sum(losses) / len(losses), self._cer(check))
                losses = []
        self._export()
        self._tell("done", step)

    def _prepare(self) -> tuple[list[Prepared], list[Prepared], list[Prepared]]:
        """(own lines in variants, lines of others, held-out lines), with their early features."""
        job = self.job
        variants = max(1, min(self.settings.variants, KEPT_STRIPS // max(1, len(job.learn))))
        others = general_lines(Path(job.general), "mix") if self.settings.mix else []
        others = others[:: max(1, -(-len(others) // MIX_LINES))]
        total = len(job.learn) * variants + len(others) + min(CHECK_LINES, len(job.check))
        done = 0
        found: tuple[list[Prepared], list[Prepared], list[Prepared]] = ([], [], [])

        def take(kind: int, pixels: np.ndarray, text: str) -> None:
            nonlocal done
            self._obey(0, None)
            made = self._early(pixels, fold(text))
            if made is not None:
                found[kind].append(made)
            done += 1
            if done % 20 == 0:
                self._tell("prepare", done, total=total)

        for number, line in enumerate(job.learn):
            pixels = self._pixels(line.file)
            for variant in range(variants):
                # The line itself first: it is what the reader will see again.
                seed = self.settings.seed * 100_003 + number * 101 + variant
                take(0, pixels if variant == 0 else vary(pixels, seed), line.text)
        for number, other in enumerate(others):
            take(1, vary(other.pixels, number), other.text)
        for line in job.check[:CHECK_LINES]:
            take(2, self._pixels(line.file), line.text)
        return found

    def _pixels(self, file: str) -> np.ndarray:
        with Image.open(self.folder / "lines" / file) as image:
            return np.asarray(image.convert("L"))

    @torch.inference_mode()
    def _early(self, pixels: np.ndarray, text: str) -> Prepared | None:
        """None for a strip that is too short for its text: CTC could never spell it there."""
        strip = prepare_strip(pixels)
        padded, frames = pad_strips([strip])
        codes = encode(text)
        repeats = sum(a == b for a, b in itertools.pairwise(codes))
        if not codes or int(frames[0]) < len(codes) + repeats + 1:
            return None
        early = self.scorer.tower.early(torch.from_numpy(padded), torch.from_numpy(frames), FIRST_BLOCK)
        return Prepared(early[0].half(), int(frames[0]), text)

    def _late(self, x: Tensor, frames: Tensor) -> Tensor:
        scores: Tensor = self.scorer.head(self.scorer.tower.late(x, frames, FIRST_BLOCK))
        return scores.log_softmax(-1)

    def _inject(self) -> None:
        torch.manual_seed(self.settings.seed)
        config = LoraConfig(
            r=self.settings.rank,
            lora_alpha=2 * self.settings.rank,
            target_modules=adaptable(self.scorer, FIRST_BLOCK),
        )
        self.scorer = inject_adapter_in_model(config, self.scorer)  # type: ignore[assignment]
        for name, parameter in self.scorer.named_parameters():
            parameter.requires_grad_("lora_" in name)

    def _trained(self) -> list[nn.Parameter]:
        return [p for p in self.scorer.parameters() if p.requires_grad]

    @torch.inference_mode()
    def _cer(self, lines: Sequence[Prepared]) -> float | None:
        """Greedy character error rate; None where nothing is held out."""
        if not lines:
            return None
        self.scorer.eval()
        wrong = letters = 0
        for start in range(0, len(lines), 8):
            group = lines[start : start + 8]
            x, frames, _, _ = batch_of(group)
            scores = self._late(x, frames).numpy()
            for row, line in zip(scores, group, strict=True):
                wrong += Levenshtein.distance(spell(row[: line.frames]), line.text)
                letters += len(line.text)
        return wrong / max(1, letters)

    def _obey(self, step: int, optimiser: Any) -> None:
        """Wait while paused. Raises Stopped, with a checkpoint written, when asked to or when the app is gone."""
        while True:
            word = control(self.folder)
            if word == "stop" or os.getppid() != self.parent:
                if optimiser is not None:
                    self._checkpoint(step, optimiser)
                raise Stopped
            if word != "pause":
                return
            time.sleep(0.2)

    def _tell(
        self, phase: Any, step: int, loss: float | None = None, cer: float | None = None, total: int = 0
    ) -> None:
        seconds = round(time.monotonic() - self.started, 1)
        add_point(self.folder, TrainPoint(phase, step, total or self.settings.steps, seconds, loss, cer))

    def _checkpoint(self, step: int, optimiser: torch.optim.Optimizer) -> None:
        write_checkpoint(self.folder / CHECKPOINT, step, self._trained(), optimiser)

    def _export(self) -> None:
        state = get_peft_model_state_dict(self.scorer)
        weights = save({f"base_model.model.{k}": v.detach().half().contiguous() for k, v in state.items()})
        raw = {"peft_type": "LORA", "r": self.settings.rank, "lora_alpha": 2 * self.settings.rank}
        config = clean_config(parse_adapter(raw, weights), "idefics2-nano reader")
        replace_file(self.folder / WEIGHTS, weights)
        replace_file(self.folder / CONFIG, json.dumps(config, indent=1).encode())


def rate_at(step: int, settings: TrainSettings) -> float:
    """A short warm-up, then a cosine to a twentieth."""
    part = step / max(1, settings.steps)
    return settings.rate * min(1.0, (step + 1) / 6) * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * part)))


def choose(
    learn: Sequence[Prepared], mix: Sequence[Prepared], step: int, settings: TrainSettings
) -> list[Prepared]:
    """The batch of a step, by the seed and the step alone: own lines in turn, others at random."""
    others = round(settings.batch * settings.mix) if mix else 0
    own = settings.batch - others
    chosen = [learn[i] for i in (_turn(len(learn), step * own + k, settings.seed) for k in range(own))]
    chosen += random.Random(f"{settings.seed}-mix-{step}").sample(list(mix), min(others, len(mix)))
    return sorted(chosen, key=lambda line: line.frames)


def _turn(count: int, position: int, seed: int) -> int:
    """Every line once, in a new order each round."""
    order = list(range(count))
    random.Random(f"{seed}-{position // count}").shuffle(order)
    return order[position % count]


def batch_of(lines: Sequence[Prepared]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Early features padded to one width, frames, targets joined end to end, target lengths."""
    width = max(line.early.shape[-1] for line in lines)
    x = torch.zeros(len(lines), *lines[0].early.shape[:2], width)
    for row, line in enumerate(lines):
        x[row, :, :, : line.early.shape[-1]] = line.early
    codes = [encode(line.text) for line in lines]
    return (
        x,
        torch.tensor([line.frames for line in lines]),
        torch.tensor([code for row in codes for code in row]),
        torch.tensor([len(row) for row in codes]),
    )


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
