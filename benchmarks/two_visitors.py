"""Two people at once for two minutes: is anything mixed up or lost? Run: python benchmarks/two_visitors.py

The app is started in a process of its own with two log-ins. Each visitor hammers its API from several threads with
images of its own: new chats, further messages in them, images put in the middle of a sentence, a language model's
words, searches. Every answer is compared with what that visitor's image reads when nobody else is there; every
message carries a word of its own. At the end each visitor's list and search must hold exactly what that visitor
made, and nothing of the other. Prints a table and writes results/two_visitors.json.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULT = Path(__file__).resolve().parent / "results" / "two_visitors.json"
LINES = ROOT / "tests" / "data" / "lines"
WAIT_SECONDS = 180
SAY = "What does <image 1> say?"
BUSY = "still being written"


@dataclass
class Visitor:
    """One person: a log-in, an image that nobody else has, and what was made."""

    name: str
    image: Path
    expected: str = ""
    sessions: dict[str, list[str]] = field(default_factory=dict)
    """Session to the words of its own that its messages carry."""
    with_image: list[str] = field(default_factory=list)
    """Sessions that hold the image, so that they can be asked about it again."""
    seconds: dict[str, list[float]] = field(default_factory=dict)
    refused: int = 0
    """Messages to a chat in which another thread of the same visitor was still being answered."""
    faults: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)
    numbers: itertools.count[int] = field(default_factory=itertools.count)

    def word(self) -> str:
        """A word that no other message has, without digits so that it is one word for the search."""
        number = next(self.numbers)
        return f"{self.name}q" + "".join("abcdefghij"[int(d)] for d in f"{number:04}")


def start_app(data: Path) -> tuple[subprocess.Popen[bytes], str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env = {
        **os.environ, "VLM_STUDIO_PORT": str(port), "VLM_STUDIO_DATA_DIR": str(data),
        "VLM_STUDIO_AUTH": "anna:first,bruno:second", "VLM_STUDIO_OFFLINE": "1",
    }  # fmt: skip
    log = (data / "app.txt").open("wb")
    process = subprocess.Popen([sys.executable, "app.py"], cwd=ROOT, env=env, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    for _ in range(WAIT_SECONDS * 2):
        try:
            urllib.request.urlopen(url + "/healthz", timeout=5).close()
            return process, url
        except (urllib.error.URLError, OSError):
            if process.poll() is not None:
                break
            time.sleep(0.5)
    raise SystemExit("the app did not start: " + (data / "app.txt").read_text("utf-8")[-2000:])


def client_of(url: str, visitor: Visitor) -> Any:
    from gradio_client import Client

    password = {"anna": "first", "bruno": "second"}[visitor.name]
    return Client(url, auth=(visitor.name, password), verbose=False)


def chat(
    client: Any, text: str, image: Path | None = None, session: str = "", tokens: int = 16
) -> dict[str, Any]:
    from gradio_client import handle_file

    images = [handle_file(str(image))] if image else None
    answer: dict[str, Any] = client.predict(
        text=text, images=images, session=session, max_new_tokens=tokens, api_name="/chat"
    )
    return answer


def hammer(client: Any, visitor: Visitor, until: float, seed: int) -> None:
    random_ = random.Random(seed)
    while time.monotonic() < until:
        kind = random_.choices(["new", "more", "middle", "talk", "search"], [3, 4, 2, 1, 3])[0]
        begun = time.monotonic()
        try:
            act(client, visitor, kind, random_)
        except Exception as error:  # whatever the server answers is counted, not raised
            if BUSY in str(error):
                with visitor.lock:
                    visitor.refused += 1
                continue
            with visitor.lock:
                visitor.faults[f"{kind}: {str(error)[:80]}"] += 1
        with visitor.lock:
            visitor.seconds.setdefault(kind, []).append(time.monotonic() - begun)


def act(client: Any, visitor: Visitor, kind: str, random_: random.Random) -> None:
    word = visitor.word()
    with visitor.lock:
        known = list(visitor.with_image)
        asked = [w for words in visitor.sessions.values() for w in words]
    if kind == "search":
        if asked:
            expect(visitor, found(client, random_.choice(asked)) == 1, "a kept message was not found")
        return
    session = random_.choice(known) if known and kind in {"more", "middle"} else ""
    image = None if session or kind == "talk" else visitor.image
    if kind == "talk":
        answer = chat(client, f"Write a word that rhymes with {word}.", tokens=4)
        expect(visitor, answer["how"] == "model", "not the language model's words")
    else:
        text = f"{word}: what does <image 1> say?" if kind == "middle" else f"{SAY} {word}"
        answer = chat(client, text, image, session)
        expect(visitor, answer["quotes"] == [visitor.expected], "the text of another image")
        expect(visitor, not session or answer["session"] == session, "another session")
    expect(visitor, answer["status"] == "done", f"status {answer['status']}")
    with visitor.lock:
        visitor.sessions.setdefault(answer["session"], []).append(word)
        if image:
            visitor.with_image.append(answer["session"])


def found(client: Any, words: str) -> int:
    listed: dict[str, Any] = client.predict(query=words, api_name="/sessions")
    return int(listed["total"])


def expect(visitor: Visitor, holds: bool, otherwise: str) -> None:
    if not holds:
        with visitor.lock:
            visitor.faults[otherwise] += 1


def settle(client: Any, visitor: Visitor, other: Visitor) -> dict[str, int]:
    """What the server keeps for a visitor, against what that visitor made."""
    listed = client.predict(query="", limit=500, api_name="/sessions")
    ids = {item["id"] for item in listed["sessions"]}
    theirs = [w for words in other.sessions.values() for w in words]
    mine = [w for words in visitor.sessions.values() for w in words]
    return {
        "lost sessions": len(visitor.sessions.keys() - ids),
        "foreign sessions": len(ids & other.sessions.keys()),
        "lost messages": sum(found(client, word) != 1 for word in mine),
        "foreign messages found": sum(found(client, word) for word in theirs),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--threads", type=int, default=3, help="of each visitor")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        process, url = start_app(Path(folder))
        try:
            result = measure(url, args.seconds, args.threads)
        finally:
            process.terminate()
            process.wait(30)
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    show(result)


def measure(url: str, seconds: float, threads: int) -> dict[str, Any]:
    visitors = [Visitor("anna", LINES / "05.jpg"), Visitor("bruno", LINES / "07.jpg")]
    clients = [client_of(url, visitor) for visitor in visitors]
    for client, visitor in zip(clients, visitors, strict=True):
        word = visitor.word()
        answer = chat(client, f"{SAY} {word}", visitor.image)
        visitor.expected = answer["quotes"][0]
        visitor.sessions[answer["session"]] = [word]
        visitor.with_image.append(answer["session"])
    if visitors[0].expected == visitors[1].expected:
        raise SystemExit("the two images read the same: nothing could be told apart")
    until = time.monotonic() + seconds
    workers = [
        threading.Thread(target=hammer, args=(client, visitor, until, 10 * place + number))
        for place, (client, visitor) in enumerate(zip(clients, visitors, strict=True))
        for number in range(threads)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    people = {}
    for client, visitor, other in zip(clients, visitors, reversed(visitors), strict=True):
        people[visitor.name] = {
            "requests": sum(map(len, visitor.seconds.values())),
            "sessions": len(visitor.sessions),
            "messages": sum(map(len, visitor.sessions.values())),
            "median seconds": {k: round(statistics.median(v), 2) for k, v in sorted(visitor.seconds.items())},
            "refused while answering": visitor.refused,
            "faults": dict(visitor.faults),
            **settle(client, visitor, other),
        }
    return {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "seconds": seconds, "threads of each": threads, "visitors": people,
    }  # fmt: skip


def show(result: dict[str, Any]) -> None:
    rows = ("requests", "refused while answering", "sessions", "messages", "lost sessions", "lost messages", "foreign sessions",
            "foreign messages found")  # fmt: skip
    names = list(result["visitors"])
    print(f"{'':<26}" + "".join(f"{name:>10}" for name in names))
    for row in rows:
        print(f"{row:<26}" + "".join(f"{result['visitors'][name][row]:>10}" for name in names))
    for name in names:
        person = result["visitors"][name]
        print(f"{name}: faults {person['faults'] or 'none'}; median seconds {person['median seconds']}")


if __name__ == "__main__":
    main()
