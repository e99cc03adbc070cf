"""Rows of small pictures that are chosen by click or keyboard: pages of a session, examples."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from PIL import Image

from vlm_studio.views.data_uri import data_uri


def thumbnail_uri(image: Image.Image, longest: int) -> str:
    """`image` as a JPEG data URI, at most `longest` px on a side."""
    small = image.convert("RGB")
    small.thumbnail((longest, longest))
    return data_uri(small, "JPEG", 80)


def picture_buttons_html(pictures: Sequence[tuple[str, str]], chosen: int | None, label: str) -> str:
    """A button for each (data URI or empty, caption); data-index says which. `label` names the row."""
    buttons = []
    for index, (uri, caption) in enumerate(pictures):
        picture = f'<img src="{uri}" alt="">' if uri else ""
        pressed = "true" if index == chosen else "false"
        buttons.append(
            f'<button type="button" data-index="{index}" aria-pressed="{pressed}">'
            f"{picture}<span>{escape(caption)}</span></button>"
        )
    return f'<div class="picture-buttons" role="group" aria-label="{escape(label)}">{"".join(buttons)}</div>'
