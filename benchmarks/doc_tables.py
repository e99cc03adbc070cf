"""Write the measured tables of docs/ and the README from benchmarks/results. Run: python benchmarks/doc_tables.py [--check]

A table stands between ``<!-- table: NAME -->`` and ``<!-- end -->``; NAME is a result's. `--check` only says whether any is
out of date, as the tests ask.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
_BLOCK = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.S)


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(str(cell) for cell in line) + " |\n" for line in lines)


def faults_inputs(found: dict[str, Any]) -> str:
    rows = [[name, *values.values()] for name, values in {**found["rows"], "**all**": found["total"]}.items()]
    return table(["input", "tried", "taken", "refused with a sentence", "faults"], rows)


def faults_serve(found: dict[str, Any]) -> str:
    rows = [[name, found[key]] for key, name in (
        ("requests", "requests"), ("replicas_killed", "replicas killed (SIGKILL) meanwhile"),
        ("tries_made_again", "tries made again by the client"), ("lost", "**answers lost**"),
        ("doubled_or_wrong", "**answers doubled or with a word too many or too few**"),
        ("machine", "machine"),
    )]  # fmt: skip
    return table(["two replicas on Ray Serve, idefics2-nano", ""], rows)


def load_serve(found: dict[str, Any]) -> str:
    rows = [
        [
            r["server"], r["callers"], r["answers"], r["lost"], r["wrong"], r["answers_per_second"],
            f"{r['first_word_median_ms']:.0f}, {r['first_word_p95_ms']:.0f}",
        ]
        for r in found["rows"]
    ]  # fmt: skip
    head = [
        "server",
        "callers",
        "answers",
        "lost",
        "wrong",
        "answers a second",
        "first word: median, 95 % ms",
    ]
    return table(head, rows)


def ask(found: dict[str, Any]) -> str:
    tuning, held = found["tuning"], found["heldout"]
    rows = [[name, f"{held[key]:.0%}", f"{tuning[key]:.0%}"] for key, name in (
        ("page", "first citation on the right page"), ("evidence", "its quote holds the answer"),
        ("refused_rightly", "unanswerable questions that are refused"),
        ("refused_wrongly", "answerable ones that are refused"),
    )]  # fmt: skip
    head = ["", *(
        f"{name} ({part['questions']} answerable, {part['unanswerable']} not)"
        for name, part in (("held-out questions", held), ("tuning questions", tuning))
    )]  # fmt: skip
    return table(head, rows)


TABLES: dict[str, Callable[[dict[str, Any]], str]] = {
    "faults_inputs": faults_inputs,
    "faults_serve": faults_serve,
    "load_serve": load_serve,
    "ask": ask,
}


def filled(text: str) -> str:
    """`text` with the tables that have a result; others stay as they are."""

    def replaced(block: re.Match[str]) -> str:
        name, path = block[2], RESULTS / f"{block[2]}.json"
        if name not in TABLES or not path.exists():
            return block[0]
        return block[1] + TABLES[name](json.loads(path.read_text("utf-8"))) + block[3]

    return _BLOCK.sub(replaced, text)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; 1 where a table is out of date")
    args = parser.parse_args()
    stale = []
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        text = path.read_text("utf-8")
        if filled(text) != text:
            stale.append(path.name)
            if not args.check:
                path.write_text(filled(text), "utf-8")
    print(f"out of date: {', '.join(stale)}" if stale else "all tables are as measured")
    return int(args.check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
