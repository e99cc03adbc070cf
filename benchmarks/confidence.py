"""Is a word as often right as its reader is sure of it?

    python benchmarks/confidence.py --fonts SET/fonts --texts SET/texts --copiste COPISTE

The lines are those of readers.py, which no training saw. A word is right if it stands at its place in the text, letter for
letter, accents, capitals and punctuation included. For each reader: the logistic curve that fits its words best (Platt
1999), which vlm_studio/reading/calibration.py has; how far confidences are from the share that is right, as found, with
the curve as shipped, and on every other line with a curve fitted on the lines between (expected calibration error, 15 bins; Naeini
et al. 2015); and what the mark of doubt catches. Writes results/confidence.json.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import itertools

import numpy as np
from rapidfuzz.distance import Levenshtein
from readers import NANO as WEIGHTS
from readers import WORDS, set_parser

from vlm_studio.core.cancel import CancelToken
from vlm_studio.core.documents import DOUBTFUL_BELOW, STRETCHES
from vlm_studio.model.characters import fold
from vlm_studio.model.line_recogniser import LineRecogniser
from vlm_studio.reading.calibration import FAST, NANO, Calibration
from vlm_studio.reading.ctc_reader import CtcReader
from vlm_studio.reading.fast import plain_punctuation, shared_recogniser
from vlm_studio.reading.lexicon import WordList
from vlm_studio.recipe.export_tower import Lines, held_out

RESULT = Path(__file__).resolve().parent / "results" / "confidence.json"
BINS = 15
EDGES = (0.0, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.01)

Words = np.ndarray
"""(words, 3): number of the line, confidence, 1 where the word is right."""


def words_of(reader: CtcReader, lines: Lines) -> Words:
    rows: list[tuple[float, float, float]] = []
    read = reader.read([image for image, _ in lines], CancelToken())
    for number, (found, (_, text)) in enumerate(zip(read, lines, strict=True)):
        got, right = [word.text for word in found.words], set()
        for op in Levenshtein.opcodes(got, fold(text).split()):
            if op.tag == "equal":
                right |= set(range(op.src_start, op.src_end))
        rows += [(number, word.confidence, float(k in right)) for k, word in enumerate(found.words)]
    return np.array(rows)


def fitted(words: Words) -> Calibration:
    """Logistic regression of right on the logit of the share, by Newton's method."""
    share = np.clip(words[:, 1], 1e-4, 1 - 1e-4)
    given = np.stack([np.ones_like(share), np.log(share / (1 - share))], 1)
    weights = np.zeros(2)
    for _ in range(50):
        chance = 1 / (1 + np.exp(-given @ weights))
        slope = given.T @ (words[:, 2] - chance)
        weights += np.linalg.solve((given * (chance * (1 - chance))[:, None]).T @ given, slope)
    return Calibration(*(round(float(w), 3) for w in weights))


def error(words: Words, confidence: Callable[[float], float] = float) -> float:
    """Expected calibration error, 0-1."""
    sure = np.array([confidence(share) for share in words[:, 1]])
    bins = np.minimum((sure * BINS).astype(int), BINS - 1)
    gaps = (abs((sure - words[:, 2])[bins == k].sum()) for k in range(BINS))
    return float(sum(gaps)) / len(words)


def judged(words: Words, shipped: Calibration) -> dict[str, Any]:
    sure = np.array([shipped.confidence(share) for share in words[:, 1]])
    wrong, marked = words[:, 2] == 0, sure < DOUBTFUL_BELOW
    odd = words[:, 0] % 2 == 1
    halves = [error(words[test], fitted(words[~test]).confidence) * int(test.sum()) for test in (odd, ~odd)]
    steps = []
    for low, high in itertools.pairwise(EDGES):
        here = (sure >= low) & (sure < high)
        if here.any():
            steps.append({
                "from": low, "to": min(high, 1.0), "words": int(here.sum()),
                "confidence": round(float(sure[here].mean()), 3), "right": round(float(words[here, 2].mean()), 3),
            })  # fmt: skip
    return {
        "words": len(words), "right": round(1 - float(wrong.mean()), 3),
        "mean_share": round(float(words[:, 1].mean()), 3), "mean_confidence": round(float(sure.mean()), 3),
        "error_as_found": round(error(words), 3), "error_shipped": round(error(words, shipped.confidence), 3),
        "error_fitted_on_other_lines": round(sum(halves) / len(words), 3),
        "fitted": asdict(fitted(words)), "shipped": asdict(shipped),
        "marked": round(float(marked.mean()), 3), "wrong_of_marked": round(float(wrong[marked].mean()), 3),
        "marked_of_wrong": round(float(marked[wrong].mean()), 3), "steps": steps,
    }  # fmt: skip


def main(argv: Sequence[str] | None = None) -> None:
    args = set_parser(__doc__, 100, 500).parse_args(argv)
    sets = held_out(args)
    nano, fast = LineRecogniser(WEIGHTS), shared_recogniser()
    readers = {
        "nano": (CtcReader("nano", nano, words=WordList(WORDS), stretches=STRETCHES), NANO),
        "fast": (CtcReader("fast", fast, plain_punctuation, stretches=STRETCHES[:1]), FAST),
    }
    found: dict[str, Any] = {"sets": {name: len(lines) for name, lines in sets.items()}}
    for name, (reader, shipped) in readers.items():
        each = {title: words_of(reader, lines) for title, lines in sets.items()}
        together = np.concatenate([np.array(rows) for rows in each.values()])
        by_set = {
            title: {
                "words": len(rows), "error_as_found": round(error(rows), 3),
                "error_shipped": round(error(rows, shipped.confidence), 3),
            }
            for title, rows in each.items()
        }  # fmt: skip
        found[name] = {**judged(together, shipped), "by_set": by_set}
        print(name, json.dumps(found[name], indent=1))
    RESULT.write_text(json.dumps(found, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
