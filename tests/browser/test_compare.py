"""A hand against the base in a browser: both readings, the words gone over on the strip, and found again in Sessions."""

from __future__ import annotations

from typing import Any

import pytest

from tests.browser.conftest import App
from tests.ui.test_compare_tab import LINE, hand
from vlm_studio.core.settings import Settings
from vlm_studio.studio import Studio

pytestmark = pytest.mark.browser

SHOWN = ".shift output span:not([hidden]) b"


def test_a_hand_is_compared_and_its_words_are_gone_over(app: App, tab: Any) -> None:
    studio = Studio(Settings(data_dir=app.data, offline=True))
    ann = hand(studio, size=0.02)
    studio.close()
    tab.get_by_role("tab", name="Frozen vs LoRA").click()
    tab.wait_for_selector("#compare-right", state="visible")
    tab.locator("#compare-right input").click()
    tab.get_by_role("option", name="Ann (hand)").click()
    tab.set_input_files("#compare-picture input[type=file]", str(LINE))
    tab.wait_for_selector("#compare-picture img")
    tab.click("#compare-run")
    tab.wait_for_selector("#compare-result .shift")
    assert "Ann at 100%" in tab.inner_text("#compare-result")
    words = tab.locator(".chances [data-word]")
    words.first.click()
    first = tab.inner_text(SHOWN)
    tab.click(".shift [data-step='1']")
    tab.wait_for_function(
        'first => document.querySelector(".shift output span:not([hidden]) b").innerText !== first', arg=first
    )
    assert tab.inner_text(SHOWN) == words.nth(1).locator("span").inner_text()
    assert tab.locator(".shift img.heat:not([hidden])").count() == 3
    tab.get_by_role("tab", name="Sessions").click()
    tab.locator("#sessions-list [data-session]", has_text="base / Ann").first.click()
    tab.click("#session-open")
    tab.wait_for_selector("#compare-result .shift", state="visible")
    studio = Studio(Settings(data_dir=app.data, offline=True))
    studio.adapters.delete("local", ann)
    studio.close()
