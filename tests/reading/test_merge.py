"""Two recognisers as one: agreement makes sure, disagreement makes doubt, and neither has to be there for the other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from PIL import Image

from tests.reading.pages import line_strip
from vlm_studio.core.cancel import CancelToken
from vlm_studio.core.errors import ModelUnavailable
from vlm_studio.reading.ctc_reader import CtcReader
from vlm_studio.reading.merge import Merged, pooled

FIRST = ["", *"abcdot ", "."]
SECOND = ["", "。", *"tocdba字", " ", "."]


class Says:
    """A recogniser that reads the same text whatever it sees, `sure` of each letter and of `other` for the rest."""

    def __init__(self, characters: list[str], text: str, sure: float = 0.9, other: str = "") -> None:
        self.characters: Sequence[str] = characters
        self.text, self.sure, self.other = text, sure, other

    def probabilities(self, pieces: Sequence[Image.Image]) -> list[np.ndarray]:
        rows = []
        for letter in self.text:
            row = np.zeros(len(self.characters))
            row[self.characters.index(self.other)] = 1 - self.sure
            row[self.characters.index(letter)] += self.sure
            rows += [row, np.eye(len(self.characters))[0]]
        return [np.array(rows)] * len(pieces)


class Missing(Says):
    def probabilities(self, pieces: Sequence[Image.Image]) -> list[np.ndarray]:
        raise ModelUnavailable("It is not installed.", "Install it.")


def read(*parts: Says, clean=str):  # type: ignore[no-untyped-def]
    (reading,) = CtcReader("both", Merged(*parts, share=0.3, clean=clean)).read(
        [line_strip("cat")], CancelToken()
    )
    return reading


def test_agreement_makes_sure_and_disagreement_makes_doubt() -> None:
    alone = next(CtcReader("one", Says(FIRST, "cat", 0.8, "o")).read([line_strip("cat")], CancelToken()))
    agreed = read(Says(FIRST, "cat", 0.8, "o"), Says(SECOND, "cat", 0.99))
    parted = read(Says(FIRST, "cat", 0.8, "o"), Says(SECOND, "cot", 0.9, "a"))
    assert agreed.text == "cat" and agreed.confidence > alone.confidence
    assert parted.text == "cat" and parted.words[0].doubtful
    assert not agreed.words[0].doubtful and parted.words[0].alternatives[0].text == "cot"


def test_the_second_tips_a_close_call_and_loses_a_clear_one() -> None:
    assert read(Says(FIRST, "cat", 0.51, "o"), Says(SECOND, "cot", 0.99)).text == "cot"
    assert read(Says(FIRST, "cat", 0.999, "o"), Says(SECOND, "cot", 0.7, "a")).text == "cat"


def test_letters_are_matched_by_what_they_are_and_two_forms_of_one_are_summed() -> None:
    both = Merged(
        Says(FIRST, "a."), Says(SECOND, "a。", 0.5, "."), share=0.5, clean=lambda c: c.replace("。", ".")
    )
    (found,) = both.probabilities([line_strip("a.")])
    assert found.sum(1) == pytest.approx(1.0)
    assert found[2].argmax() == FIRST.index(".") and found[2].max() > 0.9


def test_without_the_second_the_first_reads_alone() -> None:
    first = Says(FIRST, "cat", 0.8, "o")
    assert read(first, Missing(SECOND, "")).text == "cat"
    (alone,) = Merged(first, Missing(SECOND, "")).probabilities([line_strip("cat")])
    assert np.array_equal(alone, first.probabilities([line_strip("cat")])[0])


def test_frames_that_only_the_first_has_are_its_own() -> None:
    own, other = np.full((4, 3), 1 / 3), np.eye(3)[:2]
    found = pooled(own, other, 0.3)
    assert np.array_equal(found[2:], own[2:]) and found[0].argmax() == 0
