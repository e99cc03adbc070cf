"""``python -m vlm_studio transcribe`` as a shell runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.reading.pages import LEFT, draw, line_strip
from tests.tasks.documents_pdf import LEASE
from vlm_studio.cli import main

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VLM_STUDIO_DATA_DIR", str(tmp_path / "data"))
    return tmp_path


def run(*arguments: object) -> subprocess.CompletedProcess[bytes]:
    """In a process of its own: what a shell sees, bytes and exit status."""
    command = [sys.executable, "-m", "vlm_studio", "transcribe", "--reader", "fast", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, timeout=120)


def strips(folder: Path, *texts: str) -> list[Path]:
    paths = []
    for number, text in enumerate(texts):
        paths.append(folder / f"{number}.png")
        line_strip(text).save(paths[-1])
    return paths


def page(folder: Path) -> Path:
    path = folder / "page.png"
    draw([(60, 40 + 70 * n, text) for n, text in enumerate(LEFT)], (700, 340)).save(path)
    return path


def test_cut_lines_as_json(tmp_path: Path) -> None:
    paths = strips(tmp_path, "the quick brown fox", "jumps over")
    done = run("--lines-only", "--format", "json", *paths)
    assert done.returncode == 0, done.stderr
    value = json.loads(done.stdout)
    assert value["reader"] == "fast"
    assert [(p["file"], p["text"]) for p in value["pages"]] == [
        (str(paths[0]), "the quick brown fox"), (str(paths[1]), "jumps over"),
    ]  # fmt: skip
    for found in value["pages"]:
        assert found["seconds"] >= 0
        (line,) = found["lines"]
        assert {"text", "confidence", "box", "words"} <= set(line)
        assert line["text"] == found["text"] and 0 < line["confidence"] <= 1
        assert [word["text"] for word in line["words"]] == line["text"].split()
        for word in line["words"]:
            assert 0 <= word["confidence"] <= 1
            x0, y0, x1, y1 = word["box"]
            assert line["box"][0] <= x0 < x1 <= line["box"][2] and line["box"][1] <= y0 < y1 <= line["box"][3]


def test_a_bad_file_among_good_ones(tmp_path: Path) -> None:
    first, second = strips(tmp_path, "the quick brown fox", "jumps over")
    bad, gone = tmp_path / "bad.png", tmp_path / "gone.png"
    bad.write_bytes(b"this is no picture")
    done = run("--lines-only", first, bad, gone, second)
    assert done.returncode == 1
    assert done.stdout.decode().split("\n\n") == ["the quick brown fox", "jumps over\n"]
    said = done.stderr.decode().splitlines()
    assert len(said) == 2 and "bad.png" in said[0] and "gone.png" in said[1]


def test_a_page_goes_to_a_file(tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    out = tmp_path / "out.docx"
    assert (
        main(["transcribe", "--reader", "fast", "--out", str(out), "--format", "docx", str(page(tmp_path))])
        == 0
    )
    assert out.read_bytes()[:2] == b"PK" and capsysbinary.readouterr().out == b""


def test_a_page_is_read_as_text(tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    assert main(["transcribe", "--reader", "fast", str(page(tmp_path))]) == 0
    assert capsysbinary.readouterr().out.decode().splitlines() == list(LEFT)


def test_a_damaged_pdf_is_read_with_a_word_of_warning(
    tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    cut = tmp_path / "cut.pdf"
    cut.write_bytes(LEASE[:-60])
    assert main(["transcribe", "--reader", "fast", "--format", "json", str(cut)]) == 0
    printed = capsysbinary.readouterr()
    assert printed.err.count(b"cut.pdf was damaged") == 1
    pages = json.loads(printed.out)["pages"]
    assert all(page["notes"][0].startswith("cut.pdf was damaged") for page in pages) and len(pages) == 2


def test_an_unknown_reader_is_one_sentence(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["transcribe", "--reader", "nobody", str(page(tmp_path))]) == 1
    said = capfd.readouterr().err.strip()
    assert "no reader 'nobody'" in said and "Traceback" not in said


def test_the_large_reader_says_what_it_wants(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["transcribe", "--reader", "8b", str(page(tmp_path))]) == 1
    assert "graphics card" in capfd.readouterr().err


def test_a_place_that_cannot_be_written_is_said_before_anything_is_read(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "nowhere" / "out.txt"
    assert main(["transcribe", "--reader", "fast", "--out", str(out), str(tmp_path / "gone.png")]) == 1
    said = capfd.readouterr().err
    assert "no folder" in said and "gone.png" not in said


def test_a_file_whose_decoder_breaks_costs_only_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    first, second = strips(tmp_path, "the quick brown fox", "jumps over")

    def breaks(path: Path, limits: object) -> bytes:
        if path == first:
            raise RuntimeError("a decoder that nobody foresaw")
        return path.read_bytes()

    monkeypatch.setattr("vlm_studio.cli_transcribe.read_file", breaks)
    assert main(["transcribe", "--reader", "fast", "--lines-only", str(first), str(second)]) == 1
    said = capfd.readouterr()
    assert said.out.strip() == "jumps over"
    assert "0.png" in said.err and "Traceback" not in said.err


def test_wrong_usage_ends_with_two(capfd: pytest.CaptureFixture[str]) -> None:
    for arguments in (["transcribe"], ["transcribe", "x.png", "--format", "rtf"]):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 2
    assert "rtf" in capfd.readouterr().err
