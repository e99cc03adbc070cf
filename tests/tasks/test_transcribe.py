"""Reading a page line by line, without keeping anything."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from PIL import Image

from tests.reading.pages import LEFT, RIGHT, turned, two_columns
from tests.tasks.fakes import CountingReader, marked, page_image, page_of, transcriber
from vlm_studio.core.cancel import CancelToken
from vlm_studio.core.conversation import Variant
from vlm_studio.core.documents import Box, Line, LineReading, PageReading
from vlm_studio.core.errors import InvalidRequest
from vlm_studio.tasks.transcribe import (
    BLANK_PAGE,
    SKIPPED_INK,
    STOPPED,
    EngineReader,
    LineRead,
    LinesFound,
    PageRead,
    Transcriber,
)


def read(task: Transcriber, image: Image.Image, reader: str = "auto") -> list[object]:
    return list(task.read_page(page_of(image), image, reader, CancelToken()))


def reading_of(events: list[object]) -> PageReading:
    assert isinstance(events[-1], PageRead)
    return events[-1].reading


def test_lines_come_one_by_one_and_then_the_page() -> None:
    events = read(transcriber(CountingReader("a")), page_image(8))
    assert isinstance(events[0], LinesFound) and len(events[0].lines) == 8
    assert [e.index for e in events[1:-1] if isinstance(e, LineRead)] == list(range(8))
    reading = reading_of(events)
    assert reading.text == "\n".join(f"a {n}" for n in range(1, 9))
    assert reading.reader == "a" and reading.notes == () and reading.seconds >= 0


def test_words_are_placed_on_the_page_within_their_line() -> None:
    reading = reading_of(read(transcriber(CountingReader("a")), page_image(3)))
    for number, item in enumerate(reading.lines):
        first, second = (word.box for word in item.reading.words)
        assert (first.top, first.bottom) == (40 * number + 5, 40 * number + 35)
        assert 20 <= first.left < first.right <= second.left < second.right <= 280


def test_a_language_model_reads_lines_as_any_reader_and_is_asked_for_with_its_first() -> None:
    asked: list[Variant] = []

    class Large:
        def read(
            self, strips: list[Image.Image], cancel: CancelToken, variant: Variant
        ) -> Iterator[LineReading]:
            yield from (LineReading(f"seen {n}", 0.9, (), "idefics2-8b") for n in range(len(strips)))

    def engine(variant: Variant) -> Any:
        asked.append(variant)
        return Large()

    large = Variant("idefics2-8b", splitting="off")
    reader = EngineReader("8b", engine, large)
    assert reader.name == "8b" and not asked
    reading = reading_of(read(transcriber(reader), page_image(3), "8b"))  # type: ignore[arg-type]
    assert asked == [large] and reading.reader == "8b"
    assert [item.reading.text for item in reading.lines] == ["seen 0", "seen 1", "seen 2"]
    assert {item.reading.reader for item in reading.lines} == {"8b"}


def test_a_blank_page_says_so() -> None:
    reading = reading_of(read(transcriber(CountingReader("a")), page_image(0)))
    assert (reading.text, reading.lines, reading.notes) == ("", (), (BLANK_PAGE,))


def test_lines_with_nothing_legible_are_no_lines() -> None:
    reader = CountingReader("a")
    reader.empty = True
    reading = reading_of(read(transcriber(reader), page_image(2)))
    assert reading.lines == () and reading.notes == (BLANK_PAGE,)


@pytest.mark.parametrize("lines", [0, 2])
def test_skipped_ink_is_kept_unread_and_never_called_blank(lines: int) -> None:
    reader = CountingReader("a")
    reading = reading_of(read(transcriber(reader), page_image(lines, skipped=1)))
    assert [item.line.maybe_skipped for item in reading.lines] == [False] * lines + [True]
    assert reading.lines[-1].reading.text == "" and reader.strips == lines
    assert reading.notes == (SKIPPED_INK,)


def test_stopped_in_the_middle_keeps_what_was_read() -> None:
    gate, cancel = threading.Semaphore(100), CancelToken()
    task = transcriber(CountingReader("a", gate))
    image, events = page_image(8), []
    for event in task.read_page(page_of(image), image, "a", cancel):
        events.append(event)
        if isinstance(event, LineRead) and event.index == 2:
            cancel.cancel()
    reading = reading_of(events)
    assert reading.text == "a 1\na 2\na 3" and reading.notes == (STOPPED,)
    assert len(reading.lines) == 8, "the others stay, unread"
    assert {item.reading.confidence for item in reading.lines[3:]} == {0.0}


def test_readers_are_made_once_at_first_use_and_named() -> None:
    made: list[str] = []

    def make() -> CountingReader:
        made.append("a")
        return CountingReader("a")

    task = Transcriber(transcriber(CountingReader("x")).finder, {"a": make}, lambda: ("a", "why not"))
    assert made == [] and task.names == ("a",)
    assert task.reader("auto") is task.reader("a") is task.reader("") and made == ["a"]
    with pytest.raises(InvalidRequest, match=r"no reader 'b'.*auto, a"):
        task.reader("b")


def test_lines_of_a_region_lie_where_they_are_on_the_page() -> None:
    image = marked(page_image(0), (40, 120), 2, skipped=1)
    found = transcriber(CountingReader("a")).read_region(
        image, Box(40.6, 120.2, 280, 300), "a", CancelToken()
    )
    assert [(r.line.box.left, r.line.box.top) for r in found] == [(60, 125), (60, 165)]
    assert [r.reading.text for r in found] == ["a 1", "a 2"]


def test_a_region_without_lines_is_read_as_one_within_the_page() -> None:
    found = transcriber(CountingReader("a")).read_region(
        page_image(0), Box(-50, -20, 5000, 60), "a", CancelToken()
    )
    assert [r.line for r in found] == [Line(Box(0, 0, 300, 61))]


@pytest.mark.parametrize(
    ("box", "said"),
    [
        (Box(10, 10, 14, 300), "too small"),
        (Box(900, 10, 1200, 60), "too small"),
        (Box(200, 60, 20, 10), "too small"),
        (Box(10, 10, 200, 60), "Nothing legible"),
    ],
)
def test_a_region_that_cannot_be_read_says_why(box: Box, said: str) -> None:
    reader = CountingReader("a")
    reader.empty = True
    with pytest.raises(InvalidRequest, match=said):
        transcriber(reader).read_region(page_image(0), box, "a", CancelToken())


def test_cut_lines_need_no_finder() -> None:
    readings = transcriber(CountingReader("a")).read_strips([page_image(1)] * 2, "auto", CancelToken())
    assert [r.text for r in readings] == ["a 1", "a 2"]


@pytest.fixture(scope="module")
def real() -> Transcriber:
    from vlm_studio.reading.detector import Detector
    from vlm_studio.reading.fast import FastReader

    return Transcriber(Detector(), {"fast": FastReader}, lambda: ("fast", ""))


@pytest.mark.parametrize("degrees", [0, 4])
def test_two_drawn_columns_are_read(real: Transcriber, degrees: float) -> None:
    reading = reading_of(read(real, turned(two_columns("Notes on a walk"), degrees)))
    assert reading.text.splitlines() == ["Notes on a walk", *LEFT, *RIGHT]
    for item in reading.lines:
        lefts = [word.box.left for word in item.reading.words]
        assert lefts == sorted(lefts)
        for word in item.reading.words:
            assert word.box.intersection(item.line.box).area == pytest.approx(word.box.area)


def test_a_blank_photo_is_blank(real: Transcriber) -> None:
    assert reading_of(read(real, Image.new("RGB", (500, 400), (240, 238, 230)))).notes == (BLANK_PAGE,)


def test_one_line_read_again_is_as_it_was(real: Transcriber) -> None:
    image = two_columns()
    first = reading_of(read(real, image)).lines[2]
    (again,) = real.read_lines(image, [first.line], real.reader("fast"), CancelToken())
    assert isinstance(again.reading, LineReading) and again == first
