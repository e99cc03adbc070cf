"""``python -m vlm_studio compare FILE...``"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from vlm_studio.core.comparison import Comparison, LinesComparison, Side
from vlm_studio.core.comparison_json import comparison_value
from vlm_studio.core.sessions import LOCAL_OWNER
from vlm_studio.ingest.upload import read_file
from vlm_studio.tasks.compare import BASE, Sides, reading_ask
from vlm_studio.tasks.compare_input import Given, picture_lines, together

if TYPE_CHECKING:
    from vlm_studio.studio import Studio

_SHOWN = {"equal": "{}", "delete": "[-{}-]", "insert": "{{+{}+}}"}


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser("compare", help="one model without and with an adapter, on the same input")
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="pictures of lines or pages")
    parser.add_argument(
        "--left",
        default=BASE,
        help="base (default), or an adapter: reading, frozen, answering, or a hand by name or id",
    )
    parser.add_argument(
        "--right",
        default="reading",
        help="the same; default: reading, the LoRA that ships with nano. `adapt list` names the hands",
    )
    parser.add_argument("--strength", type=float, default=100, help="of the right one, 0-150 %%")
    parser.add_argument("--prompt", default="", help="default: read the line")
    parser.add_argument(
        "--reference", type=Path, help="a text file: what stands there, one line for each line"
    )
    parser.add_argument("--lines", action="store_true", help="every line of the pictures, with confusions")
    parser.add_argument("--keep", action="store_true", help="keep the result in a session")
    parser.add_argument("--owner", default=LOCAL_OWNER, help="user:NAME where people log in; default: local")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, studio: Studio) -> int:
    comparing, limits = studio.comparing, studio.settings.limits
    sides = comparing.sides(args.owner, args.left, args.right, args.strength / 100)
    parts: list[Given] = []
    for path in args.files:
        data = read_file(path, limits)
        parts.append(picture_lines(data, path.name, limits, studio.transcriber.finder, comparing.card))
        if args.lines and parts[-1].note:
            print(f"{path.name}: {parts[-1].note}", file=sys.stderr)
    text = read_file(args.reference, limits).decode("utf-8", "replace") if args.reference else ""
    found = together(parts)
    result = _compared(studio, sides, found, text, args)
    if args.json:
        print(json.dumps(comparison_value(result), ensure_ascii=False, indent=1))
    else:
        print(_lines(result) if isinstance(result, LinesComparison) else _one(result))
    if args.keep:
        title = f"{result.left.label} / {result.right.label}: {args.files[0].name}"
        strips = found.pieces if args.lines else found.pieces[:1]
        kept = studio.comparisons.keep(args.owner, "", title, strips, result)
        print(f"Kept in session {kept.session_id}.", file=sys.stderr)
    return 0


def _compared(
    studio: Studio, sides: Sides, found: Given, reference: str, args: argparse.Namespace
) -> Comparison | LinesComparison:
    if args.lines:
        strips = [piece.image for piece in found.pieces]
        return studio.comparing.lines(strips, sides, found.rows(reference))
    first = found.pieces[0]
    ask = reading_ask(first.sha256, args.prompt)
    return studio.comparing.one(ask, {first.sha256: first.image}, sides, found.row(reference, 0))


def _one(found: Comparison) -> str:
    moved = [f", {shift.moved:.0%} of its map moved" for shift in found.shifts] or [""] * len(found.words)
    words = "\n".join(
        f"  {w.text:24} {w.left:7.1%} -> {w.right:7.1%}{told}"
        for w, told in zip(found.words, moved, strict=True)
    )
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
    signed = f" [{side.signed}]" if side.signed else ""
    return f"{side.label}{signed}{_rates(side)}, {side.seconds:.1f} s: {side.text}"


def _rates(side: Side) -> str:
    return f" (CER {side.rates.cer:.1%}, WER {side.rates.wer:.1%})" if side.rates else ""
