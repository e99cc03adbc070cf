"""Adapters that are kept: out, in, named, worn, and what is refused."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.store.kept import OTHER, OWNER
from tests.tasks.adapt_desk import Desk
from vlm_studio.core.adapters import TrainSettings
from vlm_studio.core.errors import AdapterRejected, InvalidRequest, ModelUnavailable, NotFound


def packed(good: bytes, files: dict[str, bytes | None]) -> bytes:
    """An exported adapter with other files in it."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(good)) as old, zipfile.ZipFile(out, "w") as new:
        for name in {*old.namelist(), *files}:
            data = files.get(name, old.read(name) if name in old.namelist() else None)
            if data is not None:
                new.writestr(name, data)
    return out.getvalue()


def test_an_adapter_goes_out_and_comes_in_again(ready: Desk) -> None:
    ready.learned()
    (adapter,) = ready.adapters.list(OWNER)
    data, name = ready.adapters.export(OWNER, adapter.id)
    assert name == "My hand.adapter.zip"
    with pytest.raises(NotFound):
        ready.adapters.export(OTHER, adapter.id)
    back = ready.adapters.take_in(OTHER, data)
    assert (back.owner, back.name, back.source, back.active, back.verdict) == (
        OTHER,
        "My hand",
        "imported",
        False,
        None,
    )
    assert "fewer letter errors" in back.notes
    assert ready.adapters.take_in(OTHER, data).id == back.id
    assert ready.adapters.take_in(OWNER, data).id == adapter.id
    ready.adapters.activate(OTHER, back.id)
    assert ready.adapters.reader_name(OTHER, "", "nano") == f"nano+{back.id}"
    ready.adapters.delete(OTHER, back.id)
    assert ready.adapters.reader_name(OTHER, "", "nano") == "nano"


@pytest.mark.parametrize("name", ["nano+01abc", "fast+x", "+"])
def test_a_client_cannot_name_an_adapter(ready: Desk, name: str) -> None:
    with pytest.raises(InvalidRequest):
        ready.adapters.reader_name(OWNER, "", name)


def test_other_readers_stay_what_they_are(ready: Desk) -> None:
    ready.learned()
    assert ready.adapters.reader_name(OWNER, "", "fast") == "fast"
    ready.adapters.choose(OWNER, ready.session.id, "base")
    assert ready.adapters.reader_name(OWNER, ready.session.id, "auto") == "auto"
    ready.adapters.choose(OWNER, ready.session.id, "active")
    assert ready.adapters.reader_name(OWNER, ready.session.id, "auto").startswith("nano+")


def test_files_that_are_no_exported_adapter_are_refused(ready: Desk) -> None:
    ready.learned()
    (adapter,) = ready.adapters.list(OWNER)
    good, _ = ready.adapters.export(OWNER, adapter.id)

    def changed(**files: bytes | None) -> bytes:
        return packed(good, files)

    with zipfile.ZipFile(io.BytesIO(good)) as archive:
        card = json.loads(archive.read("card.json"))
    other_base = {**card, "facts": {**card["facts"], "base_sha256": "0" * 64}}
    for data in (
        b"",
        b"PK\x03\x04nothing",
        good[: len(good) // 2],
        changed(**{"../../escape": b"x"}),
        changed(**{"adapter_model.bin": b"\x80\x04"}),
        changed(**{"card.json": None}),
        changed(**{"card.json": b"[]"}),
        changed(**{"card.json": b"{}"}),
        changed(**{"card.json": json.dumps({**card, "facts": {"kind": "hand"}}).encode()}),
        changed(**{"card.json": json.dumps(other_base).encode()}),
        changed(**{"adapter_config.json": b"[1]"}),
        changed(**{"adapter_model.safetensors": b"worse"}),
    ):
        with pytest.raises(AdapterRejected):
            ready.adapters.take_in(OWNER, data)
    assert len(ready.adapters.list(OWNER)) == 1


def test_a_model_of_the_hub_is_taught_and_never_worn_by_the_reader(ready: Desk) -> None:
    with pytest.raises(ModelUnavailable):
        ready.adapting.start(OWNER, "x", TrainSettings(model="another"))
    run = ready.adapting.start(OWNER, "Large", TrainSettings(model="idefics2-8b"))
    assert ready.trainer.checkpoint == Path("checkpoint")
    ready.trainer.over.set()
    live = ready.adapting.watching(OWNER, run.id)
    list(live.follow() if live is not None else ())
    (adapter,) = ready.adapters.list(OWNER)
    assert (adapter.facts.kind, adapter.facts.base_sha256, adapter.verdict) == ("engine", "revision", None)
    with pytest.raises(AdapterRejected):
        ready.adapters.activate(OWNER, adapter.id)


def test_what_is_renamed_signs_with_its_new_name(ready: Desk) -> None:
    ready.learned()
    (adapter,) = ready.adapters.list(OWNER)
    name = ready.adapters.reader_name(OWNER, "", "nano")
    assert ready.adapters.reader(name).name.startswith("nano+my-hand.")
    ready.adapters.rename(OWNER, adapter.id, "Ann", "by lamplight")
    assert ready.adapters.reader(name).name.startswith("nano+ann.")
    assert ready.adapters.rename(OWNER, adapter.id, "Bo").notes == "by lamplight"


@pytest.fixture
def exported(ready: Desk) -> tuple[bytes, dict[str, Any]]:
    """An adapter that another owner may bring in, and its card."""
    ready.learned()
    good, _ = ready.adapters.export(OWNER, ready.adapters.list(OWNER)[0].id)
    with zipfile.ZipFile(io.BytesIO(good)) as archive:
        return good, json.loads(archive.read("card.json"))


@pytest.mark.parametrize("lines", [-5, 10**30, 1.5, True, "9", None])
def test_a_card_with_a_number_of_lines_that_cannot_be_is_refused(
    ready: Desk, exported: tuple[bytes, dict[str, Any]], lines: object
) -> None:
    good, card = exported
    card["facts"]["lines"] = lines
    with pytest.raises(AdapterRejected, match="card"):
        ready.adapters.take_in(OTHER, packed(good, {"card.json": json.dumps(card).encode()}))


def test_a_cards_texts_are_cleaned_and_what_is_no_text_is_refused(
    ready: Desk, exported: tuple[bytes, dict[str, Any]]
) -> None:
    good, card = exported

    def came(**changes: object) -> bytes:
        return packed(good, {"card.json": json.dumps({**card, **changes}).encode()})

    for changes in ({"name": None}, {"notes": 3}, {"facts": {**card["facts"], "made_with": []}}):
        with pytest.raises(AdapterRejected, match="card"):
            ready.adapters.take_in(OTHER, came(**changes))
    with pytest.raises(InvalidRequest, match="name"):
        ready.adapters.take_in(OTHER, came(name="\0"))
    taken = ready.adapters.take_in(OTHER, came(name="An\0n\ud800", notes="one\ntwo\x07"))
    assert taken.name == "Ann"
    assert taken.notes.startswith("one\ntwo\nMeasured")


def test_an_adapter_that_is_scaled_beyond_all_measure_is_refused(
    ready: Desk, exported: tuple[bytes, dict[str, Any]]
) -> None:
    config = json.dumps({"peft_type": "LORA", "r": 2, "lora_alpha": 312})
    with pytest.raises(AdapterRejected, match="scaling"):
        ready.adapters.take_in(OTHER, packed(exported[0], {"adapter_config.json": config.encode()}))
    assert ready.adapters.list(OTHER) == ()
