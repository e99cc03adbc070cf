"""Words in frames: pinned to torch's own CTC, and letters share out the frames in their order."""

from __future__ import annotations

import numpy as np
import pytest

from vlm_studio.reading.ctc_words import spelled_chance, spelled_chances, stretches


def frames(seed: int, count: int, classes: int = 5) -> np.ndarray:
    values = np.random.default_rng(seed).random((count, classes)) ** 3
    found: np.ndarray = values / values.sum(1, keepdims=True)
    return found


@pytest.mark.parametrize("word", [[1], [1, 2, 3], [2, 2], [4, 4, 1, 1]])
def test_the_chance_of_a_word_is_that_of_ctc(word: list[int]) -> None:
    torch = pytest.importorskip("torch")
    for seed in range(5):
        rows = frames(seed, 9)
        loss = torch.nn.functional.ctc_loss(
            torch.from_numpy(rows).log()[:, None], torch.tensor([word]), [9], [len(word)], reduction="none"
        )
        assert spelled_chance(rows, word) == pytest.approx(float((-loss).exp()[0]))


def test_words_are_as_likely_together_as_alone() -> None:
    words = [[1], [4, 4, 1, 1], [1, 2, 3], [2, 2]]
    for rows in (frames(3, 9), frames(4, 3), frames(5, 0)):
        assert spelled_chances(rows, words) == pytest.approx([spelled_chance(rows, word) for word in words])


def test_frames_that_cannot_hold_a_word_have_no_chance_of_it() -> None:
    assert spelled_chance(frames(1, 2), [2, 2]) == 0.0
    assert spelled_chance(frames(1, 3)[:0], [2]) == 0.0
    assert stretches(frames(1, 2), [2, 2]) == []


def test_letters_share_out_the_frames_where_they_peak() -> None:
    rows = np.full((8, 4), 0.02)
    for frame, column in enumerate([0, 1, 0, 0, 2, 2, 0, 3]):
        rows[frame, column] = 0.94
    (a, b), (c, d), (e, f) = stretches(rows, [1, 2, 3])
    assert (a, f) == (0, 8)
    assert (b, d) == (c, e)
    assert a <= 1 < b
    assert c <= 4 < d
    assert e <= 7 < f
