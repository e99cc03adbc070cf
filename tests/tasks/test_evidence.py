"""An evidence pack holds all that an answer was made from; replay makes it again, and hostile packs are refused."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from PIL import Image

from vlm_studio.core.documents import Box
from vlm_studio.core.errors import InvalidRequest, NotFound, UserInputError
from vlm_studio.core.settings import Limits
from vlm_studio.store.evidence_files import read_pack, write_pack
from vlm_studio.tasks.chat_replies import Finding
from vlm_studio.tasks.evidence import Evidence

from .chat_fakes import EVE, OWNER, Desk, ScriptedEngine
from .fakes import CountingReader


@pytest.fixture(params=[True, False], ids=["sees", "reads"])
def desk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Desk]:
    made = Desk(tmp_path / "data", ScriptedEngine(sees=request.param), CountingReader("fast"))
    yield made
    made.live.stop_all(20)
    made.database.close()


class Hands:
    """Knows one adapter, and what it lent."""

    lent: ClassVar[list[tuple[str, bytes]]] = []

    def files_signed(self, owner: str, signed: str) -> tuple[dict[str, Any], bytes] | None:
        return ({"r": 2}, b"weights") if signed.endswith("+ann.12345678") else None

    def lend(self, signed: str, config: Any, weights: bytes) -> None:
        assert config == {"r": 2}
        self.lent.append((signed, weights))


def evidence(desk: Desk, **origins: str) -> Evidence:
    return Evidence(
        desk.rows, desk.blobs, lambda: desk.chats.answerer, lambda _: {"weights": "abc", **origins}, write_pack,
        read_pack, Limits(), Hands,
    )  # fmt: skip


def packed(desk: Desk, folder: Path) -> Path:
    """The pack of an answer about an image and a part of another."""
    session_id, _ = desk.attach(1, 2)
    desk.chats.attach_region(OWNER, session_id, 2, Box(0, 0, 200, 200))
    answer = desk.say(session_id, "What say <image 3> and <image 1>?", seed=7)
    folder.mkdir(exist_ok=True)
    return evidence(desk).pack(OWNER, answer.id, folder)


def again(desk: Desk) -> None:
    """As on another machine, where nothing was asked or read yet."""
    desk.engine.asks.clear()
    desk.reader.strips = 0


def test_a_pack_holds_images_regions_options_and_origins_and_replays(desk: Desk, tmp_path: Path) -> None:
    path = packed(desk, tmp_path / "out")
    with zipfile.ZipFile(path) as pack:
        names = pack.namelist()
        run = json.loads(pack.read("run.json"))
        pictures = [n for n in names if n.startswith("images/")]
        assert len(pictures) == 3 and all(Image.open(io.BytesIO(pack.read(n))) for n in pictures)
        assert "<image" not in pack.read("README.txt").decode()
        if desk.engine.sees:
            rows = list(csv.reader(io.StringIO(pack.read("probabilities.csv").decode())))
            assert rows[1][:3] == ["'so'", "0", "0.6065"]
    region = next(i for i in run["images"] if i["crop_of"])
    assert region["crop_of"] == 2 and region["box"] == [0.0, 0.0, 200.0, 200.0]
    assert run["answer"]["run"]["params"]["seed"] == 7 and run["origins"] == {"weights": "abc"}
    again(desk)
    found = evidence(desk).replay(path)
    assert found.same and found.then == found.now and found.now
    if desk.engine.sees:
        assert len(desk.engine.asks[0].turns[0].images) == 3
    else:
        assert desk.reader.strips > 0  # read anew


def test_another_text_and_other_weights_are_told(desk: Desk, tmp_path: Path) -> None:
    path = packed(desk, tmp_path / "out")
    desk.engine.words = "something else"
    found = evidence(desk, weights="def").replay(path)
    assert found.same is not desk.engine.sees
    assert found.notes[0] == "weights was abc then and is def here."


def test_the_place_of_a_quote_is_cut_out(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "data", ScriptedEngine(sees=False), CountingReader("fast"))
    desk.findings[:] = [Finding("two", 1, "fast two", Box(10, 5, 110, 45))]
    session_id, _ = desk.attach(2)
    answer = desk.say(session_id, "How many?")
    (tmp_path / "out").mkdir()
    with zipfile.ZipFile(evidence(desk).pack(OWNER, answer.id, tmp_path / "out")) as pack:
        assert Image.open(io.BytesIO(pack.read("quotes/01.png"))).size == (100, 40)
    desk.database.close()


def test_evidence_is_its_owners_and_only_of_whole_answers(desk: Desk, tmp_path: Path) -> None:
    answer = desk.say("", "one")
    asked = desk.chats.path(OWNER, answer.session_id)[0]
    for owner, turn, error in (
        (EVE, answer.id, NotFound),
        (OWNER, asked.id, InvalidRequest),
        (OWNER, "x", NotFound),
    ):
        with pytest.raises(error):
            evidence(desk).pack(owner, turn, tmp_path)
    assert not list(tmp_path.glob("*.zip"))


def rewritten(path: Path, change: Callable[[dict[str, bytes]], object], fix_hashes: bool = False) -> Path:
    """The pack with other content; `fix_hashes` as somebody would who knows the format."""
    parts = read_pack(path)
    change(parts)
    other = path.with_name("other.zip")
    other.unlink(missing_ok=True)
    if fix_hashes:
        write_pack(other, parts)
        return other
    with zipfile.ZipFile(path) as pack, zipfile.ZipFile(other, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("manifest.json", pack.read("manifest.json"))
        for name, data in parts.items():
            made.writestr(name, data)
    return other


def changed(parts: dict[str, bytes], change: Callable[[Any], object]) -> None:
    value = json.loads(parts["run.json"])
    change(value)
    parts["run.json"] = json.dumps(value).encode()


def test_a_pack_that_was_changed_or_made_to_harm_is_refused(desk: Desk, tmp_path: Path) -> None:
    path = packed(desk, tmp_path / "out")
    picture = next(n for n in read_pack(path) if n.startswith("images/"))
    zero = b"\0" * 80_000_000
    for change, fix in (
        (lambda p: p.update({"README.txt": b"other"}), False),
        (lambda p: p.update({"../evil.txt": b"x"}), False),
        (lambda p: p.update({"images/" + "a" * 64 + ".png": zero}), False),
        (lambda p: p.pop("README.txt"), False),
        (lambda p: p.update({"run.json": b"{"}), True),
        (lambda p: p.update({"run.json": b"[" * 100_000}), True),
        (lambda p: p.update({picture: b"no picture"}), True),
        (lambda p: p.pop(picture), True),
        (lambda p: changed(p, lambda v: v.pop("turns")), True),
        (lambda p: changed(p, lambda v: v["turns"].clear()), True),
        (lambda p: changed(p, lambda v: v["turns"][0].update(role="system")), True),
        (lambda p: changed(p, lambda v: v["answer"]["run"]["params"].update(max_new_tokens=10**9)), True),
        (lambda p: changed(p, lambda v: v["answer"]["run"].update(how="magic")), True),
        (lambda p: changed(p, lambda v: v["answer"]["run"]["variant"].update(precision="nf1")), True),
        (lambda p: changed(p, lambda v: v["answer"].update(status="stopped")), True),
    ):
        other = rewritten(path, change, fix)
        with pytest.raises(UserInputError):
            evidence(desk).replay(other)
    for junk in (b"", b"PK", b"not a zip"):
        (tmp_path / "junk.zip").write_bytes(junk)
        with pytest.raises(UserInputError):
            evidence(desk).replay(tmp_path / "junk.zip")
    with pytest.raises(UserInputError):
        evidence(desk).replay(tmp_path / "missing.zip")
