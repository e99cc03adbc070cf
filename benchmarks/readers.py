"""How well and how fast do the readers read lines that no training saw?

    python benchmarks/readers.py --fonts SET/fonts --texts SET/texts --copiste COPISTE

SET is what `vlm_studio.recipe.collect` gathers. Lines are drawn in font families that training never saw, and taken from
Copiste's texts that it never saw. Every variant reads the same lines: `fast` and nano at the line's own width and a
fifth wider, nano without and with word frequencies, and as it ships: lines in doubt at three widths. Speed is measured
with the readers taking turns; loading in processes of their own. Prints a table, writes results/readers.json, fills the table
in README.md, and tells nano's card what it measures.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from PIL import Image

from vlm_studio.core.cancel import CancelToken
from vlm_studio.core.documents import STRETCHES
from vlm_studio.model.line_recogniser import LineRecogniser
from vlm_studio.reading.ctc_reader import CtcReader, Recogniser, careful
from vlm_studio.reading.fast import FastReader, plain_punctuation, shared_recogniser
from vlm_studio.reading.lexicon import WordList
from vlm_studio.recipe.evaluate import score
from vlm_studio.recipe.export_tower import Lines, held_out, write_card

ROOT = Path(__file__).resolve().parents[1]
NANO, WORDS = ROOT / "assets" / "nano", ROOT / "assets" / "words" / "words.tsv.gz"
RESULT = Path(__file__).resolve().parent / "results" / "readers.json"
README = ROOT / "README.md"
BEGIN, END = "<!-- table: benchmarks/readers.py -->", "<!-- end -->"
TITLES = {"drawn_en": "drawn, English", "drawn_fr": "drawn, French", "copiste": "real handwriting, French"}
SHIPPED = "nano as shipped"
LOADING = {
    "reader": "from vlm_studio.studio import Studio; from vlm_studio.core.settings import Settings; from PIL import Image;"
    "from vlm_studio.core.cancel import CancelToken;"
    "s = Studio(Settings(data_dir=__import__('pathlib').Path(__import__('tempfile').mkdtemp())));"
    "list(s.transcriber.read_strips([Image.open('tests/data/lines/00.jpg')], 'nano', CancelToken()))",
    "engine": "from pathlib import Path; from vlm_studio.model.catalog import load_nano; load_nano(Path('assets'), None)",
}


class Remembered:
    """A recogniser that looks at each piece once, however many variants ask."""

    def __init__(self, recogniser: Recogniser) -> None:
        self.recogniser = recogniser
        self._known: dict[tuple[tuple[int, int], bytes], np.ndarray] = {}

    @property
    def characters(self) -> Sequence[str]:
        return self.recogniser.characters

    def probabilities(self, pieces: Sequence[Image.Image]) -> list[np.ndarray]:
        keys = [(piece.size, piece.tobytes()) for piece in pieces]
        new = {key: piece for key, piece in zip(keys, pieces, strict=True) if key not in self._known}
        for key, found in zip(
            new, self.recogniser.probabilities(list(new.values())) if new else [], strict=True
        ):
            self._known[key] = found
        return [self._known[key] for key in keys]


def variants() -> dict[str, CtcReader]:
    fast, nano = Remembered(shared_recogniser()), Remembered(LineRecogniser(NANO))
    words, wider = WordList(WORDS), STRETCHES[:1]
    return {
        "fast, at the width of the line": CtcReader("fast", fast, plain_punctuation),
        "fast": CtcReader("fast", fast, plain_punctuation, stretches=wider),
        "nano, at the width of the line, letters alone": CtcReader("nano", nano),
        "nano, at the width of the line": CtcReader("nano", nano, words=words),
        "nano, a fifth wider": CtcReader("nano", nano, words=words, stretches=wider),
        SHIPPED: careful("nano", nano, WORDS),
    }


def accuracy(sets: dict[str, Lines]) -> dict[str, dict[str, dict[str, float]]]:
    """Scores of each variant on each set."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for variant, reader in variants().items():
        found[variant] = {}
        for name, lines in sets.items():
            read = [r.text for r in reader.read([image for image, _ in lines], CancelToken())]
            scored = score(read, [text for _, text in lines])
            found[variant][name] = {
                "lines": scored.lines,
                "cer": round(scored.cer, 4),
                "wer": round(scored.wer, 4),
                "invented_words": round(scored.invented, 4),
            }
        print(variant, json.dumps(found[variant]), flush=True)
    return found


def speed(lines: Lines, rounds: int) -> dict[str, float]:
    """Lines a second of `fast` and nano, the best of `rounds` in which they take turns."""
    readers = {"fast": FastReader(), "nano": careful("nano", LineRecogniser(NANO), WORDS)}
    images = [image for image, _ in lines]
    best = dict.fromkeys(readers, 0.0)
    for reader in readers.values():
        list(reader.read(images[:2], CancelToken()))
    for _ in range(rounds):
        for name, reader in readers.items():
            began = time.perf_counter()
            list(reader.read(images, CancelToken()))
            best[name] = max(best[name], len(images) / (time.perf_counter() - began))
    return {name: round(value, 1) for name, value in best.items()}


def loading() -> dict[str, dict[str, float]]:
    """What a process costs that reads one line with nano, and one that loads the engine; the second run counts. Linux."""
    found = {}
    for name, program in LOADING.items():
        timed = (
            "import time; began = time.perf_counter();"
            + program
            + "; print('\\n', time.perf_counter() - began, time.process_time(),"
            "[row.split()[1] for row in open('/proc/self/status') if row.startswith('VmHWM')][0])"
        )
        for _ in range(2):
            done = subprocess.run(
                [sys.executable, "-c", timed], cwd=ROOT, capture_output=True, text=True, check=True
            )
        seconds, busy, kilobytes = map(float, done.stdout.split()[-3:])
        found[name] = {
            "seconds": round(seconds, 1),
            "processor_seconds": round(busy, 1),
            "peak_mb": round(kilobytes / 1024),
        }
    return found


def evenly(lines: Lines, most: int) -> Lines:
    """At most `most` of `lines`, from their whole length."""
    return lines[:: -(-len(lines) // most)]


def table(found: dict[str, dict[str, dict[str, float]]]) -> str:
    rows = [
        "| lines that no training saw | lines | `fast` CER | `nano` CER | `fast` WER | `nano` WER |",
        "|---|---|---|---|---|---|",
    ]
    for name, fast in found["fast"].items():
        nano = found[SHIPPED][name]
        numbers = [f"{value:.3f}" for value in (fast["cer"], nano["cer"], fast["wer"], nano["wer"])]
        rows.append(f"| {TITLES[name]} | {fast['lines']} | {' | '.join(numbers)} |")
    return "\n".join(rows)


def tell_card(accuracy: dict[str, dict[str, dict[str, float]]]) -> None:
    """The readers' rates on nano's card; what else the card says stays."""
    variants = {name: rows for name, rows in accuracy.items() if name not in {"fast", SHIPPED}}
    write_card(
        NANO / "card.json",
        accuracy[SHIPPED],
        accuracy["fast"],
        variants=variants,
        measured_by="benchmarks/readers.py",
    )


def fill(readme: Path, filled: str) -> None:
    text = readme.read_text("utf-8")
    start, end = text.index(BEGIN) + len(BEGIN), text.index(END, text.index(BEGIN))
    readme.write_text(text[:start] + "\n" + filled + "\n" + text[end:], "utf-8")


def set_parser(description: str | None, drawn: int, most: int) -> argparse.ArgumentParser:
    """A command line that asks for the held-out lines; `drawn` and `most` are its defaults."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("fonts", "texts"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--copiste", type=Path)
    parser.add_argument("--drawn", type=int, default=drawn, help="drawn lines of each language")
    parser.add_argument("--most", type=int, default=most, help="lines of each set")
    return parser


def main() -> None:
    parser = set_parser(__doc__, 200, 500)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    sets = {name: evenly(lines, args.most) for name, lines in held_out(args).items()}
    found: dict[str, Any] = {"accuracy": accuracy(sets)}
    found["lines_per_second"] = speed([lines[k] for lines in sets.values() for k in range(8)], args.rounds)
    found["loading"] = loading()
    found["machine"] = {"python": platform.python_version(), "torch_threads": torch.get_num_threads()}
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    tell_card(found["accuracy"])
    filled = table(found["accuracy"])
    fill(README, filled)
    print(filled, json.dumps(found["lines_per_second"]), json.dumps(found["loading"]), sep="\n")


if __name__ == "__main__":
    main()
