"""The reader `fast`: PP-OCRv6 small's recogniser on line strips, any CPU, about fifty lines a second.

The ONNX file lies in the wheel ``rapidocr``; it is run directly, because the probabilities of every
character are needed for confidences and alternatives, which the package's own interface drops.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import onnxruntime

from vlm_studio.core.cancel import CancelToken
from vlm_studio.core.documents import LineReading
from vlm_studio.core.errors import ModelUnavailable
from vlm_studio.reading.guards import has_ink, repeats
from vlm_studio.reading.spelling import Spelled, spell, words_of
from vlm_studio.reading.strips import split_at_gaps

if TYPE_CHECKING:
    from PIL.Image import Image

HEIGHT = 48
FRAME = 8
MAX_RATIO = 40.0
"""Width over height up to which a strip is read in one piece; longer ones are cut at word gaps."""
BATCH = 8

_ASCII = str.maketrans("，。：；？！（）【】“”‘’–—、～％＋－／", ",.:;?!()[]\"\"''--,~%+-/")
"""The recogniser learned mostly from Chinese print and writes its punctuation into Latin lines."""


class FastReader:
    """Reader port. Thread-safe; the session is made at first use."""

    name = "fast"

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._session: Any = None
        self._characters: list[str] = []

    def read(self, strips: Sequence[Image], cancel: CancelToken) -> Iterator[LineReading]:
        """One reading a strip, in order. Raises ModelUnavailable or Cancelled."""
        for start in range(0, len(strips), BATCH):
            cancel.raise_if_cancelled()
            yield from self._batch(strips[start : start + BATCH])

    def _batch(self, strips: Sequence[Image]) -> list[LineReading]:
        pieces = [
            (number, offset, piece)
            for number, strip in enumerate(strips)
            if has_ink(strip)
            for offset, piece in split_at_gaps(strip, MAX_RATIO)
        ]
        found: list[list[tuple[int, Spelled, float]]] = [[] for _ in strips]
        by_width = sorted(pieces, key=lambda item: item[2].width / item[2].height)
        for number, offset, piece in by_width:
            scale = piece.height / HEIGHT
            found[number].append((offset, spell(self._probabilities(piece), self._characters), scale))
        return [self._reading(parts, strip) for parts, strip in zip(found, strips, strict=True)]

    def _reading(self, parts: list[tuple[int, Spelled, float]], strip: Image) -> LineReading:
        words = tuple(
            word
            for offset, spelled, scale in sorted(parts, key=lambda part: part[0])
            for word in words_of(spelled, offset, scale * FRAME, strip.height, _clean)
        )
        if not words:
            return LineReading("", 1.0, (), self.name)
        text = " ".join(word.text for word in words)
        warnings = ("The same piece is repeated; look at the strip.",) if repeats(text) else ()
        confidence = math.exp(sum(math.log(max(w.confidence, 1e-6)) for w in words) / len(words))
        return LineReading(text, confidence, words, self.name, warnings)

    def _probabilities(self, piece: Image) -> np.ndarray:
        """(frames, classes) of one strip."""
        bgr = np.asarray(piece.convert("RGB"))[:, :, ::-1]
        width = max(16, math.ceil(HEIGHT * piece.width / piece.height))
        method = cv2.INTER_AREA if piece.height > 1.5 * HEIGHT else cv2.INTER_LINEAR
        scaled = cv2.resize(np.ascontiguousarray(bgr), (width, HEIGHT), interpolation=method)
        pixels = scaled.astype(np.float32).transpose(2, 0, 1)[None] / 127.5 - 1.0
        # The network wants whole frames; what fills the last one is zero, as it was in its training.
        pixels = np.pad(pixels, ((0, 0), (0, 0), (0, 0), (0, -width % FRAME)))
        with self._lock:
            if self._session is None:
                self._load()
            return np.asarray(self._session.run(None, {"x": pixels})[0][0])

    def _load(self) -> None:
        spec = find_spec("rapidocr")
        path = (
            Path(spec.origin).parent / "models" / "PP-OCRv6_rec_small.onnx" if spec and spec.origin else None
        )
        if path is None or not path.exists():
            raise ModelUnavailable(
                "The reader 'fast' is not installed completely.", "Run: python run.py install"
            )
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        listed = self._session.get_modelmeta().custom_metadata_map["character"].split("\n")
        self._characters = ["", *listed, " "]


def _clean(word: str) -> str:
    if any("\u4e00" <= c <= "\u9fff" for c in word):
        return word
    return word.translate(_ASCII)
