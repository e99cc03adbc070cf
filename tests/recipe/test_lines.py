"""What each pooled token is taught to spell: the head's reading laid beside the text."""

from __future__ import annotations

from vlm_studio.model.characters import ALPHABET, encode
from vlm_studio.recipe.lines import BLANK, aligned


def told(read: str, wanted: str) -> str:
    return "".join("_" if c == BLANK else ALPHABET[c - 1] for c in aligned(encode(read), encode(wanted)))


def test_a_wrong_letter_is_put_right_a_letter_too_many_is_a_blank_and_a_missing_one_has_no_token() -> None:
    assert told("cot", "cat") == "cat"
    assert told("caat", "cat").replace("_", "") == "cat" and told("caat", "cat").count("_") == 1
    assert told("ct", "cat") == "ct"
    assert told("", "cat") == ""
