"""The real store and the real gate, with a trainer and a model that do as they are told."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from tests.store.kept import OWNER, Kept
from vlm_studio.core.adapters import Interval, TrainPoint, TrainSettings, Verdict
from vlm_studio.core.cancel import CancelToken
from vlm_studio.core.documents import Asset, Box, Line, LineReading, Page, PageReading, ReadLine
from vlm_studio.core.errors import AdapterRejected, Busy, ModelUnavailable
from vlm_studio.store.adapter_store import AdapterStore
from vlm_studio.tasks.adapt import Adapting
from vlm_studio.tasks.adapt_manage import Adapters
from vlm_studio.tasks.live import LiveRuns

CONFIG = {"peft_type": "LORA", "r": 2}
VERDICT = Verdict(True, "Better.", 9, 1, 0.2, 0.1, 0.4, 0.3, Interval(-0.1, -0.2, 0.0), 0.1, 0.1)


class Reads:
    """Every strip says what is written in its first pixel's colour; spoils a letter unless it is `good`."""

    def __init__(self, good: bool, name: str = "nano") -> None:
        self.good, self.name = good, name

    def read(self, strips: Sequence[Image.Image], cancel: CancelToken) -> Iterator[LineReading]:
        for number, strip in enumerate(strips):
            text = f"the line that is written in grey {strip.convert('L').getpixel((3, 3))}"
            yield LineReading(
                text if self.good else text.replace("line", f"lime{number % 3}"), 0.9, (), self.name
            )


class Model:
    name, sha256 = "nano", "f" * 64

    def reader(
        self, adapter: tuple[Mapping[str, Any], bytes] | None, name: str = "", strength: float = 1.0
    ) -> Reads:
        return Reads(adapter is not None and adapter[1] == b"good", name or "nano")

    def parameters(self, config: Mapping[str, Any], weights: bytes) -> int:
        if weights not in {b"good", b"bad"}:
            raise AdapterRejected("This adapter cannot be used.")
        return 4

    def clean(self, config: Mapping[str, Any], weights: bytes) -> dict[str, Any]:
        return {"peft_type": "LORA", "r": config["r"], "lora_alpha": config.get("lora_alpha", config["r"])}

    def general(self) -> list[tuple[Image.Image, str]]:
        return [(Image.new("L", (60, 20), 9), "the line that is written in grey 9")]


class Trainer:
    """Ends when told to, with the weights it was told to end with."""

    def __init__(self) -> None:
        self.weights: bytes | None = b"good"
        self.over = threading.Event()
        self.words: list[str] = []
        self.learn: list[tuple[Image.Image, str]] = []
        self.check: list[tuple[Image.Image, str]] = []
        self.alive = False
        self.taken = False
        self.let_go_of: list[str] = []
        self.removed: list[str] = []
        self.without_checkpoint: list[str] = []
        self.pages: dict[str, tuple[str, ...]] = {}

    def prepare(
        self,
        training_id: str,
        learn: Any,
        check: Any,
        settings: TrainSettings,
        checkpoint: Any = None,
        pages: Sequence[str] = (),
    ) -> None:
        self.pages[training_id] = tuple(pages)
        self.checkpoint = checkpoint
        self.learn, self.check = list(learn), list(check)

    def hold(self, training_id: str) -> None:
        if self.taken:
            raise Busy("Another process is at it.")

    def let_go(self, training_id: str) -> None:
        self.let_go_of.append(training_id)

    def elsewhere(self, training_id: str) -> bool:
        return self.taken

    def begin(self, training_id: str) -> None:
        self.alive = True

    def running(self, training_id: str) -> bool:
        return self.alive

    def wait(self, training_id: str, seconds: float) -> bool:
        if self.over.wait(0.01):
            self.alive = False
        return not self.alive

    def points(self, training_id: str) -> Sequence[TrainPoint]:
        return [TrainPoint("train", 1, 2, 0.1, 0.5, 0.2)] if self.over.is_set() else []

    def control(self, training_id: str, word: str) -> None:
        self.words.append(word)
        if word == "stop":
            self.weights = None
            self.over.set()

    def held(self, training_id: str) -> list[tuple[Image.Image, str]]:
        return self.check

    def product(self, training_id: str) -> tuple[dict[str, Any], bytes] | None:
        return (dict(CONFIG), self.weights) if self.weights is not None and self.over.is_set() else None

    def kept_pages(self, training_id: str) -> tuple[str, ...]:
        return self.pages.get(training_id, ())

    def drop_checkpoint(self, training_id: str) -> None:
        self.without_checkpoint.append(training_id)

    def remove(self, training_id: str) -> None:
        self.alive = False
        self.over.set()
        self.pages.pop(training_id, None)
        self.removed.append(training_id)


def large(name: str, rank: int) -> tuple[Path, str]:
    if name != "idefics2-8b":
        raise ModelUnavailable("The weights are not on this machine.")
    return Path("checkpoint"), "revision"


class Desk:
    def __init__(self, root: Path) -> None:
        self.kept = Kept(root)
        self.rows = AdapterStore(self.kept.database, self.kept.sessions, self.kept.blobs)
        self.trainer, self.live = Trainer(), LiveRuns()
        model = Model()
        self.adapting = Adapting(
            self.kept.transcripts,
            self.kept.blobs,
            self.rows,
            lambda: self.trainer,
            lambda: model,
            self.live,
            "1",
            large,
        )  # type: ignore[arg-type]
        self.adapters = Adapters(
            self.rows, lambda: model, self.rows.in_use, self.rows.trusted_files, lambda: ("nano", "")
        )  # type: ignore[arg-type]
        self.session = self.kept.sessions.create(OWNER, "transcribe", "Letters")

    def correct(self, shade: int, count: int, owner: str = OWNER) -> None:
        """A page of that shade of grey with so many lines, all put right."""
        buffer = io.BytesIO()
        Image.new("L", (200, 30 * count), shade).save(buffer, "PNG")
        sha = self.kept.blobs.put(buffer.getvalue(), "image/png")
        page = Page(sha, 0, sha, 200, 30 * count)
        (kept,) = self.kept.sessions.add_asset(
            owner, self.session.id, Asset(sha, "image/png", "p.png", 9), [page]
        )
        lines = tuple(
            ReadLine(Line(Box(5, 30 * n + 3, 190, 30 * n + 25)), LineReading("lime", 0.4, (), "nano"))
            for n in range(count)
        )
        for line in self.kept.transcripts.save_reading(owner, kept.id, PageReading(page, lines, "nano", 0.1)):
            self.kept.transcripts.correct(owner, line.id, f"the line that is written in grey {shade}")

    def learned(self) -> list[object]:
        run = self.adapting.start(OWNER, "My hand")
        self.trainer.over.set()
        live = self.adapting.watching(OWNER, run.id)
        events = list(live.follow()) if live is not None else []
        assert live is None or not live.running
        return events
