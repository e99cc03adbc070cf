"""``python -m vlm_studio doctor``: what this machine can run, and why."""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import json
import os
import platform
import shutil
import sqlite3
from typing import TYPE_CHECKING

from vlm_studio import __version__

if TYPE_CHECKING:
    from vlm_studio.studio import Studio

PACKAGES = (
    "torch",
    "transformers",
    "gradio",
    "pymupdf",
    "rapidocr",
    "onnxruntime",
    "bitsandbytes",
    "sqlite-utils",
)


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser("doctor", help="say what this machine can run, and why")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, studio: Studio) -> int:
    """1 when a part that the app cannot do without is missing."""
    found = examine(studio)
    if args.json:
        print(json.dumps(found, indent=2))
    else:
        for name, value in found.items():
            print(f"{name + ':':<20}{value}")
    return 0 if "missing" not in found["packages"] else 1


def examine(studio: Studio) -> dict[str, str]:
    """A sentence for each thing that matters here."""
    data = studio.settings.data_dir
    reader, why = studio.choose_reader()
    found = {
        "VLM Studio": f"{__version__}, Python {platform.python_version()} on {platform.platform(terse=True)}",
        "processor": f"{os.cpu_count()} cores, {platform.machine()}",
        "graphics": _graphics(),
        "reader": f"auto is {reader}. {why}",
        "readers": ", ".join(studio.transcriber.names),
        "model": _model(studio),
    }
    for choice in studio.engines.choices():
        state = "runs here" if choice.runs else "does not run here"
        found[choice.name] = f"{state}. {choice.why}{_source(studio, choice.name)}"
    return found | {
        "packages": ", ".join(_version(name) for name in PACKAGES),
        "search": f"SQLite {sqlite3.sqlite_version}, full-text search {_fts5()}",
        "data": f"{data}, {shutil.disk_usage(data).free // 1024**3} GB free",
    }


def _model(studio: Studio) -> str:
    name, why = studio.engines.choose_default()
    return (
        f"{studio.settings.model} is {name}. {why}" if studio.settings.model == "auto" else f"{name}. {why}"
    )


def _source(studio: Studio, name: str) -> str:
    spec = studio.engines.specs.get(name)
    if spec is None:
        return ""
    at = f" From {spec.source.repo} at {spec.source.revision[:12]}"
    if spec.source.pinned:
        return f"{at}."
    return f"{at}, which is not pinned: set VLM_STUDIO_REVISIONS={name}=<commit of 40 digits> to keep it the same."


def _version(name: str) -> str:
    try:
        return f"{name} {importlib.metadata.version(name)}"
    except importlib.metadata.PackageNotFoundError:
        return f"{name} missing (run: python run.py install)"


def _graphics() -> str:
    machine = importlib.import_module("vlm_studio.model.machine").this_machine()
    if machine.kind == "cpu":
        return "none that can be used"
    return f"{machine.name}, {machine.free_bytes / 1024**3:.1f} GB free"


def _fts5() -> str:
    with sqlite3.connect(":memory:") as connection:
        names = {row[0] for row in connection.execute("PRAGMA compile_options")}
    return "present" if "ENABLE_FTS5" in names else "absent: searching will not work"
