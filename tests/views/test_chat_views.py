"""Messages as HTML: nothing that anybody wrote can run, load or lead away; order and versions are shown."""

from __future__ import annotations

from dataclasses import replace

import pytest

from vlm_studio.core.answers import Usage
from vlm_studio.core.chat import ChatImage, ChatTurn, RestsOn, RunDetails
from vlm_studio.core.conversation import GenParams, ImagePart, TextPart, Turn, Variant
from vlm_studio.core.documents import Box
from vlm_studio.views.chat_messages import live_html, messages_html, unanswered_html
from vlm_studio.views.chat_tray import tray_html
from vlm_studio.views.light_markdown import light_markdown

IMAGES = (ChatImage(1, "a", 'x" onerror="y', 10, 10), ChatImage(2, "b", "two.png", 10, 10))
RUN = RunDetails(
    "model", "nano", Variant(adapter="mine"), GenParams(seed=4), usage=Usage(9, 64, 5, 7), total_ms=2500
)
ATTACKS = (
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "![a](http://evil/x.png)", "[a](javascript:b)",
    "`<b>`", "**<i>**", "```\n<u>\n```", "- <b>\n1. <b>", "# <h1>", "http://evil",
)  # fmt: skip


def turn(
    role: str, *parts: TextPart | ImagePart, run: RunDetails | None = None, status: str = "done"
) -> ChatTurn:
    return ChatTurn("t1", "s", None, Turn(role, parts), status, "", run, ("t0", "t1", "t2"))  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ATTACKS)
def test_text_stays_text(text: str) -> None:
    for html in (
        light_markdown(text),
        live_html(text, text),
        messages_html([turn("user", TextPart(text))], (), {}),
        messages_html(
            [turn("assistant", TextPart(text), TextPart(text, True), run=replace(RUN, notes=(text,)))], (), {}
        ),
    ):
        for tag in ("<script", "<img", "<i>a", "<u>", "<h1", "<a ", "href"):
            assert tag not in html, html
        assert html.count("<b>") == 0


def test_the_markdown_that_models_write() -> None:
    html = light_markdown("Two **things**:\n\n- one `x`\n- two\n\n3. three\n\n```py\na < b\n```\nend\nof it")
    assert html == (
        "<p>Two <strong>things</strong>:</p><ul><li>one <code>x</code></li><li>two</li></ul>"
        '<ol start="3"><li>three</li></ol><pre><code>a &lt; b</code></pre><p>end<br>of it</p>'
    )
    assert light_markdown("  kept * 3 * 4") == "<p>  kept * 3 * 4</p>" and light_markdown("") == ""


def test_parts_stand_in_their_order_with_pictures_in_front_in_a_row() -> None:
    parts = (
        ImagePart("b", "image 2: two.png"),
        TextPart("is\n"),
        ImagePart("a", 'image 1: x" onerror="y'),
        TextPart("?"),
    )
    html = messages_html([turn("user", *parts)], IMAGES, {"a": "data:A", "b": "data:B"})
    places = [html.index(piece) for piece in ('class="row"', "data:B", "is\n", "data:A", ">?<")]
    assert places == sorted(places) and 'onerror="' not in html
    assert "2 / 3" in html and 'data-act="show" data-turn="t0"' in html and 'data-turn="t2"' in html


def test_an_answer_says_what_it_rests_on_and_how_it_came_about() -> None:
    run = replace(RUN, how="quote", rests_on=(RestsOn(2, "the quote", Box(1, 2, 3, 4)),))
    html = messages_html(
        [turn("assistant", TextPart("forty"), TextPart("the quote", True), run=run)], IMAGES, {}
    )
    assert 'data-place="0" data-number="2">image 2: show the place' in html and "how-quote" in html
    html = messages_html(
        [turn("assistant", TextPart("said"), run=replace(RUN, rests_on=(RestsOn(1, "read"),)))], IMAGES, {}
    )
    assert "Rests on the text of image 1" in html and "<blockquote><div>read" in html
    for told in ("nano · 5 tokens · 2.5 s", "<dd>64, splitting auto</dd>", "7 tokens", "mine × 1", "4, 0"):
        assert told in html
    assert "Stopped before" in messages_html([turn("assistant", run=RUN, status="stopped")], (), {})
    assert 'data-act="retry"' in unanswered_html(turn("user", TextPart("x")))


def test_the_tray_numbers_its_pictures() -> None:
    html = tray_html(IMAGES, {"a": "data:A"})
    assert html.count("<li") == 2 and html.count("comes first") == 2 and 'onerror="' not in html
    assert tray_html((), {}) == ""
