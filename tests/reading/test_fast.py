"""The reader `fast` with its real weights, on drawn lines and on handwriting."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from PIL import Image

from tests.reading.pages import line_strip, shadowed
from tests.reading.test_guards import paper
from vlm_studio.core.cancel import CancelToken
from vlm_studio.core.documents import LineReading
from vlm_studio.reading.fast import FastReader
from vlm_studio.tasks.scoring import total

LINES = Path(__file__).resolve().parents[1] / "data" / "lines"
TEXTS = ("the quick brown fox", "jumps over 13 lazy dogs", "a")


def read(reader: FastReader, *strips: Image.Image) -> list[LineReading]:
    return list(reader.read(strips, CancelToken()))


def test_a_batch_reads_as_its_strips_do_alone(fast: FastReader) -> None:
    strips = [line_strip(text) for text in TEXTS] + [paper("noise", (500, 40)), line_strip("last one", 20)]
    together = read(fast, *strips)
    for strip, reading in zip(strips, together, strict=True):
        (alone,) = read(fast, strip)
        assert alone.text == reading.text
        assert alone.confidence == pytest.approx(reading.confidence, abs=1e-3)
        assert [w.box for w in alone.words] == [w.box for w in reading.words]
    assert [r.text for r in together] == [*TEXTS, "", "last one"]


@pytest.mark.parametrize(
    "change", [shadowed, lambda s: s.convert("L"), lambda s: s.resize((s.width * 3, s.height * 3))]
)
def test_shade_colour_and_size_do_not_matter(fast: FastReader, change) -> None:  # type: ignore[no-untyped-def]
    assert read(fast, change(line_strip(TEXTS[0])))[0].text == TEXTS[0]


def test_words_lie_in_order_on_their_ink(fast: FastReader) -> None:
    strip = line_strip("jumps over lazy dogs")
    (reading,) = read(fast, strip)
    boxes = [word.box for word in reading.words]
    assert [word.text for word in reading.words] == ["jumps", "over", "lazy", "dogs"]
    assert all(0 <= b.left < b.right <= strip.width and (b.top, b.bottom) == (0, strip.height) for b in boxes)
    assert all(a.right <= b.left for a, b in pairwise(boxes))
    for number, box in enumerate(boxes):
        before = line_strip(" ".join(["jumps", "over", "lazy", "dogs"][: number + 1])).width - 16
        assert box.right == pytest.approx(8 + before, abs=14)


@pytest.mark.parametrize("kind", ["noise", "shadow", "ruled"])
def test_nothing_is_invented_on_blank_strips(fast: FastReader, kind: str) -> None:
    assert read(fast, paper(kind, (600, 50)))[0] == LineReading("", 1.0, (), "fast")


def test_a_line_too_long_for_one_piece_loses_no_word(fast: FastReader) -> None:
    text = " ".join(["seven wise owls watch from quiet trees near the river"] * 3)
    strip = line_strip(text, 18)
    assert strip.width / strip.height > 40
    (reading,) = read(fast, strip)
    assert total([(reading.text, text)]).cer < 0.03 and len(reading.words) == 30
    lefts = [word.box.left for word in reading.words]
    assert lefts == sorted(lefts)


def test_real_handwriting(fast: FastReader) -> None:
    rows = [row.split("\t") for row in (LINES / "labels.tsv").read_text("utf-8").splitlines()]
    readings = read(fast, *(Image.open(LINES / name) for name, *_ in rows))
    assert total([(r.text, row[1]) for r, row in zip(readings, rows, strict=True)]).cer < 0.3
