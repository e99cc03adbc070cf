"""What ships in `assets/`: nano's weights with their card, adapters and learning curves, and the readers made of them.

Readers and models are made at first use, so that an app that only shows kept sessions never loads torch.
"""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

from vlm_studio.core.ports import ModelCard, Reader
from vlm_studio.core.settings import PROJECT_ROOT
from vlm_studio.model.card import read_card
from vlm_studio.tasks.adapt import HandModel, Trains


def lazily(module: str, name: str) -> Callable[..., Any]:
    """`module.name`, imported when first called: keeps torch and onnxruntime out of start-up."""

    def call(*args: Any, **kwargs: Any) -> Any:
        return getattr(importlib.import_module(module), name)(*args, **kwargs)

    return call


def _values(path: Path) -> dict[str, Any]:
    """A JSON object; empty where there is no such file."""
    return dict(json.loads(path.read_text("utf-8"))) if path.exists() else {}


class Shipped:
    """The files below `assets`. Reads them when asked; what is not installed is empty, None or 0."""

    def __init__(self, assets: Path) -> None:
        self.nano, self.words = assets / "nano", assets / "words" / "words.tsv.gz"
        self.general = assets / "general" / "lines.zip"

    def card(self) -> ModelCard | None:
        """nano's; None where its weights are not installed."""
        path = self.nano / "card.json"
        return read_card(path) if path.exists() else None

    def card_values(self) -> dict[str, Any]:
        """All that nano's card says, what it measures included."""
        return _values(self.nano / "card.json")

    def training_data(self) -> list[dict[str, str]]:
        """What nano was trained on: name, where from, licence."""
        return list(_values(self.nano / "provenance.json").get("data", ()))

    def parameters(self) -> int:
        """Of the whole of nano, as its card says; 0 where it does not."""
        return int(self.card_values().get("parameters", 0))

    def choose_reader(self) -> tuple[str, str]:
        """The reader that `auto` is here, and why: the one whose measured error rate is lower."""
        card = self.card_values()
        if not card:
            return "fast", "The weights of nano are not installed."
        chosen = str(card.get("auto_reader", "nano"))
        return chosen, f"Measured on lines that no training saw, {chosen} makes fewer errors."

    def readers(self) -> dict[str, Callable[[], Reader]]:
        """How to make each reader that needs nothing but these files."""
        found: dict[str, Callable[[], Reader]] = {"fast": lazily("vlm_studio.reading.fast", "FastReader")}
        if (self.nano / "card.json").exists():
            recogniser = lazily("vlm_studio.model.line_recogniser", "LineRecogniser")
            found["nano"] = lambda: self._careful("nano", recogniser(self.nano))
        return found

    def _careful(self, name: str, recogniser: Any, learned: bool = False) -> Reader:
        made: Reader = lazily("vlm_studio.reading.ctc_reader", "careful")(
            name, recogniser, self.words, learned
        )
        return made

    @cached_property
    def hand_model(self) -> HandModel:
        """nano's reader as something that hands are learned on."""
        made: HandModel = lazily("vlm_studio.adapt.hand_model", "NanoHand")(
            self.nano, self.general, self._careful
        )
        return made

    def trainer(self, folder: Path) -> Trains:
        """What teaches nano's reader, each training below `folder`."""
        sources = lazily("vlm_studio.adapt.process", "Sources")(self.nano, self.general)
        made: Trains = lazily("vlm_studio.adapt.process", "Trainer")(folder, sources)
        return made

    @property
    def adapters(self) -> tuple[str, ...]:
        """Adapters of nano that come with the app."""
        return tuple(sorted(path.parent.name for path in self.nano.glob("adapters/*/adapter_config.json")))

    def adapter_files(self, name: str) -> tuple[dict[str, Any], bytes]:
        """Config and weights of one of `adapters`. Raises AdapterRejected."""
        read: tuple[dict[str, Any], bytes] = lazily("vlm_studio.model.adapter_file", "read_folder")(
            self.nano / "adapters" / name
        )
        return read

    def curves(self) -> dict[str, Any]:
        """How the adapters were learned, as the recipe wrote it."""
        return _values(self.nano / "curves.json")

    @staticmethod
    def map_figures() -> dict[str, Any]:
        """What benchmarks/maps.py measured last, for the app's own help; empty where it never ran."""
        return _values(PROJECT_ROOT / "benchmarks" / "results" / "maps.json")

    def weight_hashes(self) -> dict[str, str]:
        """SHA-256 of nano's weight files by `nano/<file name>`."""
        return {
            f"nano/{path.name}": hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(self.nano.glob("*.safetensors"))
        }
