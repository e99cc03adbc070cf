"""The shipped adapter for short answers copies them from a note, on notes that its lessons did not have."""

from __future__ import annotations

from pathlib import Path

import pytest

from vlm_studio.core.answers import DoneEvent
from vlm_studio.core.cancel import CancelToken
from vlm_studio.core.conversation import Ask, GenParams, TextPart, Turn, Variant
from vlm_studio.model.adapter_file import read_folder
from vlm_studio.model.adapters import AdapterShelf
from vlm_studio.model.engine import HFEngine, LoadedModel

ADAPTERS = Path(__file__).resolve().parents[2] / "assets" / "nano" / "adapters"
NOTE = '\nText read from image 1:\n"""\nDear Ann,\nrent for May: $640.50\nthe keys are with Oscar\ncall 555-0182\n"""\n'
ASKED = {
    "How much is the rent?": "$640.50",
    "Who has the keys?": "Oscar",
    "What is the phone number?": "555-0182",
    "When does the train leave?": "It does not say.",
}


@pytest.mark.skipif(not (ADAPTERS / "answering").exists(), reason="the adapter is not shipped")
def test_three_of_four_questions_are_answered_letter_for_letter_and_none_with_the_adapter_off(
    nano: LoadedModel,
) -> None:
    shelf = AdapterShelf(nano.model, lambda name: read_folder(ADAPTERS / name))
    engine = HFEngine(nano, adapters=shelf)

    def said(question: str, adapter: str | None) -> str:
        turn = Turn("user", (TextPart(NOTE, quoted=True), TextPart(question)))
        ask = Ask((turn,), Variant("idefics2-nano", adapter=adapter), GenParams(max_new_tokens=16))
        done = [e for e in engine.stream(ask, {}, CancelToken()) if isinstance(e, DoneEvent)]
        return done[0].answer.text.strip()

    try:
        right = {q: said(q, "answering") for q in ASKED}
        assert sum(right[q] == wanted for q, wanted in ASKED.items()) >= 3, right
        assert said("Who has the keys?", None) != "Oscar"
    finally:
        for branch in list(shelf._branches):
            shelf._take_out(branch)
