"""The 64 pooled tokens of a crop as pictures: where each looks, what they spell, what they share, what they miss."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vlm_studio.core.traces import Crop
from vlm_studio.views.data_uri import data_uri
from vlm_studio.views.heat import coloured

_STRIP_COLUMNS, _TILE_COLUMNS = 4, 8
_INK = (40, 38, 36)
_SHEET_WIDTH = 1120


def atlas_picture(
    seen: Image.Image, kept: np.ndarray, labels: Sequence[str], chosen: int | None = None
) -> Image.Image:
    """A small copy of what the crop shows for every token, lit where the token looks.

    `kept` [latent, rows, cols], rows sum to 1; `labels` is a letter or word for each token.
    """
    wide = seen.width > 2.5 * seen.height
    columns = _STRIP_COLUMNS if wide else _TILE_COLUMNS
    gap, label_height = 8, 15
    width = (_SHEET_WIDTH - gap * (columns - 1)) // columns
    height = max(18, round(width * seen.height / seen.width))
    rows = -(-len(kept) // columns)
    sheet = Image.new("RGB", (_SHEET_WIDTH, rows * (height + label_height + gap)), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    base = seen.convert("L").convert("RGB").resize((width, height), Image.Resampling.BILINEAR)
    brightest = float(kept.max()) or 1.0
    for number, grid in enumerate(kept):
        left = (number % columns) * (width + gap)
        top = (number // columns) * (height + label_height + gap)
        sheet.paste(lit(base, grid, brightest), (left, top + label_height))
        label = f"{number + 1}  {labels[number]}" if number < len(labels) else str(number + 1)
        pen.text((left, top), label.strip(), fill=_INK, font=font)
        if number == chosen:
            pen.rectangle(
                (left - 2, top + label_height - 2, left + width + 1, top + label_height + height + 1),
                outline=(220, 38, 38),
                width=2,
            )
    return sheet


def lit(base: Image.Image, grid: np.ndarray, brightest: float) -> Image.Image:
    """`base` dark where a token does not look, and bright where it does; `grid` [rows, cols], `brightest` of all tokens.

    One scale for all: a token that looks everywhere a little is dim everywhere.
    """
    shares = np.sqrt(grid / brightest)
    share = Image.fromarray((shares * 255).astype(np.uint8)).resize(base.size, Image.Resampling.BILINEAR)
    level = np.asarray(share)[..., None] / 255
    glow = np.asarray(base) * (0.3 + 0.7 * level) + np.array([34, 14, 0]) * level
    return Image.fromarray(np.clip(glow, 0, 255).astype(np.uint8))


def tokens_html(labels: Sequence[str], chosen: int | None, marked: Sequence[int] = ()) -> str:
    """A button for each token with what it spells or says; data-token says which. `marked` are lit up."""
    buttons = []
    for number, label in enumerate(labels):
        shown = label.strip() or ("␣" if label else "·")
        classes = "marked" if number in marked else ""
        classes += "" if label.strip() else " none"
        buttons.append(
            f'<button type="button" data-token="{number}" class="{classes.strip()}" '
            f'aria-pressed="{"true" if number == chosen else "false"}" '
            f'title="token {number + 1}" aria-label="token {number + 1}: {escape(shown, quote=True)}">{escape(shown)}</button>'
        )
    return f'<div class="token-row" role="group" aria-label="Pooled tokens">{"".join(buttons)}</div>'


def similarity_picture(similarity: np.ndarray) -> Image.Image:
    """Cosine of every two tokens, [latent, latent] in -1..1: dark is unlike, bright is alike."""
    return coloured((similarity.astype(np.float64) + 1) / 2, dark=True).resize(
        (384, 384), Image.Resampling.NEAREST
    )


def coverage_picture(seen: Image.Image, coverage: np.ndarray, crop: Crop) -> Image.Image:
    """What the crop shows, darkened where no token looks; `coverage` [rows, cols], 1 = an even share."""
    high, wide = crop.model_size_hw
    factor = max(1, min(4, 1200 // max(1, wide)))
    base = seen.convert("L").convert("RGB").resize((wide * factor, high * factor), Image.Resampling.BILINEAR)
    share = np.clip(coverage, 0, 1)
    mask = Image.fromarray((share * 255).astype(np.uint8)).resize(base.size, Image.Resampling.BILINEAR)
    light = np.asarray(mask)[..., None] / 255
    missed = np.array([120, 20, 60]) * (1 - light) * 0.75
    return Image.fromarray(
        np.clip(np.asarray(base) * (0.25 + 0.75 * light) + missed, 0, 255).astype(np.uint8)
    )


def token_strip_html(seen: Image.Image, kept: np.ndarray, caption: str) -> str:
    """What one token (or several together) looks at, on the crop; drag over it to choose pixels."""
    width = 1100
    height = max(40, min(620, round(width * seen.height / seen.width)))
    base = seen.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)
    top = kept.max() or 1.0
    share = Image.fromarray((kept / top * 255).astype(np.uint8)).resize(
        (width, height), Image.Resampling.BILINEAR
    )
    layer = coloured(np.asarray(share) / 255)
    return (
        f'<figure class="close-up"><div class="stage"><img class="page" alt="{escape(caption, quote=True)}" '
        f'draggable="false" src="{data_uri(base, "JPEG")}"><img class="heat" alt="" src="{data_uri(layer)}">'
        f'<i class="rubber"></i></div><figcaption>{escape(caption)}</figcaption></figure>'
    )
