"""What every tab is given: the studio, the row of tabs, and the session that was asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import gradio as gr
from gradio.utils import get_upload_folder

from vlm_studio.core.errors import InvalidRequest, NotFound
from vlm_studio.core.sessions import LOCAL_OWNER
from vlm_studio.core.settings import Settings
from vlm_studio.studio import Studio

VISITOR_COOKIE = "vlm_visitor"
"""Random id of a visitor of a shared app, set by ui/server.py; HttpOnly."""

ENGINE_QUEUE = "engine"
"""The `concurrency_id` of every event that runs a model."""

API_HIDDEN = "private"
"""For events that are only the page's own plumbing."""


COMPARE_WITH = "compare/with:"
"""Before ``adapter/anything`` in `Shared.opened`: that adapter is to be compared with the base."""


@dataclass(frozen=True, slots=True)
class Shared:
    """Built once, before any tab, so that tabs can point at each other without importing each other."""

    studio: Studio
    page: gr.Blocks
    tabs: gr.Tabs
    opened: gr.State
    """``kind/session-id``, or with ``/line-id/anything``: what a person asked to open.

    The tab of that kind listens to its change.
    """


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


def upload_path(file: object) -> Path:
    """Where a file lies that came through the API. Gradio hands it over as a plain dictionary, as the client sent it.

    So its path is the client's word, and only what lies in Gradio's own upload folder is taken. Raises InvalidRequest.
    """
    if not isinstance(file, dict):
        return Path(str(getattr(file, "path", "")))
    path = Path(str(file.get("path") or "")).resolve()
    if not path.is_relative_to(Path(get_upload_folder()).resolve()) or not path.is_file():
        raise InvalidRequest("A file did not arrive.", "Upload it first, as gradio_client.handle_file does.")
    return path


def uploads_of(files: Sequence[object] | None) -> list[tuple[str, bytes]]:
    """(name, content) of files that came through the API. Raises InvalidRequest."""
    found = []
    for file in files or ():
        path = upload_path(file)
        name = file.get("orig_name") if isinstance(file, dict) else getattr(file, "orig_name", None)
        found.append((Path(str(name or path)).name, path.read_bytes()))
    return found
