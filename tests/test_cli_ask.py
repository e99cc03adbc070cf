"""``python -m vlm_studio ask`` as a shell runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tasks.documents_pdf import LEASE, encrypted, pdf
from vlm_studio.cli import main

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def lease(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VLM_STUDIO_DATA_DIR", str(tmp_path / "data"))
    path = tmp_path / "lease.pdf"
    path.write_bytes(LEASE)
    return path


def run(*arguments: object) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "vlm_studio", "ask", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, timeout=120)


def test_an_answer_as_json_with_a_bad_file_beside_it(lease: Path) -> None:
    gone = lease.parent / "gone.pdf"
    done = run(lease, gone, "How much is the monthly rent?")
    assert done.returncode == 1 and b"gone.pdf" in done.stderr and b"Traceback" not in done.stderr
    value = json.loads(done.stdout)
    assert set(value) == {"answer", "found", "citations", "seconds"}
    assert value["found"] is True and value["answer"].startswith("875 pounds") and value["seconds"] > 0
    first = value["citations"][0]
    assert set(first) == {"file", "page", "quote", "boxes"}
    assert (first["file"], first["page"]) == (str(lease), 1) and "875 pounds" in first["quote"]
    ((x0, y0, x1, y1),) = first["boxes"]
    assert 45 < x0 < x1 < 500 and 100 < y0 < y1 < 130  # points from the top left corner


def test_a_damaged_file_is_asked_with_a_word_of_warning(
    lease: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    lease.write_bytes(LEASE[:-60])
    assert main(["ask", "--format", "text", str(lease), "How much is the monthly rent?"]) == 0
    printed = capsysbinary.readouterr()
    assert printed.out.startswith(b"875 pounds") and printed.err.count(b"lease.pdf was damaged") == 1


def test_no_answer_is_an_answer(lease: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    assert main(["ask", str(lease), "What colour is the mayor's bicycle?"]) == 0
    value = json.loads(capsysbinary.readouterr().out)
    assert value["found"] is False and value["citations"] == [] and "does not say" in value["answer"]


def test_text_pages_and_password(lease: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    lease.write_bytes(encrypted(LEASE, "secret"))
    arguments = ["ask", "--format", "text", "--pages", "2", str(lease), "Who is the caretaker?"]
    assert main(arguments) == 1 and b"password" in capsysbinary.readouterr().err
    assert main([*arguments, "--password", "secret"]) == 0
    said = capsysbinary.readouterr().out.decode()
    assert said.startswith("Mr Fergus Baird") and "page 2" in said


@pytest.mark.parametrize("arguments", [["--pages", "0"], []])
def test_wrong_requests_are_one_sentence(
    lease: Path, arguments: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    question = "Who is the caretaker?" if arguments else " "
    assert main(["ask", *arguments, str(lease), question]) == 1
    said = capfd.readouterr().err
    assert "Traceback" not in said and len(said.strip().splitlines()) == 1


def test_pages_that_no_file_has_are_told_not_searched(lease: Path, capfd: pytest.CaptureFixture[str]) -> None:
    arguments = ["ask", "--format", "text", "--pages", "2", str(lease)]
    short = lease.parent / "short.pdf"
    short.write_bytes(pdf([[(50.0, 80.0, "The caretaker is Mr Owen Price.")]]))
    assert main(["ask", "--pages", "99", str(lease), str(short), "Who is the caretaker?"]) == 1
    said = capfd.readouterr()
    assert said.out == "" and "lease.pdf has 2 pages." in said.err and "short.pdf has 1 page." in said.err
    assert main([*arguments, str(short), "Who is the caretaker?"]) == 0
    said = capfd.readouterr()
    assert said.out.startswith("Mr Fergus Baird") and "short.pdf has 1 page." in said.err
