"""How well and how fast are lines and pages read? Run: python benchmarks/transcribe.py --lines DIR --fonts DIR

`--lines` is a folder of cut lines of real handwriting with a labels.tsv (file, text, copy). Of the texts that no
training of nano saw, 200 lines are read; `--fonts` are handwriting fonts (`python -m vlm_studio.recipe.collect`),
of which those that no training saw draw 200 English lines. Pages are put together from the same real lines
(pages.py): their error rate holds what the finder of lines and the reading order add to it, and lines that the
finder lost, split or merged are counted. Both readers read the same things, taking turns, so that a busy machine
slows both. Prints tables and writes results/transcribe.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import cv2
import numpy as np
from PIL import Image

from benchmarks.pages import MadePage, TrueLine, load_lines, make_pages
from vlm_studio.core.cancel import CancelToken
from vlm_studio.core.documents import Line, Page, PageReading
from vlm_studio.core.settings import Settings
from vlm_studio.recipe.data import validation_texts
from vlm_studio.recipe.synth import choose, draw_line, list_fonts
from vlm_studio.studio import Studio
from vlm_studio.tasks.scoring import total
from vlm_studio.tasks.transcribe import PageRead, Transcriber
from vlm_studio.views.page_overlay import corners_of

RESULT = Path(__file__).resolve().parent / "results" / "transcribe.json"
READERS = ("fast", "nano")
TURN = 25
"""Lines that a reader reads before it is the other's turn."""
ENGLISH = """
I walked along the river until the rain began to fall.|Please send the parcel to my sister before Friday.
The kitchen window looks out over three old apple trees.|We agreed to meet at half past seven by the station.
Her grandfather kept bees and sold the honey in spring.|Remember to water the plants while we are away.
It cost us 24 pounds, which is more than last year.|The children built a boat from boxes and string.
Could you call the plumber again? The tap still drips.|My notes from the lecture fill eleven pages.
At night the fox comes close to the garden fence.|He wrote the letter twice and posted neither.
Mix the flour with two eggs and a little warm milk.|Dear Edith, thank you for the lovely photograph.
The train was late, so we missed the second act.|There are 36 chairs in the hall, not 40.
Yesterday's experiment failed for a simple reason.|She left the keys under the blue flower pot.
All six windows need new paint before the winter.|Our neighbour plays the cello every Sunday morning.
The map shows a path that nobody has used for years.|Buy bread, butter, onions and a box of matches.
I have not slept well since the clocks went back.|In 1987 the bakery moved to the other side of town.
What a pity that you could not come to the wedding!|The doctor said to rest and drink plenty of water.
Each pupil receives a notebook, a pen and a ruler.|Tomorrow I will finish the chapter about whales.
"""


def read_in_turns(
    transcriber: Transcriber, lines: Sequence[tuple[Image.Image, str]]
) -> dict[str, dict[str, float]]:
    """Error rates and lines a second of each reader on (strip, text) pairs."""
    read: dict[str, list[str]] = {name: [] for name in READERS}
    seconds = dict.fromkeys(READERS, 0.0)
    for name in READERS:
        list(transcriber.read_strips([lines[0][0]], name, CancelToken()))
    for start in range(0, len(lines), TURN):
        strips = [strip for strip, _ in lines[start : start + TURN]]
        for name in READERS:
            begun = time.perf_counter()
            read[name] += [r.text for r in transcriber.read_strips(strips, name, CancelToken())]
            seconds[name] += time.perf_counter() - begun
    found = {}
    for name in READERS:
        score = total([(text, wanted) for text, (_, wanted) in zip(read[name], lines, strict=True)])
        found[name] = {
            "lines": len(lines),
            "cer": round(score.cer, 4),
            "wer": round(score.wer, 4),
            "lines_per_second": round(len(lines) / seconds[name], 2),
        }
    return found


def drawn_english(fonts: Path, count: int, seed: int) -> list[tuple[Image.Image, str]]:
    rng = random.Random(seed)
    files = list_fonts(fonts, held_out=True)
    sentences = [part.strip() for row in ENGLISH.strip().splitlines() for part in row.split("|")]
    found: list[tuple[Image.Image, str]] = []
    while len(found) < count:
        text = rng.choice(sentences)
        font = choose(files, text, rng)
        if font is not None:
            found.append((Image.fromarray(draw_line(text, font, rng.getrandbits(32)).pixels), text))
    return found


def faults(page: MadePage, lines: Sequence[Line]) -> dict[str, int]:
    """True lines that no found line covers, that several share, and found lines that hold several.

    A true line counts by the middle half of its height: neighbours overlap in the rest.
    """
    shares = np.zeros((len(page.quads), len(lines)))
    for i, (tl, tr, br, bl) in enumerate(page.quads):
        band = np.array(
            [tl + (bl - tl) / 4, tr + (br - tr) / 4, br - (br - tr) / 4, bl - (bl - tl) / 4], np.float32
        )
        for j, line in enumerate(lines):
            corners = np.array(corners_of(line), np.float32)
            shares[i, j] = cv2.intersectConvexConvex(band, corners)[0] / cv2.contourArea(band)
    return {
        "lines": len(page.quads),
        "lost": int((shares.sum(axis=1) < 0.5).sum()),
        "split": int(((shares > 0.15).sum(axis=1) > 1).sum()),
        "merged": int(((shares > 0.5).sum(axis=0) > 1).sum()),
    }


def read_pages(transcriber: Transcriber, pages: Sequence[MadePage]) -> dict[str, dict[str, Any]]:
    """By layout: error rates of both readers on whole pages and on the lines as they were cut, and the faults."""
    layouts: dict[str, dict[str, Any]] = {}
    for layout in dict.fromkeys(page.layout for page in pages):
        group = [page for page in pages if page.layout == layout]
        row: dict[str, Any] = {"pages": len(group)}
        for name in READERS:
            whole, cut = [], []
            for page in group:
                reading = _read(transcriber, page, name)
                whole.append((reading.text, page.text))
                strips = [Image.open(line.strip).convert("RGB") for line in page.lines]
                texts = [r.text for r in transcriber.read_strips(strips, name, CancelToken())]
                cut += [(text, line.text) for text, line in zip(texts, page.lines, strict=True)]
                if name == READERS[0]:
                    for key, count in faults(page, [read.line for read in reading.lines]).items():
                        row[key] = row.get(key, 0) + count
            row[name] = {"page_cer": round(total(whole).cer, 4), "cut_cer": round(total(cut).cer, 4)}
        layouts[layout] = row
        print(f"{layout:12}", json.dumps(row), flush=True)
    return layouts


def _read(transcriber: Transcriber, page: MadePage, reader: str) -> PageReading:
    blank = Page("", 0, "", page.image.width, page.image.height)
    events = transcriber.read_page(blank, page.image, reader, CancelToken())
    return next(event.reading for event in events if isinstance(event, PageRead))


def unseen(lines: Sequence[TrueLine]) -> list[TrueLine]:
    numbers = {line: line.strip.name.split("_")[0] for line in lines}
    kept = validation_texts(numbers.values())
    return [line for line in lines if numbers[line] in kept]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--lines", type=Path, required=True)
    parser.add_argument("--fonts", type=Path)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--pages", type=int, default=2, help="of each layout")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    real = unseen(load_lines(args.lines))
    result: dict[str, Any] = {
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
        "load_before": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
    }
    with tempfile.TemporaryDirectory() as data:
        studio = Studio(Settings(data_dir=Path(data)))
        chosen = random.Random(args.seed).sample(real, min(args.count, len(real)))
        strips = [(Image.open(line.strip).convert("RGB"), line.text) for line in chosen]
        result["real French lines"] = read_in_turns(studio.transcriber, strips)
        if args.fonts:
            english = drawn_english(args.fonts, args.count, args.seed)
            result["drawn English lines"] = read_in_turns(studio.transcriber, english)
        for kind in ("real French lines", "drawn English lines"):
            for name, row in result.get(kind, {}).items():
                print(f"{kind:20} {name:5}", json.dumps(row), flush=True)
        result["pages"] = read_pages(studio.transcriber, list(make_pages(real, args.pages, args.seed)))
        studio.close()
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
