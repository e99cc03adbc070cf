"""Words of a line, found by its letters' frames and joined anew."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest

from vlm_studio.adapt.recompose import BORROWED, HEIGHT, CutWord, Words, cut_words, join_words, letter_frames
from vlm_studio.model.characters import ALPHABET, FRAME_PIXELS, STRIP_HEIGHT, encode


def reading(spelled: str) -> np.ndarray:
    """Log-probabilities of a reader that is sure of each frame; "-" is a blank."""
    scores = np.full((len(spelled), 1 + len(ALPHABET)), np.log(1e-6))
    for frame, letter in enumerate(spelled):
        scores[frame, 0 if letter == "-" else 1 + ALPHABET.index(letter)] = 0.0
    return scores


def test_letters_are_found_in_their_frames_also_where_the_reading_is_wrong() -> None:
    assert letter_frames(reading("-aab--c-"), encode("abc")) == [(1, 2), (3, 3), (6, 6)]
    # Read "axc": the b has to be where the x was, or beside it, and the others stay.
    places = letter_frames(reading("aa-xx-cc"), encode("abc"))
    assert places[0] == (0, 1)
    assert places[2] == (6, 7)
    assert 2 <= places[1][0] <= places[1][1] <= 5


def test_a_doubled_letter_needs_a_blank_between() -> None:
    assert letter_frames(reading("l-l"), encode("ll")) == [(0, 0), (2, 2)]
    assert letter_frames(reading("ll"), encode("ll")) == []
    assert letter_frames(reading("ab"), encode("abcd")) == []
    assert letter_frames(reading("ab"), []) == []


def page(spelled: str) -> np.ndarray:
    """Paper with a dark bar under every frame of a letter."""
    pixels = np.full((STRIP_HEIGHT, len(spelled) * FRAME_PIXELS), 230, np.uint8)
    for frame, letter in enumerate(spelled):
        if letter not in "- ":
            pixels[12:36, frame * FRAME_PIXELS + 1 : (frame + 1) * FRAME_PIXELS - 1] = 40
    return pixels


def test_words_are_cut_where_no_ink_is() -> None:
    spelled = "-le--  --lac-"
    words = cut_words(page(spelled), "le lac", reading(spelled))
    assert [word.text for word in words] == ["le", "lac"]
    assert sum(word.ink.shape[1] for word in words) == len(spelled) * FRAME_PIXELS
    bars = [int((np.diff((word.ink.max(0) > 0.3).astype(int)) == 1).sum()) for word in words]
    assert bars == [2, 3]


def test_a_text_that_does_not_fit_its_line_gives_no_words() -> None:
    assert cut_words(page("-le-"), "une longue phrase", reading("-le-")) == ()


@pytest.mark.parametrize("seed", range(3))
def test_a_joined_line_says_the_words_that_it_shows(seed: int) -> None:
    wide, narrow = (
        CutWord(np.full((32, 200), 0.7, np.float32), "wide"),
        CutWord(np.zeros((64, 40), np.float32), "so"),
    )
    pixels, text = join_words(Words([wide, narrow]).take, random.Random(seed))
    assert pixels.dtype == np.uint8
    assert pixels.shape == (HEIGHT, sum(400 if word == "wide" else 40 for word in text.split()))
    assert join_words(Words([wide]).take, random.Random(seed))[1] == "wide"


def test_rare_letters_come_more_often_and_what_is_lacking_is_borrowed() -> None:
    ink = np.zeros((64, 40), np.float32)
    own = [CutWord(ink, "le")] * 9 + [CutWord(ink, "Kiwi")]
    others = [CutWord(ink, "elle"), CutWord(ink, "Quatre")]
    rng = random.Random(4)
    taken = Counter(Words(own, others).take(rng).text for _ in range(4000))
    assert set(taken) == {"le", "Kiwi", "elle", "Quatre"}
    assert taken["Kiwi"] > taken["le"] / 9 * 2
    assert taken["Quatre"] > 5 * taken["elle"]
    assert abs((taken["Quatre"] + taken["elle"]) / 4000 - BORROWED) < 0.03
