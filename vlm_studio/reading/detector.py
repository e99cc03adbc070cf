"""Where the lines of writing are: word groups from PP-OCR's detector, joined into lines in reading order.

The detector finds groups of words; handwriting needs them joined along slanted, drifting lines, kept apart
between columns, and cut where two rows touch. Grouping happens in coordinates turned by the page's skew.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from PIL import Image as PilImage
from rapidocr import RapidOCR

from vlm_studio.core.documents import Box, Line, Point
from vlm_studio.reading.guards import has_ink, skipped_ink
from vlm_studio.reading.light import dark_on_light, deepen_ink, flatten_light
from vlm_studio.reading.order import find_gutter, reading_order

if TYPE_CHECKING:
    from PIL.Image import Image

DETECTION_SIDE = 1440
"""Pixels of the longer side that the detector sees; larger finds smaller writing and costs more."""


@dataclass(frozen=True, slots=True)
class Group:
    """A run of words in skew-corrected coordinates."""

    left: float
    right: float
    middle: float
    height: float

    @property
    def box(self) -> Box:
        return Box(self.left, self.middle - self.height / 2, self.right, self.middle + self.height / 2)


class Detector:
    """LineFinder over PP-OCRv6 small (det). Thread-safe; the model is loaded at first use."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._model: Any = None

    def find(self, image: Image) -> tuple[Line, ...]:
        """Lines of an upright RGB page in reading order, then ink that no line covers (maybe_skipped)."""
        rgb = np.asarray(image)
        scale = min(1.0, DETECTION_SIDE / max(rgb.shape[:2]))
        small = cv2.resize(rgb, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else rgb
        reach = max(15, round(max(small.shape[:2]) / 40))
        even = flatten_light(dark_on_light(small, reach), reach)
        # Only the detector sees faint marks darkened: rulings and stains are not to count as ink.
        quads = self._detect(deepen_ink(even, reach))
        if not len(quads):
            return tuple(_scaled(line, 1 / scale) for line in skipped_ink(even, ()))
        angle = page_skew(quads)
        paper = PilImage.fromarray(even)
        # Light and texture can look like writing to the detector; without ink there is none.
        lines = [line for line in _lines(quads, angle, even) if has_ink(paper.crop(_pixels(line.box)))]
        lines += skipped_ink(even, lines)
        return tuple(_scaled(line, 1 / scale) for line in lines)

    def _detect(self, rgb: np.ndarray) -> np.ndarray:
        """Quads (n, 4, 2) in pixels of `rgb`, clockwise from the top left."""
        with self._lock:
            if self._model is None:
                self._model = make_rapidocr()
            found = self._model(rgb[:, :, ::-1], use_det=True, use_cls=False, use_rec=False)
        return np.zeros((0, 4, 2)) if found.boxes is None else np.asarray(found.boxes, dtype=np.float64)


def make_rapidocr() -> Any:
    """The detector, quiet, taking pages at the size that it is given."""
    model = RapidOCR(
        params={
            "Global.log_level": "critical",
            "Global.use_cls": False,
            "Global.max_side_len": 4000,
            "Det.limit_type": "max",
            "Det.limit_side_len": DETECTION_SIDE,
            "Det.box_thresh": 0.4,
            "Det.unclip_ratio": 1.7,
        }
    )
    logging.getLogger("RapidOCR").setLevel(logging.ERROR)
    return model


def page_skew(quads: np.ndarray) -> float:
    """Angle of the writing in radians, weighted by width; 0 where the groups do not agree."""
    across = (quads[:, 1] - quads[:, 0] + quads[:, 2] - quads[:, 3]) / 2
    widths = np.hypot(across[:, 0], across[:, 1])
    heights = np.hypot(*(quads[:, 3] - quads[:, 0]).T)
    wide = widths > 3 * np.maximum(heights, 1)
    if wide.sum() < 2:
        return 0.0
    angles, weights = np.arctan2(across[wide, 1], across[wide, 0]), widths[wide]
    order = np.argsort(angles)
    middle = np.searchsorted(np.cumsum(weights[order]), weights.sum() / 2)
    angle = float(angles[order][min(middle, len(order) - 1)])
    return angle if abs(angle) < 0.35 else 0.0


def _lines(quads: np.ndarray, angle: float, even: np.ndarray) -> list[Line]:
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    back = turn.T
    groups: list[Group] = []
    for quad in quads @ turn.T:
        (left, top), (right, bottom) = quad.min(axis=0), quad.max(axis=0)
        height = float(np.mean([quad[3, 1] - quad[0, 1], quad[2, 1] - quad[1, 1]]))
        groups.append(Group(left, right, (top + bottom) / 2, max(4.0, min(height, bottom - top))))
    usual = float(np.median([g.height for g in groups]))
    groups = [
        part
        for g in groups
        if not _is_blob(g, usual, len(groups))
        for part in _split_rows(g, usual, even, back)
    ]
    gutter = find_gutter([g.box for g in groups], usual)
    merged = [_join(members) for members in _chains(groups, gutter, usual)]
    bounds = [_bounds(quad) for quad, _ in merged]
    merged = [
        kept for kept, box in zip(merged, bounds, strict=True) if not any(_is_part(box, o) for o in bounds)
    ]
    boxes = [_bounds(quad) for quad, _ in merged]
    lines: list[Line] = []
    limits = Box(0, 0, even.shape[1], even.shape[0])
    for index, column in reading_order(boxes, usual):
        corners = merged[index][0] @ back.T
        corners = np.clip(corners, 0, [limits.right, limits.bottom])
        quad = tuple((float(x), float(y)) for x, y in corners)
        slanted = max(abs(corners[0, 1] - corners[1, 1]), abs(corners[0, 0] - corners[3, 0])) > 1.5
        lines.append(Line(_bounds(corners), _four(quad) if slanted else None, column=column))
    return [line for line in lines if line.box.width > 4 and line.box.height > 4]


def _four(points: tuple[Point, ...]) -> tuple[Point, Point, Point, Point]:
    a, b, c, d = points
    return a, b, c, d


def _split_rows(group: Group, usual: float, even: np.ndarray, back: np.ndarray) -> list[Group]:
    """Two rows in one box: cut at the emptiest row of its middle when that is nearly free of ink."""
    if group.height < 1.75 * usual or group.right - group.left < 2 * usual:
        return [group]
    corners = np.array([[group.left, group.middle], [group.right, group.middle]]) @ back.T
    x0, x1 = int(max(0, corners[0, 0])), int(corners[1, 0])
    top = int(max(0, corners[:, 1].mean() - group.height / 2))
    ink = 255 - even[top : top + int(group.height), x0:x1].max(axis=2).astype(np.float32)
    if ink.shape[0] < 8 or ink.shape[1] < 8:
        return [group]
    profile = cv2.GaussianBlur(ink.mean(axis=1)[:, None], (1, 5), 0)[:, 0]
    first, last = int(0.3 * len(profile)), int(0.7 * len(profile))
    cut = first + int(profile[first:last].argmin())
    if profile[cut] > 0.35 * min(profile[:cut].max(), profile[cut:].max()):
        return [group]
    upper, lower = cut, group.height - cut
    start = group.middle - group.height / 2
    return [
        Group(group.left, group.right, start + upper / 2, upper),
        Group(group.left, group.right, start + upper + lower / 2, lower),
    ]


def _is_blob(group: Group, usual: float, count: int) -> bool:
    """A patch much higher than the writing and hardly wider than high: the edge of the paper, a stain, a drawing."""
    return count > 3 and group.height > 3 * usual and group.right - group.left < 2 * group.height


def _is_part(box: Box, other: Box) -> bool:
    """A mark that lies inside another line: an accent, a descender from the row above, which is read with it."""
    return box.intersection(other).area > 0.85 * box.area and box.height < 0.7 * other.height


def _chains(groups: list[Group], gutter: Box | None, usual: float) -> list[list[Group]]:
    """Groups that follow each other on one line, never across the gutter between columns."""
    waiting = sorted(groups, key=lambda g: g.left)
    chains: list[list[Group]] = []
    for group in waiting:
        best, closest = None, 1e9
        for chain in chains:
            last = chain[-1]
            gap = group.left - last.right
            if not _follows(last, group, usual) or (gutter is not None and _parted(last, group, gutter)):
                continue
            if abs(last.middle - group.middle) + 0.2 * max(gap, 0) < closest:
                best, closest = chain, abs(last.middle - group.middle) + 0.2 * max(gap, 0)
        if best is None:
            chains.append([group])
        else:
            best.append(group)
    return chains


def _follows(last: Group, group: Group, usual: float) -> bool:
    """True where `group` may go on the line that `last` ends: level with it, near it and of a like size."""
    shared = min(last.box.bottom, group.box.bottom) - max(last.box.top, group.box.top)
    small, large = sorted((last.height, group.height))
    gap = group.left - last.right
    near = -1.2 * small <= gap <= 4.0 * min(large, 1.5 * usual)
    return near and shared >= 0.45 * small and large <= 2.6 * max(small, 0.7 * usual)


def _parted(last: Group, group: Group, gutter: Box) -> bool:
    middle = (gutter.left + gutter.right) / 2
    beside = last.right <= middle <= group.left and gutter.top <= last.middle <= gutter.bottom
    # Closer together than the columns ever are: a heading whose word gap lies there.
    return beside and group.left - last.right >= 0.8 * gutter.width


def _join(members: list[Group]) -> tuple[np.ndarray, float]:
    """One quad (4, 2) along the line through its groups, as high as the highest of them reaches from it."""
    left, right = min(g.left for g in members), max(g.right for g in members)
    centres = np.array([(g.left + g.right) / 2 for g in members])
    middles = np.array([g.middle for g in members])
    widths = np.array([g.right - g.left for g in members])
    slope = 0.0
    if len(members) > 1 and np.ptp(centres) > 3 * max(g.height for g in members):
        slope = float(np.clip(np.polyfit(centres, middles, 1, w=np.sqrt(widths))[0], -0.12, 0.12))
    offset = float(np.average(middles - slope * centres, weights=widths))
    away = middles - slope * centres - offset
    up = max(float(g.height / 2 - a) for g, a in zip(members, away, strict=True))
    down = max(float(g.height / 2 + a) for g, a in zip(members, away, strict=True))
    ends = [(left, slope * left + offset), (right, slope * right + offset)]
    quad = [(ends[0][0], ends[0][1] - up), (ends[1][0], ends[1][1] - up)]
    quad += [(ends[1][0], ends[1][1] + down), (ends[0][0], ends[0][1] + down)]
    return np.array(quad), slope


def _bounds(quad: np.ndarray) -> Box:
    (left, top), (right, bottom) = quad.min(axis=0), quad.max(axis=0)
    return Box(float(left), float(top), float(right), float(bottom))


def _pixels(box: Box) -> tuple[int, int, int, int]:
    return int(box.left), int(box.top), int(box.right) + 1, int(box.bottom) + 1


def _scaled(line: Line, factor: float) -> Line:
    quad = None if line.quad is None else _four(tuple((x * factor, y * factor) for x, y in line.quad))
    return Line(line.box.scaled(factor), quad, line.maybe_skipped, line.column)
