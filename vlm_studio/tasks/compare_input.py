"""What is compared: a picture's lines of writing, or the whole picture for a model that sees pictures."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vlm_studio.core.ports import LineFinder, ModelCard
from vlm_studio.core.settings import Limits
from vlm_studio.ingest.images import open_image
from vlm_studio.reading.strips import cut_strip

if TYPE_CHECKING:
    from PIL.Image import Image

MOST_STRIPS = 24
LINE_RATIO = 4.0
"""A picture this many times wider than high is one line already."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Something to compare on, and what names it in a prompt hash."""

    image: Image
    sha256: str


def pieces(data: bytes, name: str, limits: Limits, finder: LineFinder, card: ModelCard) -> tuple[Piece, ...]:
    """The lines of a picture in reading order, or the picture. Raises UserInputError."""
    image = open_image(data, name, limits)
    if card.feed == "pages" or image.width >= LINE_RATIO * image.height:
        return (piece(image),)
    lines = [line for line in finder.find(image) if not line.maybe_skipped][:MOST_STRIPS]
    return tuple(piece(cut_strip(image, line).image) for line in lines) or (piece(image),)


def piece(image: Image) -> Piece:
    return Piece(image, hashlib.sha256(image.convert("RGB").tobytes()).hexdigest())
