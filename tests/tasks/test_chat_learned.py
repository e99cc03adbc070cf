"""Short answers by the adapter that learned them: worn for one request, shown only where they stand in what was read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from vlm_studio.core.chat import ChatImage, ChatTurn, ImageText, TextLine
from vlm_studio.core.conversation import TextPart, Variant
from vlm_studio.core.documents import Box
from vlm_studio.core.errors import ModelUnavailable
from vlm_studio.core.ports import Engine, ModelCard
from vlm_studio.tasks.chat_answer import Answerer
from vlm_studio.tasks.chat_learned import LONGEST_NOTE, standing, suits

from .chat_fakes import Desk, ScriptedEngine
from .fakes import transcriber


def image(*lines: str) -> ChatImage:
    read = tuple(TextLine(text, 0.9, Box(0, 50 * k, 400, 50 * k + 40)) for k, text in enumerate(lines))
    return ChatImage(3, "abc", "note.png", 400, 400, read=ImageText("nano", read))


def told(said: str, *lines: str) -> str | None:
    reply = standing(said, (image(*lines),))
    return None if reply is None else reply.rests_on[0].quote


def test_an_answer_is_shown_with_the_line_that_holds_it() -> None:
    reply = standing("$12.50", (image("Dear Anna,", "Rent: $12.50 (May)"),))
    assert reply is not None and reply.how == "quote"
    assert [p.text for p in reply.parts if isinstance(p, TextPart) and p.quoted] == ["Rent: $12.50 (May)"]
    assert reply.rests_on[0].number == 3 and reply.rests_on[0].box == Box(0, 50, 400, 90)


@pytest.mark.parametrize(
    ("said", "line"),
    [("anna", "Call Anna, now"), ("5 pm", "at 5pm"), ("06 22 46", "06 22 46"), ("Emma", "Love, (Emma)")],
)
def test_case_outer_marks_and_spaces_do_not_matter(said: str, line: str) -> None:
    assert told(said, line) == line


@pytest.mark.parametrize("said", ["An", "2.50", "Bob", "", "It does not say.", "Ce n'est pas écrit."])
def test_what_does_not_stand_there_as_whole_words_is_not_shown(said: str) -> None:
    assert told(said, "Call Anna: $12.50") is None


def test_texts_longer_than_its_lessons_are_left_to_the_rules() -> None:
    assert suits((image("Milk"),))
    assert not suits((image("x" * (LONGEST_NOTE + 1)),))
    assert not suits((image(),))


class Nano(ScriptedEngine):
    @property
    def card(self) -> ModelCard:
        return replace(super().card, name="idefics2-nano")


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path, Nano("fast", sees=False))
    yield made
    made.live.stop_all(20)
    made.database.close()


def ship(desk: Desk, *adapters: str, loads: bool = True) -> None:
    def engine(_: Variant) -> Engine:
        if not loads:
            raise ModelUnavailable("The language model is not installed.", "Run: python run.py install")
        return desk.engine

    desk.chats.answerer = Answerer(
        lambda _: desk.engine.card,
        engine,
        transcriber(desk.reader),
        lambda _q, _i: desk.findings,
        lambda: adapters,
    )


def asked(desk: Desk, question: str) -> ChatTurn:
    session_id, _images = desk.attach(2)
    return desk.say(session_id, question)


def test_a_question_about_a_note_wears_the_adapter_and_other_talk_does_not(desk: Desk) -> None:
    ship(desk, "answering", "reading")
    answer = asked(desk, "Who is coming?")
    assert answer.run is not None and answer.run.variant.adapter == "answering"
    assert "fast 1" in answer.said and answer.run.how == "quote" and answer.run.rests_on[0].quote == "fast 1"
    assert desk.engine.asks[0].variant.adapter == "answering" and not desk.engine.pictures[0]
    plain = desk.say("", "Hello there")
    assert plain.run is not None and plain.run.variant.adapter is None
    assert desk.engine.asks[1].variant.adapter is None


def test_an_answer_that_stands_nowhere_is_left_to_the_rules(desk: Desk) -> None:
    desk.engine.words = "elephants"
    ship(desk, "answering")
    answer = asked(desk, "Who is coming?")
    assert "elephants" not in answer.said and answer.run is not None and answer.run.how == "not_found"
    assert answer.run.variant.adapter is None


def test_without_the_adapter_no_language_model_is_asked(desk: Desk) -> None:
    ship(desk, "reading")
    asked(desk, "Who is coming?")
    assert not desk.engine.asks


def test_without_the_language_model_the_rules_answer(desk: Desk) -> None:
    ship(desk, "answering", loads=False)
    answer = asked(desk, "Who is coming?")
    assert answer.status == "done" and answer.run is not None and answer.run.how == "not_found"
