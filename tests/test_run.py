"""run.py: what it refuses, what it repairs, and that a finished installation is not repeated."""

from __future__ import annotations

import ast
import importlib.util
import sys
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
