"""The named endpoint of the Inspect tab."""

from __future__ import annotations

from typing import Any, get_args

import gradio as gr

from vlm_studio.core.errors import GenerationFailed, InvalidRequest
from vlm_studio.studio import Studio
from vlm_studio.tasks.inspect import Inspected
from vlm_studio.tasks.inspect_export import honesty_value, inspection_value
from vlm_studio.tasks.inspect_look import Checked, Chosen, Method
from vlm_studio.ui.shared import owner_of, uploads_of


def api_inspect(
    studio: Studio,
    file: gr.FileData,
    question: str = "",
    line: int = 1,
    method: str = "contrast",
    check_word: int = 0,
    request: gr.Request | None = None,
) -> dict[str, Any]:
    """Ask about a line of a page and look into the answer. Returns what `inspect --format json` prints.

    `line` is 1-based, 0 feeds all lines; `check_word` (1-based, 0: none) has the map of that word tested.
    """
    owner = owner_of(studio.settings, request)
    if method not in get_args(Method):
        raise InvalidRequest(f"There is no method {method!r}.", f"Use one of: {', '.join(get_args(Method))}.")
    ((name, data),) = uploads_of([file])
    session = studio.inspections.open_file(owner, name, data)
    page = studio.inspections.pages(owner, session)[0]
    run = studio.inspections.start(owner, session, page.id, [line - 1] if line > 0 else [], question)
    made = next((event.inspection for event in run.follow() if isinstance(event, Inspected)), None)
    if made is None:
        raise GenerationFailed("There is no answer.", "Ask again.")
    look = studio.looking.look(owner, made.id)
    found = inspection_value(studio.looking, owner, look, method)  # type: ignore[arg-type]
    if check_word > 0:
        chosen = Chosen(check_word - 1, method=method)  # type: ignore[arg-type]
        for step in studio.looking.check(owner, made.id, chosen):
            if isinstance(step, Checked):
                found["words"][check_word - 1]["honesty"] = honesty_value(step.honesty)
    return found
