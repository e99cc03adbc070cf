"""The Documents tab: what each click shows, and that nobody gets at another's documents by an id."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.tasks.documents_pdf import LEASE
from tests.tasks.fakes import CountingReader, transcriber
from vlm_studio.core.answers import Citation, DocumentAnswer
from vlm_studio.core.asked import AskedTurn, KeptDocument
from vlm_studio.core.documents import Box
from vlm_studio.core.errors import NotFound
from vlm_studio.core.settings import Settings
from vlm_studio.studio import Studio
from vlm_studio.ui.shared import VISITOR_COOKIE
from vlm_studio.ui.tabs import documents_handlers as on
from vlm_studio.views.documents import document_list_html, marked, turns_html

NAMES = (
    "session chosen viewed intake workspace password notice documents turns stances used page caption timer"
).split()


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
    found = shown(on.add_files(shared, [str(path)], "", "", [], nothing, me))
    session = found["session"]
    owner = on.owner_of(shared.settings, me)
    shared.documents.settle(owner, session, 60)
    (document,) = shared.documents.documents(owner, session)
    (*values, question) = list(
        on.ask(shared, "auto", "auto", "How much is the monthly rent?", None, session, [], nothing, me)
    )[-1]
    found = shown(values)
    assert question == "" and "<mark>875 pounds</mark>" in found["turns"] and found["used"]["visible"]
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
