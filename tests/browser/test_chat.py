"""A conversation as a person has it: pictures at their places, a stop, an edit, a branch, a reload, a restart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.browser

LINES = Path(__file__).resolve().parents[1] / "data" / "lines"
TEXT = "#chat-text textarea"
PATIENCE = 240_000
"""Milliseconds for a language model on a busy machine."""


def open_chat(tab: Any) -> None:
    tab.get_by_role("tab", name="Chat", exact=True).click()
    tab.wait_for_selector("#chat-examples button")


def type_and_insert(tab: Any, *pieces: str | int) -> None:
    """Words are typed, numbers are images put at the caret by their button."""
    tab.click(TEXT)
    for piece in pieces:
        if isinstance(piece, str):
            tab.keyboard.insert_text(piece)
            continue
        tab.click(f".chat-tray li[data-number='{piece}'] .insert")
        tab.wait_for_function(f"document.querySelector('{TEXT}').value.endsWith('<image {piece}>')")


def order_of_last_message(tab: Any) -> list[str]:
    """Its words and the numbers of its pictures, as they stand on the page."""
    script = """() => [...[...document.querySelectorAll('#chat-messages .turn.asked')].pop()
        .querySelectorAll('.words, .picture')].map((n) => n.dataset.number ?? n.textContent.trim())"""
    return list(tab.evaluate(script))


def send(tab: Any, text: str) -> None:
    tab.fill(TEXT, text)
    tab.press(TEXT, "Enter")


def answered(tab: Any, question: str, how: str) -> None:
    """Wait until `question` is the last message shown, with an answer of that kind below it."""
    script = """([question, how]) => {
        const turns = [...document.querySelectorAll('#chat-messages .turn')], [asked, answer] = turns.slice(-2);
        return asked?.innerText.includes(question) && answer?.classList.contains('how-' + how);
    }"""
    tab.wait_for_function(script, arg=[question, how])


def last_question(tab: Any) -> str:
    return str(tab.locator("#chat-messages .turn.asked").last.inner_text())


def test_a_conversation_outlives_stop_edit_branch_reload_and_restart(tab: Any, app: Any) -> None:
    tab.set_default_timeout(PATIENCE)
    open_chat(tab)

    # Three pictures, two of them where the caret was; the third has no place and comes first.
    tab.set_input_files(
        "#chat-composer input[type=file]", [str(LINES / f"{n}.jpg") for n in ("05", "06", "07")]
    )
    tab.wait_for_selector(".chat-tray li[data-number='3']")
    type_and_insert(tab, "What does", 3, " say, and", 1, " beside it?")
    tab.wait_for_selector(".chat-tray li[data-number='1'].placed")
    assert tab.locator(".chat-tray li:not(.placed) .first").inner_text() == "comes first"
    tab.press(TEXT, "Enter")
    tab.wait_for_selector("#chat-messages .turn.answer.done")
    assert order_of_last_message(tab) == ["2", "What does", "3", "say, and", "1", "beside it?"]
    assert tab.locator("#chat-messages blockquote").count() >= 1
    assert tab.input_value(TEXT) == "" and tab.locator(".chat-tray li").count() == 0

    # What the reader cannot see is not made up.
    send(tab, "What colour is the cat in the picture?")
    answered(tab, "What colour", "cannot_see")

    # A reload in the middle of an answer joins it again; Stop keeps what there is.
    send(tab, "Write a long story about the sea.")
    tab.wait_for_selector("#chat-live .live .said")
    tab.reload()
    tab.wait_for_selector("#chat-live .live .said, #chat-messages .turn.how-model")
    if tab.locator("#chat-stop").is_visible():
        tab.click("#chat-stop")
    answered(tab, "Write a long story", "model")
    story = tab.locator("#chat-messages .turn.how-model .said").first.inner_text()
    assert story.strip()

    # An edit is another version; the arrows go back to the one before, with its answer.
    tab.locator("#chat-messages .turn.asked [data-act=edit]").last.click()
    tab.wait_for_function(f"document.querySelector('{TEXT}').value.startsWith('Write a long story')")
    send(tab, "What does image 2 say?")
    answered(tab, "What does image 2 say?", "transcript")
    assert "2 / 2" in last_question(tab)
    tab.locator("[aria-label='Version before']").last.click()
    answered(tab, "Write a long story", "model")
    assert tab.locator("#chat-messages .turn.how-model .said").first.inner_text() == story

    tab.click(TEXT)
    tab.keyboard.insert_text("not yet sent")
    app.stop()
    app.start()
    tab.reload()
    answered(tab, "Write a long story", "model")
    tab.wait_for_function(f"document.querySelector('{TEXT}').value === 'not yet sent'")
    assert tab.locator("#chat-messages .turn.how-model .said").first.inner_text() == story
    assert tab.locator("#chat-messages .turn.asked").count() == 3
    tab.locator("[aria-label='Version after']").last.click()
    answered(tab, "What does image 2 say?", "transcript")

    # And it is found by a word of its question.
    tab.get_by_role("tab", name="Sessions", exact=True).click()
    tab.locator("#sessions-query input, #sessions-query textarea").first.fill("colour cat")
    tab.wait_for_selector("#sessions-list .snippet mark")
    tab.click("#sessions-list [data-session]")
    tab.click("#session-open")
    answered(tab, "What does image 2 say?", "transcript")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_chat_fits_a_telephone(browser: Any, app: Any, scheme: str) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844}, color_scheme=scheme)
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.goto(app.url)
    open_chat(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.locator("#chat-send").is_visible() and page.locator("#chat-add").is_visible()
    context.close()
