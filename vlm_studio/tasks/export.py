"""A transcription in the formats people and programs take: text, Markdown, JSON, Word, PAGE, ALTO, PDF."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree as ET

import docx

from vlm_studio.core.documents import Box, PageReading, ReadLine, Word
from vlm_studio.core.errors import InvalidRequest
from vlm_studio.core.ids import utc_now
from vlm_studio.core.settings import Limits
from vlm_studio.ingest.pdf import SearchablePage, searchable_pdf

# What XML 1.0 cannot hold at all, escaped or not.
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

_PAGE_SPACE = "http://schema.primaresearch.org/PAGE/gts/pagecontent/2019-07-15"
_ALTO_SPACE = "http://www.loc.gov/standards/alto/ns-v4#"


@dataclass(frozen=True, slots=True)
class FilePage:
    """A page reading, the file it came from, and its encoded image (needed for PDF only)."""

    file: str
    reading: PageReading
    image: bytes = b""


Writer = Callable[[Sequence[FilePage], Limits], bytes]


def export(pages: Sequence[FilePage], kind: str, limits: Limits) -> tuple[bytes, str]:
    """(content, file extension with its dot). Raises InvalidRequest for an unknown kind.

    PAGE XML holds one page a file, so several pages make a zip of them.
    """
    if kind not in FORMATS:
        raise InvalidRequest(f"There is no export format {kind!r}.", f"Use one of: {', '.join(FORMATS)}.")
    if kind == "page" and len(pages) > 1:
        return _page_files(pages, limits), ".page.zip"
    extension, write = FORMATS[kind]
    return write(pages, limits), extension


_MARKS = re.compile(r"([\\`*_{}\[\]<>#|&~])")
_UNDERLINE = re.compile(r"^\s*[-=]+\s*$")


def as_text(pages: Sequence[FilePage], limits: Limits) -> bytes:
    return ("\n\n".join(page.reading.text for page in pages) + "\n").encode("utf-8", "replace")


def as_markdown(pages: Sequence[FilePage], limits: Limits) -> bytes:
    """A heading a page, a line break a line; what Markdown would take for its own marks is escaped."""
    parts = []
    for page in pages:
        lines = [marked_down(r.reading.text) for r in _read(page)]
        title = f"## {marked_down(page.file)}, page {page.reading.page.index + 1}"
        parts.append(f"{title}\n\n" + "  \n".join(lines))
    return ("\n\n".join(parts) + "\n").encode("utf-8", "replace")


def marked_down(text: str) -> str:
    # A line of dashes would make a heading of the line above it.
    return "\\" + text.strip() if _UNDERLINE.match(text) else _MARKS.sub(r"\\\1", text)


def json_value(pages: Sequence[FilePage]) -> dict[str, Any]:
    """The value that the command line and the API give."""
    return {
        "reader": pages[0].reading.reader if pages else "",
        "pages": [
            {
                "file": page.file,
                "page": page.reading.page.index + 1,
                "text": page.reading.text,
                "seconds": round(page.reading.seconds, 3),
                "notes": list(page.reading.notes),
                "lines": [_line_value(read) for read in _read(page)],
            }
            for page in pages
        ],
    }


def _line_value(read: ReadLine) -> dict[str, Any]:
    return {
        "text": read.reading.text,
        "confidence": round(read.reading.confidence, 4),
        "box": read.line.box.as_list(),
        "words": [
            {
                "text": word.text,
                "confidence": round(word.confidence, 4),
                "box": word.box.as_list(),
                **({"alternatives": [a.text for a in word.alternatives]} if word.alternatives else {}),
            }
            for word in read.reading.words
        ],
    }


def as_json(pages: Sequence[FilePage], limits: Limits) -> bytes:
    return (json.dumps(json_value(pages), ensure_ascii=False, indent=1) + "\n").encode("utf-8", "replace")


def as_docx(pages: Sequence[FilePage], limits: Limits) -> bytes:
    document = docx.Document()
    for number, page in enumerate(pages):
        if number:
            document.add_page_break()
        document.add_heading(_xml_safe(f"{page.file}, page {page.reading.page.index + 1}"), level=2)
        for read in _read(page):
            paragraph = document.add_paragraph()
            for place, word in enumerate(read.reading.words):
                if place:
                    paragraph.add_run(" ")
                run = paragraph.add_run(_xml_safe(word.text))
                # Doubtful words can be found in Word as in the app.
                run.font.highlight_color = 7 if word.doubtful else None
            if not read.reading.words:
                paragraph.add_run(_xml_safe(read.reading.text))
    buffer = io.BytesIO()
    document.save(buffer)
    return buffer.getvalue()


def as_page_xml(pages: Sequence[FilePage], limits: Limits) -> bytes:
    """PAGE XML 2019-07-15 of the first page: the schema allows one Page a file."""
    root = ET.Element("PcGts", xmlns=_PAGE_SPACE)
    metadata, now = ET.SubElement(root, "Metadata"), utc_now()
    for name, value in (("Creator", "VLM Studio"), ("Created", now), ("LastChange", now)):
        ET.SubElement(metadata, name).text = value
    for page in pages[:1]:
        size = page.reading.page
        node = ET.SubElement(
            root, "Page", imageFilename=_xml_safe(page.file),
            imageWidth=str(size.width_px), imageHeight=str(size.height_px),
        )  # fmt: skip
        if _read(page):
            _page_region(node, page)
    return _xml_bytes(root)


def _page_region(node: ET.Element, page: FilePage) -> None:
    region = ET.SubElement(node, "TextRegion", id="r0")
    ET.SubElement(region, "Coords", points=_points(_extent(page)))
    for index, read in enumerate(_read(page)):
        line = ET.SubElement(region, "TextLine", id=f"l{index}")
        ET.SubElement(line, "Coords", points=_line_points(read))
        for place, word in enumerate(read.reading.words):
            item = ET.SubElement(line, "Word", id=f"l{index}w{place}")
            ET.SubElement(item, "Coords", points=_points(word.box))
            _page_text(item, word.text, word.confidence)
        _page_text(line, read.reading.text, read.reading.confidence)


def _page_files(pages: Sequence[FilePage], limits: Limits) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, page in enumerate(pages, start=1):
            stem = re.sub(r"\W+", "_", page.file.replace("\\", "/").rsplit("/", 1)[-1].rsplit(".", 1)[0])
            archive.writestr(f"{number:04d}_{stem}.xml", as_page_xml([page], limits))
    return buffer.getvalue()


def as_alto(pages: Sequence[FilePage], limits: Limits) -> bytes:
    """ALTO 4 with words, spaces and word confidences."""
    root = ET.Element("alto", xmlns=_ALTO_SPACE)
    ET.SubElement(ET.SubElement(root, "Description"), "MeasurementUnit").text = "pixel"
    layout = ET.SubElement(root, "Layout")
    for number, page in enumerate(pages):
        value = page.reading.page
        size = {"WIDTH": str(value.width_px), "HEIGHT": str(value.height_px)}
        node = ET.SubElement(layout, "Page", {"ID": f"p{number}", "PHYSICAL_IMG_NR": str(number + 1), **size})
        space = ET.SubElement(node, "PrintSpace", {"HPOS": "0", "VPOS": "0", **size})
        block = ET.SubElement(space, "TextBlock", {"ID": f"p{number}b0", **_alto_box(_extent(page))})
        for index, read in enumerate(_read(page)):
            line = ET.SubElement(block, "TextLine", {"ID": f"p{number}l{index}", **_alto_box(read.line.box)})
            words = read.reading.words
            if not words:
                content = {"CONTENT": _xml_safe(read.reading.text), **_alto_box(read.line.box)}
                ET.SubElement(line, "String", content)
            for place, word in enumerate(words):
                if place:
                    ET.SubElement(line, "SP", _alto_box(_between(words[place - 1].box, word.box)))
                sure = {"CONTENT": _xml_safe(word.text), "WC": f"{word.confidence:.3f}"}
                ET.SubElement(line, "String", {**sure, **_alto_box(word.box)})
    return _xml_bytes(root)


def as_pdf(pages: Sequence[FilePage], limits: Limits) -> bytes:
    """The page images with their words, invisible, on the ink."""
    return searchable_pdf(
        [
            SearchablePage(
                page.image,
                page.reading.page.width_px,
                page.reading.page.height_px,
                tuple(word for read in _read(page) for word in _words(read)),
                page.reading.page.dpi or 150.0,
            )
            for page in pages
        ],
        limits,
    )


def _words(read: ReadLine) -> list[Word]:
    """Words with places; those of a corrected line share its width by their lengths."""
    if read.reading.words:
        return [Word(word.text, word.box) for word in read.reading.words]
    texts, box = read.reading.text.split(), read.line.box
    unit = box.width / max(1, len(read.reading.text))
    found, x = [], box.left
    for text in texts:
        found.append(Word(text, Box(x, box.top, x + unit * len(text), box.bottom)))
        x += unit * (len(text) + 1)
    return found


def _read(page: FilePage) -> list[ReadLine]:
    return [read for read in page.reading.lines if read.reading.text]


def _extent(page: FilePage) -> Box:
    boxes = [read.line.box for read in _read(page)]
    if not boxes:
        return Box(0, 0, page.reading.page.width_px, page.reading.page.height_px)
    whole = boxes[0]
    for box in boxes[1:]:
        whole = whole.union(box)
    return whole


def _line_points(read: ReadLine) -> str:
    if read.line.quad is None:
        return _points(read.line.box)
    return " ".join(f"{max(0, round(x))},{max(0, round(y))}" for x, y in read.line.quad)


def _points(box: Box) -> str:
    x0, y0, x1, y1 = (max(0, round(v)) for v in (box.left, box.top, box.right, box.bottom))
    return f"{x0},{y0} {x1},{y0} {x1},{y1} {x0},{y1}"


def _alto_box(box: Box) -> dict[str, str]:
    values = (box.left, box.top, box.width, box.height)
    return dict(
        zip(("HPOS", "VPOS", "WIDTH", "HEIGHT"), (str(max(0, round(v))) for v in values), strict=True)
    )


def _between(left: Box, right: Box) -> Box:
    """The space between two words; none wide where they touch."""
    return Box(left.right, left.top, max(left.right, right.left), left.bottom)


def _page_text(node: ET.Element, text: str, confidence: float) -> None:
    item = ET.SubElement(node, "TextEquiv", conf=f"{confidence:.3f}")
    ET.SubElement(item, "Unicode").text = _xml_safe(text)


def _xml_safe(text: str) -> str:
    return _NOT_XML.sub("", text)


def _xml_bytes(root: ET.Element) -> bytes:
    ET.indent(root)
    return b'<?xml version="1.0" encoding="UTF-8"?>\n' + bytes(ET.tostring(root, encoding="utf-8")) + b"\n"


FORMATS: dict[str, tuple[str, Writer]] = {
    "text": (".txt", as_text),
    "md": (".md", as_markdown),
    "json": (".json", as_json),
    "docx": (".docx", as_docx),
    "page": (".page.xml", as_page_xml),
    "alto": (".alto.xml", as_alto),
    "pdf": (".pdf", as_pdf),
}
