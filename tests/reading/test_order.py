"""Reading order on boxes alone."""

from __future__ import annotations

import random

import pytest

from vlm_studio.core.documents import Box
from vlm_studio.reading.order import find_gutter, reading_order

HIGH = 30.0


def row(left: float, right: float, number: float) -> Box:
    """A line of text on row `number`, rows 50 px apart."""
    return Box(left, 50 * number, right, 50 * number + HIGH)


def order(boxes: list[Box]) -> list[int]:
    """Places in `boxes`, which are given in the order they should be read in, after a shuffle."""
    shuffled = random.Random(3).sample(range(len(boxes)), len(boxes))
    return [shuffled[i] for i, _ in reading_order([boxes[i] for i in shuffled], HIGH)]


def columns_of(boxes: list[Box]) -> list[int]:
    return [column for _, column in reading_order(boxes, HIGH)]


def column(left: float, right: float, rows: int, first: float = 0) -> list[Box]:
    return [row(left, right - 13 * (n % 3), first + n) for n in range(rows)]


@pytest.mark.parametrize(
    "boxes",
    [
        pytest.param(column(0, 800, 9), id="one column"),
        pytest.param(column(0, 380, 8) + column(450, 800, 7, 0.4), id="two columns"),
        pytest.param([row(150, 700, -1.5), *column(0, 380, 8), *column(450, 800, 8)], id="heading"),
        pytest.param(column(0, 240, 6) + column(300, 540, 6, 0.2) + column(600, 840, 6), id="three columns"),
        pytest.param(
            column(0, 380, 4) + column(450, 800, 4) + [row(0, 800, 4.5)] + column(0, 380, 4, 6) + column(450, 800, 4, 6),
            id="heading in the middle",
        ),
        pytest.param(
            column(0, 800, 6) + column(0, 380, 6, 6) + column(450, 800, 6, 6), id="columns under a paragraph"
        ),
        pytest.param(
            [row(60 * (n % 3), 300 + 90 * (n % 4), n) for n in range(10)], id="list with indents"
        ),
        pytest.param(column(0, 398, 10) + column(416, 800, 10, 0.3), id="narrow gutter, many rows"),
    ],
)  # fmt: skip
def test_boxes_are_read_in_order(boxes: list[Box]) -> None:
    assert order(boxes) == list(range(len(boxes)))


def test_columns_are_numbered_from_the_left() -> None:
    assert columns_of(column(0, 380, 5) + column(450, 800, 5)) == [0] * 5 + [1] * 5
    assert columns_of(column(0, 800, 9)) == [0] * 9


def test_a_narrow_gap_over_few_rows_is_no_gutter() -> None:
    assert find_gutter(column(0, 398, 4) + column(416, 800, 4), HIGH) is None


def test_numbers_at_the_margin_belong_to_their_lines() -> None:
    numbers = [row(0, 40, n) for n in range(8)]
    lines = [row(100, 800, n) for n in range(8)]
    assert find_gutter(numbers + lines, HIGH) is None


def test_the_gutter_lies_between_the_columns_and_beside_their_rows() -> None:
    gutter = find_gutter([row(0, 800, 0), *column(0, 380, 6, 2), *column(450, 800, 6, 2)], HIGH)
    assert gutter is not None
    assert (gutter.left, gutter.right) == (380, 450)
    assert gutter.top == 100 and gutter.bottom >= 350


@pytest.mark.parametrize("seed", range(25))
def test_gaps_between_words_part_no_paragraph(seed: int) -> None:
    """Every word a box of its own, wide gaps, ragged: whatever lies below each other by chance."""
    rng = random.Random(seed)
    words = []
    for number in range(12):
        x = rng.uniform(0, 30)
        while x < 760:
            width = rng.uniform(30, 160)
            words.append(row(x, x + width, number))
            x += width + rng.uniform(20, 45)
    assert find_gutter(words, HIGH) is None


def test_few_boxes_have_no_columns() -> None:
    assert reading_order([], HIGH) == []
    assert columns_of([row(0, 100, 0), row(400, 500, 0)]) == [0, 0]
