"""``python -m vlm_studio replay pack.zip``: make the answer of an evidence pack again, and compare."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vlm_studio.studio import Studio


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser("replay", help="make the answer of an evidence pack again, and compare")
    parser.add_argument("pack", type=Path, help="a zip file that Evidence in the Chat tab made")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, studio: Studio) -> int:
    """1 when the text is another one."""
    found = studio.evidence.replay(args.pack)
    if args.json:
        print(json.dumps(asdict(found), ensure_ascii=False, indent=1))
    else:
        print(found.now)
        for note in found.notes:
            print(f"({note})", file=sys.stderr)
        told = "The text is the same." if found.same else f"The text is another one. It was:\n{found.then}"
        print(told, file=sys.stderr)
    return 0 if found.same else 1
