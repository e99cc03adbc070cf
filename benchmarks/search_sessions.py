"""How fast is the search over everything ever read? Run: python benchmarks/search_sessions.py

10,000 sessions of 100 words each (1,000,000 words, drawn from a Zipf-like vocabulary of 30,000 made-up
words) are written through the same index that the app uses; then queries of several kinds are timed,
alternating, through `SearchIndex.search` (ranking, snippets and all), and through `Sessions.list`, which the
Sessions tab and the API call: finds grouped into sessions, with their tags and previews. The list without
a search is timed too. Prints a table and writes results/search_sessions.json.
"""

from __future__ import annotations

import argparse
import itertools
import json
import platform
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from vlm_studio.core.settings import Settings
from vlm_studio.store.search import SearchIndex
from vlm_studio.store.session_store import SessionStore
from vlm_studio.studio import Studio

OWNER = "local"
RESULT = Path(__file__).resolve().parent / "results" / "search_sessions.json"
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


def timed(call: Callable[[], object], into: list[float]) -> object:
    """`call`, its milliseconds added to `into`."""
    started = time.perf_counter()
    value = call()
    into.append((time.perf_counter() - started) * 1000)
    return value


def summary(values: list[float]) -> dict[str, float]:
    return {
        "median_ms": round(statistics.median(values), 2),
        "p95_ms": round(sorted(values)[int(len(values) * 0.95)], 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sessions", type=int, default=10_000)
    parser.add_argument("--queries", type=int, default=40, help="of each kind")
    args = parser.parse_args()
    random_ = random.Random(7)
    words = vocabulary(random_, 30_000)
    with tempfile.TemporaryDirectory() as folder:
        studio = Studio(Settings(data_dir=Path(folder), offline=True))
        filling: list[float] = []
        timed(lambda: fill(studio.session_store, studio.index, words, args.sessions, random_), filling)
        kinds = queries(words, random_, args.queries)
        index_ms: dict[str, list[float]] = {kind: [] for kind in kinds}
        tab_ms: dict[str, list[float]] = {kind: [] for kind in kinds}
        list_ms: list[float] = []
        for round_ in range(args.queries):
            timed(lambda: studio.sessions.list(OWNER), list_ms)
            for kind, texts in kinds.items():
                text = texts[round_]
                timed(lambda text=text: studio.index.search(OWNER, text), index_ms[kind])
                timed(lambda text=text: studio.sessions.list(OWNER, text), tab_ms[kind])
        n_bytes = (Path(folder) / "studio.db").stat().st_size
        studio.close()
    result = {
        "sessions": args.sessions,
        "words": args.sessions * LINES_PER_SESSION * WORDS_PER_LINE,
        "database_mb": round(n_bytes / 1e6, 1),
        "written_s": round(filling[0] / 1000, 1),
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
        "index_search": {kind: summary(values) for kind, values in index_ms.items()},
        "tab_search": {kind: summary(values) for kind, values in tab_ms.items()},
        "index_search_all": summary([t for values in index_ms.values() for t in values]),
        "tab_search_all": summary([t for values in tab_ms.values() for t in values]),
        "tab_list": summary(list_ms),
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    show(result)


def show(result: dict[str, Any]) -> None:
    print(
        "{sessions:,} sessions, {words:,} words, written in {written_s} s, {database_mb} MB\n".format(
            **result
        )
    )
    print(f"{'query':<26}{'index: median, 95 % ms':>26}{'tab: median, 95 % ms':>26}")
    rows = [(kind, result["index_search"][kind], result["tab_search"][kind]) for kind in result["tab_search"]]
    rows.append(("all of them", result["index_search_all"], result["tab_search_all"]))
    for kind, index, tab in rows:
        cells = (f"{v['median_ms']:.1f}, {v['p95_ms']:.1f}" for v in (index, tab))
        print(f"{kind:<26}" + "".join(f"{cell:>26}" for cell in cells))
    print(
        f"{'the list, nothing sought':<52}{'{median_ms:.1f}, {p95_ms:.1f}'.format(**result['tab_list']):>26}"
    )


if __name__ == "__main__":
    main()
