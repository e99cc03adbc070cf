"""Error rates against values counted by hand, and the difference between two texts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlm_studio.tasks.scoring import Score, difference, normal, score, total


@pytest.mark.parametrize(
    ("reading", "reference", "cer", "wer"),
    [
        ("kitten", "sitting", 3 / 7, 1.0),
        ("the cat sat", "the cat sat", 0.0, 0.0),
        ("the cat sat", "the hat sat down", 6 / 16, 2 / 4),
        ("thecat", "the cat", 1 / 7, 1.0),
        ("", "four words stand here", 1.0, 1.0),
        ("abc def", "", 7.0, 2.0),
        ("", "", 0.0, 0.0),
        ("a\nb\t c ", "a b c", 0.0, 0.0),
        ("e\u0301te\u0301", "été", 0.0, 0.0),
        ("ete", "été", 2 / 3, 1.0),
        ("Le", "le", 1 / 2, 1.0),
    ],
)
def test_error_rates(reading: str, reference: str, cer: float, wer: float) -> None:
    found = score(reading, reference)
    assert (found.cer, found.wer) == (pytest.approx(cer), pytest.approx(wer))


def test_counts_are_of_the_reference() -> None:
    assert score("z", "deux mots") == Score(1.0, 1.0, 9, 2)


def test_a_total_weighs_lines_by_their_length() -> None:
    found = total([("abcd", "abcd"), ("x", "y"), ("", "ab cd")])
    assert (found.characters, found.words) == (10, 4)
    assert found.cer == pytest.approx(6 / 10) and found.wer == pytest.approx(3 / 4)
    assert total([]) == Score(0.0, 0.0, 0, 0)


def test_the_difference_of_two_words() -> None:
    assert difference("the cat", "the cart.") == (
        ("equal", "the ca"),
        ("insert", "r"),
        ("equal", "t"),
        ("insert", "."),
    )
    assert difference("same", "same") == (("equal", "same"),)
    assert difference("", "") == ()
    assert difference("a 1", "mine") == (("delete", "a 1"), ("insert", "mine"))
    assert difference("The line is a poetic device.", "est un musicien") == (
        ("delete", "The line is a poetic device."),
        ("insert", "est un musicien"),
    )


texts = st.text(alphabet="ab é\n😀", max_size=25)


@given(texts, texts)
def test_a_difference_holds_both_texts(old: str, new: str) -> None:
    spans = difference(old, new)
    assert "".join(text for kind, text in spans if kind != "insert") == normal(old)
    assert "".join(text for kind, text in spans if kind != "delete") == normal(new)
    assert all(text and kind in {"equal", "insert", "delete"} for kind, text in spans)
    changed = sum(len(text) for kind, text in spans if kind != "equal")
    assert (changed == 0) == (score(old, new).cer == 0)
