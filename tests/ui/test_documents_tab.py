"""The Documents tab: what each click shows, and that nobody gets at another's documents by an id."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from tests.tasks.documents_pdf import LEASE, encrypted
from tests.tasks.fakes import CountingReader, transcriber
from vlm_studio.core.answers import Citation, DocumentAnswer
from vlm_studio.core.asked import AskedTurn, KeptDocument
from vlm_studio.core.documents import Box
from vlm_studio.core.errors import InvalidRequest, NotFound
from vlm_studio.core.settings import Settings
from vlm_studio.studio import Studio
from vlm_studio.ui.shared import VISITOR_COOKIE
from vlm_studio.ui.tabs import documents_handlers as on
from vlm_studio.views.documents import document_list_html, marked, turns_html

NAMES = (
    "session chosen viewed intake workspace password notice documents turns stances used page caption timer locked"
).split()

NOTHING = ("", 0, "", 0)


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Studio]:
    made = Studio(Settings(data_dir=tmp_path / "data", offline=True, demo=True))
    made.__dict__["transcriber"] = transcriber(CountingReader("fake"))
    made.__dict__["similar"] = None
    yield made
    made.close()


def visitor(letter: str) -> Any:
    return SimpleNamespace(username=None, cookies={VISITOR_COOKIE: letter * 40}, query_params={})


def shown(values: list[Any]) -> dict[str, Any]:
    assert len(values) == len(NAMES) == on.OUTPUTS
    return dict(zip(NAMES, values, strict=True))


def test_a_file_is_dropped_asked_and_nobody_elses(shared: Studio, tmp_path: Path) -> None:
    path = tmp_path / "lease.pdf"
    path.write_bytes(LEASE)
    me, eve, nothing = visitor("m"), visitor("e"), ("", 0, "", 0)
    found = shown(on.add_files(shared, [str(path)], "", [], "", [], nothing, me))
    session = found["session"]
    owner = on.owner_of(shared.settings, me)
    shared.documents.settle(owner, session, 60)
    (document,) = shared.documents.documents(owner, session)
    first, *_, (*values, question) = on.ask(
        shared, "auto", "auto", "How much is the monthly rent?", None, session, [], nothing, me
    )
    found = shown(values)
    assert (
        first[-1].endswith(" How much is the monthly rent?")
        and question == gr.skip()
        and "<mark>875 pounds</mark>" in found["turns"]
        and found["used"]["visible"]
    )
    assert found["viewed"][:2] == (document.id, 0) and "page 1 of 2" in found["caption"]
    turn = found["viewed"][2]
    clicked = SimpleNamespace(act="stances", turn=turn, citation=0)
    assert "agrees" in shown(on.act_on_turn(shared, session, [], found["viewed"], me, clicked))["stances"]
    after = shown(on.page_after(shared, session, [], found["viewed"], me))
    assert "page 2 of 2" in after["caption"]
    act = SimpleNamespace(act="remove", document=document.id, on=False)
    for attempt in (
        lambda: list(on.ask(shared, "auto", "auto", "How much?", "", session, [], nothing, eve)),
        lambda: on.act_on_document(shared, session, [], nothing, eve, act),
        lambda: on.act_on_turn(shared, session, [], nothing, eve, clicked),
        lambda: on.ask_each(shared, "How much?", "", session, [], nothing, eve),
        lambda: on.open_session(shared, f"documents/{session}", "", eve),
        lambda: on.page_after(shared, session, [], found["viewed"], eve),
        lambda: on.refresh(shared, session, [], nothing, eve),
    ):
        with pytest.raises(NotFound):
            attempt()
    eve.query_params = {"session": session}
    assert "lease.pdf" not in str(on.open_from_address(shared, eve))


def dropped(
    studio: Studio, folder: Path, files: dict[str, bytes], before: dict[str, Any] | None = None
) -> dict[str, Any]:
    """What the tab shows after a drop; `before`: what it showed until then."""
    for name, data in files.items():
        (folder / name).write_bytes(data)
    session, locked = (before["session"], before["locked"]) if before else ("", [])
    paths = [str(folder / name) for name in files]
    found = shown(on.add_files(studio, paths, "", locked, session, [], NOTHING, visitor("m")))
    studio.documents.settle(on.owner_of(studio.settings, visitor("m")), found["session"], 60)
    return found


def names(studio: Studio, session: str) -> list[str]:
    owner = on.owner_of(studio.settings, visitor("m"))
    return [document.name for document in studio.documents.documents(owner, session)]


def test_a_password_opens_what_waits_for_it_and_nothing_again(shared: Studio, tmp_path: Path) -> None:
    files = {"a.pdf": LEASE, "b.pdf": encrypted(LEASE, "one"), "c.pdf": LEASE}
    first = dropped(shared, tmp_path, files)
    session = first["session"]
    assert names(shared, session) == ["a.pdf", "c.pdf"] and first["password"]["visible"]
    more = dropped(shared, tmp_path, {"d.pdf": encrypted(LEASE, "two"), "e.pdf": LEASE}, first)
    assert [Path(path).name for path in more["locked"]] == ["b.pdf", "d.pdf"]

    def unlocked(password: str, locked: list[str]) -> dict[str, Any]:
        return shown(on.unlock(shared, password, locked, session, [], NOTHING, visitor("m")))

    wrong = unlocked("zero", more["locked"])
    assert wrong["locked"] == more["locked"] and wrong["password"] == gr.update(visible=True)
    some = unlocked("two", more["locked"])
    assert [Path(path).name for path in some["locked"]] == ["b.pdf"] and "b.pdf" in some["notice"]
    done = unlocked("one", some["locked"])
    assert done["locked"] == [] and done["password"] == gr.update(value="", visible=False)
    assert names(shared, session) == ["a.pdf", "c.pdf", "e.pdf", "d.pdf", "b.pdf"]


def test_what_is_done_meanwhile_leaves_the_password_field_alone(shared: Studio, tmp_path: Path) -> None:
    found = dropped(shared, tmp_path, {"a.pdf": LEASE, "b.pdf": encrypted(LEASE, "one")})
    after = shown(on.page_after(shared, found["session"], [], found["viewed"], visitor("m")))
    assert after["password"] == after["locked"] == gr.skip()
    opened = shown(on.open_session(shared, f"documents/{found['session']}", "", visitor("m")))
    assert opened["locked"] == [] and opened["password"]["value"] == ""


def test_a_question_that_comes_too_early_is_told_so_and_stays(shared: Studio, tmp_path: Path) -> None:
    session = dropped(shared, tmp_path, {"a.pdf": LEASE})["session"]

    def asking(question: str, pages: str = "") -> Iterator[list[Any]]:
        return on.ask(shared, "auto", "auto", question, pages, session, [], NOTHING, visitor("m"))

    first = asking("How much is the monthly rent?")
    assert next(first)[-1].partition(" ")[2] == "How much is the monthly rent?"
    with pytest.raises(InvalidRequest, match="still being written"):
        next(asking("Who is the caretaker?"))
    assert all(values[-1] == gr.skip() for values in first)
    for refused in (asking(" "), asking("Who is the caretaker?", "9")):
        with pytest.raises(InvalidRequest):
            next(refused)
    left = asking("Who is the caretaker?")
    next(left)
    left.close()  # type: ignore[attr-defined]
    assert "Fergus Baird" in str(list(asking("Who is the caretaker?"))[-1])


def test_a_question_that_fails_after_it_was_taken_is_given_back(shared: Studio, tmp_path: Path) -> None:
    found = dropped(shared, tmp_path, {"a.pdf": LEASE})
    owner, session = on.owner_of(shared.settings, visitor("m")), found["session"]
    going = on.ask(
        shared, "auto", "auto", "Who is <b>she</b>?", "", session, [], found["viewed"], visitor("m")
    )
    next(going)
    shared.documents.remove(owner, found["viewed"][0])
    (*values, question) = next(going)
    assert "Who is &lt;b&gt;she&lt;/b&gt;?" in shown(values)["notice"] and question == gr.skip()
    with pytest.raises(InvalidRequest):
        next(going)


def test_new_documents_begin_with_nothing(shared: Studio) -> None:
    (*values, pages, table, download) = on.start_anew(shared)
    assert shown(values)["locked"] == [] and shown(values)["session"] == ""
    assert pages == table == "" and download == gr.update(value=None, visible=False)


def test_nothing_that_a_document_says_becomes_markup() -> None:
    evil = "<img src=x onerror=alert(1)> ${alert(2)}"
    citation = Citation(evil, "d", 0, evil, (Box(1, 1, 2, 2),))
    turn = AskedTurn("t", evil, evil + "?", DocumentAnswer(evil, True, (citation,), 0.1), (), evil, "now")
    document = KeptDocument("d", "s", "o", evil, "0" * 64, "application/pdf", 2, 1, 0, "failed", evil)
    for html in (turns_html([turn], ("t", 0)), document_list_html([document], ["d"], "d")):
        assert "<img" not in html and "&lt;img" in html


def test_a_mark_leaves_the_ink_and_the_rest_of_the_page() -> None:
    from PIL import Image

    page = Image.new("RGB", (200, 100), "white")
    page.paste((0, 0, 0), (50, 40, 60, 50))
    done = marked(page, [Box(40, 30, 80, 60)])
    assert done.getpixel((45, 35)) != (255, 255, 255) and done.getpixel((150, 80)) == (255, 255, 255)
    assert sum(done.getpixel((55, 45))) < 200
