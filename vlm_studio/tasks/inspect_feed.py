"""Pages into what a model is fed, and what it saw back onto the pages."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from vlm_studio.core.answers import TokenEvent
from vlm_studio.core.documents import Box, Line
from vlm_studio.core.inspections import Fed, Inspection
from vlm_studio.core.traces import Crop, Trace
from vlm_studio.reading.strips import cut_strip, split_at_gaps
from vlm_studio.trace.geometry import (
    IDEFICS2_8B,
    FeedCost,
    Geometry,
    WritingSize,
    feed_cost,
    forecast_bytes,
    page_crops,
    strip_crop,
    writing_size,
)

STRIP_RATIO = 16.0
"""Width over height of the longest strip that is fed in one piece: its 64 pooled tokens spell about 60 letters."""
SMALL_FOR_NANO = 15.0
SMALL_FOR_PATCHES = 14.0
"""Pixels: a line lower than this on the page (nano), or than one patch in the model (8B), is hardly legible to it."""
RECORDED_TOKENS = 64
"""Length of the answer whose recording is forecast."""


@dataclass(frozen=True, slots=True)
class Feeding:
    """What Idefics2-8B would be fed for a page, one way: computed, without its weights."""

    name: str
    """Of the way, short: ``off``, ``on``."""
    title: str
    split: bool
    crops: tuple[Crop, ...]
    cost: FeedCost
    writing: WritingSize | None
    recording: tuple[int, int]
    """Bytes that recording an answer of RECORDED_TOKENS keeps, and needs for a moment."""

    @property
    def too_small(self) -> bool:
        return self.writing is not None and self.writing.median_px < SMALL_FOR_PATCHES


def feedings(
    page_sha256: str, size: tuple[int, int], lines: Sequence[Line], tiles: Sequence[Box] = ()
) -> tuple[Feeding, ...]:
    """With splitting off and on as Idefics2's own processor does it, and where `tiles` are given with those.

    `size` is the page's width, height; `tiles` are page pixels, and none of them is padded to another's size.
    """
    ways: list[tuple[str, str, bool, Sequence[Box]]] = [
        ("off", "Splitting off: the whole page", False, ()),
        ("on", "Splitting on: four quarters and the whole", True, ()),
    ]
    if tiles:
        ways.append(
            ("on, as here", "Splitting on in this app: seams between the writing, no padding", True, tiles)
        )
    found = []
    for name, title, split, parts in ways:
        crops = page_crops(page_sha256, (size[1], size[0]), split, tiles=parts, alone=bool(parts))
        cost = feed_cost(crops)
        recording = recording_bytes(cost)
        found.append(Feeding(name, title, split, crops, cost, writing_size(lines, crops), recording))
    return tuple(found)


def recording_bytes(cost: FeedCost, geometry: Geometry = IDEFICS2_8B) -> tuple[int, int]:
    """The forecast of trace/geometry.py for what `cost` describes."""
    return forecast_bytes(
        cost.crops,
        cost.padded_patches // cost.crops,
        geometry.resampler_heads,
        geometry.resampler_layers,
        geometry.latents,
        geometry.language_layers,
        RECORDED_TOKENS,
    )


def strip_feedings(page: Image.Image, page_id: str, line: Line) -> list[tuple[Image.Image, Crop]]:
    """What nano would be fed of a line: each strip, and the crop that it becomes."""
    return [(image, strip_crop(fed.sha256, image.size)) for fed, image in strips_of(page, page_id, line)]


def strips_of(page: Image.Image, page_id: str, line: Line) -> list[tuple[Fed, Image.Image]]:
    """A line as nano is fed it: one strip, or several where it is too long for one."""
    strip = cut_strip(page, line)
    pieces = split_at_gaps(strip.image, STRIP_RATIO)
    found = []
    for left, image in pieces:
        piece = (left, left + image.width) if len(pieces) > 1 else None
        box = strip.on_page(Box(left, 0, left + image.width, image.height))
        found.append((Fed(page_id, hash_of(image), _rounded(box), line, piece), image))
    return found


def whole_page(page: Image.Image, page_id: str) -> list[tuple[Fed, Image.Image]]:
    return [(Fed(page_id, hash_of(page), Box(0, 0, page.width, page.height)), page)]


def fed_image(page: Image.Image, fed: Fed) -> Image.Image:
    """The same image again, cut out of its page."""
    if fed.line is None:
        return page
    strip = cut_strip(page, fed.line).image
    return strip if fed.piece is None else strip.crop((fed.piece[0], 0, fed.piece[1], strip.height))


def hash_of(image: Image.Image) -> str:
    """Of size and pixels: masked copies of an image get names of their own, so no cache confuses them."""
    return hashlib.sha256(f"{image.size}".encode() + image.tobytes()).hexdigest()


def _rounded(box: Box) -> Box:
    return Box(*(round(v, 2) for v in (box.left, box.top, box.right, box.bottom)))


def rounded(line: Line) -> Line:
    """A line as it comes back from the store, so that it is cut the same way today and then."""
    quad = line.quad
    if quad is not None:
        a, b, c, d = ((round(x, 2), round(y, 2)) for x, y in quad)
        quad = (a, b, c, d)
    return replace(line, box=_rounded(line.box), quad=quad)


def on_pages(
    trace: Trace, fed: Sequence[Fed], sizes: Mapping[str, tuple[int, int]], pages: Mapping[str, str]
) -> Trace:
    """Crops of fed images as crops of their pages, so that one map shows all that came from a page.

    `sizes` has the width, height of each fed image by its hash, `pages` the hash of each page's image by the page's
    id. A slanted line becomes the upright box around it.
    """
    places = {f.sha256: f for f in fed}
    crops = []
    for crop in trace.crops:
        origin = places[crop.image_sha256]
        width, height = sizes[crop.image_sha256]
        across, down = origin.box.width / width, origin.box.height / height
        box = Box(
            origin.box.left + crop.box.left * across,
            origin.box.top + crop.box.top * down,
            origin.box.left + crop.box.right * across,
            origin.box.top + crop.box.bottom * down,
        )
        crops.append(replace(crop, box=box, image_sha256=pages[origin.page_id]))
    return replace(trace, crops=tuple(crops))


def words_of(tokens: Sequence[TokenEvent]) -> list[tuple[str, int, int]]:
    """(word, first, last token) of an answer; a token that holds a blank inside belongs to the word it begins."""
    found: list[tuple[str, int, int]] = []
    for index, token in enumerate(tokens):
        text = token.text
        if found and text and not text[0].isspace() and not found[-1][0][-1:].isspace():
            word, first, _ = found[-1]
            found[-1] = (word + text, first, index)
        elif found and not text:
            word, first, _ = found[-1]
            found[-1] = (word, first, index)
        else:
            found.append((text, index, index))
    return [(word.strip(), first, last) for word, first, last in found if word.strip()]


def prompt_words(trace: Trace, question: str) -> list[tuple[str, int, int]]:
    """Words of the question with their rows in `of_prompt(trace)`; empty where they are not all found there."""
    texts = list(trace.prompt_texts)
    whole, starts = "", []
    for text in texts:
        starts.append(len(whole))
        whole += text
    begin = whole.find(question)
    if begin < 0 or not question:
        return []
    end = begin + len(question)
    inside = [
        (i, TokenEvent(texts[i], 0, 0.0))
        for i, start in enumerate(starts)
        if start < end and start + len(texts[i]) > begin
    ]
    words = words_of([token for _, token in inside])
    return [(word, inside[first][0], inside[last][0]) for word, first, last in words]


def blank(image: Image.Image) -> Image.Image:
    """Paper without ink: the same size, its ground colour."""
    ground = np.median(np.asarray(image.convert("RGB")).reshape(-1, 3), axis=0)
    red, green, blue = (int(v) for v in ground)
    return Image.new("RGB", image.size, (red, green, blue))


def pages_of(inspection: Inspection) -> tuple[str, ...]:
    """Ids of the pages that were fed, each once."""
    return tuple(dict.fromkeys(f.page_id for f in inspection.fed))
