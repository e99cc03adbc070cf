from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.store.kept import OTHER, OWNER, Kept, page_reading, read_line
from vlm_studio.core.documents import Box, LineReading, WordReading
from vlm_studio.core.errors import InvalidRequest, NotFound


def test_a_reading_comes_back_as_it_was(kept: Kept) -> None:
    _, page = kept.session_with_page()
    reading = page_reading(page.page, "Lait et pain", "Œufs", "sucre")
    assert kept.transcripts.reading(OWNER, page.id) is None
    kept.transcripts.save_reading(OWNER, page.id, reading)
    kept.database.close()
    again = Kept(kept.root)
    assert again.transcripts.reading(OWNER, page.id) == reading
    assert again.transcripts.notes(OWNER, page.id) == ("A note.",)
    (line, *_) = again.transcripts.lines(OWNER, page.id)
    assert (line.author, line.writer, line.version, line.versions) == ("reader", "fast", 1, 1)
    assert not line.can_undo and not line.can_redo
    again.database.close()


def test_undo_steps_back_and_history_stays(kept: Kept) -> None:
    _, page = kept.session_with_page()
    (line,) = kept.transcripts.save_reading(OWNER, page.id, page_reading(page.page, "helo wrld"))
    act = kept.transcripts
    act.correct(OWNER, line.id, "hello wrld")
    act.correct(OWNER, line.id, " hello  world ")
    assert act.correct(OWNER, line.id, "hello world").version == 3, "the same again is no new version"
    assert act.undo(OWNER, line.id).reading.text == "hello wrld"
    back = act.undo(OWNER, line.id)
    assert back.reading == line.reading and back.can_redo and not back.can_undo
    assert act.undo(OWNER, line.id) == back, "nothing before the first"
    assert act.redo(OWNER, line.id).reading.text == "hello wrld"
    last = act.redo(OWNER, line.id)
    assert last.reading.text == "hello world" and not last.can_redo
    assert act.redo(OWNER, line.id) == last
    act.undo(OWNER, line.id)
    branched = act.correct(OWNER, line.id, "hello word")
    assert (branched.version, branched.versions, branched.can_redo) == (4, 4, False)
    assert act.undo(OWNER, line.id).reading.text == "hello wrld", "back to where it branched"
    history = act.versions(OWNER, line.id)
    assert [(v.number, v.text, v.author, v.reader) for v in history] == [
        (1, "helo wrld", "reader", "fast"),
        (2, "hello wrld", "person", OWNER),
        (3, "hello world", "person", OWNER),
        (4, "hello word", "person", OWNER),
    ]
    assert [v.current for v in history] == [False, True, False, False]
    assert history[0].reading == line.reading


def test_reading_a_line_again_adds_a_version(kept: Kept) -> None:
    _, page = kept.session_with_page()
    (line,) = kept.transcripts.save_reading(OWNER, page.id, page_reading(page.page, "first"))
    again = kept.transcripts.add_version(OWNER, line.id, LineReading("second", 0.8, (), "nano"))
    assert (again.reading.text, again.writer, again.version) == ("second", "nano", 2)
    assert kept.transcripts.undo(OWNER, line.id).reading.text == "first"


def test_reading_a_page_again_keeps_what_a_person_wrote(kept: Kept) -> None:
    _, page = kept.session_with_page()
    act = kept.transcripts
    one, two, three = act.save_reading(OWNER, page.id, page_reading(page.page, "one", "two", "three"))
    act.correct(OWNER, one.id, "ONE")
    act.correct(OWNER, three.id, "THREE")
    lines = act.save_reading(OWNER, page.id, page_reading(page.page, "eins", "zwei"))
    assert [(k.id, k.reading.text) for k in lines] == [(one.id, "ONE"), (two.id, "zwei"), (three.id, "THREE")]
    assert [v.text for v in act.versions(OWNER, one.id)] == ["one", "ONE", "eins"]
    lines = act.save_reading(OWNER, page.id, page_reading(page.page))
    assert [k.reading.text for k in lines] == ["ONE", "THREE"], "unseen lines of a reader go out of sight"
    assert kept.index.search(OWNER, "zwei") == ()
    assert [v.text for v in act.versions(OWNER, two.id)] == ["two", "zwei"], "their history stays"


def test_lines_drawn_by_hand_stand_in_reading_order(kept: Kept) -> None:
    _, page = kept.session_with_page()
    act = kept.transcripts
    act.save_reading(OWNER, page.id, page_reading(page.page, "top", "middle", "bottom"))
    drawn = act.add_line(OWNER, page.id, read_line("between", 13))
    act.add_line(OWNER, page.id, read_line("right", 2, column=1))
    act.add_line(OWNER, page.id, read_line("first", 0))
    texts = [k.reading.text for k in act.lines(OWNER, page.id)]
    assert texts == ["first", "top", "middle", "between", "bottom", "right"]
    act.remove_line(OWNER, drawn.id)
    assert "between" not in [k.reading.text for k in act.lines(OWNER, page.id)]
    assert kept.index.search(OWNER, "between") == ()
    act.remove_line(OWNER, drawn.id, removed=False)
    assert [k.reading.text for k in act.lines(OWNER, page.id)] == texts
    assert len(kept.index.search(OWNER, "between")) == 1


def test_corrections_are_what_a_reader_can_learn_from(kept: Kept) -> None:
    session, page = kept.session_with_page()
    act = kept.transcripts
    reading = page_reading(page.page, "wrng", "right", "untouched", "undone", "empty")
    wrong, right, _, undone, empty = act.save_reading(OWNER, page.id, reading)
    words = (WordReading("wrong", 1.0, Box(2, 1, 38, 7)),)
    act.correct(OWNER, wrong.id, "wrong", words, writer="Ada")
    act.correct(OWNER, right.id, "right")
    act.correct(OWNER, undone.id, "x")
    act.undo(OWNER, undone.id)
    act.correct(OWNER, empty.id, "")
    first, second = act.corrections(OWNER)
    assert first.source
    assert (first.text, first.read_as, first.writer, first.line) == ("wrong", "wrng", "Ada", wrong.line)
    assert (first.page_image_sha256, first.session_id) == (page.page.image_sha256, session.id)
    assert (second.text, second.read_as) == ("right", "right"), "confirmed is as good as corrected"
    assert act.line(OWNER, wrong.id).reading.words == words
    assert act.corrections(OWNER, since=first.created_at) == (second,)
    assert act.corrections(OTHER) == () == act.corrections(OWNER, session_id="other")
    kept.sessions.delete(OWNER, session.id)
    assert act.corrections(OWNER) == ()


def test_nothing_of_another_owner_is_there(kept: Kept) -> None:
    _, page = kept.session_with_page()
    reading = page_reading(page.page, "mine")
    (line,) = kept.transcripts.save_reading(OWNER, page.id, reading)
    act = kept.transcripts
    attempts: list[Callable[[], object]] = [
        lambda: act.save_reading(OTHER, page.id, reading),
        lambda: act.lines(OTHER, page.id),
        lambda: act.line(OTHER, line.id),
        lambda: act.reading(OTHER, page.id),
        lambda: act.notes(OTHER, page.id),
        lambda: act.correct(OTHER, line.id, "x"),
        lambda: act.add_version(OTHER, line.id, line.reading),
        lambda: act.add_line(OTHER, page.id, line.read),
        lambda: act.remove_line(OTHER, line.id),
        lambda: act.undo(OTHER, line.id),
        lambda: act.redo(OTHER, line.id),
        lambda: act.versions(OTHER, line.id),
    ]
    for attempt in attempts:
        with pytest.raises(NotFound):
            attempt()
    assert act.lines(OWNER, page.id) == (line,)


def test_a_save_that_fails_midway_leaves_nothing(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    session, page = kept.session_with_page()
    before = kept.transcripts.save_reading(OWNER, page.id, page_reading(page.page, "kept"))
    real, calls = kept.index.index, []

    def failing(*args: object, **kwargs: object) -> None:
        calls.append(args)
        if len(calls) == 2:
            raise RuntimeError("power cut")
        real(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(kept.index, "index", failing)
    with pytest.raises(RuntimeError):
        kept.transcripts.save_reading(OWNER, page.id, page_reading(page.page, "changed", "lost"))
    monkeypatch.undo()
    assert kept.transcripts.lines(OWNER, page.id) == before
    assert [h.snippet for h in kept.index.search(OWNER, "changed")] == []
    assert kept.sessions.get(OWNER, session.id).title == "Notes"


def test_a_line_has_an_end(kept: Kept) -> None:
    _, page = kept.session_with_page()
    (line,) = kept.transcripts.save_reading(OWNER, page.id, page_reading(page.page, "short"))
    with pytest.raises(InvalidRequest):
        kept.transcripts.correct(OWNER, line.id, "x" * 4001)
