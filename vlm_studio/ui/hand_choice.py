"""Which hand a session is read with, chosen beside the session: a dropdown that is there once there is an adapter."""

from __future__ import annotations

from typing import Any

import gradio as gr

from vlm_studio.studio import Studio
from vlm_studio.tasks.adapt_manage import ACTIVE, BASE
from vlm_studio.ui.guard import guarded
from vlm_studio.ui.shared import API_HIDDEN, Shared, owner_of


def build_hand(elem_id: str) -> gr.Dropdown:
    return gr.Dropdown(
        [("as in Teach", ACTIVE)], value=ACTIVE, label="Whose hand", visible=False, min_width=200,
        info="Which adapter this session is read with; what was read before stays until it is read again", elem_id=elem_id,
    )  # fmt: skip


def bind_hand(hand: gr.Dropdown, session_id: gr.Textbox, tab: str, shared: Shared, studio: Studio) -> None:
    """`tab` is the label of the tab that `hand` is on."""
    quick: dict[str, Any] = {"show_progress": "hidden", "api_visibility": API_HIDDEN}
    shared.tabs.select(guarded(tab_chosen, studio, tab), [session_id, hand], hand, **quick)
    shared.page.load(guarded(listed, studio), [session_id, hand], hand, **quick)
    session_id.change(guarded(listed, studio), [session_id, hand], hand, **quick)
    hand.input(guarded(choose, studio), [session_id, hand], hand, **quick)


def listed(studio: Studio, session_id: str, chosen: str, request: gr.Request) -> Any:
    """The dropdown as it is for a session; before there is one, `chosen` stays."""
    owner = owner_of(studio.settings, request)
    adapters = studio.adapters.wearable(owner)
    active = next((adapter.name for adapter in adapters if adapter.active), "")
    names = [adapter.name for adapter in adapters]
    choices = [
        (f"as in Teach: {active or 'none'}", ACTIVE),
        ("none", BASE),
        *((a.name if names.count(a.name) == 1 else f"{a.name} …{a.id[-4:]}", a.id) for a in adapters),
    ]
    value = studio.adapters.choice(owner, session_id) if session_id else chosen
    known = value if value in {name for _, name in choices} else ACTIVE
    return gr.update(choices=choices, value=known, visible=bool(adapters))


def tab_chosen(
    studio: Studio, tab: str, session_id: str, chosen: str, request: gr.Request, event: gr.EventData
) -> Any:
    """Adapters may have been taught, named or deleted meanwhile."""
    return listed(studio, session_id, chosen, request) if event.value == tab else gr.skip()


def choose(studio: Studio, session_id: str, chosen: str, request: gr.Request) -> Any:
    """From now on this session is read with `chosen`; one that is not there yet takes it along (`remember`)."""
    owner = owner_of(studio.settings, request)
    if session_id:
        studio.adapters.choose(owner, session_id, chosen)
    return listed(studio, session_id, chosen, request)


def remember(studio: Studio, owner: str, before: str, session_id: str, chosen: str) -> None:
    """A session that has just been made (`before` is empty) is read with what was chosen for it."""
    if not before and session_id and chosen != ACTIVE:
        studio.adapters.choose(owner, session_id, chosen)
