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
NEEDED_GPU_BYTES = 8 * 1024**3
"""Idefics2-8B in 4 bits with one page in view."""


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
            print(f"{name + ':':<16}{value}")
    return 0 if "missing" not in found["packages"] else 1


def examine(studio: Studio) -> dict[str, str]:
    """A sentence for each thing that matters here."""
    data = studio.settings.data_dir
    reader, why = studio.choose_reader()
    return {
        "VLM Studio": f"{__version__}, Python {platform.python_version()} on {platform.platform(terse=True)}",
        "processor": f"{os.cpu_count()} cores, {platform.machine()}",
        "graphics": _graphics(),
        "reader": f"auto is {reader}. {why}",
        "readers": ", ".join(studio.transcriber.names),
        "packages": ", ".join(_version(name) for name in PACKAGES),
        "search": f"SQLite {sqlite3.sqlite_version}, full-text search {_fts5()}",
        "data": f"{data}, {shutil.disk_usage(data).free // 1024**3} GB free",
    }


def _version(name: str) -> str:
    try:
        return f"{name} {importlib.metadata.version(name)}"
    except importlib.metadata.PackageNotFoundError:
        return f"{name} missing (run: python run.py install)"


def _graphics() -> str:
    torch = importlib.import_module("torch")
    if torch.cuda.is_available():
        card = torch.cuda.get_device_properties(0)
        fits = card.total_memory >= NEEDED_GPU_BYTES
        told = (
            "holds Idefics2-8B in 4 bits" if fits else "too small for Idefics2-8B in 4 bits, which needs 8 GB"
        )
        return f"{card.name}, {card.total_memory / 1024**3:.0f} GB: {told}"
    if torch.backends.mps.is_available():
        return "Apple GPU: no 4-bit kernels; Idefics2-8B would need 17 GB in bfloat16"
    return "none that can be used: Idefics2-8B is out of reach, the embedded readers run on the processor"


def _fts5() -> str:
    with sqlite3.connect(":memory:") as connection:
        names = {row[0] for row in connection.execute("PRAGMA compile_options")}
    return "present" if "ENABLE_FTS5" in names else "absent: searching will not work"
