"""Ship a tower: half-precision weights, what they measure on lines that no training saw, and where they come from.

``python -m vlm_studio.recipe.export_tower --checkpoint RUN/ema.safetensors --fonts F --texts T --copiste C``

Both readers read the same held-out lines; `auto` is the one with fewer errors. Nothing is replaced when the shipped
weights do better on them (``--force`` replaces all the same).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from vlm_studio.core.cancel import CancelToken
from vlm_studio.core.ports import Reader
from vlm_studio.model.line_recogniser import WEIGHTS, LineRecogniser
from vlm_studio.reading.ctc_reader import CtcReader, careful
from vlm_studio.reading.fast import FastReader
from vlm_studio.recipe.data import drawn_validation, load_copiste
from vlm_studio.recipe.evaluate import score
from vlm_studio.recipe.texts import load_texts

Lines = list[tuple[Image.Image, str]]
ASSETS = Path(__file__).resolve().parents[2] / "assets"
SUMMARY = (
    "Reads lines of English and French handwriting on any CPU, offline. It sees ink and letters only: "
    "ask it about a photograph of a cat and it has nothing to say."
)
LICENCE = (
    "Apache-2.0 for the parts it starts from. Of the real handwriting that it learned from, Copiste d'un jour, the repository "
    "says CC-BY-4.0, while the sentence that its writers copied speaks of non-commercial use: see provenance.json."
)
DATA = (
    {
        "name": "PP-OCRv6 small recogniser, the tower's first weights",
        "from": "the wheel rapidocr 3.10.0",
        "licence": "Apache-2.0",
    },
    {
        "name": "Copiste d'un jour, French handwritten lines of today",
        "from": "its public repository",
        "licence": "CC-BY-4.0 by the repository; the sentence that its writers copied speaks of non-commercial use. "
        "Both are stated here because they differ; `--no-copiste` trains without these lines.",
        "held_out": "every tenth text number",
    },
    {
        "name": "Lines drawn with handwriting fonts of Fontsource",
        "from": "npm packages listed in vlm_studio/recipe/collect.py",
        "licence": "OFL-1.1, Apache-2.0 or MIT, each package its own",
        "held_out": "every seventh font family",
    },
    {
        "name": "Sentences drawn with them: fortunes, Python's docstrings, the Debian handbook and reference",
        "from": "Debian packages fortunes, wamerican, wfrench, debian-handbook, debian-reference-fr",
        "licence": "as in those packages; no text is shipped",
    },
)


def held_out(args: argparse.Namespace) -> dict[str, Lines]:
    """Lines that no training saw, as pictures."""
    texts = load_texts(args.texts)
    sets: dict[str, Lines] = {}
    for language in ("en", "fr"):
        drawn = drawn_validation(texts, args.fonts, language, args.drawn, 99)
        sets[f"drawn_{language}"] = [(_picture(sample.strip), sample.text) for sample in drawn]
    if args.copiste:
        sets["copiste"] = [
            (Image.fromarray(r.pixels), r.text) for r in load_copiste(args.copiste, validation=True)
        ]
    return sets


def _picture(strip: np.ndarray) -> Image.Image:
    return Image.fromarray(((strip.transpose(1, 2, 0) + 1) * 127.5).round().astype(np.uint8))


def measure(reader: Reader, sets: dict[str, Lines]) -> dict[str, dict[str, float]]:
    """CER, WER, share of invented words and lines a second on each set."""
    found: dict[str, dict[str, float]] = {}
    for name, lines in sets.items():
        started = time.monotonic()
        read = [r.text for r in reader.read([image for image, _ in lines], CancelToken())]
        seconds = time.monotonic() - started
        scored = score(read, [text for _, text in lines])
        found[name] = {
            "lines": scored.lines,
            "cer": round(scored.cer, 4),
            "wer": round(scored.wer, 4),
            "invented_words": round(scored.invented, 4),
            "lines_per_second": round(scored.lines / seconds, 1),
        }
    return found


def mean_cer(measured: dict[str, dict[str, float]]) -> float:
    return float(np.mean([row["cer"] for row in measured.values()]))


def write_weights(checkpoint: Path, folder: Path) -> str:
    """Half-precision weights in `folder`; their SHA-256."""
    state = {name: tensor.half().contiguous() for name, tensor in load_file(checkpoint).items()}
    save_file(state, folder / WEIGHTS, metadata={"format": "pt"})
    return hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()


def _nano(folder: Path) -> CtcReader:
    return careful("nano", LineRecogniser(folder), ASSETS / "words" / "words.tsv.gz")


def export(args: argparse.Namespace) -> None:
    """Measure, compare with what is shipped, and write weights, card and provenance."""
    torch.set_num_threads(args.threads)
    sets = held_out(args)
    with tempfile.TemporaryDirectory() as work:
        digest = write_weights(args.checkpoint, Path(work))
        (Path(work) / "provenance.json").write_text(json.dumps({"sha256": {WEIGHTS: digest}}), "utf-8")
        new = measure(_nano(Path(work)), sets)
        print("new    ", json.dumps(new))
        if (args.out / WEIGHTS).exists():
            shipped = measure(_nano(args.out), sets)
            print("shipped", json.dumps(shipped))
            if mean_cer(new) >= mean_cer(shipped) and not args.force:
                print("What is shipped does better; nothing was written.")
                return
        fast = measure(FastReader(), sets)
        print("fast   ", json.dumps(fast))
        args.out.mkdir(parents=True, exist_ok=True)
        (args.out / WEIGHTS).write_bytes((Path(work) / WEIGHTS).read_bytes())
    write_card(args.out / "card.json", new, fast)
    _merge_provenance(args.out / "provenance.json", digest)


def write_card(
    path: Path, new: dict[str, dict[str, float]], fast: dict[str, dict[str, float]], **more: object
) -> None:
    """What nano measures beside `fast`, and `more` measured; what else the card says stays."""
    kept = json.loads(path.read_text("utf-8")) if path.exists() else {}
    card = {**kept, **_card(new, fast)}
    card["measured"] = {**kept.get("measured", {}), **card["measured"], **more}
    _write(path, card)


def _card(new: dict[str, dict[str, float]], fast: dict[str, dict[str, float]]) -> dict[str, Any]:
    return {
        "name": "idefics2-nano",
        "title": "idefics2-nano",
        "summary": SUMMARY,
        "reads_strips": True,
        "sees_pictures": False,
        "feed": "strips",
        "image_seq_len": 64,
        "longest_edge": 2400,
        "licence": LICENCE,
        "reads_with": "the tower's character head, lines in doubt at three widths, and word frequencies",
        "auto_reader": "nano" if mean_cer(new) <= mean_cer(fast) else "fast",
        "measured": {
            "conditions": "held-out lines: drawn in font families that training never saw, and Copiste lines of texts that "
            "it never saw; curly quotes and dashes made plain, case and accents kept",
            "nano": new,
            "fast": fast,
        },
    }


def _merge_provenance(path: Path, digest: str) -> None:
    kept = json.loads(path.read_text("utf-8")) if path.exists() else {}
    kept["recipe"] = "vlm_studio/recipe, see its LOG.md"
    kept["made"] = datetime.now(UTC).date().isoformat()
    kept["data"] = list(DATA)
    kept["sha256"] = {**kept.get("sha256", {}), WEIGHTS: digest}
    _write(path, kept)


def _write(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", "utf-8")


def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("checkpoint", "fonts", "texts"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--copiste", type=Path)
    parser.add_argument("--out", type=Path, default=ASSETS / "nano")
    parser.add_argument("--drawn", type=int, default=200, help="drawn lines for each language")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--force", action="store_true")
    export(parser.parse_args(argv))


if __name__ == "__main__":
    main()
