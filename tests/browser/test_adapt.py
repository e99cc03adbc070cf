"""Teach in a browser: files that are refused make way, and the keyboard keeps its place in a hand's card."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import App
from tests.ui.test_compare_tab import hand
from vlm_studio.core.settings import Settings
from vlm_studio.studio import Studio

pytestmark = pytest.mark.browser


@pytest.fixture
def exported(app: App, tmp_path: Path) -> Iterator[Path]:
    """Of a hand that is there while the test runs."""
    studio = Studio(Settings(data_dir=app.data, offline=True))
    ann = hand(studio, size=0.02)
    (tmp_path / "ann.adapter.zip").write_bytes(studio.adapters.export("local", ann)[0])
    studio.close()
    yield tmp_path / "ann.adapter.zip"
    studio = Studio(Settings(data_dir=app.data, offline=True))
    studio.adapters.delete("local", ann)
    studio.close()


def test_the_keyboard_keeps_its_place_in_the_card(exported: Path, tab: Any) -> None:
    tab.get_by_role("tab", name="Teach").click()
    tab.locator("#adapt-list [data-session]").first.click()
    tab.wait_for_selector("#adapt-use", state="visible")
    for pressed, then in (
        ("use", "stop-using"),
        ("stop-using", "use"),
        ("delete", "keep-it"),
        ("keep-it", "delete"),
    ):
        tab.locator(f"#adapt-{pressed}").focus()
        tab.keyboard.press("Enter")
        tab.wait_for_function("id => document.activeElement.id === id", arg=f"adapt-{then}")
    tab.click("#adapt-export")
    tab.wait_for_selector("#adapt-download", state="visible")
    tab.get_by_role("button", name="Keep name and notes").click()
    tab.wait_for_selector("#adapt-download", state="hidden")


def test_a_file_that_is_refused_makes_way_for_the_next(exported: Path, tab: Any) -> None:
    bad = exported.with_name("bad.adapter.zip")
    bad.write_bytes(b"nothing")
    tab.get_by_role("tab", name="Teach").click()
    tab.get_by_role("button", name="Bring in an adapter").click()
    drop = tab.locator("#adapt-import input[type=file]")
    for path, told in ((bad, "not an adapter"), (exported, "there already, as Ann"), (bad, "not an adapter")):
        drop.set_input_files(str(path))
        tab.wait_for_selector(f".toast-body:has-text('{told}')")
        tab.wait_for_selector("#adapt-import input[type=file]", state="attached")
        for close in tab.locator(".toast-close").all():
            close.click()
        tab.wait_for_selector(".toast-body", state="detached")
