"""Spoilt input of every kind: does any of it crash the app? Run: python benchmarks/faults_inputs.py [--seconds 20]

Uploads, PDFs, bodies of the API, adapters, recordings, imports and backups are spoilt at random (bits, lengths, numbers,
pieces cut, doubled or swapped) and handed to the code that parses them. Each has to end in a value or in an error with a
sentence for a person; a refused import or restore has to leave everything as it was. What fails is kept in
tests/data/fuzz, where the tests try it first. Prints a table and writes results/faults_inputs.json.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import sys
import tempfile
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.security.entries import CORPUS, Entry, entries, spoilt
from vlm_studio.core.errors import StudioError
from vlm_studio.core.settings import Settings
from vlm_studio.studio import Studio

RESULT = Path(__file__).resolve().parent / "results" / "faults_inputs.json"


def keep(name: str, data: bytes) -> None:
    folder = CORPUS / name.replace(" ", "_").replace("'", "")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{hashlib.sha256(data).hexdigest()[:16]}.bin").write_bytes(data)


def tried(name: str, entry: Entry, seconds: float, dice: random.Random) -> dict[str, int]:
    counts = {"inputs": 0, "taken": 0, "refused": 0, "faults": 0}
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        data = spoilt(dice.choice(entry.seeds), dice)
        counts["inputs"] += 1
        try:
            entry.parse(data)
            counts["taken"] += 1
        except StudioError:
            counts["refused"] += 1
        except Exception:
            counts["faults"] += 1
            keep(name, data)
            traceback.print_exc(limit=-3)
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--seconds", type=float, default=20.0, help="for each kind of input; five times that for PDFs"
    )
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        studio = Studio(Settings(data_dir=Path(folder) / "data", offline=True))
        for name, entry in entries(studio, Path(folder)).items():
            seconds = args.seconds * (5 if entry.cost >= 80 else 1)
            rows[name] = tried(name, entry, seconds, random.Random(args.seed))
        studio.close()
    total = {key: sum(row[key] for row in rows.values()) for key in next(iter(rows.values()))}
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps({"seed": args.seed, "rows": rows, "total": total}, indent=1) + "\n", "utf-8")
    print(f"{'input':<26}{'tried':>9}{'taken':>9}{'refused':>9}{'faults':>9}")
    for name, row in {**rows, "all of them": total}.items():
        print(f"{name:<26}{row['inputs']:>9}{row['taken']:>9}{row['refused']:>9}{row['faults']:>9}")


if __name__ == "__main__":
    main()
