"""Pictures put things where they belong, and what a model or a person wrote never becomes markup."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
from PIL import Image

from vlm_studio.core.answers import TokenEvent, TopToken
from vlm_studio.core.documents import Box
from vlm_studio.core.traces import Crop, HeatMap, Honesty, MaskedDrop, WordSource
from vlm_studio.views import atlas, crops, heat, inspect_words, map_figures, walk

PAGE = Image.new("RGB", (400, 300), "white")
EVIL = '<img src=x onerror="alert(1)">{{value}}'


def spot(row: int, col: int) -> HeatMap:
    grid = np.zeros((30, 40), np.float32)
    grid[row, col] = 1
    return HeatMap("a" * 64, grid, 0.0, 0.3, "rollout")


def pictures(html: str) -> list[Image.Image]:
    return [
        Image.open(io.BytesIO(base64.b64decode(data)))
        for data in re.findall(r"data:image/\w+;base64,([A-Za-z0-9+/=]+)", html)
    ]


def strip(kind: str = "strip") -> Crop:
    return Crop("a" * 64, 0, kind, Box(0, 0, 240, 48), (1, 30), (1, 30), (0, 64), (48, 240), (48, 8))  # type: ignore[arg-type]


def test_a_map_lies_where_its_cells_are_and_is_clear_elsewhere() -> None:
    layer = np.asarray(heat.heat_layer(spot(6, 30), (400, 300)))
    assert layer[65, 305, 3] > 200 and layer[200, 100, 3] == 0
    page, over = pictures(heat.stage_html(PAGE, [], spot(6, 30), "A page"))
    assert page.size == (400, 300) and over.mode == "RGBA" and over.size == (200, 150)
    assert np.asarray(over)[32, 152, 3] > 200


def test_boxes_are_drawn_in_page_pixels_and_say_which_line_they_are() -> None:
    outlines = [
        heat.Outline(Box(10, 20, 110, 60), "line", "Line 1", 0),
        heat.Outline(Box(0, 0, 9, 9), "region"),
    ]
    html = heat.stage_html(PAGE, outlines, None, EVIL)
    assert 'viewBox="0 0 400 300"' in html and 'data-line="0"' in html and html.count("<rect") == 2
    assert 'x="10.0" y="20.0" width="100.0" height="40.0"' in html
    assert "<img src=x" not in html and "range" not in html


def test_a_picture_to_take_away_has_its_caption_and_its_map() -> None:
    flat = heat.flat_picture(PAGE, spot(15, 20), "Where nano looked " * 12)
    assert flat.width == 400 and flat.height > 340
    red, green, blue = flat.getpixel((205, 155))  # type: ignore[misc]
    assert red > green > 0 and flat.getpixel((5, 5)) == (255, 255, 255) and blue < 200
    svg = heat.flat_svg(PAGE, spot(15, 20), EVIL)
    assert svg.count("<image") == 2 and "&lt;img" in svg and "onerror=&quot;" in svg


def test_a_close_up_shows_its_part_of_the_page_and_of_the_map() -> None:
    part, over = pictures(heat.close_up_html(PAGE, Box(200, 40, 400, 90), spot(6, 30), "closer"))
    assert part.width / part.height == 4 and over.size == (200, 50)
    assert np.asarray(over)[25, 105, 3] > 200


def test_words_are_buttons_and_what_was_written_is_text() -> None:
    words = [
        WordSource(EVIL, 0, 0, 0.9, 0.01, "read"),
        WordSource("the", 1, 1, 0.9, 0.9, "guessed"),
    ]
    html = inspect_words.words_html(words, ["Read", EVIL], ("answer", 0), (3.0, 0.4))
    assert html.count("<button") == 4 and html.count('aria-pressed="true"') == 1
    assert "<img" not in html and "&lt;img" in html
    assert 'class="read from-region"' in html and 'class="guessed not-region"' in html
    facts = inspect_words.word_facts_html(words[0], [TokenEvent("a", 1, -0.1, (TopToken(EVIL, 2, -3.0),))])
    assert "90%" in facts and "1%" in facts and "<img" not in facts


def test_a_verdict_is_told_with_what_is_left_of_the_word() -> None:
    drops = (MaskedDrop("hot", 0.2, 2.302585), MaskedDrop("random", 0.2, 0.0), MaskedDrop("blank", 1.0, -0.8))
    html = inspect_words.honesty_html(Honesty(drops, True, "Believe it.", 0.2, 0.7), EVIL)
    assert "10% left" in html and "100% left" in html and "2.2 times as likely" in html
    assert 'class="honesty good"' in html and "20%" in html and "<img" not in html


def test_a_strip_is_drawn_as_it_is_fed_with_a_line_at_every_frame() -> None:
    plain, lined = (
        crops.strip_picture(Image.new("RGB", (480, 96), "white"), strip(), grid) for grid in (False, True)
    )
    assert plain.size == lined.size == (960, 192)
    drawn = np.flatnonzero((np.asarray(plain) != np.asarray(lined)).any((0, 2)))
    assert drawn[:3].tolist() == [0, 32, 64] and len(drawn) == 30


def test_tiles_keep_their_shapes_and_show_their_padding() -> None:
    boxes = [
        Box(0, 0, 200, 100),
        Box(200, 0, 400, 100),
        Box(0, 100, 200, 300),
        Box(200, 100, 400, 300),
        Box(0, 0, 400, 300),
    ]
    fed = [
        Crop("a" * 64, i, "whole" if i == 4 else "tile", box, (5, 5), (10, 10), (0, 64), (70, 140) if i < 2 else (140, 140), (14, 14))
        for i, box in enumerate(boxes)
    ]  # fmt: skip
    sheet = crops.pieces_picture(PAGE, fed, width=620)
    assert sheet.size == (620, 410)
    padding, shown = sheet.getpixel((100, 180)), sheet.getpixel((103, 12))
    assert padding != (255, 255, 255) and shown[0] > 230  # type: ignore[index]


def test_the_atlas_has_a_picture_for_every_token_on_one_scale() -> None:
    kept = np.zeros((64, 1, 30))
    kept[:, 0, :] = 1 / 30
    kept[5] = 0
    kept[5, 0, 3] = 1
    seen = Image.new("RGB", (240, 48), "white")
    sheet = np.asarray(atlas.atlas_picture(seen, kept, ["a"] * 64))
    top = np.asarray(atlas.lit(seen, kept[5], 1.0)).astype(int)
    even = np.asarray(atlas.lit(seen, kept[0], 1.0)).astype(int)
    assert sheet.shape[1] == 1120 and top[24, 28].sum() > even[24, 28].sum() > top[24, 200].sum()
    buttons = atlas.tokens_html(["c", " ", "", "<"], 0, [1])
    assert buttons.count("data-token") == 4 and "␣" in buttons and "·" in buttons and ">&lt;<" in buttons
    assert atlas.similarity_picture(np.eye(64)).size == (384, 384)
    coverage = np.asarray(atlas.coverage_picture(seen, np.array([[0.0] * 15 + [1.0] * 15]), strip()))
    assert coverage[50, 900].sum() > coverage[50, 50].sum()


def test_figures_and_steps_are_plain_text() -> None:
    found = {
        "conditions": EVIL, "notes": [EVIL],
        "nano": [{"method": "contrast", "mass_in_box": 0.5, "pointing": 0.75, "seconds": 0.02}, {"method": "random", "mass_in_box": 0.1, "pointing": 0.1}],
    }  # fmt: skip
    html = map_figures.figures_html(found)
    assert "50%" in html and "75%" in html and "0.02 s" in html and "<img" not in html
    assert "benchmarks/maps.py" in map_figures.figures_html({})
    assert "That was the walk" in walk.walk_html(None, 5, 5, "You guessed 3 of 5.")
