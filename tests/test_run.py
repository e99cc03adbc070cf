"""run.py: what it refuses, what it repairs, and that a finished installation is not repeated."""

from __future__ import annotations

import ast
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("run_under_test", ROOT / "run.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "VENV", tmp_path / ".venv")
    return module


def test_uses_only_the_standard_library() -> None:
    tree = ast.parse((ROOT / "run.py").read_text("utf-8"))
    names = {a.name.split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    names |= {n.module.split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.module}
    assert names <= set(sys.stdlib_module_names)


@pytest.mark.parametrize(
    ("version", "good"), [((3, 10), False), ((3, 11), True), ((3, 12), True), ((3, 13), False)]
)
def test_python_version(run: ModuleType, version: tuple[int, int], good: bool) -> None:
    if good:
        run.check_python(version)
    else:
        with pytest.raises(run.SetupError, match=r"3\.11 or 3\.12"):
            run.check_python(version)


def test_missing_venv_module_is_named(run: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    class Failed:
        returncode = 1
        stdout = ""
        stderr = "No module named venv"

    monkeypatch.setattr(run.subprocess, "run", lambda *a, **k: Failed())
    with pytest.raises(run.SetupError, match="python3-venv"):
        run.ensure_venv()


def test_small_disk_is_said_before_anything_is_downloaded(
    run: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.VENV.mkdir()
    monkeypatch.setattr(run.shutil, "disk_usage", lambda _: type("U", (), {"free": 10**9})())
    monkeypatch.setattr(run.subprocess, "call", lambda *a, **k: pytest.fail("pip was started"))
    with pytest.raises(run.SetupError, match="GB are free"):
        run.install(run.venv_python(), development=False)


def test_interrupted_installation_goes_on_and_a_finished_one_rests(
    run: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.VENV.mkdir()
    monkeypatch.setattr(run.shutil, "disk_usage", lambda _: type("U", (), {"free": 10**12})())
    calls: list[list[str]] = []
    results = iter([0, 1, 0])

    def pip(command: list[str], **_: object) -> int:
        calls.append(command)
        return next(results)

    monkeypatch.setattr(run.subprocess, "call", pip)
    with pytest.raises(run.SetupError, match="No network"):
        run.install(run.venv_python(), development=False)
    run.install(run.venv_python(), development=False)
    run.install(run.venv_python(), development=False)
    assert ["--no-deps" in c for c in calls] == [False, True, True]


class Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.server.says)  # type: ignore[attr-defined]

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize(
    ("says", "status", "told"),
    [(b'{"status":"ok"}', 0, "already running"), (b"another program", 1, "used by another program")],
)
def test_a_port_that_is_taken_starts_nothing(
    run: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    says: bytes,
    status: int,
    told: str,
) -> None:
    monkeypatch.setattr(run.subprocess, "Popen", lambda *_, **__: pytest.fail("the app was started"))
    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        server.says = says  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("VLM_STUDIO_PORT", str(server.server_port))
        assert run.start(Path(sys.executable), ["--no-browser"]) == status
        server.shutdown()
    assert told in "".join(capfd.readouterr())


@pytest.mark.skipif(os.name == "nt", reason="Ctrl+C is another thing there")
def test_a_stopped_app_may_finish_what_it_saves(tmp_path: Path) -> None:
    """Ctrl+C in a terminal reaches both; whoever is slow to end must not be killed for it."""
    shutil.copy(ROOT / "run.py", tmp_path)
    (tmp_path / "app.py").write_text(
        "import signal, sys, threading\n"
        "stop = threading.Event()\n"
        "signal.signal(signal.SIGINT, lambda *_: stop.set())\n"
        "signal.signal(signal.SIGTERM, lambda *_: stop.set())\n"
        "print('started', flush=True)\n"
        "stop.wait()\n"
        "threading.Event().wait(0.6)\n"  # longer than subprocess.call would wait before it kills
        "print('saved', flush=True)\n"
    )
    code = "import run, sys; from pathlib import Path; run._taken = lambda _: False; run._answers = lambda _: False;"
    code += "sys.exit(run.start(Path(sys.executable), ['--no-browser']))"
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE, start_new_session=True
    )
    assert process.stdout is not None
    assert any(b"started" in row for row in iter(process.stdout.readline, b""))
    os.killpg(process.pid, signal.SIGINT)
    out, _ = process.communicate(timeout=30)
    assert b"saved" in out and process.returncode == 0
