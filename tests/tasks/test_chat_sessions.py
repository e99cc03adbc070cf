"""Chats among the sessions: found, exported, imported under new ids, and refused where the file was tampered with."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from vlm_studio.core.chat import ChatImage, Draft, ImageText, RunDetails, TextLine
from vlm_studio.core.conversation import GenParams, ImagePart, TextPart, Turn, Variant
from vlm_studio.core.documents import Box
from vlm_studio.core.errors import NotFound, UserInputError
from vlm_studio.studio import Studio

from .fakes import page_image, png

OWNER, EVE = "local", "user:eve"


def kept(studio: Studio) -> str:
    """A chat with an image, its text, a question with two answers, and what follows the second."""
    session = studio.session_store.create(OWNER, "chat", "About the garden")
    rows = studio.chat_store
    sha256 = studio.blobs.put(png(page_image(1)), "image/png")
    image = rows.add_image(OWNER, session.id, ChatImage(0, sha256, "letter.png", 300, 400))
    line = TextLine("The geraniums stand by the wall.", 0.9, Box(1, 2, 3, 4))
    rows.keep_text(OWNER, session.id, image.number, ImageText("nano", (line,)))
    parts = (TextPart("Where is <b>"), ImagePart(sha256, "image 1: letter.png"), TextPart("the rose?"))
    asked = rows.add_turn(OWNER, session.id, Draft(None, Turn("user", parts)))
    run = RunDetails("model", "nano", Variant(), GenParams(seed=5), notes=("Mind this.",))
    for said in ("By the door.", "By the gate."):
        answer = Draft(asked.id, Turn("assistant", (TextPart(said), TextPart("a quote", True))), "done", run)
        last = rows.add_turn(OWNER, session.id, answer)
    rows.add_turn(OWNER, session.id, Draft(last.id, Turn("user", (TextPart("And the tulips?"),))))
    return session.id


def test_a_chat_is_found_by_what_was_asked_answered_and_read(studio: Studio) -> None:
    session_id = kept(studio)
    for words in ("rose", "gate", "tulips", "geraniums", "garden"):
        found = studio.sessions.list(OWNER, words)
        assert [item.session.id for item in found.items] == [session_id], words
        assert words == "garden" or f"\x02{words}\x03" in found.items[0].snippets[0]
    assert studio.sessions.list(EVE, "rose").total == 0
    assert studio.sessions.list(OWNER, kind="chat").total == 1


def test_the_preview_names_images_among_the_words(studio: Studio) -> None:
    rows, session = studio.chat_store, studio.session_store.create(OWNER, "chat", "Two letters")
    one, two = (studio.blobs.put(png(page_image(1, width=300 + n)), "image/png") for n in range(2))
    for sha256 in (one, two):
        rows.add_image(OWNER, session.id, ChatImage(0, sha256, "letter.png", 300, 400))
    first, second = ImagePart(one, "image 1: letter.png"), ImagePart(two, "image 2: letter.png")
    parts = (first, TextPart("Compare "), first, TextPart(" with "), second, TextPart(". When was it?"))
    rows.add_turn(OWNER, session.id, Draft(None, Turn("user", parts)))
    (listed,) = studio.sessions.list(OWNER).items
    assert " ".join(listed.facts.preview.split()) == "Compare image 1 with image 2. When was it?"


@pytest.mark.parametrize("kind", ["json", "md", "html"])
def test_a_chat_is_told_with_its_versions_in_every_format(studio: Studio, tmp_path: Path, kind: str) -> None:
    path, _ = studio.sessions.export(OWNER, [kept(studio)], kind, tmp_path)
    text = path.read_text("utf-8")
    assert "version 1 of 2" in text and "By the gate." in text and "And the tulips?" in text
    assert ("Where is &lt;b&gt;" in text) == (kind == "html")
    assert ("data:image/jpeg;base64" in text) == (kind == "html")


def test_an_export_comes_back_as_it_was_under_new_ids(studio: Studio, tmp_path: Path) -> None:
    session_id = kept(studio)
    path, _ = studio.sessions.export(OWNER, [session_id], "zip", tmp_path)
    report = studio.sessions.import_file(EVE, path)
    (other,) = report.session_ids
    before, after = studio.chat_store.path(OWNER, session_id), studio.chat_store.path(EVE, other)
    assert [t.turn for t in before] == [t.turn for t in after] and len(after) == 3
    assert [t.run for t in before] == [t.run for t in after] and after[1].version == 1
    assert not {t.id for t in before} & {t.id for t in after}
    images = studio.chat_store.images(EVE, other)
    assert images == studio.chat_store.images(OWNER, session_id) and images[0].read is not None
    with pytest.raises(NotFound):
        studio.chat_store.path(OWNER, other)
    studio.sessions.delete(OWNER, session_id)
    studio.sessions.purge(OWNER, session_id)
    studio.blobs.cleanup(0)
    assert studio.blobs.read(EVE, images[0].sha256)  # the other owner still has it


def tampered(path: Path, change: Callable[[list[dict[str, object]]], object]) -> Path:
    """The export with other rows and hashes that fit them."""
    other = path.with_name("other.zip")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(other, "w") as new:
        manifest = json.loads(old.read("manifest.json"))
        (name,) = manifest["sessions"]
        rows = [json.loads(line) for line in old.read(name).decode().splitlines()]
        change(rows)
        data = "".join(json.dumps(row) + "\n" for row in rows).encode()
        manifest["sessions"][name] = hashlib.sha256(data).hexdigest()
        new.writestr("manifest.json", json.dumps(manifest))
        new.writestr(name, data)
        for entry in old.namelist():
            if entry.startswith("blobs/"):
                new.writestr(entry, old.read(entry))
    return other


def of(rows: list[dict[str, object]], table: str) -> list[dict[str, object]]:
    return [row["row"] for row in rows if row["table"] == table]  # type: ignore[misc]


def test_a_changed_export_is_refused_whole(studio: Studio, tmp_path: Path) -> None:
    path, _ = studio.sessions.export(OWNER, [kept(studio)], "zip", tmp_path)
    for change in (
        lambda rows: of(rows, "chat_image")[0].update(width_px=7),
        lambda rows: of(rows, "chat_image")[0].update(reading='{"reader": "x"}'),
        lambda rows: of(rows, "chat_turn")[0].update(parent_id=of(rows, "chat_turn")[-1]["id"]),
        lambda rows: of(rows, "chat_turn")[0].update(role="system"),
        lambda rows: of(rows, "chat_turn")[1].update(run="{}"),
        lambda rows: of(rows, "chat_part")[0].update(text=None),
        lambda rows: of(rows, "session")[0].update(meta='{"chat": {"system": 1}}'),
    ):
        with pytest.raises(UserInputError):
            studio.sessions.import_file(OWNER, tampered(path, change))
    assert studio.session_store.count(OWNER) == 1
    assert studio.sessions.import_file(OWNER, tampered(path, lambda rows: None)).sessions == 1
