"""``python -m vlm_studio compare FILE...``"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from vlm_studio.core.comparison import Comparison, LinesComparison, Side
from vlm_studio.ingest.upload import read_file
from vlm_studio.tasks.compare import BASE, reading_ask
from vlm_studio.tasks.compare_input import Piece, pieces

if TYPE_CHECKING:
    from vlm_studio.studio import Studio

_SHOWN = {"equal": "{}", "delete": "[-{}-]", "insert": "{{+{}+}}"}


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser("compare", help="one model without and with an adapter, on the same input")
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="pictures of lines or pages")
    parser.add_argument("--left", default=BASE, help="base (default), or an adapter's name")
    parser.add_argument("--right", default="reading", help="default: reading, the LoRA that ships with nano")
    parser.add_argument("--strength", type=float, default=100, help="of the right one, 0-150 %%")
    parser.add_argument("--prompt", default="", help="default: read the line")
    parser.add_argument(
        "--reference", type=Path, help="a text file: what stands there, one line for each line"
    )
    parser.add_argument("--lines", action="store_true", help="every line of the pictures, with confusions")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, studio: Studio) -> int:
    comparing, limits = studio.comparing, studio.settings.limits
    left, right = comparing.variant(args.left), comparing.variant(args.right, args.strength / 100)
    found: list[Piece] = []
    for path in args.files:
        data = read_file(path, limits)
        found += pieces(data, path.name, limits, studio.transcriber.finder, comparing.card)
    text = args.reference.read_text("utf-8") if args.reference else ""
    wanted = [row for row in text.splitlines() if row.strip()]
    if args.lines:
        many = comparing.lines([p.image for p in found], left, right, wanted)
        print(json.dumps(asdict(many), ensure_ascii=False, indent=1) if args.json else _lines(many))
        return 0
    first = found[0]
    one = comparing.one(
        reading_ask(first.sha256, args.prompt),
        {first.sha256: first.image},
        left,
        right,
        wanted[0] if wanted else "",
    )
    print(json.dumps(asdict(one), ensure_ascii=False, indent=1) if args.json else _one(one))
    return 0


def _one(found: Comparison) -> str:
    words = "\n".join(f"  {w.text:24} {w.left:7.1%} -> {w.right:7.1%}" for w in found.words)
    changed = "".join(_SHOWN[kind].format(text) for kind, text in found.spans)
    return (
        f"{_side(found.left)}\n{_side(found.right)}\nchanged: {changed}\n"
        f"chance of each word of the right answer:\n{words}\nprompt {found.prompt_sha256[:12]}, seed {found.seed}"
    )


def _lines(found: LinesComparison) -> str:
    rows = "\n".join(f"{pair.left}\n{pair.right}\n" for pair in found.lines)
    mixed = "\n".join(
        f"  {c.wanted or 'nothing'!r} read as {c.read or 'nothing'!r}: {c.left} and {c.right}"
        for c in found.confusions
    )
    heads = "\n".join(
        f"{side.label}{_rates(side)}, {side.seconds:.1f} s" for side in (found.left, found.right)
    )
    return f"{rows}{heads}" + (f"\nmixed up (left and right):\n{mixed}" if mixed else "")


def _side(side: Side) -> str:
    return f"{side.label}{_rates(side)}, {side.seconds:.1f} s: {side.text}"


def _rates(side: Side) -> str:
    return f" (CER {side.rates.cer:.1%}, WER {side.rates.wer:.1%})" if side.rates else ""
