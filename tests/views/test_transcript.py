"""Text, differences, status and picture rows as HTML: the right marks, and nothing unescaped."""

from __future__ import annotations

import base64
import io

from lxml import html
from PIL import Image

from vlm_studio.core.documents import Alternative, Box, Line, LineReading, ReadLine, WordReading
from vlm_studio.views.diff import diff_html
from vlm_studio.views.picture_buttons import picture_buttons_html, thumbnail_uri
from vlm_studio.views.transcript import alternatives_html, status_html, transcript_html

BOX = Box(0, 0, 10, 10)
EVIL = "<img src=x onerror=alert(1)>\"'&"


def word(text: str, confidence: float = 0.99, *others: str, warning: str = "") -> WordReading:
    return WordReading(text, confidence, BOX, tuple(Alternative(o, 0.2) for o in others), warning)


def line(
    *words: WordReading, text: str = "", skipped: bool = False, warnings: tuple[str, ...] = ()
) -> ReadLine:
    said = text or " ".join(w.text for w in words)
    return ReadLine(Line(BOX, maybe_skipped=skipped), LineReading(said, 0.9, words, "fast", warnings))


def items(*lines: ReadLine, selected: int | None = None, authors: tuple[str, ...] = ()):  # type: ignore[no-untyped-def]
    return html.fromstring(transcript_html(lines, selected, authors)).findall("li")


def test_lines_are_numbered_and_one_is_selected() -> None:
    first, second = items(line(word("one")), line(word("two")), selected=1)
    assert [i.get("data-line") for i in (first, second)] == ["0", "1"]
    assert [i.get("aria-selected") for i in (first, second)] == ["false", "true"]
    assert "selected" in second.get("class").split() and "selected" not in first.get("class").split()
    assert items() == []


def test_doubtful_words_are_marked_with_what_else_they_may_be() -> None:
    (item,) = items(
        line(word("sure"), word("meny", 0.41, "many", "menu"), word("odd", 0.9, warning="readers disagree"))
    )
    doubtful, warned = item.findall(".//mark")
    assert item.text_content() == "sure meny odd"
    assert doubtful.get("title") == "41% sure; or: many, menu"
    assert "readers disagree" in warned.get("title")


def test_the_state_of_a_line_is_said() -> None:
    waiting, skipped, mine, nothing = items(
        line(text="", warnings=("waiting",)),
        line(skipped=True),
        line(text="by hand"),
        line(),
        authors=("reader", "reader", "person", "reader"),
    )
    assert "waiting" in waiting.get("class").split()
    assert "no line covers" in skipped.text_content()
    assert "corrected" in mine.get("class").split() and mine.text_content() == "by handyours"
    assert nothing.text_content() == "nothing legible"


def test_everything_typed_or_read_is_escaped() -> None:
    reading = line(word(EVIL, 0.3, EVIL, warning=EVIL))
    shown = (
        transcript_html([reading, line(text=EVIL)], None, ["reader", "person"])
        + alternatives_html(reading.reading)
        + diff_html([("equal", EVIL), ("insert", EVIL), ("delete", EVIL)])
        + status_html(EVIL, 0.5)
        + picture_buttons_html([("", EVIL)], None, EVIL)
    )
    tree = html.fromstring(f"<div>{shown}</div>")
    assert tree.findall(".//img") == [] and not tree.xpath("//@onerror")
    assert tree.text_content().count(EVIL) == 9


def test_alternatives_say_which_word_they_are_for() -> None:
    reading = line(
        word("sure", 0.99, "never shown"), word("meny", 0.4, "many", "menu"), word("x", 0.4)
    ).reading
    chips = html.fromstring(alternatives_html(reading)).findall(".//button")
    assert [(c.get("data-word"), c.get("data-choice"), c.text) for c in chips] == [
        ("1", "0", "many"), ("1", "1", "menu"),
    ]  # fmt: skip
    assert alternatives_html(line(word("sure")).reading) == ""


def test_a_status_has_a_bar_only_while_something_runs() -> None:
    assert "progressbar" not in status_html("Done.", None)
    for share, value in ((0.0, "0"), (0.256, "26"), (1.7, "100"), (-1.0, "0")):
        bar = html.fromstring(status_html("Reading", share)).find(".//span[@role='progressbar']")
        assert bar.get("aria-valuenow") == value
    assert "problem" in status_html("No", None, problem=True)


def test_a_difference_marks_what_went_and_what_came() -> None:
    tree = html.fromstring(diff_html([("equal", "the ca"), ("delete", "t"), ("insert", "r")]))
    assert (tree.text, tree.findtext("del"), tree.findtext("ins")) == ("the ca", "t", "r")


def test_picture_buttons_say_which_is_chosen() -> None:
    uri = thumbnail_uri(Image.new("RGBA", (400, 200), "red"), 100)
    picture = Image.open(io.BytesIO(base64.b64decode(uri.removeprefix("data:image/jpeg;base64,"))))
    assert picture.size == (100, 50)
    buttons = html.fromstring(picture_buttons_html([(uri, "first"), ("", "second")], 1, "Pages")).findall(
        "button"
    )
    assert [b.get("aria-pressed") for b in buttons] == ["false", "true"]
    assert buttons[0].find("img").get("src") == uri and buttons[1].find("img") is None
