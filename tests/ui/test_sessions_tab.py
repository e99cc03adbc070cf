"""The Sessions tab: what each click shows, and that nobody gets at another's sessions by an id."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from tests.tasks.fakes import CountingReader, page_image, png, transcriber
from vlm_studio.core.errors import InvalidRequest, NotFound, UserInputError
from vlm_studio.core.sessions import LOCAL_OWNER as OWNER
from vlm_studio.core.settings import Settings
from vlm_studio.studio import Studio
from vlm_studio.ui.app import build_app
from vlm_studio.ui.shared import VISITOR_COOKIE, owner_of
from vlm_studio.ui.tabs import sessions_handlers as on
from vlm_studio.ui.tabs.sessions_handlers import View

NAMES = (
    "chosen undoable limit tag status undo list more hint actions head title tags live pin archive gone storage"
).split()


def shown(values: list[Any]) -> dict[str, Any]:
    assert len(values) == len(NAMES) == on.OUTPUTS
    return dict(zip(NAMES, values, strict=True))


def status(found: dict[str, Any]) -> str:
    return str(found["status"]["value"])


def kept(studio: Studio, title: str, text: str = "roses", owner: str = OWNER) -> str:
    session = studio.session_store.create(owner, "transcribe", title)
    studio.index.index("line", session.id, session.id + "-1", text)
    return session.id


@pytest.fixture(autouse=True)
def downloads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on, "get_upload_folder", lambda: str(tmp_path / "gradio"))


def test_a_found_line_is_shown_as_it_was_written(studio: Studio) -> None:
    studio.transcriber = transcriber(CountingReader("roses"))
    taken = studio.transcriptions.add_files(OWNER, "", [("notes.png", png(page_image(2)))])
    for _ in studio.transcriptions.start(OWNER, taken.session_id, "auto").follow(timeout=30):
        pass
    found = shown(on.render(studio, OWNER, View(query="roses")))
    assert found["list"].count('<img class="find" src="data:image/jpeg;base64,') == 2
    assert 'class="find"' not in shown(on.render(studio, OWNER, View()))["list"]


def test_a_session_is_found_renamed_tagged_pinned_deleted_and_brought_back(studio: Studio) -> None:
    first, second = kept(studio, "First"), kept(studio, "Second <b>", "tulips & <i>roses</i>")
    found = shown(on.render(studio, OWNER, View(query="roses")))
    assert "Found in 2 sessions" in status(found)
    assert "tulips &amp; &lt;i&gt;<mark>roses</mark>&lt;/i&gt;" in found["list"]
    assert "Second &lt;b&gt;" in found["list"] and not found["actions"]["visible"]

    found = shown(on.choose(studio, OWNER, View(), SimpleNamespace(session=first)))
    assert found["chosen"] == first and found["title"] == "First" and found["live"]["visible"]
    view = View(chosen=first)
    assert "“New name”" in status(shown(on.rename(studio, OWNER, view, " New name ")))
    assert shown(on.tag(studio, OWNER, view, "garden, 1931,, garden"))["tags"] == "1931, garden"
    found = shown(on.pin(studio, OWNER, view))
    assert found["pin"]["value"] == "Unpin" and found["list"].index("New name") < found["list"].index(
        "Second"
    )
    assert ("garden", "garden") in found["tag"]["choices"]

    found = shown(on.delete(studio, OWNER, view))
    assert found["chosen"] == "" and found["undoable"] == first and found["undo"]["visible"]
    assert "New name" not in found["list"]
    found = shown(on.undo(studio, OWNER, View(undoable=first)))
    assert found["chosen"] == first and not found["undo"]["visible"] and "New name" in found["list"]
    found = shown(on.archive(studio, OWNER, view))
    assert found["chosen"] == "" and "New name" not in found["list"]
    assert "New name" in shown(on.refilter(studio, OWNER, View(show="archived")))["list"]
    assert second in found["list"]


def test_what_was_deleted_is_listed_apart_and_can_go_for_good(studio: Studio) -> None:
    gone, other = kept(studio, "Gone"), kept(studio, "Other")
    for session_id in (gone, other):
        studio.sessions.delete(OWNER, session_id)
    view = View(show="deleted", chosen=gone, undoable=gone)
    found = shown(on.refilter(studio, OWNER, view))
    assert found["gone"]["visible"] and not found["live"]["visible"]
    found = shown(on.purge(studio, OWNER, view))
    assert gone not in found["list"] and found["undoable"] == ""
    found = shown(on.bring_back(studio, OWNER, replace(view, chosen=other)))
    assert other not in found["list"] and studio.sessions.get(OWNER, other).title == "Other"
    with pytest.raises(NotFound):
        on.undo(studio, OWNER, View(undoable=gone))


def test_more_are_shown_on_request(studio: Studio) -> None:
    for number in range(on.PAGE + 3):
        kept(studio, f"Number {number}")
    found = shown(on.arrive(studio, OWNER, View()))
    assert found["list"].count("<li") == on.PAGE and found["more"]["visible"]
    found = shown(on.show_more(studio, OWNER, View()))
    assert found["list"].count("<li") == on.PAGE + 3 and not found["more"]["visible"]


def test_an_export_is_imported_and_a_backup_waits_for_a_second_word(studio: Studio, tmp_path: Path) -> None:
    session_id = kept(studio, "Travels")
    path = on.export(studio, session_id, "zip", None)["value"]  # type: ignore[arg-type]
    assert Path(path).is_relative_to(tmp_path / "gradio")
    *found, file, confirm = on.take_in(studio, OWNER, View(), path)
    assert "One session was added" in status(shown(found)) and file is None and not confirm["visible"]
    assert studio.session_store.count(OWNER) == 2
    backup = on.backup(studio, None)["value"]  # type: ignore[arg-type]
    studio.sessions.rename(OWNER, session_id, "Changed")
    *found, _, confirm = on.take_in(studio, OWNER, View(), backup)
    assert confirm["visible"] and studio.sessions.get(OWNER, session_id).title == "Changed"
    on.restore(studio, OWNER, View(), backup)
    assert studio.sessions.get(OWNER, session_id).title == "Travels"
    (tmp_path / "bad.zip").write_text("bad")
    with pytest.raises(UserInputError):
        on.take_in(studio, OWNER, View(), str(tmp_path / "bad.zip"))


def test_coming_back_to_the_tab_lists_anew_and_lets_the_same_session_be_opened_again(studio: Studio) -> None:
    session_id = kept(studio, "Letter")
    assert on.open_(studio, session_id, None) == f"transcribe/{session_id}"  # type: ignore[arg-type]
    *found, opened = on.tab_chosen(studio, OWNER, View(), SimpleNamespace(value="Sessions"))
    assert "Letter" in shown(found)["list"] and opened == ""
    away = on.tab_chosen(studio, OWNER, View(), SimpleNamespace(value="Transcribe"))
    assert len(away) == on.OUTPUTS + 1 and all(value == gr.skip() for value in away)


class Visitor:
    username = None

    def __init__(self, letter: str) -> None:
        self.cookies = {VISITOR_COOKIE: letter * 40}


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Studio]:
    made = Studio(Settings(data_dir=tmp_path / "shared", offline=True, demo=True))
    yield made
    made.close()


def test_a_visitor_gets_at_nothing_of_another_by_its_id(shared: Studio) -> None:
    eve, victim = Visitor("e"), Visitor("v")
    theirs = owner_of(shared.settings, victim)  # type: ignore[arg-type]
    live, gone = kept(shared, "Secret", "password", theirs), kept(shared, "Secret too", "password", theirs)
    shared.sessions.delete(theirs, gone)

    def state(chosen: str, show: str = "current", undoable: str = "") -> tuple[Any, ...]:
        return ("", "", "", show, 50, chosen, undoable)

    refused: list[Callable[[], Any]] = [
        lambda: on.acts_with(on.rename)(shared, *state(live), "Mine", eve),
        lambda: on.acts_with(on.tag)(shared, *state(live), "mine", eve),
        lambda: on.acts(on.pin)(shared, *state(live), eve),
        lambda: on.acts(on.archive)(shared, *state(live), eve),
        lambda: on.acts(on.delete)(shared, *state(live), eve),
        lambda: on.acts(on.undo)(shared, *state("", undoable=gone), eve),
        lambda: on.acts(on.bring_back)(shared, *state(gone, "deleted"), eve),
        lambda: on.acts(on.purge)(shared, *state(gone, "deleted"), eve),
        lambda: on.open_(shared, live, eve),  # type: ignore[arg-type]
        *(lambda kind=kind: on.export(shared, live, kind, eve) for kind in ("zip", "html", "md", "json")),
    ]
    for attempt in refused:
        with pytest.raises(NotFound):
            attempt()
    for found in (
        on.acts(on.refilter)(shared, "password", "", "", "current", 50, live, "", eve),
        on.acts(on.refilter)(shared, *state(gone, "deleted"), eve),
        on.acts_on(on.choose)(shared, *state(""), eve, SimpleNamespace(session=live)),
    ):
        assert "Secret" not in str(found) and shown(found)["chosen"] == ""
    assert on.api_sessions(shared, "password", request=eve)["total"] == 0  # type: ignore[arg-type]
    assert on.api_sessions(shared, "password", request=victim)["total"] == 1  # type: ignore[arg-type]
    assert shared.sessions.get(theirs, live).title == "Secret"
    assert shared.sessions.get(theirs, gone, deleted=True).deleted_at is not None


def test_on_a_shared_app_nobody_takes_replaces_or_counts_everything(shared: Studio, tmp_path: Path) -> None:
    victim, eve = Visitor("v"), Visitor("e")
    owner = owner_of(shared.settings, victim)  # type: ignore[arg-type]
    kept(shared, "Secret", owner=owner)
    shared.sessions.backup(tmp_path / "all.zip")
    path = str(tmp_path / "all.zip")
    state = ("", "", "", "current", 50, "", "")
    for attempt in (
        lambda: on.backup(shared, eve),  # type: ignore[arg-type]
        lambda: on.acts(on.clean)(shared, *state, eve),
        lambda: on.acts_with(on.restore)(shared, *state, path, eve),
        lambda: on.acts_with(on.take_in)(shared, *state, path, eve),
        lambda: on.export_all(shared, "zip", eve),  # type: ignore[arg-type]
    ):
        with pytest.raises(InvalidRequest):
            attempt()
    assert shown(on.acts(on.arrive)(shared, *state, eve))["storage"] == ""
    nobody = SimpleNamespace(username=None, cookies={})
    with pytest.raises(NotFound):
        on.acts(on.refilter)(shared, *state, nobody)


def test_the_list_is_a_named_endpoint_and_the_rest_is_plumbing(studio: Studio) -> None:
    kept(studio, "Letter")
    found = on.api_sessions(studio, limit=10**9)
    assert found["total"] == 1 and found["sessions"][0]["title"] == "Letter"
    assert on.api_sessions(studio, show="nonsense", kind="nonsense")["total"] == 0
    demo = build_app(studio)
    public = {f.api_name for f in demo.fns.values() if f.api_visibility == "public"}
    assert "sessions" in public
    assert not {name for name in public if name and name in vars(on)} - {"sessions"}
