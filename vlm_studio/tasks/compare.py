"""Frozen versus LoRA: the same input, prompt and seed, run without and with an adapter in one loaded model."""

from __future__ import annotations

import hashlib
import json
import math
import re
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rapidfuzz.distance import Levenshtein

from vlm_studio.core.answers import Answer, DoneEvent
from vlm_studio.core.cancel import CancelToken
from vlm_studio.core.comparison import (
    Comparison,
    Confusion,
    CurvePoint,
    ErrorRates,
    Lesson,
    LinePair,
    LinesComparison,
    Side,
    WordChance,
)
from vlm_studio.core.conversation import Ask, GenParams, ImagePart, TextPart, Turn, Variant
from vlm_studio.core.errors import InvalidRequest
from vlm_studio.core.ports import Engine, ModelCard
from vlm_studio.tasks.scoring import difference, normal, score, total

if TYPE_CHECKING:
    from PIL.Image import Image

READ_PROMPT = "Read the line."
BASE = "base"
MOST_LINES = 24
LINE_TOKENS = 96
"""Of one line that is read: more is no line any more."""
KNOWN_LESSONS = ("reading", "frozen")


class Comparing:
    """The Compare tab's, the command line's and the API's use cases."""

    def __init__(self, engine: Callable[[], Engine], adapters: Callable[[], Sequence[str]]) -> None:
        """`adapters`: names that the engine's model may wear."""
        self._engine, self._adapters = engine, adapters
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
        return self._engine().card

    @property
    def choices(self) -> tuple[str, ...]:
        """The base, then every adapter."""
        return (BASE, *self._adapters())

    def variant(self, choice: str, scale: float = 1.0) -> Variant:
        """Raises InvalidRequest for a name that is not on the list or a strength out of range."""
        if choice not in self.choices:
            raise InvalidRequest(
                f"There is no adapter {choice!r}.", f"Choose one of {', '.join(self.choices)}."
            )
        if not 0 <= scale <= 1.5:
            raise InvalidRequest("The strength of an adapter is 0 to 150%.", "Choose one in between.")
        name = self._engine().card.name
        return Variant(name, adapter=None if choice == BASE else choice, adapter_scale=scale)

    def one(
        self, ask: Ask, images: Mapping[str, Image], left: Variant, right: Variant, reference: str = "",
        cancel: CancelToken | None = None,
    ) -> Comparison:  # fmt: skip
        """The same request both ways; `ask.variant` is not looked at. Raises StudioError, Cancelled."""
        engine, cancel = self._engine(), cancel or CancelToken()
        ask = replace(ask, conversation_id=None)
        answers, sides = [], []
        for variant in (left, right):
            started = time.monotonic()
            answer = _answer(engine, replace(ask, variant=variant), images, cancel)
            answers.append(answer)
            sides.append(
                _side(variant, answer.text, time.monotonic() - started, len(answer.tokens), reference)
            )
        cancel.raise_if_cancelled()
        ids = [token.token_id for token in answers[1].tokens]
        chances = [
            engine.logprobs(replace(ask, variant=variant), images, ids).tolist() if ids else []
            for variant in (left, right)
        ]
        return Comparison(
            prompt_sha256=prompt_hash(ask),
            seed=ask.params.seed,
            left=sides[0],
            right=sides[1],
            spans=difference(sides[0].text, sides[1].text),
            words=words_of([t.text for t in answers[1].tokens], *chances),
            reference=reference,
        )

    def lines(
        self, strips: Sequence[Image], left: Variant, right: Variant, references: Sequence[str] = (),
        cancel: CancelToken | None = None,
    ) -> LinesComparison:  # fmt: skip
        """Many strips both ways. `references`, where given, are as many as the strips. Raises StudioError."""
        if references and len(references) != len(strips):
            raise InvalidRequest(
                f"{len(references)} lines of text for {len(strips)} lines of writing.",
                "Give one line of text for each line of writing, in their order.",
            )
        if not 0 < len(strips) <= MOST_LINES:
            raise InvalidRequest(f"Compare 1 to {MOST_LINES} lines at once.", "Choose fewer lines.")
        engine, cancel = self._engine(), cancel or CancelToken()
        read, sides = [], []
        for variant in (left, right):
            started = time.monotonic()
            texts = [reading.text for reading in engine.read(strips, cancel, variant)]
            read.append(texts)
            seconds = time.monotonic() - started
            side = _side(variant, "\n".join(texts), seconds, 0, "")
            if references:
                rates = total(list(zip(texts, references, strict=True)))
                side = replace(side, rates=ErrorRates(rates.cer, rates.wer))
            sides.append(side)
        wanted = list(references) or [""] * len(strips)
        pairs = tuple(LinePair(a, b, c) for a, b, c in zip(read[0], read[1], wanted, strict=True))
        return LinesComparison(sides[0], sides[1], pairs, confusions(pairs) if references else ())


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


def words_of(texts: Sequence[str], left: Sequence[float], right: Sequence[float]) -> tuple[WordChance, ...]:
    """Tokens and their log-probabilities either way, joined into words: a word is as likely as all of its tokens."""
    found: list[WordChance] = []
    text, sums = "", [0.0, 0.0]

    def close() -> None:
        nonlocal text, sums
        if text.strip():
            found.append(WordChance(text.strip(), math.exp(sums[0]), math.exp(sums[1])))
        text, sums = "", [0.0, 0.0]

    for piece, a, b in zip(texts, left, right, strict=True):
        if piece[:1].isspace():
            close()
        text += piece
        sums = [sums[0] + a, sums[1] + b]
        if piece[-1:].isspace():
            close()
    close()
    return tuple(found)


def confusions(pairs: Sequence[LinePair], most: int = 20) -> tuple[Confusion, ...]:
    """Which letters are read as which, by either side, over all lines with a reference."""
    counts: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
    where: dict[tuple[str, str], list[int]] = defaultdict(list)
    for number, pair in enumerate(pairs):
        for side, text in enumerate((pair.left, pair.right)):
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


def lessons(curves: Mapping[str, Any], changes: Mapping[str, Mapping[str, float]]) -> tuple[Lesson, ...]:
    """The shipped adapters' learning curves, from `assets/nano/curves.json`; what is not there is left out."""
    found = []
    stages = curves.get("stages", {})
    for name in KNOWN_LESSONS:
        rows = [row for row in stages.get(name, ()) if isinstance(row, dict)]
        if not rows:
            continue
        points = tuple(
            CurvePoint(int(row["step"]), row.get("loss"), _mean(row.get("cer")))
            for row in rows
            if "step" in row
        )
        last: dict[str, Any] = next(
            (row["cer"] for row in reversed(rows) if isinstance(row.get("cer"), dict)), {}
        )
        parameters = max((int(row.get("parameters", 0)) for row in rows), default=0)
        found.append(Lesson(name, parameters, points, changes.get(name, {}), last))
    return tuple(found)


def by_layer(change: Mapping[str, float]) -> dict[str, float]:
    """Mean relative change of the matrices of each layer of the language model, and of each part of the connector."""
    groups: dict[str, list[float]] = defaultdict(list)
    for name, value in change.items():
        layer = re.search(r"text_model\.layers\.(\d+)\.", name)
        part = re.search(r"connector\.(\w+)", name)
        groups[f"language layer {layer[1]}" if layer else part[1] if part else name].append(value)
    return {name: sum(values) / len(values) for name, values in groups.items()}


def what_holds(found: Sequence[Lesson]) -> str:
    """What of the paper's table holds for the shipped pair, from their own figures."""
    ends = {lesson.name: _mean(lesson.last) for lesson in found}
    reading, frozen = ends.get("reading"), ends.get("frozen")
    if reading is None or frozen is None:
        return "Of nano there are no figures here yet, so whether this holds at 150M parameters is not said."
    sizes = {lesson.name: lesson.parameters for lesson in found}
    steps = {lesson.name: max(point.step for point in lesson.points) for lesson in found}
    if steps["reading"] == steps["frozen"]:
        training = "after the same lines and steps"
    else:
        training = (
            f"on the same lines in the same order, after {steps['reading']} steps and {steps['frozen']}"
        )
    more = sizes["reading"] / max(1, sizes["frozen"])
    if reading < frozen * 0.95:
        told = f"Here too the LoRA side ends ahead of its frozen twin: {reading:.1%} letter errors against {frozen:.1%}"
    elif frozen < reading * 0.95:
        told = f"Here it does not hold: the frozen twin ends with {frozen:.1%} letter errors, LoRA with {reading:.1%}"
    else:
        told = f"Here the two end about equal: {reading:.1%} letter errors with LoRA, {frozen:.1%} frozen"
    return (
        f"{told}, {training}, with {more:.0f} times as many trainable parameters. It is another task "
        "(one line of writing), another size and one run each, so it repeats the question of the paper, not its result."
    )


def _mean(rates: Any) -> float | None:
    if not isinstance(rates, dict):
        return rates if isinstance(rates, float) else None
    values = [v for v in rates.values() if isinstance(v, (int, float))]
    return sum(values) / len(values) if values else None


def _answer(engine: Engine, ask: Ask, images: Mapping[str, Image], cancel: CancelToken) -> Answer:
    """To the very end: an engine takes a stream that is left early for a Stop."""
    answers = [e.answer for e in engine.stream(ask, images, cancel) if isinstance(e, DoneEvent)]
    if answers[-1].finish_reason == "cancelled":
        cancel.cancel()
        cancel.raise_if_cancelled()
    return answers[-1]


def _side(variant: Variant, text: str, seconds: float, tokens: int, reference: str) -> Side:
    rates = None
    if reference.strip():
        found = score(text, reference)
        rates = ErrorRates(found.cer, found.wer)
    label = "base" if variant.adapter is None else f"{variant.adapter} at {variant.adapter_scale:.0%}"
    return Side(label, variant, text, seconds, tokens, rates)
