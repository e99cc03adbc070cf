"""The Transcribe tab: what each click shows and keeps."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from tests.tasks.documents_pdf import LEASE, encrypted
from tests.tasks.fakes import CountingReader, page_image, png, transcriber
from vlm_studio.core.documents import Alternative, Box, LineReading, WordReading
from vlm_studio.core.errors import InvalidRequest, NotFound
from vlm_studio.core.sessions import LOCAL_OWNER as OWNER
from vlm_studio.core.settings import Settings
from vlm_studio.studio import Studio
from vlm_studio.ui.tabs import transcribe_edit as edit
from vlm_studio.ui.tabs import transcribe_handlers as on

NAMES = (
    "session intake workspace status stop picker page line image text editor strip typed alternatives undo redo "
    "history password notice given comparison download"
).split()
HERE = None
"""The request of the local owner."""


@pytest.fixture
def studio(settings: Settings) -> Iterator[Studio]:
    made = Studio(settings)
    made.transcriber = transcriber(CountingReader("a"), CountingReader("b"))
    yield made
    made.close()


@pytest.fixture
def session(studio: Studio) -> str:
    taken = studio.transcriptions.add_files(OWNER, "", [("notes.png", png(page_image(3)))])
    for _ in studio.transcriptions.start(OWNER, taken.session_id, "auto").follow(timeout=30):
        pass
    return taken.session_id


def shown(values: list[Any]) -> dict[str, Any]:
    assert len(values) == len(NAMES)
    return dict(zip(NAMES, values, strict=True))


def texts(studio: Studio, session: str) -> list[str]:
    (page,) = studio.transcriptions.pages(OWNER, session)
    return [line.reading.text for line in studio.transcriptions.lines(OWNER, page.id)]


def event(**what: int) -> Any:
    return SimpleNamespace(**what)


def line(studio: Studio, session: str, place: int) -> str:
    (page,) = studio.transcriptions.pages(OWNER, session)
    return studio.transcriptions.lines(OWNER, page.id)[place].id


def choose(studio: Studio, session: str, field: tuple[str, str, str], **what: int) -> dict[str, Any]:
    """`field`: the line's id, the text that was given for it, the text that stands there."""
    return shown(on.choose_line(studio, session, 0, *field, HERE, event(**what)))  # type: ignore[arg-type]


def test_enter_keeps_and_goes_on(studio: Studio, session: str) -> None:
    first, second, third = (line(studio, session, place) for place in range(3))
    found = shown(edit.keep_line(studio, session, 0, first, "a 1", "mine", HERE))  # type: ignore[arg-type]
    assert (found["line"], found["given"], found["typed"]) == (second, "a 2", "a 2")
    assert texts(studio, session) == ["mine", "a 2", "a 3"]
    found = shown(edit.keep_line(studio, session, 0, third, "a 3", "end", HERE))  # type: ignore[arg-type]
    assert found["line"] == third


def test_leaving_a_line_keeps_what_was_typed(studio: Studio, session: str) -> None:
    first, second, third = (line(studio, session, place) for place in range(3))
    found = choose(studio, session, (first, "a 1", "typed, no Enter"), index=2)
    assert found["line"] == third and texts(studio, session)[0] == "typed, no Enter"
    assert choose(studio, session, (third, "a 3", "  "), index=1)["line"] == second
    assert texts(studio, session)[2] == "a 3", "an emptied field is no correction"
    given = edit.keep_typed(studio, second, "a 2", "typed before export", HERE)  # type: ignore[arg-type]
    assert given == texts(studio, session)[1] == "typed before export"


def test_looking_at_lines_makes_no_versions(studio: Studio, session: str) -> None:
    (page,) = studio.transcriptions.pages(OWNER, session)
    before = studio.transcriptions.lines(OWNER, page.id)
    for place, kept in enumerate(before):
        text = kept.reading.text
        choose(studio, session, (kept.id, text, text), index=(place + 1) % 3)
    assert studio.transcriptions.lines(OWNER, page.id) == before


def test_an_untouched_field_saves_nothing_over_another_window(studio: Studio, session: str) -> None:
    first, second = line(studio, session, 0), line(studio, session, 1)
    edit.keep_line(studio, session, 0, first, "a 1", "theirs", HERE)  # type: ignore[arg-type]
    stale = (first, "a 1", "a 1")
    assert choose(studio, session, stale, index=1)["line"] == second
    found = shown(edit.keep_line(studio, session, 0, *stale, HERE))  # type: ignore[arg-type]
    assert (found["line"], found["typed"]) == (first, "theirs") and "another window" in found["status"]
    assert texts(studio, session)[0] == "theirs"
    choose(studio, session, (first, "a 1", "typed here"), index=1)
    undone = edit.undo(studio, session, 0, first, "typed here", "typed here", HERE)  # type: ignore[arg-type]
    assert shown(undone)["typed"] == "theirs", "what was overwritten is one step back"


def test_what_is_typed_goes_to_the_line_that_was_chosen(studio: Studio, session: str) -> None:
    second = line(studio, session, 1)
    (page,) = studio.transcriptions.pages(OWNER, session)
    studio.transcriptions.read_region(OWNER, page.id, Box(20, 5, 120, 30), "a")
    assert line(studio, session, 2) == second, "another window added a line before it"
    found = shown(edit.keep_line(studio, session, 0, second, "a 2", "mine", HERE))  # type: ignore[arg-type]
    assert texts(studio, session)[2] == "mine" and found["line"] == line(studio, session, 3)


@pytest.mark.parametrize("leave", ["open", "new", "page"])
def test_leaving_the_page_keeps_what_was_typed(studio: Studio, session: str, leave: str) -> None:
    field = (line(studio, session, 0), "a 1", "not kept yet")
    if leave == "open":
        other = studio.session_store.create(OWNER, "transcribe", "other").id
        list(on.open_session(studio, f"transcribe/{other}", *field, HERE))  # type: ignore[arg-type]
    elif leave == "new":
        assert shown(on.start_anew(studio, *field, HERE))["given"] == ""  # type: ignore[arg-type]
    else:
        found = shown(on.choose_page(studio, session, 0, *field, HERE, event(index=0)))  # type: ignore[arg-type]
        assert (found["comparison"], found["download"]["value"]) == ("", None)
    assert texts(studio, session)[0] == "not kept yet"


def test_a_line_that_went_with_its_session_keeps_its_text_in_the_field(studio: Studio, session: str) -> None:
    first, other = line(studio, session, 0), studio.session_store.create(OWNER, "transcribe", "other").id
    studio.session_store.delete(OWNER, session)
    opened = f"transcribe/{other}"
    with pytest.raises(NotFound, match="empty the field"):
        list(on.open_session(studio, opened, first, "a 1", "typed", HERE))  # type: ignore[arg-type]
    for untyped in ("a 1", ""):
        assert list(on.open_session(studio, opened, first, "a 1", untyped, HERE))  # type: ignore[arg-type]


def test_what_was_made_of_a_page_stays_while_its_lines_are_looked_at(studio: Studio, session: str) -> None:
    found = choose(studio, session, ("", "", ""), index=1)
    assert found["comparison"] == found["download"] == gr.skip()


@pytest.mark.parametrize(
    ("typed", "then", "undone"),
    [
        ("a 1", "a B", "a 1"),
        ("", "a B", "a 1"),
        ("so a 1 day", "so a B day", "so a 1 day"),
        ("so a 7", "so a B", "so a 7"),
        ("quite another thing", "quite another thing", "a 1"),
    ],
)
def test_an_alternative_changes_one_word_of_what_was_typed(
    studio: Studio, session: str, typed: str, then: str, undone: str
) -> None:
    first = line(studio, session, 0)
    words = (
        WordReading("a", 0.9, Box(0, 0, 60, 30)),
        WordReading("1", 0.4, Box(70, 0, 90, 30), (Alternative("B", 0.3),)),
    )
    studio.transcripts.add_version(OWNER, first, LineReading("a 1", 0.6, words, "a"))
    chip = event(word=1, choice=0)
    found = shown(edit.take_alternative(studio, session, 0, first, "a 1", typed, HERE, chip))  # type: ignore[arg-type]
    assert found["typed"] == found["given"] == then
    assert ("nothing was exchanged" in found["status"]) == (typed == then)
    assert shown(edit.undo(studio, session, 0, first, then, then, HERE))["typed"] == undone  # type: ignore[arg-type]


def test_an_alternative_of_a_line_that_changed_elsewhere_is_not_taken(studio: Studio, session: str) -> None:
    first = line(studio, session, 0)
    studio.transcriptions.correct(OWNER, first, "theirs")
    chip = event(word=1, choice=0)
    found = shown(edit.take_alternative(studio, session, 0, first, "a 1", "a 1", HERE, chip))  # type: ignore[arg-type]
    assert found["typed"] == "theirs" and "another window" in found["status"]


def test_undo_and_redo_lose_nothing_typed(studio: Studio, session: str) -> None:
    first = line(studio, session, 0)
    here = (studio, session, 0, first)
    assert shown(edit.undo(*here, "a 1", "half typed", HERE))["typed"] == "a 1"  # type: ignore[arg-type]
    assert shown(edit.redo(*here, "a 1", "a 1", HERE))["typed"] == "half typed"  # type: ignore[arg-type]
    edit.undo(*here, "half typed", "half typed", HERE)  # type: ignore[arg-type]
    assert shown(edit.redo(*here, "a 1", "typed anew", HERE))["typed"] == "typed anew"  # type: ignore[arg-type]


def test_a_password_adds_only_the_files_that_waited_for_it(studio: Studio, tmp_path: Path) -> None:
    locked = encrypted(LEASE, "secret")
    files = [tmp_path / "plain.png", tmp_path / "locked.pdf"]
    for path, data in zip(files, (png(page_image(2)), locked), strict=True):
        path.write_bytes(data)
    given = [str(path) for path in files]
    with pytest.warns(UserWarning, match=r"locked\.pdf"):
        *_, mixed = on.read_files(studio, given, "", "auto", "", HERE)  # type: ignore[arg-type]
    found = shown(mixed)
    session = found["session"]
    assert found["password"]["visible"], "there is somewhere to type it"
    before = studio.transcriptions.pages(OWNER, session)
    field = (line(studio, session, 0), "a 1", "not kept yet")
    rest = ("auto", "wrong", "active", *field, HERE)
    *_, refused = on.unlock(studio, given, session, *rest)  # type: ignore[arg-type]
    assert shown(refused)["password"]["visible"]
    assert studio.transcriptions.pages(OWNER, session) == before
    assert texts(studio, session)[0] == "not kept yet"
    *_, last = on.unlock(studio, given, session, "auto", "secret", "active", "", "", "", HERE)  # type: ignore[arg-type]
    assert not shown(last)["password"]["visible"]
    pages = studio.transcriptions.pages(OWNER, session)
    assert {page.filename for page in pages[1:]} == {"locked.pdf"} and pages[:1] == before


def test_a_word_is_chosen_in_the_text_and_on_the_page(studio: Studio, session: str) -> None:
    found = choose(studio, session, ("", "", ""), index=1, word=1)
    assert 'class="chosen" data-word="1"' in found["text"]
    (page,) = studio.transcriptions.pages(OWNER, session)
    box = studio.transcriptions.lines(OWNER, page.id)[1].reading.words[1].box
    spot = event(index=[(box.left + box.right) / 2, (box.top + box.bottom) / 2])
    *values, corner = next(on.click_page(studio, session, 0, "", "", "", (), False, "auto", HERE, spot))  # type: ignore[arg-type]
    again = shown(values)
    assert (again["line"], corner) == (
        line(studio, session, 1),
        (),
    ) and 'class="chosen" data-word="1"' in again["text"]


def test_a_click_on_paper_chooses_nothing(studio: Studio, session: str) -> None:
    field = (line(studio, session, 1), "a 2", "a 2")
    paper = event(index=[2, 399])
    *values, _ = next(on.click_page(studio, session, 0, *field, (), False, "auto", HERE, paper))  # type: ignore[arg-type]
    assert shown(values)["line"] == ""


def test_a_line_that_is_not_there_is_said(studio: Studio, session: str) -> None:
    with pytest.raises(InvalidRequest):
        edit.keep_line(studio, session, 0, "no such line", "", "x", HERE)  # type: ignore[arg-type]
    with pytest.raises(NotFound):
        edit.keep_typed(studio, "no such line", "", "x", HERE)  # type: ignore[arg-type]
    with pytest.raises(NotFound):
        edit.keep_line(studio, "nobody's", 0, line(studio, session, 0), "", "x", HERE)  # type: ignore[arg-type]
    assert texts(studio, session) == ["a 1", "a 2", "a 3"]
