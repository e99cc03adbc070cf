"""Notes of several lines with known facts, and short questions about them: what stage 3 learns from.

An answer is always a stretch of the note, a count, yes or no, or the sentence that says that the note does not say. Where a note
is misread (`Note.read_as`) the answer is the stretch as it was read: whoever answers has to copy, never to put right.
"""

from __future__ import annotations

import random
import string
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from vlm_studio.recipe.note_topics import HELD_OUT, TOPICS, WORDS
from vlm_studio.recipe.texts import DAYS, ITEMS, MONTHS, NAMES, Texts

MAX_LINE = 48
"""Characters of a line of a note: a strip."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of a line; `slot` names the fact that it is, empty for the words between."""

    text: str
    slot: str = ""


@dataclass(frozen=True, slots=True)
class Question:
    kind: str
    """``who``, ``date``, ``time``, ``amount``, ``phone``, ``mail``, ``number``, ``item``, ``count``, ``mention``, ``absent``."""
    words: str
    answer: str
    slot: str = ""
    """Of the note, where the answer is copied."""


@dataclass(frozen=True, slots=True)
class Note:
    language: str
    lines: tuple[tuple[Piece, ...], ...]
    questions: tuple[Question, ...]

    @property
    def texts(self) -> tuple[str, ...]:
        return tuple("".join(p.text for p in line) for line in self.lines)

    def read_as(self, misread: Callable[[str], str]) -> Note:
        """The same note with every stretch as a reader might read it, and answers copied from that."""
        lines = tuple(tuple(replace(p, text=misread(p.text)) for p in line) for line in self.lines)
        read = {p.slot: p.text.strip() for line in lines for p in line if p.slot}
        asked = [replace(q, answer=read[q.slot]) if q.slot else q for q in self.questions]
        return replace(self, lines=lines, questions=tuple(q for q in asked if q.answer))


class Notes:
    """An endless stream of notes; `held_out` ones have topics, names and things that the others never have."""

    def __init__(self, texts: Texts, held_out: bool) -> None:
        self.texts, self.held_out = texts, held_out

    def note(self, rng: random.Random, language: str | None = None) -> Note:
        """One note of two to seven lines with up to eight questions, each asked as somebody might."""
        language = language or ("en" if rng.random() < 0.65 else "fr")
        topics = [k for k in TOPICS[language] if (k in HELD_OUT) == self.held_out]
        chosen = rng.sample(topics, rng.choice((1, 2, 2, 3, 3, 4)))
        blocks: list[list[tuple[Piece, ...]]] = []
        asked: list[Question] = []
        for number, topic in enumerate(chosen):
            line, questions = self._filled(language, topic, str(number), rng)
            blocks.append([line])
            asked += questions
        if rng.random() < 0.4:
            lines, questions = self._listed(language, rng)
            blocks.append(lines)
            asked += questions
        while rng.random() < 0.3:
            text = self.texts.line(language, rng)
            if 3 < len(text) <= MAX_LINE:
                blocks.append([(Piece(text),)])
        rng.shuffle(blocks)
        lines = [line for block in blocks for line in block]
        told = " ".join("".join(p.text for p in line) for line in lines)
        asked += self._mentions(language, told, rng)
        asked += self._absent(language, chosen, {q.kind for q in asked}, rng)
        rng.shuffle(asked)
        return Note(language, tuple(lines), tuple(asked[:8]))

    def _some(self, values: Sequence[str], rng: random.Random) -> str:
        """One of the names or things of this side."""
        return rng.choice([v for k, v in enumerate(values) if (k % 4 == 1) == self.held_out])

    def _value(self, slot: str, language: str, rng: random.Random) -> str:
        digits = rng.choice((9, 31, 250, 4000))
        makers: dict[str, Callable[[], str]] = {
            "n": lambda: self._some(NAMES, rng),
            "i": lambda: self._some(ITEMS[language], rng),
            "d": lambda: rng.choice(DAYS[language]),
            "m": lambda: _date(language, rng),
            "t": lambda: _time(language, rng),
            "a": lambda: _amount(language, rng),
            "k": lambda: str(rng.randint(2, digits)),
            "l": lambda: str(rng.randint(2, 40)),
            "p": lambda: _phone(language, rng),
            "e": lambda: (
                f"{self._some(NAMES, rng).lower()}{rng.randint(1, 99)}@"
                f"{rng.choice(('mail.com', 'post.fr', 'uni.edu'))}"
            ),
            "r": lambda: "".join(rng.choices(string.ascii_uppercase + string.digits, k=rng.randint(4, 7))),
            "w": lambda: self._word(language, rng),
        }
        return makers[slot]()

    def _word(self, language: str, rng: random.Random) -> str:
        """Any word, so that questions are matched with lines by their letters, not by what notes are usually about."""
        words = self.texts.words[language] or ITEMS[language]
        while True:
            word = rng.choice(words)
            if 3 < len(word) < 13 and word.isalpha():
                return word

    def _filled(
        self, language: str, topic: str, number: str, rng: random.Random
    ) -> tuple[tuple[Piece, ...], list[Question]]:
        """A line about `topic`, and all that may be asked of it."""
        wordings, asks = TOPICS[language][topic]
        pattern = rng.choice(wordings)
        slots = [c[0] for c in pattern.split("{")[1:]]
        values = {slot: self._value(slot, language, rng) for slot in slots}
        pieces: list[Piece] = []
        for part in pattern.replace("}", "{").split("{"):
            named = part in values
            pieces.append(Piece(values[part] if named else part, number + part if named else ""))
        questions: list[Question] = []
        for kind, ways, slot in asks:
            words = rng.choice(ways)
            # Other wordings of the line may leave out what this question names.
            if slot in values and all(part[0] in values for part in words.split("{")[1:]):
                questions.append(Question(kind, words.format(**values), values[slot], number + slot))
        return tuple(p for p in pieces if p.text), questions

    def _listed(self, language: str, rng: random.Random) -> tuple[list[tuple[Piece, ...]], list[Question]]:
        """A list under a heading, with or without prices."""
        words = WORDS[language]
        count = rng.randint(2, 5)
        things = list(dict.fromkeys(self._some(ITEMS[language], rng) for _ in range(count)))
        prices = [_amount(language, rng) for _ in things] if rng.random() < 0.5 else []
        lines: list[tuple[Piece, ...]] = [(Piece(rng.choice(words["headings"])),)]
        mark = rng.choice(("- ", "* ", "", ""))
        for k, thing in enumerate(things):
            line = (Piece(mark), Piece(thing, f"L{k}i"))
            lines.append(
                (*line, Piece(rng.choice((" ", ": "))), Piece(prices[k], f"L{k}a")) if prices else line
            )
        questions = [Question("count", rng.choice(words["count"]), str(len(things)))]
        if prices:
            k = rng.randrange(len(things))
            questions.append(
                Question("amount", rng.choice(words["price"]).format(i=things[k]), prices[k], f"L{k}a")
            )
            k = rng.randrange(len(things))
            questions.append(
                Question("item", rng.choice(words["costs"]).format(a=prices[k]), things[k], f"L{k}i")
            )
        return lines, questions

    def _mentions(self, language: str, told: str, rng: random.Random) -> Iterator[Question]:
        """Whether something is mentioned: a word that is, and one that is not."""
        words = WORDS[language]
        there = [w.strip(".,:;!?()") for w in told.split() if len(w.strip(".,:;!?()")) > 3]
        if there and rng.random() < 0.35:
            yield Question(
                "mention", rng.choice(words["mention"]).format(w=rng.choice(there)), words["yes"][0]
            )
        if rng.random() < 0.35:
            pool = rng.choice((NAMES, ITEMS[language]))
            other = self._some(pool, rng) if rng.random() < 0.7 else self._word(language, rng)
            if _bare(other) not in _bare(told):
                yield Question("mention", rng.choice(words["mention"]).format(w=other), words["no"][0])

    def _absent(
        self, language: str, chosen: list[str], kinds: set[str], rng: random.Random
    ) -> Iterator[Question]:
        """What a note does not say: another topic's question. The only phone number there is answers any question for one."""
        topics = [k for k in TOPICS[language] if (k in HELD_OUT) == self.held_out and k not in chosen]
        while rng.random() < 0.5:
            topic = rng.choice(topics)
            _line, questions = self._filled(language, topic, "", rng)
            questions = [q for q in questions if q.kind not in {"phone", "mail"} & kinds]
            if questions:
                yield Question("absent", rng.choice(questions).words, WORDS[language]["absent"][0])


def _bare(text: str) -> str:
    return text.casefold()


def _date(language: str, rng: random.Random) -> str:
    day, month = rng.randint(1, 31), rng.choice(MONTHS[language])
    if language == "fr":
        return rng.choice(
            (f"{day} {month}", f"{day} {month} {rng.randint(1950, 2030)}", f"{day}/{rng.randint(1, 12)}")
        )
    return rng.choice(
        (
            f"{month} {day}",
            f"{day} {month}",
            f"{month} {day}, {rng.randint(1950, 2030)}",
            f"{day}/{rng.randint(1, 12)}",
        )
    )


def _time(language: str, rng: random.Random) -> str:
    hour, minute = rng.randint(1, 12), rng.choice((0, 15, 30, 45, rng.randint(0, 59)))
    if language == "fr":
        return rng.choice((f"{hour + 8}h{minute:02d}", f"{hour + 8} h", f"{hour + 8}:{minute:02d}"))
    return rng.choice(
        (f"{hour}:{minute:02d}", f"{hour}:{minute:02d} pm", f"{hour} am", f"{hour + 8}:{minute:02d}")
    )


def _amount(language: str, rng: random.Random) -> str:
    value = f"{rng.uniform(1, rng.choice((20, 900, 9000))):.2f}"
    if rng.random() < 0.3:
        value = value[:-3]
    if language == "fr":
        return value.replace(".", ",") + rng.choice((" €", "€", " $"))
    return rng.choice(("$", "£", "€")) + value


def _phone(language: str, rng: random.Random) -> str:
    if language == "fr" and rng.random() < 0.7:
        return " ".join(["0" + str(rng.randint(1, 9)), *(f"{rng.randint(0, 99):02d}" for _ in range(4))])
    return f"{rng.randint(200, 999)}-{rng.randint(100, 999)}-{rng.randint(0, 9999):04d}"
