"""Pages to passages: sentences with their headings, rows of tables with the heads of their columns."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from vlm_studio.core.documents import Box
from vlm_studio.core.passages import Cell, PageText, Passage
from vlm_studio.tasks.documents_heads import running_heads
from vlm_studio.tasks.documents_layout import Paragraph, Table, lay_out, upright

MAX_SENTENCE_WORDS = 70
"""A longer run without a full stop is cut at the end of a line: nobody quotes half a page."""

_END = re.compile(r"[.!?…][\"'”’»)\]]*$")
_ABBREVIATION = re.compile(
    r"^(?:[A-Za-z]|mr|mrs|ms|dr|prof|st|no|nos|vol|fig|tab|eq|approx|inc|ltd|co|corp|jr|sr|vs|etc|cf|al|art|ca|dept|est|"
    r"ext|incl|max|min|pp?|tel|jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec|m|mme|mlle|mm|e\.g|i\.e|n|n°|réf|ref|env|chap|av|bd)\.$",
    re.IGNORECASE,
)
_DIGITS = re.compile(r"\d+")
_CAPTION = re.compile(r"^(?:table|tableau|tab\.|figure|fig\.|schedule|annexe?)\s*\w{0,4}", re.IGNORECASE)
_CLOSING = re.compile(
    r"\b(?:yours|sincerely|faithfully|kind regards|best regards|regards|cordialement|salutations|sentiments)\b",
    re.IGNORECASE,
)
_NUMERIC = re.compile(r"\d")
_HYPHENS = "-\u00ad\u2010"


@dataclass(slots=True)
class _State:
    """What a passage inherits from what stood above it."""

    document: int
    number: int = 0
    block: int = 0
    headings: tuple[tuple[float, str], ...] = ()
    """Size and text, the largest first."""
    lead: str = ""
    """The line that introduces a list or a table, or its caption."""
    columns: tuple[tuple[str, float, float], ...] = ()
    """Heads of the last table with their left and right, for its rows on the next page."""


def passages_of(pages: Sequence[PageText], document: int) -> tuple[Passage, ...]:
    """Every passage of a document, in reading order. `pages` may be a part of its pages."""
    repeated = running_heads(pages)
    state = _State(document)
    found: list[Passage] = []
    for displayed, skip in zip(pages, repeated, strict=True):
        page = upright(displayed)
        for block in lay_out(page, skip):
            state.block += 1
            made = (
                _of_table(page, block, state)
                if isinstance(block, Table)
                else _of_paragraph(page, block, state)
            )
            found += made
    return tuple(found)


def joined(page: PageText, places: Sequence[int]) -> str:
    """The words as they read: a hyphen at the end of a line is undone where the word goes on in small letters."""
    parts: list[str] = []
    for before, place in zip((None, *places), places, strict=False):
        text = page.words[place].text
        if parts and before is not None and _goes_on(page, before, place):
            parts[-1] = parts[-1][:-1] + text
        else:
            parts.append(text)
    return " ".join(parts).strip()


def _goes_on(page: PageText, before: int, here: int) -> bool:
    first, second = page.words[before], page.words[here]
    return (
        first.line != second.line
        and len(first.text) > 2
        and first.text[-1] in _HYPHENS
        and first.text[-2].isalpha()
        and second.text[:1].islower()
    )


def _of_paragraph(page: PageText, block: Paragraph, state: _State) -> Iterator[Passage]:
    places = tuple(i for line in block.lines for i in line)
    text = joined(page, places)
    if block.heading:
        kept = tuple(
            h
            for h in state.headings
            if h[0] > block.size * 1.03 or (h[0] > block.size * 0.97 and _above(h[1], text))
        )
        context = tuple(h for _, h in kept)
        state.headings = (*kept[-3:], (block.size, text))
        state.lead = ""
        yield _passage(page, state, "heading", places, context)
        return
    context = _context(state)
    for sentence in _sentences(page, block.lines):
        yield _passage(page, state, "text", sentence, context if not block.item else (*context,))
    if block.item:
        return
    # A line that introduces what comes, or a caption, explains the rows and items after it.
    introduces = text.endswith(":") or _CAPTION.match(text) or _CLOSING.search(text)
    state.lead = text if len(text) < 160 and introduces else _kept_lead(state.lead, text)


def _kept_lead(lead: str, text: str) -> str:
    """The closing words of a letter hold for the lines of its signature."""
    return lead if _CLOSING.search(lead) and len(text) < 60 else ""


def _above(heading: str, text: str) -> bool:
    """Whether a heading of the same size is over another by its number: 2 over 2.1."""
    outer, inner = heading.split(" ")[0].rstrip("."), text.split(" ")[0].rstrip(".")
    return bool(outer) and outer[:1].isdigit() and inner.startswith(outer + ".")


def _context(state: _State) -> tuple[str, ...]:
    return (*(text for _, text in state.headings), *((state.lead,) if state.lead else ()))


def _sentences(page: PageText, lines: Sequence[tuple[int, ...]]) -> Iterator[tuple[int, ...]]:
    run: list[int] = []
    for line in lines:
        for position, place in enumerate(line):
            run.append(place)
            word = page.words[place].text
            if len(run) < 2 or not _END.search(word) or _ABBREVIATION.match(word.lstrip("(\"'")):
                continue
            following = page.words[line[position + 1]].text if position + 1 < len(line) else ""
            if following and not (
                following[0].isupper() or following[0].isdigit() or not following[0].isalpha()
            ):
                continue
            if len(run) == 2 and _DIGITS.fullmatch(word.rstrip(".")):
                continue
            yield tuple(run)
            run = []
        if len(run) >= MAX_SENTENCE_WORDS:
            yield tuple(run)
            run = []
    if run:
        yield tuple(run)


def _of_table(page: PageText, table: Table, state: _State) -> Iterator[Passage]:
    texts = [[joined(page, cell) for cell in row] for row in table.rows]
    header = _has_header(page, table, texts)
    heads: tuple[tuple[str, float, float], ...] = ()
    if header:
        heads = tuple((text, *_extent(page, [r[i] for r in table.rows])) for i, text in enumerate(texts[0]))
        state.columns = heads
    context = _context(state)
    for number, (row, cells) in enumerate(zip(table.rows, texts, strict=True)):
        places = tuple(i for cell in row for i in cell)
        if not places:
            continue
        named = tuple(
            Cell(text, _head_of(page, cell, heads or state.columns, i) if number or not header else "", cell)
            for i, (text, cell) in enumerate(zip(cells, row, strict=True))
            if text
        )
        kind = "heading" if header and number == 0 else "row"
        yield _passage(page, state, kind, places, context, named)
    state.lead = ""


def _has_header(page: PageText, table: Table, texts: Sequence[Sequence[str]]) -> bool:
    """Whether the first row names the columns: words over numbers, or bold over plain."""
    if len(texts) < 2 or len(texts[0]) < 2 or sum(bool(t) for t in texts[0]) < max(2, len(texts[0]) - 1):
        return False
    first, rest = texts[0], texts[1:]
    if any(t.endswith(":") for t in first[:1]) or any(len(t.split()) > 6 for t in first):
        return False

    def bold(row: Sequence[tuple[int, ...]]) -> bool:
        places = [i for cell in row for i in cell]
        return bool(places) and all(page.words[i].bold for i in places)

    if bold(table.rows[0]) and not all(bold(row) for row in table.rows[1:]):
        return True
    numeric = [sum(bool(_NUMERIC.search(t)) for t in row) / max(1, sum(bool(t) for t in row)) for row in rest]
    own = sum(bool(_NUMERIC.search(t)) for t in first) / len(first)
    if own == 0 and sum(numeric) / len(numeric) >= 0.3:
        return True
    return len(first) >= 3 and own == 0 and len(rest) >= 2


def _extent(page: PageText, cells: Sequence[tuple[int, ...]]) -> tuple[float, float]:
    boxes = [page.words[i].box for cell in cells for i in cell]
    if not boxes:
        return 0.0, 0.0
    return min(b.left for b in boxes), max(b.right for b in boxes)


def _head_of(
    page: PageText, cell: Sequence[int], heads: Sequence[tuple[str, float, float]], column: int
) -> str:
    """The head over a cell: by place, or none where nothing stands above it."""
    if not heads or not cell:
        return ""
    left, right = _extent(page, [tuple(cell)])
    best = max(heads, key=lambda h: min(right, h[2]) - max(left, h[1]))
    return best[0] if min(right, best[2]) > max(left, best[1]) else ""


def _passage(
    page: PageText, state: _State, kind: str, places: tuple[int, ...], context: tuple[str, ...],
    cells: tuple[Cell, ...] = (),
) -> Passage:  # fmt: skip
    state.number += 1
    return Passage(
        state.document, page.index, state.number - 1, kind, joined(page, places), places,  # type: ignore[arg-type]
        context, cells, state.block,
    )  # fmt: skip


def boxes_of(page: PageText, places: Sequence[int], whole_row: bool = False) -> tuple[Box, ...]:
    """A box for each line that the words stand in; with `whole_row`, one for all that stand beside each other."""
    boxes: dict[int, Box] = {}
    for place in places:
        word = page.words[place]
        boxes[word.line] = boxes[word.line].union(word.box) if word.line in boxes else word.box
    found = list(boxes.values())
    if not whole_row:
        return tuple(found)
    merged: list[Box] = []
    for box in sorted(found, key=lambda b: (b.top, b.left)):
        last = merged[-1] if merged else None
        if last is not None and min(last.bottom, box.bottom) - max(last.top, box.top) > 0.5 * min(
            last.height, box.height
        ):
            merged[-1] = last.union(box)
        else:
            merged.append(box)
    return tuple(merged)
