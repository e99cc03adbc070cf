"""Whole pages put together from cut lines of real handwriting, with the true text and place of each line.

Lines of one copy are laid on a sheet as they follow each other, in the layouts that people photograph: one column,
two columns, a list, close rows, a skewed sheet, a shadow. Used by transcribe.py; draws nothing by itself.
"""

from __future__ import annotations

import csv
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

LAYOUTS = ("plain", "close", "skewed", "shadow", "two columns", "list")
SHEET = (1240, 1754)
"""Pixels: A4 at 150 dpi."""


@dataclass(frozen=True, slots=True)
class TrueLine:
    """A line as it was cut, and what stands in it."""

    strip: Path
    text: str
    copy: str


@dataclass(frozen=True, slots=True)
class MadePage:
    layout: str
    image: Image.Image
    lines: tuple[TrueLine, ...]
    """In reading order."""
    quads: tuple[np.ndarray, ...]
    """(4, 2) page pixels of each line, clockwise from its top left."""

    @property
    def text(self) -> str:
        return "\n".join(line.text for line in self.lines)


def load_lines(folder: Path) -> list[TrueLine]:
    """Strips with their texts: `labels.tsv` (file, text, copy; tab-separated, no quoting) and the images beside it."""
    with (folder / "labels.tsv").open(encoding="utf-8", newline="") as table:
        rows = list(csv.reader(table, delimiter="\t", quoting=csv.QUOTE_NONE))[1:]
    return [TrueLine(folder / file, text, copy) for file, text, copy in rows if (folder / file).exists()]


def make_pages(lines: Sequence[TrueLine], each: int, seed: int = 0) -> Iterator[MadePage]:
    """`each` pages of every layout, one writer a page (two in two columns)."""
    rng = random.Random(seed)
    copies: dict[str, list[TrueLine]] = {}
    for line in lines:
        copies.setdefault(line.copy, []).append(line)
    full = sorted(copy for copy, members in copies.items() if len(members) >= 8)
    for layout in LAYOUTS:
        for _ in range(each):
            yield _make(layout, copies[rng.choice(full)], copies[rng.choice(full)], rng)


def _make(layout: str, lines: Sequence[TrueLine], others: Sequence[TrueLine], rng: random.Random) -> MadePage:
    ink = np.ones((SHEET[1], SHEET[0]), np.float32)
    left = rng.randint(90, 150)
    placed: list[tuple[TrueLine, np.ndarray]] = []
    if layout == "two columns":
        top = rng.randint(120, 200)
        placed += _column(ink, lines[:14], (90, top), 510, 74, rng)
        placed += _column(ink, others[:14], (660, top + rng.randint(-20, 20)), 510, 74, rng)
    elif layout == "list":
        placed += _column(ink, lines[:12], (left + 60, 160), 900, 100, rng)
        for _, quad in placed[::2]:
            y = int(quad[:, 1].mean())
            cv2.line(ink, (left, y), (left + 22, y + 2), 0.25, 4, cv2.LINE_AA)
    else:
        pitch = 62 if layout == "close" else rng.randint(84, 110)
        placed += _column(ink, lines[:16], (left, 150), 1020, pitch, rng)
    paper = np.full((SHEET[1], SHEET[0], 3), (247, 244, 236), np.float32)
    sheet = paper * ink[..., None] + (1 - ink[..., None]) * np.array((45, 48, 80), np.float32) * 0.4
    quads = [quad for _, quad in placed]
    if layout == "skewed":
        sheet, quads = _turned(sheet, quads, rng.choice((-1, 1)) * rng.uniform(2.0, 6.0))
    if layout == "shadow":
        light = np.linspace(rng.uniform(0.35, 0.5), 1.0, SHEET[0])[None, :, None]
        edge = (np.arange(SHEET[1])[:, None] * 0.4 + np.arange(SHEET[0])[None, :] < 700)[..., None]
        sheet = sheet * light * np.where(edge, 0.75, 1.0)
    noise = np.random.default_rng(rng.getrandbits(32)).normal(0, 1.5, sheet.shape)
    image = Image.fromarray(np.clip(sheet + noise, 0, 255).astype(np.uint8))
    return MadePage(layout, image, tuple(line for line, _ in placed), tuple(quads))


def _column(
    ink: np.ndarray,
    lines: Sequence[TrueLine],
    start: tuple[int, int],
    widest: int,
    pitch: int,
    rng: random.Random,
) -> list[tuple[TrueLine, np.ndarray]]:
    """Lines under each other, all at one scale, the widest as wide as the column; ink is multiplied in."""
    strips = [np.asarray(Image.open(line.strip).convert("L"), np.float32) for line in lines]
    scale = min(1.15, widest / max(strip.shape[1] for strip in strips))
    pitch = round(pitch * min(1.0, max(scale, 0.62)))
    placed = []
    for number, (line, strip) in enumerate(zip(lines, strips, strict=True)):
        # What is lighter than most of the strip is paper.
        share = np.clip(strip / np.percentile(strip, 60), 0, 1)
        small = cv2.resize(share, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        x, y = start[0] + rng.randint(-8, 8), start[1] + number * pitch + rng.randint(-3, 3)
        if y + small.shape[0] >= ink.shape[0] - 20:
            break
        small = small[:, : ink.shape[1] - x - 4]
        height, width = small.shape
        place = ink[y : y + height, x : x + width]
        np.minimum(place, small, out=place)
        quad = np.array([(x, y), (x + width, y), (x + width, y + height), (x, y + height)], np.float64)
        placed.append((line, quad))
    return placed


def _turned(
    sheet: np.ndarray, quads: list[np.ndarray], degrees: float
) -> tuple[np.ndarray, list[np.ndarray]]:
    """The sheet turned on a dark table, and where its lines are then."""
    height, width = sheet.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 0.93)
    turned = cv2.warpAffine(sheet, matrix, (width, height), flags=cv2.INTER_LINEAR, borderValue=(92, 74, 60))
    return turned, [quad @ matrix[:, :2].T + matrix[:, 2] for quad in quads]
