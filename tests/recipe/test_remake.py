"""The one command that makes nano anew calls every stage as that stage wants to be called."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

import pytest

from vlm_studio.recipe import remake


class Parsed(Exception):
    """Raised in place of the work, once the arguments have been understood."""


def stages_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *more: str) -> list[remake.Stage]:
    """What `main` would have run."""
    seen: list[remake.Stage] = []

    def note(group: tuple[remake.Stage, ...], out: Path) -> list[str]:
        seen.extend(group)
        return []

    monkeypatch.setattr(remake, "run", note)
    given = ["--set", str(tmp_path / "set"), "--out", str(tmp_path / "run"), "--language", str(tmp_path)]
    assert remake.main([*given, "--recogniser", "r.onnx", *more]) == 0
    return seen


@pytest.mark.parametrize("more", [(), ("--copiste", "c", "--device", "cuda", "--start", "t", "--bfloat16")])
def test_every_stage_understands_its_arguments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: tuple[str, ...]
) -> None:
    whole = argparse.ArgumentParser.parse_args

    def parsed(self: argparse.ArgumentParser, *given: object) -> None:
        whole(self, *given)  # type: ignore[call-overload]
        raise Parsed

    found = stages_of(tmp_path, monkeypatch, *more)
    assert [s.name for s in found] == [
        "tower", "tower-out", "features", "connector", "reading", "frozen", "answering", "language-out",
    ]  # fmt: skip
    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parsed)
    for stage in found:
        monkeypatch.setattr("sys.argv", ["recipe", *stage.arguments])
        with pytest.raises(Parsed):
            importlib.import_module(stage.module).main()


def test_the_twin_differs_in_what_is_frozen_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {stage.name: stage for stage in stages_of(tmp_path, monkeypatch)}
    assert found["frozen"].arguments == (*found["reading"].arguments, "--frozen")


def test_what_is_done_is_not_done_again_and_a_failure_ends_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    works = remake.Stage("works", "this", ())
    fails = remake.Stage("fails", "vlm_studio.no_such_module", ())
    assert remake.run((works, fails), tmp_path) == ["fails"]
    assert "no_such_module" in (tmp_path / "log" / "fails.txt").read_text("utf-8")
    capsys.readouterr()
    assert remake.run((works, fails), tmp_path) == ["fails"]
    assert capsys.readouterr().out.split() == ["fails"]
