"""The app in a process of its own and a headless Chromium in front of it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
START_SECONDS = 300


class App:
    """A running app; `stop` and `start` again keep its data and its port."""

    def __init__(self, data: Path) -> None:
        self.data = data
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        environment = {**os.environ, "VLM_STUDIO_PORT": str(self.port), "VLM_STUDIO_DATA_DIR": str(self.data)}
        self.data.mkdir(parents=True, exist_ok=True)
        with (self.data / "app.txt").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "app.py"], cwd=ROOT, env=environment, stdout=log, stderr=log
            )
        for _ in range(START_SECONDS * 4):
            try:
                urllib.request.urlopen(self.url + "/healthz", timeout=5).close()
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                if self.process.poll() is not None:
                    break
                # Waits for a process, not for a result: nothing is asserted about how long it takes.
                try:
                    self.process.wait(0.25)
                except subprocess.TimeoutExpired:
                    continue
            else:
                return
        pytest.fail("the app did not start: " + (self.data / "app.txt").read_text("utf-8")[-2000:])

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(30)
            self.process = None


@pytest.fixture(scope="session")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    running = App(tmp_path_factory.mktemp("browser") / "data")
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    with sync_api.sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield made
        made.close()


@pytest.fixture
def tab(browser: Any, app: App) -> Iterator[Any]:
    """A page of its own, already on the app; fails on errors in its console."""
    context = browser.new_context(viewport={"width": 1280, "height": 950}, accept_downloads=True)
    page = context.new_page()
    page.set_default_timeout(180_000)
    page.goto(app.url)
    page.wait_for_selector("#transcribe-examples button")
    yield page
    context.close()
