"""What is compared: a picture's lines of writing, or the whole picture for a model that sees pictures."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from vlm_studio.core.errors import InvalidRequest
from vlm_studio.core.ports import LineFinder, ModelCard
from vlm_studio.core.settings import Limits
from vlm_studio.ingest.images import open_image
from vlm_studio.reading.strips import cut_strip

if TYPE_CHECKING:
    from PIL.Image import Image

MOST_STRIPS = 24
LINE_RATIO = 4.0
"""A picture this many times wider than high is one line already."""
Fate = Literal["compared", "over", "skipped"]
"""Of a line that was found; `over`: one too many, `skipped`: perhaps no writing."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Something to compare on, and what names it in a prompt hash."""

    image: Image
    sha256: str


@dataclass(frozen=True, slots=True)
class Given:
    """Lines to compare on, with what became of the others."""

    pieces: tuple[Piece, ...]
    lines: tuple[Fate, ...]
    """Of every line that was found, in reading order."""
    known: str = ""
    """What stands there, where a person put it right: a row for each line."""

    @property
    def note(self) -> str:
        """What is not compared; empty where everything is."""
        compared, over, skipped = (self.lines.count(fate) for fate in ("compared", "over", "skipped"))
        told = [f"The first {compared} of {compared + over} lines are compared."] if over else []
        if skipped:
            places = "1 place" if skipped == 1 else f"{skipped} places"
            told.append(f"Ink that may be no writing is left out: {places}.")
        return " ".join(told)

    def rows(self, text: str) -> tuple[str, ...]:
        """The row of `text` for each piece; none where it is empty.

        It may have a row for each piece, for each line of writing, or for everything that was found. Raises InvalidRequest.
        """
        rows = _rows(text)
        if not rows:
            return ()
        counted: set[Fate] = set()
        counts: list[int] = []
        for fate in ("compared", "over", "skipped"):
            counted.add(fate)
            lines = [line for line in self.lines if line in counted]
            if len(lines) == len(rows):
                return tuple(row for row, line in zip(rows, lines, strict=True) if line == "compared")
            counts += [len(lines)] if len(lines) not in counts else []
        raise InvalidRequest(
            f"Lines of text: {len(rows)}. Lines of writing: {' or '.join(map(str, counts))}.",
            "Give one line of text for each line of writing, in their order.",
        )

    def row(self, text: str, place: int) -> str:
        """What stands in one piece: the only row of `text`, or its own of as many as there are lines.

        Raises InvalidRequest.
        """
        rows = _rows(text)
        if len(rows) != 1:
            rows = self.rows(text)
            return rows[place] if rows else ""
        return rows[0]


def picture_lines(data: bytes, name: str, limits: Limits, finder: LineFinder, card: ModelCard) -> Given:
    """The lines of a picture in reading order, or the picture. Raises UserInputError."""
    image = open_image(data, name, limits)
    if card.feed == "pages" or image.width >= LINE_RATIO * image.height:
        return given([image])
    found = finder.find(image)
    written = [number for number, line in enumerate(found) if not line.maybe_skipped]
    if not written:
        return given([image])
    taken = written[:MOST_STRIPS]
    fates: dict[int, Fate] = {**dict.fromkeys(written, "over"), **dict.fromkeys(taken, "compared")}
    strips = tuple(piece(cut_strip(image, found[number]).image) for number in taken)
    return Given(strips, tuple(fates.get(number, "skipped") for number in range(len(found))))


def given(strips: Sequence[Image], known: str = "") -> Given:
    """Strips that are all compared."""
    fates: list[Fate] = ["compared"] * len(strips)
    return Given(tuple(map(piece, strips)), tuple(fates), known)


def together(parts: Sequence[Given]) -> Given:
    """Lines of several pictures, one after the other."""
    return Given(
        tuple(piece for part in parts for piece in part.pieces),
        tuple(line for part in parts for line in part.lines),
    )


def piece(image: Image) -> Piece:
    return Piece(image, hashlib.sha256(image.convert("RGB").tobytes()).hexdigest())


def _rows(text: str) -> tuple[str, ...]:
    return tuple(row for row in text.splitlines() if row.strip())
