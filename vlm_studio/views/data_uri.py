"""Small pictures inside the page itself."""

from __future__ import annotations

import base64
import io

from PIL import Image


def data_uri(image: Image.Image, kind: str = "PNG", quality: int = 86) -> str:
    """`image` as a data URI: "PNG", or "JPEG" of that quality (0-95)."""
    buffer = io.BytesIO()
    if kind == "JPEG":
        image.convert("RGB").save(buffer, "JPEG", quality=quality)
    else:
        image.save(buffer, "PNG", compress_level=4)
    return f"data:image/{kind.lower()};base64," + base64.b64encode(buffer.getvalue()).decode()
