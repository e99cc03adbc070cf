"""How often does the gate of personal adapters let real gains pass, and nothings? Simulated: nothing is trained.

    python benchmarks/adapt_gate.py

Lines of 42 letters differ in difficulty (gamma, shape 3); a tenth of the letters is wrong before, in clumps, and a good
part of the words that are wrong before stays wrong after, as it is with real adapters.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from vlm_studio.tasks.adapt_gate import interval  # noqa: E402

LETTERS, BEFORE, CLUMP, SHARED = 42, 0.10, 1.5, 0.7
RUNS = 1_000
ROWS = {"40% fewer": 0.06, "a quarter fewer": 0.075, "as many": 0.10, "a tenth more": 0.11}


def passes(lines: int, after: float, rng: np.random.Generator) -> tuple[float, float]:
    """Shares of `RUNS` adapters that pass where 90 and where 95 of 100 draws have to be better."""
    passed = np.zeros(2)
    lengths = np.full(lines, float(LETTERS))
    for _ in range(RUNS):
        hard = rng.gamma(3, 1 / 3, lines) * LETTERS / CLUMP
        words = rng.poisson(BEFORE * hard)
        stay = rng.binomial(words, SHARED * after / BEFORE)
        fresh = rng.poisson((1 - SHARED) * after * hard)
        old, new = (n + rng.poisson((CLUMP - 1) * n).astype(float) for n in (words, stay + fresh))
        passed += [interval(old, new, lengths, confidence).high < 0 for confidence in (0.8, 0.9)]
    return float(passed[0] / RUNS), float(passed[1] / RUNS)


def main() -> None:
    rng = np.random.default_rng(0)
    print(f"{'errors after':>16} {'lines':>6} {'90 of 100':>10} {'95 of 100':>10}")
    for lines in (6, 8, 12, 24):
        for name, after in ROWS.items():
            now, stricter = passes(lines, after, rng)
            print(f"{name:>16} {lines:6} {now:10.0%} {stricter:10.0%}")


if __name__ == "__main__":
    main()
