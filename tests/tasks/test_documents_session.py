"""Documents that are kept: taken in in the background, stopped and gone on with, asked, and nobody else's."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tasks.documents_pdf import LEASE, encrypted, pdf, scan
from tests.tasks.fakes import CountingReader, page_image, png, transcriber
from vlm_studio.core.errors import InvalidRequest, NotFound
from vlm_studio.core.sessions import LOCAL_OWNER as OWNER
from vlm_studio.core.settings import Settings
from vlm_studio.studio import Studio
from vlm_studio.tasks.documents_session import DocumentRow, as_csv

SECONDS = 60.0


def made(folder: Path) -> Studio:
    """A studio whose reader reads "fake 1", "fake 2"...; no meaning model, so that nothing is loaded."""
    studio = Studio(Settings(data_dir=folder, offline=True))
    studio.__dict__["transcriber"] = transcriber(CountingReader("fake"))
    studio.__dict__["similar"] = None
    return studio


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[Studio]:
    built = made(tmp_path / "data")
    yield built
    built.close()


def added(studio: Studio, *files: tuple[str, bytes], session: str = "", password: str = "") -> str:
    taken = studio.documents.add_files(OWNER, session, files, password)
    assert taken.problems == () and len(taken.kept) == len(files)
    studio.documents.settle(OWNER, taken.session_id, SECONDS)
    return taken.session_id


def states(studio: Studio, session: str) -> list[tuple[str, int, int]]:
    return [(d.state, d.done, d.pages) for d in studio.documents.documents(OWNER, session)]


def test_files_are_taken_in_asked_and_kept_over_a_restart(studio: Studio, tmp_path: Path) -> None:
    session = added(studio, ("lease.pdf", LEASE), ("note.png", png(page_image(2))))
    assert states(studio, session) == [("done", 2, 2), ("done", 1, 1)]
    assert [d.read for d in studio.documents.documents(OWNER, session)] == [0, 1]
    turn = studio.documents.ask(OWNER, session, "How much is the monthly rent?")
    assert turn.answer.text.startswith("875 pounds") and turn.answer.citations[0].boxes
    follow = studio.documents.ask(OWNER, session, "And the caretaker?")
    assert follow.asked_as != follow.question
    studio.close()
    again = made(tmp_path / "data")
    kept = again.documents.turns(OWNER, session)
    assert kept == (turn, follow)
    assert "passage" in [hit.what for hit in again.index.search(OWNER, "caretaker Fergus")]
    again.close()


def test_a_document_that_was_not_finished_goes_on_at_the_next_start(studio: Studio, tmp_path: Path) -> None:
    session = added(studio, ("lease.pdf", LEASE))
    (document,) = studio.documents.documents(OWNER, session)
    with studio.database.write() as db:
        db.execute("DELETE FROM document_page WHERE idx = 1")
    studio.document_store.set_state(document.id, "running")
    studio.close()
    again = made(tmp_path / "data")
    again.documents.indexer.start()
    again.documents.settle(OWNER, session, SECONDS)
    assert states(again, session) == [("done", 2, 2)]
    again.close()


def test_pause_go_on_stop_and_remove(studio: Studio) -> None:
    session = added(studio, ("lease.pdf", LEASE))
    (document,) = studio.documents.documents(OWNER, session)
    studio.documents.pause(OWNER, document.id)
    assert states(studio, session)[0][0] == "done"  # what is done stays done
    studio.document_store.set_state(document.id, "queued")
    studio.documents.pause(OWNER, document.id)
    studio.documents.indexer.start()
    assert states(studio, session)[0][0] == "paused"
    studio.documents.cancel(OWNER, document.id)
    assert states(studio, session)[0][0] == "cancelled"
    studio.documents.resume(OWNER, document.id)
    studio.documents.settle(OWNER, session, SECONDS)
    assert states(studio, session) == [("done", 2, 2)]
    studio.documents.remove(OWNER, document.id)
    assert states(studio, session) == [] and studio.index.search(OWNER, "caretaker Fergus") == ()


def test_one_question_of_each_document_and_its_table(studio: Studio) -> None:
    other = pdf([[(50.0, 80.0, "The monthly rent is 990 pounds.")]])
    silent = pdf([[(50.0, 80.0, "Swallows return to the barn in the first week of April.")]])
    session = added(studio, ("a.pdf", LEASE), ("=b.pdf", other), ("c.pdf", silent))
    rows = studio.documents.ask_each(OWNER, session, "How much is the monthly rent?")
    assert [row.answer.text.split(" (")[0] for row in rows] == [
        "875 pounds",
        "990 pounds",
        "The document does not say.",
    ]
    table = list(csv.reader(io.StringIO(as_csv(rows).decode("utf-8-sig"))))
    assert [line[0] for line in table[1:]] == ["a.pdf", "'=b.pdf", "c.pdf"] and table[3][2] == "no"
    assert isinstance(rows[0], DocumentRow)
    turn = studio.documents.ask(OWNER, session, "How much is the monthly rent?")
    found = [s.stance for s in studio.documents.stances(OWNER, session, turn.id)]
    assert sorted(found) == ["agrees", "differs", "silent", "silent"]


def test_pages_without_good_text_are_read_and_their_boxes_are_points(studio: Studio) -> None:
    junk = "xqzv wkjh brrgl ,,;; qqpw zzkx vvbn hjkl qwrt"
    session = added(studio, ("scan.pdf", scan(LEASE)), ("junk.pdf", scan(LEASE, junk)))
    for document in studio.documents.documents(OWNER, session):
        assert document.read == 2
        page = studio.documents.page(OWNER, document.id, 0)
        assert (
            page is not None
            and page.source == "fake"
            and page.unit == "pt"
            and (page.width, page.height) == (500, 600)
        )
        assert all(0 <= w.box.left < w.box.right <= 500 for w in page.words)


def test_every_page_of_a_tiff_is_taken_in_and_shown(studio: Studio) -> None:
    buffer = io.BytesIO()
    first, second = page_image(1), page_image(2, width=340)
    first.save(buffer, "TIFF", save_all=True, append_images=[second])
    session = added(studio, ("fax.tif", buffer.getvalue()))
    assert states(studio, session) == [("done", 2, 2)]
    (document,) = studio.documents.documents(OWNER, session)
    assert [studio.documents.image(OWNER, document.id, n).width for n in range(2)] == [300, 340]
    page = studio.documents.page(OWNER, document.id, 1)
    assert page is not None and page.words and page.width == 340


def test_a_damaged_pdf_is_taken_in_with_a_word_of_warning(studio: Studio) -> None:
    taken = studio.documents.add_files(OWNER, "", [("cut.pdf", LEASE[:-60])])
    assert len(taken.kept) == 1
    (told,) = taken.problems
    assert told.startswith("cut.pdf was damaged") and "may be missing" in told


def test_an_encrypted_pdf_wants_its_password_once(studio: Studio) -> None:
    locked = encrypted(LEASE, "secret")
    taken = studio.documents.add_files(OWNER, "", [("lease.pdf", locked)])
    assert taken.wants_password and taken.kept == () and taken.session_id == ""
    session = added(studio, ("lease.pdf", locked), password="secret")
    (document,) = studio.documents.documents(OWNER, session)
    assert document.done == 2 and studio.documents.image(OWNER, document.id, 1).size[0] > 500


def test_a_long_document_opens_at_once_and_holds_up_nobody(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vlm_studio.tasks.documents_index.TURN_SECONDS", 0.01)
    long = pdf([[(50.0, 80.0, f"Page {n} speaks of nothing much at all.")] for n in range(500)])
    taken = studio.documents.add_files(OWNER, "", [("long.pdf", long), ("lease.pdf", LEASE)])
    documents = studio.documents.documents(OWNER, taken.session_id)
    assert [d.pages for d in documents] == [500, 2] and documents[0].done < 500
    while studio.documents.documents(OWNER, taken.session_id)[1].waiting:
        studio.documents.indexer.wait(0.01)
    assert studio.documents.documents(OWNER, taken.session_id)[0].waiting
    assert studio.documents.ask(OWNER, taken.session_id, "How much is the monthly rent?").answer.found


def test_a_bad_file_stops_no_other_and_nothing_is_asked_of_nothing(studio: Studio) -> None:
    taken = studio.documents.add_files(OWNER, "", [("bad.pdf", b"%PDF-1.7 rubbish"), ("lease.pdf", LEASE)])
    assert len(taken.kept) == 1 and len(taken.problems) == 1 and "bad.pdf" in taken.problems[0]
    empty = studio.session_store.create(OWNER, "documents", "Empty").id
    with pytest.raises(InvalidRequest):
        studio.documents.ask(OWNER, empty, "How much?")


def test_nobody_gets_at_the_documents_of_another(studio: Studio) -> None:
    session = added(studio, ("lease.pdf", LEASE))
    (document,) = studio.documents.documents(OWNER, session)
    turn = studio.documents.ask(OWNER, session, "How much is the monthly rent?")
    eve = "visitor:eve"
    for attempt in (
        lambda: studio.documents.documents(eve, session),
        lambda: studio.documents.turns(eve, session),
        lambda: studio.documents.ask(eve, session, "How much is the monthly rent?"),
        lambda: studio.documents.ask_each(eve, session, "How much is the monthly rent?"),
        lambda: studio.documents.stances(eve, session, turn.id),
        lambda: studio.documents.image(eve, document.id, 0),
        lambda: studio.documents.page(eve, document.id, 0),
        lambda: studio.documents.add_files(eve, session, [("lease.pdf", LEASE)]),
        *(
            lambda act=act: getattr(studio.documents, act)(eve, document.id)
            for act in ("pause", "resume", "cancel", "remove")
        ),
    ):
        with pytest.raises(NotFound):
            attempt()


def test_pages_that_are_not_there_are_no_answer(studio: Studio) -> None:
    short = pdf([[(50.0, 80.0, "The caretaker is Mr Owen Price.")]])
    session = added(studio, ("long.pdf", LEASE), ("short.pdf", short))
    longer, shorter = studio.documents.documents(OWNER, session)
    with pytest.raises(InvalidRequest, match=r"long\.pdf has 2 pages"):
        studio.documents.ask(OWNER, session, "Who is the caretaker?", (), "99")
    with pytest.raises(InvalidRequest, match=r"short\.pdf has 1 page\."):
        studio.documents.ask(OWNER, session, "Who is the caretaker?", (shorter.id,), "2")
    with pytest.raises(InvalidRequest, match=r"long\.pdf has 2 pages"):
        studio.documents.ask_each(OWNER, session, "Who is the caretaker?", "99")
    assert studio.documents.turns(OWNER, session) == ()
    assert (
        "Fergus Baird" in studio.documents.ask(OWNER, session, "Who is the caretaker?", (), "2").answer.text
    )
    rows = studio.documents.ask_each(OWNER, session, "Who is the caretaker?", "2")
    assert [row.document.id for row in rows] == [longer.id, shorter.id]
    assert "Fergus Baird" in rows[0].answer.text and rows[1].answer.text == "short.pdf has 1 page."
