"""The doctor: every part of the machine that matters, in words and for programs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from vlm_studio.cli import main


def test_it_says_what_runs_here_and_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLM_STUDIO_DATA_DIR", str(tmp_path))
    assert main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {"processor", "graphics", "reader", "model", "idefics2-nano", "idefics2-8b", "packages"} <= set(
        found
    )
    assert found["model"].startswith("auto is idefics2-")
    assert found["idefics2-8b"].startswith(("runs here.", "does not run here."))
    assert "at 2c42686c57fe." in found["idefics2-8b"]
    monkeypatch.setenv("VLM_STUDIO_REVISIONS", "idefics2-8b-chatty=main")
    assert main(["doctor", "--json"]) == 0
    assert "at main, which is not pinned" in json.loads(capsys.readouterr().out)["idefics2-8b-chatty"]
    monkeypatch.setenv("VLM_STUDIO_REVISIONS", "idefics3=main")
    assert main(["doctor"]) == 1 and "names no revision" in capsys.readouterr().err
    monkeypatch.delenv("VLM_STUDIO_REVISIONS")
    assert main(["doctor"]) == 0 and "idefics2-8b-chatty:" in capsys.readouterr().out


@pytest.mark.skipif(os.name == "nt", reason="pipes break otherwise there")
def test_a_reader_that_has_seen_enough_is_no_fault(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "vlm_studio", "doctor"],
            cwd=Path(__file__).resolve().parents[1],
            env={**os.environ, "VLM_STUDIO_DATA_DIR": str(tmp_path)},
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")
