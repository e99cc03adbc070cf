"""Does a personal adapter help, with 10, 20 and 40 corrected lines, hand by hand?

    python benchmarks/adapt_hands.py --copiste FOLDER --fonts FOLDER --texts FOLDER [--minutes 60]

Hands are writers of Copiste d'un jour whose texts the reader never trained on (the last lines of each are kept back:
most copied one page, so unlike in the app the test is by line there), and hands drawn with fonts that it never saw, each with a quirk of its own: another slant and width, and some letters
taken from a second font. Each training runs as the app runs it, in its own process; readings are the app's own, with
word frequencies. One training learns from shuffled texts, which the gate has to refuse.

What was measured is kept in benchmarks/results/adapt_hands.json; started again, it goes on with what is missing.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import statistics
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageDraw

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from vlm_studio.adapt.hand_model import NanoHand  # noqa: E402
from vlm_studio.adapt.process import Sources, Trainer  # noqa: E402
from vlm_studio.core.adapters import Interval, TrainSettings  # noqa: E402
from vlm_studio.core.cancel import CancelToken  # noqa: E402
from vlm_studio.model.characters import fold  # noqa: E402
from vlm_studio.model.distort import vary  # noqa: E402
from vlm_studio.reading.ctc_reader import CtcReader  # noqa: E402
from vlm_studio.reading.lexicon import WordList  # noqa: E402
from vlm_studio.recipe.data import load_copiste  # noqa: E402
from vlm_studio.recipe.synth import _font, can_write, list_fonts  # noqa: E402
from vlm_studio.recipe.texts import load_texts  # noqa: E402
from vlm_studio.tasks.adapt_gate import decide, judge  # noqa: E402
from vlm_studio.tasks.scoring import total  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results" / "adapt_hands.json"
LINES = (20, 10, 40)
KEPT_BACK, FEWEST_KEPT_BACK = 24, 5
GENERAL = 26


@dataclass(frozen=True)
class Hand:
    name: str
    learn: list[tuple[Image.Image, str]]
    """Lines to learn from, the first ones first."""
    held: list[tuple[Image.Image, str]]


def writers(folder: Path, count: int) -> list[Hand]:
    """The held-out writers with most lines. Their last lines, of the last page where there are two, are kept back."""
    rows = [row.split("\t") for row in (folder / "labels.tsv").read_text("utf-8").splitlines()[1:]]
    writer = {row[0]: re.sub(r"_[12]$", "", row[2]) for row in rows}
    found: dict[str, list[tuple[Image.Image, str]]] = {}
    for line in load_copiste(folder, validation=True):
        found.setdefault(writer[line.name], []).append(
            (Image.fromarray(line.pixels).convert("RGB"), line.text)
        )
    hands = []
    for name, lines in sorted(found.items(), key=lambda item: -len(item[1]))[:count]:
        cut = 20 if len(lines) >= 20 + FEWEST_KEPT_BACK else 10
        hands.append(Hand(name, lines[:cut], lines[cut:]))
    return hands


def drawn(fonts: Path, texts: Path, count: int) -> list[Hand]:
    """Hands in held-out fonts with a quirk each: 40 lines to learn from, `KEPT_BACK` more kept back."""
    said = load_texts(texts)
    files = [f for f in list_fonts(fonts, held_out=True) if can_write(f, "The quick brown fox, 1931.")]
    files = files[:: max(1, len(files) // (2 * count))]
    hands = []
    for number in range(count):
        rng = random.Random(f"hand {number}")
        main, other = files[2 * number], files[2 * number + 1]
        borrowed = set(rng.sample("abcdefghiklmnoprstuvwy", 3))
        slant, width = rng.uniform(-0.35, 0.35), rng.uniform(0.85, 1.2)
        lines: list[tuple[Image.Image, str]] = []
        while len(lines) < 40 + KEPT_BACK:
            text = fold(said.line("en", rng))[:46].strip()
            if len(text) >= 12 and can_write(main, text) and can_write(other, text):
                lines.append((draw(text, main, other, borrowed, slant, width, rng), text))
        name = f"{main.stem} with {''.join(sorted(borrowed))} of {other.stem}"
        hands.append(Hand(name, lines[:40], lines[40:]))
    return hands


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
    def __init__(self, threads: int, settings: TrainSettings) -> None:
        assets = ROOT / "assets"
        words = WordList(assets / "words" / "words.tsv.gz")
        general = assets / "general" / "lines.zip"
        self.model = NanoHand(assets / "nano", general, lambda name, rec: CtcReader(name, rec, words=words))
        self.folder = Path(tempfile.mkdtemp(prefix="adapt-hands-"))
        self.trainer = Trainer(self.folder, Sources(assets / "nano", general), threads)
        self.settings = settings
        self.base = self.model.reader(None)
        step = max(1, len(self.model.general()) // GENERAL)
        self.general = self.model.general()[::step]
        self.general_before = self._read(self.base, self.general)

    @staticmethod
    def _read(reader: Any, lines: list[tuple[Image.Image, str]]) -> list[str]:
        return [r.text for r in reader.read([image for image, _ in lines], CancelToken())]

    def run(self, hand: Hand, count: int, shuffled: bool = False) -> dict[str, Any]:
        """One training, judged by the app's gate."""
        learn = hand.learn[:count]
        if shuffled:
            texts = [text for _, text in learn]
            learn = [(image, text) for (image, _), text in zip(learn, texts[1:] + texts[:1], strict=True)]
        self.trainer.prepare("run", learn, hand.held, self.settings)
        begun, used = time.monotonic(), os.times()
        self.trainer.begin("run")
        while not self.trainer.wait("run", 5):
            pass
        seconds = time.monotonic() - begun
        product = self.trainer.product("run")
        assert product is not None
        reader = self.model.reader(product)
        wanted = [text for _, text in hand.held]
        before, after = self._read(self.base, hand.held), self._read(reader, hand.held)
        rates = [
            total([(r, t) for r, (_, t) in zip(read, self.general, strict=True)]).cer
            for read in (self.general_before, self._read(reader, self.general))
        ]
        verdict = judge(wanted, before, after, 1, (rates[0], rates[1]))
        now = os.times()
        cpu = now.children_user + now.children_system - used.children_user - used.children_system
        curve = [[p.step, p.cer] for p in self.trainer.points("run") if p.phase == "train"]
        self.trainer.remove("run")
        return {
            "hand": hand.name, "lines": len(learn), "shuffled": shuffled, "seconds": round(seconds, 1),
            "cpu_seconds": round(cpu, 1),
            "megabytes": round(_peak_child_bytes() / 1e6), "weights_kb": round(len(product[1]) / 1e3),
            "verdict": asdict(verdict), "curve": curve,
        }  # fmt: skip


def _peak_child_bytes() -> int:
    import resource

    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def judged_again(row: dict[str, Any]) -> dict[str, Any]:
    """A kept row by the gate as it is now, from the figures that were measured."""
    v = row["verdict"]
    rates = v["general_before"], v["general_after"]
    passed, why = decide(v["lines"], Interval(**v["cer_change"]), v["cer_before"], rates)
    return {**row, "verdict": {**v, "passed": passed, "why": why}}


def tell(rows: list[dict[str, Any]]) -> None:
    print(
        f"{'hand':56} {'lines':>5} {'CER before':>10} {'after':>7} {'change':>7} {'gate':>7} {'others':>13} {'s':>6}"
    )
    for row in rows:
        v = row["verdict"]
        change = v["cer_after"] / v["cer_before"] - 1 if v["cer_before"] else 0.0
        name = row["hand"] + (" (shuffled texts)" if row["shuffled"] else "")
        print(
            f"{name[:56]:56} {row['lines']:5} {v['cer_before']:10.3f} {v['cer_after']:7.3f} {change:+7.0%} "
            f"{'passed' if v['passed'] else 'refused':>7} {v['general_before']:.3f}-{v['general_after']:.3f} {row['seconds']:6.0f}"
        )
    for count in sorted({row["lines"] for row in rows}):
        kept = [r["verdict"] for r in rows if r["lines"] == count and not r["shuffled"]]
        changes = [v["cer_after"] / v["cer_before"] - 1 for v in kept if v["cer_before"]]
        if changes:
            quarter = sum(c <= -0.25 for c in changes)
            print(
                f"{count} lines: {len(changes)} hands, mean change {statistics.mean(changes):+.0%}, median "
                f"{statistics.median(changes):+.0%}, a quarter less or better for {quarter} of {len(changes)}"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--copiste", type=Path)
    parser.add_argument("--fonts", type=Path)
    parser.add_argument("--texts", type=Path)
    parser.add_argument("--writers", type=int, default=12)
    parser.add_argument("--drawn", type=int, default=4)
    parser.add_argument("--steps", type=int, default=TrainSettings().steps)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=120, help="no training begins after this long")
    args = parser.parse_args()
    started = time.monotonic()
    kept = json.loads(RESULTS.read_text("utf-8")) if RESULTS.exists() else {"rows": []}
    kept["rows"] = [judged_again(row) for row in kept["rows"]]
    bench = Bench(args.threads, replace(TrainSettings(), steps=args.steps))
    if kept.get("base_sha256") != bench.model.sha256 or kept.get("settings") != asdict(bench.settings):
        kept = {"base_sha256": bench.model.sha256, "settings": asdict(bench.settings), "rows": []}
    hands = writers(args.copiste, args.writers) if args.copiste else []
    hands += drawn(args.fonts, args.texts, args.drawn) if args.fonts else []
    jobs = [
        (h, n, False)
        for n in LINES
        for h in hands
        if len(h.learn) >= n and (n == len(h.learn) or n != 10 or len(h.learn) > 10)
    ]
    jobs.insert(2, (hands[0], 20, True))
    done = {(r["hand"], r["lines"], r["shuffled"]) for r in kept["rows"]}
    try:
        for hand, count, shuffled in jobs:
            if (hand.name, count, shuffled) in done or time.monotonic() - started > 60 * args.minutes:
                continue
            kept["rows"].append(bench.run(hand, count, shuffled))
            RESULTS.parent.mkdir(exist_ok=True)
            RESULTS.write_text(json.dumps(kept, indent=1), "utf-8")
            tell(kept["rows"][-1:])
    finally:
        shutil.rmtree(bench.folder, ignore_errors=True)
    tell(kept["rows"])


if __name__ == "__main__":
    main()
