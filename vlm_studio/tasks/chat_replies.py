"""Answers that need no language model: a quote, the whole text, or what a model that only reads cannot do."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from vlm_studio.core.chat import ChatImage, ChatTurn, How, RestsOn
from vlm_studio.core.conversation import Part, TextPart
from vlm_studio.core.documents import Box
from vlm_studio.core.folding import fold
from vlm_studio.tasks.chat_rules import mentions

MENTIONS = 3
"""Lines quoted because they have a word of the question."""
HIGHLIGHTS = 3
"""Sentences quoted of each image where its gist is asked for."""

_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=\S)")
_WORD = re.compile(r"\w+")
_FACT = re.compile(r"\d+|\b[A-ZÀ-Þ]\w+")


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
    near = _mentioning(question, images)
    if near:
        quotes = [TextPart(rest.quote, quoted=True) for rest in near]
        return Reply("cannot_see", (TextPart(f"{told} The writing does mention it:"), *quotes), near)
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
        doubt = f", {read.doubtful} in doubt" if read.doubtful else ""
        told = f"Image {image.number} reads ({_lines(len(read.lines))}{doubt}):"
        parts += [TextPart(told), TextPart(read.text, quoted=True)]
        rests.append(RestsOn(image.number, read.text))
    return Reply("transcript", tuple(parts), tuple(rests))


def highlights(images: Sequence[ChatImage]) -> Reply:
    """The sentences that say most, as quotes: a small language model would add to them."""
    parts: list[Part] = [TextPart("In its own words, what seems to matter most:")]
    rests: list[RestsOn] = []
    for image in images:
        if image.read is None or not image.read.lines:
            continue
        if len(images) > 1:
            parts.append(TextPart(f"Image {image.number}:"))
        chosen = telling_sentences(image.read.text, HIGHLIGHTS)
        parts += [TextPart(sentence, quoted=True) for sentence in chosen]
        rests += [RestsOn(image.number, sentence) for sentence in chosen]
    return Reply("highlights", tuple(parts), tuple(rests))


def cannot_translate(images: Sequence[ChatImage]) -> Reply:
    told = "I cannot translate: the small language model here would make things up. This is the text:"
    return Reply("cannot_do", (TextPart(told), *transcript(images).parts), transcript(images).rests_on)


def telling_sentences(text: str, count: int) -> tuple[str, ...]:
    """The `count` sentences with most to say, in their order.

    Luhn (1958): a sentence says much where the words that recur in the text stand close together; here dates, numbers and names
    count as well, because in notes and letters they recur seldom and matter most.
    """
    sentences = [s for s in _SENTENCE.split(" ".join(text.splitlines())) if len(s.split()) > 2]
    if len(sentences) <= count:
        return tuple(sentences) or tuple(text.splitlines()[:count])
    often = Counter(w for w in _WORD.findall(fold(text)) if len(w) > 3)

    def worth(sentence: str) -> float:
        words = _WORD.findall(fold(sentence))
        recurring = sum(often[w] - 1 for w in set(words) if len(w) > 3)
        facts = len(_FACT.findall(sentence[1:]))
        return (recurring + 2.0 * facts) / (len(words) + 4.0)

    best = sorted(range(len(sentences)), key=lambda place: -worth(sentences[place]))[:count]
    return tuple(sentences[place] for place in sorted(best))


def found(question: str, images: Sequence[ChatImage], find: Finder) -> Reply | None:
    """What the writing says to the question, with the sentence it stands in; None where it says nothing."""
    findings = find(question, images)
    if not findings:
        return None
    parts: list[Part] = []
    for place, finding in enumerate(findings):
        short = finding.answer if place == 0 and finding.answer != finding.quote else ""
        told = (
            f"{short}\n\nIt stands on image {finding.number}:" if short else f"Image {finding.number} says:"
        )
        parts += [TextPart(told), TextPart(finding.quote, quoted=True)]
    return Reply("quote", tuple(parts), tuple(RestsOn(f.number, f.quote, f.box) for f in findings))


def not_found(question: str, images: Sequence[ChatImage]) -> Reply:
    """It says so, and shows the lines that share a word with the question: a slip of the reader may hide an answer."""
    read = [image for image in images if image.read and image.read.lines]
    told = f"I did not find an answer in what I read on {_listed([image.number for image in read])}."
    near = _mentioning(question, images)
    if not near:
        return Reply("not_found", (TextPart(f"{told} I answer only with what stands there."),))
    quotes = [TextPart(rest.quote, quoted=True) for rest in near]
    return Reply("not_found", (TextPart(f"{told} The nearest to it:"), *quotes), near)


def _mentioning(question: str, images: Sequence[ChatImage]) -> tuple[RestsOn, ...]:
    """Lines with a word of the question."""
    found = []
    for image, place in mentions(question, images)[:MENTIONS]:
        if image.read is not None:
            line = image.read.lines[place]
            found.append(RestsOn(image.number, line.text, line.box))
    return tuple(found)


def words_of(turn: ChatTurn) -> str:
    """What a person asked, with each image named at its place; those in front of the words are all of them."""
    pieces: list[str] = []
    for part in turn.turn.parts:
        if isinstance(part, TextPart):
            pieces.append(part.text)
        elif pieces:
            pieces.append(f" {part.alt.partition(':')[0]} ")
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
