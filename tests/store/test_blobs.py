from __future__ import annotations

import errno
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.store.kept import OTHER, OWNER, Kept, png
from vlm_studio.core.errors import InvalidRequest, NotFound, StoreError
from vlm_studio.store import blobs as blobs_module


def files(kept: Kept) -> list[Path]:
    return [p for p in kept.blobs.root.rglob("*") if p.is_file()]


def test_the_same_content_is_stored_once(kept: Kept) -> None:
    first, _ = kept.session_with_page()
    second, page = kept.session_with_page("Again", owner=OTHER)
    assert len(files(kept)) == 1
    assert kept.blobs.references(page.page.image_sha256) == 4
    kept.sessions.delete(OWNER, first.id)
    kept.sessions.purge(OWNER, first.id)
    assert kept.blobs.cleanup(0) == (0, 0), "the other session still has it"
    assert kept.blobs.read(OTHER, page.page.image_sha256) == png()
    kept.sessions.delete(OTHER, second.id)
    assert kept.blobs.cleanup(0) == (0, 0), "a deletion that can be undone keeps its files"
    kept.sessions.purge(OTHER, second.id)
    assert kept.blobs.cleanup() == (0, 0), "younger than an hour"
    assert kept.blobs.cleanup(0) == (1, len(png()))
    assert files(kept) == [] and kept.blobs.usage().blobs == 0


def test_reading_needs_a_session_with_it(kept: Kept) -> None:
    _, page = kept.session_with_page()
    assert kept.blobs.read(OWNER, page.page.image_sha256) == png()
    with pytest.raises(NotFound):
        kept.blobs.read(OTHER, page.page.image_sha256)
    loose = kept.blobs.put(b"nobody's", "image/png")
    with pytest.raises(NotFound):
        kept.blobs.read(OWNER, loose)


@pytest.mark.parametrize(
    "name", ["", "../studio.db", "a" * 63, "A" * 64, "a" * 65, "..", "a" * 64 + "\n", "/" + "a" * 63]
)
def test_a_path_never_leaves_the_data_folder(kept: Kept, name: str) -> None:
    for use in (kept.blobs.path_of, kept.blobs.trusted_bytes, lambda n: kept.blobs.read(OWNER, n)):
        with pytest.raises(NotFound):
            use(name)


def test_damage_is_noticed_and_storing_again_mends_it(kept: Kept) -> None:
    sha = kept.blobs.put(b"as it was", "image/png")
    kept.blobs.path_of(sha).write_bytes(b"as it is!")
    with pytest.raises(StoreError, match="damaged"):
        kept.blobs.trusted_bytes(sha)
    kept.blobs.put(b"as it was", "image/png")
    assert kept.blobs.trusted_bytes(sha) == b"as it was"
    kept.blobs.path_of(sha).unlink()
    with pytest.raises(NotFound):
        kept.blobs.trusted_bytes(sha)


def test_a_full_disk_leaves_nothing_half_written(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.fdopen

    class Full:
        def __init__(self, *args: Any) -> None:
            self.file = real(*args)

        def __enter__(self) -> Full:
            return self

        def __exit__(self, *_: object) -> None:
            self.file.close()

        def write(self, data: bytes) -> int:
            self.file.write(data[: len(data) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(blobs_module.os, "fdopen", Full)
    with pytest.raises(StoreError, match="No space"):
        kept.blobs.put(b"x" * 1000, "image/png")
    monkeypatch.undo()
    assert files(kept) == [] and kept.blobs.usage().blobs == 0


def test_a_crash_between_file_and_row_is_cleaned_up(kept: Kept) -> None:
    known = kept.blobs.put(b"known", "image/png")
    folder = kept.blobs.root / "ab"
    folder.mkdir(exist_ok=True)
    for name in (".tmp-half", "ab" * 32, "README"):
        (folder / name).write_bytes(b"left")
    assert kept.blobs.cleanup() == (0, 0)
    old = time.time() - 4000
    for path in files(kept):
        os.utime(path, (old, old))
    assert kept.blobs.cleanup() == (2, 8)
    assert (folder / "README").exists(), "what is not ours stays"
    assert kept.blobs.trusted_bytes(known) == b"known", "its row is young"


def test_storing_while_cleaning_never_loses_a_file(kept: Kept) -> None:
    errors: list[BaseException] = []
    done = threading.Event()

    def clean() -> None:
        try:
            while not done.is_set():
                kept.blobs.cleanup(-1)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=clean)
    thread.start()
    try:
        for number in range(60):
            with kept.database.write():
                sha = kept.blobs.put(b"same" if number % 2 else b"%d" % number, "image/png")
                assert kept.blobs.trusted_bytes(sha)
    finally:
        done.set()
        thread.join()
    assert errors == []


def test_only_media_types_are_taken(kept: Kept) -> None:
    for mime in ("", "image", "image/png\n", "text/html; charset=utf-8", "IMAGE/PNG"):
        with pytest.raises(InvalidRequest):
            kept.blobs.put(b"x", mime)


def test_usage_counts_orphans(kept: Kept) -> None:
    kept.session_with_page()
    kept.blobs.put(b"12345", "image/png")
    use = kept.blobs.usage()
    assert (use.blobs, use.orphans, use.orphan_bytes) == (2, 1, 5)
    assert use.blob_bytes == len(png()) + 5 and use.database_bytes > 0
