"""An answer with all it was made from, in one file, so that anybody can make it again and see the same text.

::

    run.json            messages in their order, options, answer, what each image reads, weights and versions
    images/<sha256>.*   every image of the conversation as it was fed; regions are images that say where they were cut
    quotes/NN.png       the places that the answer stands on
    probabilities.csv   each token of a generated answer with its probability and the next best ones
    hand/*              the hand adapter that the images were read with, where one was worn
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from vlm_studio.core.cancel import CancelToken
from vlm_studio.core.chat import ChatImage, ChatTurn, RunDetails
from vlm_studio.core.chat_json import part_of, part_value, run_of, run_value, text_value
from vlm_studio.core.conversation import Turn
from vlm_studio.core.documents import Box
from vlm_studio.core.errors import DamagedFile, InvalidRequest, NotFound
from vlm_studio.core.settings import Limits
from vlm_studio.ingest.images import open_image
from vlm_studio.tasks.chat import check
from vlm_studio.tasks.chat_answer import Answerer, Composed
from vlm_studio.tasks.chat_feed import Context, Options
from vlm_studio.tasks.chat_replies import as_text
from vlm_studio.tasks.transcribe import ADAPTED

_HAND_CONFIG, _HAND_WEIGHTS = "hand/adapter_config.json", "hand/adapter_model.safetensors"
_ENDINGS = {"image/png": "png", "image/jpeg": "jpg"}
_README = """VLM Studio: the evidence of one answer.

{question}

{answer}

To make the answer again and compare it:  python -m vlm_studio replay {name}
run.json says with which model, adapter, options and seed; every part's hash is in manifest.json.
"""


class Turns(Protocol):
    def turn(self, owner: str, turn_id: str) -> ChatTurn: ...
    def images(self, owner: str, session_id: str) -> tuple[ChatImage, ...]: ...


class Hands(Protocol):
    """Hand adapters by how readings with them are signed (tasks/adapt_manage.py)."""

    def files_signed(self, owner: str, signed: str) -> tuple[dict[str, Any], bytes] | None: ...
    def lend(self, signed: str, config: Mapping[str, Any], weights: bytes) -> None: ...


class Blobs(Protocol):
    def read(self, owner: str, sha256: str) -> bytes: ...
    def mime_of(self, sha256: str) -> str: ...


@dataclass(frozen=True, slots=True)
class Replayed:
    """An answer made again from its pack."""

    same: bool
    then: str
    now: str
    notes: tuple[str, ...]
    """What is different here: weights, versions of libraries."""


class Evidence:
    """Packs answers and makes them again."""

    def __init__(
        self,
        turns: Turns,
        blobs: Blobs,
        answerer: Callable[[], Answerer],
        origins: Callable[[RunDetails], Mapping[str, str]],
        write: Callable[[Path, Mapping[str, bytes]], None],
        read: Callable[[Path], Mapping[str, bytes]],
        limits: Limits,
        hands: Callable[[], Hands],
    ) -> None:
        """`origins` names everything that decides the text: hashes of weights, versions of libraries."""
        self.turns, self.blobs, self.answerer, self.origins = turns, blobs, answerer, origins
        self.write, self.read, self.limits, self.hands = write, read, limits, hands

    def pack(self, owner: str, turn_id: str, folder: Path) -> Path:
        """Write the pack of an answer into a new file in `folder`. Raises NotFound, InvalidRequest, StoreError."""
        answer = self.turns.turn(owner, turn_id)
        if answer.run is None:
            raise InvalidRequest("Only an answer has evidence.", "Choose an answer.")
        path = [answer]
        while path[0].parent_id is not None:
            path.insert(0, self.turns.turn(owner, path[0].parent_id))
        shown = {part.image_sha256 for turn in path for part in turn.turn.images}
        images = [i for i in self.turns.images(owner, answer.session_id) if i.sha256 in shown]
        data = {image.sha256: self.blobs.read(owner, image.sha256) for image in images}
        name = f"evidence-{turn_id[-8:]}.zip"
        parts = {
            "README.txt": _readme(path, name),
            "run.json": _json(self._run(path, images, answer.run)),
            **{f"images/{i.sha256}.{_ENDINGS[self.blobs.mime_of(i.sha256)]}": data[i.sha256] for i in images},
            **_quotes(answer.run, images, data, self.limits),
        }
        if answer.run.tokens:
            parts["probabilities.csv"] = _probabilities(answer.run)
        if ADAPTED in answer.run.reader:
            worn = self.hands().files_signed(owner, answer.run.reader)
            if worn is not None:
                parts |= {_HAND_CONFIG: _json(worn[0]), _HAND_WEIGHTS: worn[1]}
        target = folder / name
        self.write(target, parts)
        return target

    def _run(self, path: list[ChatTurn], images: list[ChatImage], run: RunDetails) -> dict[str, Any]:
        return {
            "turns": [
                {
                    "role": turn.turn.role, "parts": [part_value(p) for p in turn.turn.parts],
                    "run": None if turn.run is None else run_value(turn.run, tokens=False),
                }
                for turn in path[:-1]
            ],
            "images": [_image_value(image) for image in images],
            "answer": {
                "parts": [part_value(p) for p in path[-1].turn.parts], "status": path[-1].status,
                "run": run_value(run),
            },
            "origins": dict(self.origins(run)),
        }  # fmt: skip

    def replay(self, path: Path, cancel: CancelToken | None = None) -> Replayed:
        """Make the answer of a pack again, from nothing but the pack: images are read anew.

        Raises UserInputError (UnsupportedFile, DamagedFile, FileTooLarge, InvalidRequest) for a file that is none,
        AdapterRejected where the hand adapter in it is none.
        """
        parts = self.read(path)
        try:
            worn = json.loads(parts[_HAND_CONFIG]) if _HAND_CONFIG in parts else None
            value = json.loads(parts["run.json"])
            kept = [part_of(p) for p in value["answer"]["parts"]]
            run = run_of(value["answer"]["run"])
            context = self._context(value, run, parts)
            origins = {str(k): str(v) for k, v in value["origins"].items()}
            status = value["answer"]["status"]
        except (KeyError, ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise DamagedFile("The pack's content does not fit together.", "Make it again.") from error
        if status != "done":
            raise InvalidRequest("This answer was stopped or failed, so it cannot be made again.")
        check(context.options, self.limits)
        self._lend(run.reader, worn, parts.get(_HAND_WEIGHTS, b""))
        events = self.answerer().answer(context, cancel or CancelToken())
        composed = next(event for event in events if isinstance(event, Composed))
        then, now = as_text(kept), as_text(composed.parts)
        here = self.origins(composed.run)
        notes = [
            f"{name} was {told} then and is {here.get(name, 'missing')} here."
            for name, told in origins.items()
            if here.get(name) != told
        ]
        return Replayed(then == now, then, now, (*notes, *composed.run.notes))

    def _lend(self, reader: str, config: Mapping[str, Any] | None, weights: bytes) -> None:
        """Have the hand adapter that the answer was read with at hand for reading it again."""
        if ADAPTED not in reader:
            return
        if not isinstance(config, dict):
            raise InvalidRequest(
                f"This answer was read with the hand adapter {reader.partition(ADAPTED)[2]!r}, which is not in the pack.",
                "Make the pack again where that adapter still is.",
            )
        self.hands().lend(reader, config, weights)

    def _context(self, value: Mapping[str, Any], run: RunDetails, parts: Mapping[str, bytes]) -> Context:
        images = {image.sha256: image for image in map(_image_of, value["images"])}
        data = {}
        for name in parts:
            if name.startswith("images/"):
                sha256 = name.removeprefix("images/").partition(".")[0]
                if hashlib.sha256(parts[name]).hexdigest() != sha256:
                    raise DamagedFile(
                        "An image of the pack is not the one it is named after.", "Make it again."
                    )
                data[sha256] = parts[name]
        turns = tuple(_turn_of(str(place), kept) for place, kept in enumerate(value["turns"]))
        if not turns or turns[-1].turn.role != "user":
            raise ValueError("no question")
        needed = {part.image_sha256 for turn in turns for part in turn.turn.images}
        if not needed <= images.keys() & data.keys():
            raise ValueError("an image is missing")

        def load(sha256: str) -> Image.Image:
            if sha256 not in data:
                raise NotFound("An image of the pack is missing.", "Make it again.")
            return open_image(data[sha256], "image", self.limits)

        return Context(turns, images, load, lambda *_: None, _options(run))


def _options(run: RunDetails) -> Options:
    return Options(run.system, run.params, run.reader or "auto", run.variant)


def _image_value(image: ChatImage) -> dict[str, Any]:
    return {
        "number": image.number, "sha256": image.sha256, "name": image.name, "width_px": image.width_px,
        "height_px": image.height_px, "crop_of": image.crop_of,
        "box": image.box.as_list() if image.box else None,
        "reads": text_value(image.read) if image.read else None,
    }  # fmt: skip


def _image_of(value: Mapping[str, Any]) -> ChatImage:
    """Without what it reads: that is read again."""
    return ChatImage(
        int(value["number"]),
        str(value["sha256"]),
        str(value["name"]),
        int(value["width_px"]),
        int(value["height_px"]),
    )


def _turn_of(turn_id: str, value: Mapping[str, Any]) -> ChatTurn:
    role = value["role"]
    if role not in {"user", "assistant"}:
        raise ValueError(f"unknown role {role!r}")
    run = None if value["run"] is None else run_of(value["run"])
    turn = Turn(role, tuple(part_of(p) for p in value["parts"]))
    return ChatTurn(turn_id, "", None, turn, "done", "", run)


def _quotes(
    run: RunDetails, images: list[ChatImage], data: Mapping[str, bytes], limits: Limits
) -> dict[str, bytes]:
    """The places that the answer stands on, cut out."""
    by_number = {image.number: image for image in images}
    found = {}
    for place, rest in enumerate(run.rests_on[:99], start=1):
        image = by_number.get(rest.number)
        if image is None or rest.box is None:
            continue
        whole = open_image(data[image.sha256], image.name, limits)
        buffer = io.BytesIO()
        whole.crop(_inside(rest.box, whole)).save(buffer, "PNG")
        found[f"quotes/{place:02}.png"] = buffer.getvalue()
    return found


def _inside(box: Box, image: Image.Image) -> tuple[int, int, int, int]:
    left, top = max(0, int(box.left)), max(0, int(box.top))
    return (
        left,
        top,
        max(left + 1, min(image.width, round(box.right))),
        max(top + 1, min(image.height, round(box.bottom))),
    )


def _probabilities(run: RunDetails) -> bytes:
    table = io.StringIO()
    rows = csv.writer(table)
    rows.writerow(["token", "id", "probability", "next best"])
    for token in run.tokens:
        others = "; ".join(
            f"{t.text!r} {np.exp(t.logprob):.4f}" for t in token.top if t.token_id != token.token_id
        )
        rows.writerow([repr(token.text), token.token_id, f"{np.exp(token.logprob):.4f}", others])
    return table.getvalue().encode()


def _readme(path: list[ChatTurn], name: str) -> bytes:
    question = path[-2].turn.text if len(path) > 1 else ""
    return _README.format(question=question, answer=as_text(path[-1].turn.parts), name=name).encode()


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, indent=1).encode()
