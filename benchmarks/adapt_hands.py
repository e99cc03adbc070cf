"""Does a personal adapter help, with 10, 20 and 40 corrected lines, hand by hand?

    python benchmarks/adapt_hands.py --copiste FOLDER --fonts FOLDER --texts FOLDER [--minutes 60]
    python benchmarks/adapt_hands.py --cost --fonts FOLDER --texts FOLDER

Hands are writers of Copiste d'un jour whose texts the reader never trained on, and hands drawn with fonts that it never
saw, each with a quirk of its own: another slant and width, and some letters taken from a second font; of twelve such hands
those are taken that `fast` reads worst. A writer has 21 to 28 lines, mostly on one page, so unlike in the app the test is by
line there: "about 20" are three quarters of a writer's lines, and each quarter in turn is kept back, with a training of its
own on the others (15 to 21 lines).
Copiste's labels are the texts that were set, not always what was written; a person corrects to what stands there, so the
writers' lines are learned and judged by what the ink says (copiste_ink.tsv), and the labels' figures are kept beside.
Each training runs as the app runs it, in its own process; readings are the app's own: nano with other widths and word
frequencies, and with the reader as it was pooled with what has learned the hand.
One training learns from shuffled texts, which the gate has to refuse. Lines of the general set that are of the writer are
not read with the writer's adapter.

What was measured is kept in benchmarks/results/adapt_hands.json; started again, it goes on with what is missing. `--cost`
measures time and memory of one training of 20 lines, with two threads: run it on a quiet machine.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import re
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageDraw

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from vlm_studio.adapt.hand_model import NanoHand  # noqa: E402
from vlm_studio.adapt.material import FIRST_BLOCK  # noqa: E402
from vlm_studio.adapt.process import Sources, Trainer  # noqa: E402
from vlm_studio.adapt.train import ANCHOR  # noqa: E402
from vlm_studio.core.adapters import TrainSettings  # noqa: E402
from vlm_studio.core.cancel import CancelToken  # noqa: E402
from vlm_studio.core.documents import STRETCHES  # noqa: E402
from vlm_studio.model.characters import fold  # noqa: E402
from vlm_studio.model.distort import vary  # noqa: E402
from vlm_studio.model.line_recogniser import LEARNED_SHARE  # noqa: E402
from vlm_studio.reading.ctc_reader import careful  # noqa: E402
from vlm_studio.reading.fast import FastReader  # noqa: E402
from vlm_studio.reading.lexicon import Weights  # noqa: E402
from vlm_studio.recipe.data import load_copiste  # noqa: E402
from vlm_studio.recipe.synth import _font, can_write, list_fonts  # noqa: E402
from vlm_studio.recipe.texts import load_texts  # noqa: E402
from vlm_studio.tasks.adapt_gate import judge  # noqa: E402
from vlm_studio.tasks.scoring import total  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results" / "adapt_hands.json"
INK = ROOT / "benchmarks" / "copiste_ink.tsv"
QUARTERS = 4
KEPT_BACK = 24
CANDIDATES = 12
GENERAL = 26

Lines = list[tuple[Image.Image, str]]


@dataclass(frozen=True)
class Hand:
    name: str
    lines: Lines
    drawn: bool
    labels: Mapping[str, str] = field(default_factory=dict)
    """By what the ink says: the set text, where that says something else."""

    def parts(self, count: int) -> list[tuple[Lines, Lines]]:
        """(lines to learn from, lines kept back) of each training with about `count` lines."""
        lines = self.lines
        if self.drawn:
            return [(lines[:count], lines[-KEPT_BACK:])]
        if count == 10:
            return [(lines[:10], lines[10:])]
        if count > len(lines):
            return []
        cuts = [len(lines) * k // QUARTERS for k in range(QUARTERS + 1)]
        quarters = list(itertools.pairwise(cuts))[::-1]
        return [(lines[:start] + lines[end:], lines[start:end]) for start, end in quarters]


@dataclass(frozen=True)
class Job:
    """One training and its test."""

    hand: Hand
    count: int
    part: int
    shuffled: bool = False

    @property
    def key(self) -> list[Any]:
        return [self.hand.name, self.count, self.part, self.shuffled]


def jobs_of(hands: list[Hand]) -> list[Job]:
    """One training of each hand first, so that whatever time there is shows all of them."""
    first = [Job(hand, 20, 0) for hand in hands]
    fewer_and_more = [Job(hand, n, 0) for n in (10, 40) for hand in hands if hand.parts(n)]
    rest = [Job(hand, 20, k) for k in range(1, QUARTERS) for hand in hands if k < len(hand.parts(20))]
    return [*first, Job(hands[0], 20, 0, True), *fewer_and_more, *rest]


def writers(folder: Path, count: int) -> list[Hand]:
    """The held-out writers with most lines."""
    rows = [row.split("\t") for row in (folder / "labels.tsv").read_text("utf-8").splitlines()[1:]]
    writer = {row[0]: re.sub(r"_[12]$", "", row[2]) for row in rows}
    ink = as_written()
    found: dict[str, Lines] = {}
    labels: dict[str, dict[str, str]] = {}
    for line in load_copiste(folder, validation=True):
        text = ink.get(line.name, line.text)
        found.setdefault(writer[line.name], []).append((Image.fromarray(line.pixels).convert("RGB"), text))
        if text != line.text:
            labels.setdefault(writer[line.name], {})[text] = line.text
    most = sorted(found.items(), key=lambda item: -len(item[1]))[:count]
    return [Hand(name, lines, False, labels.get(name, {})) for name, lines in most]


def as_written() -> dict[str, str]:
    """What the ink of a file says, where that is not its label."""
    rows = [row for row in INK.read_text("utf-8").splitlines() if not row.startswith("#")]
    return {file: fold(text) for file, text in (row.split("\t") for row in rows[1:])}


def drawn(fonts: Path, texts: Path, count: int) -> list[Hand]:
    """Hands in held-out fonts with a quirk each: 40 lines to learn from, `KEPT_BACK` more kept back.

    Of `CANDIDATES` those that `fast` reads worst: nobody teaches a hand that is read well already.
    """
    said = load_texts(texts)
    files = [f for f in list_fonts(fonts, held_out=True) if can_write(f, "The quick brown fox, 1931.")]
    files = files[:: max(1, len(files) // (2 * CANDIDATES))]
    hands = []
    for number in range(min(CANDIDATES, len(files) // 2)):
        rng = random.Random(f"hand {number}")
        main, other = files[2 * number], files[2 * number + 1]
        borrowed = set(rng.sample("abcdefghiklmnoprstuvwy", 3))
        slant, width = rng.uniform(-0.35, 0.35), rng.uniform(0.85, 1.2)
        lines: Lines = []
        while len(lines) < 40 + KEPT_BACK:
            text = fold(said.line("en", rng))[:46].strip()
            if len(text) >= 12 and can_write(main, text) and can_write(other, text):
                lines.append((draw(text, main, other, borrowed, slant, width, rng), text))
        name = f"{main.stem} with {''.join(sorted(borrowed))} of {other.stem}"
        hands.append(Hand(name, lines, True))
    reader = FastReader()

    def misread(hand: Hand) -> float:
        read = reader.read([image for image, _ in hand.lines[:12]], CancelToken())
        return -total([(found.text, text) for found, (_, text) in zip(read, hand.lines, strict=False)]).cer

    return sorted(hands, key=misread)[:count]


def draw(
    text: str, main: Path, other: Path, borrowed: set[str], slant: float, width: float, rng: random.Random
) -> Image.Image:
    """A line as this hand writes it, on grey paper."""
    canvas = Image.new("L", (60 * len(text) + 200, 200), 0)
    pen, x = ImageDraw.Draw(canvas), 60.0
    for run in re.findall("|".join((f"[{''.join(borrowed)}]", f"[^{''.join(borrowed)}]+")), text):
        font = _font(other if run in borrowed else main, 48)
        pen.text((x, 120 + rng.uniform(-2, 2)), run, font=font, fill=255, anchor="ls")
        x += font.getlength(run)
    ink = np.asarray(canvas, np.float32) / 255
    matrix = np.array([[width, slant, 60 - slant * 100], [0, 1, 0]], np.float32)
    ink = cv2.warpAffine(ink, matrix, (int(width * ink.shape[1]) + 160, ink.shape[0]))
    rows, columns = np.flatnonzero(ink.max(1) > 0.2), np.flatnonzero(ink.max(0) > 0.2)
    ink = ink[max(0, rows[0] - 6) : rows[-1] + 7, max(0, columns[0] - 12) : columns[-1] + 13]
    noise = np.random.default_rng(rng.getrandbits(32)).normal(0, 0.015, ink.shape)
    paper = np.clip(0.9 - 0.7 * ink + noise, 0, 1)
    return Image.fromarray(vary((255 * paper).astype(np.uint8), rng.getrandbits(32)))


class Bench:
    def __init__(self, threads: int, adapters: Path | None) -> None:
        self.adapters = adapters
        assets = ROOT / "assets"
        general, words = assets / "general" / "lines.zip", assets / "words" / "words.tsv.gz"
        self.model = NanoHand(
            assets / "nano", general, lambda name, rec, learned: careful(name, rec, words, learned)
        )
        self.folder = Path(tempfile.mkdtemp(prefix="adapt-hands-"))
        self.trainer = Trainer(self.folder, Sources(assets / "nano", general), threads)
        self.base = self.model.reader(None)
        lines = self.model.general()
        self.general = lines[:: max(1, len(lines) // GENERAL)]
        self.general_before = self._read(self.base, self.general)

    @staticmethod
    def _read(reader: Any, lines: Lines) -> list[str]:
        return [r.text for r in reader.read([image for image, _ in lines], CancelToken())]

    def begin(self, job: Job) -> str:
        """Start the training of a job; its id."""
        learn, held = job.hand.parts(job.count)[job.part]
        if job.shuffled:
            texts = [text for _, text in learn]
            learn = [(image, text) for (image, _), text in zip(learn, texts[1:] + texts[:1], strict=True)]
        name = re.sub(r"\W|_", "", "".join(map(str, job.key)))
        self.trainer.prepare(name, learn, held, TrainSettings())
        self.trainer.begin(name)
        return name

    def end(self, job: Job, name: str) -> dict[str, Any]:
        """Wait for a training, then judge it by the app's gate."""
        while not self.trainer.wait(name, 5):
            pass
        product = self.trainer.product(name)
        assert product is not None
        if self.adapters is not None:
            (self.adapters / f"{name}.json").write_text(json.dumps(product[0]), "utf-8")
            (self.adapters / f"{name}.safetensors").write_bytes(product[1])
        points = self.trainer.points(name)
        self.trainer.remove(name)
        learn, held = job.hand.parts(job.count)[job.part]
        reader = self.model.reader(product)
        own = {text for _, text in job.hand.lines}
        others = [
            (old, new, text)
            for old, new, (_, text) in zip(
                self.general_before, self._read(reader, self.general), self.general, strict=True
            )
            if text not in own
        ]
        return {
            "key": job.key, "drawn": job.hand.drawn, "learned": len(learn), "weights_kb": round(len(product[1]) / 1e3),
            "lines": [
                list(line)
                for line in zip(
                    [text for _, text in held],
                    self._read(self.base, held),
                    self._read(reader, held),
                    [job.hand.labels.get(text, text) for _, text in held],
                    strict=True,
                )
            ],
            "general": [total([(o, t) for o, _, t in others]).cer, total([(n, t) for _, n, t in others]).cer],
            "curve": [[p.step, p.cer] for p in points if p.phase == "train"],
        }  # fmt: skip


def cost(bench: Bench, hand: Hand) -> dict[str, Any]:
    """Seconds and memory of one training: of the process that trains, which nothing else may have started before."""
    begun, used = time.monotonic(), os.times()
    name = bench.begin(Job(hand, 20, 0))
    while not bench.trainer.wait(name, 1):
        pass
    now = os.times()
    cpu = now.children_user + now.children_system - used.children_user - used.children_system
    assert bench.trainer.product(name) is not None
    return {
        "lines": 20, "threads": bench.trainer.threads, "seconds": round(time.monotonic() - begun, 1),
        "cpu_seconds": round(cpu, 1), "megabytes": round(_peak_child_bytes() / 1e6),
    }  # fmt: skip


def _peak_child_bytes() -> int:
    import resource

    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row a hand and number of lines: all that its trainings kept back, read by what did not learn from it.

    The gate judges these lines together, as it does in the app with the lines of a page.
    """
    found: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        name, count, _, shuffled = row["key"]
        found.setdefault((count, row["drawn"], name, shuffled), []).append(row)
    made = []
    for (count, is_drawn, name, shuffled), parts in sorted(found.items()):
        wanted, before, after, labels = zip(*(line for p in parts for line in p["lines"]), strict=True)
        general = (
            statistics.mean(p["general"][0] for p in parts),
            statistics.mean(p["general"][1] for p in parts),
        )
        verdict = judge(wanted, before, after, 1, general)
        old, new = verdict.cer_before, verdict.cer_after
        by_label = [total(list(zip(read, labels, strict=True))).cer for read in (before, after)]
        made.append({
            "hand": name, "drawn": is_drawn, "shuffled": shuffled, "lines": count,
            "learned": [min(p["learned"] for p in parts), max(p["learned"] for p in parts)],
            "trainings": len(parts), "letters": sum(map(len, wanted)), "change": new / old - 1 if old else 0.0, "by_label": by_label,
            "verdict": asdict(verdict), "forgot_most": max(p["general"][1] - p["general"][0] for p in parts),
        })  # fmt: skip
    return made


def tell(rows: list[dict[str, Any]]) -> None:
    made = summary(rows)
    print(
        f"{'hand':52} {'lines':>5} {'held':>4} {'CER before':>10} {'after':>7} {'change':>7} {'gate':>8} {'others':>7}"
    )
    for r in made:
        name, v = r["hand"] + (" (shuffled texts)" if r["shuffled"] else ""), r["verdict"]
        print(
            f"{name[:52]:52} {r['lines']:5} {v['lines']:4} {v['cer_before']:10.3f} {v['cer_after']:7.3f} {r['change']:+7.0%} "
            f"{'passed' if v['passed'] else 'refused':>8} {100 * (v['general_after'] - v['general_before']):+7.1f}"
        )
    for count, is_drawn in itertools.product((10, 20, 40), (False, True)):
        kept = [
            r
            for r in made
            if r["lines"] == count
            and r["drawn"] == is_drawn
            and not r["shuffled"]
            and r["verdict"]["cer_before"]
        ]
        if kept:
            changes = [r["change"] for r in kept]
            before, after = (
                sum(r["verdict"][k] * r["letters"] for r in kept) for k in ("cer_before", "cer_after")
            )
            print(
                f"{count} lines: {len(kept)} {'drawn hands' if is_drawn else 'writers'}, mean change "
                f"{statistics.mean(changes):+.0%}, median {statistics.median(changes):+.0%}, all letters together "
                f"{after / before - 1:+.0%}, a quarter less or better for {sum(c <= -0.25 for c in changes)}"
            )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--copiste", type=Path)
    parser.add_argument("--fonts", type=Path)
    parser.add_argument("--texts", type=Path)
    parser.add_argument("--writers", type=int, default=10)
    parser.add_argument("--drawn", type=int, default=4)
    parser.add_argument("--together", type=int, default=2, help="trainings at a time, of one thread each")
    parser.add_argument("--cost", action="store_true", help="time and memory of one training instead")
    parser.add_argument("--minutes", type=float, default=120, help="no training begins after this long")
    parser.add_argument("--adapters", type=Path, help="folder in which every adapter is kept")
    args = parser.parse_args()
    if args.adapters:
        args.adapters.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    kept = json.loads(RESULTS.read_text("utf-8")) if RESULTS.exists() else {}
    bench = Bench(2 if args.cost else 1, args.adapters)
    read_by = {"stretches": list(STRETCHES), "learned_share": LEARNED_SHARE, **asdict(Weights())}
    settings = {**asdict(TrainSettings()), "first_block": FIRST_BLOCK, "anchor": ANCHOR}
    about = {"base_sha256": bench.model.sha256, "settings": settings, "reader": read_by}
    if {name: kept.get(name) for name in about} != about:
        kept = {**about, "cost": None, "rows": []}
    hands = writers(args.copiste, args.writers) if args.copiste else []
    hands += drawn(args.fonts, args.texts, args.drawn) if args.fonts else []
    done = [row["key"] for row in kept["rows"]]
    waiting = [] if args.cost else [job for job in jobs_of(hands) if job.key not in done]
    running: list[tuple[Job, str]] = []
    try:
        if args.cost:
            kept["cost"] = cost(bench, hands[-1])
        while waiting or running:
            while waiting and len(running) < args.together and time.monotonic() - started < 60 * args.minutes:
                running.append((waiting[0], bench.begin(waiting.pop(0))))
            if not running:
                break
            kept["rows"].append(bench.end(*running.pop(0)))
            _write(kept)
            tell(kept["rows"][-1:])
    finally:
        bench.trainer.close()
        shutil.rmtree(bench.folder, ignore_errors=True)
    _write(kept)
    tell(kept["rows"])
    print(kept["cost"])


def _write(kept: dict[str, Any]) -> None:
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({**kept, "hands": summary(kept["rows"])}, indent=1), "utf-8")


if __name__ == "__main__":
    main()
