"""Corrected lines to compare on: those that a hand's training kept back, and whether it learned from others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vlm_studio.core.adapters import LearnLine, TrainingRun
from vlm_studio.core.errors import NotFound
from vlm_studio.tasks.adapt import Adapting
from vlm_studio.tasks.compare import Choice
from vlm_studio.tasks.compare_input import MOST_STRIPS, Fate, Given, given, piece

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True, slots=True)
class KeptBack:
    """Lines that a training kept back."""

    whose: str
    """Name of the hand; empty: what a training that began now would keep back."""
    count: int
    strips: Callable[[], Sequence[tuple[Image, str]]]

    @property
    def told(self) -> str:
        counted = f"the first {MOST_STRIPS} of" if self.count > MOST_STRIPS else "all"
        why = f"when {self.whose} was taught" if self.whose else "to test on"
        return f"{counted} {self.count} lines kept back {why}"

    @property
    def given(self) -> Given:
        strips = self.strips()
        pieces = tuple(piece(image) for image, _ in strips[:MOST_STRIPS])
        fates: list[Fate] = ["compared" if n < len(pieces) else "over" for n in range(len(strips))]
        return Given(pieces, tuple(fates), "\n".join(text for _, text in strips))


class CorrectedLines:
    """What an owner put right, seen from the hands that are compared. Raises NotFound where a page is gone."""

    def __init__(self, adapting: Adapting, owner: str, hands: Sequence[Choice]) -> None:
        """`hands`: the one whose test it is first."""
        self._adapting, self._owner = adapting, owner
        self._hands = [(hand.title, self._record(hand.name)) for hand in hands]

    def _record(self, adapter_id: str) -> tuple[TrainingRun, list[tuple[Image, str]]] | None:
        """A hand's training and the strips it kept back; None where that is not on record: it was brought in."""
        training_id = self._adapting.rows.training_of(self._owner, adapter_id)
        if training_id is None:
            return None
        try:
            held = self._adapting.trainer.held(training_id)
        except NotFound:
            return None
        return self._adapting.rows.training(self._owner, training_id), held

    def kept_back(self) -> KeptBack:
        """Of the first hand whose training is on record: today's split may have turned round since."""
        title, record = next(((title, record) for title, record in self._hands if record), ("", None))
        if record is not None:
            return KeptBack(title, len(record[1]), lambda: record[1])
        lines = self._adapting.split(self._owner).held
        return KeptBack(
            "", len(lines), lambda: [(self._adapting.strip(self._owner, line), line.text) for line in lines]
        )

    def line(self, entry: LearnLine) -> Given:
        return given([self._adapting.strip(self._owner, entry.line)], entry.line.text)

    def doubts(self, strips: Sequence[Image], line: LearnLine | None, written_at: str = "") -> list[str]:
        """What speaks against these strips as a test of each hand.

        `line`: the one that they are, which somebody put right first at `written_at`; None: those of `kept_back`.
        """
        this = "this line" if line else "these lines"
        told = []
        for title, record in self._hands:
            if record is None:
                told.append(
                    f"What {title} learned from is not on record here: it may have learned from {this}."
                )
                continue
            run, held = record
            apart = {_ink(strip) for strip, _ in held}
            seen = sum(_ink(strip) not in apart for strip in strips)
            if not seen or (line and (written_at > run.created_at or self._kept_back_with(line, run))):
                continue
            if line and not line.left_out:
                told.append(
                    f"{title} learned from this line: how it is read says nothing about lines it never saw."
                )
            else:  # who was left out when the training began is not on record
                which = this if line else f"{seen} of these {len(strips)} lines"
                told.append(f"{title} may have learned from {which}: that would be no fair test of it.")
        return told

    def _kept_back_with(self, entry: LearnLine, run: TrainingRun) -> bool:
        """Whether a line stands on a page that was kept back, though it was left out itself."""
        return entry.line.page_image_sha256 in self._adapting.trainer.kept_pages(run.id)


def _ink(strip: Image) -> tuple[tuple[int, int], bytes]:
    """Trainings keep their strips without colour."""
    return strip.size, strip.convert("L").tobytes()
