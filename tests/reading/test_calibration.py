"""Confidences are put right without a word being read otherwise."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vlm_studio.core.cancel import CancelToken
from vlm_studio.core.documents import STRETCHES, Alternative, Box, LineReading, WordReading
from vlm_studio.model.line_recogniser import LineRecogniser
from vlm_studio.reading.calibration import AS_FOUND, FAST, NANO, Calibration
from vlm_studio.reading.ctc_reader import CtcReader, careful
from vlm_studio.reading.lexicon import WordList

ROOT = Path(__file__).resolve().parents[2]
WORDS = ROOT / "assets" / "words" / "words.tsv.gz"
BOX = Box(0, 0, 9, 9)


@pytest.mark.parametrize("curve", [AS_FOUND, NANO, FAST])
def test_surer_stays_surer_and_everything_stays_between_none_and_all(curve: Calibration) -> None:
    found = [curve.confidence(share) for share in np.linspace(0, 1, 101)]
    assert all(a < b or a == b in (found[0], found[-1]) for a, b in itertools.pairwise(found))
    assert 0 < found[0] and found[-1] < 1


def test_as_found_changes_nothing_and_the_shipped_ones_claim_less() -> None:
    for share in (0.1, 0.5, 0.8, 0.97):
        assert AS_FOUND.confidence(share) == pytest.approx(share)
        assert FAST.confidence(share) < NANO.confidence(share) < share


def test_other_readings_keep_their_proportion_to_the_first() -> None:
    word = WordReading("clear", 0.6, BOX, (Alternative("dear", 0.3), Alternative("deer", 0.05)))
    put_right = NANO.word(word)
    assert [a.text for a in put_right.alternatives] == ["dear", "deer"]
    for before, after in zip(word.alternatives, put_right.alternatives, strict=True):
        assert after.probability / put_right.confidence == pytest.approx(before.probability / word.confidence)


def test_a_line_is_as_sure_as_its_words_and_an_empty_one_stays() -> None:
    words = (WordReading("a", 0.9, BOX), WordReading("line", 0.5, BOX))
    line = NANO.line(LineReading("a line", 0.67, words, "nano", ("faint",)))
    assert line.confidence == pytest.approx((line.words[0].confidence * line.words[1].confidence) ** 0.5)
    assert line.text == "a line" and line.warnings == ("faint",)
    nothing = LineReading("", 1.0, (), "nano")
    assert NANO.line(nothing) is nothing


def test_the_careful_reader_reads_the_same_with_and_without_and_says_it_less_surely() -> None:
    strips = [
        Image.open(file).convert("RGB") for file in sorted((ROOT / "tests/data/lines").glob("*.jpg"))[:4]
    ]
    nano = LineRecogniser(ROOT / "assets" / "nano")
    plain = CtcReader("nano", nano, words=WordList(WORDS), stretches=STRETCHES)
    for found, put_right in zip(
        plain.read(strips, CancelToken()),
        careful("nano", nano, WORDS).read(strips, CancelToken()),
        strict=True,
    ):
        assert put_right.text == found.text
        assert [w.box for w in put_right.words] == [w.box for w in found.words]
        for before, after in zip(found.words, put_right.words, strict=True):
            assert after.confidence == pytest.approx(NANO.confidence(before.confidence))
