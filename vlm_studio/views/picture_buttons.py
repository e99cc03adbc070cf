"""Rows of small pictures that are chosen by click or keyboard: pages of a session, examples."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape

from PIL import Image


def thumbnail_uri(image: Image.Image, longest: int) -> str:
    """`image` as a JPEG data URI, at most `longest` px on a side."""
    small = image.convert("RGB")
    small.thumbnail((longest, longest))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


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
