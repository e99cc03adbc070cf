"""Every format, opened with the tools that people use."""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any

import docx
import pymupdf
import pytest
from lxml import etree
from PIL import Image

from vlm_studio.core.documents import (
    Alternative,
    Box,
    Line,
    LineReading,
    Page,
    PageReading,
    ReadLine,
    WordReading,
)
from vlm_studio.core.errors import InvalidRequest
from vlm_studio.core.settings import Limits
from vlm_studio.tasks.export import FORMATS, FilePage, export

PAGE = "{http://schema.primaresearch.org/PAGE/gts/pagecontent/2019-07-15}"
ALTO = "{http://www.loc.gov/standards/alto/ns-v4#}"
ODD = "Œufs <b> & été — 5€ “x” 😀 日本"
"""What trips writers: marks of XML, accents beyond Latin-1, quotes, an emoji, another script."""


def line(text: str, top: float, doubtful: str = "", **more: Any) -> ReadLine:
    """Words 90 px wide, 100 px apart, 40 px high."""
    words = tuple(
        WordReading(
            word, 0.4 if word == doubtful else 0.95, Box(50 + 100 * n, top, 140 + 100 * n, top + 40),
            (Alternative("other", 0.3),) if word == doubtful else (),
        )
        for n, word in enumerate(text.split())
    )  # fmt: skip
    box = Box(40, top, 60 + 100 * len(words), top + 40)
    return ReadLine(Line(box, **more), LineReading(text, 0.9, words, "fast"))


def corrected(text: str, top: float) -> ReadLine:
    """A line that a person wrote: no words with places."""
    return ReadLine(Line(Box(40, top, 440, top + 40)), LineReading(text, 1.0, (), "local"))


def page(
    *lines: ReadLine, file: str = "notes_1.jpg", index: int = 0, notes: tuple[str, ...] = ()
) -> FilePage:
    value = Page("0" * 64, index, "0" * 64, 1000, 600, dpi=100)
    picture = io.BytesIO()
    Image.new("RGB", (1000, 600), "white").save(picture, "PNG")
    return FilePage(file, PageReading(value, lines, "fast", 1.23456, notes), picture.getvalue())


def written(kind: str, *pages: FilePage) -> bytes:
    return export(pages, kind, Limits())[0]


UNREAD = ReadLine(Line(Box(1, 1, 9, 9), maybe_skipped=True), LineReading("", 0.0, (), "fast"))
FULL = page(
    line("Hello wrld", 50, doubtful="wrld"), UNREAD, line(ODD, 120), corrected("put right by hand", 200)
)
BLANK = page(file="blank.png", index=1, notes=("This page is blank.",))


@pytest.mark.parametrize("kind", list(FORMATS))
@pytest.mark.parametrize(
    "pages", [(), (BLANK,), (FULL,), (FULL, BLANK)], ids=["none", "blank", "full", "two"]
)
def test_every_format_takes_every_page(kind: str, pages: tuple[FilePage, ...]) -> None:
    if kind == "pdf" and not pages:
        pytest.skip("a PDF has at least one page")
    content, extension = export(pages, kind, Limits())
    assert extension.startswith(".") and content


def test_an_unknown_format_is_named() -> None:
    with pytest.raises(InvalidRequest, match=r"'rtf'.*docx"):
        export([FULL], "rtf", Limits())


def test_text() -> None:
    assert written("text", FULL, BLANK, FULL).decode() == (
        f"Hello wrld\n{ODD}\nput right by hand\n\n\n\nHello wrld\n{ODD}\nput right by hand\n"
    )


def test_markdown_keeps_lines_and_shows_what_was_written() -> None:
    text = written(
        "md", page(line("# no *title*", 0), corrected("-----", 50), corrected("a_b <i> &amp;", 90))
    ).decode()
    assert text == (
        "## notes\\_1.jpg, page 1\n\n"
        "\\# no \\*title\\*  \n\\-----  \na\\_b \\<i\\> \\&amp;\n"
    )  # fmt: skip


def test_json_has_the_documented_shape() -> None:
    value = json.loads(written("json", FULL, BLANK))
    assert value["reader"] == "fast" and len(value["pages"]) == 2
    first, blank = value["pages"]
    assert {k: v for k, v in first.items() if k != "lines"} == {
        "file": "notes_1.jpg", "page": 1, "seconds": 1.235, "notes": [],
        "text": f"Hello wrld\n{ODD}\nput right by hand",
    }  # fmt: skip
    assert first["lines"][0] == {
        "text": "Hello wrld",
        "confidence": 0.9,
        "box": [40, 50, 260, 90],
        "words": [
            {"text": "Hello", "confidence": 0.95, "box": [50, 50, 140, 90]},
            {"text": "wrld", "confidence": 0.4, "box": [150, 50, 240, 90], "alternatives": ["other"]},
        ],
    }
    assert [found["text"] for found in first["lines"]] == ["Hello wrld", ODD, "put right by hand"]
    assert first["lines"][2]["words"] == []
    assert blank["lines"] == [] and blank["text"] == "" and blank["notes"] == ["This page is blank."]
    assert json.loads(written("json")) == {"reader": "", "pages": []}


def test_docx_has_headings_lines_and_marked_doubts() -> None:
    document = docx.Document(io.BytesIO(written("docx", FULL, BLANK)))
    texts = [p.text for p in document.paragraphs if p.text.strip()]
    assert texts == ["notes_1.jpg, page 1", "Hello wrld", ODD, "put right by hand", "blank.png, page 2"]
    marked = [run.text for p in document.paragraphs for run in p.runs if run.font.highlight_color is not None]
    assert marked == ["wrld"]


def points(node: Any) -> list[tuple[int, int]]:
    pairs = node.find(f"{PAGE}Coords").get("points").split()
    return [tuple(map(int, pair.split(","))) for pair in pairs]  # type: ignore[misc]


def test_page_xml_holds_lines_and_words_with_places() -> None:
    slanted = line("up hill", 300, quad=((40.4, 310.0), (250.0, 290.0), (252.0, 330.0), (-3.0, 350.0)))
    root = etree.fromstring(written("page", page(line(ODD, 120), slanted, UNREAD)))
    assert root.tag == f"{PAGE}PcGts"
    assert [node.tag for node in root.find(f"{PAGE}Metadata")] == [
        f"{PAGE}{n}" for n in ("Creator", "Created", "LastChange")
    ]
    (node,) = root.findall(f"{PAGE}Page")
    assert dict(node.attrib) == {"imageFilename": "notes_1.jpg", "imageWidth": "1000", "imageHeight": "600"}
    (region,) = node.findall(f"{PAGE}TextRegion")
    odd, hill = region.findall(f"{PAGE}TextLine")
    assert odd.find(f"{PAGE}TextEquiv/{PAGE}Unicode").text == ODD
    assert points(odd) == [(40, 120), (960, 120), (960, 160), (40, 160)]
    assert points(hill) == [(40, 310), (250, 290), (252, 330), (0, 350)], "no coordinate is negative"
    words = odd.findall(f"{PAGE}Word")
    assert [w.find(f"{PAGE}TextEquiv/{PAGE}Unicode").text for w in words] == ODD.split()
    assert points(words[1]) == [(150, 120), (240, 120), (240, 160), (150, 160)]
    assert float(words[0].find(f"{PAGE}TextEquiv").get("conf")) == 0.95
    ids = root.xpath("//@id")
    assert len(ids) == len(set(ids)) == 1 + 2 + len(ODD.split()) + 2
    # The schema's order within a line.
    assert [child.tag.removeprefix(PAGE) for child in hill] == ["Coords", "Word", "Word", "TextEquiv"]


def test_several_pages_are_a_file_each_in_page_xml() -> None:
    content, extension = export([FULL, BLANK], "page", Limits())
    assert extension == ".page.zip"
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.namelist() == ["0001_notes_1.xml", "0002_blank.xml"]
        roots = [etree.fromstring(archive.read(name)) for name in archive.namelist()]
    assert [len(root.findall(f"{PAGE}Page")) for root in roots] == [1, 1]
    assert [len(root.findall(f".//{PAGE}TextLine")) for root in roots] == [3, 0]


def test_alto_holds_lines_words_and_spaces_with_places() -> None:
    root = etree.fromstring(written("alto", FULL, BLANK))
    assert root.tag == f"{ALTO}alto"
    assert root.findtext(f"{ALTO}Description/{ALTO}MeasurementUnit") == "pixel"
    first, second = root.findall(f"{ALTO}Layout/{ALTO}Page")
    assert (first.get("WIDTH"), first.get("HEIGHT"), second.get("PHYSICAL_IMG_NR")) == ("1000", "600", "2")
    lines = first.findall(f".//{ALTO}TextLine")
    assert [[s.get("CONTENT") for s in found.findall(f"{ALTO}String")] for found in lines] == [
        ["Hello", "wrld"], ODD.split(), ["put right by hand"],
    ]  # fmt: skip
    hello, space, wrld = lines[0]
    assert space.tag == f"{ALTO}SP" and (space.get("HPOS"), space.get("WIDTH")) == ("140", "10")
    assert [hello.get(k) for k in ("HPOS", "VPOS", "WIDTH", "HEIGHT", "WC")] == [
        "50",
        "50",
        "90",
        "40",
        "0.950",
    ]
    assert [lines[0].get(k) for k in ("HPOS", "VPOS", "WIDTH", "HEIGHT")] == ["40", "50", "220", "40"]
    assert wrld.get("WC") == "0.400"
    assert second.findall(f".//{ALTO}TextLine") == []
    ids = root.xpath("//@ID")
    assert len(ids) == len(set(ids))


def test_a_searchable_pdf_has_each_word_on_its_ink() -> None:
    document = pymupdf.open(stream=written("pdf", FULL, BLANK), filetype="pdf")
    assert document.page_count == 2 and document[1].get_text().strip() == ""
    assert (document[0].rect.width, document[0].rect.height) == (720, 432), "100 dpi"
    expected = [(word.text, word.box) for item in FULL.reading.lines for word in item.reading.words]
    found = document[0].get_text("words")
    by_hand = [w[4] for w in found[len(expected) :]]
    assert by_hand == ["put", "right", "by", "hand"]
    for (text, box), word in zip(expected, found, strict=False):
        x0, y0, x1, y1 = (v * 100 / 72 for v in word[:4])
        assert word[4] == text
        assert box.left < (x0 + x1) / 2 < box.right and box.top < (y0 + y1) / 2 < box.bottom
        assert x1 - x0 == pytest.approx(box.width, abs=2) and y1 - y0 == pytest.approx(box.height, abs=2)
    lefts = [w[0] * 100 / 72 for w in found[len(expected) :]]
    assert lefts == sorted(lefts) and lefts[0] == pytest.approx(40, abs=2) and lefts[-1] < 440


def test_phrases_are_found_in_a_searchable_pdf_and_nothing_is_seen() -> None:
    touching = ReadLine(
        Line(Box(50, 300, 250, 340)),
        LineReading(
            "ab cd",
            1,
            (WordReading("ab", 1, Box(50, 300, 151, 340)), WordReading("cd", 1, Box(150, 300, 250, 340))),
        ),
    )
    document = pymupdf.open(stream=written("pdf", page(line("été à Œuvre", 50), touching)), filetype="pdf")
    assert [len(document[0].search_for(t)) for t in ("été à Œuvre", "ab cd", "abcd")] == [1, 1, 0]
    assert set(document[0].get_pixmap().samples) == {255}


def test_what_xml_and_fonts_cannot_hold_is_left_out() -> None:
    bad = page(line("a\x00b\x08c \ud800d \ufffe", 50), file="bad\x01.jpg")
    root = etree.fromstring(written("page", bad))
    assert root.findtext(f".//{PAGE}TextLine/{PAGE}Word/{PAGE}TextEquiv/{PAGE}Unicode") == "abc"
    assert root.find(f"{PAGE}Page").get("imageFilename") == "bad.jpg"
    assert etree.fromstring(written("alto", bad)).find(f".//{ALTO}String").get("CONTENT") == "abc"
    assert "abc" in docx.Document(io.BytesIO(written("docx", bad))).paragraphs[1].text
    assert "abc" in pymupdf.open(stream=written("pdf", bad), filetype="pdf")[0].get_text()
    json.loads(written("json", bad))
    assert written("text", bad) and written("md", bad)
