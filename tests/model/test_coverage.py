"""Few lines that show many letters: what is known counts, and so does what was already taken."""

from __future__ import annotations

from vlm_studio.model.coverage import richest


def test_what_is_lacking_comes_first() -> None:
    texts = ["le lac", "Kiwi", "Quatre", "la"]
    assert richest(texts, 1) == [2]
    assert richest(texts, 2, known="le lac" * 9) == [2, 1]
    assert richest(texts, 1, known="Quatre" * 9) == [1]


def test_a_letter_is_worth_less_the_second_time() -> None:
    assert set(richest(["KQ", "KQ", "zy"], 2)) == {0, 2}


def test_more_than_there_are_is_all_of_them() -> None:
    assert sorted(richest(["a", "b"], 9)) == [0, 1]
    assert richest(["a"], 0) == richest([], 3) == []
