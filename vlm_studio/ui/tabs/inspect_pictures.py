"""The views of the Inspect tab as HTML: values from the tasks, pictures from views."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image

from vlm_studio.core.documents import Box, Line
from vlm_studio.core.traces import HeatMap
from vlm_studio.tasks.inspect_feed import RECORDED_TOKENS, SMALL_FOR_NANO, Feeding, feedings, strip_feedings
from vlm_studio.tasks.inspect_look import Checked, Look
from vlm_studio.tasks.inspect_tokens import CropTokens, masked_examples
from vlm_studio.ui.tabs import inspect_texts as texts
from vlm_studio.views.atlas import (
    atlas_picture,
    coverage_picture,
    similarity_picture,
    token_strip_html,
    tokens_html,
)
from vlm_studio.views.crops import (
    facts_html,
    how_to_html,
    note_html,
    picture_html,
    pieces_picture,
    strip_picture,
)
from vlm_studio.views.heat import Outline, close_up_html, stage_html
from vlm_studio.views.inspect_words import AREAS, masked_html

CLOSE_UPS = 6
"""Strips shown enlarged at once."""


def page_stage(
    page: Image.Image,
    lines: Sequence[Line],
    line: int,
    heat: HeatMap | None,
    region: tuple[float, ...],
) -> str:
    """The page with its lines, the chosen one, a marked region and a map."""
    outlines = [
        Outline(found.box, "chosen" if number == line else "line", f"Line {number + 1}", number)
        for number, found in enumerate(lines)
    ]
    if region:
        outlines.append(Outline(region_box(region, page.size), "region", "Your region"))
    return stage_html(page, outlines, heat, "The page. Click a line, or drag over a region.")


def region_box(region: tuple[float, ...], size: tuple[int, int]) -> Box:
    """Shares of width and height, in any order of corners, as a box in pixels."""
    x0, y0, x1, y1 = region
    return Box(min(x0, x1) * size[0], min(y0, y1) * size[1], max(x0, x1) * size[0], max(y0, y1) * size[1])


def fed_view(
    page: Image.Image, page_id: str, lines: Sequence[Line], line: int, tiles: Sequence[Box] = ()
) -> str:
    """What nano gets of the chosen line, and what Idefics2-8B would get of the page."""
    parts = [how_to_html(texts.FED)]
    if 0 <= line < len(lines):
        parts.append(_strips(page, page_id, lines[line], line))
    ways = feedings("", page.size, lines, tiles)
    parts.append("<h4>The same page, as Idefics2-8B would get it</h4>")
    parts.append(_warnings(ways))
    shown = "".join(picture_html(pieces_picture(page, way.crops), way.title) for way in ways)
    parts.append(f'<div class="side-by-side">{shown}</div>')
    parts.append(facts_html(_costs(ways), [f"splitting {way.name}" for way in ways]))
    return "".join(parts)


def _strips(page: Image.Image, page_id: str, line: Line, number: int) -> str:
    parts = [f"<h4>Line {number + 1}, as nano gets it</h4>"]
    strips = strip_feedings(page, page_id, line)
    for image, crop in strips:
        high, wide = crop.model_size_hw
        caption = f"{wide} x {high} pixels, {crop.patch_hw[1]} frames of 8 pixels"
        parts.append(picture_html(strip_picture(image, crop), caption))
    if line.box.height < SMALL_FOR_NANO:
        told = (
            f"This line is only {line.box.height:.0f} pixels high on the page: scaled up, it stays guesswork."
        )
        parts.append(note_html(told, warning=True))
    frames = sum(crop.patch_hw[1] for _, crop in strips)
    tokens = 64 * len(strips)
    budget = ("token budget", (str(frames), str(tokens), f"{tokens / frames:.1f}"))
    parts.append(facts_html([budget], ("frames", "pooled tokens", "tokens per frame")))
    return "".join(parts)


def _warnings(ways: Sequence[Feeding]) -> str:
    off, on = ways[0], ways[1]
    told = []
    if off.writing is not None and off.too_small:
        more = "" if on.writing is None else f" Splitting makes that {on.writing.median_px:.0f}."
        told.append(
            note_html(
                f"With splitting off a line of this page is {off.writing.median_px:.0f} pixels high for the model, less "
                f"than one patch: too small to read.{more}",
                warning=True,
            )
        )
    if on.writing is not None and on.writing.cut_by_seam:
        here = "" if len(ways) < 3 else " This app cuts between the lines and lets tiles overlap by a word."
        told.append(
            note_html(
                f"Halved in the middle, {on.writing.cut_by_seam} lines of writing lie across the border of two "
                f"tiles.{here}"
            )
        )
    return "".join(told)


def _costs(ways: Sequence[Feeding]) -> list[tuple[str, list[str]]]:
    heights = [
        "-" if w.writing is None else f"{w.writing.median_px:.0f} px (smallest {w.writing.smallest_px:.0f})"
        for w in ways
    ]
    return [
        ("crops", [str(w.cost.crops) for w in ways]),
        ("height of a line", heights),
        ("patches (with padding)", [f"{w.cost.patches:,} ({w.cost.padded_patches:,})" for w in ways]),
        ("pooled tokens", [f"{w.cost.image_tokens} ({w.cost.prompt_tokens} with marks)" for w in ways]),
        ("arithmetic: seeing", [f"{w.cost.vision_tflop:.1f} TFLOP" for w in ways]),
        ("arithmetic: reading the tokens", [f"{w.cost.language_tflop:.1f} TFLOP" for w in ways]),
        ("memory of these tokens", [f"{w.cost.kv_bytes / 2**20:.0f} MiB" for w in ways]),
        (
            f"recording {RECORDED_TOKENS} tokens: kept, and at most",
            [f"{kept / 2**20:.0f} MiB, {most / 2**20:.0f} MiB" for kept, most in (w.recording for w in ways)],
        ),
    ]


def close_ups(page: Image.Image, look: Look, heat: HeatMap | None, page_id: str) -> str:
    """What was fed of this page, large, with the map over it."""
    boxes = [fed.box for fed in look.inspection.fed if fed.page_id == page_id]
    shown = boxes[:CLOSE_UPS]
    caption = "Where the model looked" if heat is not None else "What was fed: choose a word"
    figures = "".join(
        close_up_html(
            page, box, heat, caption if len(boxes) == 1 else f"{caption}, part {n + 1} of {len(boxes)}"
        )
        for n, box in enumerate(shown)
    )
    return f'<div class="close-ups">{figures}</div>'


def token_buttons(tokens: CropTokens, token: int, marked: Sequence[int] = ()) -> str:
    hint = note_html(texts.NANO_SPELLS) if tokens.spells else ""
    return hint + tokens_html(tokens.labels, token if token >= 0 else None, marked)


def token_view(seen: Image.Image, tokens: CropTokens, token: int, marked: Sequence[int] = ()) -> str:
    """The crop with what the chosen token, the marked ones, or all of them look at."""
    kept = tokens.kept
    if 0 <= token < len(kept):
        says = tokens.says[token].strip()
        caption = f"Token {token + 1}" + (
            f"; in the language model's words nearest to “{says}”" if says else ""
        )
        return token_strip_html(seen, kept[token], caption)
    if marked:
        names = ", ".join(str(number + 1) for number in marked)
        return token_strip_html(seen, kept[list(marked)].sum(0), f"These pixels are kept by tokens {names}")
    caption = f"All {len(kept)} tokens together: drag over some pixels to see which keep them"
    return token_strip_html(seen, kept.sum(0), caption)


def atlas_view(seen: Image.Image, tokens: CropTokens) -> str:
    """Atlas, coverage, similarity and effective rank of one crop."""
    parts = [
        picture_html(atlas_picture(seen, tokens.kept, tokens.labels), "Atlas: where each token looks"),
        picture_html(
            coverage_picture(seen, tokens.coverage, tokens.crop),
            f"Coverage: {tokens.missed:.0%} of the patches are kept by hardly any token",
        ),
    ]
    if tokens.similarity is not None:
        note = (
            f"The {len(tokens.kept)} tokens say as much as {tokens.rank:.0f} tokens that have nothing in common "
            "(effective rank)."
        )
        square = picture_html(similarity_picture(tokens.similarity), "How alike every two tokens are")
        parts.append(f'<div class="similarity">{square}{note_html(note)}</div>')
    return "".join(parts)


def masks_view(pages: dict[str, Image.Image], look: Look, checked: Checked) -> str:
    """What the model was shown in the test."""
    return masked_html(
        [
            (image, f"without {AREAS[area].removesuffix(' (mean of three)')}")
            for area, image in masked_examples(pages, look, checked)
        ]
    )
