"""The command: what it prints, what it writes, and that it keeps what was asked."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest
from PIL import Image

from tests.ui.test_inspect_tab import inspecting, page_file
from vlm_studio import cli_inspect
from vlm_studio.core.errors import InvalidRequest, NotFound
from vlm_studio.core.sessions import LOCAL_OWNER
from vlm_studio.studio import Studio

__all__ = ["inspecting"]


def arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    cli_inspect.add_parser(parser.add_subparsers())
    return parser.parse_args(["inspect", *words])


def test_json_on_standard_output_pictures_in_a_folder(
    inspecting: Studio, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    args = arguments(page_file(tmp_path), "--line", "2", "--format", "json", "--check", "--out", str(out))
    assert cli_inspect.run(args, inspecting) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["answer"] == "Call the dentist" and found["words"][0]["source"] == "read"
    assert "honesty" in found["words"][0] and found["fed"][0]["pooled_tokens"] == 8
    names = sorted(path.name for path in out.iterdir())
    assert names == ["atlas-01.png", "fed-01.png", "word-01.png", "word-02.png", "word-03.png"]
    assert Image.open(out / "word-01.png").width == 300
    assert inspecting.session_store.count(LOCAL_OWNER, "inspect") == 1


def test_text_says_what_was_read_and_where(
    inspecting: Studio, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli_inspect.run(arguments(page_file(tmp_path)), inspecting) == 0
    told = capsys.readouterr().out
    assert told.startswith("Call the dentist") and "guessed" in told and "Kept as session" in told


def test_a_page_or_line_that_is_not_there(inspecting: Studio, tmp_path: Path) -> None:
    page = Image.open(page_file(tmp_path))
    page.save(tmp_path / "report.pdf", save_all=True, append_images=[page, page])
    report = str(tmp_path / "report.pdf")
    for wanted in ("9", "0"):
        with pytest.raises(InvalidRequest, match=r"report\.pdf has 3 pages|no page 0"):
            cli_inspect.run(arguments(report, "--page", wanted), inspecting)
    with pytest.raises(InvalidRequest, match=r"no line 99 on this page: it has \d+ lines?\."):
        cli_inspect.run(arguments(page_file(tmp_path), "--line", "99"), inspecting)


def test_a_file_that_is_not_there(inspecting: Studio, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        cli_inspect.run(arguments(str(tmp_path / "none.png")), inspecting)
