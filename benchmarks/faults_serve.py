"""A replica is killed under load: is an answer lost or doubled? Run: python benchmarks/faults_serve.py --python RAY_VENV/bin/python

Two replicas on Ray Serve answer callers that ask through the app's own client; in the middle one of them gets SIGKILL,
and Ray makes a new one. Every answer is compared with that of an idle server: a lost one, a second answer to one
request, a word twice or a word missing would all be counted. Prints a table and writes results/faults_serve.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import threading
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import httpx
from load_serve import ROOT, TOKENS, Seen, answers_at_rest, callers, percentile, running

RESULT = ROOT / "benchmarks" / "results" / "faults_serve.json"


def replicas(url: str) -> dict[str, int]:
    """Name and process of each replica that answers."""
    found: dict[str, int] = {}
    for _ in range(40):
        try:
            value = httpx.get(url.removesuffix("/v1") + "/replica", timeout=10).json()
            found[value["replica"]] = value["pid"]
        except (httpx.HTTPError, ValueError):
            time.sleep(0.1)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--python", default="", help="a Python with requirements-ray.txt, which starts a server"
    )
    parser.add_argument(
        "--url", default="", help="of a server with two replicas that runs on this machine already"
    )
    parser.add_argument("--callers", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=40.0)
    parser.add_argument("--kills", type=float, nargs="+", default=[8.0, 25.0], help="seconds after the start")
    args = parser.parse_args()
    killed: list[int] = []
    server = nullcontext((args.url, None)) if args.url else running(args.python, "--ray", "--replicas", "2")
    with server as (url, _):
        expected = answers_at_rest(url)
        seen = Seen()

        def killer() -> None:
            began = time.monotonic()
            for moment in args.kills:
                time.sleep(max(0.0, began + moment - time.monotonic()))
                pid = next(iter(set(replicas(url).values()) - set(killed)), None)
                if pid is not None:
                    os.kill(pid, signal.SIGKILL)
                    killed.append(pid)

        thread = threading.Thread(target=killer)
        thread.start()
        took = callers(url, args.callers, args.seconds, expected, seen)
        thread.join()
        left = replicas(url)
    result: dict[str, Any] = {
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
        "model": "idefics2-nano",
        "tokens": TOKENS,
        "requests": seen.answers + len(seen.lost),
        "replicas_killed": len(killed),
        "tries_made_again": seen.retries,
        "lost": len(seen.lost),
        "doubled_or_wrong": len(seen.wrong),
        "first_word_p95_ms": percentile(seen.first_ms, 0.95),
        "longest_ms": round(max(seen.total_ms or [0.0]), 1),
        "seconds": round(took, 1),
        "replicas_at_the_end": len(left),
        "errors": sorted(set(seen.lost))[:5],
    }
    Path(RESULT).parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    for name, value in result.items():
        print(f"{name.replace('_', ' '):<24}{value}")


if __name__ == "__main__":
    main()
