"""Frozen versus LoRA: the same input, prompt and seed, run without and with an adapter on the same weights."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rapidfuzz.distance import Levenshtein

from vlm_studio.core.adapters import Adapter
from vlm_studio.core.cancel import CancelToken
from vlm_studio.core.comparison import (
    Comparison,
    Confusion,
    ErrorRates,
    LinePair,
    LinesComparison,
    Part,
    Side,
)
from vlm_studio.core.conversation import Ask, GenParams, ImagePart, TextPart, Turn, Variant
from vlm_studio.core.errors import InvalidRequest
from vlm_studio.core.ids import ID
from vlm_studio.core.ports import ModelCard
from vlm_studio.tasks.compare_sides import Bench, Said
from vlm_studio.tasks.scoring import alike, difference, normal, score, total

if TYPE_CHECKING:
    from PIL.Image import Image

READ_PROMPT = "Read the line."
BASE = "base"
MOST_LINES = 24
LINE_TOKENS = 96
"""Of one line that is read: more is no line any more."""
HIGHEST_STRENGTH = 1.5


@dataclass(frozen=True, slots=True)
class Choice:
    """Something that a side may be."""

    name: str
    """``base``, the name of an adapter that ships with nano, or the id of one that was taught."""
    title: str
    part: Part | None
    """What it sits on; None: the base, which either has."""
    signed: str = ""


@dataclass(frozen=True, slots=True)
class Sides:
    """What is compared with what."""

    part: Part
    left: Variant
    right: Variant
    labels: tuple[str, str]
    signed: tuple[str, str] = ("", "")


class Comparing:
    """The Compare tab's, the command line's and the API's use cases."""

    def __init__(
        self,
        card: Callable[[], ModelCard],
        benches: Mapping[Part, Bench],
        shipped: Callable[[], Sequence[str]],
        hands: Callable[[str], Sequence[tuple[Adapter, str]]],
    ) -> None:
        """`card` of the model whose adapters ship with it, `shipped` their names.

        `hands` gives an owner's adapters of the line reader, newest first, and how readings by each are signed.
        """
        self._card, self._benches, self._shipped, self._hands = card, benches, shipped, hands
        self._running: dict[str, CancelToken] = {}

    def begin(self, owner: str) -> CancelToken:
        """What this owner's `stop` will stop."""
        self._running[owner] = CancelToken()
        return self._running[owner]

    def stop(self, owner: str) -> None:
        running = self._running.pop(owner, None)
        if running is not None:
            running.cancel()

    @property
    def card(self) -> ModelCard:
        """Of the model that is compared with itself."""
        return self._card()

    def choices(self, owner: str) -> tuple[Choice, ...]:
        """The base, the adapters that ship with nano, and those that the owner taught or brought in."""
        shipped = (Choice(name, name, "model") for name in self._shipped())
        taught = (Choice(a.id, a.name, "reader", signed) for a, signed in self._hands(owner))
        return (Choice(BASE, BASE, None), *shipped, *taught)

    def sides(self, owner: str, left: str, right: str, strength: float = 1.0) -> Sides:
        """What `left` and `right` name; `strength` of the right one is 0 to 1.5.

        A hand adapter is named by its id or, where no other is called so, by its name. Raises InvalidRequest.
        """
        if not 0 <= strength <= HIGHEST_STRENGTH:
            raise InvalidRequest("The strength of an adapter is 0 to 150%.", "Choose one in between.")
        choices = self.choices(owner)
        found = [_named(choices, name) for name in (left, right)]
        parts = {choice.part for choice in found if choice.part is not None}
        if len(parts) > 1:
            raise InvalidRequest(
                "These two sit on different parts of nano: one on its language model, the other on its line reader.",
                "Compare either with the base, or with another of its kind.",
            )
        scales = (1.0, strength)
        model = self.card.name
        variants = [
            Variant(model, adapter=None if choice.part is None else choice.name, adapter_scale=scale)
            for choice, scale in zip(found, scales, strict=True)
        ]
        labels = [
            choice.title if choice.part is None else f"{choice.title} at {scale:.0%}"
            for choice, scale in zip(found, scales, strict=True)
        ]
        return Sides(
            parts.pop() if parts else "model",
            variants[0],
            variants[1],
            (labels[0], labels[1]),
            (found[0].signed, found[1].signed),
        )

    def one(
        self, ask: Ask, images: Mapping[str, Image], sides: Sides, reference: str = "",
        cancel: CancelToken | None = None,
    ) -> Comparison:  # fmt: skip
        """The same request both ways; `ask.variant` is not looked at. Raises StudioError, Cancelled."""
        if sides.part == "reader" and ask.turns[-1].text != READ_PROMPT:
            raise InvalidRequest(
                "A hand adapter sits on the line reader, which reads and answers no questions.",
                "Leave the prompt empty, or compare adapters of the language model.",
            )
        cancel = cancel or CancelToken()
        ask = replace(ask, conversation_id=None)
        both = self._benches[sides.part].one(ask, images, sides.left, sides.right, cancel)
        cancel.raise_if_cancelled()
        return Comparison(
            prompt_sha256=prompt_hash(ask),
            seed=ask.params.seed,
            left=_side(sides, 0, both.left, reference),
            right=_side(sides, 1, both.right, reference),
            spans=difference(both.left.text, both.right.text),
            words=both.words,
            reference=reference,
            part=sides.part,
            shifts=both.shifts,
        )

    def lines(
        self, strips: Sequence[Image], sides: Sides, references: Sequence[str] = (),
        cancel: CancelToken | None = None,
    ) -> LinesComparison:  # fmt: skip
        """Many strips both ways. `references`, where given, are as many as the strips. Raises StudioError."""
        if references and len(references) != len(strips):
            raise InvalidRequest(
                f"Lines of text: {len(references)}. Lines of writing: {len(strips)}.",
                "Give one line of text for each line of writing, in their order.",
            )
        if not 0 < len(strips) <= MOST_LINES:
            raise InvalidRequest(f"Compare 1 to {MOST_LINES} lines at once.", "Choose fewer lines.")
        cancel = cancel or CancelToken()
        bench = self._benches[sides.part]
        read: list[list[str]] = []
        found: list[Side] = []
        for place, variant in enumerate((sides.left, sides.right)):
            started = time.monotonic()
            texts = bench.read(strips, variant, cancel)
            read.append(texts)
            side = _side(sides, place, Said("\n".join(texts), time.monotonic() - started, 0), "")
            if references:
                rates = total(list(zip(texts, references, strict=True)))
                side = replace(side, rates=ErrorRates(rates.cer, rates.wer))
            found.append(side)
        wanted = list(references) or [""] * len(strips)
        pairs = tuple(LinePair(a, b, c) for a, b, c in zip(read[0], read[1], wanted, strict=True))
        return LinesComparison(found[0], found[1], pairs, confusions(pairs) if references else (), sides.part)


def reading_ask(image_sha256: str, prompt: str = "") -> Ask:
    """A strip to be read, or an image to be asked about."""
    params = GenParams() if prompt.strip() else GenParams(max_new_tokens=LINE_TOKENS)
    return Ask(
        (Turn("user", (ImagePart(image_sha256), TextPart(prompt.strip() or READ_PROMPT))),), params=params
    )


def prompt_hash(ask: Ask) -> str:
    """Of what both sides are given: turns and images, parameters and seed, but neither model nor adapter."""
    parts = [
        [turn.role, [p.image_sha256 if isinstance(p, ImagePart) else p.text for p in turn.parts]]
        for turn in ask.turns
    ]
    params = ask.params
    given = [params.max_new_tokens, params.temperature, params.top_p, params.repetition_penalty, params.seed]
    return hashlib.sha256(json.dumps([parts, given], ensure_ascii=False).encode()).hexdigest()


def confusions(pairs: Sequence[LinePair], most: int = 20) -> tuple[Confusion, ...]:
    """Which letters are read as which, by either side, over all lines with a reference.

    A side that writes something else altogether mixes up no letters: all of its own would stand first.
    """
    counts: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
    where: dict[tuple[str, str], list[int]] = defaultdict(list)
    for number, pair in enumerate(pairs):
        for side, text in enumerate((pair.left, pair.right)):
            if not alike(text, pair.reference):
                continue
            for wanted, read in _swaps(normal(pair.reference), normal(text)):
                counts[wanted, read][side] += 1
                if number not in where[wanted, read]:
                    where[wanted, read].append(number)
    ranked = sorted(counts.items(), key=lambda item: (-abs(item[1][0] - item[1][1]), -sum(item[1]), item[0]))
    return tuple(Confusion(w, r, a, b, tuple(where[w, r])) for (w, r), (a, b) in ranked[:most])


def _swaps(wanted: str, read: str) -> list[tuple[str, str]]:
    found = []
    for step in Levenshtein.editops(wanted, read):
        if step.tag == "replace":
            found.append((wanted[step.src_pos], read[step.dest_pos]))
        elif step.tag == "delete":
            found.append((wanted[step.src_pos], ""))
        else:
            found.append(("", read[step.dest_pos]))
    return found


def _named(choices: Sequence[Choice], name: str) -> Choice:
    by_name = [c for c in choices if c.name == name]
    by_title = [c for c in choices if c.title.casefold() == name.strip().casefold()]
    for found in (by_name, by_title):
        if len(found) == 1:
            return found[0]
    if by_title:
        ids = ", ".join(c.name for c in by_title)
        raise InvalidRequest(f"Several adapters are called {name!r}.", f"Name one by its id: {ids}.")
    if re.fullmatch(ID, name):
        raise InvalidRequest("That hand has been deleted.", "Choose another.")
    known = ", ".join(c.title if c.title == c.name else f"{c.title} ({c.name})" for c in choices)
    raise InvalidRequest(f"There is no adapter {name[:60]!r}.", f"Choose one of: {known}.")


def _side(sides: Sides, place: int, said: Said, reference: str) -> Side:
    rates = None
    if reference.strip():
        found = score(said.text, reference)
        rates = ErrorRates(found.cer, found.wer)
    variant = (sides.left, sides.right)[place]
    return Side(
        sides.labels[place], variant, said.text, said.seconds, said.tokens, rates, sides.signed[place]
    )
