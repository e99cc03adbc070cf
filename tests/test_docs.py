"""README and docs say what is: commands, settings, files, links and tables; stale words fail here."""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from vlm_studio.cli import COMMANDS
from vlm_studio.core.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"```\n(.*?)```", re.S)


def parser() -> argparse.ArgumentParser:
    """The command line as it is, built without starting anything."""
    made = argparse.ArgumentParser(exit_on_error=False)
    made.add_argument("--verbose", action="store_true")
    made.add_argument("--engine")
    made.add_argument("--version", action="store_true")
    subparsers = made.add_subparsers()
    for name in COMMANDS:
        if importlib.util.find_spec(f"vlm_studio.{name}") is not None:
            importlib.import_module(f"vlm_studio.{name}").add_parser(subparsers)
    return made


def commands(page: Path) -> Iterator[list[str]]:
    """The words behind `python -m vlm_studio` on a page, comments and variables left out."""
    for line in re.findall(r"python -m vlm_studio ([^\n`]*)", page.read_text("utf-8")):
        words = re.sub(r"\s#.*", "", line).strip()
        yield re.findall(r'"[^"]*"|\S+', words)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_commands_exist(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in commands(page):
        if not words or any(mark in " ".join(words) for mark in ("|", "...")):
            continue
        try:
            parser().parse_args(words)
        except SystemExit:
            # A command named in prose, without what it needs: then only its name is looked at.
            said = capsys.readouterr().err
            assert "required" in said or "expected" in said, f"{page.name}: {' '.join(words)}: {said}"
        except argparse.ArgumentError as error:
            raise AssertionError(f"{page.name}: {' '.join(words)}: {error}") from error


def named_settings(page: Path) -> list[str]:
    return re.findall(r"VLM_STUDIO_([A-Z_]+)", page.read_text("utf-8"))


def test_settings_are_all_described_and_none_is_made_up() -> None:
    fields = {f.name.upper() for f in dataclasses.fields(Settings)} - {"LIMITS"}
    for page in PAGES:
        assert set(named_settings(page)) <= fields, f"{page.name}: {set(named_settings(page)) - fields}"
    text = (ROOT / "docs" / "operations.md").read_text("utf-8")
    table = text.split("<!-- settings -->")[1].split("<!-- end -->")[0]
    assert re.findall(r"^\| `VLM_STUDIO_([A-Z_]+)`", table, re.M) == [
        f.name.upper() for f in dataclasses.fields(Settings) if f.name != "limits"
    ]
    for name in ("HOST", "PORT", "READER", "MODEL", "LOG", "PRECISION"):
        default = getattr(Settings(), name.lower())
        assert re.search(rf"^\| `VLM_STUDIO_{name}` .*\| `{re.escape(str(default))}` \|$", table, re.M), name


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_and_files_resolve(page: Path) -> None:
    text = page.read_text("utf-8")
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
    for name in re.findall(r"`((?:benchmarks|tests|docs|vlm_studio|assets|\.ci)/[\w./-]+)`", text):
        assert (ROOT / name).exists(), f"{page.name} names {name}"
    for name in re.findall(r"\b(benchmarks/\w+\.py)", text):
        if f"<!-- table: {name} -->" not in text:
            assert (ROOT / name).exists(), f"{page.name} names {name}"


def test_measured_tables_are_those_of_the_results() -> None:
    done = subprocess.run(
        [sys.executable, "benchmarks/doc_tables.py", "--check"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_page_of_docs_can_be_reached() -> None:
    linked = {
        (page.parent / target).resolve()
        for page in PAGES
        for target in re.findall(r"\]\(([^)#\s]+\.md)", page.read_text("utf-8"))
    }
    assert {p.resolve() for p in (ROOT / "docs").glob("*.md")} <= linked


def test_changelog_names_this_version() -> None:
    version = importlib.import_module("vlm_studio").__version__
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text("utf-8")
