"""Replicas are killed under load: is an answer lost or doubled? Run: python benchmarks/faults_serve.py --python RAY_VENV/bin/python

Two replicas on Ray Serve answer callers; twice, one that is at work gets SIGKILL, and Ray makes a new one. Half of the
callers stream through the app's own client, the others ask for whole answers with an idempotency key and ask again when
nothing comes, as any client can. Every answer is compared with that of an idle server: a lost one, a second answer to
one request, a word twice or a word missing would all be counted. At the end the actor that knows which request is
being answered is killed too. Prints a table and writes results/faults_serve.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import httpx
import psutil
from load_serve import (
    COUNTRIES,
    ROOT,
    TOKENS,
    Seen,
    answers_at_rest,
    ask_once,
    percentile,
    question,
    replicas,
    running,
    until_there,
)

from vlm_studio.core.ids import new_id
from vlm_studio.model.remote import RemoteEngine

RESULT = ROOT / "benchmarks" / "results" / "faults_serve.json"
AGAIN = {408, 429, 500, 502, 503, 504}
TRIES = 60


def ask_whole(url: str, number: int, expected: Sequence[str], seen: Seen) -> None:
    """One question without a stream, asked again with the same key until an answer comes."""
    body = {
        "model": "idefics2-nano", "max_tokens": TOKENS,
        "messages": [{"role": "user", "content": question(number).turns[0].text}],
    }  # fmt: skip
    headers, began, tries = {"Idempotency-Key": new_id()}, time.monotonic(), 0
    while tries < TRIES:
        try:
            response = httpx.post(f"{url}/chat/completions", json=body, headers=headers, timeout=300)
            if response.status_code not in AGAIN:
                break
        except httpx.HTTPError:
            pass
        tries += 1
        time.sleep(1.0)
    with seen.lock:
        seen.retries += tries
        if tries == TRIES or response.status_code != 200:
            seen.lost.append("no answer" if tries == TRIES else response.text[:200])
            return
        seen.answers += 1
        if response.json()["choices"][0]["message"]["content"] != expected[number % len(COUNTRIES)]:
            seen.wrong.append(response.text[:200])
        seen.total_ms.append((time.monotonic() - began) * 1000)


def ask_all(url: str, count: int, callers: int, expected: Sequence[str], seen: Seen) -> None:
    """`count` questions by `callers` at once, every other caller with a stream."""
    numbers, lock = iter(range(count)), threading.Lock()

    def one(place: int) -> None:
        engine = RemoteEngine(url)
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            if place % 2:
                ask_whole(url, number, expected, seen)
            else:
                ask_once(engine, number, expected, seen)

    threads = [threading.Thread(target=one, args=(place,)) for place in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def kill_at_work(url: str, ended: Callable[[], bool]) -> int:
    """Kill a replica that runs something; how much it ran. 0 where none did before all had `ended`."""
    while not ended():
        busy = [one for one in replicas(url).values() if one["running"]]
        if busy:
            chosen = max(busy, key=lambda one: int(one["running"]))
            os.kill(chosen["pid"], signal.SIGKILL)
            return int(chosen["running"])
    return 0


def killed_replicas(
    url: str, args: argparse.Namespace, expected: Sequence[str], seen: Seen
) -> dict[str, Any]:
    before = next(iter(replicas(url).values()))["answers"]
    killed: list[int] = []
    done = threading.Event()

    def killer() -> None:
        for share in (0.2, 0.6):
            while seen.answers + len(seen.lost) < share * args.requests and not done.is_set():
                time.sleep(0.05)
            until_there(url, 2)
            ran = kill_at_work(url, done.is_set)
            if ran:
                killed.append(ran)

    thread = threading.Thread(target=killer)
    thread.start()
    began = time.monotonic()
    ask_all(url, args.requests, args.callers, expected, seen)
    took = time.monotonic() - began
    done.set()
    thread.join()
    after = next(iter(replicas(url).values()))["answers"]
    return {
        "replicas_killed": len(killed),
        "running_on_the_killed": sum(killed),
        "begun": after["claimed"] - before["claimed"],
        "finished": after["finished"] - before["finished"],
        "seconds": round(took, 1),
        "replicas_at_the_end": until_there(url, 2),
    }


def killed_log(url: str, server: int, count: int, callers: int, expected: Sequence[str], seen: Seen) -> int:
    """`count` questions while the actor with the answers is killed; how many such actors there were."""
    ours = psutil.Process(server).children(recursive=True)
    actors = [p for p in ours if p.cmdline() and p.cmdline()[0].startswith("ray::SharedAnswers")]

    def killer() -> None:
        while seen.answers < count // 4:
            time.sleep(0.05)
        for actor in actors:
            actor.kill()

    thread = threading.Thread(target=killer)
    thread.start()
    ask_all(url, count, callers, expected, seen)
    thread.join()
    return len(actors)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", required=True, help="a Python with requirements-ray.txt")
    parser.add_argument("--callers", type=int, default=6)
    parser.add_argument("--requests", type=int, default=80)
    args = parser.parse_args()
    seen, last = Seen(), Seen()
    with running(args.python, "--ray", "--replicas", "2") as (url, server):
        expected = answers_at_rest(url)
        found = killed_replicas(url, args, expected, seen)
        logs = killed_log(url, server.pid, 16, args.callers, expected, last)
    result: dict[str, Any] = {
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
        "model": "idefics2-nano",
        "tokens": TOKENS,
        "callers": args.callers,
        "requests": seen.answers + len(seen.lost),
        "tries_made_again": seen.retries,
        "lost": len(seen.lost),
        "doubled_or_wrong": len(seen.wrong),
        "median_ms": percentile(seen.total_ms, 0.5),
        "longest_ms": round(max(seen.total_ms or [0.0]), 1),
        **found,
        "logs_killed": logs,
        "requests_while_the_log_died": last.answers + len(last.lost),
        "lost_while_the_log_died": len(last.lost),
        "wrong_while_the_log_died": len(last.wrong),
        "errors": sorted({*seen.lost, *last.lost})[:5],
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    for name, value in result.items():
        print(f"{name.replace('_', ' '):<30}{value}")


if __name__ == "__main__":
    main()
