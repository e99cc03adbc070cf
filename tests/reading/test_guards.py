"""Simple checks that keep readers honest."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw

from tests.reading.pages import draw, line_strip, shadowed
from vlm_studio.core.documents import Box, Line
from vlm_studio.reading.guards import has_ink, repeats, skipped_ink


def paper(kind: str, size: tuple[int, int]) -> Image.Image:
    """Blank paper as cameras see it."""
    rng = np.random.default_rng(0)
    grey = rng.normal(232, 6, (size[1], size[0], 1)).repeat(3, 2)
    if kind == "shadow":
        grey *= np.linspace(0.35, 1, size[0])[None, :, None]
    page = Image.fromarray(np.clip(grey, 0, 255).astype(np.uint8))
    if kind == "ruled":
        for y in range(30, size[1], 60):
            ImageDraw.Draw(page).line((0, y, size[0], y), fill=(165, 185, 215), width=2)
    return page


@pytest.mark.parametrize("kind", ["noise", "shadow"])
def test_blank_paper_has_no_ink(kind: str) -> None:
    assert not has_ink(paper(kind, (600, 50)))
    assert not has_ink(Image.new("RGB", (2, 2), "white"))


@pytest.mark.parametrize("make", [lambda s: s, shadowed, lambda s: s.convert("L")])
def test_writing_is_ink(make) -> None:  # type: ignore[no-untyped-def]
    assert has_ink(make(line_strip("a word")))


@pytest.mark.parametrize(
    ("text", "looping"),
    [
        ("and so on and so on and so on and so on and so on ", True),
        ("so on so on so on so on so on", True),
        ("hahahahahaha", True),
        ("........................ la la la la la", True),
        ("the the the the the the", True),
        ("a page of notes, and another page of notes", False),
        ("1 000 000 000 000 000 000", False),
        ("Contents ........................ 12", False),
        ("- - - - - - - - -", False),
        ("_______________", False),
        ("", False),
    ],
)
def test_loops_are_noticed(text: str, looping: bool) -> None:
    assert repeats(text) is looping


WRITTEN = Line(Box(50, 45, 330, 85))


def test_ink_under_no_line_is_maybe_skipped() -> None:
    page = np.asarray(draw([(60, 50, "this line was found"), (400, 250, "forgotten")]))
    (skipped,) = skipped_ink(page, [WRITTEN])
    assert skipped.maybe_skipped
    assert skipped.box.left < 410 and skipped.box.right > 500 and 230 < skipped.box.top < 262
    assert skipped_ink(np.asarray(draw([(60, 50, "this line was found")])), [WRITTEN]) == []


def test_rulings_frames_and_dust_are_no_skipped_writing() -> None:
    page = draw([(60, 50, "this line was found")])
    pen = ImageDraw.Draw(page)
    for y in range(100, 400, 60):
        pen.line((0, y, 900, y), fill="black", width=2)
    pen.line((40, 0, 40, 420), fill="black", width=2)
    pen.rectangle((45, 140, 860, 400), outline="black", width=6)
    for x in range(100, 800, 90):
        pen.point((x, 200), fill="black")
    assert skipped_ink(np.asarray(page), [WRITTEN]) == []


def test_a_texture_all_over_is_left_alone() -> None:
    page = draw([(60, 50, "this line was found")])
    pen = ImageDraw.Draw(page)
    for x in range(80, 860, 110):
        for y in range(120, 400, 70):
            pen.rectangle((x, y, x + 40, y + 25), fill="black")
    assert skipped_ink(np.asarray(page), [WRITTEN]) == []
