"""What happens on each click of the Sessions tab: the view as it stands in, a new one out."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.utils import get_upload_folder
from PIL import Image

from vlm_studio.core.documents import Box
from vlm_studio.core.errors import InvalidRequest, StudioError
from vlm_studio.core.sessions import ArchiveReport, ListedSession, Session
from vlm_studio.core.settings import Settings
from vlm_studio.studio import Studio
from vlm_studio.tasks.sessions import KEEP_DELETED_DAYS, Show
from vlm_studio.tasks.sessions_document import listed_value
from vlm_studio.ui.shared import owner_of
from vlm_studio.views.picture_buttons import thumbnail_uri
from vlm_studio.views.session_list import (
    counted,
    megabytes,
    session_head_html,
    session_list_html,
    storage_html,
)
from vlm_studio.views.transcript import status_html

PAGE = 50
"""Sessions listed at once; "Show more" adds as many."""
API_LIMIT = 500
PICTURED_FINDS = 24
"""Found lines that are shown as they were written; more would make a search slow."""
STRIP_PIXELS = 560
OUTPUTS = 18
"""How many values `render` gives."""
TAB = "Sessions"
HINT = '<p class="studio-empty">Choose a session to open, rename, tag, export or delete it.</p>'
NOTHING = {
    "current": "Nothing here yet. What you read, ask and teach is kept here.",
    "archived": "Nothing is archived.",
    "deleted": "Nothing was deleted lately.",
}


@dataclass(frozen=True, slots=True)
class View:
    """What the tab shows at one moment; ids come from the browser, so whose they are is always checked."""

    query: str = ""
    kind: str = ""
    tag: str = ""
    show: Show = "current"
    limit: int = PAGE
    chosen: str = ""
    undoable: str = ""
    """The session whose deletion the Undo button takes back."""
    status: str = ""


def is_alone(settings: Settings) -> bool:
    """One owner: the app runs on their own machine, and all that is kept is theirs."""
    return not settings.demo and not settings.auth


def render(studio: Studio, owner: str, view: View) -> list[Any]:
    """Values for `Panel.outputs`, in that order."""
    sessions = studio.sessions
    found = sessions.list(owner, view.query, view.kind, view.tag, view.show, view.limit)
    chosen = next((item.session for item in found.items if item.session.id == view.chosen), None)
    nothing = "Nothing like that was found." if view.query.strip() else NOTHING[view.show]
    known = sessions.tags(owner)
    tag = view.tag if view.tag in known else ""
    status = view.status
    if not status and view.query.strip():
        status = f"Found in {counted(found.total, 'session')}{' or more' if found.at_least else ''}."
    return [
        chosen.id if chosen else "",
        view.undoable,
        view.limit,
        gr.update(choices=[("All tags", ""), *((name, name) for name in known)], value=tag),
        gr.update(value=status_html(status, None), visible=bool(status)),
        gr.update(visible=bool(view.undoable)),
        session_list_html(
            found.items, chosen.id if chosen else "", nothing, _strips(studio, owner, found.items)
        ),
        gr.update(visible=found.total > len(found.items)),
        gr.update(visible=chosen is None and bool(found.items)),
        gr.update(visible=chosen is not None),
        *_card(chosen),
        _storage(studio, owner),
    ]


def _strips(studio: Studio, owner: str, items: Sequence[ListedSession]) -> dict[str, str]:
    """Pictures of the first found lines, by the id of the line; a page is decoded once."""
    wanted = [place for item in items for place in item.places if place.box and place.page_id][
        :PICTURED_FINDS
    ]
    pages: dict[str, Image.Image] = {}
    strips = {}
    for place in wanted:
        page_id, box = str(place.page_id), place.box
        try:
            if page_id not in pages:
                pages[page_id] = studio.transcriptions.image(owner, page_id)
        except StudioError:
            # A page whose picture is gone still has its text.
            continue
        page = pages[page_id]
        if box is None or box.intersection(Box(0, 0, page.width, page.height)).area < 1:
            continue
        left, top = max(0, int(box.left)), max(0, int(box.top))
        right, bottom = min(page.width, int(box.right) + 1), min(page.height, int(box.bottom) + 1)
        strips[place.ref] = thumbnail_uri(page.crop((left, top, right, bottom)), STRIP_PIXELS)
    return strips


def _card(chosen: Session | None) -> list[Any]:
    """head, title, tags, live, pin, archive, gone."""
    if chosen is None:
        return ["", "", "", *[gr.update(visible=False)] * 4]
    live = chosen.deleted_at is None
    return [
        session_head_html(chosen),
        chosen.title,
        ", ".join(chosen.tags),
        gr.update(visible=live),
        gr.update(value="Unpin" if chosen.pinned else "Pin", visible=True),
        gr.update(value="Unarchive" if chosen.archived else "Archive", visible=True),
        gr.update(visible=not live),
    ]


def _storage(studio: Studio, owner: str) -> str:
    if not is_alone(studio.settings):
        return ""
    counts = [studio.session_store.count(owner, archived=None, deleted=deleted) for deleted in (False, True)]
    return storage_html(studio.sessions.usage(), *counts)


def skipped() -> list[Any]:
    """Nothing changes; as long as what `render` gives."""
    return [gr.skip()] * OUTPUTS


Act = Callable[[Studio, str, View], list[Any]]
ActWith = Callable[[Studio, str, View, Any], list[Any]]


def acts(handler: Act) -> Callable[..., list[Any]]:
    """`handler(studio, owner, view)` as Gradio calls it: with what `Panel.view` holds, and the request."""

    def call(
        studio: Studio, query: str, kind: str, tag: str, show: str, limit: int, chosen: str, undoable: str,
        request: gr.Request,
    ) -> list[Any]:  # fmt: skip
        return handler(
            studio, owner_of(studio.settings, request), _view(query, kind, tag, show, limit, chosen, undoable)
        )

    return call


def acts_with(handler: ActWith) -> Callable[..., list[Any]]:
    """The same with the value of one more component."""

    def call(
        studio: Studio, query: str, kind: str, tag: str, show: str, limit: int, chosen: str, undoable: str,
        given: Any, request: gr.Request,
    ) -> list[Any]:  # fmt: skip
        view = _view(query, kind, tag, show, limit, chosen, undoable)
        return handler(studio, owner_of(studio.settings, request), view, given)

    return call


def acts_on(handler: ActWith) -> Callable[..., list[Any]]:
    """The same with the event: what was clicked."""

    def call(
        studio: Studio, query: str, kind: str, tag: str, show: str, limit: int, chosen: str, undoable: str,
        request: gr.Request, event: gr.EventData,
    ) -> list[Any]:  # fmt: skip
        view = _view(query, kind, tag, show, limit, chosen, undoable)
        return handler(studio, owner_of(studio.settings, request), view, event)

    return call


def _view(query: str, kind: str, tag: str, show: str, limit: int, chosen: str, undoable: str) -> View:
    shown: Show = show if show in NOTHING else "current"  # type: ignore[assignment]
    return View(query or "", kind or "", tag or "", shown, int(limit or PAGE), chosen or "", undoable or "")


def arrive(studio: Studio, owner: str, view: View) -> list[Any]:
    """The page was loaded: what was deleted long ago goes for good, the rest is listed."""
    studio.sessions.tidy(owner)
    return render(studio, owner, view)


def tab_chosen(studio: Studio, owner: str, view: View, event: Any) -> list[Any]:
    """Somebody came (back) to this tab: list anew, and let the same session be opened again."""
    if event.value != TAB:
        return [*skipped(), gr.skip()]
    return [*render(studio, owner, view), ""]


def refilter(studio: Studio, owner: str, view: View) -> list[Any]:
    return render(studio, owner, replace(view, limit=PAGE))


def show_more(studio: Studio, owner: str, view: View) -> list[Any]:
    return render(studio, owner, replace(view, limit=view.limit + PAGE))


def choose(studio: Studio, owner: str, view: View, event: Any) -> list[Any]:
    return render(studio, owner, replace(view, chosen=str(event.session)))


def rename(studio: Studio, owner: str, view: View, title: Any) -> list[Any]:
    renamed = studio.sessions.rename(owner, view.chosen, str(title or ""))
    return render(studio, owner, replace(view, status=f"It is called “{renamed.title}” now."))


def tag(studio: Studio, owner: str, view: View, tags: Any) -> list[Any]:
    """`tags`: words parted by commas; these and no others."""
    studio.sessions.tag(owner, view.chosen, str(tags or "").split(","))
    return render(studio, owner, view)


def pin(studio: Studio, owner: str, view: View) -> list[Any]:
    session = studio.sessions.get(owner, view.chosen)
    studio.sessions.pin(owner, session.id, not session.pinned)
    return render(studio, owner, view)


def archive(studio: Studio, owner: str, view: View) -> list[Any]:
    session = studio.sessions.get(owner, view.chosen)
    studio.sessions.archive(owner, session.id, not session.archived)
    told = "is back among the current ones" if session.archived else "is archived"
    return render(studio, owner, replace(view, status=f"“{session.title}” {told}."))


def delete(studio: Studio, owner: str, view: View) -> list[Any]:
    gone = studio.sessions.delete(owner, view.chosen)
    told = f"“{gone.title}” is deleted; it can be brought back for {KEEP_DELETED_DAYS:.0f} days."
    return render(studio, owner, replace(view, chosen="", undoable=gone.id, status=told))


def undo(studio: Studio, owner: str, view: View) -> list[Any]:
    back = studio.sessions.undelete(owner, view.undoable)
    told = f"“{back.title}” is back."
    return render(studio, owner, replace(view, chosen=back.id, undoable="", status=told))


def bring_back(studio: Studio, owner: str, view: View) -> list[Any]:
    back = studio.sessions.undelete(owner, view.chosen)
    undoable = "" if view.undoable == back.id else view.undoable
    return render(
        studio, owner, replace(view, chosen="", undoable=undoable, status=f"“{back.title}” is back.")
    )


def purge(studio: Studio, owner: str, view: View) -> list[Any]:
    gone = studio.sessions.get(owner, view.chosen, deleted=True)
    studio.sessions.purge(owner, gone.id)
    undoable = "" if view.undoable == gone.id else view.undoable
    told = f"“{gone.title}” is gone for good."
    return render(studio, owner, replace(view, chosen="", undoable=undoable, status=told))


def clean(studio: Studio, owner: str, view: View) -> list[Any]:
    """Files are everybody's, so only where there is one owner."""
    _require_alone(studio)
    freed = studio.sessions.clean(owner)
    told = (
        f"{counted(freed.sessions, 'old deleted session')} and {counted(freed.files, 'file')} are gone: "
        f"{megabytes(freed.n_bytes)} are free again."
    )
    return render(studio, owner, replace(view, status=told))


def take_in(studio: Studio, owner: str, view: View, path: Any) -> list[Any]:
    """A file was dropped: an export is added at once, a backup waits for a second word."""
    if not path:
        return [*skipped(), gr.skip(), gr.skip()]
    if studio.sessions.is_backup(Path(path)) and is_alone(studio.settings):
        told = "This is a backup. Restoring it replaces all that is here; a copy of that is kept beside it."
        return [*render(studio, owner, replace(view, status=told)), gr.skip(), gr.update(visible=True)]
    report = studio.sessions.import_file(owner, Path(path))
    fresh = replace(view, chosen=report.session_ids[0] if report.session_ids else "")
    told = (
        f"{counted(report.sessions, 'session')} were added."
        if report.sessions != 1
        else "One session was added."
    )
    return [*render(studio, owner, replace(fresh, status=told)), None, gr.update(visible=False)]


def restore(studio: Studio, owner: str, view: View, path: Any) -> list[Any]:
    _require_alone(studio)
    if not path:
        raise InvalidRequest("There is no backup to restore.", "Drop its zip file first.")
    report = studio.sessions.restore(Path(path))
    _warn(report)
    told = f"{counted(report.sessions, 'session')} are back. What was here before is kept in {report.kept}."
    return [*render(studio, owner, replace(view, undoable="", status=told)), None, gr.update(visible=False)]


def open_(studio: Studio, chosen: str, request: gr.Request) -> str:
    """``kind/id``, which the tab of that kind listens for."""
    session = studio.sessions.get(owner_of(studio.settings, request), chosen)
    return f"{session.kind}/{session.id}"


def export(studio: Studio, chosen: str, kind: str, request: gr.Request) -> Any:
    owner = owner_of(studio.settings, request)
    session = studio.sessions.get(owner, chosen)
    return _offered(*studio.sessions.export(owner, [session.id], kind, download_folder()))


def export_all(studio: Studio, kind: str, request: gr.Request) -> Any:
    owner = owner_of(studio.settings, request)
    return _offered(*studio.sessions.export(owner, [], kind, download_folder()))


def backup(studio: Studio, request: gr.Request) -> Any:
    _require_alone(studio)
    path = download_folder() / "VLM Studio backup.zip"
    return _offered(path, studio.sessions.backup(path))


def download_folder() -> Path:
    """A new folder in Gradio's own cache, which it serves from and empties after a day."""
    folder = Path(get_upload_folder()) / secrets.token_hex(32)
    folder.mkdir(parents=True, mode=0o700)
    return folder


def _offered(path: Path, report: ArchiveReport) -> Any:
    _warn(report)
    return gr.update(value=str(path), visible=True)


def _warn(report: ArchiveReport) -> None:
    for problem in report.problems[:5]:
        gr.Warning(escape(problem), title="Something was left out")


def _require_alone(studio: Studio) -> None:
    if not is_alone(studio.settings):
        raise InvalidRequest(
            "On a shared app only whoever runs it can do this.", "Export your own sessions instead."
        )


def api_sessions(
    studio: Studio, query: str = "", kind: str = "", tag: str = "", show: str = "current", limit: int = PAGE,
    request: gr.Request | None = None,
) -> dict[str, Any]:  # fmt: skip
    """List sessions, newest first, or search in them. show: current, archived or deleted."""
    owner = owner_of(studio.settings, request)
    view = _view(query, kind, tag, show, min(max(int(limit), 1), API_LIMIT), "", "")
    found = studio.sessions.list(owner, view.query, view.kind, view.tag, view.show, view.limit)
    return {"total": found.total, "sessions": [listed_value(item) for item in found.items]}
