"""A session as a document that people and programs read: JSON, Markdown, one HTML file with its pictures.

A document is a list of blocks: pages with what was read on them, and entries (a turn of a conversation, a
passage) made of text and pictures in their order. Whoever keeps another kind of session says what its blocks
are; the writers here need not know.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from PIL import Image

from vlm_studio.core.conversation import ImagePart, Part, TextPart
from vlm_studio.core.documents import PageReading
from vlm_studio.core.errors import StudioError
from vlm_studio.core.sessions import ListedSession, Session
from vlm_studio.core.settings import Limits
from vlm_studio.ingest.images import open_image
from vlm_studio.tasks.export import FilePage, as_markdown, json_value, marked_down

PICTURE_SIDE = 1600
"""Pixels of the longer side of a picture inside an HTML file: enough to read writing by."""


@dataclass(frozen=True, slots=True)
class PageBlock:
    """A page and what it reads now; `yours` says per line whether a person put it right."""

    file: str
    reading: PageReading
    yours: tuple[bool, ...] = ()


@dataclass(frozen=True, slots=True)
class Entry:
    """Something said, asked or found, with who or what it comes from."""

    heading: str
    parts: tuple[Part, ...]


Block = PageBlock | Entry


@dataclass(frozen=True, slots=True)
class Document:
    session: Session
    blocks: tuple[Block, ...]


Load = Callable[[str], bytes]
"""The stored picture with this hash."""


def as_json(documents: Iterable[Document], load: Load, limits: Limits) -> Iterator[bytes]:
    """One object with a list of sessions; pages are as `transcribe --format json` has them."""
    yield b'{"format": "vlm-studio-text", "version": 1, "sessions": ['
    for number, document in enumerate(documents):
        value = json.dumps(document_value(document), ensure_ascii=False, indent=1)
        yield (",\n" if number else "\n").encode() + value.encode("utf-8", "replace")
    yield b"\n]}\n"


def document_value(document: Document) -> dict[str, Any]:
    pages = [FilePage(b.file, b.reading) for b in document.blocks if isinstance(b, PageBlock)]
    entries = [b for b in document.blocks if isinstance(b, Entry)]
    return {
        **session_value(document.session),
        **({"reading": json_value(pages)} if pages else {}),
        **({"entries": [_entry_value(entry) for entry in entries]} if entries else {}),
    }


def session_value(session: Session) -> dict[str, Any]:
    """A session's row as JSON output has it."""
    return {
        "id": session.id, "kind": session.kind, "title": session.title, "created_at": session.created_at,
        "updated_at": session.updated_at, "pinned": session.pinned, "archived": session.archived,
        "tags": list(session.tags),
    }  # fmt: skip


def listed_value(item: ListedSession) -> dict[str, Any]:
    """A session of a list as the API and the command line give it."""
    return {
        **session_value(item.session),
        "pages": item.facts.pages,
        "preview": item.facts.preview,
        "snippets": list(item.snippets),
    }


def _entry_value(entry: Entry) -> dict[str, Any]:
    parts = [
        {"text": p.text} if isinstance(p, TextPart) else {"image_sha256": p.image_sha256, "alt": p.alt}
        for p in entry.parts
    ]
    return {"from": entry.heading, "parts": parts}


def as_markdown_file(documents: Iterable[Document], load: Load, limits: Limits) -> Iterator[bytes]:
    """A heading a session; pages as in the transcription's own Markdown."""
    for number, document in enumerate(documents):
        session = document.session
        parts = [f"# {marked_down(session.title)}", f"{session.created_at[:10]} · {session.kind}"]
        if session.tags:
            parts[-1] += " · " + " ".join("\\#" + marked_down(tag) for tag in session.tags)
        for block in document.blocks:
            if isinstance(block, PageBlock):
                page = FilePage(block.file, block.reading)
                parts.append(as_markdown([page], limits).decode().strip())
            else:
                parts += [f"**{marked_down(block.heading)}**", *map(_part_markdown, block.parts)]
        yield (("\n" if number else "") + "\n\n".join(parts) + "\n").encode("utf-8", "replace")


def _part_markdown(part: Part) -> str:
    if isinstance(part, ImagePart):
        return f"*[picture{': ' + marked_down(part.alt) if part.alt else ''}]*"
    return "  \n".join(marked_down(line) for line in part.text.splitlines())


_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.6 system-ui, sans-serif; margin: 0 auto; padding: 24px 16px 64px; max-width: 1080px;
  background: #fafaf9; color: #1c1917; }
h1 { font-size: 1.5rem; margin: 40px 0 4px; } h2 { font-size: 1.05rem; margin: 28px 0 8px; }
.meta, .notes { color: #78716c; font-size: .9rem; margin: 0 0 12px; }
.page { display: grid; grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); gap: 20px; align-items: start; }
img { max-width: 100%; border-radius: 8px; border: 1px solid #e7e5e4; }
ol { margin: 0; padding-left: 2.2em; } li { overflow-wrap: anywhere; } li.yours { color: #107a57; }
.entry { border-left: 3px solid #d6d3d1; padding: 2px 14px; margin: 16px 0; }
.entry p { white-space: pre-wrap; overflow-wrap: anywhere; margin: 6px 0; }
.tag { border: 1px solid #d6d3d1; border-radius: 99px; padding: 0 9px; }
@media (max-width: 720px) { .page { grid-template-columns: 1fr; } }
@media (prefers-color-scheme: dark) {
  body { background: #0c0a09; color: #e7e5e4; } .meta, .notes { color: #a8a29e; }
  img { border-color: #292524; } li.yours { color: #5fd3a4; } .entry, .tag { border-color: #44403c; } }
"""


def as_html(documents: Iterable[Document], load: Load, limits: Limits) -> Iterator[bytes]:
    """One file that needs no other: pictures inside, all text escaped, nothing in it runs or is fetched."""
    yield (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">"
        f"<title>VLM Studio</title><style>{_STYLE}</style></head><body>\n"
    ).encode()
    for document in documents:
        for piece in _document_html(document, load, limits):
            yield piece.encode("utf-8", "replace")
    yield b"</body></html>\n"


def _document_html(document: Document, load: Load, limits: Limits) -> Iterator[str]:
    session = document.session
    tags = "".join(f' <span class="tag">{escape(tag)}</span>' for tag in session.tags)
    yield f"<h1>{escape(session.title)}</h1>"
    yield f'<p class="meta">{escape(session.kind)} · {escape(session.created_at[:10])}{tags}</p>\n'
    for block in document.blocks:
        if isinstance(block, PageBlock):
            yield from _page_html(block, load, limits)
        else:
            yield f'<div class="entry"><h2>{escape(block.heading)}</h2>'
            for part in block.parts:
                if isinstance(part, TextPart):
                    yield f"<p>{escape(part.text)}</p>"
                else:
                    yield _picture(part.image_sha256, part.alt or "picture", load, limits)
            yield "</div>\n"


def _page_html(block: PageBlock, load: Load, limits: Limits) -> Iterator[str]:
    page = block.reading.page
    name = f"{block.file}, page {page.index + 1}"
    yield f'<h2>{escape(name)}</h2><div class="page"><div>'
    yield _picture(page.image_sha256, name, load, limits)
    yield "</div><div><ol>"
    for number, read in enumerate(block.reading.lines):
        if read.reading.text:
            yours = ' class="yours"' if block.yours[number : number + 1] == (True,) else ""
            yield f"<li{yours}>{escape(read.reading.text)}</li>"
    yield "</ol>"
    told = " ".join((f"Read by {block.reading.reader or 'nobody'}.", *block.reading.notes))
    yield f'<p class="notes">{escape(told)}</p></div></div>\n'


def _picture(sha256: str, alt: str, load: Load, limits: Limits) -> str:
    """An image element; a sentence where the picture is damaged, so that the text still comes along."""
    try:
        image = open_image(load(sha256), alt, limits)
    except StudioError as error:
        return f'<p class="notes">{escape(error.message)}</p>'
    image.thumbnail((PICTURE_SIDE, PICTURE_SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=85)
    uri = "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
    return f'<img src="{uri}" alt="{escape(alt)}" width="{image.width}" height="{image.height}">'


Writer = Callable[[Iterable[Document], Load, Limits], Iterator[bytes]]

WRITERS: dict[str, tuple[str, Writer]] = {
    "json": (".json", as_json),
    "md": (".md", as_markdown_file),
    "html": (".html", as_html),
}


def file_name(sessions: Sequence[Session], extension: str) -> str:
    """A name that any file system takes."""
    title = sessions[0].title if len(sessions) == 1 else "VLM Studio sessions"
    stem = "".join(c if c.isalnum() or c in "-_ " else "_" for c in title).strip()[:60]
    return (stem or "session") + extension
