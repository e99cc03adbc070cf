"""An uploaded image as upright RGB pixels, whatever the camera, scanner or program made of it."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pillow_heif
from PIL import Image, ImageOps, UnidentifiedImageError

from vlm_studio.core.errors import DamagedFile, FileTooLarge, UnsupportedFile
from vlm_studio.core.settings import Limits

_SIGNATURES: tuple[tuple[bytes, int, str, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", 0, "PNG", "image/png"),
    (b"\xff\xd8\xff", 0, "JPEG", "image/jpeg"),
    (b"GIF87a", 0, "GIF", "image/gif"),
    (b"GIF89a", 0, "GIF", "image/gif"),
    (b"WEBP", 8, "WEBP", "image/webp"),
    (b"II*\x00", 0, "TIFF", "image/tiff"),
    (b"MM\x00*", 0, "TIFF", "image/tiff"),
    (b"BM", 0, "BMP", "image/bmp"),
)
_HEIF_BRANDS = {b"heic", b"heix", b"hevc", b"mif1", b"msf1", b"heim", b"heis"}
_LONGEST = 65_500
"""Pixels of a side that a JPEG can hold, which pages are kept as."""
_DAMAGES = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, RuntimeError, TypeError)
"""What Pillow raises for files that are broken in one way or another."""
_SUBFILE, _COPY_OR_MASK = 254, 0b101
"""The TIFF tag that says what a frame is, and its bits for a smaller copy and for a mask."""

ACCEPTED = "PNG, JPEG, WebP, TIFF, GIF, BMP, HEIC, AVIF or PDF"


def sniff(data: bytes) -> tuple[str, str] | None:
    """(Pillow format, MIME type) by the first bytes; None for anything that we do not read."""
    for magic, offset, name, mime in _SIGNATURES:
        if data[offset : offset + len(magic)] == magic:
            return name, mime
    if data[4:12] == b"ftypavif":
        return "AVIF", "image/avif"
    if data[4:8] == b"ftyp" and data[8:12] in _HEIF_BRANDS:
        return "HEIF", "image/heic"
    return None


def page_count(data: bytes, filename: str, limits: Limits) -> int:
    """How many pages a TIFF has; of anything else, animations too, one picture is read. Raises UserInputError.

    A page that is damaged counts: opening it says so.
    """
    kind = sniff(data)
    if kind is None or kind[0] != "TIFF":
        return 1
    with _refusals(filename, limits):
        return len(_tiff_pages(data, filename, limits))


def open_image(data: bytes, filename: str, limits: Limits, page: int = 0) -> Image.Image:
    """Upright RGB, first frame (of a TIFF: page number `page`), transparency on white.

    Raises UnsupportedFile, DamagedFile or FileTooLarge. Pixels are counted before they are decoded.
    """
    kind = sniff(data)
    if kind is None:
        raise UnsupportedFile(f"{filename} is not an image that can be read here.", f"Use {ACCEPTED}.")
    with _refusals(filename, limits):
        if kind[0] == "HEIF":
            return _heif(data, filename, limits)
        image = Image.open(io.BytesIO(data), formats=[kind[0]])
        image.seek(_tiff_pages(data, filename, limits)[page] if page else 0)
        _check_size(*image.size, filename, limits)
        image.load()
        return _upright_rgb(image)


@contextmanager
def _refusals(filename: str, limits: Limits) -> Iterator[None]:
    """What Pillow finds wrong with a file, as our errors."""
    try:
        with warnings.catch_warnings():
            # Pillow only warns up to twice its own limit; ours is checked in `_check_size`.
            warnings.simplefilter("ignore")
            yield
    except UnidentifiedImageError as error:
        raise DamagedFile(
            f"{filename} begins like an image but is damaged.", "Export it again and retry."
        ) from error
    except Image.DecompressionBombError as error:
        raise _too_many(filename, limits) from error
    except _DAMAGES as error:
        raise DamagedFile(
            f"{filename} is damaged or cut short.", "Copy or export it again and retry."
        ) from error


def _tiff_pages(data: bytes, filename: str, limits: Limits) -> list[int]:
    """Places of the pages; small copies and masks that scanners put between them are none."""
    image = Image.open(io.BytesIO(data), formats=["TIFF"])
    pages = []
    for place in range(4 * limits.pdf_pages):
        try:
            image.seek(place)
            copy = int(image.tag_v2.get(_SUBFILE, 0)) & _COPY_OR_MASK  # type: ignore[attr-defined]
        except EOFError:
            break
        except _DAMAGES:
            # What follows cannot be found either.
            pages.append(place)
            break
        if place == 0 or not copy:
            pages.append(place)
        if len(pages) > limits.pdf_pages:
            raise FileTooLarge(
                f"{filename} has more than {limits.pdf_pages} pages; up to {limits.pdf_pages} are taken.",
                "Split it first.",
            )
    return pages


def _heif(data: bytes, filename: str, limits: Limits) -> Image.Image:
    image = pillow_heif.open_heif(io.BytesIO(data), convert_hdr_to_8bit=True)
    width, height = image.size
    _check_size(width, height, filename, limits)
    return _upright_rgb(image.to_pillow())


def _check_size(width: int, height: int, filename: str, limits: Limits) -> None:
    if width * height > limits.image_pixels:
        raise _too_many(filename, limits)
    if max(width, height) > _LONGEST:
        raise FileTooLarge(f"{filename} is longer than {_LONGEST} pixels.", "Cut it into pieces.")


def _too_many(filename: str, limits: Limits) -> FileTooLarge:
    return FileTooLarge(
        f"{filename} has too many pixels; up to {limits.image_pixels // 1_000_000} megapixels are read.",
        "Scale it down and retry.",
    )


def _upright_rgb(image: Image.Image) -> Image.Image:
    image = ImageOps.exif_transpose(image)
    if image.mode in {"I;16", "I;16B", "I;16L", "I", "F"}:
        image = _eight_bits(image)
    if image.mode in {"RGBA", "LA", "PA"} or "transparency" in image.info:
        rgba = image.convert("RGBA")
        paper = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(paper, rgba).convert("RGB")
    return image.convert("RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    """Pillow clips 16 bits to 8 and whitens the picture; scale over the range that is used instead."""
    values = np.asarray(image, dtype=np.float64)
    low, high = float(values.min()), float(values.max())
    # A scan that uses the whole range keeps its tones; a dim one is not stretched into noise.
    top = 65535.0 if high > 255 else 255.0
    scaled = (values - min(low, 0.0)) / max(top, 1.0) * 255.0
    return Image.fromarray(np.clip(scaled, 0, 255).astype(np.uint8))
