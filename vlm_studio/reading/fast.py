"""The reader `fast`: PP-OCRv6 small's recogniser on line strips, on any CPU.

The ONNX file lies in the wheel ``rapidocr``; it is run directly, because the probabilities of every
character are needed for confidences and alternatives, which the package's own interface drops.
"""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import onnxruntime

from vlm_studio.core.documents import STRETCHES
from vlm_studio.core.errors import ModelUnavailable
from vlm_studio.reading.calibration import FAST
from vlm_studio.reading.ctc_reader import CtcReader
from vlm_studio.reading.light import even_strip

if TYPE_CHECKING:
    from PIL.Image import Image

HEIGHT = 48
FRAME = 8

_ASCII = str.maketrans("，。：；？！（）【】“”‘’–—、～％＋－／", ",.:;?!()[]\"\"''--,~%+-/")
"""The recogniser learned mostly from Chinese print and writes its punctuation into Latin lines."""


class FastReader(CtcReader):
    """Reader port. Thread-safe; the session is made at first use."""

    def __init__(self) -> None:
        wider = STRETCHES[:1]
        super().__init__("fast", shared_recogniser(), plain_punctuation, stretches=wider, calibration=FAST)


class OnnxRecogniser:
    """The wheel's recogniser on one strip at a time: on a CPU a batch gains nothing over its padding."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._session: Any = None
        self._characters: list[str] = []

    @property
    def characters(self) -> Sequence[str]:
        with self._lock:
            self._load()
        return self._characters

    def probabilities(self, pieces: Sequence[Image]) -> list[np.ndarray]:
        """(frames, classes) for each strip. Raises ModelUnavailable."""
        with self._lock:
            self._load()
            return [np.asarray(self._session.run(None, {"x": _pixels(piece)})[0][0]) for piece in pieces]

    def _load(self) -> None:
        if self._session is not None:
            return
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


def _pixels(piece: Image) -> np.ndarray:
    """(1, 3, 48, W) in -1..1, BGR, W a whole number of frames."""
    # Measured on real lines: under one light it makes 3 to 8 % fewer errors, most of all in shadow and pencil.
    bgr = np.asarray(even_strip(piece.convert("RGB")))[:, :, ::-1]
    width = max(16, math.ceil(HEIGHT * piece.width / piece.height))
    method = cv2.INTER_AREA if piece.height > 1.5 * HEIGHT else cv2.INTER_LINEAR
    scaled = cv2.resize(np.ascontiguousarray(bgr), (width, HEIGHT), interpolation=method)
    pixels = scaled.astype(np.float32).transpose(2, 0, 1)[None] / 127.5 - 1.0
    # What fills the last frame is zero, as it was in the network's training.
    return np.pad(pixels, ((0, 0), (0, 0), (0, 0), (0, -width % FRAME)))


@functools.cache
def shared_recogniser() -> OnnxRecogniser:
    """The one of this process: its session takes a moment to make and 60 MB."""
    return OnnxRecogniser()


def plain_punctuation(word: str) -> str:
    """Full-width punctuation as ASCII, except in a word of Chinese characters."""
    if any("\u4e00" <= c <= "\u9fff" for c in word):
        return word
    return word.translate(_ASCII)
