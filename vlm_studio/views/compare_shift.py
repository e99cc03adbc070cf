"""Where either side takes each word from, on the pixels of the strip, and the difference: a slider goes over the words."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np
from PIL import Image

from vlm_studio.core.comparison import Part, WordShift
from vlm_studio.views.data_uri import data_uri
from vlm_studio.views.heat import coloured

STRIP_WIDTH = 900
"""Pixels of the strip behind the maps."""
_MORE, _LESS = (15, 118, 110), (190, 24, 93)
"""Colours of what the right side takes more from, and less."""
_TOLD: dict[Part, str] = {
    "model": "The maps of Inspect (contrast): which part of the strip the language model's attention brings to the word.",
    "reader": (
        "How likely the ink is found to be the letter of the word that stands there: the line reader reads it column by column."
    ),
}


def shift_html(strip: Image.Image, shifts: Sequence[WordShift], left: str, right: str, part: Part) -> str:
    """Three strips (left, right, difference) for one word at a time; nothing where nothing was looked into.

    The first word shown is the one whose maps differ most. All of it is in the page: going on asks nobody.
    """
    if not shifts:
        return ""
    shown = max(range(len(shifts)), key=lambda k: (shifts[k].moved, -k))
    scale = min(1.0, STRIP_WIDTH / strip.width)
    size = (max(1, round(strip.width * scale)), max(1, round(strip.height * scale)))
    picture = data_uri(strip.convert("RGB").resize(size), "JPEG")
    rows = "".join(
        _row(picture, caption, [layer(shift) for shift in shifts], shown)
        for caption, layer in (
            (left, lambda shift: _map(shift.left)),
            (right, lambda shift: _map(shift.right)),
            (f"{right} against {left}", _difference),
        )
    )
    words = "".join(
        f'<span data-shown="{k}"{"" if k == shown else " hidden"}><b>{escape(shift.text)}</b> '
        f"{shift.moved:.0%} of the map moved</span>"
        for k, shift in enumerate(shifts)
    )
    return (
        f'<h4>Where each word was read</h4><div class="shift" data-word="{shown}">'
        '<div class="shift-pick"><button type="button" data-step="-1" aria-label="Word before">‹</button>'
        f'<input type="range" min="0" max="{len(shifts) - 1}" value="{shown}" aria-label="Word">'
        f'<button type="button" data-step="1" aria-label="Next word">›</button><output>{words}</output></div>{rows}'
        f'<p class="studio-hint">{escape(_TOLD[part])} In the third strip <span class="more">green</span> is where '
        f'{escape(right)} takes more from, <span class="less">red</span> less.</p></div>'
    )


def _row(picture: str, caption: str, layers: Sequence[str], shown: int) -> str:
    heat = "".join(
        f'<img class="heat" alt="" data-shown="{k}" src="{layer}"{"" if k == shown else " hidden"}>'
        for k, layer in enumerate(layers)
    )
    return (
        f'<figure class="shift-row"><figcaption>{escape(caption)}</figcaption>'
        f'<div class="stage"><img class="page" alt="{escape(caption, quote=True)}" src="{picture}">{heat}</div></figure>'
    )


def _map(values: Sequence[float]) -> str:
    return data_uri(coloured(np.array([values])))


def _difference(shift: WordShift) -> str:
    change = np.array([shift.right]) - np.array([shift.left])
    pixels = np.zeros((*change.shape, 4))
    pixels[..., :3] = np.where(change[..., None] > 0, _MORE, _LESS)
    pixels[..., 3] = np.clip(np.abs(change), 0, 1) * 230
    return data_uri(Image.fromarray(pixels.astype(np.uint8), "RGBA"))
