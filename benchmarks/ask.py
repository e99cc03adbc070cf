"""Do answers point at their proof? Run: python benchmarks/ask.py [--half tuning|heldout|both] [--show]

Documents made by benchmarks/ask/build.py (text, tables, two columns, scans, handwriting, hidden text; English and
French) are asked the questions beside them; some the documents do not answer. Measured: whether the first citation
is on the right page, whether its quote holds the answer, whether the answer does, how many unanswerable questions
are refused, and how many answerable ones are refused wrongly. Rules were tuned on the tuning half only. Prints a
table and writes results/ask.json.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent / "ask"))

import documents_heldout
import documents_more
import documents_tuning
from build import build

from vlm_studio.core.folding import fold
from vlm_studio.core.settings import Settings
from vlm_studio.studio import Studio
from vlm_studio.tasks.ask_pdf import AskedDocument, Documents, PageReader, read_document

RESULT = Path(__file__).resolve().parent / "results" / "ask.json"


@dataclass
class Outcome:
    file: str
    question: str
    expected: list[str] | None
    answer: str
    found: bool
    page: int
    wanted: int
    quote: str
    seconds: float

    @property
    def quoted(self) -> bool:
        return self.expected is not None and holds(self.quote, self.expected)

    @property
    def answered(self) -> bool:
        return self.expected is not None and self.found and holds(self.answer, self.expected)

    @property
    def on_page(self) -> bool:
        """Where several pages could hold it, the quote decides."""
        return self.found and (self.page == self.wanted if self.wanted else self.quoted)


def holds(text: str, expected: list[str]) -> bool:
    return any(bare(e) in bare(text) for e in expected)


def bare(text: str) -> str:
    return re.sub(r"\s+", " ", fold(text))


def measured(outcomes: list[Outcome]) -> dict[str, Any]:
    asked = [o for o in outcomes if o.expected is not None]
    unsaid = [o for o in outcomes if o.expected is None]
    return {
        "questions": len(asked),
        "unanswerable": len(unsaid),
        "page": share(o.on_page for o in asked),
        "evidence": share(o.quoted and o.found for o in asked),
        "answer": share(o.answered for o in asked),
        "refused_rightly": share(not o.found for o in unsaid),
        "refused_wrongly": share(not o.found for o in asked),
        "median_answer_s": round(statistics.median(o.seconds for o in outcomes), 3),
    }


def share(values: Any) -> float:
    listed = list(values)
    return round(sum(listed) / max(1, len(listed)), 3)


def run(
    studio: Studio, questions: list[tuple[Any, ...]], paths: dict[str, Path], speed: dict[str, list[float]]
) -> list[Outcome]:
    asked: dict[str, Documents] = {}
    reader = PageReader(lambda: studio.transcriber)
    outcomes = []
    for file, question, expected, wanted in questions:
        if file not in asked:
            started = time.monotonic()
            pages = tuple(
                read_document(paths[file].read_bytes(), file, studio.settings.limits, reader, studio.rarity)
            )
            asked[file] = Documents([AskedDocument(file, pages)], studio.rarity, studio.similar)
            kind = "text layer" if pages[0].source == "text layer" else "read"
            speed[kind].append((time.monotonic() - started) / len(pages))
        found = asked[file].ask(question)
        first = found.citations[0] if found.citations else None
        outcomes.append(Outcome(
            file, question, expected, found.text, found.found, first.page_index + 1 if first else 0, wanted,
            first.quote if first else "", found.seconds,
        ))  # fmt: skip
    return outcomes


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--half", default="both", choices=["tuning", "heldout", "both"])
    parser.add_argument("--show", action="store_true", help="every question of the tuning half that failed")
    parser.add_argument("--documents", type=Path, help="write the PDFs here and keep them")
    args = parser.parse_args()
    halves = {
        "tuning": documents_tuning.QUESTIONS + documents_more.QUESTIONS,
        "heldout": documents_heldout.QUESTIONS,
    }
    speed: dict[str, list[float]] = {"text layer": [], "read": []}
    result: dict[str, Any] = {"machine": f"{platform.machine()}, Python {platform.python_version()}"}
    with tempfile.TemporaryDirectory() as work:
        paths = build(args.documents or Path(work) / "pdf")
        studio = Studio(Settings(data_dir=Path(work) / "data", offline=True))
        for half, questions in halves.items():
            if args.half in {half, "both"}:
                outcomes = run(studio, questions, paths, speed)
                result[half] = measured(outcomes)
                if args.show and half == "tuning":
                    show(outcomes)
        studio.close()
    result["pages_per_second"] = {k: round(1 / statistics.mean(v), 2) for k, v in speed.items() if v}
    if args.half == "both":
        RESULT.parent.mkdir(exist_ok=True)
        RESULT.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    table(result)


def show(outcomes: list[Outcome]) -> None:
    for o in outcomes:
        good = (o.answered and o.on_page and o.quoted) if o.expected is not None else not o.found
        if not good:
            print(
                f"{o.file}: {o.question}\n   wanted {o.expected} (page {o.wanted})\n   got    {o.answer[:150]!r} (page {o.page})\n"
            )


def table(result: dict[str, Any]) -> None:
    names = {
        "page": "first citation on the right page", "evidence": "its quote holds the answer",
        "answer": "the answer holds it", "refused_rightly": "unanswerable, refused",
        "refused_wrongly": "answerable, refused",
    }  # fmt: skip
    halves = [h for h in ("tuning", "heldout") if h in result]
    print(f"{'':<36}" + "".join(f"{h:>12}" for h in halves))
    print(
        f"{'questions (unanswerable besides)':<36}"
        + "".join(f"{result[h]['questions']:>7} ({result[h]['unanswerable']})" for h in halves)
    )
    for key, name in names.items():
        print(f"{name:<36}" + "".join(f"{result[h][key]:>12.1%}" for h in halves))
    print(
        f"{'median answer, seconds':<36}" + "".join(f"{result[h]['median_answer_s']:>12.3f}" for h in halves)
    )
    print("pages per second: " + ", ".join(f"{k} {v}" for k, v in result["pages_per_second"].items()))


if __name__ == "__main__":
    main()
