"""Lines of writing drawn with handwriting fonts, each with the text it says. Deterministic by seed."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vlm_studio.model import distort

Rng = np.random.Generator


@dataclass(frozen=True, slots=True)
class DrawnLine:
    """A strip and what it says."""

    pixels: np.ndarray
    """uint8 (H, W, 3), RGB."""
    text: str


def list_fonts(folder: Path, held_out: bool) -> list[Path]:
    """The fonts of `folder` to train on, or the every seventh that validation keeps for itself; stable by name.

    All weights of a family fall on the same side.
    """
    files = sorted(folder.glob("*.woff"))
    families = sorted({file.stem.rstrip("-0123456789") for file in files})
    kept = set(families[3::7])
    return [file for file in files if (file.stem.rstrip("-0123456789") in kept) == held_out]


@lru_cache(maxsize=400)
def _font(path: Path, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(path), size)


@lru_cache(maxsize=4000)
def _draws(path: Path, character: str) -> bool:
    """Whether the font has its own picture for `character`: a missing one is drawn like U+FFFE."""
    font = _font(path, 40)
    return character == " " or bytes(font.getmask(character)) != bytes(font.getmask("\ufffe"))


def can_write(path: Path, text: str) -> bool:
    """Whether every character of `text` has a glyph of its own, lower case distinct from upper."""
    return all(_draws(path, c) for c in set(text)) and bytes(_font(path, 40).getmask("a")) != bytes(
        _font(path, 40).getmask("A")
    )


def draw_ink(text: str, font_file: Path, rng: Rng) -> np.ndarray:
    """Ink (H, W), float32, 1 where the pen was: words set one by one with their own size, height and gap."""
    size = int(rng.integers(38, 58))
    spread = rng.uniform(0.6, 1.7)
    loose = rng.random() < 0.35  # a hand that does not join its letters: each glyph on its own
    canvas = Image.new("L", (int(len(text) * size * 1.3) + 6 * size, 4 * size), 0)
    draw = ImageDraw.Draw(canvas)
    x = float(size)
    for word in text.split(" "):
        word_size = max(20, int(size * float(np.exp(rng.normal(0, 0.035)))))
        base = 2.4 * size + rng.normal(0, 0.02) * size
        for piece in word if loose else [word]:
            glyph_size = max(20, int(word_size * float(np.exp(rng.normal(0, 0.05))))) if loose else word_size
            font = _font(font_file, glyph_size)
            y = base + (rng.normal(0, 0.03) * size if loose else 0)
            draw.text((x, y), piece, font=font, fill=255, anchor="ls")
            x += font.getlength(piece) * (1 + (rng.normal(0, 0.03) if loose else 0))
        x += _font(font_file, word_size).getlength(" ") * spread * rng.uniform(0.8, 1.4) + 0.04 * size
        if x > canvas.width - 2 * size:
            break
    ink = np.asarray(canvas, dtype=np.float32) / 255
    rows, columns = np.flatnonzero(ink.max(1) > 0.2), np.flatnonzero(ink.max(0) > 0.2)
    if not len(rows):
        return ink[:size, :size]
    return ink[max(0, rows[0] - 2) : rows[-1] + 3, max(0, columns[0] - 2) : columns[-1] + 3]


def draw_line(text: str, font_file: Path, seed: int, neighbour: str = "and so it goes on") -> DrawnLine:
    """One line as it might be cut out of a photographed note; `neighbour` may show at its edges."""
    rng = np.random.default_rng(seed)
    ink = draw_ink(text, font_file, rng)
    height = max(24, ink.shape[0])
    margin = int(0.7 * height)
    ink = np.pad(ink, ((margin, margin), (margin, margin)))
    other = np.zeros_like(ink)
    if rng.random() < 0.3:
        _add_neighbour(other, neighbour, font_file, height, rng)
    # Both lie on one sheet, so both bend alike: the neighbour rides in the fractional part of a second pass.
    state = rng.bit_generator.state
    bent = distort.bend(ink, rng, 0.0)
    rng.bit_generator.state = state
    around = distort.bend(other, rng, 0.0)
    bent = distort.thicken(bent, rng)
    around = distort.thicken(around, rng) if other.any() else around
    if rng.random() < 0.07:
        _underline(around, bent, rng)
    paper = _sheet(bent.shape, rng)
    shade = rng.uniform(0.45, 1.0)
    pressure = 1.0
    if rng.random() < 0.3:  # a pencil's grain
        grain = cv2.resize(
            rng.normal(0, 1, (bent.shape[0] // 3 + 1, bent.shape[1] // 3 + 1)).astype(np.float32),
            bent.shape[::-1],
        )
        pressure = np.clip(0.85 + 0.25 * grain, 0.2, 1.0)
    picture = paper * (1 - shade * np.clip(np.maximum(bent * pressure, around), 0, 1))
    picture = distort.light(picture, rng) if rng.random() < 0.6 else picture
    cut = distort.crop_to_ink(picture.astype(np.float32), bent, rng)
    return DrawnLine(distort.photograph(cut, rng), text)


def _add_neighbour(canvas: np.ndarray, text: str, font_file: Path, pitch: int, rng: Rng) -> None:
    """Write `text` one line above or below the middle of `canvas`, in place, cut off where it leaves it."""
    ink = draw_ink(text, font_file, rng)
    middle = canvas.shape[0] // 2 + int(pitch * rng.uniform(0.95, 1.2)) * (1 if rng.random() < 0.5 else -1)
    top, left = middle - ink.shape[0] // 2, int(rng.uniform(0, max(1, canvas.shape[1] // 2)))
    first, last = max(0, top), min(canvas.shape[0], top + ink.shape[0])
    width = min(ink.shape[1], canvas.shape[1] - left)
    if last > first and width > 0:
        canvas[first:last, left : left + width] = ink[first - top : last - top, :width]


def _underline(canvas: np.ndarray, ink: np.ndarray, rng: Rng) -> None:
    """A pen stroke under part of the line, in place."""
    rows, columns = np.flatnonzero(ink.max(1) > 0.3), np.flatnonzero(ink.max(0) > 0.3)
    if len(rows) and len(columns):
        y = int(rows[-1] - rng.uniform(0, 0.15) * len(rows))
        x0, x1 = sorted(int(v) for v in rng.uniform(columns[0], columns[-1], 2))
        cv2.line(canvas, (x0, y), (x1, y + int(rng.normal(0, 2))), 1.0, int(rng.integers(1, 3)), cv2.LINE_AA)


def _sheet(shape: tuple[int, int], rng: Rng) -> np.ndarray:
    """Paper (H, W) in [0, 1]: its own brightness, grain, sometimes ruled."""
    paper = np.full(shape, rng.uniform(0.72, 1.0), np.float32)
    grain = rng.normal(0, rng.uniform(0.0, 0.03), (shape[0] // 4 + 1, shape[1] // 4 + 1)).astype(np.float32)
    paper += cv2.resize(grain, shape[::-1])
    return distort.rule(paper, rng) if rng.random() < 0.35 else paper


def choose(fonts: list[Path], text: str, rng: random.Random) -> Path | None:
    """A random font of `fonts` that can write `text`, or None after a few tries."""
    for _ in range(8):
        font = rng.choice(fonts)
        if can_write(font, text):
            return font
    return None
