"""What a training of the line reader learns from, as the half of the reader that never changes makes it of every strip.

That half is computed once for each strip and kept, which is what makes minutes of a training on two cores.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vlm_studio.adapt.general import GeneralLine
from vlm_studio.adapt.recompose import CutWord, Words, cut_words, join_words
from vlm_studio.core.adapters import TrainSettings
from vlm_studio.core.documents import STRETCHES
from vlm_studio.model.characters import FRAME_PIXELS, encode, fold, pad_strips, prepare_strip
from vlm_studio.model.coverage import richest
from vlm_studio.model.distort import vary
from vlm_studio.model.tower import LineScorer

FIRST_BLOCK = 6
"""Blocks of the tower before this one stay as they are."""
KEPT_STRIPS = 480
"""Own strips whose early features are kept; with more lines there are fewer variants of each. About 0.5 MB each."""
RECOMPOSED = 120
"""Lines joined of words, at most."""
MIX_LINES = 80
"""Lines of other hands that a training takes: those that have the letters which the person's own lines lack."""
CHECK_LINES = 40
"""Held-out lines that are read on the way, for the curve."""
WIDTHS = (STRETCHES[0], STRETCHES[1], STRETCHES[0], STRETCHES[2], STRETCHES[0])
"""How wide strips are shown, in turn: as the reader will look at them, its first look most often."""
WIDTH_STEP = 16 * FRAME_PIXELS
"""Widths are padded to a multiple of this, px: every new width costs time and memory for kernels of its own."""

Pixels = np.ndarray
"""Grey uint8 (H, W), or RGB uint8 (H, W, 3)."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """What the early half makes of one strip."""

    early: Tensor
    """(channels, rows, columns), float16."""
    frames: int
    text: str
    base: Tensor | None = None
    """(frames, 1 + alphabet): log-probabilities of the reader as it was; of lines of others only."""


@dataclass(frozen=True, slots=True)
class Material:
    own: list[Prepared]
    """Corrected lines, each in several photographs; the line itself comes first."""
    recomposed: list[Prepared]
    """Lines joined from words of the corrected ones and some of other hands."""
    others: list[Prepared]
    """Lines of other hands."""
    check: list[Prepared]
    """Held-out lines: read for the curve, never learned from."""


class Preparing:
    """Makes `Material` with the reader as it is before anything is learned."""

    def __init__(
        self, scorer: LineScorer, settings: TrainSettings, fast: bool, told: Callable[[int, int], None]
    ) -> None:
        """`fast`: multiply in bfloat16; `told` is called with (strips done, strips in all)."""
        self.scorer, self.settings, self.fast, self._told = scorer, settings, fast, told
        self._done = self._total = 0

    def material(
        self,
        learn: Sequence[tuple[Pixels, str]],
        others: Sequence[GeneralLine],
        check: Sequence[tuple[Pixels, str]],
    ) -> Material:
        """Strips that are too short for their texts are left out."""
        settings = self.settings
        variants = max(1, min(settings.variants, KEPT_STRIPS // max(1, len(learn))))
        own_texts = "".join(fold(text) for _, text in learn)
        count = MIX_LINES if settings.mix else 0
        others = [others[k] for k in richest([fold(line.text) for line in others], count, own_texts)]
        check = check[:CHECK_LINES]
        joined = min(RECOMPOSED, recomposed_in_batch(settings) * settings.steps)
        cut = len(learn) + len(others) if joined else 0
        self._done, self._total = 0, len(learn) * variants + cut + joined + len(others) + len(check)
        own = []
        for number, (pixels, text) in enumerate(learn):
            for variant in range(variants):
                # The line itself first: it is what the reader will see again.
                seed = settings.seed * 100_003 + number * 101 + variant
                shown = pixels if variant == 0 else vary(pixels, seed)
                own.append(self._prepared(shown, text, variant))
        recomposed = self._recomposed(learn, others, joined)
        mixed = [self._prepared(vary(line.pixels, k), line.text, k, True) for k, line in enumerate(others)]
        held = [self._prepared(pixels, text) for pixels, text in check]
        return Material(*([p for p in side if p is not None] for side in (own, recomposed, mixed, held)))

    def _recomposed(
        self, learn: Sequence[tuple[Pixels, str]], others: Sequence[GeneralLine], count: int
    ) -> list[Prepared | None]:
        """`count` lines, or none where no line can be cut into words."""
        own = self._words(learn) if count else []
        if not own:
            return []
        words = Words(own, self._words([(line.pixels, line.text) for line in others]))
        found = []
        for number in range(count):
            pixels, text = join_words(words.take, random.Random(f"{self.settings.seed}-joined-{number}"))
            varied = vary(pixels, self.settings.seed * 100_003 + 90_001 + number)
            found.append(self._prepared(varied, text, number))
        return found

    @torch.inference_mode()
    def _words(self, lines: Sequence[tuple[Pixels, str]]) -> list[CutWord]:
        found: list[CutWord] = []
        for pixels, text in lines:
            self._done += 1
            self._told(self._done, self._total)
            padded, frames = pad_strips([prepare_strip(pixels)])
            scores = self.scorer(torch.from_numpy(padded), torch.from_numpy(frames))
            found += cut_words(pixels, text, scores[0, : int(frames[0])].numpy())
        return found

    @torch.no_grad()
    def _prepared(
        self, pixels: Pixels, text: str, number: int = 0, anchored: bool = False
    ) -> Prepared | None:
        """The `number` says how wide it is shown. None for a strip that is too short for its text: CTC could never spell it."""
        self._done += 1
        self._told(self._done, self._total)
        text = fold(text)
        padded, frames = pad_strips([prepare_strip(pixels, WIDTHS[number % len(WIDTHS)])])
        codes = encode(text)
        repeats = sum(a == b for a, b in itertools.pairwise(codes))
        if not codes or int(frames[0]) < len(codes) + repeats + 1:
            return None
        over = -padded.shape[-1] % WIDTH_STEP
        wide = torch.from_numpy(np.pad(padded, ((0, 0), (0, 0), (0, 0), (0, over))))
        with torch.autocast("cpu", torch.bfloat16, enabled=self.fast):
            early = self.scorer.tower.early(
                wide.contiguous(memory_format=torch.channels_last), torch.from_numpy(frames), FIRST_BLOCK
            )
        kept = Prepared(early[0].half().contiguous(), int(frames[0]), text)
        if not anchored:
            return kept
        x, counts, _, _ = batch_of([kept])
        base = scores_of(self.scorer, x, counts, self.fast)[0, : kept.frames]
        return Prepared(kept.early, kept.frames, text, base)


def scores_of(scorer: LineScorer, x: Tensor, frames: Tensor, fast: bool) -> Tensor:
    """Log-probabilities (N, T, 1 + alphabet), float32, from early features `x`."""
    with torch.autocast("cpu", torch.bfloat16, enabled=fast):
        scores: Tensor = scorer.head(scorer.tower.late(x, frames, FIRST_BLOCK))
    return scores.float().log_softmax(-1)


def recomposed_in_batch(settings: TrainSettings) -> int:
    """Lines of each batch that are joined from words."""
    own = settings.batch - round(settings.batch * settings.mix)
    return min(own - 1, round(own * settings.recomposed))


def choose(material: Material, step: int, settings: TrainSettings) -> list[Prepared]:
    """The batch of a step, by the seed and the step alone: own lines in turn, others at random."""
    others = round(settings.batch * settings.mix) if material.others else 0
    joined = recomposed_in_batch(settings) if material.recomposed else 0
    chosen: list[Prepared] = []
    for lines, count in ((material.own, settings.batch - others - joined), (material.recomposed, joined)):
        chosen += [lines[_turn(len(lines), step * count + k, settings.seed)] for k in range(count)]
    rng = random.Random(f"{settings.seed}-mix-{step}")
    chosen += rng.sample(material.others, min(others, len(material.others)))
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
        x.contiguous(memory_format=torch.channels_last),
        torch.tensor([line.frames for line in lines]),
        torch.tensor([code for row in codes for code in row]),
        torch.tensor([len(row) for row in codes]),
    )


def multiplies_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 itself, twice as fast as float32; where it does not, that is slower."""
    # Older releases of torch do not tell.
    can: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(can.get("avx512_bf16") or can.get("amx_bf16"))
