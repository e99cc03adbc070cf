"""The main job as a person does it: choose a page, watch it read, put a line right, take it away, come back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.browser

READ = "!document.querySelector('.studio-status .bar') && document.querySelector('.transcript .line')"
LINE = "#transcribe-line input, #transcribe-line textarea"


def read_example(tab: Any) -> None:
    tab.click("#transcribe-examples button[data-index='0']")
    tab.wait_for_function(READ)


def choose_on_page(tab: Any, x: float, y: float, line: str) -> None:
    """Click the page at shares of its size until `line` is chosen: the last redrawing may swap the picture under a click."""
    sync_api = pytest.importorskip("playwright.sync_api")
    for last in (False, False, True):
        picture = tab.locator("#transcribe-page img").first.bounding_box()
        tab.mouse.click(picture["x"] + picture["width"] * x, picture["y"] + picture["height"] * y)
        try:
            tab.wait_for_function(
                f"document.querySelector('.transcript .selected')?.dataset.line === '{line}'",
                timeout=60_000 if last else 6_000,
            )
        except sync_api.TimeoutError:
            if last:
                raise
        else:
            return


def shown(tab: Any) -> str:
    return str(tab.inner_text(".transcript"))


def test_a_page_is_read_corrected_exported_and_found_again(tab: Any, app: Any, tmp_path: Path) -> None:
    read_example(tab)
    assert "the dentist before ten" in shown(tab)
    tab.click(".transcript .line[data-line='1']")
    tab.wait_for_function("document.querySelector('.transcript .selected')?.dataset.line === '1'")
    tab.locator(LINE).first.fill("Call <b>Dr. Müller</b> & co")
    tab.locator(LINE).first.press("Enter")
    tab.wait_for_function("document.querySelector('.transcript .selected')?.dataset.line === '2'")
    assert "Call <b>Dr. Müller</b> & co" in shown(tab)  # escaped: shown as typed, not as markup

    with tab.expect_download() as download:
        tab.click("#transcribe-export")
        tab.locator("a[download]").first.click()
    download.value.save_as(tmp_path / "out.txt")
    assert "Call <b>Dr. Müller</b> & co" in (tmp_path / "out.txt").read_text("utf-8")

    tab.reload()
    tab.wait_for_selector(".transcript .line")
    assert "Dr. Müller" in shown(tab)
    app.stop()
    app.start()
    tab.reload()
    tab.wait_for_selector(".transcript .line")
    assert "Dr. Müller" in shown(tab)


def test_a_click_on_the_page_chooses_the_line_under_it_and_undo_brings_the_reading_back(tab: Any) -> None:
    read_example(tab)
    before = tab.inner_text(".transcript .line[data-line='0']")
    choose_on_page(tab, 0.15, 0.14, "0")
    tab.locator(LINE).first.fill("Sunday")
    tab.locator(LINE).first.press("Enter")
    tab.wait_for_function("document.querySelector('.transcript .line[data-line=\"0\"] .who')")
    tab.click(".transcript .line[data-line='0']")
    tab.wait_for_function("document.querySelector('.transcript .selected')?.dataset.line === '0'")
    tab.get_by_role("button", name="Undo", exact=True).click()
    tab.wait_for_function("!document.querySelector('.transcript .line[data-line=\"0\"] .who')")
    assert tab.inner_text(".transcript .line[data-line='0']") == before


def test_the_keyboard_alone_corrects_and_leaving_a_line_keeps_what_was_typed(tab: Any) -> None:
    read_example(tab)
    tab.locator(".transcript .line[data-line='1']").focus()
    tab.keyboard.press("Enter")
    tab.wait_for_function(
        "document.activeElement?.closest('#transcribe-line') && document.activeElement.value"
    )
    tab.keyboard.press("End")
    tab.keyboard.type(" and more")
    tab.keyboard.press("ArrowDown")
    tab.wait_for_function("document.querySelector('.transcript .selected')?.dataset.line === '2'")
    assert "and more" in tab.inner_text(".transcript .line[data-line='1']")
    tab.click(".transcript .line[data-line='0'] [data-word='1']")
    tab.wait_for_function(
        "document.querySelector('.transcript .chosen')?.textContent === document.getSelection().toString()"
        " || document.activeElement.selectionEnd > document.activeElement.selectionStart"
    )


def choose(tab: Any, line: str) -> None:
    tab.click(f".transcript .line[data-line='{line}']")
    tab.wait_for_function(
        "(line) => document.querySelector('.transcript .selected')?.dataset.line === line"
        " && document.querySelector('#transcribe-given input, #transcribe-given textarea')?.value",
        arg=line,
    )


def test_a_second_window_that_only_looks_undoes_nothing(tab: Any) -> None:
    read_example(tab)
    other = tab.context.new_page()
    other.set_default_timeout(180_000)
    tab.wait_for_function("location.search.includes('session=')")
    other.goto(tab.url)
    other.wait_for_selector(".transcript .line")
    choose(other, "3")
    choose(tab, "3")
    tab.locator(LINE).first.fill("put right here")
    tab.locator(LINE).first.press("Enter")
    tab.wait_for_function("document.querySelector('.transcript .line[data-line=\"3\"] .who')")
    choose(other, "1")
    assert "put right here" in other.inner_text(".transcript .line[data-line='3']")


def test_keys_before_the_answer_to_enter_go_into_the_next_line(tab: Any) -> None:
    read_example(tab)
    choose(tab, "1")
    before = tab.inner_text(".transcript .line[data-line='2']")
    slow = tab.context.new_cdp_session(tab)
    slow.send("Network.enable")
    slow.send(
        "Network.emulateNetworkConditions",
        {"offline": False, "latency": 400, "downloadThroughput": -1, "uploadThroughput": -1},
    )
    tab.locator(LINE).first.fill("one")
    tab.keyboard.press("Enter")
    tab.keyboard.type("two")
    tab.wait_for_function(
        "document.querySelector('.transcript .selected')?.dataset.line === '2'"
        " && document.querySelector('#transcribe-line input, #transcribe-line textarea').value.includes('two')"
    )
    assert tab.inner_text(".transcript .line[data-line='2']") == before
    assert tab.inner_text(".transcript .line[data-line='1'] .text") == "one"
    tab.locator(LINE).first.fill("")
    tab.keyboard.press("Enter")
    tab.keyboard.type("refused, and here still")
    tab.wait_for_function(
        "document.querySelector('#transcribe-line input, #transcribe-line textarea').value"
        " === 'refused, and here still'"
    )


def test_a_reload_with_a_line_half_typed_is_asked_about(tab: Any) -> None:
    read_example(tab)
    choose(tab, "1")
    tab.locator(LINE).first.fill("half typed")
    with tab.expect_event("dialog") as asked:
        tab.evaluate("setTimeout(() => location.reload())")
    assert asked.value.type == "beforeunload"
    asked.value.dismiss()
    assert tab.locator(LINE).first.input_value() == "half typed"


def test_a_bad_file_says_what_is_wrong_and_the_app_goes_on(tab: Any, tmp_path: Path) -> None:
    bad = tmp_path / "notes.jpg"
    bad.write_text("this is no picture")
    tab.set_input_files("#transcribe-files input[type=file]", str(bad))
    tab.wait_for_selector("#transcribe-notice .problem")
    assert "notes.jpg is neither an image nor a PDF" in tab.inner_text("#transcribe-notice")
    assert tab.locator("#transcribe-examples button").first.is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_cut_off_on_a_telephone(browser: Any, app: Any, scheme: str) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844}, color_scheme=scheme)
    page = context.new_page()
    page.goto(app.url)
    page.wait_for_selector("#transcribe-examples button", timeout=60_000)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    context.close()
