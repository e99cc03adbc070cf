"""The Transcribe tab: what each click shows and keeps."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from tests.tasks.fakes import CountingReader, page_image, png, transcriber
from vlm_studio.core.errors import InvalidRequest, NotFound
from vlm_studio.core.sessions import LOCAL_OWNER as OWNER
from vlm_studio.core.settings import Settings
from vlm_studio.studio import Studio
from vlm_studio.ui.tabs import transcribe_handlers as on

NAMES = (
    "session intake workspace status stop picker page line image text editor strip typed alternatives undo redo "
    "history password notice"
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


def choose(studio: Studio, session: str, line: int, typed: str, **what: int) -> dict[str, Any]:
    return shown(on.choose_line(studio, session, 0, line, typed, HERE, event(**what)))  # type: ignore[arg-type]


def test_enter_keeps_and_goes_on(studio: Studio, session: str) -> None:
    found = shown(on.keep_line(studio, session, 0, 0, "mine", HERE))  # type: ignore[arg-type]
    assert (found["line"], found["typed"]) == (1, "a 2")
    assert texts(studio, session) == ["mine", "a 2", "a 3"]
    assert shown(on.keep_line(studio, session, 0, 2, "end", HERE))["line"] == 2  # type: ignore[arg-type]


def test_leaving_a_line_keeps_what_was_typed(studio: Studio, session: str) -> None:
    found = choose(studio, session, 0, "typed, no Enter", index=2)
    assert found["line"] == 2 and texts(studio, session)[0] == "typed, no Enter"
    assert choose(studio, session, 2, "  ", index=1)["line"] == 1
    assert texts(studio, session)[2] == "a 3", "an emptied field is no correction"
    on.export(studio, session, 0, 1, "typed before export", "text", HERE)  # type: ignore[arg-type]
    assert texts(studio, session)[1] == "typed before export"


def test_looking_at_lines_makes_no_versions(studio: Studio, session: str) -> None:
    (page,) = studio.transcriptions.pages(OWNER, session)
    before = studio.transcriptions.lines(OWNER, page.id)
    for line in (0, 1, 2):
        choose(studio, session, line, before[line].reading.text, index=(line + 1) % 3)
    assert [kept.version for kept in studio.transcriptions.lines(OWNER, page.id)] == [
        kept.version for kept in before
    ]


def test_undo_keeps_what_was_typed_for_redo(studio: Studio, session: str) -> None:
    assert shown(on.undo(studio, session, 0, 0, "half typed", HERE))["typed"] == "a 1"  # type: ignore[arg-type]
    assert shown(on.redo(studio, session, 0, 0, HERE))["typed"] == "half typed"  # type: ignore[arg-type]


def test_a_word_is_chosen_in_the_text_and_on_the_page(studio: Studio, session: str) -> None:
    found = choose(studio, session, -1, "", index=1, word=1)
    assert 'class="chosen" data-word="1"' in found["text"]
    (page,) = studio.transcriptions.pages(OWNER, session)
    box = studio.transcriptions.lines(OWNER, page.id)[1].reading.words[1].box
    spot = event(index=[(box.left + box.right) / 2, (box.top + box.bottom) / 2])
    *values, corner = next(on.click_page(studio, session, 0, -1, "", (), False, "auto", HERE, spot))  # type: ignore[arg-type]
    again = shown(values)
    assert (again["line"], corner) == (1, ()) and 'class="chosen" data-word="1"' in again["text"]


def test_a_click_on_paper_chooses_nothing(studio: Studio, session: str) -> None:
    *values, _ = next(
        on.click_page(studio, session, 0, 1, "a 2", (), False, "auto", HERE, event(index=[2, 399]))
    )  # type: ignore[arg-type]
    assert shown(values)["line"] == -1


def test_a_line_that_is_not_there_is_said(studio: Studio, session: str) -> None:
    with pytest.raises(InvalidRequest):
        on.keep_line(studio, session, 0, 9, "no such line", HERE)  # type: ignore[arg-type]
    with pytest.raises(NotFound):
        on.keep_line(studio, "nobody's", 0, 0, "x", HERE)  # type: ignore[arg-type]
    assert texts(studio, session) == ["a 1", "a 2", "a 3"]
