"""The images of the message being written: numbered, each with what can be done with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from vlm_studio.core.chat import ChatImage


def tray_html(images: Sequence[ChatImage], pictures: Mapping[str, str]) -> str:
    """`pictures`: a data URI by hash. A thumbnail can be dragged into the text; its button puts it at the caret."""
    if not images:
        return ""
    items = "".join(_item(image, pictures.get(image.sha256, "")) for image in images)
    return f'<ul class="chat-tray" aria-label="Images of this message">{items}</ul>'


def _item(image: ChatImage, picture: str) -> str:
    number, name = image.number, escape(image.name)
    return (
        f'<li data-number="{number}">'
        f'<button type="button" class="look" data-act="view" data-number="{number}" draggable="true" '
        f'title="{name}: look closer, or drag it into the text">'
        f'<img src="{picture}" alt="image {number}: {name}" draggable="false"><span>{number}</span></button>'
        f'<button type="button" class="insert" data-act="insert" data-number="{number}">Insert here</button>'
        f'<span class="first">comes first</span>'
        f'<button type="button" class="remove" data-act="remove" data-number="{number}" '
        f'aria-label="Remove image {number}">×</button></li>'
    )
