"""Take the README's pictures from the running app. Run: python benchmarks/pictures.py http://127.0.0.1:7860

A headless Chromium does on every tab what a person would do first, with the example pages, and keeps a picture of it
in docs/pictures/. Chromium is found on the PATH or in $CHROMIUM. Nothing else is written.
"""

from __future__ import annotations

import argparse
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from playwright.sync_api import TimeoutError as TooLong
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parents[1]
PICTURES = ROOT / "docs" / "pictures"
EXAMPLES = ROOT / "assets" / "examples"
SIZE = {"width": 1280, "height": 860}
SLOW_MS = 300_000
"""A model's answer on a busy machine."""


def transcribe(page: Any) -> None:
    page.click("#transcribe-examples button[data-index='0']")
    page.wait_for_function(
        "!document.querySelector('.studio-status .bar') && document.querySelector('.transcript .line')",
        timeout=SLOW_MS,
    )
    page.locator(".transcript .line mark").first.click()
    page.wait_for_selector(".transcript .chosen")
    page.wait_for_function("document.querySelector('#transcribe-line input')?.value")


def documents(page: Any) -> None:
    page.set_input_files("#documents-files input[type=file]", str(EXAMPLES / "letter.jpg"))
    field = "#documents-question textarea, #documents-question input"
    page.wait_for_selector(field, state="visible", timeout=SLOW_MS)
    page.wait_for_function(
        "document.querySelector('.document-list li') && !document.querySelector('.document-list .bar')",
        timeout=SLOW_MS,
    )
    page.locator(field).first.fill("How many kilos will the pear tree carry?")
    page.click("#documents-ask")
    page.wait_for_function(
        "document.querySelector('#documents-turns')?.innerText.includes('kilos')", timeout=SLOW_MS
    )


def chat(page: Any) -> None:
    page.click("#chat-examples button[data-index='0']")
    page.wait_for_timeout(1500)
    if page.locator("#chat-send").is_visible() and not page.locator("#chat-messages .turn").count():
        page.click("#chat-send")
    page.wait_for_selector("#chat-messages .turn.answer.done", timeout=SLOW_MS)


def inspect(page: Any) -> None:
    page.click("#inspect-examples button[data-index='0']")
    page.wait_for_selector("#inspect-words .answer button", timeout=SLOW_MS)
    page.locator("#inspect-words .answer button").first.click()
    page.wait_for_selector("#inspect-stage .heat")


def compare(page: Any) -> None:
    page.set_input_files(
        "#compare-picture input[type=file]", str(ROOT / "tests" / "data" / "lines" / "00.jpg")
    )
    page.wait_for_selector("#compare-picture img", timeout=SLOW_MS)
    page.click("#compare-run")
    page.wait_for_selector("#compare-result .compare-side", timeout=SLOW_MS)
    page.evaluate("window.scrollTo(0, 0)")


def nothing(page: Any) -> None:
    """The tab as it opens says enough."""


STEPS: dict[str, tuple[str, Callable[[Any], None]]] = {
    "transcribe": ("Transcribe", transcribe),
    "documents": ("Documents", documents),
    "chat": ("Chat", chat),
    "inspect": ("Inspect", inspect),
    "teach": ("Teach", nothing),
    "compare": ("Frozen vs LoRA", compare),
    "sessions": ("Sessions", nothing),
}


def take(browser: Any, address: str, name: str) -> None:
    label, act = STEPS[name]
    context = browser.new_context(viewport=SIZE, color_scheme="light")
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.goto(address)
    page.wait_for_selector("#transcribe-examples button")
    page.get_by_role("tab", name=label, exact=True).first.click()
    try:
        act(page)
        done = "done"
    except TooLong as error:
        done = f"as far as it came: {str(error).splitlines()[0]}"
    # The last pictures and fonts of an update arrive after its text.
    page.wait_for_timeout(2_000)
    path = PICTURES / f"{name}.jpg"
    page.screenshot(path=path, type="jpeg", quality=78)
    print(f"{path.relative_to(ROOT)}: {path.stat().st_size // 1024} KB, {done}", flush=True)
    context.close()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("address")
    parser.add_argument(
        "names", nargs="*", default=list(STEPS), help=f"of {', '.join(STEPS)}; all by default"
    )
    args = parser.parse_args()
    PICTURES.mkdir(parents=True, exist_ok=True)
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for name in args.names:
            take(browser, args.address, name)
        browser.close()


if __name__ == "__main__":
    main()
