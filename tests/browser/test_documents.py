"""Documents as a person asks them: drop a file, ask, see the words marked, come back to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.tasks.documents_pdf import LEASE, encrypted

pytestmark = pytest.mark.browser


def asked(tab: Any, question: str, articles: int) -> str:
    tab.fill("#documents-question textarea", question)
    tab.click("#documents-ask")
    tab.wait_for_function(f"document.querySelectorAll('.asked article').length === {articles}")
    return str(tab.locator(".asked article").first.inner_text())


def test_a_pdf_is_asked_and_its_proof_is_shown_again_after_a_reload(tab: Any, tmp_path: Path) -> None:
    path = tmp_path / "lease <b>.pdf"
    path.write_bytes(LEASE)
    tab.get_by_role("tab", name="Documents", exact=True).click()
    tab.set_input_files("#documents-files input[type=file]", str(path))
    tab.wait_for_selector(".document-list li")
    tab.wait_for_function("!document.querySelector('.document-list .bar')")
    assert "875 pounds" in asked(tab, "How much is the monthly rent?", 1)
    tab.wait_for_selector("#documents-used button img")
    assert "Fergus Baird" in asked(tab, "Who is the caretaker?", 2)
    tab.wait_for_function("document.querySelector('#documents-caption').innerText.includes('page 2 of 2')")
    tab.locator(".asked article").nth(1).locator(".quote").first.click()
    tab.wait_for_function("document.querySelector('#documents-caption').innerText.includes('page 1 of 2')")
    assert "does not say" in asked(tab, "What colour is the mayor's bicycle?", 3)
    tab.reload()
    tab.wait_for_selector(".asked article")
    assert tab.locator(".asked article").count() == 3


def opened(tab: Any, folder: Path, files: dict[str, bytes], shown: int) -> None:
    """Drop files, and wait until as many as `shown` are taken in."""
    for name, data in files.items():
        (folder / name).write_bytes(data)
    tab.get_by_role("tab", name="Documents", exact=True).click()
    tab.set_input_files("#documents-files input[type=file]", [str(folder / name) for name in files])
    listed(tab, shown)


def listed(tab: Any, count: int) -> list[str]:
    tab.wait_for_function(
        f"document.querySelectorAll('.document-list li').length === {count}"
        " && !document.querySelector('.document-list .bar')"
    )
    return [str(name) for name in tab.locator(".document-list b").all_inner_texts()]


def test_a_password_adds_only_what_waited_for_it(tab: Any, tmp_path: Path) -> None:
    opened(tab, tmp_path, {"a.pdf": LEASE, "b.pdf": LEASE, "c.pdf": encrypted(LEASE, "one")}, 2)
    tab.fill("#documents-password input", "one")
    tab.press("#documents-password input", "Enter")
    assert listed(tab, 3) == ["a.pdf", "b.pdf", "c.pdf"]
    tab.wait_for_selector("#documents-password", state="hidden")
    late = tmp_path / "late.pdf"
    late.write_bytes(encrypted(LEASE, "two"))
    tab.get_by_text("More: page range").click()
    tab.set_input_files("#documents-more input[type=file]", str(late))
    tab.wait_for_selector("#documents-password input", state="visible")
    assert tab.input_value("#documents-password input") == ""
    tab.fill("#documents-password input", "two")
    tab.press("#documents-password input", "Enter")
    assert listed(tab, 4) == ["a.pdf", "b.pdf", "c.pdf", "late.pdf"]


def test_a_tick_stays_with_its_document(tab: Any, tmp_path: Path) -> None:
    opened(tab, tmp_path, {"a.pdf": LEASE, "b.pdf": LEASE, "c.pdf": LEASE, "d.pdf": LEASE}, 4)
    boxes = tab.locator(".document-list input")

    def tick(row: int) -> None:
        boxes.nth(row).click()
        tab.wait_for_function(
            f"document.querySelectorAll('.document-list input')[{row}].matches('[checked]')"
        )

    def remove(row: int, left: int) -> list[bool]:
        tab.locator(".document-list li").nth(row).get_by_text("Remove").click()
        listed(tab, left)
        return [boxes.nth(n).is_checked() for n in range(left)]

    tick(1)
    assert remove(1, 3) == [False, False, False]
    tick(2)
    assert remove(0, 2) == [False, True]


def test_the_next_question_can_be_typed_while_an_answer_is_made(tab: Any, tmp_path: Path) -> None:
    opened(tab, tmp_path, {"a.pdf": LEASE}, 1)
    field = tab.locator("#documents-question textarea")
    field.fill("Who is the caretaker?")
    field.press("Enter")
    field.press_sequentially("How much is the monthly rent?")
    tab.wait_for_selector(".asked article")
    tab.wait_for_function("document.querySelector('#documents-notice').innerText.trim() === ''")
    assert tab.locator(".asked h4").all_inner_texts() == ["Who is the caretaker?"]
    assert field.input_value() == "How much is the monthly rent?"
    field.press("Enter")
    tab.wait_for_function("document.querySelectorAll('.asked article').length === 2")
    assert field.input_value() == ""


def test_new_documents_keep_no_page_range_and_no_table(tab: Any, tmp_path: Path) -> None:
    opened(tab, tmp_path, {"a.pdf": LEASE}, 1)
    tab.get_by_text("More: page range").click()
    pages = tab.get_by_label("Only these pages")
    pages.fill("9")
    asked = tab.locator("#documents-question textarea")
    asked.fill("Who is the caretaker?")
    asked.press("Enter")
    tab.wait_for_selector(".toast-body:has-text('a.pdf has 2 pages.')")
    assert asked.input_value() == "Who is the caretaker?"
    pages.fill("2")
    tab.click("#documents-each")
    tab.wait_for_selector("#documents-each-table td:has-text('Fergus Baird')")
    tab.click("#documents-new")
    tab.wait_for_selector("#documents-list", state="hidden")
    opened(tab, tmp_path, {"b.pdf": LEASE}, 1)
    assert pages.input_value() == "" and tab.locator("#documents-each-table td").count() == 0
    assert tab.get_by_text("answers.csv").count() == 0 and asked.input_value() == "Who is the caretaker?"
