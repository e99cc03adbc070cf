"""The Chat tab: what each click shows, and that nothing is believed that a browser sends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from tests.tasks.chat_fakes import ScriptedEngine
from tests.tasks.fakes import CountingReader, page_image, png, transcriber
from vlm_studio.core.errors import InvalidRequest, NotFound
from vlm_studio.core.settings import Settings
from vlm_studio.studio import Studio
from vlm_studio.tasks.chat_answer import Answerer
from vlm_studio.ui.app import build_app
from vlm_studio.ui.shared import VISITOR_COOKIE, owner_of
from vlm_studio.ui.tabs import chat_handlers as on

OPTIONS = ("auto", "auto", "auto", "", 0.0, 1.0, 1.0, 64, 0)
SHOWN = "session title messages live examples tray send stop notice".split()
COMPOSED = "text editing unedit viewer picture hint viewed corner draft".split()


class Visitor:
    username = None
    query_params: dict[str, str] = {}  # noqa: RUF012

    def __init__(self, letter: str) -> None:
        self.cookies = {VISITOR_COOKIE: letter * 40}


ANNA, EVE = Visitor("a"), Visitor("e")


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[Studio]:
    made = Studio(Settings(data_dir=tmp_path / "data", offline=True, demo=True))
    engine = ScriptedEngine()
    made.__dict__["answerer"] = Answerer(
        lambda _: engine.card, lambda _: engine, transcriber(CountingReader("fast")), lambda _q, _i: ()
    )
    yield made
    made.close()


def shown(values: list[Any]) -> dict[str, Any]:
    names = [*SHOWN, *COMPOSED, "extra"]
    return dict(zip(names, values, strict=False))


def attached(studio: Studio, tmp_path: Path, *lines: int, session: str = "") -> str:
    paths = []
    for number, count in enumerate(lines):
        path = tmp_path / f"<b>{number}.png"
        path.write_bytes(png(page_image(count, width=300 + number)))
        paths.append(str(path))
    found = shown(on.attach(studio, session, paths, ANNA))  # type: ignore[arg-type]
    assert (
        found["tray"].count("<li") == len(lines)
        and "&lt;b&gt;" in found["tray"]
        and "<b>" not in found["tray"]
    )
    return str(found["session"])


def say(studio: Studio, session: str, text: str, editing: str = "", draft: str = "") -> dict[str, Any]:
    """Send and follow to the end."""
    begun = shown(on.send(studio, session, text, editing, draft, *OPTIONS, ANNA))  # type: ignore[arg-type]
    assert begun["text"] == draft and begun["editing"] == ""
    *_, last = on.watch(studio, begun["session"], ANNA)  # type: ignore[arg-type]
    return shown(last)


def click(
    studio: Studio,
    session: str,
    act: str,
    turn: str = "",
    visitor: Any = ANNA,
    written: Any = ("", "", ""),
    **more: int,
) -> dict[str, Any]:
    """`written`: what stands in the composer, the turn being edited, and the draft that waits."""
    event = SimpleNamespace(act=act, turn=turn, **{"number": 0, "place": -1, **more})
    return shown(on.act(studio, session, *written, *OPTIONS, visitor, event))  # type: ignore[arg-type]


def turns(studio: Studio, session: str) -> list[str]:
    return [t.id for t in studio.chats.path(owner_of(studio.settings, ANNA), session)]  # type: ignore[arg-type]


def test_a_message_shows_its_parts_in_order_and_all_text_escaped(studio: Studio, tmp_path: Path) -> None:
    session = attached(studio, tmp_path, 1, 2)
    found = say(studio, session, "Is <image 2> <script>x</script> of <image 1>? ${alert(1)} {{x}}")
    html = found["messages"]
    assert "&lt;script&gt;" in html and "<script>" not in html
    order = [
        html.index(part)
        for part in ("Is ", 'data-number="2"', "&lt;script&gt;", 'data-number="1"', "${alert")
    ]
    assert order == sorted(order)
    assert "so be it 1" in html and found["live"] == "" and found["tray"] == ""
    assert found["title"].startswith("<h2>Is &lt;script") or "&lt;script" in found["title"]
    assert found["stop"]["visible"] is False and found["send"]["visible"] is True


def test_retry_edit_and_versions(studio: Studio) -> None:
    session = say(studio, "", "one")["session"]
    asked, answer = turns(studio, session)
    click(studio, session, "retry", answer)
    *_, last = on.watch(studio, session, ANNA)  # type: ignore[arg-type]
    assert "2 / 2" in shown(last)["messages"] and "so be it 2" in shown(last)["messages"]
    assert "so be it 1" in click(studio, session, "show", answer)["messages"]
    found = click(studio, session, "edit", asked)
    assert found["text"] == "one" and found["editing"] == asked and found["unedit"]["visible"]
    html = say(studio, session, "uno", editing=asked)["messages"]
    assert "uno" in html and ">one<" not in html and "2 / 2" in html


def test_a_draft_waits_while_a_message_is_edited(studio: Studio) -> None:
    session = say(studio, "", "one")["session"]
    first = turns(studio, session)[0]
    found = click(studio, session, "edit", first, written=("half a thou", "", ""))
    assert (found["text"], found["editing"], found["draft"]) == ("one", first, "half a thou")
    again = click(studio, session, "edit", first, written=("one more", first, "half a thou"))
    assert again["draft"] == "half a thou"
    left = dict(zip(COMPOSED, on.unedit(studio, "half a thou"), strict=True))
    assert (left["text"], left["editing"], left["draft"]) == ("half a thou", "", "")
    say(studio, session, "one more", editing=first, draft="half a thou")  # it comes back


def test_a_draft_goes_along_to_another_chat(studio: Studio) -> None:
    session = say(studio, "", "one")["session"]
    for values in (
        on.start_anew(studio, "t1", "half", ANNA),  # type: ignore[arg-type]
        on.open_session(studio, f"chat/{session}", "", "t1", "half", ANNA),  # type: ignore[arg-type]
    ):
        assert (shown(values)["text"], shown(values)["editing"]) == ("half", "")
    untouched = shown(on.start_anew(studio, "", "", ANNA))["text"]  # type: ignore[arg-type]
    assert untouched == gr.skip()


def test_a_lost_answer_can_be_made_now(studio: Studio) -> None:
    from vlm_studio.core.chat import Draft
    from vlm_studio.core.conversation import TextPart, Turn

    owner = owner_of(studio.settings, ANNA)  # type: ignore[arg-type]
    session = studio.chats.create(owner).id
    asked = studio.chat_store.add_turn(owner, session, Draft(None, Turn("user", (TextPart("one"),))))
    found = shown(on.render(studio, owner, session))
    assert "ended before this was answered" in found["live"] and asked.id in found["live"]
    click(studio, session, "retry", asked.id)
    *_, last = on.watch(studio, session, ANNA)  # type: ignore[arg-type]
    assert "so be it 1" in shown(last)["messages"] and shown(last)["live"] == ""


def test_an_image_is_looked_at_and_a_part_of_it_joins_the_message(studio: Studio, tmp_path: Path) -> None:
    session = attached(studio, tmp_path, 1)
    event = SimpleNamespace(act="view", number=1)
    found = shown(on.act_on_tray(studio, session, ANNA, event))  # type: ignore[arg-type]
    assert found["viewer"]["visible"] and found["viewed"] == 1 and found["picture"].size == (300, 400)
    first = shown(on.mark_region(studio, session, 1, (), ANNA, SimpleNamespace(index=(10, 20))))  # type: ignore[arg-type]
    assert first["corner"] == (10, 20)
    corner = first["corner"]
    second = shown(on.mark_region(studio, session, 1, corner, ANNA, SimpleNamespace(index=(110, 80))))  # type: ignore[arg-type]
    assert "&lt;image 2&gt;" in second["notice"] and second["tray"].count("<li") == 2
    event = SimpleNamespace(act="remove", number=1)
    assert shown(on.act_on_tray(studio, session, ANNA, event))["tray"].count("<li") == 1  # type: ignore[arg-type]


def test_the_address_opens_a_chat_and_only_for_its_owner(studio: Studio) -> None:
    session = say(studio, "", "one")["session"]
    mine = SimpleNamespace(username=None, cookies=ANNA.cookies, query_params={"session": session})
    found = shown(on.open_from_address(studio, mine))  # type: ignore[arg-type]
    assert found["session"] == session and found["extra"] == f"chat/{session}"
    theirs = SimpleNamespace(username=None, cookies=EVE.cookies, query_params={"session": session})
    assert session not in str(on.open_from_address(studio, theirs))  # type: ignore[arg-type]
    assert shown(on.open_session(studio, f"chat/{session}", "", "", "", ANNA))["session"] == session  # type: ignore[arg-type]
    assert session not in str(on.open_session(studio, f"transcribe/{session}", "", "", "", ANNA))  # type: ignore[arg-type]


def test_another_visitor_gets_at_nothing_by_its_id(studio: Studio, tmp_path: Path) -> None:
    session = attached(studio, tmp_path, 1)
    say(studio, session, "one")
    asked, answer = turns(studio, session)
    path = tmp_path / "eve.png"
    path.write_bytes(png(page_image(1)))
    attempts: list[Callable[[], Any]] = [
        lambda: on.send(studio, session, "x", "", "", *OPTIONS, EVE),  # type: ignore[arg-type]
        lambda: on.send(studio, "", "x", asked, "", *OPTIONS, EVE),  # type: ignore[arg-type]
        lambda: list(on.watch(studio, session, EVE)),  # type: ignore[arg-type]
        lambda: on.attach(studio, session, [str(path)], EVE),  # type: ignore[arg-type]
        lambda: on.open_session(studio, f"chat/{session}", "", "", "", EVE),  # type: ignore[arg-type]
        lambda: on.mark_region(studio, session, 1, (), EVE, SimpleNamespace(index=(1, 1))),  # type: ignore[arg-type]
        lambda: on.act_on_tray(studio, session, EVE, SimpleNamespace(act="view", number=1)),  # type: ignore[arg-type]
        lambda: on.api_chat(studio, "x", session=session, request=EVE),  # type: ignore[arg-type]
        *(
            lambda act=act, turn=turn: click(studio, session, act, turn, EVE)
            for act, turn in (("retry", answer), ("show", answer), ("edit", asked), ("evidence", answer))
        ),
        lambda: click(studio, session, "view", visitor=EVE, number=1),
        lambda: studio.sessions.blobs.read(owner_of(studio.settings, EVE), first_image(studio, session)),  # type: ignore[arg-type]
    ]
    for attempt in attempts:
        with pytest.raises(NotFound):
            attempt()
    on.stop(studio, session, EVE)  # type: ignore[arg-type]
    assert len(turns(studio, session)) == 2
    nobody = SimpleNamespace(username=None, cookies={}, session_hash=session)
    with pytest.raises(NotFound):
        on.send(studio, session, "x", "", "", *OPTIONS, nobody)  # type: ignore[arg-type]


def first_image(studio: Studio, session: str) -> str:
    return studio.chats.images(owner_of(studio.settings, ANNA), session)[0].sha256  # type: ignore[arg-type]


def test_evidence_is_offered_from_gradios_own_folder(
    studio: Studio, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(on, "download_folder", lambda: tmp_path)
    session = say(studio, "", "one")["session"]
    found = click(studio, session, "evidence", turns(studio, session)[1])
    assert Path(found["extra"]["value"]).parent == tmp_path and found["extra"]["visible"]


def test_the_api_answers_and_goes_on_with_a_session(studio: Studio, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png(page_image(1)))
    image = SimpleNamespace(path=str(path), orig_name="letter.png")
    first = on.api_chat(studio, "What is <image 1>?", [image], request=ANNA)  # type: ignore[arg-type, list-item]
    assert first["text"] == "so be it 1" and first["status"] == "done" and first["problems"] == []
    second = on.api_chat(studio, "And now?", session=first["session"], seed=3, request=ANNA)  # type: ignore[arg-type]
    assert second["session"] == first["session"] and second["params"]["seed"] == 3
    with pytest.raises(InvalidRequest):
        on.api_chat(studio, "<image 9>?", session=first["session"], request=ANNA)  # type: ignore[arg-type]


def test_only_the_named_endpoint_is_public(studio: Studio) -> None:
    demo = build_app(studio)
    public = {f.api_name for f in demo.fns.values() if f.api_visibility == "public"}
    assert "chat" in public
    assert not {name for name in public if name and name in vars(on)}
    presets = on.take_preset(studio, "Short")
    assert presets[0].startswith("Answer in one") and len(presets) == 5
