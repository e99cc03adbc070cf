"""The reading rule on hand-made scores: no network, no language model."""

from __future__ import annotations

import numpy as np
import pytest

from vlm_studio.model.characters import ALPHABET, encode, fold, greedy, pad_strips, prepare_strip, spell
from vlm_studio.model.read_rule import Rule, align, read_strip


def scores(*frames: dict[str, float]) -> np.ndarray:
    """Log-probabilities from {letter: probability} per frame; "_" is the blank, the rest is shared out."""
    rows = []
    for frame in frames:
        row = np.full(len(ALPHABET) + 1, (1 - sum(frame.values())) / len(ALPHABET) + 1e-9)
        for letter, value in frame.items():
            row[0 if letter == "_" else ALPHABET.index(letter) + 1] = value
        rows.append(np.log(row / row.sum()))
    return np.array(rows)


def spelled(text: str, sure: float = 0.99) -> np.ndarray:
    """Each letter for one frame, a blank after each."""
    return scores(*[{c: sure} for letter in text for c in (letter, "_")])


def test_repeats_join_and_a_blank_parts_double_letters() -> None:
    assert spell(scores({"a": 0.9}, {"a": 0.9}, {"_": 0.9}, {"a": 0.9})) == "aa"


def test_alphabet_has_no_letter_twice_and_holds_french() -> None:
    assert len(set(ALPHABET)) == len(ALPHABET)
    assert set("àâçéèêëîïôùûüœÉÀÇ«»€°") <= set(ALPHABET)


def test_encoding_drops_what_it_cannot_write_and_folds_quotes() -> None:
    assert fold("l\u2019e\u0301te\u0301 \u2013 ok") == "l'été - ok"
    assert len(encode("ab\u4e2dc")) == 3


def test_a_reading_without_language_model_is_at_least_as_likely_as_greedy() -> None:
    # Greedy takes the likeliest path "a" (0.36); summed over its paths, the empty text has 0.16 and "a" 0.84.
    reading = read_strip(scores({"_": 0.6, "a": 0.39}, {"_": 0.6, "a": 0.39}))
    assert reading.text == "a"


def test_language_model_tips_a_close_balance_only() -> None:
    close = scores({"c": 0.99}, {"o": 0.52, "a": 0.47}, {"t": 0.99})
    wide = scores({"c": 0.99}, {"o": 0.985, "a": 0.01}, {"t": 0.99})

    def likes_cat(texts: list[str]) -> list[float]:
        return [0.0 if text == "cat" else -30.0 for text in texts]

    rule = Rule(weight=0.3)
    assert read_strip(close, likes_cat, rule).text == "cat"
    assert read_strip(wide, likes_cat, rule).text == "cot"


def test_language_model_cannot_add_a_text_of_its_own() -> None:
    offered: list[str] = []

    def nosy(texts: list[str]) -> list[float]:
        offered.extend(texts)
        return [0.0] * len(texts)

    text = read_strip(scores({"c": 0.6, "e": 0.3}, {"_": 0.9}), nosy, Rule(weight=5.0)).text
    assert text in offered


def test_words_know_their_pixels_and_their_rivals() -> None:
    reading = read_strip(
        np.concatenate([spelled("no "), scores({"c": 0.99}, {"o": 0.6, "a": 0.38}, {"t": 0.99})])
    )
    assert [word.text for word in reading.words] == ["no", "cot"]
    first, second = reading.words
    assert first.first == 0 and first.last <= second.first
    assert second.last == 9 * 8
    assert first.confidence > second.confidence
    assert second.alternatives[0][0] == "cat"
    assert len(reading.character_spans) == len(reading.text)


def test_alignment_follows_the_letters() -> None:
    frames, sure = align(spelled("abba"), "abba")
    assert [a for a, _ in frames] == [0, 2, 4, 6]
    assert min(sure) > 0.9


def test_alignment_of_an_impossible_text_is_even_and_unsure() -> None:
    frames, sure = align(spelled("ab"), "abcdefgh")
    assert len(frames) == 8 and sure == [0.0] * 8


@pytest.mark.parametrize("shape", [(48, 300), (96, 700, 3), (200, 90, 3), (10, 4000)])
def test_strips_are_48_high_and_in_range(shape: tuple[int, ...]) -> None:
    strip = prepare_strip(np.full(shape, 255, np.uint8))
    assert strip.shape[:2] == (3, 48) and strip.dtype == np.float32
    assert strip.max() == 1.0 and 32 <= strip.shape[2] <= 2400


def test_padding_keeps_each_strip_and_counts_its_frames() -> None:
    strips = [np.ones((3, 48, 50), np.float32), np.ones((3, 48, 81), np.float32)]
    pixels, frames = pad_strips(strips)
    assert pixels.shape == (2, 3, 48, 88)
    assert frames.tolist() == [6, 10]
    assert not pixels[0, :, :, 50:].any()


def test_greedy_tells_where_and_how_sure() -> None:
    (only,) = greedy(scores({"_": 0.9}, {"x": 0.8}, {"x": 0.8}))
    assert (only.character, only.first_frame, only.last_frame) == ("x", 1, 2)
    assert only.probability == pytest.approx(0.8, abs=0.01)
