"""An answer as the command line prints it and the API gives it."""

from __future__ import annotations

from typing import Any

from vlm_studio.core.chat import ChatTurn
from vlm_studio.core.chat_json import run_value
from vlm_studio.core.conversation import TextPart
from vlm_studio.tasks.chat_replies import as_text


def answer_value(turn: ChatTurn) -> dict[str, Any]:
    """Text, quotes, what it rests on, and how it came about; without single tokens."""
    run = {} if turn.run is None else run_value(turn.run, tokens=False)
    return {
        "session": turn.session_id,
        "turn": turn.id,
        "status": turn.status,
        "text": as_text(turn.turn.parts),
        "quotes": [p.text for p in turn.turn.parts if isinstance(p, TextPart) and p.quoted],
        **run,
    }
