"""Which model answers and why, told without torch where that is possible; and what images cost it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from PIL import Image

from tests.tasks.chat_fakes import ScriptedEngine
from vlm_studio.core.conversation import Variant
from vlm_studio.core.ports import Engine, ModelCard
from vlm_studio.core.settings import Settings
from vlm_studio.model.catalog import SPECS
from vlm_studio.model.shelf import Choice
from vlm_studio.model.tiles import crops
from vlm_studio.tasks.models import NANO, TITLES, Models

READS = ModelCard(NANO, NANO, "Reads.", True, False, "strips", 64, 980, "none", {})


@dataclass
class Shelf:
    large: ScriptedEngine = field(default_factory=ScriptedEngine)
    asked: list[str] = field(default_factory=list)

    @property
    def default(self) -> Engine:
        return self.get(self.choose_default()[0])

    def get(self, name: str) -> Engine:
        self.asked.append(name)
        return self.large

    def choose_default(self) -> tuple[str, str]:
        return "idefics2-8b", "4 bits on a card."

    def choices(self) -> tuple[Choice, ...]:
        return (Choice("idefics2-8b", "Idefics2-8B", False, False, "It needs 6.0 GB."),)


def models(monkeypatch: pytest.MonkeyPatch, model: str = "auto", card: bool = False) -> tuple[Models, Shelf]:
    monkeypatch.setattr("shutil.which", lambda _: "/usr/bin/nvidia-smi" if card else None)
    shelf = Shelf()
    settings = replace(Settings(), model=model, data_dir=Path("unused"))
    server = ScriptedEngine(words="from afar")
    return Models(settings, lambda: shelf, lambda: server, lambda: READS, crops), shelf


def test_without_a_card_auto_is_nano_and_no_shelf_is_needed_to_say_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    light, shelf = models(monkeypatch)
    assert light.card(Variant("auto")) is READS
    assert "CUDA" in light.explain("auto") and not shelf.asked
    assert light.image_tokens(Variant("auto"), [Image.new("RGB", (50, 50))]) == ()


def test_with_a_card_the_shelf_chooses_and_a_choice_that_cannot_run_says_what_happens(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found, shelf = models(monkeypatch, card=True)
    assert found.engine(Variant("auto")) is shelf.large and "4 bits on a card" in found.explain("auto")
    told = found.explain("idefics2-8b")
    assert "needs 6.0 GB" in told and NANO in told
    photos = [Image.new("RGB", (1200, 900), "grey"), Image.new("RGB", (90, 90))]
    assert found.image_tokens(Variant("idefics2-8b"), photos) == (64, 64)
    assert found.image_tokens(Variant("idefics2-8b", splitting="on"), photos) == (320, 320)


def test_beside_a_server_nano_of_this_machine_can_be_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    remote, shelf = models(monkeypatch, model="http://there:8000/v1#large")
    assert [name for _label, name in remote.choices()] == ["auto", NANO]
    assert remote.engine(Variant("auto")) is remote.engine(Variant("whatever-the-server-has"))
    assert not shelf.asked and remote.engine(Variant(NANO)) is shelf.large and shelf.asked == [NANO]
    assert remote.explain("auto").startswith("auto is http://there:8000/v1.")


def test_what_can_be_chosen_is_what_the_catalog_has() -> None:
    assert TITLES == {NANO: NANO, **{name: spec.card.title for name, spec in SPECS.items()}}
