"""Make `assets/general/lines.zip`: lines of other hands, for learning one hand without forgetting the others.

``python -m vlm_studio.recipe.general_set --fonts SET/fonts --copiste COPISTE``

Lines to mix in come from the side that the tower was trained on, lines to score from the side that it never saw. Most lines
to mix in are chosen for their letters: a training takes those that have what a person's own lines lack.
"""

from __future__ import annotations

import argparse
import io
import random
import zipfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from vlm_studio.model.coverage import richest
from vlm_studio.recipe.data import RealLine, load_copiste
from vlm_studio.recipe.synth import choose, draw_line, list_fonts

HEIGHT = 64
MIX_REAL, SCORE_REAL, MIX_RICH = 36, 40, 240
LENGTHS = range(15, 71)
"""Letters of the lines that are chosen for what they show."""
OF_ONE_TEXT = 2
# Openings of books long in the public domain.
SENTENCES = (
    """
Alice was beginning to get very tired of sitting by her sister on the bank|and of having nothing to do: once or twice
she had peeped into the book|but it had no pictures or conversations in it.|So she was considering in her own mind
whether the pleasure of making|a daisy-chain would be worth the trouble|It is a truth universally acknowledged,|that a
single man in possession of a good fortune|must be in want of a wife.|However little known the feelings or views|of such
a man may be on his first entering|a neighbourhood, this truth is so well fixed|in the minds of the surrounding families
Call me Ishmael. Some years ago, never mind how long|having little or no money in my purse,|and nothing particular to
interest me on shore,|I thought I would sail about a little|and see the watery part of the world.|It was the best of
times, it was the worst of times,|it was the age of wisdom, it was the age of|foolishness, it was the epoch of belief,
it was the season of Light, it was the season|of Darkness, it was the spring of hope,|To Sherlock Holmes she is always
the woman.|I have seldom heard him mention her|under any other name. In his eyes she eclipses|and predominates the whole
of her sex.|You will rejoice to hear that no disaster|has accompanied the commencement of an|enterprise which you have
regarded with such|evil forebodings. I arrived here yesterday,|and my first task is to assure my dear sister|of my
welfare and increasing confidence|My father's family name being Pirrip,|and my Christian name Philip, my infant tongue
could make of both names nothing longer|or more explicit than Pip. So, I called myself Pip,|and came to be called Pip.
Marley was dead: to begin with. There is no doubt|whatever about that. The register of his burial|was signed by the
clergyman, the clerk,|the undertaker, and the chief mourner.|There was no possibility of taking a walk|that day. We had
been wandering, indeed,|in the leafless shrubbery an hour in the morning;|The Time Traveller (for so it will be
convenient|to speak of him) was expounding a recondite|matter to us. His grey eyes shone and|twinkled, and his usually
pale face was flushed|Happy families are all alike; every unhappy|family is unhappy in its own way. Everything|was in
confusion in the house. The wife had|discovered that the husband was carrying on|The Mole had been working very hard all
the|morning, spring-cleaning his little home.|First with brooms, then with dusters; then|on ladders and steps and
chairs, with a brush|and a pail of whitewash; till he had dust|in his throat and eyes, and splashes
""".replace("\n", "|")
    .strip("|")
    .split("|")
)


def real_lines(folder: Path | None, validation: bool, count: int) -> list[tuple[np.ndarray, str]]:
    """`count` lines spread evenly over the texts of one side; empty without the folder."""
    lines: list[RealLine] = load_copiste(folder, validation)
    step = max(1, len(lines) // count)
    return [(line.pixels, line.text) for line in lines[::step][:count]]


def rich_lines(folder: Path | None, count: int) -> list[tuple[np.ndarray, str]]:
    """Lines of the training side that show many different letters, no more than `OF_ONE_TEXT` of one text."""
    by_text: dict[str, list[RealLine]] = {}
    for line in load_copiste(folder, validation=False):
        if len(line.text) in LENGTHS:
            by_text.setdefault(line.name.split("_")[0], []).append(line)
    lines = [
        line
        for group in by_text.values()
        for line in sorted(group, key=lambda line: -len(set(line.text)))[:OF_ONE_TEXT]
    ]
    return [(lines[k].pixels, lines[k].text) for k in richest([line.text for line in lines], count)]


def drawn_lines(fonts: Path, held_out: bool, texts: list[str], seed: int) -> Iterator[tuple[np.ndarray, str]]:
    rng = random.Random(seed)
    files = list_fonts(fonts, held_out)
    for text in texts:
        font = choose(files, text, rng)
        if font is not None:
            pixels = draw_line(text, font, rng.getrandbits(32)).pixels
            yield cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fonts", type=Path, required=True)
    parser.add_argument("--copiste", type=Path, help="folder with lines.zip and labels.tsv")
    parser.add_argument("--out", type=Path, default=Path("assets/general/lines.zip"))
    args = parser.parse_args()
    half = len(SENTENCES) // 2
    sets = {
        "mix": [
            *(("fr", *line) for line in real_lines(args.copiste, False, MIX_REAL)),
            *(("en", *line) for line in drawn_lines(args.fonts, False, SENTENCES[:half], 1)),
            *(("fr", *line) for line in rich_lines(args.copiste, MIX_RICH)),
        ],
        "score": [
            *(("fr", *line) for line in real_lines(args.copiste, True, SCORE_REAL)),
            *(("en", *line) for line in drawn_lines(args.fonts, True, SENTENCES[half:], 2)),
        ],
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    rows = ["file\tuse\ttext\tlanguage"]
    with zipfile.ZipFile(args.out, "w") as archive:
        for use, lines in sets.items():
            for number, (language, pixels, text) in enumerate(lines):
                name = f"{use}_{number:03d}.jpg"
                width = max(8, round(pixels.shape[1] * HEIGHT / pixels.shape[0]))
                image = Image.fromarray(pixels).resize((width, HEIGHT), Image.Resampling.LANCZOS)
                data = io.BytesIO()
                image.save(data, "JPEG", quality=70)
                # A fixed time, so that the same lines make the same file.
                archive.writestr(zipfile.ZipInfo(name), data.getvalue())
                rows.append(f"{name}\t{use}\t{text}\t{language}")
        archive.writestr(zipfile.ZipInfo("labels.tsv"), "\n".join(rows) + "\n")
    print(args.out, {use: len(lines) for use, lines in sets.items()}, args.out.stat().st_size)


if __name__ == "__main__":
    main()
