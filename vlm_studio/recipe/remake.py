"""Make idefics2-nano anew, every stage in its order; started again, it goes on where it was stopped.

``python -m vlm_studio.recipe.remake --set SET --copiste COPISTE --out RUN``

SET is the folder that ``vlm_studio.recipe.collect`` filled. The weights come to lie in RUN/nano, whole: with card, provenance
and learning curves, in the place of assets/nano once they do better than those. What a stage prints stands in RUN/log.
"""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vlm_studio.model.language_model import converted

PACKAGE = "vlm_studio.recipe"
FEATURES = "27"
"""Shards of tower features, of 128 lines each."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One program of the recipe."""

    name: str
    module: str
    arguments: tuple[str, ...]


def stages(args: argparse.Namespace) -> list[tuple[Stage, ...]]:
    """All of them, in order; those that stand together may run side by side."""
    nano, features = args.out / "nano", args.out / "features"
    data = ["--fonts", args.set / "fonts", "--texts", args.set / "texts"]
    data += ["--copiste", args.copiste] if args.copiste else []
    device = ["--device", args.device]
    reader = ["--reader", nano / "tower.safetensors"]
    shared = [*reader, *data, *device, "--language", args.language or converted(None), "--out", args.out]
    cached = [*shared, "--features", features]
    tower = ["--recogniser", args.recogniser or recogniser(), "--threads", args.threads]
    tower += ["--minutes", args.tower_minutes, "--out", args.out, *data, *device]
    tower += ["--start", args.start, "--rate", "2e-4"] if args.start else []
    tower += ["--bfloat16"] if args.bfloat16 else []
    exported = ["--checkpoint", args.out / "ema.safetensors", "--out", nano, "--force", *data]
    reading = [*cached, "--steps", args.steps]

    def stage(name: str, module: str, given: Sequence[object]) -> Stage:
        return Stage(name, f"{PACKAGE}.{module}", tuple(map(str, given)))

    return [
        (stage("tower", "train_tower", tower),),
        (stage("tower-out", "export_tower", exported),),
        (stage("features", "features", [*reader, *data, *device, "--out", features, "--shards", FEATURES]),),
        (stage("connector", "train_connector", [*cached, "--minutes", args.connector_minutes]),),
        (
            stage("reading", "train_reading", reading),
            stage("frozen", "train_reading", [*reading, "--frozen"]),
        ),
        (stage("answering", "train_answering", [*cached, "--minutes", args.answering_minutes]),),
        (stage("language-out", "export_language", [*shared, "--assets", nano, "--force"]),),
    ]


def recogniser() -> Path:
    """The small recogniser in the wheel of rapidocr. Raises FileNotFoundError."""
    found = importlib.util.find_spec("rapidocr")
    file = Path(found.origin if found and found.origin else "").parent / "models" / "PP-OCRv6_rec_small.onnx"
    if not file.exists():
        raise FileNotFoundError(f"{file} is missing; give it with --recogniser.")
    return file


def run(group: Sequence[Stage], out: Path) -> list[str]:
    """Run what is not done yet, side by side; the names of those that failed."""
    done, logs = out / "done", out / "log"
    for folder in (done, logs):
        folder.mkdir(parents=True, exist_ok=True)
    running = []
    for stage in group:
        if not (done / stage.name).exists():
            print(stage.name, flush=True)
            with (logs / f"{stage.name}.txt").open("a", encoding="utf-8") as log:
                command = [sys.executable, "-m", stage.module, *stage.arguments]
                running.append((stage, subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)))
    failed = []
    for stage, process in running:
        if process.wait() == 0:
            (done / stage.name).touch()
        else:
            failed.append(stage.name)
    return failed


def main(argv: Sequence[str] | None = None) -> int:
    """0, or 1 where a stage failed; nothing after it has run then."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--set", type=Path, required=True, help="fonts and texts, from recipe.collect")
    parser.add_argument("--copiste", type=Path, help="folder with lines.zip and labels.tsv; none without it")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--start", type=Path, help="go on from this tower, assets/nano/tower.safetensors")
    parser.add_argument("--recogniser", type=Path, help="PP-OCRv6_rec_small.onnx; else that of rapidocr")
    parser.add_argument("--language", type=Path, help="SmolLM2's folder; else the app's own")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--bfloat16", action="store_true", help="where the device multiplies it quickly")
    parser.add_argument("--tower-minutes", type=float, default=95)
    parser.add_argument("--connector-minutes", type=float, default=4)
    parser.add_argument("--steps", type=int, default=640, help="of the reading adapter and its frozen twin")
    parser.add_argument("--answering-minutes", type=float, default=42)
    args = parser.parse_args(argv)
    for group in stages(args):
        if failed := run(group, args.out):
            print(f"failed: {', '.join(failed)}; see {args.out / 'log'}")
            return 1
    print(f"made: {args.out / 'nano'}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
