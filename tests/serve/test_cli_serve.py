"""The command: it refuses to stand open, answers with the real process, and ends what it began when told to stop."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import pytest

from vlm_studio.cli import main

ROOT = Path(__file__).resolve().parents[2]

SERVER = """
import sys, threading
from tests.serve.scripted import ScriptedEngine
from vlm_studio import cli_serve
from vlm_studio.studio import Studio
Studio.engine = ScriptedEngine(words=tuple(f"w{n} " for n in range(40)), gate=threading.Semaphore(0))
def feed():
    while True:
        Studio.engine.gate.release()
        threading.Event().wait(0.05)
threading.Thread(target=feed, daemon=True).start()
from vlm_studio.cli import main
sys.exit(main(sys.argv[1:]))
"""


def test_it_does_not_stand_open_to_others(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLM_STUDIO_DATA_DIR", str(tmp_path))
    assert main(["serve", "--host", "0.0.0.0"]) == 1
    assert "needs keys" in capsys.readouterr().err
    monkeypatch.setenv("VLM_STUDIO_API_KEYS", "ann:tooshort")
    assert main(["serve", "--host", "0.0.0.0"]) == 1
    said = capsys.readouterr().err
    assert "16 characters" in said and "tooshort" not in said


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_told_to_stop_it_ends_what_it_began_and_takes_nothing_new(tmp_path: Path) -> None:
    port = free_port()
    env = {**os.environ, "VLM_STUDIO_DATA_DIR": str(tmp_path), "VLM_STUDIO_LOG": "json"}
    command = [sys.executable, "-c", SERVER, "serve", "--port", str(port)]
    with subprocess.Popen(command, cwd=ROOT, env=env, stderr=subprocess.PIPE, text=True) as server:
        try:
            url = f"http://127.0.0.1:{port}"
            wait_for(f"{url}/healthz")
            body = {
                "model": "scripted",
                "messages": [{"role": "user", "content": "a secret"}],
                "stream": True,
            }
            with (
                httpx.Client(timeout=30) as idle,
                httpx.stream("POST", f"{url}/v1/chat/completions", json=body, timeout=30) as response,
            ):
                # A connection that is kept open must not get in after the signal either.
                assert idle.get(f"{url}/healthz").status_code == 200
                server.send_signal(signal.SIGTERM)
                text = response.read().decode()
            assert "[DONE]" in text and "w39" in text
            assert server.wait(20) == 0
        finally:
            server.kill()
        log = server.stderr.read() if server.stderr else ""
    assert '"event": "answered"' in log and "secret" not in log


def wait_for(url: str, process: subprocess.Popen[str] | None = None) -> None:
    """Until `url` answers, or `process` has ended."""
    pause = threading.Event()
    for _ in range(900):
        try:
            httpx.get(url, timeout=1)
            return
        except httpx.HTTPError:
            if process is not None and process.poll() is not None:
                break
            pause.wait(0.1)
    said = process.stderr.read()[-2000:] if process is not None and process.stderr else ""
    raise AssertionError(f"{url} never answered. {said}")
