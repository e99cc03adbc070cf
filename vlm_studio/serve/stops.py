"""Stop texts: an answer ends before the first of them, and no part of one is ever shown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from vlm_studio.core.answers import DoneEvent, EngineEvent, TokenEvent
from vlm_studio.core.cancel import CancelToken


def until(events: Iterator[EngineEvent], stops: Sequence[str], cancel: CancelToken) -> Iterator[EngineEvent]:
    """`events` up to the first stop text; the engine behind them is stopped there through `cancel`.

    Tokens whose text may be the beginning of a stop text are held back until that is known.
    """
    if not stops:
        yield from events
        return
    text, sent, held = "", 0, list[TokenEvent]()
    shown: list[TokenEvent] = []
    for event in events:
        if isinstance(event, DoneEvent):
            yield from held
            yield event
            return
        if not isinstance(event, TokenEvent):
            yield event
            continue
        text += event.text
        held.append(event)
        at = min((found for stop in stops if (found := text.find(stop)) >= 0), default=-1)
        if at >= 0:
            cancel.cancel()
            ending = _cut(held, at - sent)
            yield from ending
            yield from _ended(events, text[:at], (*shown, *ending))
            return
        safe = len(text) - _beginning(text, stops)
        while held and sent + len(held[0].text) <= safe:
            sent += len(held[0].text)
            shown.append(held[0])
            yield held.pop(0)


def _beginning(text: str, stops: Sequence[str]) -> int:
    """Characters at the end of `text` that may be the beginning of a stop text."""
    return max(
        (n for stop in stops for n in range(1, len(stop)) if text.endswith(stop[:n])),
        default=0,
    )


def _cut(tokens: Sequence[TokenEvent], length: int) -> list[TokenEvent]:
    """The tokens that make the first `length` characters; the last one is shortened."""
    kept = []
    for token in tokens:
        if length <= 0:
            break
        kept.append(replace(token, text=token.text[:length]))
        length -= len(token.text)
    return kept


def _ended(events: Iterator[EngineEvent], text: str, tokens: tuple[TokenEvent, ...]) -> Iterator[EngineEvent]:
    for event in events:
        if isinstance(event, DoneEvent):
            usage = replace(event.answer.usage, output_tokens=len(tokens))
            yield DoneEvent(
                replace(event.answer, text=text, tokens=tokens, finish_reason="stop", usage=usage)
            )
