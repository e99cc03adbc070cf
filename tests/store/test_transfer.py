"""Sessions out and in again; what was not made by this app stays out."""

from __future__ import annotations

import base64
import hashlib
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.store.kept import OTHER, OWNER, Kept, page_reading
from vlm_studio.core.errors import InvalidRequest, NotFound, StoreError, UserInputError
from vlm_studio.store.archive import ArchiveLimits
from vlm_studio.store.transfer import Transfer


def opens(kept: Kept) -> Callable[[str, str], None]:
    """Looks at a session as the app does."""

    def verify(owner: str, session_id: str) -> None:
        for page in kept.sessions.pages(owner, session_id):
            kept.transcripts.reading(owner, page.id)
            for line in kept.transcripts.lines(owner, page.id):
                kept.transcripts.versions(owner, line.id)

    return verify


def transfer(kept: Kept, limits: ArchiveLimits | None = None) -> Transfer:
    return Transfer(kept.database, kept.blobs, limits)


def filled(kept: Kept, title: str = "Diary", colour: int = 255) -> str:
    session, page = kept.session_with_page(title, colour=colour)
    kept.transcripts.save_reading(OWNER, page.id, page_reading(page.page, "the cat sat", "on the mat"))
    first = kept.transcripts.lines(OWNER, page.id)[0]
    kept.transcripts.correct(OWNER, first.id, "the cat sang")
    kept.sessions.tag(OWNER, session.id, ["pets", "été"])
    kept.sessions.set_meta(OWNER, session.id, {"page": page.id})
    kept.sessions.pin(OWNER, session.id)
    return session.id


def seen(kept: Kept, owner: str, session_id: str) -> dict[str, Any]:
    """All of a session that a person could tell, without the ids."""
    session = kept.sessions.get(owner, session_id)
    pages = kept.sessions.pages(owner, session_id)
    lines = [line for page in pages for line in kept.transcripts.lines(owner, page.id)]
    return {
        "session": (session.title, session.kind, session.tags, session.pinned, session.updated_at),
        "pages": [(p.filename, p.page) for p in pages],
        "images": [kept.sessions.page_image(owner, p.id) for p in pages],
        "lines": [(x.line, x.reading, x.author, x.version, x.versions, x.can_undo) for x in lines],
        "history": [[(v.text, v.author) for v in kept.transcripts.versions(owner, x.id)] for x in lines],
    }


def test_a_session_comes_back_whole_under_new_ids_in_another_place(kept: Kept, tmp_path: Path) -> None:
    session_id = filled(kept)
    path = tmp_path / "out.zip"
    report = transfer(kept).export(OWNER, [session_id], path)
    assert (report.sessions, report.files, report.problems) == (1, 1, ())
    other = Kept(tmp_path / "elsewhere")
    (new,) = transfer(other).import_archive(OTHER, path, opens(other)).session_ids
    assert new != session_id and seen(other, OTHER, new) == seen(kept, OWNER, session_id)
    assert other.sessions.meta(OTHER, new) == {"page": other.sessions.pages(OTHER, new)[0].id}
    (hit,) = other.index.search(OTHER, "sang")
    assert hit.session_id == new and hit.page_id == other.sessions.pages(OTHER, new)[0].id
    assert other.transcripts.line(OTHER, hit.ref).reading.text == "the cat sang"
    assert other.sessions.list(OWNER) == ()
    other.database.close()


def test_the_same_file_again_makes_another_copy_and_touches_nothing(kept: Kept, tmp_path: Path) -> None:
    ids = [filled(kept), filled(kept, "Second", colour=9)]
    before = [seen(kept, OWNER, i) for i in ids]
    path = tmp_path / "all.zip"
    assert transfer(kept).export(OWNER, [], path).sessions == 2
    for _ in range(2):
        report = transfer(kept).import_archive(OWNER, path, opens(kept))
        assert [seen(kept, OWNER, i) for i in report.session_ids] == before
    assert [seen(kept, OWNER, i) for i in ids] == before
    assert kept.sessions.count(OWNER) == 6 and len(kept.index.search(OWNER, "mat")) == 6
    with kept.database.read() as db:
        assert db.execute("PRAGMA foreign_key_check").fetchall() == []


def test_only_ones_own_and_what_is_not_deleted_leaves(kept: Kept, tmp_path: Path) -> None:
    mine, gone = filled(kept), filled(kept, "Gone", colour=1)
    theirs, _ = kept.session_with_page("Secret", OTHER, colour=2)
    kept.sessions.delete(OWNER, gone)
    for session_id in (theirs.id, gone, "nonsense"):
        with pytest.raises(NotFound):
            transfer(kept).export(OWNER, [session_id], tmp_path / "x.zip")
        with pytest.raises(NotFound):
            transfer(kept).rows(OWNER, session_id)
    assert not (tmp_path / "x.zip").exists() and list(tmp_path.glob(".part*")) == []
    assert transfer(kept).export(OWNER, [], tmp_path / "all.zip").sessions == 1
    content = (tmp_path / "all.zip").read_bytes()
    assert b"Secret" not in content and OWNER.encode() not in b"".join(
        zipfile.ZipFile(tmp_path / "all.zip").read(n) for n in ("sessions/000001.jsonl",)
    ).replace(b'"writer": "local"', b"")
    assert set(transfer(kept).rows(OWNER, mine)) >= {"session", "page", "line", "line_version", "passage"}


def test_an_export_overwrites_nothing_and_names_what_is_damaged(kept: Kept, tmp_path: Path) -> None:
    good, bad = filled(kept), filled(kept, "Broken", colour=3)
    (tmp_path / "there.zip").write_text("mine")
    with pytest.raises(InvalidRequest):
        transfer(kept).export(OWNER, [good], tmp_path / "there.zip")
    assert (tmp_path / "there.zip").read_text() == "mine"
    sha = kept.sessions.pages(OWNER, bad)[0].page.image_sha256
    kept.blobs.path_of(sha).write_bytes(b"rubbish")
    report = transfer(kept).export(OWNER, [], tmp_path / "all.zip")
    assert report.sessions == 1 and "Broken" in report.problems[0]
    assert transfer(kept).import_archive(OWNER, tmp_path / "all.zip", opens(kept)).sessions == 1
    with pytest.raises(StoreError):
        transfer(kept).export(OWNER, [bad], tmp_path / "one.zip")


Rows = list[dict[str, Any]]


def rebuilt(
    source: Path, target: Path, change: Callable[[Rows, dict[str, Any], dict[str, bytes]], None]
) -> Path:
    """The archive again with its rows, manifest and blobs changed and every hash put right."""
    with zipfile.ZipFile(source) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    manifest = json.loads(parts.pop("manifest.json"))
    name = "sessions/000001.jsonl"
    rows = [json.loads(line) for line in parts.pop(name).splitlines()]
    change(rows, manifest, parts)
    content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    if name in manifest.get("sessions", {}):
        manifest["sessions"][name] = hashlib.sha256(content).hexdigest()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for entry, data in {name: content, **parts, "manifest.json": json.dumps(manifest).encode()}.items():
            archive.writestr(entry, data)
    return target


def row_of(rows: Rows, table: str) -> dict[str, Any]:
    return next(r["row"] for r in rows if r["table"] == table)


def refer_to_another_page(rows: Rows, manifest: dict[str, Any], parts: dict[str, bytes]) -> None:
    row_of(rows, "line")["page_id"] = manifest["victim_page"]


def ask_for_another_blob(rows: Rows, manifest: dict[str, Any], parts: dict[str, bytes]) -> None:
    row_of(rows, "page")["image_sha256"] = manifest["victim_blob"]


def swap_a_blob(rows: Rows, manifest: dict[str, Any], parts: dict[str, bytes]) -> None:
    name = next(n for n in parts if n.startswith("blobs/"))
    parts[name] = b"another picture"


def deep(rows: Rows, manifest: dict[str, Any], parts: dict[str, bytes]) -> None:
    row_of(rows, "line_version")["words"] = "[" * 900 + "]" * 900


HOSTILE: dict[str, Callable[[Rows, dict[str, Any], dict[str, bytes]], Any]] = {
    "a table that is not known": lambda r, m, p: r.append({"table": "sqlite_master", "row": {"sql": "x"}}),
    "a table that belongs to no session": lambda r, m, p: r.append({"table": "blob", "row": {"mime": "a/b"}}),
    "a column that is not known": lambda r, m, p: row_of(r, "line").update({'x" = 1; --': 1}),
    "a row that is a list": lambda r, m, p: r.append({"table": "line", "row": []}),
    "a number where text belongs": lambda r, m, p: row_of(r, "session").update(title=7),
    "text where a number belongs": lambda r, m, p: row_of(r, "page").update(width_px="wide"),
    "a number beyond all bounds": lambda r, m, p: row_of(r, "line").update(x0=10**400),
    "true for a number": lambda r, m, p: row_of(r, "line").update(ord=True),
    "not a number": lambda r, m, p: row_of(r, "line").update(x0=float("nan")),
    "half a surrogate": lambda r, m, p: row_of(r, "session").update(title="\ud800"),
    "nothing where something must be": lambda r, m, p: row_of(r, "line").update(page_id=None),
    "no id": lambda r, m, p: row_of(r, "line").pop("id"),
    "one id twice": lambda r, m, p: r.append({"table": "session", "row": dict(row_of(r, "session"))}),
    "an unknown kind": lambda r, m, p: row_of(r, "session").update(kind="party"),
    "JSON that is none": lambda r, m, p: row_of(r, "session").update(meta="{"),
    "JSON of another shape": lambda r, m, p: row_of(r, "line_version").update(words='[{"text": 1}]'),
    "JSON of great depth": deep,
    "a quad of three corners": lambda r, m, p: row_of(r, "line").update(quad="[[0,0],[1,1],[2,2]]"),
    "a row of somebody else's page": refer_to_another_page,
    "a file of somebody else": ask_for_another_blob,
    "a file that was changed": swap_a_blob,
    "a media type with a trick": lambda r, m, p: [b.update(mime="a/b\r\nX: y") for b in m["blobs"].values()],
    "a part that is not listed": lambda r, m, p: p.update({"blobs/" + "0" * 64: b"x"}),
    "a part that is missing": lambda r, m, p: m["sessions"].update({"sessions/000002.jsonl": "0" * 64}),
    "a path out of the folder": lambda r, m, p: p.update({"../../evil": b"x"}),
    "an absolute path": lambda r, m, p: p.update({"/etc/passwd": b"x"}),
    "a path with backslashes": lambda r, m, p: p.update({"blobs\\..\\evil": b"x"}),
    "a newer version": lambda r, m, p: m.update(version=2),
    "another format": lambda r, m, p: m.update(format="something"),
    "a list for the blobs": lambda r, m, p: m.update(blobs=[]),
    "no session list": lambda r, m, p: m.pop("sessions"),
}


@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE)
def test_a_file_that_was_tampered_with_is_refused_and_leaves_nothing(
    kept: Kept, tmp_path: Path, change: Callable[[Rows, dict[str, Any], dict[str, bytes]], Any]
) -> None:
    session_id = filled(kept)
    victim, page = kept.session_with_page("Secret", OTHER, colour=77)
    transfer(kept).export(OWNER, [session_id], tmp_path / "good.zip")

    def with_victim(rows: Rows, manifest: dict[str, Any], parts: dict[str, bytes]) -> None:
        manifest.update(victim_page=page.id, victim_blob=page.page.image_sha256)
        change(rows, manifest, parts)

    path = rebuilt(tmp_path / "good.zip", tmp_path / "bad.zip", with_victim)
    with pytest.raises(UserInputError):
        transfer(kept).import_archive(OWNER, path, opens(kept))
    assert [s.id for s in kept.sessions.list(OWNER)] == [session_id]
    assert [s.id for s in kept.sessions.list(OTHER)] == [victim.id]
    assert not (tmp_path / "evil").exists()


def test_the_changed_copy_is_what_the_tests_above_refuse(kept: Kept, tmp_path: Path) -> None:
    """Without a change, the file that `rebuilt` makes is taken in, and a foreign owner in it means nothing."""
    transfer(kept).export(OWNER, [filled(kept)], tmp_path / "good.zip")

    def own(rows: Rows, manifest: dict[str, Any], parts: dict[str, bytes]) -> None:
        row_of(rows, "session").update(owner=OTHER, deleted_at="2020", title=" A\x07 title ")

    path = rebuilt(tmp_path / "good.zip", tmp_path / "same.zip", own)
    (new,) = transfer(kept).import_archive(OWNER, path, opens(kept)).session_ids
    assert kept.sessions.get(OWNER, new).title == "A title" and kept.sessions.count(OTHER) == 0


def test_a_session_changed_without_its_hash_is_refused(kept: Kept, tmp_path: Path) -> None:
    transfer(kept).export(OWNER, [filled(kept)], tmp_path / "good.zip")
    with zipfile.ZipFile(tmp_path / "good.zip") as source, zipfile.ZipFile(tmp_path / "bad.zip", "w") as bad:
        for name in source.namelist():
            bad.writestr(name, source.read(name).replace(b"the cat sang", b"the dog sang"))
    with pytest.raises(UserInputError, match="changed or damaged"):
        transfer(kept).import_archive(OWNER, tmp_path / "bad.zip", opens(kept))


@pytest.mark.parametrize("content", [b"", b"PK", b"just some text", b"\x00" * 100_000])
def test_what_is_no_zip_file_is_refused(kept: Kept, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.zip").write_bytes(content)
    with pytest.raises(UserInputError):
        transfer(kept).import_archive(OWNER, tmp_path / "x.zip", opens(kept))


def test_a_cut_or_flipped_file_is_refused(kept: Kept, tmp_path: Path) -> None:
    path = tmp_path / "good.zip"
    transfer(kept).export(OWNER, [filled(kept)], path)
    whole = path.read_bytes()
    for place in range(0, len(whole), max(1, len(whole) // 60)):
        flipped = bytearray(whole)
        flipped[place] ^= 0xFF
        for content in (whole[:place], bytes(flipped)):
            path.write_bytes(content)
            try:
                transfer(kept).import_archive(OWNER, path, opens(kept))
            except UserInputError:
                continue
    for session in kept.sessions.list(OWNER):
        # A flipped byte that changed nothing (a date in the zip's own list) may let it in: whole, then.
        assert len(kept.transcripts.lines(OWNER, kept.sessions.pages(OWNER, session.id)[0].id)) == 2


def test_bombs_are_refused_before_they_unpack(kept: Kept, tmp_path: Path) -> None:
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("manifest.json", b" " * 80_000_000)
    with pytest.raises(UserInputError, match="unpack"):
        transfer(kept).import_archive(OWNER, path, opens(kept))
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(30):
            archive.writestr(f"sessions/{number:06d}.jsonl", b"")
    with pytest.raises(UserInputError, match="too many"):
        transfer(kept, ArchiveLimits(entries=20)).import_archive(OWNER, path, opens(kept))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("sessions/000001.jsonl", b"x" * 1000)
    with pytest.raises(UserInputError, match="too large"):
        transfer(kept, ArchiveLimits(entry_bytes=999)).import_archive(OWNER, path, opens(kept))


def test_a_table_of_a_later_version_travels_by_its_keys(kept: Kept, tmp_path: Path) -> None:
    """Numbered rows, a tree, bytes, and a reference to something that belongs to no session."""
    session_id = filled(kept)
    with kept.database.write() as db:
        db.execute("CREATE TABLE gadget (id TEXT PRIMARY KEY, owner TEXT NOT NULL)")
        db.execute(
            "CREATE TABLE turn (number INTEGER PRIMARY KEY, parent INTEGER REFERENCES turn(number), "
            "session_id TEXT NOT NULL REFERENCES session(id), gadget_id TEXT REFERENCES gadget(id), "
            "vector BLOB NOT NULL, image TEXT REFERENCES blob(sha256))"
        )
        db.execute("INSERT INTO gadget VALUES ('a1', ?)", (OWNER,))
        # The child stands before its parent.
        db.execute("PRAGMA defer_foreign_keys = ON")
        sha = kept.sessions.pages(OWNER, session_id)[0].page.image_sha256
        for number, parent in ((1, 2), (2, None)):
            db.execute(
                "INSERT INTO turn VALUES (?, ?, ?, 'a1', ?, ?)",
                (number, parent, session_id, b"\x00\xff", sha),
            )
    again = Kept(kept.root)
    transfer(again).export(OWNER, [session_id], tmp_path / "out.zip")
    (new,) = transfer(again).import_archive(OWNER, tmp_path / "out.zip", opens(again)).session_ids
    rows = transfer(again).rows(OWNER, new)["turn"]
    child, parent = rows
    assert child["parent"] == parent["number"] not in (1, 2) and parent["parent"] is None
    assert child["vector"] == b"\x00\xff" and child["gadget_id"] is None and child["image"] == sha
    assert (
        base64.b64encode(b"\x00\xff").decode()
        in zipfile.ZipFile(tmp_path / "out.zip").read("sessions/000001.jsonl").decode()
    )
    again.database.close()
