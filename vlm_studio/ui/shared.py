"""What every tab is given: the studio, the row of tabs, and the session that was asked for."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import gradio as gr

from vlm_studio.core.errors import NotFound
from vlm_studio.core.sessions import LOCAL_OWNER
from vlm_studio.core.settings import Settings
from vlm_studio.studio import Studio

VISITOR_COOKIE = "vlm_visitor"
"""Random id of a visitor of a shared app, set by ui/server.py; HttpOnly."""

ENGINE_QUEUE = "engine"
"""The `concurrency_id` of every event that runs a model."""

API_HIDDEN = "private"
"""For events that are only the page's own plumbing."""


@dataclass(frozen=True, slots=True)
class Shared:
    """Built once, before any tab, so that tabs can point at each other without importing each other."""

    studio: Studio
    page: gr.Blocks
    tabs: gr.Tabs
    opened: gr.State
    """``kind/session-id`` that a person asked to open; the tab of that kind listens to its change."""


def owner_of(settings: Settings, request: gr.Request | None) -> str:
    """Whose rows this request may see: the log-in name, the visitor's cookie, or the local owner.

    Never the session hash: a client chooses that itself. Raises NotFound for a visitor without cookie.
    """
    if request is not None and getattr(request, "username", None):
        return f"user:{request.username}"
    if not settings.demo:
        return LOCAL_OWNER
    cookie = "" if request is None else str(request.cookies.get(VISITOR_COOKIE, ""))
    if len(cookie) < 32:
        raise NotFound(
            "This shared app knows its visitors by a cookie, and yours did not arrive.",
            "Allow cookies for this page and reload it.",
        )
    return "visitor:" + hashlib.sha256(cookie.encode()).hexdigest()[:32]
