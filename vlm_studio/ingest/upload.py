"""A file that a person gave, as an Asset and its pages. Limits are checked before the costly steps."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from vlm_studio.core.documents import Asset, Box, Page, Word
from vlm_studio.core.errors import FileTooLarge, NotFound, UnsupportedFile
from vlm_studio.core.settings import Limits
from vlm_studio.ingest.images import ACCEPTED, open_image, page_count, sniff
from vlm_studio.ingest.pdf import PdfFile, PdfPage


@dataclass(frozen=True, slots=True)
class OpenPage:
    """A page with its pixels (upright RGB) and the encoded image that is kept."""

    page: Page
    image: Image.Image
    encoded: bytes
    mime: str
    of: int = 1
    """How many pages its file has, where that is an image."""
    note: str = ""
    """What to know of its file: that it was damaged."""


def read_file(path: Path, limits: Limits) -> bytes:
    """Raises NotFound or FileTooLarge before the file is read."""
    if not path.is_file():
        raise NotFound(f"There is no file {path}.", "Check the name.")
    if path.stat().st_size > limits.upload_bytes:
        raise _too_large(path.name, limits)
    return path.read_bytes()


def make_asset(data: bytes, filename: str, limits: Limits) -> Asset:
    """Raises UnsupportedFile or FileTooLarge; nothing is decoded."""
    name = Path(filename).name or "upload"
    if not data:
        raise UnsupportedFile(f"{name} is empty (0 bytes).", "Copy it again; the transfer may have failed.")
    if len(data) > limits.upload_bytes:
        raise _too_large(name, limits)
    kind = sniff(data)
    mime = kind[1] if kind else ("application/pdf" if b"%PDF-" in data[:1024] else "")
    if not mime:
        raise UnsupportedFile(
            f"{name} is neither an image nor a PDF that can be read here.", f"Use {ACCEPTED}."
        )
    return Asset(hashlib.sha256(data).hexdigest(), mime, name, len(data))


def open_pages(
    data: bytes, filename: str, limits: Limits, password: str = "", dpi: float = 220.0
) -> Iterator[OpenPage]:
    """The pages of an image or PDF, one at a time. Raises UserInputError."""
    asset = make_asset(data, filename, limits)
    if asset.mime != "application/pdf":
        count = page_count(data, asset.filename, limits)
        for index in range(count):
            image = open_image(data, asset.filename, limits, index)
            yield replace(_kept(asset, index, image, None, None), of=count)
        return
    with PdfFile(data, asset.filename, limits, password) as pdf:
        for index in range(pdf.page_count):
            yield replace(pdf_page(asset, pdf.page(index, dpi)), note=pdf.note)


def pdf_page(asset: Asset, rendered: PdfPage) -> OpenPage:
    """A rendered PDF page; words that nobody can see on it are left out of its text layer."""
    image = Image.open(io.BytesIO(rendered.jpeg)).convert("RGB")
    layer = tuple(w.word for w in rendered.words if visible(image, w.word.box))
    page = _page(asset, rendered.index, image, rendered.jpeg, round(rendered.dpi), layer or None)
    return OpenPage(page, image, rendered.jpeg, "image/jpeg")


def visible(image: Image.Image, box: Box) -> bool:
    """Whether there is any ink inside a word's box: white, covered and off-page text has none."""
    left, top = max(0, int(box.left)), max(0, int(box.top))
    right, bottom = min(image.width, int(box.right) + 1), min(image.height, int(box.bottom) + 1)
    if right - left < 2 or bottom - top < 3:
        return False
    grey = np.asarray(image.crop((left, top, right, bottom)).convert("L"), dtype=np.int16)
    return int(grey.max()) - int(grey.min()) > 40


def _kept(
    asset: Asset, index: int, image: Image.Image, dpi: int | None, layer: tuple[Word, ...] | None
) -> OpenPage:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=92)
    encoded = buffer.getvalue()
    return OpenPage(_page(asset, index, image, encoded, dpi, layer), image, encoded, "image/jpeg")


def _page(
    asset: Asset,
    index: int,
    image: Image.Image,
    encoded: bytes,
    dpi: int | None,
    layer: tuple[Word, ...] | None,
) -> Page:
    digest = hashlib.sha256(encoded).hexdigest()
    return Page(asset.sha256, index, digest, image.width, image.height, dpi, layer)


def _too_large(name: str, limits: Limits) -> FileTooLarge:
    return FileTooLarge(
        f"{name} is larger than {limits.upload_bytes // 1024**2} MB.", "Compress it, or send fewer pages."
    )
