"""What is saved stays saved: killed while saving, disk full, two writers."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.store.kept import OWNER, Kept, page_reading
from vlm_studio.core.errors import StoreError
from vlm_studio.store.blobs import BlobStore

ROOT = Path(__file__).resolve().parents[2]

CHILD = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from tests.store.kept import OWNER, Kept, page_reading
kept = Kept(Path(sys.argv[1]))
_, page = kept.session_with_page("Killed", colour=7)
print(page.id, flush=True)
def wait(*args, **kwargs):
    print("in the middle", flush=True)
    sys.stdin.read()
if sys.argv[2] == "row":
    real, calls = kept.index.index, []
    def index(*args, **kwargs):
        real(*args, **kwargs)
        calls.append(1)
        if len(calls) == 2:
            wait()
    kept.index.index = index
    kept.transcripts.save_reading(OWNER, page.id, page_reading(page.page, "one", "two", "three"))
else:
    Path.replace = wait
    kept.blobs.put(b"half a blob" * 1000, "image/png")
"""


@pytest.mark.parametrize("moment", ["row", "blob"])
def test_killed_while_saving(tmp_path: Path, moment: str) -> None:
    folder = tmp_path / "data"
    before = Kept(folder)
    _, page = before.session_with_page("Earlier")
    reading = page_reading(page.page, "stays", "put")
    before.transcripts.save_reading(OWNER, page.id, reading)
    before.database.close()
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(folder), moment, str(ROOT)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdin is not None and child.stdout is not None
    page_id = child.stdout.readline().strip()
    assert child.stdout.readline() == "in the middle\n"
    child.kill()
    child.wait()
    child.stdin.close()
    child.stdout.close()

    after = Kept(folder)
    with after.database.read() as db:
        assert db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        db.execute("INSERT INTO passage_fts(passage_fts, rank) VALUES ('integrity-check', 1)")
    assert after.transcripts.reading(OWNER, page.id) == reading
    assert after.transcripts.reading(OWNER, page_id) is None, "all of a page or nothing"
    assert after.index.search(OWNER, "one") == ()
    assert [s.title for s in after.sessions.list(OWNER)] == ["Killed", "Earlier"]
    stray = list(after.blobs.root.rglob(".tmp-*"))
    assert len(stray) == (moment == "blob")
    after.blobs.cleanup(0)
    assert list(after.blobs.root.rglob(".tmp-*")) == []
    killed = after.sessions.page(OWNER, page_id)
    after.transcripts.save_reading(OWNER, page_id, page_reading(killed.page, "now it works"))
    after.database.close()


def test_disk_full_while_saving(kept: Kept) -> None:
    _, page = kept.session_with_page()
    reading = page_reading(page.page, "stays")
    kept.transcripts.save_reading(OWNER, page.id, reading)
    with kept.database.read() as db:
        db.execute(f"PRAGMA max_page_count = {db.execute('PRAGMA page_count').fetchone()[0] + 2}")
    long = page_reading(page.page, *(f"line {n} " + "lorem ipsum " * 50 for n in range(40)))
    with pytest.raises(StoreError, match="disk is full"):
        kept.transcripts.save_reading(OWNER, page.id, long)
    assert kept.transcripts.reading(OWNER, page.id) == reading
    with kept.database.read() as db:
        assert db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        db.execute("PRAGMA max_page_count = 1000000")
    kept.transcripts.save_reading(OWNER, page.id, long)
    assert len(kept.transcripts.lines(OWNER, page.id)) == 40


@pytest.mark.parametrize("shared", [True, False], ids=["one process", "as two processes"])
def test_two_writers(kept: Kept, shared: bool) -> None:
    """Each reads before it writes inside one transaction, the case that fails with a deferred BEGIN."""
    stores = [kept, kept if shared else Kept(kept.root)]
    pages = [store.session_with_page(f"Writer {n}")[1] for n, store in enumerate(stores)]
    errors: list[BaseException] = []
    start = threading.Barrier(2)

    def write(number: int) -> Callable[[], None]:
        def work() -> None:
            store, page = stores[number], pages[number]
            try:
                start.wait()
                (line,) = store.transcripts.save_reading(OWNER, page.id, page_reading(page.page, "0"))
                for step in range(1, 26):
                    store.transcripts.correct(OWNER, line.id, f"{number} {step}")
            except BaseException as error:
                errors.append(error)

        return work

    threads = [threading.Thread(target=write(n)) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    for number, page in enumerate(pages):
        (line,) = kept.transcripts.lines(OWNER, page.id)
        texts = [v.text for v in kept.transcripts.versions(OWNER, line.id)]
        assert texts == ["0", *(f"{number} {step}" for step in range(1, 26))]
    if not shared:
        stores[1].database.close()


def test_a_thread_that_ends_gives_its_connection_back(kept: Kept) -> None:
    for _ in range(5):
        thread = threading.Thread(target=lambda: kept.sessions.list(OWNER))
        thread.start()
        thread.join()
    assert len(kept.database._all) <= 2


def test_a_damaged_database_says_so(tmp_path: Path) -> None:
    (tmp_path / "studio.db").write_bytes(b"SQLite format 3\0" + b"\xff" * 4000)
    with pytest.raises(StoreError):
        Kept(tmp_path)


def test_a_blob_folder_that_is_a_file(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    (tmp_path / "blobs").write_text("in the way")
    with pytest.raises(StoreError):
        BlobStore(tmp_path / "blobs", kept.database).put(b"x", "image/png")
    kept.database.close()
