"""Write the measured tables of docs/ and the README from benchmarks/results. Run: python benchmarks/doc_tables.py [--check]

A table stands between ``<!-- table: NAME -->`` and ``<!-- end -->``; NAME is a result's. `--check` only says whether any is
out of date, as the tests ask.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
from collections.abc import Callable, Sequence
from math import ceil
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
        ("requests", "requests, half of them streamed"), ("callers", "callers at once"),
        ("replicas_killed", "replicas killed (SIGKILL) while they answered"),
        ("running_on_the_killed", "requests that ran on them"),
        ("tries_made_again", "tries made again by the clients"), ("begun", "answers begun"),
        ("finished", "answers finished"), ("lost", "**answers lost**"),
        ("doubled_or_wrong", "**answers doubled or with a word too many or too few**"),
        ("requests_while_the_log_died", "requests while the actor that knows the answers was killed"),
        ("lost_while_the_log_died", "**lost then**"), ("wrong_while_the_log_died", "**doubled or wrong then**"),
        ("machine", "machine"),
    )]  # fmt: skip
    return table(["two replicas on Ray Serve, idefics2-nano", ""], rows)


def load_serve(found: dict[str, Any]) -> str:
    rows = [
        [
            r["server"], r["callers"], r["answers"], r["lost"], r["wrong"], r["answers_per_second"],
            f"{r['first_word_median_ms']:.0f}, {r['first_word_p95_ms']:.0f}",
            f"{r['whole_median_ms']:.0f}, {r['whole_p95_ms']:.0f}",
        ]
        for r in found["rows"]
    ]  # fmt: skip
    head = [
        "server", "callers", "answers", "lost", "wrong", "answers a second", "first word: median, 95 % ms",
        "whole answer: median, 95 % ms",
    ]  # fmt: skip
    return table(head, rows)


PEOPLE, CARD_SECONDS, LOAD = 1000, 2.6, 0.8


def scaling_plan(found: dict[str, Any]) -> str:
    """What load_serve measured, taken on to many people who each ask once a minute."""
    busiest = max(r["callers"] for r in found["rows"])
    rates = {r["server"]: r["answers_per_second"] for r in found["rows"] if r["callers"] == busiest}
    one, two = (rate for name, rate in rates.items() if name.startswith("Ray"))
    asked, kept = PEOPLE / 60, min(1.0, two / one / 2)
    rows = [
        ["answers a second of one replica of nano on one core, and of two", f"{one}, {two}"],
        ["what a replica still gives beside another one", f"{kept:.0%}"],
        [f"questions a second of {PEOPLE:,} people, each once a minute", f"{asked:.1f}"],
        [f"cores with a replica of nano for that, at {LOAD:.0%} load", ceil(asked / (two / 2) / LOAD)],
        [
            f"cards with a replica of the 8B, {CARD_SECONDS} s an answer (assumed), at {LOAD:.0%} load",
            ceil(asked * CARD_SECONDS / LOAD),
        ],
        ["the same if replicas cost each other what they did here", ceil(asked * CARD_SECONDS / LOAD / kept)],
    ]
    return table(["", "nano measured, the rest worked out"], rows)


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


def answering(found: dict[str, Any]) -> str:
    titles = {
        "rules": "rules",
        "adapter off, text": "nano, adapter off",
        "answering, text": "nano with `answering`",
        "as Chat answers": "**as Chat answers**",
    }
    keys = ("copied_right", "copied_held", "refused_rightly", "refused_wrongly")
    rows = [
        [title, *(f"{found['ways'][way][key]:.0%}" for key in keys)]
        for way, title in titles.items()
        if way in found["ways"]
    ]
    total = next(iter(found["ways"].values()))["questions"]
    head = [
        f"{total} questions about {found['notes']} notes", "right, letter for letter", "right answer in its words",
        "refused rightly", "refused wrongly",
    ]  # fmt: skip
    return table(head, rows)


def adapt_hands(found: dict[str, Any]) -> str:
    """A row a hand; where the lines kept back differ with the lines learned, the error rates before stand beside."""
    hands = [r for r in found["hands"] if not r["shuffled"]]
    names = list(dict.fromkeys((r["drawn"], r["hand"]) for r in hands))
    counts = sorted({r["lines"] for r in hands})
    rows = []
    for is_drawn, name in sorted(names, key=lambda key: key[0]):
        cells = {r["lines"]: r for r in hands if r["hand"] == name}
        rows.append([f"{name} (drawn)" if is_drawn else name, *(_learned(cells.get(n)) for n in counts)])
    means = []
    for n in counts:
        changes = [r["change"] for r in hands if r["lines"] == n and r["verdict"]["cer_before"]]
        quarter = sum(change <= -0.25 for change in changes)
        means.append(
            f"**{statistics.mean(changes):+.0%}**, a quarter less for {quarter} of {len(changes)}"
            if changes
            else ""
        )
    rows.append(["**mean change**", *means])
    writers = [[r for r in hands if r["lines"] == n and not r["drawn"]] for n in counts]
    by_ink = [
        [(r["letters"], r["verdict"]["cer_before"], r["verdict"]["cer_after"]) for r in some]
        for some in writers
    ]
    by_label = [[(r["letters"], *r["by_label"]) for r in some] for some in writers]
    rows.append(["all letters of the writers", *map(_together, by_ink)])
    rows.append(["the same, by the labels of Copiste", *map(_together, by_label)])
    rows += [
        [f"{r['hand']}, shuffled texts", *(_learned(r if n == r["lines"] else None) for n in counts)]
        for r in found["hands"]
        if r["shuffled"]
    ]
    return table(["hand", *(f"{n} lines" for n in counts)], rows)


def _together(hands: list[tuple[int, float, float]]) -> str:
    """Error rates before and after over all letters of some hands: (letters, before, after) of each."""
    letters = sum(count for count, _, _ in hands)
    if not letters:
        return ""
    before, after = (sum(hand[0] * hand[k] for hand in hands) / letters for k in (1, 2))
    return f"{before:.3f} to {after:.3f} ({after / before - 1:+.0%})"


def _learned(row: dict[str, Any] | None) -> str:
    """Error rate before and after, the change, and what the gate said."""
    if row is None:
        return ""
    verdict = row["verdict"]
    said = "worn" if verdict["passed"] else "refused"
    return f"{verdict['cer_before']:.3f} to {verdict['cer_after']:.3f} ({row['change']:+.0%}); {said}"


def engine_speed(found: dict[str, Any]) -> str:
    names = {
        "follow-up": "first word of a follow-up question",
        "strips": f"{found['strips']['strips']} strips of writing",
        "decode": f"{found['decode']['tokens'] - 1} further tokens",
    }
    rows = [
        [told, f"{f['plain_s']:.2f}", f"{f['ours_s']:.2f}", f"**{f['ratio']:.1f}**", f"{f['cpu_ratio']:.1f}"]
        for name, told in names.items()
        for f in [found[name]]
    ]
    head = ["nano, one thread", "plain `generate`, s", "here, s", "times as fast", "by processor time"]
    return table(head, rows)


def cpu_idefics2(found: dict[str, Any]) -> str:
    row = found["rows"]["nf4 whole"]
    rows = [
        ["loading the checkpoint that is in 4 bits", f"{row['load_s']} s"],
        [
            f"first token of a question with one picture of {found['edge']} px ({row['prompt_tokens']} tokens)",
            f"{row['first_token_s']:.0f} s",
        ],
        ["first token of a follow-up question", f"{row['follow_up_first_token_s']:.0f} s"],
        ["each further token", f"{1 / row['tokens_per_second']:.1f} s"],
        ["most memory, files that are mapped included", f"{row['peak_gb']} GB"],
    ]
    return table([f"Idefics2-8B, random weights, {found['machine']}", ""], rows)


def confidence(found: dict[str, Any]) -> str:
    """Of words that a reader is as sure of, how many are right."""

    def cell(reader: str, low: float) -> str:
        step = next(s for s in found[reader]["steps"] if s["from"] == low)
        return f"{step['right']:.0%} of {step['words']:,}"

    rows = [
        [f"{s['from']:.0%} to {s['to']:.0%}", cell("nano", s["from"]), cell("fast", s["from"])]
        for s in found["nano"]["steps"]
    ]
    return table(["a word said to be sure to", "`nano`: right", "`fast`: right"], rows)


TABLES: dict[str, Callable[[dict[str, Any]], str]] = {
    "faults_inputs": faults_inputs,
    "faults_serve": faults_serve,
    "load_serve": load_serve,
    "scaling_plan": scaling_plan,
    "ask": ask,
    "adapt_hands": adapt_hands,
    "cpu_idefics2": cpu_idefics2,
    "engine_speed": engine_speed,
    "answering": answering,
    "confidence": confidence,
}

SOURCES = {"scaling_plan": "load_serve"}
"""Results of tables that are named otherwise."""


def filled(text: str) -> str:
    """`text` with the tables that have a result; others stay as they are."""

    def replaced(block: re.Match[str]) -> str:
        name = block[2]
        path = RESULTS / f"{SOURCES.get(name, name)}.json"
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
