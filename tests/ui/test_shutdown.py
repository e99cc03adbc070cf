"""A stop signal while a page is being read: the app ends in good order, and what was read is there afterwards."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.serve.test_cli_serve import free_port, wait_for
from vlm_studio.core.settings import Settings
from vlm_studio.studio import Studio

ROOT = Path(__file__).resolve().parents[2]

APP = '''
import sys, threading
import app
from tests.tasks.fakes import CountingReader, page_image, png, transcriber
from vlm_studio.studio import Studio

class Endless(CountingReader):
    """Never comes past its third line, and looks whether it should."""

    def read(self, strips, cancel):
        for number, reading in enumerate(super().read(strips, cancel)):
            while number == 2 and not cancel.cancelled:
                threading.Event().wait(0.01)
            cancel.raise_if_cancelled()
            yield reading

made = transcriber(Endless("slow"))
Studio.transcriber = property(lambda self: made)
built = app.build_server
def build_server(studio):
    server = built(studio)
    taken = studio.transcriptions.add_files("local", "", [("a.png", png(page_image(6)))])
    run = studio.transcriptions.start("local", taken.session_id, "slow")
    @server.get("/read")
    def read():
        return {"lines": len(run._events)}
    routes = server.router.routes
    routes.insert(0, routes.pop())
    return server
app.build_server = build_server
app.main()
'''


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_what_was_read_is_saved_when_the_app_is_told_to_stop(tmp_path: Path) -> None:
    port = free_port()
    env = {**os.environ, "VLM_STUDIO_DATA_DIR": str(tmp_path / "data"), "VLM_STUDIO_PORT": str(port)}
    with subprocess.Popen(
        [sys.executable, "-c", APP], cwd=ROOT, env=env, stderr=subprocess.PIPE, text=True
    ) as app:
        try:
            url = f"http://127.0.0.1:{port}"
            wait_for(f"{url}/healthz", app)
            for _ in range(200):
                if httpx.get(f"{url}/read").json()["lines"] >= 3:
                    break
            app.send_signal(signal.SIGTERM)
            code = app.wait(60)
        finally:
            app.kill()
        assert code == 0, app.stderr.read()[-2000:] if app.stderr else ""
    studio = Studio(Settings(data_dir=tmp_path / "data"))
    (session,) = studio.session_store.list("local")
    (page,) = studio.session_store.pages("local", session.id)
    assert [line.reading.text for line in studio.transcripts.lines("local", page.id)][:2] == [
        "slow 1",
        "slow 2",
    ]
    studio.close()
