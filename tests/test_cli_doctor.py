"""The doctor: every part of the machine that matters, in words and for programs."""

from __future__ import annotations

import json
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
    assert main(["doctor"]) == 0 and "idefics2-8b-chatty:" in capsys.readouterr().out
