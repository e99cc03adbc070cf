"""Spoilt input of every kind: does any of it crash the app? Run: python benchmarks/faults_inputs.py [--inputs 20000]

Uploads, PDFs, bodies of the API, adapters, recordings, imports and backups are spoilt at random (bits, lengths, numbers,
pieces cut, doubled or swapped; objects, values and parts exchanged with the checksums made right again) and handed to the code that parses them. Each has to end in a value or in an error with a
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
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.security import pdf_entry
from tests.security.entries import CORPUS, Entry, entries
from vlm_studio.core.errors import StudioError
from vlm_studio.core.settings import Settings
from vlm_studio.studio import Studio

RESULT = Path(__file__).resolve().parent / "results" / "faults_inputs.json"


def keep(name: str, data: bytes) -> None:
    folder = CORPUS / name.replace(" ", "_").replace("'", "")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{hashlib.sha256(data).hexdigest()[:16]}.bin").write_bytes(data)


def tried(name: str, entry: Entry, inputs: int, dice: random.Random) -> dict[str, int]:
    counts = {"inputs": inputs, "taken": 0, "refused": 0, "faults": 0}
    known = set()
    for _ in range(inputs):
        data = entry.spoil(dice.choice(entry.seeds), dice)
        try:
            entry.parse(data)
            counts["taken"] += 1
        except StudioError:
            counts["refused"] += 1
        except Exception as error:
            counts["faults"] += 1
            place = (type(error), *traceback.extract_tb(error.__traceback__)[-1][:2])
            if place not in known:
                known.add(place)
                keep(name, data)
                traceback.print_exc(limit=-3)
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--inputs", type=int, default=20_000, help="of each kind; fewer of those that take longer"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="+", default=[], help="kinds of input; the rows of the others stay")
    args = parser.parse_args()
    rows = json.loads(RESULT.read_text("utf-8"))["rows"] if args.only else {}
    with tempfile.TemporaryDirectory() as folder:
        studio = Studio(Settings(data_dir=Path(folder) / "data", offline=True))
        for name, entry in entries(studio, Path(folder)).items():
            if not args.only or name in args.only:
                rows[name] = tried(name, entry, args.inputs // entry.cost, random.Random(args.seed))
                print(name, rows[name], flush=True)
        studio.close()
    print(f"{pdf_entry.ended_processes()} files ended the process that read them")
    pdf_entry.close()
    total = {key: sum(row[key] for row in rows.values()) for key in next(iter(rows.values()))}
    result = {"seed": args.seed, "rows": rows, "total": total}
    RESULT.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    print(f"{'input':<26}{'tried':>9}{'taken':>9}{'refused':>9}{'faults':>9}")
    for name, row in {**rows, "all of them": total}.items():
        print(f"{name:<26}{row['inputs']:>9}{row['taken']:>9}{row['refused']:>9}{row['faults']:>9}")


if __name__ == "__main__":
    main()
