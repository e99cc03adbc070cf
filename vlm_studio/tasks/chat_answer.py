"""One answer: what is asked of which model, and what is made of it. Nothing is stored here.

A model that sees pictures gets them as they are, in their order. One that only reads writing gets what was read, as
a quoted part at the same place; what it could only invent is answered by rule (tasks/chat_rules.py).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from vlm_studio.core.answers import Answer, DoneEvent, StatusEvent, TokenEvent
from vlm_studio.core.cancel import CancelToken
from vlm_studio.core.chat import (
    ChatImage,
    ChatTurn,
    How,
    ImageText,
    RestsOn,
    RunDetails,
    TextLine,
    TurnStatus,
)
from vlm_studio.core.conversation import Ask, GenParams, Part, TextPart, Variant
from vlm_studio.core.documents import Page, PageReading, Word
from vlm_studio.core.errors import Cancelled, ModelUnavailable, OutOfMemory, StudioError
from vlm_studio.core.ports import Engine, ModelCard
from vlm_studio.tasks import chat_learned as learned
from vlm_studio.tasks import chat_replies as replies
from vlm_studio.tasks.chat_feed import Context, fed_turns, images_of, quoted
from vlm_studio.tasks.chat_replies import as_text
from vlm_studio.tasks.chat_rules import Decision, Route, decide, unsupported
from vlm_studio.tasks.models import NANO
from vlm_studio.tasks.transcribe import ADAPTED, LineRead, LinesFound, PageRead, Transcriber

if TYPE_CHECKING:
    from PIL.Image import Image

log = logging.getLogger(__name__)

LEGIBLE = 0.24
"""Lines read with less confidence are no writing: readers find letters in leaves and fur, and are not sure of them."""
FEWEST_LETTERS = 3
"""Letters and digits of an image that has writing on it; a whisker alone may pass for a letter."""


@dataclass(frozen=True, slots=True)
class Told:
    """What is going on, for whoever waits."""

    message: str


@dataclass(frozen=True, slots=True)
class Said:
    """The next piece of the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class Composed:
    """The answer, whole or as far as it came."""

    parts: tuple[Part, ...]
    status: TurnStatus
    run: RunDetails


@dataclass(slots=True)
class _Progress:
    """What is known while an answer is being made, so that a failure keeps it."""

    started: float
    card: ModelCard
    said: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    reading_ms: float = 0.0
    reader: str = ""


class Answerer:
    """Makes answers. `find` looks them up in texts; `engine` loads a model, and is called only where it is needed.

    `shipped` names the adapters that come with the embedded model.
    """

    def __init__(
        self,
        card: Callable[[Variant], ModelCard],
        engine: Callable[[Variant], Engine],
        transcriber: Transcriber,
        find: replies.Finder,
        shipped: Callable[[], Sequence[str]] = tuple,
    ) -> None:
        self.card, self.engine, self.transcriber, self.find = card, engine, transcriber, find
        self.shipped = shipped

    def answer(self, context: Context, cancel: CancelToken) -> Iterator[Told | Said | Composed]:
        """Pieces, then exactly one Composed: also when stopped, and when a StudioError ended it."""
        yield Told("Getting ready ...")
        started = time.monotonic()
        try:
            progress = _Progress(started, self.card(context.options.variant))
        except StudioError as error:
            options = context.options
            run = RunDetails(
                "model", options.variant.model_id, options.variant, options.params, notes=(str(error),)
            )
            yield Composed((), "failed", run)
            return
        try:
            try:
                yield from self._answer(context, progress, cancel)
            except (ModelUnavailable, OutOfMemory) as failure:
                yield Told(f"{failure.message} {NANO} answers instead.")
                context = self._with_nano(context, progress, failure)
                yield from self._answer(context, progress, cancel)
        except Cancelled:
            yield self._ended(context, progress, "stopped")
        except StudioError as error:
            progress.notes.append(str(error))
            yield self._ended(context, progress, "failed")

    def _with_nano(self, context: Context, progress: _Progress, failure: StudioError) -> Context:
        """The same question for the model that runs anywhere. Raises `failure` where that is what failed."""
        if progress.said or progress.card.name == NANO:
            raise failure
        variant = replace(context.options.variant, model_id=NANO, adapter=None)
        try:
            progress.card = self.card(variant)
        except StudioError:
            raise failure from None
        progress.notes.append(f"{failure} {NANO} answered instead.")
        return replace(context, options=replace(context.options, variant=variant))

    def _answer(
        self, context: Context, progress: _Progress, cancel: CancelToken
    ) -> Iterator[Told | Said | Composed]:
        if progress.card.sees_pictures:
            yield from self._ask(context, progress, cancel, None)
            return
        context = yield from self._with_texts(context, progress, cancel)
        question = context.turns[-1]
        fresh = images_of(context, question)
        before = dict.fromkeys(i for turn in context.turns[:-1] for i in images_of(context, turn))
        earlier = [image for image in before if image not in fresh]
        decision = decide(replies.words_of(question), fresh, earlier)
        made = yield from self._learned(context, progress, cancel, decision)
        if made is not None:
            yield Said(as_text(made.parts))
            yield made
            return
        reply = self._by_rule(question, decision, progress.card.title)
        if reply is None:
            yield from self._ask(context, progress, cancel, decision)
            return
        yield Said(as_text(reply.parts))
        yield Composed(reply.parts, "done", self._details(context, progress, reply.how, reply.rests_on))

    def _learned(
        self, context: Context, progress: _Progress, cancel: CancelToken, decision: Decision
    ) -> Generator[Told | Said | Composed, None, Composed | None]:
        """A short answer about notes by the adapter that learned it; None where the rules have to do."""
        fits = decision.route == "find" and learned.suits(decision.about)
        if not fits or progress.card.name != NANO or learned.ADAPTER not in self.shipped():
            return None
        yield Told("Asking about the note ...")
        variant = learned.wearing(replace(context.options.variant, model_id=NANO))
        words = replies.words_of(context.turns[-1])
        texts = [quoted(context, image.sha256) for image in decision.about]
        asked = learned.ask_learned(self.engine, variant, words, decision.about, texts, cancel)
        try:
            while True:
                yield Told(next(asked))
        except StopIteration as ended:
            reply, answer = ended.value
        except (ModelUnavailable, OutOfMemory):
            # The rules need no language model: without it they answer as they do where the adapter is not shipped.
            log.warning("the short answer is left to the rules", exc_info=True)
            return None
        cancel.raise_if_cancelled()
        if reply is None or answer is None:
            return None
        details = self._details(context, progress, reply.how, reply.rests_on)
        run = replace(
            details,
            model=NANO,
            variant=variant,
            params=learned.PARAMS,
            usage=answer.usage,
            tokens=answer.tokens,
        )
        return Composed(reply.parts, "done", run)

    def _by_rule(self, question: ChatTurn, decision: Decision, model: str) -> replies.Reply | None:
        """An answer that needs no language model; None where one is needed."""
        words = replies.words_of(question)
        made: dict[Route, Callable[[], replies.Reply | None]] = {
            "cannot_see": lambda: replies.cannot_see(words, decision.about, model),
            "no_writing": lambda: replies.no_writing(decision.about, model),
            "cannot_do": lambda: replies.cannot_translate(decision.about),
            "transcript": lambda: replies.transcript(decision.about),
            "highlights": lambda: replies.highlights(decision.about),
            "find": lambda: (
                replies.found(words, decision.about, self.find) or replies.not_found(words, decision.about)
            ),
            "model": lambda: None,
        }
        return made[decision.route]()

    def _with_texts(
        self, context: Context, progress: _Progress, cancel: CancelToken
    ) -> Generator[Told | Said | Composed, None, Context]:
        """Read every image of the conversation that nobody has read yet; the context that knows their text."""
        images = dict(context.images)
        shown = {part.image_sha256 for turn in context.turns for part in turn.turn.images}
        if not shown:
            return context
        wanted = self.transcriber.reader(context.options.reader).name
        progress.reader = wanted
        started = time.monotonic()
        for sha256 in [i.sha256 for i in images.values() if i.sha256 in shown]:
            image = images[sha256]
            if image.read is not None and (
                image.read.reader == wanted
                # Read by whatever was best then; but not by a hand that is worn no more.
                or (context.options.reader in {"", "auto"} and ADAPTED not in image.read.reader)
            ):
                continue
            read = yield from self._read(image, context.load(sha256), context.options.reader, cancel)
            context.keep_text(image.number, read)
            images[sha256] = replace(image, read=read)
        progress.reading_ms = (time.monotonic() - started) * 1000
        return replace(context, images=images)

    def _read(
        self, image: ChatImage, pixels: Image, reader: str, cancel: CancelToken
    ) -> Generator[Told | Said | Composed, None, ImageText]:
        """Raises Cancelled."""
        yield Told(f"Looking for writing on image {image.number} ...")
        page = Page(image.sha256, 0, image.sha256, image.width_px, image.height_px)
        lines, done = 0, 0
        reading: PageReading | None = None
        for event in self.transcriber.read_page(page, pixels, reader, cancel):
            if isinstance(event, LinesFound):
                lines = sum(not line.maybe_skipped for line in event.lines)
            elif isinstance(event, LineRead):
                done += 1
                yield Told(f"Reading image {image.number}: line {done} of {lines}")
            elif isinstance(event, PageRead):
                reading = event.reading
        # A reading that was stopped is not all that stands there, so it is not kept.
        cancel.raise_if_cancelled()
        return image_text(reading)

    def _ask(
        self, context: Context, progress: _Progress, cancel: CancelToken, decision: Decision | None
    ) -> Iterator[Told | Said | Composed]:
        """Ask the language model, and say what its answer rests on."""
        turns, left_out = fed_turns(context, None if decision is None else decision.about)
        if left_out:
            progress.notes.append(
                f"The first {left_out} messages were left out: they are too long to go along."
            )
        params = context.options.params
        variant = replace(context.options.variant, model_id=progress.card.name)
        ask = Ask(turns, variant, params, context.conversation_id)
        pictures = {p.image_sha256: context.load(p.image_sha256) for t in turns for p in t.images}
        answer: Answer | None = None
        for event in self.engine(context.options.variant).stream(ask, pictures, cancel):
            if isinstance(event, TokenEvent) and event.text:
                progress.said.append(event.text)
                yield Said(event.text)
            elif isinstance(event, StatusEvent):
                yield Told(event.message)
            elif isinstance(event, DoneEvent):
                answer = event.answer
        if answer is None:
            return
        rests_on: tuple[RestsOn, ...] = ()
        if decision is not None:
            read = [image for image in decision.about if image.read and image.read.lines]
            rests_on = tuple(RestsOn(i.number, i.read.text if i.read else "") for i in read)
            sources = [p.text for turn in turns for p in turn.parts if isinstance(p, TextPart)]
            progress.notes += doubts(answer.text, sources, bool(read))
        progress.notes += [*endings(answer, params), *answer.notes]
        run = replace(
            self._details(context, progress, "model", rests_on),
            usage=answer.usage,
            first_token_ms=progress.reading_ms + answer.first_token_ms,
            finish_reason=answer.finish_reason,
            tokens=answer.tokens,
        )
        text = answer.text.strip()
        status: TurnStatus = "stopped" if answer.finish_reason == "cancelled" else "done"
        yield Composed((TextPart(text),) if text else (), status, run)

    def _ended(self, context: Context, progress: _Progress, status: TurnStatus) -> Composed:
        """What there is of an answer that was stopped or failed."""
        text = "".join(progress.said).strip()
        run = self._details(context, progress, "model", ())
        if status == "stopped":
            run = replace(run, finish_reason="cancelled")
        return Composed((TextPart(text),) if text else (), status, run)

    @staticmethod
    def _details(
        context: Context, progress: _Progress, how: How, rests_on: tuple[RestsOn, ...]
    ) -> RunDetails:
        total = (time.monotonic() - progress.started) * 1000
        return RunDetails(
            how=how,
            model=progress.card.name if how == "model" else progress.reader or progress.card.name,
            variant=replace(context.options.variant, model_id=progress.card.name),
            params=context.options.params,
            system=context.options.system,
            reader=progress.reader,
            first_token_ms=total,
            total_ms=total,
            reading_ms=progress.reading_ms,
            rests_on=rests_on,
            notes=tuple(progress.notes),
        )


def image_text(reading: PageReading | None) -> ImageText:
    """The legible lines of a reading."""
    if reading is None:
        return ImageText("", ())
    lines = tuple(
        TextLine(
            read.reading.text,
            read.reading.confidence,
            read.line.box,
            tuple(Word(word.text, word.box) for word in read.reading.words),
        )
        for read in reading.lines
        if read.reading.text and read.reading.confidence >= LEGIBLE
    )
    letters = sum(c.isalnum() for line in lines for c in line.text)
    return ImageText(reading.reader, lines if letters >= FEWEST_LETTERS else ())


def doubts(answer: str, sources: Sequence[str], has_text: bool) -> list[str]:
    """What a person should know of the words of a small model."""
    if not has_text:
        return ["This rests on nothing but a small language model: facts and numbers in it may be wrong."]
    made_up = unsupported(answer, sources)
    told = ["A small language model put this into words: check it against the text."]
    if made_up:
        told.append(f"Not in the text: {', '.join(made_up[:8])}.")
    return told


def endings(answer: Answer, params: GenParams) -> list[str]:
    if answer.finish_reason == "length":
        return [f"Cut off at {params.max_new_tokens} tokens; raise the limit for a longer answer."]
    if answer.finish_reason == "loop":
        return ["The model began to repeat itself and was stopped."]
    return []
