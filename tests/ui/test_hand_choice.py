"""Whose hand a session is read with: chosen beside it, kept with it, and taken along into a session that is made."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from tests.ui.test_adapt_tab import REQUEST
from tests.ui.test_compare_tab import LINE, hand
from vlm_studio.core.adapters import Interval, Verdict
from vlm_studio.core.errors import InvalidRequest, NotFound
from vlm_studio.core.sessions import LOCAL_OWNER as OWNER
from vlm_studio.studio import Studio
from vlm_studio.ui import hand_choice
from vlm_studio.ui.tabs import chat_handlers, transcribe_handlers

REFUSED = Verdict(False, "No better.", 9, 1, 0.1, 0.2, 0.3, 0.4, Interval(0.1, 0.0, 0.2), 0.1, 0.1)


def test_without_adapters_there_is_nothing_to_choose(studio: Studio) -> None:
    shown = hand_choice.listed(studio, "", "active", REQUEST)
    assert (shown["visible"], shown["value"]) == (False, "active")
    other: Any = SimpleNamespace(value="Chat")
    assert hand_choice.tab_chosen(studio, "Transcribe", "", "active", REQUEST, other) == gr.skip()


def test_what_was_chosen_for_a_session_is_shown_when_it_comes_back(studio: Studio) -> None:
    ann, refused, theirs = hand(studio), hand(studio, "Bad"), hand(studio, owner="user:eve")
    studio.adapter_store.set_verdict(OWNER, refused, REFUSED)
    studio.adapters.activate(OWNER, ann)
    session = studio.session_store.create(OWNER, "chat", "x").id
    shown = hand_choice.listed(studio, session, "base", REQUEST)
    assert shown["choices"] == [("as in Teach: Ann", "active"), ("none", "base"), ("Ann", ann)]
    assert (shown["value"], shown["visible"]) == ("active", True)
    assert hand_choice.choose(studio, session, "base", REQUEST)["value"] == "base"
    assert hand_choice.listed(studio, session, ann, REQUEST)["value"] == "base"
    hand(studio, "Ann", seed=2)
    labels = [label for label, _ in hand_choice.listed(studio, session, "base", REQUEST)["choices"]]
    assert len(set(labels)) == len(labels) == 4
    for wrong, error in ((refused, InvalidRequest), (theirs, NotFound)):
        with pytest.raises(error):
            hand_choice.choose(studio, session, wrong, REQUEST)


def test_a_choice_before_there_is_a_session_goes_with_it(studio: Studio) -> None:
    ann = hand(studio)
    assert hand_choice.choose(studio, "", ann, REQUEST)["value"] == ann
    chat_handlers.attach(studio, "", [str(LINE)], REQUEST, ann)
    (chat,) = studio.session_store.list(OWNER, "chat")
    assert studio.adapters.choice(OWNER, chat.id) == ann
    chat_handlers.attach(studio, chat.id, [str(LINE)], REQUEST, "base")
    assert studio.adapters.choice(OWNER, chat.id) == ann
    *_, last = transcribe_handlers.read_files(studio, [str(LINE)], "", "nano", "", REQUEST, ann)
    session_id = last[0]
    assert studio.adapters.choice(OWNER, session_id) == ann
    (page,) = studio.transcriptions.pages(OWNER, session_id)
    reading = studio.transcriptions.reading(OWNER, page.id)
    assert reading is not None
    assert reading.reader.startswith("nano+ann.")
    (line,) = studio.transcriptions.lines(OWNER, page.id)
    hand_choice.choose(studio, session_id, "base", REQUEST)
    assert studio.transcriptions.reread(OWNER, line.id, "nano").writer == "nano"
