"""Inspect as a person does it: an example, an answer, a word, its place on the page, a region, a token, a reload."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.browser
MODEL_MS = 240_000
"""The language model is loaded by the first question."""
TAB = (
    "document.querySelectorAll('[role=tab]').forEach((t) => { if (t.innerText.trim() === name) t.click(); })"
)


def open_tab(tab: Any, name: str) -> None:
    tab.evaluate(f"(name) => {TAB}", name)


def map_of(tab: Any) -> str:
    return str(tab.locator("#inspect-stage .heat").get_attribute("src"))


def test_a_word_leads_to_its_pixels_and_pixels_to_their_words(tab: Any) -> None:
    open_tab(tab, "Inspect")
    tab.click("#inspect-examples button[data-index='0']")
    tab.wait_for_selector("#inspect-stage rect.chosen")
    tab.wait_for_selector("#inspect-words .answer button", timeout=MODEL_MS)
    before = map_of(tab)

    words = tab.locator("#inspect-words .answer button[aria-pressed='false']")
    words.first.click()
    tab.wait_for_function("(was) => document.querySelector('#inspect-stage .heat')?.src !== was", arg=before)
    assert tab.locator("#inspect-words [aria-pressed='true']").count() == 1
    slider = tab.locator("#inspect-stage input[type=range]")
    slider.fill("20")
    assert tab.evaluate("document.querySelector('#inspect-stage .heat').style.opacity") == "0.2"

    box = tab.locator("#inspect-stage .stage").bounding_box()
    tab.mouse.move(box["x"] + box["width"] * 0.1, box["y"] + box["height"] * 0.15)
    tab.mouse.down()
    tab.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + box["height"] * 0.3, steps=5)
    tab.mouse.up()
    tab.wait_for_selector("#inspect-stage rect.region")
    # The strength that a person chose is kept when the picture changes.
    assert tab.evaluate("document.querySelector('#inspect-stage .heat').style.opacity") == "0.2"

    open_tab(tab, "The 64 tokens")
    tab.wait_for_selector("#inspect-tokens [data-token='63']")
    tab.click("#inspect-tokens [data-token='2']")
    tab.wait_for_selector("#inspect-tokens [data-token='2'][aria-pressed='true']")
    assert "Token 3" in tab.inner_text("#inspect-token")

    answer = tab.inner_text("#inspect-words .answer")
    tab.reload()
    tab.wait_for_selector("#transcribe-examples button")
    open_tab(tab, "Inspect")
    tab.wait_for_selector("#inspect-words .answer button")
    assert tab.inner_text("#inspect-words .answer") == answer


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_tab_fits_a_telephone(browser: Any, app: Any, scheme: str) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844}, color_scheme=scheme)
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.goto(app.url)
    page.wait_for_selector("#transcribe-examples button")
    open_tab(page, "Inspect")
    page.wait_for_selector("#inspect-examples button")
    page.click("#inspect-examples button[data-index='0']")
    # The answer is waited for, so that nothing is still running when the app is stopped.
    page.wait_for_selector("#inspect-words .answer button", timeout=MODEL_MS)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    context.close()
