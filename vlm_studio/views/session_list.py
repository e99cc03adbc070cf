"""Sessions as a list that can be clicked, and what they take on disk. Everything typed or read is escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from vlm_studio.core.sessions import ListedSession, Session, StorageUse

KIND_LABELS = {
    "transcribe": "Transcription",
    "documents": "Document",
    "chat": "Chat",
    "inspect": "Inspection",
    "adapt": "Teaching",
    "compare": "Comparison",
}
MARK_START, MARK_END = "\x02", "\x03"
"""Around a find in a snippet (core.sessions.SearchHit)."""
PREVIEW_CHARS = 160


def session_list_html(
    items: Sequence[ListedSession], chosen: str, nothing: str, pictures: Mapping[str, str] | None = None
) -> str:
    """One option a session; data-session says which. `nothing` is said where there is none.

    `pictures` has those (data URIs) of found lines by the id of the line.
    """
    if not items:
        return f'<p class="studio-empty">{escape(nothing)}</p>'
    rows = "".join(_item(item, item.session.id == chosen, pictures or {}) for item in items)
    return f'<ul class="session-list" role="listbox" aria-label="Sessions">{rows}</ul>'


def _item(item: ListedSession, chosen: bool, pictures: Mapping[str, str]) -> str:
    session = item.session
    badges = "".join(
        f'<span class="badge">{text}</span>'
        for text, shown in (("pinned", session.pinned), ("archived", session.archived))
        if shown
    )
    tags = "".join(f'<span class="tag">{escape(tag)}</span>' for tag in session.tags)
    return (
        f'<li role="option" tabindex="0" data-session="{escape(session.id)}"'
        f' aria-selected="{"true" if chosen else "false"}">'
        f'<div class="head"><span class="title">{escape(session.title)}</span>{badges}'
        f"{_time(session.deleted_at or session.updated_at)}</div>"
        f'<div class="about">{escape(_about(item))}{tags}</div>{_text(item, pictures)}</li>'
    )


def _about(item: ListedSession) -> str:
    parts = [KIND_LABELS.get(item.session.kind, item.session.kind)]
    if item.facts.pages:
        parts.append(counted(item.facts.pages, "page"))
    if item.hits:
        parts.append(counted(item.hits, "find"))
    return " · ".join(parts)


def _text(item: ListedSession, pictures: Mapping[str, str]) -> str:
    if item.snippets:
        refs = [place.ref for place in item.places] or [""] * len(item.snippets)
        return "".join(
            _strip(pictures.get(ref, "")) + f'<p class="snippet">{marked_html(snippet)}</p>'
            for ref, snippet in zip(refs, item.snippets, strict=True)
        )
    preview = item.facts.preview
    if len(preview) > PREVIEW_CHARS:
        preview = preview[:PREVIEW_CHARS].rstrip() + "…"
    return f'<p class="preview">{escape(preview)}</p>' if preview else ""


def _strip(uri: str) -> str:
    return f'<img class="find" src="{escape(uri)}" alt="">' if uri else ""


def marked_html(snippet: str) -> str:
    """A search snippet with its finds in <mark>."""
    return escape(snippet).replace(MARK_START, "<mark>").replace(MARK_END, "</mark>")


def _time(moment: str) -> str:
    """The page's script shows it in the reader's own zone and language."""
    return f'<time datetime="{escape(moment)}">{escape(moment[:16].replace("T", " "))}</time>'


def session_head_html(session: Session) -> str:
    """What the chosen session is, above what can be done with it."""
    kind = KIND_LABELS.get(session.kind, session.kind)
    return (
        f'<div class="session-head"><span>{escape(kind)}</span><span>made {_time(session.created_at)}</span>'
        f"<span>changed {_time(session.updated_at)}</span></div>"
    )


def storage_html(use: StorageUse, sessions: int, deleted: int) -> str:
    """What the data folder holds, and what a clean-up would free."""
    told = (
        f"{counted(sessions, 'session')} and {counted(use.blobs, 'stored file')} take "
        f"{megabytes(use.database_bytes + use.blob_bytes)}."
    )
    if deleted:
        told += f" {counted(deleted, 'deleted session')} can still be brought back."
    if use.orphans:
        told += f" {counted(use.orphans, 'file')} ({megabytes(use.orphan_bytes)}) belong to nothing any more."
    return f'<p class="studio-hint">{escape(told)}</p>'


def counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def megabytes(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.2f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.1f} MB"
