"""Small PDFs made for the tests of questions over documents."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from PIL import Image

Line = tuple[float, float, str]


def pdf(
    pages: Sequence[Sequence[Line]], rotate: int = 0, crop: tuple[float, ...] | None = None, **options: Any
) -> bytes:
    """A page for each list of (x, baseline y, text), 11 points unless `options` say otherwise."""
    import pymupdf

    document = pymupdf.open()
    for lines in pages:
        page = document.new_page(width=500, height=600)
        for x, y, text in lines:
            page.insert_text((x, y), text, **{"fontsize": 11, **options})
        if crop:
            page.set_cropbox(pymupdf.Rect(crop))
        page.set_rotation(rotate)
    return bytes(document.tobytes())


def with_hidden(visible: Sequence[Line], hidden: Sequence[Line], **options: Any) -> bytes:
    """A page with text to be seen, and more put on it in another way."""
    import pymupdf

    document = pymupdf.open(stream=pdf([visible]), filetype="pdf")
    for x, y, text in hidden:
        document[0].insert_text((x, y), text, **{"fontsize": 11, **options})
    return bytes(document.tobytes())


def encrypted(data: bytes, password: str) -> bytes:
    import pymupdf

    document = pymupdf.open(stream=data, filetype="pdf")
    return bytes(
        document.tobytes(encryption=pymupdf.PDF_ENCRYPT_AES_256, user_pw=password, owner_pw=password)
    )


def scan(data: bytes, junk: str = "") -> bytes:
    """The pages as pictures only, with an unseen layer of `junk` over them where given."""
    import pymupdf

    source, made = pymupdf.open(stream=data, filetype="pdf"), pymupdf.open()
    for page in source:
        picture = page.get_pixmap(dpi=150).tobytes("png")
        sheet = made.new_page(width=page.rect.width, height=page.rect.height)
        sheet.insert_image(sheet.rect, stream=picture)
        if junk:
            for row in range(20):
                sheet.insert_text((40, 60 + 14 * row), junk, fontsize=11, render_mode=3)
    return bytes(made.tobytes())


def picture(data: bytes) -> bytes:
    """The first page as a PNG."""
    import pymupdf

    pixels = pymupdf.open(stream=data, filetype="pdf")[0].get_pixmap(dpi=150).tobytes("png")
    buffer = io.BytesIO()
    Image.open(io.BytesIO(pixels)).save(buffer, "PNG")
    return buffer.getvalue()


LEASE = pdf(
    [
        [
            (50, 80, "The tenancy begins on 15 September 2022 and runs for eighteen months."),
            (50, 120, "The monthly rent is 875 pounds, payable on the fifth day of each month."),
            (50, 160, "Smoking is not permitted anywhere in the building."),
        ],
        [(50, 80, "Urgent faults are reported to the caretaker, Mr Fergus Baird, on 01573 555 998.")],
    ]
)
