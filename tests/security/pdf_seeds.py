"""Writes the PDFs that are spoilt: ``python -m tests.security.pdf_seeds`` fills tests/data/pdf_seeds.

Most are not packed, so that what is spoilt is what the parser meets and not a checksum.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pymupdf
from PIL import Image

FOLDER = Path(__file__).resolve().parents[1] / "data" / "pdf_seeds"
PASSWORD = "open"


def _page(width: float = 240, height: float = 160) -> tuple[Any, Any]:
    document = pymupdf.open()
    return document, document.new_page(width=width, height=height)


def _picture(mode: str, kind: str) -> bytes:
    out = io.BytesIO()
    Image.linear_gradient("L").resize((12, 9)).convert(mode).save(out, kind)
    return out.getvalue()


def words() -> Any:
    document, page = _page()
    for row, font in enumerate(("helv", "tiro", "cour", "symb", "zadb", "china-s")):
        page.insert_text((20, 25 + 20 * row), "Signed in Paris 1893", fontname=font, fontsize=11)
    page.set_rotation(90)
    return document


def form() -> Any:
    document, page = _page()
    kinds = (
        pymupdf.PDF_WIDGET_TYPE_TEXT, pymupdf.PDF_WIDGET_TYPE_CHECKBOX, pymupdf.PDF_WIDGET_TYPE_COMBOBOX,
        pymupdf.PDF_WIDGET_TYPE_LISTBOX, pymupdf.PDF_WIDGET_TYPE_BUTTON,
    )  # fmt: skip
    for row, kind in enumerate(kinds):
        widget = pymupdf.Widget()
        widget.field_name, widget.field_type = f"field {row}", kind
        widget.rect = pymupdf.Rect(20, 10 + 28 * row, 160, 32 + 28 * row)
        if kind in {pymupdf.PDF_WIDGET_TYPE_COMBOBOX, pymupdf.PDF_WIDGET_TYPE_LISTBOX}:
            widget.choice_values = ["one", "two"]
        widget.field_value = "Yes" if kind == pymupdf.PDF_WIDGET_TYPE_CHECKBOX else "one"
        page.add_widget(widget)
    return document


def pictures() -> Any:
    document, page = _page()
    for column, (mode, kind) in enumerate((("L", "JPEG"), ("RGBA", "PNG"), ("1", "TIFF"), ("P", "PNG"))):
        box = pymupdf.Rect(10 + 55 * column, 20, 60 + 55 * column, 70)
        page.insert_image(box, stream=_picture(mode, kind))
    page.insert_text((20, 120), "under the pictures")
    return document


def marks() -> Any:
    """Annotations, links, an outline, layers and an attached file."""
    document, page = _page()
    page.insert_text((20, 40), "Marked and linked")
    page.add_highlight_annot(pymupdf.Rect(20, 28, 120, 44))
    page.add_freetext_annot(pymupdf.Rect(20, 60, 120, 80), "a note")
    page.add_ink_annot([[(20, 100), (60, 110), (90, 90)]])
    page.add_polygon_annot([(150, 20), (200, 20), (180, 60)])
    page.add_stamp_annot(pymupdf.Rect(150, 90, 220, 130))
    page.insert_link(
        {
            "kind": pymupdf.LINK_GOTO,
            "page": 0,
            "from": pymupdf.Rect(20, 28, 120, 44),
            "to": pymupdf.Point(0, 0),
        }
    )
    document.add_ocg("layer")
    document.embfile_add("a.txt", b"attached")
    document.set_toc([[1, "Top", 1], [2, "Below", 1]])
    return document


def table() -> Any:
    document, page = _page()
    for line in range(5):
        page.draw_line((20, 20 + 25 * line), (220, 20 + 25 * line))
        page.draw_line((20 + 50 * line, 20), (20 + 50 * line, 120))
    for row in range(4):
        for column in range(4):
            page.insert_text((24 + 50 * column, 38 + 25 * row), f"{row * column}", fontsize=9)
    return document


def nested() -> Any:
    """A page inside a page inside a page: what may be made to hold itself."""
    inner, page = _page(100, 60)
    page.insert_text((10, 30), "innermost", fontsize=8)
    for _ in range(2):
        outer, page = _page()
        page.show_pdf_page(pymupdf.Rect(20, 20, 200, 140), inner, 0)
        inner = outer
    return inner


def drawn() -> Any:
    """Curves, dashes, clipping, shading and a Type 3 font, in content of our own."""
    document, page = _page()
    page.insert_text((20, 20), "drawn")
    shading = _object(
        document,
        "<< /ShadingType 2 /ColorSpace /DeviceRGB /Coords [0 0 200 0] /Extend [true true] "
        "/Function << /FunctionType 2 /Domain [0 1] /C0 [1 0 0] /C1 [0 0 1] /N 1 >> >>",
    )
    glyph = _object(document, "<< >>", b"600 0 0 0 500 500 d1 0 0 500 500 re f")
    font = _object(
        document,
        "<< /Type /Font /Subtype /Type3 /FontBBox [0 0 500 500] /FontMatrix [0.001 0 0 0.001 0 0] "
        f"/CharProcs << /square {glyph} 0 R >> /Encoding << /Type /Encoding /Differences [65 /square] >> "
        "/FirstChar 65 /LastChar 65 /Widths [600] >>",
    )
    tile = _object(
        document,
        "<< /Type /Pattern /PatternType 1 /PaintType 1 /TilingType 1 /BBox [0 0 4 4] /XStep 5 /YStep 5 "
        "/Resources << >> >>",
        b"0 0 2 2 re f",
    )
    content = (
        b"q 10 10 200 60 re W n /S sh Q [3 2] 0 d 20 80 m 60 140 120 20 200 100 c S "
        b"/Pattern cs /T scn 20 100 60 40 re f BT /T3 20 Tf 100 120 Td (AAA) Tj ET "
        b"BI /W 2 /H 2 /BPC 8 /CS /G ID \x00\xff\xff\x00 EI"
    )
    drawing = _object(document, "<< >>", content)
    page.set_contents(drawing)
    holder = int(document.xref_get_key(page.xref, "Resources")[1].split()[0])
    for path, value in (
        ("Shading", f"<< /S {shading} 0 R >>"), ("Pattern", f"<< /T {tile} 0 R >>"),
        ("Font", f"<< /T3 {font} 0 R >>"),
    ):  # fmt: skip
        document.xref_set_key(holder, path, value)
    return document


def boxes() -> Any:
    """Pages of every size, one of them larger than anything that was ever printed."""
    document = pymupdf.open()
    for width, height in ((3, 3), (14_400, 14_400), (20_000, 1)):
        document.new_page(width=width, height=height).insert_text((1, 2), "x")
    document[0].set_cropbox(pymupdf.Rect(1, 1, 2, 2))
    return document


def _object(document: Any, source: str, stream: bytes | None = None) -> int:
    number = int(document.get_new_xref())
    document.update_object(number, source)
    if stream is not None:
        document.update_stream(number, stream, new=True, compress=False)
    return number


MADE: dict[str, tuple[Callable[[], Any], dict[str, Any]]] = {
    "words": (words, {"expand": True}),
    "form": (form, {"expand": True}),
    "pictures": (pictures, {}),
    "marks": (marks, {"expand": True}),
    "table": (table, {"expand": True}),
    "nested": (nested, {"expand": True}),
    "drawn": (drawn, {}),
    "boxes": (boxes, {}),
    "packed": (marks, {"deflate": True, "use_objstms": 1, "garbage": 3}),
    "locked": (words, {"encryption": pymupdf.PDF_ENCRYPT_AES_256, "user_pw": PASSWORD, "owner_pw": "own"}),
    "locked_old": (
        words,
        {"encryption": pymupdf.PDF_ENCRYPT_RC4_128, "user_pw": PASSWORD, "owner_pw": "own"},
    ),
    "restricted": (form, {"encryption": pymupdf.PDF_ENCRYPT_AES_128, "owner_pw": "own"}),
}


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, (make, options) in MADE.items():
        data = make().tobytes(**options)
        (FOLDER / f"{name}.pdf").write_bytes(data)
        print(f"{name:<12}{len(data):>8} bytes")


if __name__ == "__main__":
    main()
