"""The words of a page as a reader takes them in: columns, paragraphs, headings, and tables by rows.

Geometry alone, so that digital pages, scans and handwriting go the same way. Lengths are compared with the
size of the type, so the page's unit does not matter.
"""

from __future__ import annotations

import itertools
import re
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from vlm_studio.core.documents import Box
from vlm_studio.core.passages import PageText
from vlm_studio.reading.order import find_gutter

CELL_GAP = 1.5
"""A gap between words wider than this many type sizes parts cells."""
PARAGRAPH_GAP = 0.75
"""White space between two lines, in type sizes, that parts paragraphs; more than the page's own spacing."""
HEADING_WORDS = 16

_BULLET = re.compile(r"^(?:[•◦▪‣●○■–—*-]|[-–]\s|\(?\d{1,2}[.)]|\(?[a-z][.)])$")
_LEADER = re.compile(r"[.·…_‥]*")
"""The dots between an entry of a table of contents and its page."""
_NUMBERED = re.compile(
    r"^(?:\d{1,2}(?:\.\d{1,2})*\.?|[IVX]+\.|[A-Z]\.|§\s?\d+|article|section|chapter|chapitre|annexe|appendix)$",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Fragment:
    """Words of one line without a wide gap between them."""

    words: tuple[int, ...]
    box: Box
    size: float
    bold: bool

    @property
    def middle(self) -> float:
        return (self.box.top + self.box.bottom) / 2


@dataclass(frozen=True, slots=True)
class Paragraph:
    """Lines that read on; a heading, a list item and a single line are paragraphs too."""

    lines: tuple[tuple[int, ...], ...]
    size: float
    bold: bool
    heading: bool
    item: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells; each cell is its words, an empty one has none."""

    rows: tuple[tuple[tuple[int, ...], ...], ...]


Block = Paragraph | Table


def lay_out(page: PageText, skip: frozenset[int] = frozenset()) -> tuple[Block, ...]:
    """Blocks in reading order. `skip`: places of words that belong to no block (running heads)."""
    fragments = _fragments(page, skip)
    if not fragments:
        return ()
    body = statistics.median(f.size for f in fragments for _ in f.words)
    blocks: list[Block] = []
    for zone in _zones(fragments, body):
        blocks += _blocks(page, _rows(zone), body)
    return tuple(blocks)


def upright(page: PageText) -> PageText:
    """The page turned so that its lines run from left to right: scans and tables often lie on their side.

    Only for laying out: places of words stay, their boxes are no longer those of the page as displayed.
    """
    right = down = 0.0
    firsts: dict[int, Box] = {}
    for word in page.words:
        first = firsts.setdefault(word.line, word.box)
        right += word.box.left + word.box.right - first.left - first.right
        down += word.box.top + word.box.bottom - first.top - first.bottom
    if right >= abs(down) or abs(right) + abs(down) < page.width:
        # Single words tell nothing.
        return page
    turn: Callable[[Box], Box]
    if abs(down) <= abs(right):
        turn, size = (lambda b: Box(-b.right, -b.bottom, -b.left, -b.top)), (page.width, page.height)
    elif down > 0:
        turn, size = (lambda b: Box(b.top, -b.right, b.bottom, -b.left)), (page.height, page.width)
    else:
        turn, size = (lambda b: Box(-b.bottom, b.left, -b.top, b.right)), (page.height, page.width)
    words = tuple(replace(word, box=turn(word.box)) for word in page.words)
    return replace(page, width=size[0], height=size[1], words=words)


def _fragments(page: PageText, skip: frozenset[int]) -> list[Fragment]:
    lines: dict[int, list[int]] = {}
    for place, word in enumerate(page.words):
        if place not in skip and not _LEADER.fullmatch(word.text.strip()):
            lines.setdefault(word.line, []).append(place)
    found = []
    for members in lines.values():
        members.sort(key=lambda i: page.words[i].box.left)
        size = statistics.median(page.words[i].size for i in members)
        run = [members[0]]
        for before, here in itertools.pairwise(members):
            gap = page.words[here].box.left - page.words[before].box.right
            # Some typesetters open the space after a sentence.
            wide = 2 * CELL_GAP if page.words[before].text.endswith((".", "!", "?")) else CELL_GAP
            if gap > wide * size:
                found.append(_fragment(page, run))
                run = []
            run.append(here)
        found.append(_fragment(page, run))
    return found


def _fragment(page: PageText, members: Sequence[int]) -> Fragment:
    words = [page.words[i] for i in members]
    box = words[0].box
    for word in words[1:]:
        box = box.union(word.box)
    bold = sum(w.bold for w in words) * 2 > len(words)
    return Fragment(tuple(members), box, statistics.median(w.size for w in words), bold)


def _zones(fragments: list[Fragment], body: float, depth: int = 0) -> list[list[Fragment]]:
    """Columns of prose one after the other; tables stay whole."""
    if depth > 2 or len(fragments) < 6 or not _side_by_side(fragments):
        return [fragments]
    gutter = find_gutter([f.box for f in fragments], body)
    if gutter is None:
        return [fragments]
    middle = (gutter.left + gutter.right) / 2
    inside = [f for f in fragments if gutter.top <= f.middle <= gutter.bottom]
    sides = [
        [f for f in inside if (f.box.left > middle) == right and not _spans(f, gutter)]
        for right in (False, True)
    ]
    if not all(_prose(side) for side in sides):
        return [fragments]
    zones: list[list[Fragment]] = []
    band: list[Fragment] = []
    for fragment in sorted(fragments, key=lambda f: f.middle):
        if _spans(fragment, gutter):
            zones += _split(band, middle, body, depth)
            # Lines over the whole width follow one another.
            if zones and not band and zones[-1] and _spans(zones[-1][-1], gutter):
                zones[-1].append(fragment)
            else:
                zones.append([fragment])
            band = []
        else:
            band.append(fragment)
    return [zone for zone in zones + _split(band, middle, body, depth) if zone]


def _spans(fragment: Fragment, gutter: Box) -> bool:
    return fragment.box.left < gutter.left and fragment.box.right > gutter.right


def _split(band: list[Fragment], middle: float, body: float, depth: int) -> list[list[Fragment]]:
    if not band:
        return []
    zones = []
    for right in (False, True):
        side = [f for f in band if ((f.box.left + f.box.right) / 2 > middle) == right]
        if side:
            zones += _zones(side, body, depth + 1)
    return zones


def _side_by_side(fragments: list[Fragment]) -> bool:
    """Whether at least three rows hold more than one fragment: else there are no columns to look for."""
    ordered = sorted(fragments, key=lambda f: f.box.top)
    beside = 0
    for before, here in itertools.pairwise(ordered):
        shared = min(before.box.bottom, here.box.bottom) - max(before.box.top, here.box.top)
        beside += shared > 0.3 * min(before.box.height, here.box.height)
    return beside >= 3


def _prose(side: list[Fragment]) -> bool:
    """Lines of running text fill their column; cells do not."""
    if len(side) < 3:
        return False
    width = max(f.box.right for f in side) - min(f.box.left for f in side)
    counts = [len(f.words) for f in side]
    filled = sum(f.box.width > 0.6 * width for f in side) / len(side)
    return statistics.mean(counts) >= 3.2 and filled >= 0.45


def _rows(zone: list[Fragment]) -> list[list[Fragment]]:
    """Fragments that stand beside each other, from the top; in each row from the left."""
    rows: list[list[Fragment]] = []
    for fragment in sorted(zone, key=lambda f: f.middle):
        if rows and _same_row(rows[-1], fragment):
            rows[-1].append(fragment)
        else:
            rows.append([fragment])
    for row in rows:
        row.sort(key=lambda f: f.box.left)
    return rows


def _same_row(row: list[Fragment], fragment: Fragment) -> bool:
    top, bottom = min(f.box.top for f in row), max(f.box.bottom for f in row)
    shared = min(bottom, fragment.box.bottom) - max(top, fragment.box.top)
    if shared < 0.55 * min(bottom - top, fragment.box.height):
        return False
    # Two lines of one paragraph that touch are not beside each other.
    return all(
        f.box.right <= fragment.box.left + f.size or fragment.box.right <= f.box.left + f.size for f in row
    )


def _blocks(page: PageText, rows: list[list[Fragment]], body: float) -> Iterator[Block]:
    place = 0
    while place < len(rows):
        stop = _table_end(rows, place)
        if stop - place >= 2:
            yield _table(rows[place:stop])
            place = stop
        elif len(rows[place]) > 1:
            yield Table((tuple(f.words for f in rows[place]),))
            place += 1
        else:
            stop = _paragraph_end(page, rows, place)
            yield _paragraph(page, [row[0] for row in rows[place:stop]], rows, place, stop, body)
            place = stop


def _table_end(rows: list[list[Fragment]], start: int) -> int:
    """Where the run of rows with several cells that begins at `start` ends."""
    stop, last = start, start
    while stop < len(rows):
        row = rows[stop]
        if stop > start and row[0].box.top - max(f.box.bottom for f in rows[stop - 1]) > 3.0 * row[0].size:
            break
        if len(row) > 1:
            last = stop + 1
        elif stop == start or not _wrapped(rows[last - 1], rows[stop - 1], row[0]):
            break
        stop += 1
    return last if last > start else start


def _wrapped(full: list[Fragment], before: list[Fragment], fragment: Fragment) -> bool:
    """Whether a lone fragment goes on with a cell of the row above: under one that is not the first, or tight
    under a cell with other cells still beside it."""
    gap = fragment.box.top - max(f.box.bottom for f in before)
    if gap > 0.6 * fragment.size:
        return False
    under = [f for f in full if abs(f.box.left - fragment.box.left) < fragment.size]
    return bool(under) and (under[0] is not full[0] or fragment.box.right < full[1].box.left)


def _columns(rows: list[list[Fragment]]) -> list[tuple[float, float]]:
    """Left and right of each column: of the rows with the most cells, widened by all that fit."""
    most = max(len(row) for row in rows)
    models = [row for row in rows if len(row) == most]
    spans = [(min(r[i].box.left for r in models), max(r[i].box.right for r in models)) for i in range(most)]
    if any(a[1] > b[0] for a, b in itertools.pairwise(spans)):
        spans = [(f.box.left, f.box.right) for f in models[0]]
    return spans


def _table(rows: list[list[Fragment]]) -> Table:
    columns = _columns(rows)
    grid: list[list[list[int]]] = []
    pitches = [rows[i + 1][0].box.top - rows[i][0].box.top for i in range(len(rows) - 1)]
    widest = max(pitches, default=0.0)
    for number, row in enumerate(rows):
        cells: list[list[int]] = [[] for _ in columns]
        for fragment in row:
            cells[_column_of(fragment, columns)] += fragment.words
        tight = (
            number > 0 and pitches[number - 1] <= 1.45 * row[0].size and widest > 1.15 * pitches[number - 1]
        )
        lone = number > 0 and len(row) == 1
        if grid and (lone or (tight and not cells[0])):
            for cell, more in zip(grid[-1], cells, strict=True):
                cell += more
        else:
            grid.append(cells)
    return Table(tuple(tuple(tuple(cell) for cell in cells) for cells in grid))


def _column_of(fragment: Fragment, columns: list[tuple[float, float]]) -> int:
    def distance(column: tuple[float, float]) -> tuple[float, float]:
        shared = min(fragment.box.right, column[1]) - max(fragment.box.left, column[0])
        middle = abs((fragment.box.left + fragment.box.right) / 2 - (column[0] + column[1]) / 2)
        return -max(shared, 0.0) / max(1e-6, min(fragment.box.width, column[1] - column[0])), middle

    return min(range(len(columns)), key=lambda i: distance(columns[i]))


def _paragraph_end(page: PageText, rows: list[list[Fragment]], start: int) -> int:
    """Where the lines that read on from row `start` end."""
    stop = start + 1
    right = max(row[-1].box.right for row in rows)
    left = min(row[0].box.left for row in rows)
    pitch = _pitch(rows)
    while stop < len(rows) and len(rows[stop]) == 1:
        before, here = rows[stop - 1][0], rows[stop][0]
        gap = here.box.top - before.box.bottom
        if gap > PARAGRAPH_GAP * min(here.size, before.size) or gap < -2.0 * here.size:
            break
        # The boxes of readers touch, so it is the step from line to line that tells.
        if pitch and here.middle - before.middle > 1.4 * pitch:
            break
        if max(here.size, before.size) > 1.18 * min(here.size, before.size) and page.unit == "pt":
            break
        if here.bold != before.bold or _starts_item(page, here):
            break
        if _ended_early(page, before, here, left, right):
            break
        stop += 1
    return stop


def _pitch(rows: list[list[Fragment]]) -> float:
    """The usual step from one line to the next; 0 where there are too few lines to tell."""
    steps = [b[0].middle - a[0].middle for a, b in itertools.pairwise(rows)]
    near = [s for s, row in zip(steps, rows, strict=False) if 0 < s < 3 * row[0].size]
    return statistics.median(near) if len(near) >= 4 else 0.0


def _ended_early(page: PageText, before: Fragment, here: Fragment, left: float, right: float) -> bool:
    """A line that leaves room and is followed by a capital ends its paragraph: addresses, greetings, last lines."""
    first = page.words[here.words[0]].text.lstrip("«“\"'(")
    room = right - before.box.right
    ends = page.words[before.words[-1]].text.rstrip().endswith((".", "!", "?", ":"))
    share = 0.12 if ends else 0.3
    return room > share * (right - left) and (first[:1].isupper() or first[:1].isdigit())


def _starts_item(page: PageText, fragment: Fragment) -> bool:
    first = page.words[fragment.words[0]].text.strip()
    return bool(_BULLET.match(first)) or first[:1] in "•▪‣●■◦○"


def _paragraph(
    page: PageText, lines: list[Fragment], rows: list[list[Fragment]], start: int, stop: int, body: float
) -> Paragraph:
    words = [page.words[i].text for line in lines for i in line.words]
    size = statistics.median(line.size for line in lines)
    bold = all(line.bold for line in lines)
    return Paragraph(
        tuple(line.words for line in lines), size, bold,
        _is_heading(words, lines, size, bold, body, page, rows, start, stop),
        _starts_item(page, lines[0]),
    )  # fmt: skip


def _is_heading(
    words: list[str], lines: list[Fragment], size: float, bold: bool, body: float, page: PageText,
    rows: list[list[Fragment]], start: int, stop: int,
) -> bool:  # fmt: skip
    text = " ".join(words)
    if (
        len(words) > HEADING_WORDS
        or len(lines) > 2
        or text.endswith((".", ",", ";"))
        or not re.search(r"[^\W\d_]", text)
    ):
        return False
    if size >= (1.15 if page.unit == "pt" else 1.3) * body or bold:
        return True
    letters = [c for c in text if c.isalpha()]
    capitals = len(letters) >= 4 and all(c.isupper() for c in letters)
    numbered = bool(_NUMBERED.match(words[0])) and 1 < len(words) <= 9
    follows = stop < len(rows) and (
        len(rows[stop]) > 1 or len(rows[stop][0].words) > len(words) or len(words) <= 4
    )
    return follows and (
        capitals or (numbered and words[1][:1].isupper()) or (text.endswith(":") and len(words) <= 8)
    )
