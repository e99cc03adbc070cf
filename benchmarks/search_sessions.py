"""How fast is the search over everything ever read? Run: python benchmarks/search_sessions.py

10,000 sessions of 100 words each (1,000,000 words, drawn from a Zipf-like vocabulary of 30,000 made-up
words) are written through the same index that the app uses; then queries of several kinds are timed,
alternating, through `SearchIndex.search`, which the Sessions tab calls: ranking, snippets and all.
"""

from __future__ import annotations

import argparse
import itertools
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from vlm_studio.store.blobs import BlobStore
from vlm_studio.store.database import Database
from vlm_studio.store.search import SearchIndex
from vlm_studio.store.session_store import SessionStore

OWNER = "local"
WORDS_PER_LINE = 10
LINES_PER_SESSION = 10


def vocabulary(random_: random.Random, size: int) -> list[str]:
    parts = [a + b for a in "bcdfghjklmnprstvz" for b in "aeiouéà"]
    words: dict[str, None] = {}
    while len(words) < size:
        words["".join(random_.choices(parts, k=random_.choice([1, 2, 2, 3, 3, 4])))] = None
    return sorted(words, key=len)


def fill(
    sessions: SessionStore, index: SearchIndex, words: list[str], count: int, random_: random.Random
) -> None:
    weights = list(itertools.accumulate(1 / (rank + 3) for rank in range(len(words))))
    for first in range(0, count, 500):
        with sessions.database.write():
            for number in range(first, min(first + 500, count)):
                session = sessions.create(OWNER, "transcribe", f"Notes {number}")
                for line in range(LINES_PER_SESSION):
                    text = " ".join(random_.choices(words, cum_weights=weights, k=WORDS_PER_LINE))
                    index.index("line", session.id, f"{session.id}-{line}", text)


def queries(words: list[str], random_: random.Random, count: int) -> dict[str, list[str]]:
    common, middle, rare = words[:20], words[200:3000], words[15000:]
    return {
        "a rare word": random_.choices(rare, k=count),
        "an ordinary word": random_.choices(middle, k=count),
        "two ordinary words": [" ".join(random_.sample(middle, 2)) for _ in range(count)],
        "the beginning of a word": [w[:4] for w in random_.choices(rare, k=count)],
        "a quoted pair": [f'"{random_.choice(common)} {random_.choice(middle)}"' for _ in range(count)],
        "a word found everywhere": random_.choices(common, k=count),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sessions", type=int, default=10_000)
    parser.add_argument("--queries", type=int, default=40, help="of each kind")
    args = parser.parse_args()
    random_ = random.Random(7)
    words = vocabulary(random_, 30_000)
    with tempfile.TemporaryDirectory() as folder:
        database = Database(Path(folder) / "studio.db")
        index = SearchIndex(database)
        sessions = SessionStore(database, BlobStore(Path(folder) / "blobs", database), index)
        started = time.perf_counter()
        fill(sessions, index, words, args.sessions, random_)
        took = time.perf_counter() - started
        size = (Path(folder) / "studio.db").stat().st_size / 1e6
        total = args.sessions * LINES_PER_SESSION * WORDS_PER_LINE
        print(f"{args.sessions:,} sessions, {total:,} words, written in {took:.0f} s, {size:.0f} MB\n")
        kinds = queries(words, random_, args.queries)
        times: dict[str, list[float]] = {kind: [] for kind in kinds}
        found: dict[str, list[int]] = {kind: [] for kind in kinds}
        for round_ in range(args.queries):
            for kind, texts in kinds.items():
                started = time.perf_counter()
                hits = index.search(OWNER, texts[round_])
                times[kind].append((time.perf_counter() - started) * 1000)
                found[kind].append(len(hits))
        database.close()
    everything = [t for values in times.values() for t in values]
    print(f"{'query':<26}{'median ms':>10}{'95 % ms':>10}{'hits shown':>12}")
    for kind, values in [*times.items(), ("all of them", everything)]:
        hits_text = f"{statistics.median(found[kind]):.0f}" if kind in found else ""
        print(
            f"{kind:<26}{statistics.median(values):>10.1f}"
            f"{sorted(values)[int(len(values) * 0.95)]:>10.1f}{hits_text:>12}"
        )


if __name__ == "__main__":
    main()
