"""What a model is fed, drawn: strips with their frames, pages in tiles with padding and patches, and what it costs."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np
from PIL import Image, ImageDraw

from vlm_studio.core.documents import Box
from vlm_studio.core.traces import Crop
from vlm_studio.views.data_uri import data_uri

_GRID = (79, 70, 229)
_PADDING = (226, 222, 216)
_SEAM = (220, 38, 38)
_SHOWN_WIDTH = 1200


def strip_picture(strip: Image.Image, crop: Crop, grid: bool = True) -> Image.Image:
    """A strip as the tower is fed it (grey, 48 px high), enlarged, with a line between every two frames."""
    high, wide = crop.model_size_hw
    factor = max(1, min(4, _SHOWN_WIDTH // max(wide, 1)))
    fed = strip.convert("L").resize((wide, high), Image.Resampling.BILINEAR)
    shown = fed.resize((wide * factor, high * factor), Image.Resampling.NEAREST).convert("RGB")
    if grid and crop.patch_px is not None:
        step = crop.patch_px[1] * factor
        shown = _lined(shown, [(x, 0, x, shown.height) for x in range(0, crop.patch_hw[1] * step + 1, step)])
    return shown


def pieces_picture(page: Image.Image, crops: Sequence[Crop], width: int = 640) -> Image.Image:
    """Tiles and whole as they are fed: each at its size in the model, padding grey, every fifth patch border drawn."""
    tiles = [crop for crop in crops if crop.kind == "tile"]
    gap = 10
    high, wide = (max(c.grid_hw[a] * (c.patch_px or (1, 1))[a] for c in crops) for a in (0, 1))
    columns = 3 if tiles else 1
    factor = (width - gap * (columns - 1)) / (columns * wide)
    cell = (max(1, round(wide * factor)), max(1, round(high * factor)))
    rows = 2 if tiles else 1
    sheet = Image.new(
        "RGB", (columns * cell[0] + gap * (columns - 1), rows * cell[1] + gap * (rows - 1)), "white"
    )
    places = [(0, 0.0), (1, 0.0), (0, 1.0), (1, 1.0), (2, 0.5)] if tiles else [(0, 0.0)]
    for crop, (column, row) in zip(crops, places, strict=True):
        place = (column * (cell[0] + gap), round(row * (cell[1] + gap)))
        sheet.paste(_piece(page, crop, cell, factor), place)
    return sheet


def _piece(page: Image.Image, crop: Crop, cell: tuple[int, int], factor: float) -> Image.Image:
    patch = crop.patch_px or (1, 1)
    padded = [max(1, round(crop.grid_hw[axis] * patch[axis] * factor)) for axis in (1, 0)]
    piece = Image.new("RGB", (min(cell[0], padded[0]), min(cell[1], padded[1])), _PADDING)
    pen = ImageDraw.Draw(piece)
    for x in range(-piece.height, piece.width, 9):
        pen.line((x, piece.height, x + piece.height, 0), fill=(208, 203, 196))
    size = tuple(
        min(c, max(1, round(s * factor))) for c, s in zip(cell, reversed(crop.model_size_hw), strict=True)
    )
    box = (int(crop.box.left), int(crop.box.top), int(crop.box.right), int(crop.box.bottom))
    shown = page.crop(box).resize((size[0], size[1]), Image.Resampling.BILINEAR)
    step = (crop.patch_px or (1, 1))[0] * factor * 5
    lines = [(x, 0.0, x, float(size[1])) for x in np.arange(step, size[0], step)]
    lines += [(0.0, y, float(size[0]), y) for y in np.arange(step, size[1], step)]
    piece.paste(_lined(shown, lines, 70))
    return piece


def _lined(
    image: Image.Image, lines: Sequence[tuple[float, float, float, float]], alpha: int = 110
) -> Image.Image:
    layer = Image.new("RGBA", image.size, (0, 0, 0, 0))
    pen = ImageDraw.Draw(layer)
    for line in lines:
        pen.line(line, fill=(*_GRID, alpha))
    return Image.alpha_composite(image.convert("RGBA"), layer).convert("RGB")


def seams_of(crops: Sequence[Crop]) -> list[Box]:
    """The tiles' boxes, to be drawn on the page."""
    return [crop.box for crop in crops if crop.kind == "tile"]


def picture_html(image: Image.Image, caption: str, alt: str = "") -> str:
    return (
        f'<figure class="inspect-picture"><img alt="{escape(alt or caption, quote=True)}" src="{data_uri(image)}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def facts_html(rows: Sequence[tuple[str, Sequence[str]]], heads: Sequence[str] = ()) -> str:
    """A small table: a name and one value for each column."""
    head = ""
    if heads:
        head = "<tr><th></th>" + "".join(f"<th>{escape(h)}</th>" for h in heads) + "</tr>"
    body = "".join(
        f'<tr><th scope="row">{escape(name)}</th>'
        + "".join(f"<td>{escape(v)}</td>" for v in values)
        + "</tr>"
        for name, values in rows
    )
    return f'<div class="inspect-facts"><table>{head}{body}</table></div>'


def how_to_html(text: str) -> str:
    """A folded explanation. `text` is ours; blank lines part paragraphs."""
    paragraphs = "".join(f"<p>{escape(part)}</p>" for part in text.split("\n\n"))
    return f'<details class="how-to"><summary>How to read this</summary>{paragraphs}</details>'


def note_html(text: str, warning: bool = False) -> str:
    return f'<p class="inspect-note{" warning" if warning else ""}">{escape(text)}</p>'
