"""How the server behaves under load. Run: python benchmarks/load_serve.py [--python RAY_VENV/bin/python]

Callers that each ask one question after the other, through the app's own client, against ``serve`` in one process and,
where `--python` has Ray, against replicas on Ray Serve. Every answer is compared with the one that the same question
got from an idle server. Prints a table and writes results/load_serve.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import httpx

from vlm_studio.core.answers import DoneEvent, StatusEvent, TokenEvent
from vlm_studio.core.cancel import CancelToken
from vlm_studio.core.conversation import Ask, GenParams, TextPart, Turn
from vlm_studio.core.errors import StudioError
from vlm_studio.model.remote import RemoteEngine

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "benchmarks" / "results" / "load_serve.json"
COUNTRIES = (
    "France",
    "Spain",
    "Italy",
    "Germany",
    "Japan",
    "Egypt",
    "Greece",
    "Norway",
    "Peru",
    "Chile",
    "Kenya",
    "Cuba",
)
TOKENS = 12


@dataclass
class Seen:
    """What the callers of one run met."""

    answers: int = 0
    lost: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    retries: int = 0
    first_ms: list[float] = field(default_factory=list)
    total_ms: list[float] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


def question(number: int) -> Ask:
    text = f"What is the capital of {COUNTRIES[number % len(COUNTRIES)]}?"
    return Ask((Turn("user", (TextPart(text),)),), params=GenParams(max_new_tokens=TOKENS))


def ask_once(engine: RemoteEngine, number: int, expected: Sequence[str], seen: Seen) -> None:
    """One question; what came is compared word by word with the answer of an idle server."""
    began, first, text, retries, done = time.monotonic(), 0.0, "", 0, 0
    try:
        for event in engine.stream(question(number), {}, CancelToken()):
            if isinstance(event, TokenEvent):
                first = first or time.monotonic()
                text += event.text
            elif isinstance(event, StatusEvent):
                retries += "Trying again" in event.message
            elif isinstance(event, DoneEvent):
                done += 1
    except StudioError as error:
        with seen.lock:
            seen.lost.append(str(error))
        return
    with seen.lock:
        seen.answers += 1
        seen.retries += retries
        if done != 1 or (expected and text != expected[number % len(COUNTRIES)]):
            seen.wrong.append(text)
        seen.first_ms.append((first - began) * 1000)
        seen.total_ms.append((time.monotonic() - began) * 1000)


def callers(url: str, count: int, seconds: float, expected: Sequence[str], seen: Seen) -> float:
    """`count` callers for `seconds`; each finishes what it began. How long it took."""
    began = time.monotonic()

    def one(place: int) -> None:
        engine, number = RemoteEngine(url), place
        while time.monotonic() - began < seconds:
            ask_once(engine, number, expected, seen)
            number += count

    threads = [threading.Thread(target=one, args=(place,)) for place in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.monotonic() - began


def answers_at_rest(url: str) -> list[str]:
    engine, found = RemoteEngine(url), []
    for number in range(len(COUNTRIES)):
        events = engine.stream(question(number), {}, CancelToken())
        found.append("".join(event.text for event in events if isinstance(event, TokenEvent)))
    return found


def replicas(url: str) -> dict[int, dict[str, Any]]:
    """What each replica that answers says of itself, by its process."""
    found: dict[int, dict[str, Any]] = {}
    for _ in range(16):
        try:
            value = httpx.get(url.removesuffix("/v1") + "/replica", timeout=10).json()
            found[value["pid"]] = value
        except (httpx.HTTPError, ValueError, KeyError):
            time.sleep(0.1)
    return found


def until_there(url: str, count: int) -> int:
    """Wait until so many replicas answer; how many do."""
    for _ in range(120):
        if len(replicas(url)) == count:
            break
        time.sleep(1.0)
    return len(replicas(url))


@contextmanager
def running(python: str, *options: str) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """(URL, process) of a server of its own with nano, ready; it is told to stop at the end."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    env = {
        **os.environ,
        "VLM_STUDIO_MODEL": "idefics2-nano",
        "PYTHONPATH": str(ROOT),
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    command = [python, "-m", "vlm_studio", "serve", "--port", str(port), *options]
    server = subprocess.Popen(
        command, cwd=ROOT, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        for _ in range(600):
            try:
                if httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=5).status_code == 200:
                    break
            except httpx.HTTPError:
                pass
            if server.poll() is not None:
                raise SystemExit(f"{' '.join(command)} ended with {server.returncode}")
            time.sleep(0.5)
        url = f"http://127.0.0.1:{port}/v1"
        if "--replicas" in options:
            until_there(url, int(options[-1]))
        yield url, server
    finally:
        server.send_signal(signal.SIGTERM)
        try:
            server.wait(60)
        except subprocess.TimeoutExpired:
            server.kill()


def percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 1) if ordered else 0.0


def row(name: str, count: int, took: float, seen: Seen) -> dict[str, Any]:
    return {
        "server": name,
        "callers": count,
        "answers": seen.answers,
        "lost": len(seen.lost),
        "wrong": len(seen.wrong),
        "answers_per_second": round(seen.answers / took, 2),
        "first_word_median_ms": percentile(seen.first_ms, 0.5),
        "first_word_p95_ms": percentile(seen.first_ms, 0.95),
        "whole_median_ms": percentile(seen.total_ms, 0.5),
        "whole_p95_ms": percentile(seen.total_ms, 0.95),
    }


def measured(urls: dict[str, str], args: argparse.Namespace) -> list[dict[str, Any]]:
    """All servers in turn, `args.rounds` times, so that what else the machine does meets all of them alike."""
    expected = {name: answers_at_rest(url) for name, url in urls.items()}
    seen = {(name, count): Seen() for name in urls for count in args.callers}
    took = dict.fromkeys(seen, 0.0)
    for _ in range(args.rounds):
        for name, count in seen:
            one = name, count
            took[one] += callers(urls[name], count, args.seconds, expected[name], seen[one])
    return [row(*one, took[one], seen[one]) for one in seen]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", default="", help="a Python with requirements-ray.txt; adds Ray Serve")
    parser.add_argument(
        "--seconds", type=float, default=8.0, help="of each server, number of callers and round"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--callers", type=int, nargs="+", default=[1, 4])
    args = parser.parse_args()
    servers = [(f"one process, {os.cpu_count()} threads", sys.executable, ())]
    if args.python:
        # Ray gives a replica the processor it asks for: one, so one thread.
        servers += [
            ("Ray, 1 replica of 1 thread", args.python, ("--ray", "--replicas", "1")),
            ("Ray, 2 replicas of 1 thread", args.python, ("--ray", "--replicas", "2")),
        ]
    with ExitStack() as stack:
        urls = {name: stack.enter_context(running(python, *options))[0] for name, python, options in servers}
        rows = measured(urls, args)
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    result = {
        "machine": machine,
        "model": "idefics2-nano",
        "tokens": TOKENS,
        "rounds": args.rounds,
        "rows": rows,
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    show(rows)


def show(rows: list[dict[str, Any]]) -> None:
    print(f"\n{'server':<30}{'callers':>8}{'answers':>9}{'lost':>6}{'wrong':>7}{'per s':>8}"
          f"{'first word: median, 95 % ms':>30}{'whole: median, 95 % ms':>26}")  # fmt: skip
    for r in rows:
        first = f"{r['first_word_median_ms']:.0f}, {r['first_word_p95_ms']:.0f}"
        whole = f"{r['whole_median_ms']:.0f}, {r['whole_p95_ms']:.0f}"
        print(f"{r['server']:<30}{r['callers']:>8}{r['answers']:>9}{r['lost']:>6}{r['wrong']:>7}"
              f"{r['answers_per_second']:>8}{first:>30}{whole:>26}")  # fmt: skip


if __name__ == "__main__":
    main()
