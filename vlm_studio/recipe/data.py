"""The training and validation sets: real lines of Copiste d'un jour and lines drawn with fonts."""

from __future__ import annotations

import io
import itertools
import random
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from vlm_studio.model import distort
from vlm_studio.model.characters import encode, fold, prepare_strip
from vlm_studio.recipe.synth import choose, draw_line, list_fonts
from vlm_studio.recipe.texts import Texts


@dataclass(frozen=True, slots=True)
class RealLine:
    """A real handwritten line: its file name, its folded label and its grey pixels, uint8 (H, W)."""

    name: str
    text: str
    pixels: np.ndarray


@dataclass(frozen=True, slots=True)
class Sample:
    """What a stage trains on: a prepared strip (3, 48, W) and its folded text."""

    strip: np.ndarray
    text: str


def validation_texts(text_numbers: Iterable[str]) -> frozenset[str]:
    """Every tenth of Copiste's text numbers, in order: what no training sees."""
    return frozenset(sorted(set(text_numbers))[::10])


def load_copiste(folder: Path | None, validation: bool) -> list[RealLine]:
    """Lines of one side of the split by text number; empty where `folder` is None (`--no-copiste`)."""
    if folder is None:
        return []
    rows = [row.split("\t") for row in (folder / "labels.tsv").read_text("utf-8").splitlines()[1:]]
    kept = validation_texts(row[0].split("_")[0] for row in rows)
    found = []
    with zipfile.ZipFile(folder / "lines.zip") as archive:
        for name, text, _page in rows:
            if (name.split("_")[0] in kept) == validation:
                pixels = np.asarray(Image.open(io.BytesIO(archive.read(name))).convert("L"))
                found.append(RealLine(name, fold(text), pixels))
    return found


class Mixture:
    """An endless stream of samples: `real_share` real lines, the rest drawn, three fifths of those English."""

    def __init__(
        self, texts: Texts, fonts: list[Path], real: list[RealLine], real_share: float, seed: int
    ) -> None:
        self.texts, self.fonts, self.real, self.seed = texts, fonts, real, seed
        self.real_share = real_share if real else 0.0

    def sample(self, rng: random.Random) -> Sample | None:
        """One sample, or None where the dice gave nothing that can be drawn and read."""
        if rng.random() < self.real_share:
            line = rng.choice(self.real)
            return self._checked(distort.vary(line.pixels, rng.getrandbits(32)), line.text)
        language = "en" if rng.random() < 0.65 else "fr"
        if language == "fr" and self.real and rng.random() < 0.3:
            text = rng.choice(self.real).text  # the same words in another hand
        else:
            text = fold(self.texts.line(language, rng))
        font = choose(self.fonts, text, rng) if text else None
        if font is None:
            return None
        drawn = draw_line(text, font, rng.getrandbits(32), fold(self.texts.line(language, rng)) or "and")
        return self._checked(drawn.pixels, text)

    @staticmethod
    def _checked(pixels: np.ndarray, text: str) -> Sample | None:
        """A sample that CTC can learn: 12 px a character and 1,000 px at most, nothing outside the alphabet."""
        strip = prepare_strip(pixels)
        codes = encode(text)
        repeats = sum(a == b for a, b in itertools.pairwise(codes))
        if (
            len(codes) != len(text)
            or not codes
            or strip.shape[2] > 1000
            or strip.shape[2] // 8 < len(codes) + repeats + 1
        ):
            return None
        return Sample(strip, text)

    def batches(self, size: int, worker: int = 0) -> Iterator[list[Sample]]:
        """Batches of strips of similar width, for ever; workers with different numbers give different ones."""
        rng = random.Random(f"{self.seed}-{worker}")
        while True:
            pool: list[Sample] = []
            while len(pool) < size * 8:
                sample = self.sample(rng)
                if sample is not None:
                    pool.append(sample)
            pool.sort(key=lambda s: s.strip.shape[2])
            order = list(range(8))
            rng.shuffle(order)
            for k in order:
                yield pool[k * size : (k + 1) * size]


def drawn_validation(texts: Texts, folder: Path, language: str, count: int, seed: int) -> list[Sample]:
    """`count` lines in fonts that training never sees."""
    mixture = Mixture(texts, list_fonts(folder, held_out=True), [], 0.0, seed)
    rng = random.Random(f"{seed}-{language}")
    found: list[Sample] = []
    while len(found) < count:
        text = fold(texts.line(language, rng))
        font = choose(mixture.fonts, text, rng) if text else None
        if font is None:
            continue
        sample = Mixture._checked(draw_line(text, font, rng.getrandbits(32)).pixels, text)
        if sample is not None:
            found.append(sample)
    return found


def contact_sheet(samples: list[Sample], columns: int = 2) -> np.ndarray:
    """Samples as one RGB picture, for a person to look at."""
    rows = []
    for sample in samples:
        row = np.full((52, 1000, 3), 255, np.uint8)
        image = ((sample.strip.transpose(1, 2, 0)[:, :, ::-1] + 1) * 127.5).astype(np.uint8)
        row[2:50, : image.shape[1]] = image[:, :1000]
        rows.append(row)
    split = -(-len(rows) // columns)
    rows += [np.full((52, 1000, 3), 255, np.uint8)] * (split * columns - len(rows))
    return cv2.hconcat([cv2.vconcat(rows[c * split : (c + 1) * split]) for c in range(columns)])
