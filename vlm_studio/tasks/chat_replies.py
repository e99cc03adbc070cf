"""Answers that need no language model: a quote, the whole text, or what a model that only reads cannot do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from vlm_studio.core.chat import ChatImage, ChatTurn, How, RestsOn
from vlm_studio.core.conversation import Part, TextPart
from vlm_studio.core.documents import Box
from vlm_studio.tasks.chat_rules import mentions

MENTIONS = 3
"""Lines quoted because they have a word of the question."""


@dataclass(frozen=True, slots=True)
class Finding:
    """An answer that stands word for word on an image."""

    answer: str
    number: int
    """Of the image."""
    quote: str
    """The sentence or line that it stands in."""
    box: Box | None = None
    """Image pixels."""


class Finder(Protocol):
    def __call__(self, question: str, images: Sequence[ChatImage]) -> Sequence[Finding]:
        """The best first; empty where the texts of the images do not answer the question."""
        ...


@dataclass(frozen=True, slots=True)
class Reply:
    how: How
    parts: tuple[Part, ...]
    rests_on: tuple[RestsOn, ...] = ()


def cannot_see(question: str, images: Sequence[ChatImage], model: str) -> Reply:
    """It says so, and what the writing says of it, if anything."""
    told = f"I cannot tell: {model} reads writing and sees nothing else of a picture."
    found = mentions(question, images)[:MENTIONS]
    if found:
        parts: list[Part] = [TextPart(f"{told} The writing does mention it:")]
        rests = []
        for image, place in found:
            line = image.read.lines[place] if image.read else None
            if line is not None:
                parts.append(TextPart(line.text, quoted=True))
                rests.append(RestsOn(image.number, line.text, line.box))
        return Reply("cannot_see", tuple(parts), tuple(rests))
    written = [image for image in images if image.read and image.read.lines]
    if not written:
        return Reply("cannot_see", (TextPart(f"{told} {_nothing_on(images)}"),))
    counted = ", ".join(f"{_lines(len(i.read.lines) if i.read else 0)} on image {i.number}" for i in written)
    return Reply("cannot_see", (TextPart(f"{told} I read {counted}; ask me about what is written there."),))


def no_writing(images: Sequence[ChatImage], model: str) -> Reply:
    told = (
        f"{_nothing_on(images)} {model} reads writing and sees nothing else of a picture, so I cannot answer."
    )
    return Reply("cannot_see", (TextPart(told),))


def transcript(images: Sequence[ChatImage]) -> Reply:
    """All that was read, as a quote for each image."""
    parts: list[Part] = []
    rests: list[RestsOn] = []
    for image in images:
        read = image.read
        if read is None or not read.lines:
            parts.append(TextPart(f"On image {image.number} I found no writing."))
            continue
        doubt = f", {_lines(read.doubtful)} of them in doubt" if read.doubtful else ""
        told = f"Image {image.number} reads ({_lines(len(read.lines))}{doubt}):"
        parts += [TextPart(told), TextPart(read.text, quoted=True)]
        rests.append(RestsOn(image.number, read.text))
    return Reply("transcript", tuple(parts), tuple(rests))


def found(question: str, images: Sequence[ChatImage], find: Finder) -> Reply | None:
    """What the writing says to the question, with the line it stands in; None where it says nothing."""
    findings = find(question, images)
    if not findings:
        return None
    best = findings[0]
    parts: list[Part] = [TextPart(best.answer)]
    rests = []
    for finding in findings:
        rests.append(RestsOn(finding.number, finding.quote, finding.box))
        parts.append(TextPart(finding.quote, quoted=True))
    return Reply("quote", tuple(parts), tuple(rests))


def not_found(images: Sequence[ChatImage]) -> Reply:
    read = [image for image in images if image.read and image.read.lines]
    numbers = _listed([image.number for image in read])
    told = (
        f"I did not find an answer in what I read on {numbers}. I answer only with what stands there, "
        "and guess nothing. Ask “what does it say?” to see all of it."
    )
    return Reply("not_found", (TextPart(told),))


def words_of(turn: ChatTurn) -> str:
    """What a person asked, with each image named at its place."""
    pieces = []
    for part in turn.turn.parts:
        if isinstance(part, TextPart):
            pieces.append(part.text)
        else:
            pieces.append(f" {part.alt.partition(':')[0]} " if pieces else "")
    return " ".join("".join(pieces).split())


def as_text(parts: Sequence[Part]) -> str:
    """Plain text of an answer, quotes set off."""
    pieces = []
    for part in parts:
        if isinstance(part, TextPart):
            lines = part.text.splitlines()
            pieces.append("\n".join(f"> {line}" for line in lines) if part.quoted else part.text)
    return "\n\n".join(pieces)


def _nothing_on(images: Sequence[ChatImage]) -> str:
    return f"I found no writing on {_listed([image.number for image in images])}."


def _listed(numbers: Sequence[int]) -> str:
    names = [str(number) for number in numbers]
    if len(names) < 2:
        return f"image {names[0]}" if names else "the image"
    return f"images {', '.join(names[:-1])} and {names[-1]}"


def _lines(count: int) -> str:
    return f"{count} line{'' if count == 1 else 's'}"
