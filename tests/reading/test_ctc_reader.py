"""From the scores of a recogniser to readings, with a recogniser that says what it is told."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from tests.reading.pages import line_strip
from vlm_studio.core.cancel import CancelToken
from vlm_studio.core.documents import Box, WordReading
from vlm_studio.core.errors import Cancelled
from vlm_studio.reading.ctc_reader import BATCH, CtcReader
from vlm_studio.reading.lexicon import WordList
from vlm_studio.reading.spelling import apart, spell

LETTERS = ["", *"abcdefghijklmnopqrstuvwxyz.，", " "]


def scores(text: str, sure: float = 0.99, frames_each: int = 2) -> np.ndarray:
    """Frames that spell `text`, each letter `frames_each` long, blanks between; the second best is "x"."""
    rows = []
    for letter in text:
        for _ in range(frames_each):
            row = np.full(len(LETTERS), 1e-6)
            row[LETTERS.index("x")] = 1 - sure
            row[LETTERS.index(letter)] = sure
            rows.append(row)
        rows.append(np.eye(len(LETTERS))[0])
    return np.array(rows)


class Told:
    """A recogniser that gives its texts in turn, whatever it sees, and notes how many pieces and how wide."""

    def __init__(self, *texts: str, sure: float = 0.99) -> None:
        self.texts, self.sure = list(texts), sure
        self.seen: list[int] = []
        self.widths: list[int] = []

    @property
    def characters(self) -> Sequence[str]:
        return LETTERS

    def probabilities(self, pieces: Sequence[Image.Image]) -> list[np.ndarray]:
        self.seen.append(len(pieces))
        self.widths += [piece.width for piece in pieces]
        return [scores(self.texts.pop(0), self.sure) for _ in pieces]


def read(recogniser: Told, *strips: Image.Image, clean=str):  # type: ignore[no-untyped-def]
    return list(CtcReader("told", recogniser, clean).read(strips, CancelToken()))


def test_repeats_join_and_blanks_part_double_letters() -> None:
    assert "".join(letter.text for letter in spell(scores("aabba", frames_each=3), LETTERS)) == "aabba"


def test_words_carry_confidence_and_alternatives() -> None:
    (sure,) = read(Told("one two"), line_strip("one two"))
    assert sure.text == "one two" and sure.reader == "told" and sure.confidence > 0.95
    assert not any(word.doubtful or word.alternatives for word in sure.words)
    (unsure,) = read(Told("cat", sure=0.6), line_strip("cat"))
    (word,) = unsure.words
    assert word.doubtful and unsure.confidence == pytest.approx(word.confidence)
    assert {other.text for other in word.alternatives} == {"xat", "cxt", "cax"}
    assert all(0 < other.probability < 0.5 for other in word.alternatives)


def test_blank_strips_are_not_even_shown_to_the_recogniser() -> None:
    told = Told("real")
    blank = Image.new("RGB", (400, 40), "white")
    readings = read(told, blank, line_strip("real"), blank)
    assert [r.text for r in readings] == ["", "real", ""]
    assert told.seen == [1] and readings[0].words == () and readings[0].reader == "told"


def test_a_loop_is_said() -> None:
    (looping,) = read(Told("so on so on so on so on so on"), line_strip("so on"))
    assert looping.warnings and looping.text
    assert read(Told("so on"), line_strip("so on"))[0].warnings == ()


def test_batches_keep_the_order_and_stop_between_them() -> None:
    texts = [chr(97 + n) for n in range(BATCH + 3)]
    told, cancel, got = Told(*texts), CancelToken(), []
    readings = CtcReader("told", told).read([line_strip("word")] * len(texts), cancel)
    for reading in readings:
        got.append(reading.text)
        if len(got) == BATCH:
            cancel.cancel()
            break
    assert got == texts[:BATCH] and told.seen == [BATCH]
    with pytest.raises(Cancelled):
        next(readings)


def test_a_long_line_is_read_in_pieces_and_its_words_lie_where_they_were() -> None:
    strip = Image.new("RGB", (1300, 20), "white")
    for x in range(10, 1280, 60):
        ImageDraw.Draw(strip).rectangle((x, 5, x + 40, 15), fill="black")
    told = Told("left", "right")
    (reading,) = read(told, strip)
    assert reading.text == "left right" and told.seen == [2]
    left, right = reading.words
    assert 450 < right.box.left < 1000 and left.box.right < right.box.left


class ByWidth:
    """A recogniser that reads each width of a piece in its own way: (text, how sure)."""

    def __init__(self, **said: tuple[str, float]) -> None:
        self.said = {int(width.removeprefix("w")): how for width, how in said.items()}
        self.seen: list[int] = []

    @property
    def characters(self) -> Sequence[str]:
        return LETTERS

    def probabilities(self, pieces: Sequence[Image.Image]) -> list[np.ndarray]:
        self.seen += [piece.width for piece in pieces]
        return [scores(*self.said[piece.width]) for piece in pieces]


def test_a_doubtful_line_is_read_at_other_widths_and_the_surest_reading_counts() -> None:
    strip = line_strip("cat").resize((100, 30))
    for said, wanted, widths in (
        ({"w120": ("cat", 0.99), "w100": ("cut", 1.0), "w145": ("cot", 1.0)}, "cat", [120]),
        ({"w120": ("cat", 0.5), "w100": ("cut", 0.9), "w145": ("cot", 0.8)}, "cut", [120, 100]),
        ({"w120": ("cat", 0.6), "w100": ("cut", 0.5), "w145": ("cot", 0.7)}, "cot", [120, 100, 145]),
        ({"w120": ("cat", 0.6), "w100": (" ", 1.0), "w145": (" ", 1.0)}, "cat", [120, 100, 145]),
        ({"w120": (" ", 1.0), "w100": ("cut", 0.6), "w145": (" ", 1.0)}, "cut", [120, 100, 145]),
    ):
        recogniser = ByWidth(**said)
        (reading,) = CtcReader("wide", recogniser, stretches=(1.2, 1.0, 1.45)).read([strip], CancelToken())
        assert reading.text == wanted and recogniser.seen == widths


def test_words_lie_where_they_are_in_the_strip_however_wide_it_was_read() -> None:
    strip = line_strip("one two").resize((1000, 40))
    boxes = []
    for stretch in (1.0, 1.25):
        told = Told("ab cd", sure=1.0)
        frame = 40 / 6 / stretch
        ((first, second),) = [
            r.words for r in CtcReader("t", told, stretches=(stretch,)).read([strip], CancelToken())
        ]
        assert told.widths == [round(1000 * stretch)]
        boxes.append((second.box.left - first.box.left) / frame)
    assert boxes[0] == pytest.approx(boxes[1], abs=0.7)


class Letters:
    """A recogniser that is `sure` of every letter but those it is told to take for others, of which it is half sure."""

    characters = LETTERS

    def __init__(self, text: str, taken: dict[int, str]) -> None:
        self.text, self.taken = text, taken

    def probabilities(self, pieces: Sequence[Image.Image]) -> list[np.ndarray]:
        rows = scores(self.text, 1.0, 1)
        for place, letter in self.taken.items():
            frame = 2 * place
            rows[frame] = 1.2e-3  # too little for the search to go on with
            rows[frame, LETTERS.index(letter)] = 0.9
        return [rows] * len(pieces)


def test_a_word_is_found_that_the_frames_alone_would_have_given_up(tmp_path: Path) -> None:
    listed = tmp_path / "words.tsv.gz"
    listed.write_bytes(gzip.compress(b"hospital\t420\t430\n"))
    read_by = CtcReader("words", Letters("hospital", {1: "a"}), words=WordList(listed))
    without = CtcReader("plain", Letters("hospital", {1: "a"}))
    strip = line_strip("hospital")
    assert next(read_by.read([strip], CancelToken())).text == "hospital"
    assert next(without.read([strip], CancelToken())).text == "haspital"


def test_a_clear_word_stays_what_it_is_though_no_list_has_it(tmp_path: Path) -> None:
    listed = tmp_path / "words.tsv.gz"
    listed.write_bytes(gzip.compress(b"hospital\t420\t430\n"))
    reader = CtcReader("words", Told("haspital", sure=1.0), words=WordList(listed))
    assert next(reader.read([line_strip("haspital")], CancelToken())).text == "haspital"


def test_every_word_is_cleaned() -> None:
    (reading,) = read(Told("yes，"), line_strip("yes"), clean=lambda word: word.replace("，", ","))
    assert reading.text == "yes," and reading.words[0].text == "yes,"


def test_word_boxes_stay_in_their_strip_and_apart() -> None:
    def word(left: float, right: float) -> WordReading:
        return WordReading("w", 1.0, Box(left, 0, right, 40))

    boxes = [w.box for w in apart([word(0, 60), word(50, 120), word(130, 240)], 200)]
    assert [(b.left, b.right) for b in boxes] == [(0, 55), (55, 120), (130, 200)]
