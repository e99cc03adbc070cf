"""A session's own hand: who reads with which adapter, on record in the answer, and made again from the pack alone."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.ui.test_compare_tab import LINE, hand
from vlm_studio.core.errors import AdapterRejected, InvalidRequest
from vlm_studio.core.sessions import LOCAL_OWNER as OWNER
from vlm_studio.core.settings import Settings
from vlm_studio.store.evidence_files import read_pack, write_pack
from vlm_studio.studio import Studio
from vlm_studio.tasks.chat import Kept
from vlm_studio.tasks.chat_feed import Options

ASKED = "What does <image 1> say?"


@pytest.fixture
def elsewhere(settings: Settings, tmp_path: Path) -> Iterator[Studio]:
    """An app that has never seen the adapter."""
    made = Studio(replace(settings, data_dir=tmp_path / "elsewhere"))
    yield made
    made.close()


def answered(studio: Studio, choice: str) -> tuple[str, str, str]:
    """(id, reader, text) of the answer in a new chat that is read with `choice`."""
    taken = studio.chats.attach(OWNER, "", [("line.jpg", LINE.read_bytes())])
    studio.adapters.choose(OWNER, taken.session_id, choice)
    run = studio.chats.send(OWNER, taken.session_id, ASKED, Options(reader="nano"))
    turn = next(event.turn for event in run.follow() if isinstance(event, Kept))
    assert turn.run is not None
    return turn.id, turn.run.reader, turn.turn.text


def test_an_answer_is_made_again_with_the_hand_it_was_read_with(
    studio: Studio, elsewhere: Studio, tmp_path: Path
) -> None:
    ann = hand(studio)
    studio.adapters.activate(OWNER, ann)
    base_id, base_reader, base_text = answered(studio, "base")
    turn_id, reader, text = answered(studio, "active")
    assert (base_reader, reader.rpartition(".")[0]) == ("nano", "nano+ann")
    assert base_text != text
    (tmp_path / "packs").mkdir()
    path = studio.evidence.pack(OWNER, turn_id, tmp_path / "packs")
    found = elsewhere.evidence.replay(path)
    assert (found.same, found.now) == (True, text)
    assert elsewhere.adapters.list(OWNER) == ()
    plain = studio.evidence.pack(OWNER, base_id, tmp_path / "packs")
    assert not any(name.startswith("hand/") for name in zipfile.ZipFile(plain).namelist())


def test_an_image_is_read_anew_when_another_hand_is_worn(studio: Studio) -> None:
    ann = hand(studio)
    session = studio.chats.attach(OWNER, "", [("line.jpg", LINE.read_bytes())]).session_id
    readers = []
    for choice in (ann, "base", ann):
        studio.adapters.choose(OWNER, session, choice)
        run = studio.chats.send(OWNER, session, ASKED, Options())
        turn = next(event.turn for event in run.follow() if isinstance(event, Kept))
        assert turn.run is not None
        (image,) = studio.chats.images(OWNER, session)
        assert image.read is not None
        assert image.read.reader == turn.run.reader
        readers.append(turn.run.reader.partition(".")[0])
    assert readers == ["nano+ann", "nano", "nano+ann"]


def test_a_pack_without_its_hand_or_with_another_is_refused(
    studio: Studio, elsewhere: Studio, tmp_path: Path
) -> None:
    turn_id, reader, _ = answered(studio, hand(studio))
    parts = read_pack(studio.evidence.pack(OWNER, turn_id, tmp_path))
    other = hand(studio, "Other", seed=2)
    _, weights = studio.adapter_store.files(OWNER, other)
    for name, changed, error in (
        ("none", {k: v for k, v in parts.items() if not k.startswith("hand/")}, InvalidRequest),
        ("another", {**parts, "hand/adapter_model.safetensors": weights}, AdapterRejected),
        ("hostile", {**parts, "hand/adapter_config.json": b'{"auto_mapping": {"x": "os"}}'}, AdapterRejected),
    ):
        write_pack(tmp_path / f"{name}.zip", changed)
        with pytest.raises(error):
            elsewhere.evidence.replay(tmp_path / f"{name}.zip")
    with pytest.raises(InvalidRequest):
        # A name that a client sends never chooses an adapter.
        studio.chats.send(OWNER, "", "x", Options(reader=reader))


def test_a_session_may_read_with_another_hand_than_the_active_one(studio: Studio) -> None:
    ann, bo = hand(studio), hand(studio, "Bo", seed=2)
    session = studio.session_store.create(OWNER, "transcribe", "x").id
    studio.adapters.activate(OWNER, ann)
    adapters = studio.adapters
    assert adapters.choice(OWNER, session) == "active" == adapters.choice(OWNER, "")
    assert adapters.reader_name(OWNER, session, "nano") == f"nano+{ann}"
    for choice, name in ((bo, f"nano+{bo}"), ("base", "nano"), ("active", f"nano+{ann}")):
        adapters.choose(OWNER, session, choice)
        assert (adapters.choice(OWNER, session), adapters.reader_name(OWNER, session, "nano")) == (
            choice,
            name,
        )
    adapters.choose(OWNER, session, bo)
    adapters.delete(OWNER, bo)
    assert adapters.choice(OWNER, session) == "active"
