"""What happens to the line in the editor of the Transcribe tab.

A line is known by its id, never by its place: another window may have added one before it. `given` is the
text that the browser was given for it: a field that still says that holds nothing typed, and saves nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from typing import Any

import gradio as gr

from vlm_studio.core.errors import InvalidRequest, NotFound
from vlm_studio.core.sessions import KeptLine
from vlm_studio.studio import Studio
from vlm_studio.ui.shared import owner_of
from vlm_studio.ui.tabs.transcribe_render import View, render
from vlm_studio.views.transcript import status_html

CHANGED = "This line was changed in another window; here is what it says now."
NOT_THERE = "That word is no longer in this line as you typed it; nothing was exchanged."


def keep_typed(studio: Studio, line: str, given: str, text: str, request: gr.Request) -> str:
    """Leaving a line keeps what was typed into it, as Enter does; an emptied field is no correction.

    Returns what is given from now on. Raises NotFound where the line went with its session.
    """
    if not line or not text.strip() or text.strip() == given.strip():
        return given
    try:
        studio.transcriptions.correct(owner_of(studio.settings, request), line, text)
    except NotFound as gone:
        raise NotFound(gone.message, "Copy what you typed and empty the field; then you can go on.") from gone
    return text


def keep_line(
    studio: Studio, session_id: str, page: int, line: str, given: str, text: str, request: gr.Request
) -> list[Any]:
    """Enter: keep what stands in the field, go to the next line. An untouched line is confirmed."""
    owner = owner_of(studio.settings, request)
    number, kept, last = _find(studio, owner, session_id, page, line)
    if text.strip() == given.strip() != kept.reading.text.strip():
        # Nobody saw what would be confirmed.
        return _again(studio, owner, session_id, page, line, CHANGED)
    studio.transcriptions.correct(owner, line, text)
    return render(studio, owner, View(session_id, page, min(number + 1, last), same_page=True))


def take_alternative(
    studio: Studio, session_id: str, page: int, line: str, given: str, text: str, request: gr.Request,
    event: gr.EventData,
) -> list[Any]:  # fmt: skip
    """A chip was clicked: that word becomes the alternative, the rest stays as it was typed.

    What was typed becomes a version of its own first, so that undo brings it back.
    """
    owner = owner_of(studio.settings, request)
    _, before, _ = _find(studio, owner, session_id, page, line)
    keep_typed(studio, line, given, text, request)
    if before.reading.text != given:
        return _again(studio, owner, session_id, page, line, CHANGED)
    chosen = before.reading.words[int(event.word)].alternatives[int(event.choice)].text
    words = (text if text.strip() else given).split()
    place = _place_of(int(event.word), [word.text for word in before.reading.words], words)
    if place is None:
        return _again(studio, owner, session_id, page, line, NOT_THERE)
    studio.transcriptions.correct(owner, line, " ".join([*words[:place], chosen, *words[place + 1 :]]))
    return _again(studio, owner, session_id, page, line)


def undo(
    studio: Studio, session_id: str, page: int, line: str, given: str, text: str, request: gr.Request
) -> list[Any]:
    """Back to the version before; what was typed and not yet kept becomes one, so that redo brings it back."""
    owner = _settled(studio, session_id, page, line, given, text, request)
    studio.transcriptions.undo(owner, line)
    return _again(studio, owner, session_id, page, line)


def redo(
    studio: Studio, session_id: str, page: int, line: str, given: str, text: str, request: gr.Request
) -> list[Any]:
    """Forward again; what was typed meanwhile is kept instead, and then there is nothing to go forward to."""
    owner = _settled(studio, session_id, page, line, given, text, request)
    studio.transcriptions.redo(owner, line)
    return _again(studio, owner, session_id, page, line)


def reread_line(
    studio: Studio, session_id: str, page: int, line: str, given: str, text: str, reader: str,
    request: gr.Request,
) -> Iterator[list[Any]]:  # fmt: skip
    owner = _settled(studio, session_id, page, line, given, text, request)
    studio.transcriptions.reread(owner, line, reader)
    yield _again(studio, owner, session_id, page, line)


def _settled(
    studio: Studio, session_id: str, page: int, line: str, given: str, text: str, request: gr.Request
) -> str:
    """Keep what was typed before something else is done to the line. The owner; raises as `_find`."""
    keep_typed(studio, line, given, text, request)
    owner = owner_of(studio.settings, request)
    _find(studio, owner, session_id, page, line)
    return owner


def _find(studio: Studio, owner: str, session_id: str, page: int, line: str) -> tuple[int, KeptLine, int]:
    """Where the chosen line stands now, the line, and where the last one stands.

    Raises InvalidRequest where no line is chosen, or it is gone.
    """
    lines = studio.transcriptions.lines(owner, studio.transcriptions.pages(owner, session_id)[page].id)
    for number, kept in enumerate(lines):
        if kept.id == line:
            return number, kept, len(lines) - 1
    raise InvalidRequest("No line is chosen.", "Click a line on the page or in the text.")


def _again(studio: Studio, owner: str, session_id: str, page: int, line: str, told: str = "") -> list[Any]:
    """The same line as it is now."""
    number, _, _ = _find(studio, owner, session_id, page, line)
    status = status_html(told, None) if told else ""
    return render(studio, owner, View(session_id, page, number, status=status, same_page=True))


def _place_of(number: int, read: Sequence[str], typed: Sequence[str]) -> int | None:
    """Where word `number` of what was read stands in what was typed; None where it no longer does."""
    for _, start, end, at, until in SequenceMatcher(None, read, typed, autojunk=False).get_opcodes():
        if start <= number < end and end - start == until - at:
            return at + number - start
    return None
