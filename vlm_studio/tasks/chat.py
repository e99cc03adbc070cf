"""Conversations that are kept: messages with images in their order, a tree of versions, answers that run on.

The server's rows are the truth: what a browser sends is a text and ids, never a history. An answer runs in its own
thread (tasks/live.py), so that a closed tab loses nothing and a second one joins in; it is saved by one write when it
ends, stopped and failed ones too.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

from PIL import Image

from vlm_studio.core.cancel import CancelToken
from vlm_studio.core.chat import ChatImage, ChatTurn, Draft, ImageText, RunDetails
from vlm_studio.core.chat_json import params_of, variant_of
from vlm_studio.core.conversation import ImagePart, Part, TextPart, Turn
from vlm_studio.core.documents import Box
from vlm_studio.core.errors import DamagedFile, InvalidRequest, NotFound, StudioError
from vlm_studio.core.sessions import Session, SessionKind
from vlm_studio.core.settings import Limits
from vlm_studio.ingest.images import open_image
from vlm_studio.ingest.upload import open_pages
from vlm_studio.tasks.chat_answer import Answerer, Composed, Said, Told
from vlm_studio.tasks.chat_feed import Context, Options
from vlm_studio.tasks.chat_markers import parts_of, written
from vlm_studio.tasks.intake import Taken, take_files
from vlm_studio.tasks.live import LiveRun, LiveRuns
from vlm_studio.tasks.sessions_document import Entry

UNTITLED = "New chat"
TITLE_CHARS = 60
MIN_REGION = 8
"""Pixels of a side of a region."""
IMAGES = 64
"""Of one conversation."""
SYSTEM_CHARS = 4_000
_OPTIONS = "chat"
_FAULT = "Something went wrong inside the app; the log has the details."


class SessionRows(Protocol):
    def create(self, owner: str, kind: SessionKind, title: str) -> Session: ...
    def get(self, owner: str, session_id: str) -> Session: ...
    def rename(self, owner: str, session_id: str, title: str) -> Session: ...
    def meta(self, owner: str, session_id: str) -> dict[str, Any]: ...
    def set_meta(self, owner: str, session_id: str, values: Mapping[str, Any]) -> None: ...


class ChatRows(Protocol):
    def images(self, owner: str, session_id: str) -> tuple[ChatImage, ...]: ...
    def add_image(self, owner: str, session_id: str, image: ChatImage) -> ChatImage: ...
    def remove_waiting(self, owner: str, session_id: str, number: int) -> None: ...
    def keep_text(self, owner: str, session_id: str, number: int, read: ImageText) -> None: ...
    def add_turn(self, owner: str, session_id: str, draft: Draft) -> ChatTurn: ...
    def turn(self, owner: str, turn_id: str) -> ChatTurn: ...
    def path(self, owner: str, session_id: str) -> tuple[ChatTurn, ...]: ...
    def all_turns(self, owner: str, session_id: str) -> tuple[ChatTurn, ...]: ...
    def show(self, owner: str, turn_id: str) -> None: ...
    def show_until(self, owner: str, session_id: str, turn_id: str | None) -> None: ...


class Blobs(Protocol):
    def put(self, data: bytes, mime: str) -> str: ...
    def read(self, owner: str, sha256: str) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Kept:
    """The answer has ended and is stored."""

    turn: ChatTurn


ChatEvent = Told | Said | Kept


class Chats:
    """The Chat tab's, the command line's and the API's use cases. Every method takes the owner of the rows."""

    def __init__(
        self, sessions: SessionRows, rows: ChatRows, blobs: Blobs, live: LiveRuns, answerer: Answerer,
        limits: Limits, reader_name: Callable[[str, str, str], str] = lambda _owner, _session, reader: reader,
    ) -> None:  # fmt: skip
        """`reader_name` (owner, session, reader): the reader with the adapter that this chat wears."""
        self.sessions, self.rows, self.blobs, self.live = sessions, rows, blobs, live
        self.answerer, self.limits, self.reader_name = answerer, limits, reader_name
        self._starting = threading.Lock()

    def create(self, owner: str, title: str = UNTITLED) -> Session:
        return self.sessions.create(owner, "chat", title)

    def attach(self, owner: str, session_id: str, files: Sequence[tuple[str, bytes]]) -> Taken[ChatImage]:
        """Images, and pages of PDFs, for the next message (in a new chat where `session_id` is empty).

        Raises NotFound, InvalidRequest for too many.
        """

        notes: list[str] = []

        def keep(session_id: str, name: str, data: bytes) -> Iterator[tuple[str, ChatImage]]:
            for page in open_pages(data, name, self.limits):
                session_id = session_id or self.create(owner).id
                self._require_room(owner, session_id)
                sha256 = self.blobs.put(page.encoded, page.mime)
                if page.note and page.note not in notes:
                    notes.append(page.note)
                label = (
                    name if page.page.dpi is None and page.of == 1 else f"{name}, page {page.page.index + 1}"
                )
                image = ChatImage(0, sha256, label, page.page.width_px, page.page.height_px)
                yield session_id, self.rows.add_image(owner, session_id, image)

        taken = take_files(session_id, files, self.limits, keep)
        return replace(taken, problems=(*taken.problems, *notes))

    def attach_region(self, owner: str, session_id: str, number: int, region: Box) -> ChatImage:
        """A part of an image as an image of its own. Raises InvalidRequest where it is too small."""
        image = self.image(owner, session_id, number)
        left, top = max(0, int(region.left)), max(0, int(region.top))
        right, bottom = min(image.width_px, round(region.right)), min(image.height_px, round(region.bottom))
        if right - left < MIN_REGION or bottom - top < MIN_REGION:
            raise InvalidRequest("This region is too small.", "Mark a larger one.")
        self._require_room(owner, session_id)
        cut = self.pixels(owner, image.sha256).crop((left, top, right, bottom))
        buffer = io.BytesIO()
        cut.save(buffer, "PNG")
        sha256 = self.blobs.put(buffer.getvalue(), "image/png")
        part = ChatImage(
            0, sha256, f"part of image {number}", cut.width, cut.height, crop_of=number,
            box=Box(left, top, right, bottom),
        )  # fmt: skip
        return self.rows.add_image(owner, session_id, part)

    def _require_room(self, owner: str, session_id: str) -> None:
        if len(self.rows.images(owner, session_id)) >= IMAGES:
            raise InvalidRequest(f"A chat holds up to {IMAGES} images.", "Begin a new chat.")

    def detach(self, owner: str, session_id: str, number: int) -> None:
        """Take an image out of the message being written. Raises NotFound."""
        self.rows.remove_waiting(owner, session_id, number)

    def images(self, owner: str, session_id: str) -> tuple[ChatImage, ...]:
        return self.rows.images(owner, session_id)

    def image(self, owner: str, session_id: str, number: int) -> ChatImage:
        """Raises NotFound."""
        for image in self.rows.images(owner, session_id):
            if image.number == number:
                return image
        raise NotFound(f"There is no image {number} in this chat.", "It may have been removed.")

    def pixels(self, owner: str, sha256: str) -> Image.Image:
        """Upright RGB. Raises NotFound, StoreError where it is damaged."""
        return Image.open(io.BytesIO(self.blobs.read(owner, sha256))).convert("RGB")

    def thumbnail(self, owner: str, sha256: str, longest: int) -> Image.Image:
        """RGB, about `longest` px on its longer side; a JPEG is decoded no larger than that needs."""
        image = Image.open(io.BytesIO(self.blobs.read(owner, sha256)))
        image.draft("RGB", (longest, longest))
        image.thumbnail((longest, longest))
        return image.convert("RGB")

    def turn(self, owner: str, turn_id: str) -> ChatTurn:
        """Raises NotFound."""
        return self.rows.turn(owner, turn_id)

    def path(self, owner: str, session_id: str) -> tuple[ChatTurn, ...]:
        """The turns that are shown, first to last."""
        return self.rows.path(owner, session_id)

    def options(self, owner: str, session_id: str) -> Options:
        """As they were at the last message; the defaults in a new chat."""
        kept = self.sessions.meta(owner, session_id).get(_OPTIONS)
        if not isinstance(kept, dict):
            return Options()
        return Options(
            system=str(kept["system"]), params=params_of(kept["params"]), reader=str(kept["reader"]),
            variant=variant_of(kept["variant"]),
        )  # fmt: skip

    def send(self, owner: str, session_id: str, text: str, options: Options) -> LiveRun[object]:
        """Keep a message at the end of the path shown (of a new chat where `session_id` is empty), and answer it.

        Raises InvalidRequest for an empty message, an unknown marker, options out of range, or while an answer
        is still being written; NotFound.
        """
        self._check(owner, session_id, text, options)
        with self._starting:
            path = self._idle_path(owner, session_id) if session_id else ()
            parts = parts_of(text, self.rows.images(owner, session_id) if session_id else ())
            session_id = session_id or self.create(owner).id
            asked = self._ask(owner, session_id, path[-1].id if path else None, parts)
            return self._start(owner, asked, options)

    def edit(self, owner: str, turn_id: str, text: str, options: Options) -> LiveRun[object]:
        """Another version of a message, answered anew; the one before stays, with all that follows it."""
        self._check(owner, "", text, options)
        with self._starting:
            old = self.rows.turn(owner, turn_id)
            if old.turn.role != "user":
                raise InvalidRequest("Only your own messages can be edited.", "Try the answer again instead.")
            self._idle_path(owner, old.session_id)
            images = [replace(i, waiting=False) for i in self.rows.images(owner, old.session_id)]
            asked = self._ask(owner, old.session_id, old.parent_id, parts_of(text, images))
            return self._start(owner, asked, options)

    def retry(self, owner: str, turn_id: str, options: Options) -> LiveRun[object]:
        """Another answer beside this one; also to a message that has none."""
        self._check(owner, "", "", options)
        with self._starting:
            turn = self.rows.turn(owner, turn_id)
            self._idle_path(owner, turn.session_id)
            asked = turn if turn.turn.role == "user" else self.rows.turn(owner, turn.parent_id or "")
            self.rows.show_until(owner, turn.session_id, asked.id)
            before = len(turn.versions) if turn.turn.role == "assistant" else 0
            return self._start(owner, asked, _varied(options, before))

    def choose(self, owner: str, turn_id: str) -> None:
        """Show the path through this version. Raises InvalidRequest while an answer is being written."""
        self._idle_path(owner, self.rows.turn(owner, turn_id).session_id)
        self.rows.show(owner, turn_id)

    def typed(self, owner: str, turn_id: str) -> str:
        """A message as it would be typed, for editing."""
        turn = self.rows.turn(owner, turn_id)
        return written(turn.turn.parts, self.rows.images(owner, turn.session_id))

    def running(self, owner: str, session_id: str) -> LiveRun[object] | None:
        """The answer being written, for a viewer that comes (back) to it."""
        return self.live.under_way(session_id, owner)

    def stop(self, owner: str, session_id: str) -> None:
        self.live.stop(session_id, owner)

    def entries(self, owner: str, session_id: str) -> Iterator[Entry]:
        """Every turn of every branch as a document has it."""
        for turn in self.rows.all_turns(owner, session_id):
            who = "You" if turn.turn.role == "user" else (turn.run.model if turn.run else "Answer")
            if len(turn.versions) > 1:
                who += f" (version {turn.version + 1} of {len(turn.versions)})"
            parts = turn.turn.parts or (TextPart("Stopped before the first word."),)
            yield Entry(who, parts)

    def verify(self, owner: str, session_id: str) -> None:
        """Look at an imported conversation as it will be shown. Raises DamagedFile or another StudioError."""
        for image in self.rows.images(owner, session_id):
            size = open_image(self.blobs.read(owner, image.sha256), image.name, self.limits).size
            if size != (image.width_px, image.height_px):
                raise DamagedFile("An image of a chat is not of the size it says.", "Export it again.")
        turns = {turn.id: turn for turn in self.rows.all_turns(owner, session_id)}
        for turn in turns.values():
            above, at = set(), turn
            while at.parent_id is not None:
                above.add(at.id)
                if at.parent_id not in turns or at.parent_id in above:
                    raise DamagedFile("The messages of a chat do not follow each other.", "Export it again.")
                at = turns[at.parent_id]
        self.options(owner, session_id)

    def _check(self, owner: str, session_id: str, text: str, options: Options) -> None:
        if len(text) > self.limits.question_chars:
            raise InvalidRequest(
                f"A message has at most {self.limits.question_chars:,} characters.", "Send it in parts."
            )
        check(options, self.limits)
        self.reader_name(owner, session_id, options.reader)

    def _idle_path(self, owner: str, session_id: str) -> tuple[ChatTurn, ...]:
        if self.running(owner, session_id) is not None:
            raise InvalidRequest("An answer is still being written.", "Wait for it, or press Stop.")
        return self.rows.path(owner, session_id)

    def _ask(self, owner: str, session_id: str, parent_id: str | None, parts: tuple[Part, ...]) -> ChatTurn:
        asked = self.rows.add_turn(owner, session_id, Draft(parent_id, Turn("user", parts)))
        if self.sessions.get(owner, session_id).title == UNTITLED:
            self.sessions.rename(owner, session_id, _title(parts))
        return asked

    def _start(self, owner: str, asked: ChatTurn, options: Options) -> LiveRun[object]:
        session_id = asked.session_id
        values = {
            "system": options.system, "params": asdict(options.params), "reader": options.reader,
            "variant": asdict(options.variant),
        }  # fmt: skip
        self.sessions.set_meta(owner, session_id, {_OPTIONS: values})
        path = self.rows.path(owner, session_id)
        turns = path[: 1 + next(i for i, turn in enumerate(path) if turn.id == asked.id)]
        context = Context(
            turns=turns,
            images={image.sha256: image for image in self.rows.images(owner, session_id)},
            load=lambda sha256: self.pixels(owner, sha256),
            keep_text=lambda number, read: self.rows.keep_text(owner, session_id, number, read),
            options=replace(options, reader=self.reader_name(owner, session_id, options.reader)),
            conversation_id=session_id,
        )

        def work(cancel: CancelToken) -> Iterator[ChatEvent]:
            yield from self._answer(owner, asked, context, cancel)

        return self.live.start(session_id, owner, work)

    def _answer(
        self, owner: str, asked: ChatTurn, context: Context, cancel: CancelToken
    ) -> Iterator[ChatEvent]:
        def keep(composed: Composed) -> Kept:
            draft = Draft(asked.id, Turn("assistant", composed.parts), composed.status, composed.run)
            return Kept(self.rows.add_turn(owner, asked.session_id, draft))

        try:
            for event in self.answerer.answer(context, cancel):
                yield keep(event) if isinstance(event, Composed) else event
        except StudioError:
            raise
        except Exception:
            options = context.options
            run = RunDetails(
                "model", options.variant.model_id, options.variant, options.params, notes=(_FAULT,)
            )
            yield keep(Composed((), "failed", run))
            raise


def check(options: Options, limits: Limits) -> None:
    """Raises InvalidRequest for an option out of its range."""
    params = options.params
    ranges: tuple[tuple[str, float, float, float], ...] = (
        ("The longest answer", params.max_new_tokens, 1, limits.new_tokens),
        ("The temperature", params.temperature, 0.0, 2.0),
        ("Top-p", params.top_p, 0.01, 1.0),
        ("The repetition penalty", params.repetition_penalty, 1.0, 2.0),
        ("The seed", params.seed, 0, 2**31 - 1),
    )
    for name, value, low, high in ranges:
        if not low <= value <= high:
            raise InvalidRequest(f"{name} cannot be {value:g}.", f"Use a value from {low:g} to {high:g}.")
    if len(options.system) > SYSTEM_CHARS:
        raise InvalidRequest(f"A system prompt has at most {SYSTEM_CHARS:,} characters.", "Shorten it.")


def _varied(options: Options, before: int) -> Options:
    """The same again would give the same again: another seed, and a little warmth where there was none."""
    if not before:
        return options
    params = options.params
    warm = params.temperature or 0.7
    return replace(options, params=replace(params, temperature=warm, seed=(params.seed + before) % 2**31))


def _title(parts: Sequence[Part]) -> str:
    """Its first words, images named by number; of images alone their names."""
    if not any(isinstance(part, TextPart) for part in parts):
        names = [part.alt.partition(": ")[2] for part in parts if isinstance(part, ImagePart)]
        text = ", ".join(name for name in names if name) or UNTITLED
    else:
        first = next(i for i, part in enumerate(parts) if isinstance(part, TextPart))
        said = (p.text if isinstance(p, TextPart) else p.alt.partition(":")[0] for p in parts[first:])
        text = " ".join("".join(said).split())
    return text if len(text) <= TITLE_CHARS else text[:TITLE_CHARS].rsplit(" ", 1)[0] + " …"
