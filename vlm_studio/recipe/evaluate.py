"""Scores of readers on the same lines: character and word error rates, and words that nobody wrote."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from rapidfuzz.distance import Levenshtein

from vlm_studio.model.characters import fold, pad_strips
from vlm_studio.model.tower import CharacterHead, LineTower


@dataclass(frozen=True, slots=True)
class Score:
    """Errors over a set of lines; rates are summed edits over summed length, so long lines weigh more."""

    lines: int
    cer: float
    wer: float
    invented: float
    """Share of output words that are not among the line's own words."""


def score(read: Sequence[str], truth: Sequence[str]) -> Score:
    """`read` against `truth`, both folded first (one kind of quote, dash, space), case and accents kept."""
    edits = letters = word_edits = words = invented = written = 0
    for raw, wanted in zip(read, truth, strict=True):
        got, want = fold(raw), fold(wanted)
        edits += Levenshtein.distance(got, want)
        letters += len(want)
        word_edits += Levenshtein.distance(got.split(), want.split())
        words += len(want.split())
        own = set(want.split())
        invented += sum(word not in own for word in got.split())
        written += len(got.split())
    return Score(len(truth), edits / max(1, letters), word_edits / max(1, words), invented / max(1, written))


@torch.inference_mode()
def character_log_probs(
    tower: LineTower, head: CharacterHead, strips: Sequence[np.ndarray], batch: int = 16
) -> list[np.ndarray]:
    """Natural log-probabilities (T, 1 + alphabet) of each prepared strip, in order; batched by width."""
    order = sorted(range(len(strips)), key=lambda k: strips[k].shape[2])
    found: list[np.ndarray] = [np.empty(0)] * len(strips)
    for start in range(0, len(order), batch):
        group = order[start : start + batch]
        pixels, frames = pad_strips([strips[k] for k in group])
        scores = head(tower(torch.from_numpy(pixels), torch.from_numpy(frames))).log_softmax(-1).numpy()
        for row, k in enumerate(group):
            found[k] = scores[row, : frames[row]]
    return found


class ShippedRecogniser:
    """The recogniser inside `rapidocr` on one strip at a time, greedy, as the reader `fast` uses it."""

    def __init__(self, onnx_file: Path, threads: int = 1) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self._session = onnxruntime.InferenceSession(
            str(onnx_file), options, providers=["CPUExecutionProvider"]
        )
        text = self._session.get_modelmeta().custom_metadata_map["character"]
        self._characters = ["", *text.splitlines(), " "]

    def read(self, strip: np.ndarray) -> tuple[str, float]:
        """Text of a prepared strip, padded to 320 px at least as rapidocr does, and its mean confidence 0-1."""
        width = max(320, strip.shape[2])
        pixels = np.zeros((1, *strip.shape[:2], width), np.float32)
        pixels[0, :, :, : strip.shape[2]] = strip
        probs = self._session.run(None, {"x": pixels})[0][0]
        best = probs.argmax(1)
        kept = [k for k in range(len(best)) if best[k] and (k == 0 or best[k] != best[k - 1])]
        sure = float(np.mean([probs[k, best[k]] for k in kept])) if kept else 0.0
        return "".join(self._characters[best[k]] for k in kept), sure
