"""Nano's tower and character head as a recogniser: strips in, the probability of each character at each place out.

The same weights feed nano's connector; here they are read directly, which is what reading a page needs. Weights are
float16 safetensors beside `card.json` and `provenance.json`, whose SHA-256 must be theirs.
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

from vlm_studio.core.errors import ModelUnavailable
from vlm_studio.model.characters import ALPHABET, FRAME_PIXELS, pad_strips, prepare_strip
from vlm_studio.model.line_adapter import adapted
from vlm_studio.model.tower import CharacterHead, LineScorer, LineTower

if TYPE_CHECKING:
    from PIL.Image import Image

WEIGHTS = "tower.safetensors"
BATCH_PIXELS = 8 * 1200
"""Columns of one padded batch: enough work for two cores, little wasted on padding."""


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
        self._parts: tuple[LineTower, CharacterHead] | None = None

    def probabilities(self, pieces: Sequence[Image]) -> list[np.ndarray]:
        """(frames, 1 + alphabet) for each strip, in order. Raises ModelUnavailable."""
        tower, head = self.load()
        strips = [prepare_strip(piece) for piece in pieces]
        found: list[np.ndarray] = [np.empty(0)] * len(strips)
        for group in _groups([strip.shape[2] for strip in strips]):
            pixels, frames = pad_strips([strips[k] for k in group])
            with torch.inference_mode():
                scores = head(tower(torch.from_numpy(pixels), torch.from_numpy(frames))).softmax(-1).numpy()
            for row, k in enumerate(group):
                found[k] = scores[row, : frames[row]]
        return found

    def load(self) -> tuple[LineTower, CharacterHead]:
        """Tower and head in evaluation mode. Raises ModelUnavailable for missing or altered weights, AdapterRejected."""
        with self._lock:
            if self._parts is None:
                self._parts = _read(self.folder)
                if self._adapter is not None:
                    scorer = adapted(LineScorer(*self._parts), *self._adapter, self._strength)
                    self._parts = scorer.tower, scorer.head
        return self._parts


def weights_sha256(folder: Path) -> str:
    """What the weights in `folder` are to be, as `provenance.json` says. Raises OSError, ValueError or KeyError."""
    return str(json.loads((folder / "provenance.json").read_text("utf-8"))["sha256"][WEIGHTS])


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


def _read(folder: Path) -> tuple[LineTower, CharacterHead]:
    path = folder / WEIGHTS
    try:
        if hashlib.sha256(path.read_bytes()).hexdigest() != weights_sha256(folder):
            raise ValueError("the SHA-256 differs from provenance.json")
        state = {name: tensor.float() for name, tensor in load_file(path).items()}
        tower, head = LineTower(), CharacterHead(len(ALPHABET))
        tower.load_state_dict(
            {k.removeprefix("tower."): v for k, v in state.items() if k.startswith("tower.")}
        )
        head.load_state_dict({k.removeprefix("head."): v for k, v in state.items() if k.startswith("head.")})
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as failure:
        raise ModelUnavailable(
            f"The weights of idefics2-nano in {folder} are missing or damaged.",
            "Restore the folder assets/nano, or choose the reader 'fast'.",
        ) from failure
    return tower.eval(), head.eval()
