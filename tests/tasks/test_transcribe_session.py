"""Transcriptions that are kept, on a real store with readers that cost nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.tasks.documents_pdf import LEASE
from tests.tasks.fakes import CountingReader, page_image, png, transcriber
from vlm_studio.core.documents import Box, PageReading
from vlm_studio.core.errors import InvalidRequest, NotFound, StoreError
from vlm_studio.core.settings import Settings
from vlm_studio.studio import Studio
from vlm_studio.tasks.live import LiveRun
from vlm_studio.tasks.transcribe import STOPPED, LineRead, PageRead
from vlm_studio.tasks.transcribe_session import Progress, TranscribeSessions

ME, EVE = "local", "user:eve"


@pytest.fixture
def reader() -> CountingReader:
    return CountingReader("a")


@pytest.fixture
def studio(settings: Settings, reader: CountingReader) -> Iterator[Studio]:
    made = with_readers(Studio(settings), reader, CountingReader("b"))
    yield made
    made.close()


@pytest.fixture
def tasks(studio: Studio) -> TranscribeSessions:
    return studio.transcriptions


def with_readers(studio: Studio, *readers: CountingReader) -> Studio:
    studio.transcriber = transcriber(*readers)
    return studio


def file(lines: int, name: str = "notes.png", width: int = 300) -> tuple[str, bytes]:
    return name, png(page_image(lines, width=width))


def finish(run: LiveRun[object]) -> list[Progress]:
    return [event for event in run.follow(timeout=30) if isinstance(event, Progress)]


def kept(tasks: TranscribeSessions, *lines: int) -> tuple[str, list[str]]:
    """A session of read pages with so many lines each, and the ids of its pages."""
    taken = tasks.add_files(ME, "", [file(n, f"page {i}.png", 300 + i) for i, n in enumerate(lines)])
    finish(tasks.start(ME, taken.session_id, "auto"))
    return taken.session_id, [page.id for page in tasks.pages(ME, taken.session_id)]


def texts(tasks: TranscribeSessions, page_id: str) -> list[str]:
    return [line.reading.text for line in tasks.lines(ME, page_id)]


def test_a_reading_is_kept_and_reopens_as_it_was(tasks: TranscribeSessions, settings: Settings) -> None:
    session_id, (first, second) = kept(tasks, 3, 2)
    assert texts(tasks, first) == ["a 1", "a 2", "a 3"] and texts(tasks, second) == ["a 4", "a 5"]
    before = tasks.reading(ME, first)
    again = Studio(settings)
    assert again.transcriptions.reading(ME, first) == before
    assert [p.filename for p in again.transcriptions.pages(ME, session_id)] == ["page 0.png", "page 1.png"]
    assert again.session_store.get(ME, session_id).title == "page 0.png"
    again.close()


def test_the_whole_reading_can_be_watched(tasks: TranscribeSessions) -> None:
    taken = tasks.add_files(ME, "", [file(2), file(1, "b.png", 320)])
    events = finish(tasks.start(ME, taken.session_id, "b"))
    steps = [(e.page, e.total, type(e.event).__name__) for e in events]
    assert steps == [
        (0, 2, "LinesFound"), (0, 2, "LineRead"), (0, 2, "LineRead"), (0, 2, "PageRead"),
        (1, 2, "LinesFound"), (1, 2, "LineRead"), (1, 2, "PageRead"),
    ]  # fmt: skip
    assert all(e.event.reading.reader == "b" for e in events if isinstance(e.event, PageRead))


def test_what_was_read_is_not_read_again(tasks: TranscribeSessions, reader: CountingReader) -> None:
    session_id, _ = kept(tasks, 3)
    assert finish(tasks.start(ME, session_id, "auto")) == [] and reader.strips == 3
    tasks.add_files(ME, session_id, [file(2, "more.png", 340)])
    finish(tasks.start(ME, session_id, "auto"))
    assert reader.strips == 5 and len(tasks.pages(ME, session_id)) == 2


def test_a_page_uploaded_twice_is_stored_once(tasks: TranscribeSessions, studio: Studio) -> None:
    tasks.add_files(ME, "", [file(3)])
    stored = studio.blobs.usage()
    tasks.add_files(ME, "", [file(3, "copy of notes.png")])
    assert studio.blobs.usage() == stored and len(studio.session_store.list(ME)) == 2


def test_a_bad_file_does_not_stop_the_others(tasks: TranscribeSessions) -> None:
    files = [("empty.png", b""), file(1), ("text.jpg", b"no picture at all"), file(2, "b.png", 320)]
    taken = tasks.add_files(ME, "", files)
    assert len(taken.kept) == 2 and len(taken.problems) == 2 and not taken.wants_password
    assert "empty.png" in taken.problems[0] and "text.jpg" in taken.problems[1]
    nothing = tasks.add_files(ME, "", [("empty.png", b"")])
    assert (nothing.session_id, nothing.kept) == ("", ()), "no session is made for nothing"
    with pytest.raises(InvalidRequest, match="17 files"):
        tasks.add_files(ME, "", [file(1)] * 17)


@pytest.fixture
def slow(settings: Settings) -> Iterator[tuple[TranscribeSessions, threading.Semaphore]]:
    gate = threading.Semaphore(0)
    made = with_readers(Studio(settings), CountingReader("slow", gate))
    yield made.transcriptions, gate
    gate.release(1000)
    made.close()


Slow = tuple[TranscribeSessions, threading.Semaphore]


def watch_until_read(run: LiveRun[object], lines: int) -> None:
    read = 0
    for event in run.follow(timeout=30):
        read += isinstance(event, Progress) and isinstance(event.event, LineRead)
        if read == lines:
            return


def test_stop_keeps_what_was_read_and_leaves_the_other_pages(slow: Slow) -> None:
    tasks, gate = slow
    taken = tasks.add_files(ME, "", [file(8), file(2, "b.png", 320)])
    run = tasks.start(ME, taken.session_id, "auto")
    gate.release(3)
    watch_until_read(run, 3)
    tasks.stop(EVE, taken.session_id)
    assert not run.cancel.cancelled, "somebody else cannot stop it"
    tasks.stop(ME, taken.session_id)
    gate.release(100)
    finish(run)
    first, second = tasks.pages(ME, taken.session_id)
    assert texts(tasks, first.id) == ["slow 1", "slow 2", "slow 3", "", "", "", "", ""]
    reading = tasks.reading(ME, first.id)
    assert reading is not None and STOPPED in reading.notes
    assert tasks.reading(ME, second.id) is None
    finish(tasks.start(ME, taken.session_id, "auto"))
    assert texts(tasks, second.id) == ["slow 4", "slow 5"]


def test_a_second_tab_joins_the_reading_under_way(slow: Slow) -> None:
    tasks, gate = slow
    taken = tasks.add_files(ME, "", [file(2)])
    run = tasks.start(ME, taken.session_id, "auto")
    assert tasks.start(ME, taken.session_id, "auto") is run
    assert tasks.running(ME, taken.session_id) is run
    assert tasks.running(EVE, taken.session_id) is None
    gate.release(2)
    assert finish(run) == finish(run) and tasks.running(ME, taken.session_id) is None


def test_corrections_undo_and_redo(tasks: TranscribeSessions) -> None:
    _, (page,) = kept(tasks, 2)
    line = tasks.lines(ME, page)[0]
    assert tasks.changes(ME, line.id) == ()
    right = tasks.correct(ME, line.id, " b  1! ")
    assert (right.reading.text, right.author, right.writer, right.version) == ("b 1!", "person", ME, 2)
    assert tasks.changes(ME, line.id) == (("delete", "a"), ("insert", "b"), ("equal", " 1"), ("insert", "!"))
    assert tasks.correct(ME, line.id, "b 1!").version == 2, "the same again is no change"
    back = tasks.undo(ME, line.id)
    assert back.reading == line.reading and back.can_redo and tasks.changes(ME, line.id) == ()
    assert tasks.redo(ME, line.id).reading.text == "b 1!"
    reading = tasks.reading(ME, page)
    assert reading is not None and reading.text == "b 1!\na 2"
    for empty in ("", "  \n"):
        with pytest.raises(InvalidRequest, match="no text"):
            tasks.correct(ME, line.id, empty)


def test_one_line_read_again_with_another_reader(tasks: TranscribeSessions, studio: Studio) -> None:
    _, (page,) = kept(tasks, 2)
    line = tasks.lines(ME, page)[0]
    tasks.correct(ME, line.id, "mine")
    again = tasks.reread(ME, line.id, "b")
    assert (again.reading.text, again.author, again.writer, again.version) == ("b 1", "reader", "b", 3)
    assert again.reading.words[0].box.left >= line.line.box.left, "words in page pixels"
    assert tasks.changes(ME, line.id) == ()
    assert tasks.undo(ME, line.id).reading.text == "mine"
    # What the person changed is what had been read before, not what was read after it.
    assert tasks.changes(ME, line.id)[0] == ("delete", "a 1")
    assert [(v.text, v.reader) for v in studio.transcripts.versions(ME, line.id)] == [
        ("a 1", "a"), ("mine", ME), ("b 1", "b"),
    ]  # fmt: skip
    with pytest.raises(InvalidRequest, match="no reader"):
        tasks.reread(ME, line.id, "nobody")
    assert len(tasks.lines(ME, page)) == 2


def test_a_region_is_added_where_it_stands(tasks: TranscribeSessions, reader: CountingReader) -> None:
    _, (page,) = kept(tasks, 3)
    (added,) = tasks.read_region(ME, page, Box(20, 82, 200, 84.5 + 8), "b")
    assert added.reading.text == "b 1" and added.writer == "b"
    (last,) = tasks.read_region(ME, page, Box(20, 200, 200, 240), "auto")
    assert texts(tasks, page) == ["a 1", "a 2", "b 1", "a 3", "a 4"] and last.reading.text == "a 4"
    reader.empty = True
    with pytest.raises(InvalidRequest, match="Nothing legible"):
        tasks.read_region(ME, page, Box(20, 300, 200, 340), "auto")
    assert len(tasks.lines(ME, page)) == 5


def test_a_region_that_is_a_line_of_the_page_reads_that_line_again(tasks: TranscribeSessions) -> None:
    _, (page,) = kept(tasks, 3)
    first, second = tasks.lines(ME, page)[:2]
    tasks.correct(ME, first.id, "mine")
    box = first.line.box
    (again,) = tasks.read_region(ME, page, Box(box.left - 3, box.top - 2, box.right + 3, box.bottom + 1), "b")
    assert (again.id, again.reading.text) == (first.id, "b 1") and len(tasks.lines(ME, page)) == 3
    assert tasks.undo(ME, first.id).reading.text == "mine"
    box = second.line.box
    (part,) = tasks.read_region(ME, page, Box(box.left, box.top, (box.left + box.right) / 2, box.bottom), "b")
    assert part.id != second.id and len(tasks.lines(ME, page)) == 4, "a word of a line is not the line"


def test_compare_with_a_reference(tasks: TranscribeSessions) -> None:
    _, (page,) = kept(tasks, 2)
    found, spans = tasks.compare(ME, page, "a 1\na 3\n")
    assert (found.cer, found.wer) == (pytest.approx(1 / 7), pytest.approx(1 / 4))
    assert spans == (("equal", "a 1 a "), ("delete", "2"), ("insert", "3"))
    tasks.correct(ME, tasks.lines(ME, page)[1].id, "a 3")
    assert tasks.compare(ME, page, "a 1 a 3")[0].cer == 0
    with pytest.raises(InvalidRequest):
        tasks.compare(ME, page, " ")


def test_export_is_what_the_session_says_now(tasks: TranscribeSessions, studio: Studio) -> None:
    session_id, pages = kept(tasks, 2, 1)
    tasks.correct(ME, tasks.lines(ME, pages[1])[0].id, "by hand")
    assert tasks.export(ME, session_id, "text") == (b"a 1\na 2\n\nby hand\n", "page 0.txt")
    content, name = tasks.export(ME, session_id, "pdf")
    assert content.startswith(b"%PDF-") and name == "page 0.pdf"
    for title, expected in (
        ("Dr. Müller", "Dr_ Müller.md"),
        ("../../etc/x", "______etc_x.md"),
        ("scan.TIFF", "scan.md"),
    ):
        studio.session_store.rename(ME, session_id, title)
        assert tasks.export(ME, session_id, "md")[1] == expected
    unread = tasks.add_files(ME, "", [file(1)]).session_id
    with pytest.raises(InvalidRequest, match="Nothing has been read"):
        tasks.export(ME, unread, "text")


USES: dict[str, Callable[[TranscribeSessions, str, str, str], Any]] = {
    "add_files": lambda t, s, p, x: t.add_files(EVE, s, [file(1)]),
    "start": lambda t, s, p, x: t.start(EVE, s, "auto"),
    "pages": lambda t, s, p, x: t.pages(EVE, s),
    "image": lambda t, s, p, x: t.image(EVE, p),
    "lines": lambda t, s, p, x: t.lines(EVE, p),
    "reading": lambda t, s, p, x: t.reading(EVE, p),
    "correct": lambda t, s, p, x: t.correct(EVE, x, "mine now"),
    "undo": lambda t, s, p, x: t.undo(EVE, x),
    "redo": lambda t, s, p, x: t.redo(EVE, x),
    "changes": lambda t, s, p, x: t.changes(EVE, x),
    "reread": lambda t, s, p, x: t.reread(EVE, x, "auto"),
    "read_region": lambda t, s, p, x: t.read_region(EVE, p, Box(0, 0, 99, 99), "auto"),
    "compare": lambda t, s, p, x: t.compare(EVE, p, "text"),
    "export": lambda t, s, p, x: t.export(EVE, s, "text"),
}


@pytest.mark.parametrize("use", USES)
def test_another_owner_finds_nothing(tasks: TranscribeSessions, use: str) -> None:
    session_id, (page,) = kept(tasks, 1)
    (line,) = tasks.lines(ME, page)
    with pytest.raises(NotFound):
        USES[use](tasks, session_id, page, line.id)
    assert tasks.lines(ME, page) == (line,) and len(tasks.pages(ME, session_id)) == 1


def test_a_full_disk_leaves_earlier_pages_readable(
    tasks: TranscribeSessions, studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = tasks.add_files(ME, "", [file(2), file(1, "b.png", 320), file(1, "c.png", 330)])
    first, second, third = tasks.pages(ME, taken.session_id)
    save = studio.transcripts.save_reading

    def full(owner: str, page_id: str, reading: PageReading) -> Any:
        if page_id == second.id:
            raise StoreError("The disk is full, so nothing was saved.", "Free some space and try again.")
        return save(owner, page_id, reading)

    monkeypatch.setattr(studio.transcripts, "save_reading", full)
    run = tasks.start(ME, taken.session_id, "auto")
    with pytest.raises(StoreError, match="disk is full"):
        finish(run)
    assert texts(tasks, first.id) == ["a 1", "a 2"] and tasks.reading(ME, second.id) is None
    monkeypatch.undo()
    finish(tasks.start(ME, taken.session_id, "auto"))
    assert texts(tasks, second.id) == ["a 4"] and texts(tasks, third.id) == ["a 5"]


def test_a_full_disk_while_files_are_taken_is_said(
    tasks: TranscribeSessions, studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    session_id, (page,) = kept(tasks, 1)

    def full(data: bytes, mime: str) -> str:
        raise StoreError("The disk is full, so nothing was saved.", "Free some space and try again.")

    monkeypatch.setattr(studio.blobs, "put", full)
    taken = tasks.add_files(ME, session_id, [file(2, "b.png", 320)])
    assert taken.kept == () and taken.problems == (
        "The disk is full, so nothing was saved. Free some space and try again.",
    )
    assert texts(tasks, page) == ["a 1"] and len(tasks.pages(ME, session_id)) == 1


def test_what_was_read_and_corrected_can_be_searched(tasks: TranscribeSessions, studio: Studio) -> None:
    session_id, (page,) = kept(tasks, 2)
    line = tasks.lines(ME, page)[1]
    tasks.correct(ME, line.id, "Crème brûlée")
    (hit,) = studio.index.search(ME, "creme brulee")
    assert (hit.session_id, hit.ref, hit.page_id, hit.box) == (session_id, line.id, page, line.line.box)
    assert studio.index.search(EVE, "creme") == ()


def test_pages_of_a_damaged_pdf_say_so(tasks: TranscribeSessions) -> None:
    taken = tasks.add_files(ME, "", [("cut.pdf", LEASE[:-60]), file(1)])
    finish(tasks.start(ME, taken.session_id, "auto"))
    notes = [
        reading.notes for page in tasks.pages(ME, taken.session_id) if (reading := tasks.reading(ME, page.id))
    ]
    assert [any("cut.pdf was damaged" in note for note in found) for found in notes] == [True, True, False]
