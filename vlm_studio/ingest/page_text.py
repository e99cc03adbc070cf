"""The text layer of a PDF page as a person could read it. Runs in the PDF process only.

A layer may say what nobody can see: white text on white, text under a picture, text of one point, text
beside the page. Each word is kept only where the rendered page has ink in its box. The invisible layer
that OCR lays over a scan stands on ink and stays.
"""

from __future__ import annotations

from typing import Any

import numpy as np

POINTS_PER_INCH = 72.0
LOOK_DPI = 100.0
LOOK_PIXELS = 4_000_000
MIN_CONTRAST = 24
"""Grey levels between paper and ink, of 255, that an eye still reads."""
NEARLY_WHITE = 238
LEGIBLE = 2.5
"""Points of type below which nobody reads."""
BOLD = 16
"""Bit of MuPDF's span flags."""
_WORD_FLAGS = ~1
"""Without TEXT_PRESERVE_LIGATURES: the one character ﬁ is what people search for as fi."""


Span = tuple[float, float, float, float, float, bool, bool]
"""x0, y0, x1, y1, size, whether bold, whether nearly white."""
ROW = 12.0


def read(pymupdf: Any, page: Any) -> dict[str, Any]:
    """``words`` as [x0, y0, x1, y1, text, line, size, bold], how many were ``hidden``, the share of the
    page that pictures cover (``pictured``, 0..1), and whether it shows nothing at all (``blank``)."""
    width, height = page.rect.width, page.rect.height
    spans = _spans(pymupdf, page)
    found = page.get_text("words", sort=False, flags=_WORD_FLAGS & pymupdf.TEXTFLAGS_WORDS)
    look = _Look(pymupdf, page)
    words, hidden = [], 0
    numbers: dict[tuple[int, int], int] = {}
    for x0, y0, x1, y1, text, block, line, _ in found:
        size, bold, white = _style(spans, (x0 + x1) / 2, (y0 + y1) / 2, y1 - y0)
        box = pymupdf.Rect(x0, y0, x1, y1) * page.rotation_matrix
        if size < LEGIBLE or not look.visible(box, white):
            hidden += 1
            continue
        number = numbers.setdefault((block, line), len(numbers))
        corners = [round(v, 2) for v in (box.x0, box.y0, box.x1, box.y1)]
        words.append([*corners, text, number, round(size, 2), bold])
    return {
        "width": width,
        "height": height,
        "words": words,
        "hidden": hidden,
        "pictured": _pictured(page, width * height),
        "blank": look.blank,
    }


def _spans(pymupdf: Any, page: Any) -> dict[int, list[Span]]:
    """Runs of one style by the rows of ROW points that they touch."""
    flags = pymupdf.TEXTFLAGS_DICT & ~pymupdf.TEXT_PRESERVE_IMAGES
    found: dict[int, list[Span]] = {}
    for block in page.get_text("dict", flags=flags)["blocks"]:
        for line in block.get("lines", ()):
            for span in line["spans"]:
                colour = span["color"]
                white = min((colour >> 16) & 255, (colour >> 8) & 255, colour & 255) >= NEARLY_WHITE
                bold = bool(span["flags"] & BOLD) or "bold" in span["font"].casefold()
                made = (*span["bbox"], span["size"], bold, white)
                for row in range(int(made[1] // ROW), int(made[3] // ROW) + 1):
                    found.setdefault(row, []).append(made)
    return found


def _style(spans: dict[int, list[Span]], x: float, y: float, height: float) -> tuple[float, bool, bool]:
    """Size, bold and nearly white of the span that holds a point."""
    for x0, y0, x1, y1, size, bold, white in spans.get(int(y // ROW), ()):
        if x0 <= x <= x1 and y0 <= y <= y1:
            return size, bold, white
    return height, False, False


def _pictured(page: Any, area: float) -> float:
    covered = 0.0
    for info in page.get_image_info():
        x0, y0, x1, y1 = info["bbox"]
        covered += max(0.0, x1 - x0) * max(0.0, y1 - y0)
    return min(1.0, covered / max(1.0, area))


class _Look:
    """The page in grey, to see whether a word is there for the eye too."""

    def __init__(self, pymupdf: Any, page: Any) -> None:
        area = max(1.0, page.rect.width * page.rect.height)
        self.scale = min(LOOK_DPI / POINTS_PER_INCH, (LOOK_PIXELS / area) ** 0.5)
        pixmap = page.get_pixmap(
            matrix=pymupdf.Matrix(self.scale, self.scale), colorspace=pymupdf.csGRAY, alpha=False
        )
        rows = np.frombuffer(pixmap.samples, dtype=np.uint8).reshape(pixmap.height, pixmap.stride)
        self.grey = rows[:, : pixmap.width]

    @property
    def blank(self) -> bool:
        return int(self.grey.max()) - int(self.grey.min()) < MIN_CONTRAST

    def visible(self, box: Any, white: bool) -> bool:
        height, width = self.grey.shape
        left, top = max(0, int(box.x0 * self.scale)), max(0, int(box.y0 * self.scale))
        right = min(width, int(box.x1 * self.scale) + 1)
        bottom = min(height, int(box.y1 * self.scale) + 1)
        if right - left < 2 or bottom - top < 3:
            return False
        ink = self.grey[top:bottom, left:right]
        if white and float(np.median(ink)) >= NEARLY_WHITE:
            # White on white, with a rule or a neighbour's stroke inside its box.
            return False
        return int(ink.max()) - int(ink.min()) >= MIN_CONTRAST
