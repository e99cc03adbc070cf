"""A page with its lines drawn on it."""

from __future__ import annotations

from PIL import Image

from vlm_studio.core.documents import Box, Line, LineReading, ReadLine, WordReading
from vlm_studio.views.page_overlay import DISPLAY_WIDTH, corners_of, draw_lines, line_at

BOX = Box(20, 30, 120, 60)


def page(width: int = 200, height: int = 150) -> Image.Image:
    return Image.new("RGB", (width, height), "white")


def read(text: str, confidence: float = 0.99, box: Box = BOX, skipped: bool = False) -> ReadLine:
    words = (WordReading(text, confidence, box),) if text else ()
    return ReadLine(Line(box, maybe_skipped=skipped), LineReading(text, confidence, words))


def edge(lines: list[Line | ReadLine], selected: int | None = None) -> tuple[int, ...]:
    return draw_lines(page(), lines, selected).image.getpixel((70, 30))


def test_small_pages_keep_their_size_and_large_ones_are_scaled() -> None:
    small, large = draw_lines(page(), []), draw_lines(page(2 * DISPLAY_WIDTH, 300), [])
    assert (small.image.size, small.scale) == ((200, 150), 1.0)
    assert (large.image.size, large.scale) == ((DISPLAY_WIDTH, 150), 0.5)
    assert draw_lines(page(5 * DISPLAY_WIDTH, 1), []).image.size == (DISPLAY_WIDTH, 1)


def test_what_is_outside_the_lines_is_untouched_and_the_page_itself_too() -> None:
    original = page()
    drawn = draw_lines(original, [read("text")], region=Box(150, 100, 190, 140)).image
    assert drawn.getpixel((10, 10)) == drawn.getpixel((170, 120)) == (255, 255, 255)
    assert drawn.getpixel((70, 30)) != (255, 255, 255) and drawn.getpixel((150, 120)) != (255, 255, 255)
    assert original.tobytes() == page().tobytes()


def test_each_state_has_its_own_colour() -> None:
    states = [
        edge([Line(BOX)]),
        edge([read("sure")]),
        edge([read("doubtful", 0.4)]),
        edge([read("", skipped=True)]),
        edge([read("sure")], selected=0),
    ]
    assert len(set(states)) == len(states)
    assert edge([read("once skipped, now read", skipped=True)]) == edge([read("sure")])


def test_places_are_scaled_with_the_page() -> None:
    box = Box(2 * 20, 2 * 30, 2 * 120, 2 * 60)
    drawn = draw_lines(page(2 * DISPLAY_WIDTH, 300), [read("x", box=box)]).image
    assert drawn.getpixel((70, 30)) != (255, 255, 255) and drawn.getpixel((70, 75)) == (255, 255, 255)


def test_the_smallest_line_under_a_point_is_hit() -> None:
    lines = [Line(Box(0, 0, 200, 100)), read("inner"), Line(Box(300, 0, 400, 50))]
    assert line_at(lines, 70, 40) == 1
    assert line_at(lines, 10, 10) == 0
    assert line_at(lines, 400, 10) is None, "right and bottom are exclusive"
    assert line_at([], 1, 1) is None


def test_corners_are_those_of_the_slanted_line() -> None:
    quad = ((0.0, 5.0), (90.0, 0.0), (91.0, 20.0), (1.0, 25.0))
    assert corners_of(Line(Box(0, 0, 91, 25), quad)) == quad
    assert corners_of(Line(BOX)) == ((20, 30), (120, 30), (120, 60), (20, 60))
