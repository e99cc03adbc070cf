"""Documents as a person asks them: drop a file, ask, see the words marked, come back to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.tasks.documents_pdf import LEASE

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
