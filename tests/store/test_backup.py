"""Everything out while the app runs, and back again; a bad backup changes nothing."""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.store.kept import OTHER, OWNER, Kept, page_reading, png
from vlm_studio.core.errors import InvalidRequest, NotFound, UserInputError
from vlm_studio.store.backup import Backups


def backups(kept: Kept) -> Backups:
    return Backups(kept.database, kept.blobs)


def filled(kept: Kept, title: str = "Diary", owner: str = OWNER, colour: int = 255) -> str:
    session, page = kept.session_with_page(title, owner, colour)
    kept.transcripts.save_reading(owner, page.id, page_reading(page.page, "the cat sat"))
    return session.id


@pytest.mark.parametrize("name", ["backup.zip", "backup"])
def test_everything_comes_back_as_it_was_for_all_owners(kept: Kept, tmp_path: Path, name: str) -> None:
    mine, theirs = filled(kept), filled(kept, "Theirs", OTHER, 4)
    (kept.root / "traces").mkdir()
    (kept.root / "traces" / "run-1.npz").write_bytes(b"numbers")
    report = backups(kept).create(tmp_path / name)
    assert (report.sessions, report.files, report.problems) == (2, 2, ())

    later = filled(kept, "Later", colour=5)
    kept.sessions.rename(OWNER, mine, "Changed")
    kept.sessions.delete(OTHER, theirs)
    kept.sessions.purge(OTHER, theirs)
    kept.blobs.cleanup(min_age=-1)
    (kept.root / "traces" / "run-1.npz").unlink()

    done = backups(kept).restore(tmp_path / name)
    assert (done.sessions, done.files, done.problems) == (2, 2, ())
    assert kept.sessions.get(OWNER, mine).title == "Diary"
    assert kept.sessions.page_image(OTHER, kept.sessions.pages(OTHER, theirs)[0].id) == png(4)
    assert [hit.session_id for hit in kept.index.search(OWNER, "cat")] == [mine]
    assert (kept.root / "traces" / "run-1.npz").read_bytes() == b"numbers"
    with pytest.raises(NotFound):
        kept.sessions.get(OWNER, later)

    # What the restore replaced was kept, and comes back the same way.
    assert Path(done.kept).parent == kept.root / "backups"
    backups(kept).restore(Path(done.kept))
    assert kept.sessions.get(OWNER, mine).title == "Changed"
    assert kept.sessions.page_image(OWNER, kept.sessions.pages(OWNER, later)[0].id) == png(5)
    kept.database.close()
    again = Kept(kept.root)
    assert again.sessions.get(OWNER, mine).title == "Changed"
    again.database.close()


def test_a_backup_goes_into_an_empty_data_folder(kept: Kept, tmp_path: Path) -> None:
    session_id = filled(kept)
    backups(kept).create(tmp_path / "b.zip")
    fresh = Kept(tmp_path / "new machine")
    backups(fresh).restore(tmp_path / "b.zip")
    assert fresh.sessions.page_image(OWNER, fresh.sessions.pages(OWNER, session_id)[0].id) == png()
    fresh.sessions.rename(OWNER, session_id, "Still writable")
    fresh.database.close()


def test_other_threads_see_the_restored_state_and_can_go_on(kept: Kept, tmp_path: Path) -> None:
    session_id = filled(kept)
    backups(kept).create(tmp_path / "b.zip")
    kept.sessions.rename(OWNER, session_id, "Changed")
    ready, go, titles = threading.Event(), threading.Event(), []

    def reader() -> None:
        titles.append(kept.sessions.get(OWNER, session_id).title)
        ready.set()
        go.wait(30)
        titles.append(kept.sessions.get(OWNER, session_id).title)
        kept.sessions.rename(OWNER, session_id, "By the other thread")

    thread = threading.Thread(target=reader)
    thread.start()
    ready.wait(30)
    backups(kept).restore(tmp_path / "b.zip")
    go.set()
    thread.join(30)
    assert titles == ["Changed", "Diary"]
    assert kept.sessions.get(OWNER, session_id).title == "By the other thread"


def test_a_backup_is_one_state_while_others_write(kept: Kept, tmp_path: Path) -> None:
    """Each write adds a session and its title together; a backup never has one without the other."""
    filled(kept)
    stop = threading.Event()

    def writer() -> None:
        while not stop.is_set():
            kept.sessions.create(OWNER, "chat", "One of many")

    thread = threading.Thread(target=writer)
    thread.start()
    try:
        for number in range(5):
            backups(kept).create(tmp_path / f"{number}.zip")
    finally:
        stop.set()
        thread.join(30)
    for number in range(5):
        with zipfile.ZipFile(tmp_path / f"{number}.zip") as archive:
            archive.extract("studio.db", tmp_path / str(number))
        db = sqlite3.connect(tmp_path / str(number) / "studio.db")
        sessions = db.execute("SELECT count(*) FROM session").fetchone()
        assert sessions == db.execute("SELECT count(*) FROM passage WHERE kind = 'title'").fetchone()
        db.close()


def test_a_folder_is_brought_up_to_date_and_keeps_its_older_state(kept: Kept, tmp_path: Path) -> None:
    target = tmp_path / "backup"
    session_id = filled(kept)
    backups(kept).create(target)
    blob = next((target / "blobs").glob("*/*"))
    blob.write_bytes(b"damaged on that disk")
    kept.sessions.rename(OWNER, session_id, "Newer")
    assert backups(kept).create(target).problems == ()
    assert hashlib.sha256(blob.read_bytes()).hexdigest() == blob.name
    older = list(target.glob("studio-until-*.db"))
    assert len(older) == 1
    db = sqlite3.connect(older[0])
    assert db.execute("SELECT title FROM session").fetchone() == ("Diary",)
    db.close()
    kept.sessions.delete(OWNER, session_id)
    backups(kept).restore(target)
    assert kept.sessions.get(OWNER, session_id).title == "Newer"


def test_nothing_of_somebody_is_overwritten(kept: Kept, tmp_path: Path) -> None:
    filled(kept)
    (tmp_path / "a.zip").write_text("mine")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_text("cat")
    for target in (tmp_path / "a.zip", tmp_path / "photos", kept.root, kept.root / "blobs"):
        with pytest.raises(InvalidRequest):
            backups(kept).create(target)
    assert (tmp_path / "a.zip").read_text() == "mine" and len(list((tmp_path / "photos").iterdir())) == 1
    assert list(tmp_path.glob(".part*")) == []


def test_a_damaged_file_does_not_stop_a_backup_and_is_named(kept: Kept, tmp_path: Path) -> None:
    filled(kept), filled(kept, "Other", colour=7)
    sha = hashlib.sha256(png(7)).hexdigest()
    kept.blobs.path_of(sha).unlink()
    report = backups(kept).create(tmp_path / "b.zip")
    assert report.files == 1 and sha[:12] in report.problems[0]
    fresh = Kept(tmp_path / "new")
    done = backups(fresh).restore(tmp_path / "b.zip")
    assert done.sessions == 2 and sha[:12] in done.problems[0]
    fresh.database.close()


Parts = dict[str, bytes]


def changed_database(statement: str) -> Callable[[Parts, Path], None]:
    def change(parts: Parts, folder: Path) -> None:
        path = folder / "changed.db"
        path.write_bytes(parts["studio.db"])
        db = sqlite3.connect(path)
        db.execute(statement)
        db.commit()
        db.close()
        parts["studio.db"] = path.read_bytes()

    return change


def replace_blob(parts: Parts, folder: Path) -> None:
    parts[next(n for n in parts if n.startswith("blobs/"))] = b"rubbish"


HOSTILE: dict[str, Callable[[Parts, Path], object]] = {
    "a trigger": changed_database(
        "CREATE TRIGGER t AFTER INSERT ON session BEGIN UPDATE session SET owner = 'user:eve'; END"
    ),
    "a view": changed_database("CREATE VIEW v AS SELECT * FROM session"),
    "a column more": changed_database("ALTER TABLE session ADD COLUMN extra TEXT"),
    "a newer version": changed_database(
        "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES ('vlm_studio', 'm999', '')"
    ),
    "a row without its session": changed_database("INSERT INTO session_tag VALUES ('nobody', 'x')"),
    "a hash that leads elsewhere": changed_database("INSERT INTO blob VALUES ('../../evil', 'a/b', 1, '')"),
    "no database at all": lambda p, f: p.pop("studio.db"),
    "rubbish for a database": lambda p, f: p.update({"studio.db": b"rubbish" * 999}),
    "half a database": lambda p, f: p.update({"studio.db": p["studio.db"][: len(p["studio.db"]) // 2]}),
    "another file under a hash": replace_blob,
    "a path out of the folder": lambda p, f: p.update({"traces/../../evil": b"x"}),
    "a name with a drive": lambda p, f: p.update({"C:evil": b"x"}),
}


@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("as_folder", [False, True], ids=["zip", "folder"])
def test_a_bad_backup_is_refused_and_changes_nothing(
    kept: Kept, tmp_path: Path, change: Callable[[Parts, Path], object], as_folder: bool
) -> None:
    filled(kept)
    backups(kept).create(tmp_path / "good.zip")
    with zipfile.ZipFile(tmp_path / "good.zip") as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    manifest = json.loads(parts.pop("manifest.json"))
    change(parts, tmp_path)
    manifest["files"] = {
        n: {"sha256": n.rsplit("/", 1)[-1] if n.startswith("blobs") else hashlib.sha256(d).hexdigest()}
        for n, d in parts.items()
    }
    parts["manifest.json"] = json.dumps(manifest).encode()
    source = tmp_path / ("bad" if as_folder else "bad.zip")
    if as_folder:
        for name, data in parts.items():
            place = source / name.replace("..", "up")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)
    else:
        with zipfile.ZipFile(source, "w") as archive:
            for name, data in parts.items():
                archive.writestr(name, data)
    later = filled(kept, "Later", colour=5)
    with pytest.raises(UserInputError):
        backups(kept).restore(source)
    assert kept.sessions.get(OWNER, later).title == "Later" and kept.sessions.count(OWNER) == 2
    assert not (kept.root / "backups").exists() and list(kept.root.glob(".restore*")) == []


def test_a_wrong_hash_or_a_session_export_is_refused(kept: Kept, tmp_path: Path) -> None:
    filled(kept)
    backups(kept).create(tmp_path / "b")
    for name in (
        "studio.db",
        next(p for p in (tmp_path / "b" / "blobs").glob("*/*")).relative_to(tmp_path / "b"),
    ):
        shutil.copytree(tmp_path / "b", tmp_path / "copy")
        with (tmp_path / "copy" / name).open("ab") as file:
            file.write(b"!")
        with pytest.raises(UserInputError, match="not what was saved"):
            backups(kept).restore(tmp_path / "copy")
        shutil.rmtree(tmp_path / "copy")
    for path in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(UserInputError):
            backups(kept).restore(path)
