"""Lines found on drawn pages with the real detector."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from tests.reading.pages import LEFT, RIGHT, draw, shadowed, turned, two_columns
from tests.reading.test_guards import paper
from vlm_studio.core.documents import Line
from vlm_studio.reading.detector import Detector, page_skew


def columns(lines: tuple[Line, ...]) -> list[int]:
    return [line.column for line in lines]


@pytest.mark.parametrize("kind", ["noise", "shadow", "ruled"])
def test_a_blank_page_has_no_lines(detector: Detector, kind: str) -> None:
    assert detector.find(paper(kind, (640, 480))) == ()


@pytest.mark.parametrize("size", [(1, 1), (3, 900), (900, 3)])
def test_a_sliver_has_no_lines(detector: Detector, size: tuple[int, int]) -> None:
    assert detector.find(Image.new("RGB", size, "white")) == ()


@pytest.mark.parametrize("change", ["as drawn", "turned", "shadow", "both"])
def test_two_columns_are_read_one_after_the_other(detector: Detector, change: str) -> None:
    page = two_columns("Notes on a walk along the river")
    page = turned(page, 4) if change in {"turned", "both"} else page
    page = shadowed(page) if change in {"shadow", "both"} else page
    lines = detector.find(page)
    assert columns(lines) == [0] + [0] * len(LEFT) + [1] * len(RIGHT)
    assert not any(line.maybe_skipped for line in lines)
    middles = [(line.box.top + line.box.bottom) / 2 for line in lines]
    assert middles[1:5] == sorted(middles[1:5]) and middles[5:] == sorted(middles[5:])
    slanted = [line.quad is not None for line in lines]
    assert all(slanted) if "turned" in change or change == "both" else not any(slanted)


def test_lines_lie_on_their_ink(detector: Detector) -> None:
    texts = [
        (60.0, 40.0, "a first line of text"),
        (60.0, 140.0, "and below it a second"),
        (60.0, 240.0, "third"),
    ]
    lines = detector.find(draw(texts))
    assert len(lines) == 3
    for (x, y, text), line in zip(texts, lines, strict=True):
        ink = np.argwhere(np.asarray(draw([(x, y, text)]).convert("L")) < 128)
        (top, left), (bottom, right) = ink.min(axis=0), ink.max(axis=0)
        assert line.box.left <= left + 2 and line.box.right >= right - 2
        assert line.box.top <= top + 2 and line.box.bottom >= bottom - 2
        assert line.box.height < 2.2 * (bottom - top)


def test_a_list_keeps_its_order_and_indents(detector: Detector) -> None:
    items = [
        (0, "Shopping list"),
        (1, "- milk"),
        (1, "- six eggs"),
        (2, "from the farm"),
        (1, "- bread"),
        (0, "To do"),
    ]
    lines = detector.find(draw([(60 + 50 * i, 30 + 60 * n, text) for n, (i, text) in enumerate(items)]))
    assert len(lines) == len(items) and columns(lines) == [0] * len(items)
    lefts = [line.box.left for line in lines]
    assert all(abs(left - 60 - 50 * i) < 12 for left, (i, _) in zip(lefts, items, strict=True))


def test_words_far_apart_are_one_line(detector: Detector) -> None:
    page = draw(
        [
            (60, 40, "several"),
            (230, 40, "words"),
            (390, 42, "drifting"),
            (560, 45, "along"),
            (60, 140, "and one more"),
        ]
    )
    lines = detector.find(page)
    assert len(lines) == 2 and lines[0].box.left < 65 and lines[0].box.right > 620


def test_large_photos_are_found_in_their_own_pixels(detector: Detector) -> None:
    page = draw([(60, 40, "a first line of text"), (60, 140, "and a second below")], (900, 240))
    large = page.resize((2700, 720), Image.Resampling.BICUBIC)
    for small_line, large_line in zip(detector.find(page), detector.find(large), strict=True):
        for a, b in zip(small_line.box.as_list(), large_line.box.as_list(), strict=True):
            assert abs(3 * a - b) < 25


def test_a_page_on_a_dark_table_has_only_its_lines(detector: Detector) -> None:
    page = draw([(60, 40 + 70 * n, text) for n, text in enumerate(LEFT)], (700, 340))
    table = Image.new("RGB", (1000, 620), (70, 50, 40))
    table.paste(page, (150, 140))
    lines = detector.find(turned(table, 3).crop((40, 40, 960, 600)))
    assert len(lines) == len(LEFT) and not any(line.maybe_skipped for line in lines)


def test_a_scribble_the_detector_passes_over_is_marked() -> None:
    class Blind(Detector):
        def _detect(self, rgb: np.ndarray) -> np.ndarray:
            return np.array([[[50.0, 40], [330, 40], [330, 84], [50, 84]]])

    page = draw([(60, 45, "this line was found"), (420, 260, "forgotten")])
    lines = Blind().find(page)
    assert [line.maybe_skipped for line in lines] == [False, True]
    assert lines[1].box.left > 380


@pytest.mark.parametrize("degrees", [0, 4, -9])
def test_skew_is_that_of_the_writing(degrees: float) -> None:
    turn = np.deg2rad(degrees)
    across, down = np.array([np.cos(turn), np.sin(turn)]), np.array([-np.sin(turn), np.cos(turn)])
    quads = [
        np.array([start, start + 300 * across, start + 300 * across + 30 * down, start + 30 * down])
        for start in (np.array([50.0, 60.0 * n]) for n in range(5))
    ]
    tall = np.array([[400.0, 0], [410, 0], [410, 300], [400, 300]])
    assert page_skew(np.array([*quads, tall])) == pytest.approx(turn, abs=1e-6)
    assert page_skew(np.array([tall, tall])) == 0


def test_pencil_beside_ink_is_found(detector: Detector) -> None:
    page = draw([(60, 60 + 70 * n, text) for n, text in enumerate(LEFT)])
    pen = ImageDraw.Draw(page)
    for n, text in enumerate(RIGHT):
        pen.text((500, 60 + 70 * n), text, fill=(216, 214, 210), font=ImageFont.load_default(size=28))
    found = [line for line in detector.find(page) if not line.maybe_skipped]
    assert len(found) == len(LEFT) + len(RIGHT)
    assert sum(line.box.left > 470 for line in found) == len(RIGHT)
