"""Which lines of a picture are compared, and which row of a reference belongs to which."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from tests.tasks.fakes import png
from vlm_studio.core.documents import Box, Line
from vlm_studio.core.errors import InvalidRequest
from vlm_studio.core.settings import Limits
from vlm_studio.tasks.compare_input import Given, picture_lines, together

STRIPS: Any = SimpleNamespace(feed="strips")


def page(lines: int, skipped: int = 0, before: int = 0) -> Given:
    """A page of so many lines; `skipped` places of ink behind them and `before` them may be no writing."""
    unsure = {*range(before), *range(before + lines, before + lines + skipped)}
    found = tuple(
        Line(Box(5, 12 * n, 290, 12 * n + 10), maybe_skipped=n in unsure)
        for n in range(before + lines + skipped)
    )
    finder: Any = SimpleNamespace(find=lambda image: found)
    return picture_lines(png(Image.new("RGB", (300, 500), "white")), "p.png", Limits(), finder, STRIPS)


def text(rows: int) -> str:
    return "\n\n".join(f"row {n}" for n in range(rows))


def test_what_is_not_compared_is_said() -> None:
    assert page(24).note == ""
    assert page(33).note == "The first 24 of 33 lines are compared."
    assert page(2, skipped=1).note == "Ink that may be no writing is left out: 1 place."
    assert page(25, skipped=2).note.endswith("compared. Ink that may be no writing is left out: 2 places.")
    assert len(page(0, skipped=3).pieces) == 1  # the picture itself


@pytest.mark.parametrize("rows", [24, 33, 35])
def test_a_reference_may_have_a_row_for_each_line_that_was_found(rows: int) -> None:
    assert page(33, skipped=2).rows(text(rows)) == tuple(f"row {n}" for n in range(24))


def test_rows_are_those_of_the_lines_that_are_compared() -> None:
    assert page(2, before=1).rows(text(3)) == ("row 1", "row 2")
    assert together([page(26), page(1)]).rows(text(27))[-1] == "row 26"
    assert page(2).rows(" \n ") == ()


def test_a_reference_of_another_length_is_refused() -> None:
    with pytest.raises(InvalidRequest, match=r"Lines of text: 30. Lines of writing: 24 or 33 or 35\."):
        page(33, skipped=2).rows(text(30))
    with pytest.raises(InvalidRequest, match=r"Lines of text: 2. Lines of writing: 1\."):
        page(1).rows(text(2))


def test_one_line_has_its_own_row_or_the_only_one() -> None:
    lines = page(11)
    assert (lines.row(text(11), 2), lines.row(text(1), 2), lines.row("", 2)) == ("row 2", "row 0", "")
    with pytest.raises(InvalidRequest, match="Lines of text: 10"):
        lines.row(text(10), 2)
