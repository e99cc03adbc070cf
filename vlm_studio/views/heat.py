"""Heat maps as layers over a page, and pictures of them to take away."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import cast

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vlm_studio.core.documents import Box
from vlm_studio.core.traces import HeatMap
from vlm_studio.views.data_uri import data_uri

STAGE_WIDTH = 1000
"""Pixels of the page behind a map in the browser."""
OPACITY = 80
"""Percent at first."""
_WARM = ((255, 236, 153, 0), (255, 190, 60, 150), (240, 90, 40, 205), (150, 20, 70, 235))
"""From nothing to the hottest: colour and how much it covers."""
_DARK = (
    (18, 16, 40, 255),
    (96, 35, 120, 255),
    (220, 76, 80, 255),
    (254, 205, 120, 255),
    (255, 252, 220, 255),
)
CLOSE_UP = 260
"""Pixels high at most of an enlarged strip."""


@dataclass(frozen=True, slots=True)
class Outline:
    """A box on the page that can be clicked. `kind` is a class of the style sheet: line, fed, chosen, region."""

    box: Box
    kind: str
    label: str = ""
    line: int | None = None


def coloured(values: np.ndarray, dark: bool = False) -> Image.Image:
    """RGBA of values [rows, cols] in 0..1: warm and see-through, or `dark` and solid for a picture of its own."""
    anchors = np.array(_DARK if dark else _WARM, dtype=np.float64)
    places = np.linspace(0, 1, len(anchors))
    clipped = np.clip(values, 0, 1)
    channels = [np.interp(clipped, places, anchors[:, c]) for c in range(4)]
    return Image.fromarray(np.stack(channels, -1).astype(np.uint8), "RGBA")


def heat_layer(heat: HeatMap, size: tuple[int, int]) -> Image.Image:
    """A map as an RGBA layer of `size` (width, height), smooth between its cells."""
    grid = Image.fromarray((np.clip(heat.grid, 0, 1) * 255).astype(np.uint8))
    return coloured(np.asarray(grid.resize(size, Image.Resampling.BILINEAR)) / 255)


def stage_html(page: Image.Image, outlines: Sequence[Outline], heat: HeatMap | None, label: str) -> str:
    """The page with boxes that can be clicked and, over it, a map whose strength a slider sets. `label` is its alt text."""
    scale = min(1.0, STAGE_WIDTH / page.width)
    shown = page.resize((max(1, round(page.width * scale)), max(1, round(page.height * scale))))
    layer = ""
    if heat is not None:
        small = (shown.width // 2, shown.height // 2)
        layer = f'<img class="heat" alt="" src="{data_uri(heat_layer(heat, small))}" style="opacity:{OPACITY / 100}">'
    boxes = "".join(_outline(outline) for outline in outlines)
    return (
        f'<figure class="stage-figure"><div class="stage"><img class="page" alt="{escape(label, quote=True)}" '
        f'src="{data_uri(shown, "JPEG")}" draggable="false">{layer}'
        f'<svg viewBox="0 0 {page.width} {page.height}" preserveAspectRatio="none">{boxes}</svg>'
        f'<i class="rubber"></i></div>{opacity_html() if heat is not None else ""}</figure>'
    )


def opacity_html() -> str:
    return (
        '<label class="opacity">Strength of the map<input type="range" min="0" max="100" '
        f'value="{OPACITY}" aria-label="Strength of the map"></label>'
    )


def close_up_html(page: Image.Image, box: Box, heat: HeatMap | None, caption: str) -> str:
    """A part of the page, large, with the map over it."""
    area = _inside(box, page)
    part = page.crop(area)
    factor = min(CLOSE_UP / part.height, STAGE_WIDTH * 1.4 / part.width, 4.0)
    size = (max(1, round(part.width * factor)), max(1, round(part.height * factor)))
    layer = ""
    if heat is not None:
        whole = heat_layer(heat, (page.width, page.height)).crop(area)
        layer = f'<img class="heat" alt="" src="{data_uri(whole)}" style="opacity:{OPACITY / 100}">'
    return (
        f'<figure class="close-up"><div class="stage"><img class="page" alt="{escape(caption, quote=True)}" '
        f'src="{data_uri(part.resize(size, Image.Resampling.LANCZOS), "JPEG")}">{layer}</div>'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def flat_picture(
    page: Image.Image, heat: HeatMap, caption: str, opacity: float = OPACITY / 100
) -> Image.Image:
    """Page and map as one RGB picture with a caption under it."""
    scale = min(1.0, 1600 / page.width)
    size = (max(1, round(page.width * scale)), max(1, round(page.height * scale)))
    base = page.resize(size, Image.Resampling.LANCZOS).convert("RGBA")
    layer = heat_layer(heat, size)
    layer.putalpha(layer.getchannel("A").point(lambda a: round(a * opacity)))
    font = _font(size[0])
    lines = _wrapped(caption, font, size[0] - 24)
    line_height = round(font.size * 1.35)
    whole = Image.new("RGB", (size[0], size[1] + line_height * len(lines) + 20), "white")
    whole.paste(Image.alpha_composite(base, layer).convert("RGB"))
    pen = ImageDraw.Draw(whole)
    for number, line in enumerate(lines):
        pen.text((12, size[1] + 10 + number * line_height), line, fill=(40, 38, 36), font=font)
    return whole


def flat_svg(page: Image.Image, heat: HeatMap, caption: str, opacity: float = OPACITY / 100) -> str:
    """The same as an SVG whose map is a layer of its own: page, heat and caption can be changed apart."""
    scale = min(1.0, 1600 / page.width)
    width, height = max(1, round(page.width * scale)), max(1, round(page.height * scale))
    font = _font(width)
    lines = _wrapped(caption, font, width - 24)
    step = round(font.size * 1.35)
    texts = "".join(
        f'<text x="12" y="{height + 8 + step * (n + 1)}">{escape(line)}</text>'
        for n, line in enumerate(lines)
    )
    base = data_uri(page.resize((width, height), Image.Resampling.LANCZOS), "JPEG")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height + step * len(lines) + 20}" '
        f'font-family="sans-serif" font-size="{round(font.size)}">'
        f'<image id="page" width="{width}" height="{height}" href="{base}"/>'
        f'<image id="heat" width="{width}" height="{height}" opacity="{opacity:g}" preserveAspectRatio="none" '
        f'href="{data_uri(heat_layer(heat, (width, height)))}"/><g id="caption">{texts}</g></svg>'
    )


def _outline(outline: Outline) -> str:
    box = outline.box
    title = f"<title>{escape(outline.label)}</title>" if outline.label else ""
    can = "" if outline.line is None else f' data-line="{outline.line}" tabindex="0" role="button"'
    name = f' aria-label="{escape(outline.label, quote=True)}"' if outline.label else ""
    return (
        f'<rect class="{outline.kind}"{can}{name} x="{box.left:.1f}" y="{box.top:.1f}" '
        f'width="{max(box.width, 1):.1f}" height="{max(box.height, 1):.1f}" rx="3">{title}</rect>'
    )


def _inside(box: Box, page: Image.Image) -> tuple[int, int, int, int]:
    left, top = max(0, int(box.left)), max(0, int(box.top))
    return (
        left,
        top,
        min(page.width, max(left + 1, round(box.right))),
        min(page.height, max(top + 1, round(box.bottom))),
    )


def _font(width: int) -> ImageFont.FreeTypeFont:
    """Of a caption under a picture of that width."""
    return cast("ImageFont.FreeTypeFont", ImageFont.load_default(max(14, width // 55)))


def _wrapped(text: str, font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    lines: list[str] = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines
