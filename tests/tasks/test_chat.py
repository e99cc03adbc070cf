"""Conversations: images where they were put, versions side by side, answers that outlive their viewers."""

from __future__ import annotations

import io
import itertools
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vlm_studio.core.chat import Draft
from vlm_studio.core.conversation import GenParams, ImagePart, TextPart, Turn, Variant
from vlm_studio.core.documents import Box
from vlm_studio.core.errors import GenerationFailed, InvalidRequest, ModelUnavailable, NotFound
from vlm_studio.tasks.chat import IMAGES, UNTITLED
from vlm_studio.tasks.chat_answer import Answerer, Said
from vlm_studio.tasks.chat_feed import HISTORY_CHARS, Options
from vlm_studio.tasks.chat_markers import unplaced

from .chat_fakes import EVE, OWNER, Desk, ScriptedEngine, ended, options
from .fakes import page_image, png, transcriber


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path, ScriptedEngine())
    yield made
    made.live.stop_all(20)
    made.database.close()


def test_images_go_where_their_markers_stand_and_the_others_come_first(desk: Desk) -> None:
    session_id, images = desk.attach(1, 2, 3)
    assert [i.number for i in images] == [1, 2, 3]
    text = "Is  <image 3> like\n<IMAGE #1>?"
    assert unplaced(text, images) == (2,)
    desk.say(session_id, text)
    asked = desk.chats.path(OWNER, session_id)[0]
    one, two, three = (ImagePart(i.sha256, f"image {i.number}: {i.name}") for i in images)
    assert asked.turn.parts == (two, TextPart("Is  "), three, TextPart(" like\n"), one, TextPart("?"))
    (fed,) = desk.engine.asks[0].turns
    assert fed == asked.turn and set(desk.engine.pictures[0]) == {i.sha256 for i in images}
    assert desk.chats.typed(OWNER, asked.id) == "<image 2>Is  <image 3> like\n<image 1>?"
    assert not any(i.waiting for i in desk.chats.images(OWNER, session_id))
    desk.say(session_id, "And <image 2> again?")
    assert desk.engine.asks[1].turns[-1].images == (two,)


def test_what_only_looks_like_a_marker_is_text(desk: Desk) -> None:
    desk.say("", "<image> and <image x> are words")
    assert desk.engine.asks[0].turns[0].parts == (TextPart("<image> and <image x> are words"),)


@pytest.mark.parametrize("text", ["<image 9> what?", "What is on <image 0>?", "", "   \n "])
def test_an_unknown_image_or_nothing_at_all_is_refused_and_nothing_is_kept(desk: Desk, text: str) -> None:
    with pytest.raises(InvalidRequest):
        desk.say("", text)
    assert desk.sessions.count(OWNER) == 0
    session_id, _ = desk.attach(1)
    if "<" in text:
        with pytest.raises(InvalidRequest, match="It has image 1"):
            desk.say(session_id, text)
        assert desk.shown(session_id) == []


def test_every_version_stays_and_can_be_walked(desk: Desk) -> None:
    first = desk.say("", "one")
    session_id = first.session_id
    desk.say(session_id, "two")
    again = ended(desk.chats.retry(OWNER, first.id, options()))
    assert desk.shown(session_id) == ["one", "so be it 3"] and again.versions == (first.id, again.id)
    question = desk.chats.path(OWNER, session_id)[0]
    edited = ended(desk.chats.edit(OWNER, question.id, "uno", options()))
    assert desk.shown(session_id) == ["uno", "so be it 4"]
    assert len(desk.engine.asks[-1].turns) == 1 and edited.parent_id != question.id
    desk.chats.choose(OWNER, question.id)
    assert desk.shown(session_id)[:1] == ["one"]
    desk.chats.choose(OWNER, first.id)
    assert desk.shown(session_id) == ["one", "so be it 1", "two", "so be it 2"]
    desk.restart()
    assert desk.shown(session_id) == ["one", "so be it 1", "two", "so be it 2"]
    assert len(desk.rows.all_turns(OWNER, session_id)) == 7
    with pytest.raises(InvalidRequest):
        desk.chats.edit(OWNER, first.id, "not mine", options())


def test_another_try_is_another_seed_and_warm(desk: Desk) -> None:
    first = desk.say("", "one", temperature=0.0, seed=7)
    ended(desk.chats.retry(OWNER, first.id, options(temperature=0.0, seed=7)))
    cold, warm = (ask.params for ask in desk.engine.asks)
    assert cold == GenParams(seed=7) and (warm.seed, warm.temperature) == (8, 0.7)


def test_an_answer_runs_on_without_viewers_and_a_second_one_sees_all_of_it(desk: Desk) -> None:
    desk.engine.gate = gate = threading.Semaphore(0)
    run = desk.chats.send(OWNER, "", "one", options())
    session_id = run.run_id
    gate.release()
    viewer = (event for event in run.follow() if isinstance(event, Said))
    assert next(viewer) == Said("so")
    viewer.close()
    for attempt in (
        lambda: desk.say(session_id, "two"),
        lambda: desk.chats.choose(OWNER, desk.chats.path(OWNER, session_id)[0].id),
    ):
        with pytest.raises(InvalidRequest, match="still being written"):
            attempt()
    joined = desk.chats.running(OWNER, session_id)
    assert joined is not None and desk.chats.running(EVE, session_id) is None
    for _ in range(9):
        gate.release()
    assert "".join(e.text for e in joined.follow() if isinstance(e, Said)) == "so be it 1"
    assert desk.chats.running(OWNER, session_id) is None
    assert desk.shown(session_id) == ["one", "so be it 1"]


def test_a_stopped_answer_is_kept_as_far_as_it_came(desk: Desk) -> None:
    desk.engine.gate = gate = threading.Semaphore(2)
    run = desk.chats.send(OWNER, "", "one", options())
    said = list(itertools.islice((e for e in run.follow() if isinstance(e, Said)), 2))
    desk.chats.stop(EVE, run.run_id)
    assert not run.cancel.cancelled
    desk.chats.stop(OWNER, run.run_id)
    gate.release()
    turn = ended(run)
    assert len(said) == 2 and turn.status == "stopped" and turn.said == "so be"
    assert turn.run is not None and turn.run.finish_reason == "cancelled" and len(turn.run.tokens) == 2


@pytest.mark.parametrize("failure", [GenerationFailed("It broke.", "Retry."), ValueError("a fault")])
def test_a_failed_answer_is_kept_and_can_be_tried_again(desk: Desk, failure: Exception) -> None:
    desk.engine.failure = failure
    run = desk.chats.send(OWNER, "", "one", options())
    events = []
    try:
        events += list(run.follow())
    except ValueError:
        pass
    turn = desk.chats.path(OWNER, run.run_id)[-1]
    assert turn.status == "failed" and turn.run is not None
    if isinstance(failure, GenerationFailed):
        assert turn.said == "so" and turn.run.notes == ("It broke. Retry.",)
    desk.engine.failure = None
    again = ended(desk.chats.retry(OWNER, turn.id, options()))
    assert again.status == "done" and len(again.versions) == 2


class Unloadable(ScriptedEngine):
    """A model that sees pictures, and does not come into memory."""

    def stream(self, *_: Any, **__: Any) -> Any:
        raise ModelUnavailable("The hub cannot be reached.", "Check the connection.")


def test_where_a_model_cannot_be_loaded_nano_reads_the_images_and_the_record_says_so(desk: Desk) -> None:
    large, nano = Unloadable(), ScriptedEngine(sees=False)
    nano_card = replace(nano.card, name="idefics2-nano")
    for_nano = {"idefics2-nano": (nano_card, nano)}
    desk.chats.answerer = Answerer(
        lambda v: for_nano.get(v.model_id, (large.card, large))[0],
        lambda v: for_nano.get(v.model_id, (large.card, large))[1],
        transcriber(desk.reader),
        lambda _q, _i: (),
    )
    session_id, _images = desk.attach(2)
    chosen = Options(variant=Variant("idefics2-8b", splitting="on"))
    run = desk.chats.send(OWNER, session_id, "What does <image 1> say?", chosen)
    answer = ended(run)
    assert answer.status == "done" and answer.run is not None and answer.run.how == "transcript"
    assert answer.run.variant == Variant("idefics2-nano", splitting="on")
    assert "hub cannot be reached" in answer.run.notes[0] and "nano answered instead" in answer.run.notes[0]
    assert desk.chats.options(OWNER, session_id).variant == chosen.variant  # asked for again next time


def test_a_message_whose_answer_was_lost_with_the_process_is_there_and_can_be_answered(desk: Desk) -> None:
    desk.engine.gate = threading.Semaphore(0)
    run = desk.chats.send(OWNER, "", "one", options())
    # As if the process had been killed: another one opens the same folder.
    other = Desk(desk.root, ScriptedEngine())
    assert other.shown(run.run_id) == ["one"]
    asked = other.chats.path(OWNER, run.run_id)[-1]
    assert ended(other.chats.retry(OWNER, asked.id, options())).said == "so be it 1"
    other.database.close()
    run.cancel.cancel()
    desk.engine.gate.release()


def test_a_region_is_an_image_of_its_own_and_says_where_it_was_cut(desk: Desk) -> None:
    session_id, (whole,) = desk.attach(2)
    part = desk.chats.attach_region(OWNER, session_id, 1, Box(20.4, -5, 120, 999))
    assert (part.number, part.crop_of, part.box) == (2, 1, Box(20, 0, 120, 400))
    assert desk.chats.pixels(OWNER, part.sha256).size == (part.width_px, part.height_px) == (100, 400)
    with pytest.raises(InvalidRequest):
        desk.chats.attach_region(OWNER, session_id, 1, Box(5, 5, 6, 300))
    with pytest.raises(NotFound):
        desk.chats.attach_region(OWNER, session_id, 7, Box(0, 0, 50, 50))
    desk.say(session_id, "Is <image 2> a word of <image 1>?")
    assert desk.engine.pictures[0][part.sha256].size == (100, 400)
    assert desk.engine.pictures[0][whole.sha256].size == (300, 400)


def test_waiting_images_can_be_taken_back_and_sent_ones_stay(desk: Desk) -> None:
    session_id, _ = desk.attach(1, 2)
    desk.chats.detach(OWNER, session_id, 2)
    assert [i.number for i in desk.chats.images(OWNER, session_id)] == [1]
    desk.say(session_id, "What?")
    with pytest.raises(NotFound):
        desk.chats.detach(OWNER, session_id, 1)
    again = desk.chats.attach(OWNER, session_id, [("0.png", png(page_image(1, width=300)))])
    assert [i.number for i in again.kept] == [1] and again.kept[0].waiting
    desk.chats.detach(OWNER, session_id, 1)
    assert len(desk.chats.images(OWNER, session_id)) == 1  # a turn holds it
    third = desk.chats.attach(OWNER, session_id, [("9.png", png(page_image(3, width=390)))])
    assert third.kept[0].number == 2


def test_pages_of_a_tiff_are_named_by_their_number(desk: Desk) -> None:
    buffer = io.BytesIO()
    page_image(1).save(buffer, "TIFF", save_all=True, append_images=[page_image(2)])
    taken = desk.chats.attach(OWNER, "", [("fax.tif", buffer.getvalue()), ("one.png", png(page_image(3)))])
    assert [image.name for image in taken.kept] == ["fax.tif, page 1", "fax.tif, page 2", "one.png"]


def test_bad_files_do_not_stop_good_ones(desk: Desk) -> None:
    done = desk.chats.attach(OWNER, "", [("a.txt", b"words"), ("b.png", png(page_image(1)))])
    assert len(done.kept) == 1 and len(done.problems) == 1 and "a.txt" in done.problems[0]
    with pytest.raises(InvalidRequest):
        desk.chats.attach(OWNER, "", [("a.png", b"")] * 99)
    assert desk.chats.attach(OWNER, "", [("a.txt", b"words")]).session_id == ""
    assert IMAGES >= 16


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_new_tokens": 0}, {"max_new_tokens": 10**6}, {"temperature": -1.0}, {"temperature": 3.0},
        {"top_p": 0.0}, {"repetition_penalty": 0.5}, {"seed": -1},
    ],
)  # fmt: skip
def test_options_out_of_range_are_refused(desk: Desk, wrong: dict[str, float]) -> None:
    with pytest.raises(InvalidRequest):
        desk.say("", "one", **wrong)
    with pytest.raises(InvalidRequest):
        desk.chats.send(OWNER, "", "x" * 4_001, options())


def test_the_system_prompt_goes_first_and_is_remembered(desk: Desk) -> None:
    chosen = Options("Be brief.", GenParams(seed=3, temperature=0.5), "fast")
    turn = ended(desk.chats.send(OWNER, "", "one", chosen))
    assert [t.role for t in desk.engine.asks[0].turns] == ["system", "user"]
    assert desk.engine.asks[0].conversation_id == turn.session_id
    assert desk.chats.options(OWNER, turn.session_id) == chosen
    assert turn.run is not None and turn.run.system == "Be brief." and turn.run.usage.cached_tokens == 4


def test_a_long_conversation_leaves_its_beginning_out_and_says_so(desk: Desk) -> None:
    desk.engine.words = "word " * (HISTORY_CHARS // 10)
    session_id = desk.say("", "one").session_id
    desk.say(session_id, "two")
    last = desk.say(session_id, "three")
    assert [t.text[:3] for t in desk.engine.asks[-1].turns] == ["two", "wor", "thr"]
    assert last.run is not None and "first 2 messages were left out" in last.run.notes[0]


def test_a_chat_is_titled_found_and_told_as_a_document(desk: Desk) -> None:
    session_id, _ = desk.attach(1)
    assert desk.sessions.get(OWNER, session_id).title == UNTITLED
    desk.say(session_id, "Where do the geraniums stand?")
    assert desk.sessions.get(OWNER, session_id).title == "Where do the geraniums stand?"
    (hit,) = (h for h in desk.index.search(OWNER, "geraniums") if h.what == "turn")
    assert hit.session_id == session_id and "\x02geraniums\x03" in hit.snippet
    other, _ = desk.attach(2, 3)
    desk.say(other, "Is <image 2> newer?")
    assert desk.sessions.get(OWNER, other).title == "Is image 2 newer?"
    alone, _ = desk.attach(4)
    desk.say(alone, "")
    assert desk.sessions.get(OWNER, alone).title == "0.png"
    desk.sessions.rename(OWNER, session_id, "Mine")
    desk.say(session_id, "And the roses?")
    assert desk.sessions.get(OWNER, session_id).title == "Mine"
    entries = list(desk.chats.entries(OWNER, session_id))
    assert [e.heading for e in entries] == ["You", "scripted", "You", "scripted"]
    assert isinstance(entries[0].parts[0], ImagePart)


def test_nobody_gets_at_anothers_chat_by_its_ids(desk: Desk) -> None:
    session_id, (image,) = desk.attach(1)
    answer = desk.say(session_id, "one")
    asked = desk.chats.path(OWNER, session_id)[0]
    chats = desk.chats
    for attempt in (
        lambda: chats.send(EVE, session_id, "x", options()),
        lambda: chats.edit(EVE, asked.id, "x", options()),
        lambda: chats.retry(EVE, answer.id, options()),
        lambda: chats.choose(EVE, answer.id),
        lambda: chats.typed(EVE, asked.id),
        lambda: chats.path(EVE, session_id),
        lambda: chats.images(EVE, session_id),
        lambda: chats.image(EVE, session_id, 1),
        lambda: chats.options(EVE, session_id),
        lambda: chats.attach(EVE, session_id, [("b.png", png(page_image(1)))]),
        lambda: chats.attach_region(EVE, session_id, 1, Box(0, 0, 50, 50)),
        lambda: chats.detach(EVE, session_id, 1),
        lambda: chats.pixels(EVE, image.sha256),
        lambda: list(chats.entries(EVE, session_id)),
    ):
        with pytest.raises(NotFound):
            attempt()
    mine = desk.say("", "mine", owner=EVE)
    with pytest.raises(NotFound):
        # Another's image cannot be had by knowing its hash.
        desk.rows.add_turn(EVE, mine.session_id, Draft(None, Turn("user", (ImagePart(image.sha256),))))
    assert len(desk.shown(session_id)) == 2
