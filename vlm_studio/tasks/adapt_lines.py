"""Which corrected lines are learned from, which pages are kept back, and which lines to put right next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from vlm_studio.core.adapters import Adapter, ReadLineOf
from vlm_studio.core.sessions import TrainingLine

HOLD_OUT = 0.25
"""Share of the lines that whole pages are kept back for, at least."""
FEWEST_TO_LEARN = 6
ENOUGH = 20
"""Lines with which benchmarks/adapt_hands.py measures; its hands were read clearly better with so many."""
MANY = 60
ILLEGIBLE = 0.12
"""A line read with less confidence is rather not writing, or nobody could read it."""


@dataclass(frozen=True, slots=True)
class Split:
    """Lines to learn from and lines kept back, never of the same page."""

    learn: tuple[TrainingLine, ...]
    held: tuple[TrainingLine, ...]

    @property
    def held_pages(self) -> int:
        return len({line.page_image_sha256 for line in self.held})

    @property
    def kept_back(self) -> str:
        """The end of a sentence about the lines."""
        pages = "1 page" if self.held_pages == 1 else f"{self.held_pages} pages"
        return f"{len(self.held)} on {pages} kept back to test on."


@dataclass(frozen=True, slots=True)
class Advice:
    ready: bool
    """Whether a training can begin."""
    sentence: str


@dataclass(frozen=True, slots=True)
class NextLine:
    line: ReadLineOf
    gain: float
    """Letters that are probably wrong in it, weighed by how much its page still has to teach."""


def split(lines: Sequence[TrainingLine], left_out: Collection[str] = (), kept: Collection[str] = ()) -> Split:
    """Keep whole pages back, about `HOLD_OUT` of the lines; at least half is learned from.

    Lines of one page share pen, paper and light: a line kept back from a page that was learned from would flatter.
    `lines` oldest first. Those with an id in `left_out` are in neither part, yet they count where pages are chosen, so
    that leaving one out moves no page. `kept`: pages that the last training kept back. They stay so while that leaves half to
    learn from: verdicts of one training and the next are of the same pages.
    """
    used = [line for line in lines if line.line_id not in left_out]
    for pages in (_kept_back(lines, kept), _kept_back(lines), _kept_back(used)):
        parts = Split(
            tuple(line for line in used if line.page_image_sha256 not in pages),
            tuple(line for line in used if line.page_image_sha256 in pages),
        )
        if min(len(parts.learn), len(parts.held)) >= FEWEST_TO_LEARN:
            break
    return parts


def _kept_back(lines: Sequence[TrainingLine], kept: Collection[str] = ()) -> list[str]:
    """Pages to keep back: `kept` where they are no more than half, and others that bring them closer to the goal.

    Of two that come as close the larger one, or the older one.
    """
    pages = Counter(line.page_image_sha256 for line in lines)
    goal, most = max(FEWEST_TO_LEARN, HOLD_OUT * len(lines)), len(lines) / 2
    held = [page for page in pages if page in kept]
    size = sum(pages[page] for page in held)
    if size > most:
        held, size = [], 0
    while True:
        fitting = [p for p in pages if p not in held and size + pages[p] <= most]
        closest = min(fitting, key=lambda p: (abs(size + pages[p] - goal), -pages[p]), default=None)
        if closest is None or abs(size + pages[closest] - goal) >= abs(size - goal):
            return held
        held.append(closest)
        size += pages[closest]


def advice(parts: Split, adapters: Sequence[Adapter]) -> Advice:
    """What a person should do next: correct more, train, or stop. `adapters` newest first."""
    lines = (*parts.learn, *parts.held)
    pages = len({line.page_image_sha256 for line in lines})
    if len(lines) < FEWEST_TO_LEARN + 4:
        return Advice(
            False,
            f"{len(lines)} corrected lines. About {ENOUGH}, on two pages or more, make it worth training.",
        )
    if pages < 2:
        return Advice(
            False,
            "All your corrections are on one page. Correct a few lines of another page: it is kept back to test on.",
        )
    if len(parts.learn) < FEWEST_TO_LEARN or len(parts.held) < FEWEST_TO_LEARN:
        return Advice(
            False,
            f"Correct at least {FEWEST_TO_LEARN} lines on each of two pages: one page is kept back to test on.",
        )
    judged = [a for a in adapters if a.verdict is not None and a.verdict.lines and a.source == "trained"]
    if judged and judged[0].verdict is not None:
        return Advice(True, _after(judged, len(parts.learn)))
    if len(lines) < ENOUGH:
        return Advice(True, f"Enough to train. With about {ENOUGH} lines it usually helps more.")
    return Advice(True, "Enough to train.")


def _after(judged: Sequence[Adapter], now: int) -> str:
    """Whether more lines are worth a person's time, from what the last trainings brought."""
    last = judged[0]
    more = now - last.facts.lines
    best = min(a.verdict.cer_after for a in judged if a.verdict is not None)
    before = judged[1].verdict if len(judged) > 1 else None
    if before is not None and last.verdict is not None and now >= MANY:
        gained = (before.cer_after - last.verdict.cer_after) / max(before.cer_after, 1e-6)
        if gained < 0.05:
            return f"The last lines brought little: you can stop correcting. Your pages are read with {best:.1%} letter errors."
    if more <= 0:
        return "Nothing new to learn from since the last training."
    return f"{more} new lines since the last training." + (
        "" if more >= 10 else " Ten or more make a difference."
    )


def next_lines(
    waiting: Sequence[ReadLineOf], corrected: Sequence[TrainingLine], count: int = 12
) -> tuple[NextLine, ...]:
    """The lines whose correction teaches most, best first.

    A line is worth the letters that are probably wrong in it; less, where its page has many corrections already or
    several of its lines are on the list, so that the list spreads over pages.
    """
    taken = Counter(line.page_image_sha256 for line in corrected)
    worth = [(sure_errors(line), line) for line in waiting if line.reading.confidence >= ILLEGIBLE]
    worth.sort(key=lambda pair: (-pair[0], pair[1].line_id))
    chosen: list[NextLine] = []
    rest = worth[: 20 * count]
    while rest and len(chosen) < count:
        gains = [errors / (1 + 0.15 * taken[line.page_image_sha256]) for errors, line in rest]
        best = max(range(len(rest)), key=lambda i: gains[i])
        _, line = rest.pop(best)
        taken[line.page_image_sha256] += 1
        chosen.append(NextLine(line, gains[best]))
    return tuple(chosen)


def sure_errors(line: ReadLineOf) -> float:
    """Letters of a reading that are probably wrong."""
    words = line.reading.words
    if not words:
        return (1 - line.reading.confidence) * len(line.reading.text)
    return sum((1 - word.confidence) * len(word.text) for word in words)
