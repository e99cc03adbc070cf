"""A model that is loaded by the first question: what it says meanwhile, and what happens when it cannot be loaded."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from tests.model.conftest import TINY, Told
from vlm_studio.core.cancel import CancelToken
from vlm_studio.core.conversation import Ask, GenParams, TextPart, Turn, Variant
from vlm_studio.core.errors import ModelUnavailable
from vlm_studio.model.engine import HFEngine, LoadedModel
from vlm_studio.model.hub_engine import HubEngine

QUESTION = Ask((Turn("user", (TextPart("Hello"),)),), Variant("tiny"), GenParams(max_new_tokens=3))


def test_the_first_question_loads_and_says_so_and_unloading_is_no_end(idefics2: LoadedModel) -> None:
    loads = []

    def load(tell: Any, cancel: CancelToken) -> HFEngine:
        loads.append(1)
        tell("Fetching: 50 %.")
        return HFEngine(idefics2)

    engine = HubEngine(TINY, load)
    assert engine.card is TINY and not loads
    first, second = Told(engine, QUESTION), Told(engine, QUESTION)  # type: ignore[arg-type]
    assert first.status == ["Fetching: 50 %."] and second.status == [] and loads == [1]
    assert first.ids == second.ids
    engine.unload()
    assert Told(engine, QUESTION).ids == first.ids and loads == [1, 1]  # type: ignore[arg-type]


def test_another_answers_where_loading_fails_and_the_answer_says_so(idefics2: LoadedModel) -> None:
    def load(tell: Any, cancel: CancelToken) -> HFEngine:
        raise ModelUnavailable("The model hub cannot be reached.", "Check the connection.")

    told = Told(HubEngine(TINY, load, lambda: HFEngine(idefics2)), QUESTION)  # type: ignore[arg-type]
    assert "cannot be reached" in told.answer.notes[0] and told.ids
    with pytest.raises(ModelUnavailable):
        Told(HubEngine(TINY, load), QUESTION)  # type: ignore[arg-type]


def test_stop_ends_a_download(idefics2: LoadedModel) -> None:
    cancel, fetching = CancelToken(), threading.Event()

    def load(tell: Any, inner: CancelToken) -> HFEngine:
        fetching.set()
        cancel._event.wait(20)
        inner.raise_if_cancelled()
        return HFEngine(idefics2)

    threading.Thread(target=lambda: fetching.wait(20) and cancel.cancel()).start()
    assert Told(HubEngine(TINY, load), QUESTION, cancel=cancel).answer.finish_reason == "cancelled"  # type: ignore[arg-type]
