"""Running heads: what only says the page goes, what says something of its own stays."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.tasks.documents_pdf import pdf
from tests.tasks.test_ask_pdf import RARITY, cited, taken_in
from vlm_studio.tasks.ask_pdf import Documents
from vlm_studio.tasks.documents_heads import running_heads


def kept(head: Callable[[int], str], below: str, gap: float, count: int = 12) -> list[bool]:
    """For each page whether its first line stays."""
    data = pdf([[(40, 45, head(n)), (40, 45 + gap, below)] for n in range(1, count + 1)])
    pages = taken_in(data).pages
    return [0 not in skip for skip in running_heads(pages)]


@pytest.mark.parametrize(
    ("head", "first"),
    [
        (lambda n: f"Page {n} of 12", False),
        (lambda n: f"- {n + 344} -", False),
        (lambda n: f"Page {(n - 1) % 2 + 1} of 2", False),
        (lambda n: f"Report 2024 - {n}", True),
        (lambda n: f"{n} The Annual Report of the Board", True),
        (lambda n: "The Annual Report of the Board", True),
    ],
)
@pytest.mark.parametrize(("below", "gap"), [("The river rose.", 13), ("was called Ann.", 40)])
def test_heads_go_after_the_first(head: Callable[[int], str], first: bool, below: str, gap: float) -> None:
    assert kept(head, below, gap) == [first] + [False] * 11


@pytest.mark.parametrize(
    "head",
    [
        lambda n: f"Chapter {n}. In {1900 + n} the village had {3 * n} inhabitants",
        lambda n: f"In the year {1900 + n} the village had an inn and its mayor",
        lambda n: f"Invoice no. {1000 + n}",
        lambda n: f"Total {7 * n}",
        lambda n: f"{n} June 2024",
        lambda n: f"Gauge K{n}",
    ],
)
def test_lines_with_something_of_their_own_stay(head: Callable[[int], str]) -> None:
    assert kept(head, "was called Ann.", 13) == [True] * 12


def test_a_first_line_full_of_numbers_answers_from_its_page() -> None:
    pages = [
        [
            (40, 45, f"Chapter {n}. In the year {1900 + n} the village of Town{n} had {500 + 7 * n} inhabitants and its mayor"),
            (40, 58, f"was called Mayor{n}."),
        ]
        for n in range(1, 61)
    ]  # fmt: skip
    asked = Documents([taken_in(pdf(pages, fontsize=8))], RARITY)
    found = asked.ask("How many inhabitants had the village of Town37?")
    assert "759" in found.text and cited(found)[1] == 37
