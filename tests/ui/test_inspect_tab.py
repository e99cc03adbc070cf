"""The Inspect tab without a browser: what each click shows, and that nothing of another visitor is shown."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest
from PIL import Image

from tests.tasks.fakes import RowFinder
from tests.tasks.test_inspect import InkEngine, LeftTracer, inked_page
from vlm_studio.core.conversation import Variant
from vlm_studio.core.errors import InvalidRequest, NotFound
from vlm_studio.core.sessions import LOCAL_OWNER
from vlm_studio.core.settings import Limits
from vlm_studio.studio import Studio
from vlm_studio.tasks.inspect import Inspections
from vlm_studio.ui.app import build_app
from vlm_studio.ui.tabs import inspect_handlers as on
from vlm_studio.ui.tabs import inspect_walk as walking
from vlm_studio.ui.tabs.inspect_api import api_inspect
from vlm_studio.ui.tabs.inspect_render import NAMES, View

ASKED: Any = SimpleNamespace(username=None, cookies={}, query_params={})


@pytest.fixture
def inspecting(studio: Studio) -> Studio:
    """The studio with an engine that says "Call the dentist"."""
    engine = InkEngine()
    made = studio.inspections
    studio.__dict__["inspections"] = Inspections(
        lambda: (engine, LeftTracer()),  # type: ignore[arg-type, return-value]
        RowFinder,
        made.sessions,
        made.rows,
        made.blobs,
        studio.live,
        Limits(),
        lambda _: Variant("ink"),
    )
    return studio


def shown(values: list[Any]) -> dict[str, Any]:
    assert len(values) == len(NAMES)
    return dict(zip(NAMES, values, strict=True))


def last(events: Iterator[list[Any]]) -> dict[str, Any]:
    *_, values = events
    return shown(values)


def page_file(tmp_path: Path) -> str:
    path = tmp_path / "notes.png"
    inked_page().save(path)
    return str(path)


def answered(studio: Studio, tmp_path: Path) -> View:
    view = last(on.open_file(studio, page_file(tmp_path), View(), ASKED))["state"]
    found = last(on.ask(studio, view, "", False, ASKED))
    assert isinstance(found["state"], View)
    return found["state"]


def event(**given: Any) -> Any:
    return SimpleNamespace(**given)


def test_a_page_opens_with_its_lines_and_what_would_be_fed(inspecting: Studio, tmp_path: Path) -> None:
    found = last(on.open_file(inspecting, page_file(tmp_path), View(), ASKED))
    assert found["stage"].count("data-line") == 2 and 'class="chosen"' in found["stage"]
    assert "as nano gets it" in found["fed"] and "splitting on" in found["fed"]
    assert found["words"] == "" and "Ask about a line first" in found["close_ups"]


def test_asking_shows_words_map_tokens_and_a_past_that_opens_again(
    inspecting: Studio, tmp_path: Path
) -> None:
    view = last(on.open_file(inspecting, page_file(tmp_path), View(), ASKED))["state"]
    found = last(on.ask(inspecting, view, "", False, ASKED))
    assert found["words"].count("<button") == 6 and ">dentist</button>" in found["words"]
    assert 'class="heat"' in found["stage"] and 'class="heat"' in found["close_ups"]
    assert found["tokens"].count("data-token") == 8 and "Atlas" in found["atlas"]
    assert "was read from the picture" in found["facts"]
    assert found["layer"]["maximum"] == 3 and found["session_id"] == view.session_id
    again = last(on.open_session(inspecting, f"inspect/{view.session_id}", ASKED))
    assert again["words"] == found["words"] and again["state"] == found["state"]
    asked = SimpleNamespace(username=None, cookies={}, query_params={"inspect": view.session_id})
    assert last(on.open_from_address(inspecting, asked))["words"] == found["words"]  # type: ignore[arg-type]


def test_words_methods_layers_tokens_and_regions(inspecting: Studio, tmp_path: Path) -> None:
    view = answered(inspecting, tmp_path)
    found = shown(on.choose_word(inspecting, view, ASKED, event(of="answer", word=2)))
    assert found["state"].word == 2 and "dentist" in found["facts"] and found["fed"] == gr.skip()
    found = shown(on.choose_word(inspecting, view, ASKED, event(of="question", word=0)))
    assert found["state"].of == "question" and 'class="heat"' in found["stage"]
    found = shown(on.choose_method(inspecting, view, "gradient", ASKED))
    assert "one pass back" in found["facts"]
    assert shown(on.choose_layer(inspecting, view, 2.0, ASKED))["state"].layer == 2
    found = shown(on.on_stage(inspecting, view, ASKED, event(region=[0.08, 0.03, 0.14, 0.12])))
    assert 'class="region"' in found["stage"] and "from-region" in found["words"]
    found = shown(on.on_stage(inspecting, view, ASKED, event(point=[0.5, 0.1], line=1)))
    assert found["state"].line == 1 and "Line 2, as nano gets it" in found["fed"]
    found = shown(on.choose_token(inspecting, view, ASKED, event(token=3)))
    assert "Token 4" in found["token_view"] and found["state"].token == 3
    assert shown(on.choose_token(inspecting, found["state"], ASKED, event(token=3)))["state"].token == -1
    found = shown(on.on_crop(inspecting, view, ASKED, event(region=[0.0, 0.0, 0.1, 1.0])))
    assert "kept by tokens 1" in found["token_view"] and 'class="marked"' in found["tokens"]


def test_a_map_is_tested_and_taken_away(inspecting: Studio, tmp_path: Path) -> None:
    view = answered(inspecting, tmp_path)
    *_, verdict = on.check(
        inspecting, View(**{**_values(view), "word": 0, "method": "rollout"}), False, ASKED
    )
    assert "Believe it: hiding the hot area" in verdict and verdict.count("<figure>") == 5
    with pytest.raises(InvalidRequest):
        list(on.check(inspecting, View(view.session_id), False, ASKED))
    png = on.export(inspecting, view, "png", ASKED)["value"]
    assert Image.open(png).height > 400
    svg = Path(on.export(inspecting, view, "svg", ASKED)["value"]).read_text("utf-8")
    assert svg.startswith("<svg") and "Where ink looked on notes.png" in svg


def _values(view: View) -> dict[str, Any]:
    return {name: getattr(view, name) for name in View.__dataclass_fields__}


def test_the_walk_tells_asks_reveals_and_counts(inspecting: Studio, tmp_path: Path) -> None:
    view = answered(inspecting, tmp_path)
    place, body, choice, *_ = walking.start(inspecting, view, walking.Place(), ASKED)
    for number in range(5):
        assert f"{number + 1}. " in body and len(choice["choices"]) == 3
        with pytest.raises(InvalidRequest):
            list(walking.reveal(inspecting, view, place, None, ASKED))
        *_, (place, body, *_) = walking.reveal(inspecting, view, place, 1, ASKED)
        assert "You said" in body and place.shown
        place, body, choice, *_ = walking.go_on(inspecting, view, place, ASKED)
    assert "You guessed" in body and 2 <= place.right <= 4


def test_the_endpoint_gives_what_the_command_prints(inspecting: Studio, tmp_path: Path) -> None:
    file = gr.FileData(path=page_file(tmp_path), orig_name="notes.png")
    found = api_inspect(inspecting, file, line=2, method="rollout", check_word=1)
    assert found["answer"] == "Call the dentist" and found["words"][0]["source"] == "read"
    assert found["words"][0]["honesty"]["better_than_random"] is True
    assert found["fed"][0]["box"][1] > 40 and found["fed"][0]["pooled_tokens"] == 8
    with pytest.raises(InvalidRequest):
        api_inspect(inspecting, file, method="magic")


def test_a_visitor_sees_nothing_of_another(inspecting: Studio, tmp_path: Path) -> None:
    view = answered(inspecting, tmp_path)
    eve: Any = SimpleNamespace(username="eve", cookies={}, query_params={"inspect": view.session_id})
    for attempt in (
        lambda: on.choose_word(inspecting, view, eve, event(of="answer", word=0)),
        lambda: on.on_stage(inspecting, view, eve, event(point=[0, 0], line=0)),
        lambda: on.choose_token(inspecting, view, eve, event(token=0)),
        lambda: list(on.check(inspecting, view, False, eve)),
        lambda: on.export(inspecting, view, "png", eve),
        lambda: list(on.ask(inspecting, view, "", False, eve)),
        lambda: walking.start(inspecting, view, walking.Place(), eve),
        lambda: list(on.open_session(inspecting, f"inspect/{view.session_id}", eve)),
    ):
        with pytest.raises(NotFound):
            attempt()
    assert last(on.open_from_address(inspecting, eve))["state"] == View()
    assert on.recent_html(inspecting, "user:eve") == "" and LOCAL_OWNER != "user:eve"


def test_only_the_named_endpoint_is_public(studio: Studio) -> None:
    app = build_app(studio)
    names = app.get_api_info()["named_endpoints"]
    assert "/inspect" in names and not any(name.startswith(("/choose_", "/on_", "/check")) for name in names)
