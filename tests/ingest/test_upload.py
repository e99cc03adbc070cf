"""What people upload by accident or on purpose: each bad file ends in one clear sentence."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from PIL import Image, TiffImagePlugin

from vlm_studio.core.documents import Box, Word
from vlm_studio.core.errors import (
    DamagedFile,
    FileTooLarge,
    NotFound,
    PasswordNeeded,
    UnsupportedFile,
    UserInputError,
)
from vlm_studio.core.settings import Limits
from vlm_studio.ingest.images import open_image
from vlm_studio.ingest.pdf import PdfFile, SearchablePage, searchable_pdf
from vlm_studio.ingest.upload import make_asset, open_pages, read_file

LIMITS = Limits()


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def picture(width: int = 60, height: int = 40) -> Image.Image:
    """Dark left half, light right half."""
    image = Image.new("RGB", (width, height), "white")
    image.paste((20, 20, 20), (0, 0, width // 2, height))
    return image


def huge_png() -> bytes:
    """100 megapixels in about 11 KB."""
    side = 10_000

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compress(b"\x00" * ((side // 8 + 1) * side), 9)
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def pdf(content: bytes = b"BT /F1 24 Tf 50 700 Td (Hello page) Tj ET", extra: bytes = b"") -> bytes:
    """A one-page PDF written by hand, so that broken ones can be written too."""
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R "
        b"/Resources << /Font << /F1 5 0 R >> >> " + extra + b">>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(content), content),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    out, offsets = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, start=1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    xref = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    return out + b"trailer << /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF" % (len(objects) + 1, xref)


def cyclic_pdf() -> bytes:
    return pdf().replace(b"/Kids [3 0 R] /Count 1", b"/Kids [2 0 R] /Count 9")


BAD: dict[str, tuple[Callable[[], bytes], type[UserInputError]]] = {
    "empty.png": (lambda: b"", UnsupportedFile),
    "text.jpg": (lambda: b"just some words", UnsupportedFile),
    "cut.jpg": (lambda: encoded(picture(400, 300), "JPEG")[:900], DamagedFile),
    "huge.png": (huge_png, FileTooLarge),
    "drawing.eps": (lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9", UnsupportedFile),
    "page.pdf": (lambda: b"<html><body>%PDF in name only</body></html>", UnsupportedFile),
    "cycle.pdf": (cyclic_pdf, DamagedFile),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_say_what_is_wrong(name: str) -> None:
    make, expected = BAD[name]
    with pytest.raises(expected) as failure:
        list(open_pages(make(), name, LIMITS))
    assert name in failure.value.message and failure.value.hint


def test_a_truncated_pdf_is_repaired_or_refused() -> None:
    try:
        pages = list(open_pages(pdf()[:-180], "cut.pdf", LIMITS))
        assert len(pages) == 1
    except UserInputError as refused:
        assert "cut.pdf" in refused.message


def test_a_file_over_the_limit_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "big.png"
    path.write_bytes(b"x" * 100)
    with pytest.raises(FileTooLarge):
        read_file(path, replace(LIMITS, upload_bytes=50))
    with pytest.raises(NotFound):
        read_file(tmp_path / "none.png", LIMITS)


def test_a_turned_phone_photo_stands_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned a quarter
    image = open_image(encoded(picture(), "JPEG", exif=exif), "phone.jpg", LIMITS)
    assert image.size == (40, 60)
    assert image.getpixel((20, 5)) < (90, 90, 90) and image.getpixel((20, 55)) > (180, 180, 180)


def test_heic_is_read() -> None:
    buffer = io.BytesIO()
    pillow_heif.from_pillow(picture(64, 64)).save(buffer)
    assert open_image(buffer.getvalue(), "photo.heic", LIMITS).size == (64, 64)


def test_sixteen_bits_keep_their_tones() -> None:
    values = np.linspace(0, 65535, 256, dtype=np.uint16)[None].repeat(8, axis=0)
    grey = np.asarray(open_image(encoded(Image.fromarray(values), "PNG"), "scan.png", LIMITS))[0, :, 0]
    assert grey[0] == 0 and grey[-1] == 255 and abs(int(grey[128]) - 128) <= 2


def test_cmyk_palette_and_transparency_become_rgb_on_white() -> None:
    assert open_image(encoded(picture().convert("CMYK"), "JPEG"), "print.jpg", LIMITS).mode == "RGB"
    clear = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    assert open_image(encoded(clear, "PNG"), "clear.png", LIMITS).getpixel((4, 4)) == (255, 255, 255)


def test_of_an_animation_the_first_frame_is_read() -> None:
    data = encoded(
        Image.new("RGB", (9, 9), "red"),
        "GIF",
        save_all=True,
        append_images=[Image.new("RGB", (9, 9), "blue")],
    )
    assert open_image(data, "move.gif", LIMITS).getpixel((4, 4)) == (255, 0, 0)


def test_a_pdf_page_has_its_words_where_they_are_seen() -> None:
    (page,) = open_pages(pdf(), "a.pdf", LIMITS)
    assert page.page.text_layer is not None
    words = {word.text: word.box for word in page.page.text_layer}
    assert set(words) == {"Hello", "page"} and words["Hello"].right < words["page"].left
    box = words["Hello"]
    ink = np.asarray(page.image.convert("L")) < 128
    assert ink[int(box.top) : int(box.bottom), int(box.left) : int(box.right)].any()


def test_words_of_a_turned_page_lie_on_the_turned_image() -> None:
    (page,) = open_pages(pdf(extra=b"/Rotate 90 "), "a.pdf", LIMITS)
    assert page.page.width_px > page.page.height_px and page.page.text_layer
    ink = np.asarray(page.image.convert("L")) < 128
    for word in page.page.text_layer:
        box = word.box
        assert ink[int(box.top) : int(box.bottom), int(box.left) : int(box.right)].any()


def test_text_that_nobody_can_see_is_not_in_the_layer() -> None:
    content = b"BT /F1 24 Tf 50 700 Td (seen) Tj ET 1 1 1 rg BT /F1 24 Tf 50 600 Td (hidden) Tj ET"
    (page,) = open_pages(pdf(content), "a.pdf", LIMITS)
    assert [word.text for word in page.page.text_layer or ()] == ["seen"]


def test_a_password_is_asked_for_and_taken() -> None:
    import subprocess
    import sys

    code = (
        "import pymupdf,sys;d=pymupdf.open();d.new_page();"
        "sys.stdout.buffer.write(d.tobytes(encryption=pymupdf.PDF_ENCRYPT_AES_256,user_pw='open',owner_pw='own'))"
    )
    locked = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, check=True
    ).stdout
    with pytest.raises(PasswordNeeded, match="protects"):
        list(open_pages(locked, "locked.pdf", LIMITS))
    with pytest.raises(PasswordNeeded, match="does not open"):
        list(open_pages(locked, "locked.pdf", LIMITS, password="wrong"))
    assert len(list(open_pages(locked, "locked.pdf", LIMITS, password="open"))) == 1


def test_a_page_that_never_ends_is_given_up_and_the_next_one_is_read() -> None:
    slow = pdf(b"0 0 m " + b"9999 9999 l 0 0 l " * 60 + (b"S " + b"0 0 m 999 999 l 500 w ") * 1)
    endless = pdf(zlib_bomb())
    limits = replace(LIMITS, page_seconds=1.0)
    with PdfFile(endless, "slow.pdf", limits) as document, pytest.raises(FileTooLarge, match="too complex"):
        document.page(0)
    with PdfFile(slow, "ok.pdf", LIMITS) as document:
        assert document.page(0).width_px > 0


def zlib_bomb() -> bytes:
    """Strokes over the whole page, again and again: small to write, minutes to draw."""
    return b"40 w [3 1] 0 d " + b"0 0 m 612 792 l 0 792 l 612 0 l 300 792 l S " * 60_000


def test_searchable_pdf_has_its_words_on_the_ink() -> None:
    image = Image.new("RGB", (600, 400), "white")
    words = (Word("Bonjour", Box(50, 60, 250, 110)), Word("été", Box(270, 60, 360, 110)))
    data = searchable_pdf([SearchablePage(encoded(image, "JPEG"), 600, 400, words, dpi=72)], LIMITS)
    with PdfFile(data, "out.pdf", LIMITS) as document:
        found = document.page(0, dpi=72).words
    assert [w.word.text for w in found] == ["Bonjour", "été"]
    for written, read in zip(words, found, strict=True):
        common = written.box.intersection(read.word.box)
        assert common.area / read.word.box.area > 0.6
        assert abs(read.word.box.width - written.box.width) < 0.1 * written.box.width


def test_assets_are_known_by_their_content() -> None:
    data = encoded(picture(), "PNG")
    first, second = make_asset(data, "a.png", LIMITS), make_asset(data, "dir/b.png", LIMITS)
    assert first.sha256 == second.sha256 and second.filename == "b.png" and first.mime == "image/png"


def tiff(*pages: Image.Image) -> bytes:
    return encoded(pages[0], "TIFF", save_all=True, append_images=list(pages[1:]))


def test_every_page_of_a_tiff_is_taken() -> None:
    opened = list(open_pages(tiff(picture(60), picture(70), picture(80)), "fax.tif", LIMITS))
    assert [(p.page.index, p.page.width_px, p.of) for p in opened] == [(0, 60, 3), (1, 70, 3), (2, 80, 3)]


def test_small_copies_in_a_tiff_are_no_pages() -> None:
    buffer = io.BytesIO()
    with TiffImagePlugin.AppendingTiffWriter(buffer, new=True) as writer:
        for page, kind in ((picture(60), 0), (picture(30), 1), (picture(70), 0)):
            page.save(writer, "TIFF", tiffinfo={254: kind})
            writer.newFrame()
    opened = list(open_pages(buffer.getvalue(), "scan.tif", LIMITS))
    assert [p.page.width_px for p in opened] == [60, 70]


def test_limits_hold_for_each_page_of_a_tiff() -> None:
    with pytest.raises(FileTooLarge, match="up to 2 are taken"):
        list(open_pages(tiff(picture(), picture(), picture()), "fax.tif", replace(LIMITS, pdf_pages=2)))
    pages = open_pages(tiff(picture(), picture(400, 400)), "fax.tif", replace(LIMITS, image_pixels=50_000))
    assert next(pages).page.index == 0
    with pytest.raises(FileTooLarge, match="too many pixels"):
        next(pages)


def test_a_tiff_whose_second_page_is_broken_says_so() -> None:
    data = tiff(picture(), picture())
    (first,) = struct.unpack_from("<I", data, 4)
    (entries,) = struct.unpack_from("<H", data, first)
    broken = bytearray(data)
    struct.pack_into("<I", broken, first + 2 + 12 * entries, len(data) - 3)
    pages = open_pages(bytes(broken), "fax.tif", LIMITS)
    assert next(pages).page.index == 0
    with pytest.raises(DamagedFile, match=r"fax\.tif is damaged"):
        next(pages)


def test_a_repaired_pdf_says_so() -> None:
    whole, cut = list(open_pages(pdf(), "a.pdf", LIMITS)), list(open_pages(pdf()[:-180], "a.pdf", LIMITS))
    assert whole[0].note == ""
    assert "a.pdf was damaged" in cut[0].note and "missing" in cut[0].note


def test_a_pdf_of_garbage_is_called_damaged() -> None:
    with pytest.raises(DamagedFile, match=r"^garbage\.pdf is damaged: opening it failed\."):
        PdfFile(b"%PDF-1.7\n" + b"garbage " * 50, "garbage.pdf", LIMITS)
