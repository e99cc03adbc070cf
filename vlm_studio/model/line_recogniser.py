"""Nano's tower and character head as a recogniser: strips in, the probability of each character at each place out.

The same weights feed nano's connector; here they are read directly, which is what reading a page needs. Weights are
float16 safetensors beside `card.json` and `provenance.json`, whose SHA-256 must be theirs.

With a personal adapter every strip is read by the weights as they are and by those with the adapter, and their
probabilities are pooled: what a few lines taught too firmly, the many that the reader learned from before hold back.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from vlm_studio.core.errors import ModelUnavailable
from vlm_studio.model.characters import ALPHABET, FRAME_PIXELS, pad_strips, prepare_strip
from vlm_studio.model.line_adapter import Adapted, adapted
from vlm_studio.model.tower import CharacterHead, LineScorer, LineTower

if TYPE_CHECKING:
    from PIL.Image import Image

WEIGHTS = "tower.safetensors"
BATCH_PIXELS = 8 * 1200
"""Columns of one padded batch: enough work for two cores, little wasted on padding."""
LEARNED_SHARE = 0.8
"""Weight of the log-probabilities read with a personal adapter; those read without it have the rest."""


class LineRecogniser:
    """Thread-safe; the weights are loaded and checked at first use."""

    characters: Sequence[str] = ("", *ALPHABET)

    def __init__(
        self, folder: Path, adapter: tuple[Mapping[str, Any], bytes] | None = None, strength: float = 1.0
    ) -> None:
        """`adapter`: configuration and weights of a personal adapter to read with, at a strength of 0 to 1.5."""
        self.folder = folder
        self._adapter = adapter if strength else None
        self._strength = strength
        self._lock = threading.Lock()
        self._base: LineScorer | None = None
        self._learned: Adapted | None = None

    def probabilities(self, pieces: Sequence[Image]) -> list[np.ndarray]:
        """(frames, 1 + alphabet) for each strip, in order. Raises ModelUnavailable, AdapterRejected."""
        base, learned = self._load()
        strips = [prepare_strip(piece) for piece in pieces]
        found: list[np.ndarray] = [np.empty(0)] * len(strips)
        for group in _groups([strip.shape[2] for strip in strips]):
            pixels, frames = pad_strips([strips[k] for k in group])
            with torch.inference_mode():
                scores = _scores(base, learned, torch.from_numpy(pixels), torch.from_numpy(frames)).numpy()
            for row, k in enumerate(group):
                found[k] = scores[row, : frames[row]]
        return found

    def load(self) -> LineScorer:
        """Tower and head without any adapter, in evaluation mode. Raises ModelUnavailable for missing or altered weights."""
        return self._load()[0]

    def _load(self) -> tuple[LineScorer, Adapted | None]:
        with self._lock:
            if self._base is None:
                base = _read(self.folder)
                if self._adapter is not None:
                    self._learned = adapted(base, *self._adapter, self._strength)
                self._base = base
            return self._base, self._learned


def weights_sha256(folder: Path) -> str:
    """What the weights in `folder` are to be, as `provenance.json` says. Raises OSError, ValueError or KeyError."""
    return str(json.loads((folder / "provenance.json").read_text("utf-8"))["sha256"][WEIGHTS])


def _scores(base: LineScorer, learned: Adapted | None, pixels: Tensor, frames: Tensor) -> Tensor:
    """Probabilities (N, T, 1 + alphabet). What an adapter leaves as it is is run once."""
    if learned is None:
        plain: Tensor = base.head(base.tower(pixels, frames))
        return plain.softmax(-1)
    shared = max(0, learned.first_block)
    early = base.tower.early(pixels, frames, shared)
    before: Tensor = base.head(base.tower.late(early, frames, shared))
    if learned.first_block < 0:
        early = learned.scorer.tower.early(pixels, frames, shared)
    after = learned.scorer.head(learned.scorer.tower.late(early, frames, shared))
    # Averaged scores are averaged log-probabilities, but for what softmax takes off again.
    return before.lerp(after, LEARNED_SHARE).softmax(-1)


def _groups(widths: Sequence[int]) -> list[list[int]]:
    """Indices of strips that go through together: similar widths, `BATCH_PIXELS` columns at most."""
    groups: list[list[int]] = []
    for k in sorted(range(len(widths)), key=lambda i: widths[i]):
        columns = -(-widths[k] // FRAME_PIXELS) * FRAME_PIXELS
        if groups and (len(groups[-1]) + 1) * columns <= BATCH_PIXELS:
            groups[-1].append(k)
        else:
            groups.append([k])
    return groups


def _read(folder: Path) -> LineScorer:
    path = folder / WEIGHTS
    try:
        if hashlib.sha256(path.read_bytes()).hexdigest() != weights_sha256(folder):
            raise ValueError("the SHA-256 differs from provenance.json")
        state = {name: tensor.float() for name, tensor in load_file(path).items()}
        scorer = LineScorer(LineTower(), CharacterHead(len(ALPHABET)))
        scorer.load_state_dict(state)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as failure:
        raise ModelUnavailable(
            f"The weights of idefics2-nano in {folder} are missing or damaged.",
            "Restore the folder assets/nano, or choose the reader 'fast'.",
        ) from failure
    return scorer.eval()
