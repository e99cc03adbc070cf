"""The Teach tab: what each click shows, whose things they are, and that nothing typed is markup."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from vlm_studio.adapt.job import add_point
from vlm_studio.core.adapters import Adapter, AdapterFacts, Interval, TrainPoint, TrainSettings, Verdict
from vlm_studio.core.cancel import CancelToken
from vlm_studio.core.documents import Asset, Box, Line, LineReading, Page, PageReading, ReadLine
from vlm_studio.core.errors import GenerationFailed, InvalidRequest, NotFound
from vlm_studio.core.sessions import LOCAL_OWNER as OWNER
from vlm_studio.studio import Studio
from vlm_studio.tasks.adapt import Judging
from vlm_studio.ui.app import build_app
from vlm_studio.ui.tabs import adapt_handlers as on
from vlm_studio.ui.tabs import compare_handlers, transcribe_handlers
from vlm_studio.ui.tabs.adapt_handlers import View
from vlm_studio.views.adapt import adapter_list_html, training_html

NAMES = (
    "training chosen advice lines next train controls pause go_on stop discard status curve verdict adapters card "
    "card_verdict use stop_using compare new_name notes delete delete_now keep_it"
).split()
EVIL = "<img src=x onerror=alert(1)>"
LINE_ID = 7
"""Where `transcribe_render.render` says which line is chosen."""
REQUEST: Any = SimpleNamespace(username=None, cookies={})
VERDICT = Verdict(True, "Better.", 20, 2, 0.2, 0.1, 0.5, 0.4, Interval(-0.1, -0.2, -0.01), 0.1, 0.1)


def shown(values: list[Any]) -> dict[str, Any]:
    assert len(values) == len(NAMES) == on.OUTPUTS
    return dict(zip(NAMES, values, strict=True))


def corrected(studio: Studio, shade: int, count: int, text: str = EVIL, keep: int = 0) -> list[str]:
    """A page with so many corrected lines, and `keep` more that nobody has put right; ids of all lines."""
    buffer = io.BytesIO()
    Image.new("L", (200, 30 * (count + keep)), shade).save(buffer, "PNG")
    sha = studio.blobs.put(buffer.getvalue(), "image/png")
    page = Page(sha, 0, sha, 200, 30 * (count + keep))
    session = studio.session_store.create(OWNER, "transcribe", EVIL)
    (kept,) = studio.session_store.add_asset(OWNER, session.id, Asset(sha, "image/png", "p.png", 9), [page])
    lines = tuple(
        ReadLine(Line(Box(5, 30 * n + 3, 190, 30 * n + 25)), LineReading(EVIL, 0.4, (), "nano"))
        for n in range(count + keep)
    )
    rows = studio.transcripts.save_reading(OWNER, kept.id, PageReading(page, lines, "nano", 0.1))
    for row in rows[:count]:
        studio.transcripts.correct(OWNER, row.id, text)
    return [row.id for row in rows]


def adapter(studio: Studio, verdict: Verdict | None = VERDICT, owner: str = OWNER) -> Adapter:
    facts = AdapterFacts("hand", "nano", studio.hand_model.sha256, 8, 1000, 20, "1")
    return studio.adapter_store.add(owner, EVIL, facts, {}, b"weights", "trained", verdict)


def test_an_empty_app_says_what_to_do(studio: Studio) -> None:
    found = shown(on.render(studio, OWNER, View()))
    assert "Put a line right" in found["lines"]
    assert not found["train"]["interactive"]
    assert not found["controls"]["visible"]
    assert not found["card"]["visible"]


def test_lines_are_listed_left_out_and_taken_in_again(studio: Studio) -> None:
    first = corrected(studio, 200, 12, keep=1)[0]
    corrected(studio, 90, 6)
    found = shown(on.render(studio, OWNER, View()))
    assert found["train"]["interactive"]
    assert EVIL not in found["lines"]
    assert "&lt;img src=x" in found["lines"]
    assert "data:image/jpeg" in found["lines"]
    assert "kept back to test on · p.png · put right by you, 20" in found["lines"]
    assert found["next"].count("data-line") == 1
    assert EVIL not in found["next"]
    assert "p.png: about" in found["next"]
    click: Any = SimpleNamespace(line=first)
    assert "left out" in shown(on.toggle_line(studio, "", "", REQUEST, click))["lines"]
    assert "left out" not in shown(on.toggle_line(studio, "", "", REQUEST, click))["lines"]
    with pytest.raises(NotFound):
        on.toggle_line(studio, "", "", REQUEST, SimpleNamespace(line="nobody's"))  # type: ignore[arg-type]


def test_a_line_to_correct_opens_its_session(studio: Studio) -> None:
    corrected(studio, 200, 0, keep=2)
    line = studio.adapting.next_lines(OWNER)[0].line
    event: Any = SimpleNamespace(line=f"{line.session_id}/{line.line_id}")
    opened = on.open_line(studio, REQUEST, event)
    assert opened.startswith(f"transcribe/{line.session_id}/{line.line_id}/")
    assert on.open_line(studio, REQUEST, event) != opened  # or choosing it again would open nothing
    *_, found = transcribe_handlers.open_session(studio, opened, "", "", "", REQUEST)
    assert found[LINE_ID] == line.line_id


def test_adapters_are_chosen_used_renamed_and_deleted(studio: Studio) -> None:
    mine = adapter(studio)
    found = shown(on.choose(studio, "", "", REQUEST, SimpleNamespace(session=mine.id)))  # type: ignore[arg-type]
    assert found["card"]["visible"]
    assert EVIL not in found["adapters"]
    assert "20.0%" in found["card_verdict"]
    found = shown(on.use(studio, "", mine.id, REQUEST))
    assert "in use" in found["adapters"]
    assert found["stop_using"]["visible"]
    assert "read with it from now on" in found["card_verdict"]
    assert studio.adapters.reader_name(OWNER, "", "auto").endswith(mine.id)
    assert "in use" not in shown(on.stop_using(studio, "", mine.id, REQUEST))["adapters"]
    assert shown(on.rename(studio, "", mine.id, "Ann", "by lamplight", REQUEST))["new_name"] == "Ann"
    assert "No adapter yet" in shown(on.delete(studio, "", mine.id, REQUEST))["adapters"]


def test_an_adapter_of_other_weights_is_not_said_to_be_in_use(studio: Studio) -> None:
    mine = adapter(studio)
    assert "in use" in adapter_list_html([(replace(mine, active=True), True)], "")
    html = adapter_list_html([(replace(mine, active=True), False)], "")
    assert "in use" not in html
    assert "made for other weights, not used" in html


def test_what_the_reader_would_refuse_is_not_offered(studio: Studio) -> None:
    refused = adapter(studio, replace(VERDICT, passed=False, why="No better."))
    facts = replace(refused.facts, base_sha256="of other weights")
    other = studio.adapter_store.add(OWNER, "Old", facts, {}, b"old weights", "trained", VERDICT)
    large = replace(refused.facts, kind="engine", base="idefics2-8b")
    hub = studio.adapter_store.add(OWNER, "Large", large, {}, b"large weights", "trained", None)

    def card(one: Adapter) -> dict[str, Any]:
        return shown(on.render(studio, OWNER, View(chosen=one.id)))

    assert not card(refused)["use"]["visible"]
    assert card(refused)["compare"]["visible"]
    for one, told in ((other, "other weights"), (hub, "learned by idefics2-8b")):
        assert not card(one)["use"]["visible"]
        assert not card(one)["compare"]["visible"]
        assert told in card(one)["card_verdict"]
    assert "for idefics2-8b" in card(hub)["adapters"]
    assert card(adapter(studio))["use"]["visible"]


def test_a_training_that_failed_offers_to_go_on_while_somebody_looks_on(studio: Studio) -> None:
    run = studio.adapter_store.add_training(OWNER, "Ann", TrainSettings(), 9, 9, 1)

    watched = threading.Event()

    def fails(cancel: CancelToken) -> Iterator[object]:
        assert watched.wait(5)
        studio.adapter_store.set_training(OWNER, run.id, "failed", "The training ended by itself.")
        raise GenerationFailed("The training ended by itself.")
        yield

    studio.adapting.live.start(run.id, OWNER, fails)
    looking = on._follow(studio, OWNER, View(run.id))
    next(looking)
    watched.set()
    *_, last = looking
    found = shown(last)
    assert "Ann: The training ended by itself." in found["status"]["value"]
    assert found["go_on"]["visible"]
    assert not found["stop"]["visible"]
    found = shown(on.discard(studio, run.id, "", REQUEST))
    assert not found["controls"]["visible"]
    assert not found["status"]["visible"]


def test_a_training_that_waits_can_be_reached_when_another_is_over(studio: Studio) -> None:
    rows = studio.adapter_store
    waits, over = (rows.add_training(OWNER, name, TrainSettings(), 9, 9, 1) for name in ("Ann", "Bo"))
    rows.set_training(OWNER, waits.id, "cancelled", "Stopped.")
    rows.set_training(OWNER, over.id, "done", "Better.", adapter(studio).id)
    for known in ("", over.id):
        found = shown(on.render(studio, OWNER, View(known)))
        assert found["training"] == waits.id
        assert "Ann: Stopped." in found["status"]["value"]
        assert found["go_on"]["visible"] and found["discard"]["visible"]
    found = shown(on.discard(studio, waits.id, "", REQUEST))
    assert found["training"] != waits.id or not found["controls"]["visible"]
    assert not found["go_on"]["visible"]
    # The newest of two, but the one that is looked at stays in view.
    third = rows.add_training(OWNER, "Cy", TrainSettings(), 9, 9, 1)
    fourth = rows.add_training(OWNER, "Di", TrainSettings(), 9, 9, 1)
    for run in (third, fourth):
        rows.set_training(OWNER, run.id, "failed", "It failed.")
    assert shown(on.render(studio, OWNER, View()))["training"] == fourth.id
    assert shown(on.render(studio, OWNER, View(third.id)))["training"] == third.id


def test_a_training_that_is_gone_is_not_gone_on_with(studio: Studio) -> None:
    run = studio.adapter_store.add_training(OWNER, "Ann", TrainSettings(), 9, 9, 1)
    studio.adapter_store.set_training(OWNER, run.id, "cancelled", "Stopped.")
    on.discard(studio, run.id, "", REQUEST)
    with pytest.raises(NotFound, match="gone"):
        next(on.go_on(studio, run.id, "", REQUEST))
    assert not shown(on.shown_anew(studio, run.id, "", REQUEST))["controls"]["visible"]


def test_a_hand_that_is_there_already_is_said_to_be(
    studio: Studio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(on.gr, "Info", lambda message, **_: told.append(message))
    kept = adapter(studio)
    path = tmp_path / "a.adapter.zip"
    path.write_bytes(b"")
    monkeypatch.setattr(studio.adapters, "take_in", lambda owner, data: kept)
    assert shown(on.take_in(studio, "", "", str(path), REQUEST))["chosen"] == kept.id
    assert "there already, as &lt;img" in told.pop()
    monkeypatch.setattr(studio.adapters, "take_in", lambda owner, data: adapter(studio))
    on.take_in(studio, "", "", str(path), REQUEST)
    assert told == []


def test_a_deleted_hand_leaves_no_training_behind(studio: Studio) -> None:
    mine = adapter(studio)
    run = studio.adapter_store.add_training(OWNER, "Ann", TrainSettings(), 9, 9, 1)
    studio.adapter_store.set_training(OWNER, run.id, "done", "Better.", mine.id)
    folder = studio.settings.data_dir / "training" / run.id
    folder.mkdir(parents=True)
    point = TrainPoint("train", 1, 2, 0.1, 0.5, 0.2)
    add_point(folder, point)
    assert shown(on.render(studio, OWNER, View(run.id)))["curve"]["visible"]
    found = shown(on.delete(studio, run.id, mine.id, REQUEST))
    assert not found["curve"]["visible"]
    assert found["training"] == ""
    assert list(folder.parent.iterdir()) == []


def test_another_ones_adapter_and_training_are_not_there(studio: Studio) -> None:
    theirs = adapter(studio, owner="user:eve")
    run = studio.adapter_store.add_training("user:eve", "x", TrainSettings(), 9, 9, 1)
    for act in (on.use, on.delete, on.export):
        with pytest.raises(NotFound):
            act(studio, *([""] if act is not on.export else []), theirs.id, REQUEST)
    for act in (on.pause, on.stop, on.discard):
        with pytest.raises(NotFound):
            act(studio, run.id, "", REQUEST)
    with pytest.raises(NotFound):
        next(on.go_on(studio, run.id, "", REQUEST))
    found = shown(on.render(studio, OWNER, View(run.id, theirs.id)))
    assert (found["training"], found["chosen"]) == ("", "")


def test_a_training_without_enough_lines_is_refused_with_advice(studio: Studio) -> None:
    with pytest.raises(InvalidRequest, match="not enough"):
        next(on.train(studio, "", "", "My hand", 40, 8, 0.25, REQUEST))


def test_the_pages_own_events_are_hidden_and_the_calls_are_named(studio: Studio) -> None:
    with build_app(studio) as app:
        names = {fn.api_name for fn in app.fns.values() if fn.api_visibility == "public"}
    assert {"adapters", "train", "compare"} <= names


def test_an_adapter_goes_to_the_tab_that_compares_each_time_it_is_asked(studio: Studio) -> None:
    mine = adapter(studio)
    first, second = (on.compare(studio, mine.id, REQUEST) for _ in range(2))
    assert first != second
    right = compare_handlers.open_session(studio, first, "base", "reading", REQUEST)[6]
    assert right["value"] == mine.id
    with pytest.raises(NotFound):
        on.compare(studio, adapter(studio, owner="user:eve").id, REQUEST)


def test_a_training_tells_how_long_it_takes_and_what_it_is_judged_on(studio: Studio) -> None:
    steps = [TrainPoint("train", n, 40, 30.0 * n, 0.5, 0.1) for n in (10, 20)]
    run = studio.adapter_store.add_training(OWNER, EVIL, TrainSettings(), 9, 9, 1)
    assert "about 10 min left" in on._progress(run, steps)
    assert EVIL not in on._progress(run, steps)
    assert "left" not in on._progress(run, steps[:1])
    paused = on._progress(replace(run, state="paused"), steps)
    assert "paused at step 20 of 40" in paused
    assert "left" not in paused
    # The clock begins anew after a stop.
    assert "left" not in on._progress(run, [steps[0], TrainPoint("train", 20, 40, 9.0, 0.5, 0.1)])
    assert "40 steps" in training_html(steps)
    assert "3 of 9" in on._judging(Judging(3, 9))
    corrected(studio, 200, 12)
    corrected(studio, 90, 6)
    found = shown(on.render(studio, OWNER, View()))
    assert "12 corrected lines to learn from, 6 on 1 page kept back" in found["advice"]
    assert "put right every line" in found["next"]
