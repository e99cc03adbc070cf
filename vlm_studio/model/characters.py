"""What nano's character head can write, how a picture becomes its input, and how its scores become text.

Nothing here needs torch: the recipe, the processor and the engine share these few pure functions, so that training and
reading can never prepare a strip in two different ways.
"""

from __future__ import annotations

import math
import string
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

STRIP_HEIGHT = 48
FRAME_PIXELS = 8
MAX_WIDTH = 2400
"""Strip pixels; a longer strip is squeezed into this. About 150 written letters."""
MIN_WIDTH = 32

ALPHABET = (
    string.ascii_letters
    + string.digits
    + string.punctuation
    + " "
    + "ÀÂÄÇÉÈÊËÎÏÔÖÙÛÜŸÆŒàâäçéèêëîïôöùûüÿæœ"
    + "ÁÍÓÚÑÌÒÃÕÅØáíóúñìòãõåøß"
    + "«»€£°§²³½¼×±¡¿·•π"
)
"""Every character the head may write; its scores have one more column, the CTC blank, first."""
BLANK = 0

# Signs that a hand does not distinguish are one sign here, in labels and in output alike.
_FOLD = str.maketrans(
    {"’": "'", "‘": "'", "“": '"', "”": '"', "–": "-", "—": "-", "…": "...", "\u00a0": " ", "\u202f": " "}
)
_COLUMNS = {letter: column for column, letter in enumerate(ALPHABET, start=1)}


def fold(text: str) -> str:
    """NFC, one kind of quote, dash and space, and runs of spaces made one; other characters as they are."""
    return " ".join(unicodedata.normalize("NFC", text).translate(_FOLD).split())


def encode(text: str) -> list[int]:
    """Columns of the folded text; a character outside the alphabet is dropped, never mapped to another."""
    return [_COLUMNS[letter] for letter in fold(text) if letter in _COLUMNS]


def strip_width(width: int, height: int) -> int:
    """Columns of a prepared strip of an image of this size in pixels."""
    return min(max(math.ceil(STRIP_HEIGHT * width / height), MIN_WIDTH), MAX_WIDTH)


def prepare_strip(image: Image | np.ndarray, stretch: float = 1.0) -> np.ndarray:
    """Float32 (3, 48, W) in [-1, 1], three equal grey channels, `stretch` times as wide as the aspect says: the tower's input.

    `image` is a picture, or a uint8 array (H, W) or (H, W, 3) in RGB. The scaling is the one that the PP-OCR
    recogniser was trained with (48 px high, /127.5 - 1), except that strong reductions average instead of skipping
    pixels, and that colour is dropped: the lines that this tower learned from are grey.
    """
    pixels = np.asarray(image if isinstance(image, np.ndarray) else image.convert("L"))
    if pixels.ndim == 3:
        pixels = cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2GRAY)
    height, width = pixels.shape
    scaled = strip_width(round(width * stretch), height)
    method = cv2.INTER_AREA if height > 1.5 * STRIP_HEIGHT else cv2.INTER_LINEAR
    small = cv2.resize(pixels, (scaled, STRIP_HEIGHT), interpolation=method).astype(np.float32) / 127.5 - 1.0
    return np.ascontiguousarray(np.broadcast_to(small, (3, *small.shape)))


def pad_strips(strips: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (N, 3, 48, W) right-padded with 0 to one width, a multiple of 8, and frames (N,) that each strip really has."""
    frames = np.array([max(1, strip.shape[2] // FRAME_PIXELS) for strip in strips], dtype=np.int64)
    width = max(-(-strip.shape[2] // FRAME_PIXELS) for strip in strips) * FRAME_PIXELS
    pixels = np.zeros((len(strips), 3, STRIP_HEIGHT, width), dtype=np.float32)
    for row, strip in enumerate(strips):
        pixels[row, :, :, : strip.shape[2]] = strip
    return pixels, frames


@dataclass(frozen=True, slots=True)
class SpelledCharacter:
    """One character with where and how surely it was read."""

    character: str
    first_frame: int
    last_frame: int
    """Inclusive; a frame is `FRAME_PIXELS` px of the prepared strip."""
    probability: float
    """The head's own mean softmax over those frames, 0-1, not calibrated."""


def greedy(log_probs: np.ndarray) -> tuple[SpelledCharacter, ...]:
    """The best character of each frame with repeats joined and blanks dropped; `log_probs` (T, 1 + alphabet), natural."""
    best = log_probs.argmax(1)
    found: list[SpelledCharacter] = []
    start = 0
    for frame in range(1, len(best) + 1):
        if frame < len(best) and best[frame] == best[start]:
            continue
        column = int(best[start])
        if column != BLANK:
            sure = float(np.exp(log_probs[start:frame, column]).mean())
            found.append(SpelledCharacter(ALPHABET[column - 1], start, frame - 1, sure))
        start = frame
    return tuple(found)


def spell(log_probs: np.ndarray) -> str:
    """Greedy text of `log_probs` (T, 1 + alphabet)."""
    return "".join(c.character for c in greedy(log_probs)).strip()
