"""Is a long line better read in one pass, or cut at its word gaps?

    python benchmarks/cutting.py --fonts SET/fonts --texts SET/texts --copiste COPISTE

The lines are those of benchmarks/readers.py. Each is read whole, and cut at the widest gaps into pieces of at most so many
times its height: by the reader that ships, and by the connector alone, whose 64 pooled tokens hold one letter each, so that what a
piece has beyond them is lost. Lines of more than 56 letters stand apart. Prints a table and writes results/cutting.json.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from PIL import Image
from readers import NANO, WORDS, Remembered, evenly, set_parser

from vlm_studio.core.cancel import CancelToken
from vlm_studio.model.characters import prepare_strip
from vlm_studio.model.language_model import converted
from vlm_studio.model.line_recogniser import LineRecogniser
from vlm_studio.model.nano import build
from vlm_studio.reading.ctc_reader import careful
from vlm_studio.reading.strips import split_at_gaps
from vlm_studio.recipe.evaluate import score
from vlm_studio.recipe.export_tower import Lines, held_out
from vlm_studio.recipe.features import MAX_LETTERS, load_reader
from vlm_studio.recipe.lines import Stacker, spelled

RESULT = Path(__file__).resolve().parent / "results" / "cutting.json"
RATIOS = (40.0, 16.0, 10.0, 6.0)
"""Width over height of the longest piece; at 40 no line here is cut."""

Read = Callable[[list[Image.Image]], list[str]]


def reader() -> Read:
    """Pieces to texts by nano as it ships."""
    ships = careful("nano", Remembered(LineRecogniser(NANO)), WORDS)
    return lambda pieces: [found.text for found in ships.read(pieces, CancelToken())]


def connector() -> Read:
    """Pieces to texts by the pooled tokens alone."""
    model, _processor = build(converted(None), NANO)
    tower, head = load_reader(NANO / "tower.safetensors")
    stacker = Stacker(head)

    @torch.inference_mode()
    def read(pieces: list[Image.Image]) -> list[str]:
        strips = [torch.from_numpy(prepare_strip(piece))[None] for piece in pieces]
        return spelled(model.model.connector, stacker, [(tower(strip)[0], "") for strip in strips])

    return read


def cer(read: Read, lines: Lines, ratio: float) -> float:
    """Each line cut, its pieces read and joined by spaces."""
    pieces = [[piece for _, piece in split_at_gaps(image, ratio)] for image, _ in lines]
    texts = iter(read([piece for cut in pieces for piece in cut]))
    joined = [" ".join(filter(None, (next(texts) for _ in cut))) for cut in pieces]
    return round(score(joined, [text for _, text in lines]).cer, 4)


def main() -> None:
    args = set_parser(__doc__, 100, 166).parse_args()
    lines = [line for some in held_out(args).values() for line in evenly(some, args.most)]
    sides = {
        "short": [line for line in lines if len(line[1]) <= MAX_LETTERS],
        "long": [line for line in lines if len(line[1]) > MAX_LETTERS],
    }
    found: dict[str, object] = {"lines": {side: len(some) for side, some in sides.items()}}
    for name, read in (("nano as shipped", reader()), ("connector", connector())):
        found[name] = {
            side: {str(r): cer(read, some, r) for r in RATIOS} for side, some in sides.items() if some
        }
        print(name, json.dumps(found[name]), flush=True)
    RESULT.write_text(json.dumps(found, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
