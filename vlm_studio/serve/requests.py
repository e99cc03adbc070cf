"""A chat-completions body as an Ask with its images. Nothing in it is ever opened as a path or an address."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL.Image import Image

from vlm_studio.core.conversation import Ask, GenParams, ImagePart, Part, Role, TextPart, Turn, Variant
from vlm_studio.core.errors import FileTooLarge, InvalidRequest, NotFound
from vlm_studio.core.settings import Limits
from vlm_studio.ingest.images import open_image
from vlm_studio.serve import fields

MESSAGES = 400
IMAGES = 64
STRIPS = 256
TOKENS = 4096
STOPS = 4
TOP = 5
"""Alternatives that the engine keeps for each token."""

_DATA_URI = re.compile(r"data:image/[\w.+-]{1,40};base64,", re.ASCII)
_ROLES: dict[str, Role] = {
    "system": "system", "developer": "system", "user": "user", "assistant": "assistant",
}  # fmt: skip
_REFUSED = ("tools", "tool_choice", "functions", "function_call", "logit_bias", "audio", "modalities")
"""Fields that would change the answer and that no engine here knows."""


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """What one call asks for. `images` are upright RGB by the hash in the turns."""

    model: str
    ask: Ask
    images: Mapping[str, Image]
    stream: bool = False
    include_usage: bool = False
    logprobs: bool = False
    top_logprobs: int = 0
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ReadRequest:
    """Strips of writing to be read by one variant of the model."""

    variant: Variant
    strips: tuple[Image, ...]


def chat_request(
    body: bytes, model_name: str, adapters: Sequence[str], limits: Limits, client: str = ""
) -> ChatRequest:
    """Raises InvalidRequest, NotFound (no such model or adapter), or what is wrong with an image.

    `client` keeps the prefix caches of two callers apart.
    """
    values = fields.json_object(body)
    for name in _REFUSED:
        if values.get(name):
            raise InvalidRequest(f"{name} is not supported.", "Leave it out.")
    _require_plain(values)
    model = fields.text(values, "model")
    turns, images = _turns(values.get("messages"), limits)
    options = values.get("stream_options") or {}
    if not isinstance(options, dict):
        raise fields.wrong("stream_options", "an object")
    cached = fields.text(values, "prompt_cache_key", "")[:200]
    return ChatRequest(
        model=model,
        ask=Ask(
            turns,
            _variant(model, model_name, adapters, values),
            _params(values, limits),
            f"{client}/{cached}" if cached else None,
        ),
        images=images,
        stream=fields.flag(values, "stream"),
        include_usage=fields.flag(options, "include_usage"),
        logprobs=fields.flag(values, "logprobs"),
        top_logprobs=fields.whole(values, "top_logprobs", 0, 0, TOP),
        stop=_stops(values.get("stop")),
    )


def read_request(body: bytes, model_name: str, adapters: Sequence[str], limits: Limits) -> ReadRequest:
    """``{"model": ..., "images": [data URIs]}``. Raises as `chat_request` does."""
    values = fields.json_object(body)
    uris = values.get("images")
    if not isinstance(uris, list) or not 1 <= len(uris) <= STRIPS:
        raise fields.wrong("images", f"a list of 1 to {STRIPS} data URIs")
    variant = _variant(fields.text(values, "model"), model_name, adapters, values)
    return ReadRequest(
        variant, tuple(_pixels(uri, f"images[{number}]", limits)[1] for number, uri in enumerate(uris))
    )


def token_list(body: bytes, name: str) -> tuple[int, ...] | None:
    """The numbers under `name`; None where there are none. Raises InvalidRequest."""
    found = fields.json_object(body).get(name)
    if found is None:
        return None
    if (
        not isinstance(found, list)
        or not 1 <= len(found) <= TOKENS
        or not all(isinstance(t, int) and not isinstance(t, bool) and 0 <= t < 2**31 for t in found)
    ):
        raise fields.wrong(name, f"a list of 1 to {TOKENS} whole numbers")
    return tuple(found)


def _require_plain(values: Mapping[str, Any]) -> None:
    fields.whole(values, "n", 1, 1, 1)
    for name in ("frequency_penalty", "presence_penalty"):
        fields.number(values, name, 0.0, 0.0, 0.0)
    wanted = values.get("response_format")
    if wanted is not None and (not isinstance(wanted, dict) or wanted.get("type") != "text"):
        raise InvalidRequest("response_format is not supported.", "Only plain text is written here.")


def _variant(model: str, known: str, adapters: Sequence[str], values: Mapping[str, Any]) -> Variant:
    name, _, adapter = model.partition(":")
    if name != known or (adapter and adapter not in adapters):
        raise NotFound(f"There is no model {model[:80]!r} here.", "GET /v1/models lists what there is.")
    scale = fields.number(values, "adapter_scale", 1.0, 0.0, 1.5)
    return Variant(model_id=known, adapter=adapter or None, adapter_scale=scale)


def _params(values: Mapping[str, Any], limits: Limits) -> GenParams:
    asked = "max_completion_tokens" if values.get("max_completion_tokens") is not None else "max_tokens"
    default = min(GenParams().max_new_tokens, limits.new_tokens)
    return GenParams(
        max_new_tokens=fields.whole(values, asked, default, 1, limits.new_tokens),
        temperature=fields.number(values, "temperature", 0.0, 0.0, 2.0),
        top_p=fields.number(values, "top_p", 1.0, 1e-6, 1.0),
        repetition_penalty=fields.number(values, "repetition_penalty", 1.0, 0.5, 2.0),
        seed=fields.whole(values, "seed", 0, -(2**63), 2**63 - 1),
    )


def _stops(value: Any) -> tuple[str, ...]:
    found = [value] if isinstance(value, str) else value or []
    if (
        not isinstance(found, list)
        or len(found) > STOPS
        or not all(isinstance(s, str) and 0 < len(s) <= 200 for s in found)
    ):
        raise fields.wrong("stop", f"a text or up to {STOPS} of them")
    return tuple(fields.whole_text(text, "stop") for text in found)


def _turns(messages: Any, limits: Limits) -> tuple[tuple[Turn, ...], dict[str, Image]]:
    if not isinstance(messages, list) or not 1 <= len(messages) <= MESSAGES:
        raise fields.wrong("messages", f"a list of 1 to {MESSAGES} messages")
    images: dict[str, Image] = {}
    turns = []
    for number, message in enumerate(messages):
        place = f"messages[{number}]"
        if not isinstance(message, dict):
            raise fields.wrong(place, "an object with role and content")
        role = _ROLES.get(str(message.get("role")))
        if role is None:
            raise fields.wrong(f"{place}.role", "system, user or assistant")
        turns.append(Turn(role, _parts(message.get("content"), f"{place}.content", images, limits)))
    if turns[-1].role != "user":
        raise InvalidRequest("The last message is not the user's.", "End with a question.")
    return tuple(turns), images


def _parts(content: Any, place: str, images: dict[str, Image], limits: Limits) -> tuple[Part, ...]:
    if isinstance(content, str):
        return (TextPart(fields.whole_text(content, place)),)
    if not isinstance(content, list):
        raise fields.wrong(place, "a text or a list of parts")
    parts: list[Part] = []
    for number, part in enumerate(content):
        here = f"{place}[{number}]"
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "text" and isinstance(part.get("text"), str):
            text = fields.whole_text(part["text"], here)
            parts.append(TextPart(text, quoted=part.get("quoted") is True))
        elif kind == "image_url":
            parts.append(_image(part.get("image_url"), here, images, limits))
        else:
            raise fields.wrong(here, "a text or an image_url part")
    return tuple(parts)


def _image(value: Any, place: str, images: dict[str, Image], limits: Limits) -> ImagePart:
    uri = value.get("url") if isinstance(value, dict) else value
    sha256, image = _pixels(uri, place, limits)
    if sha256 not in images and len(images) >= IMAGES:
        raise InvalidRequest(f"There are more than {IMAGES} images.", "Send fewer.")
    images[sha256] = image
    return ImagePart(sha256)


def _pixels(uri: Any, place: str, limits: Limits) -> tuple[str, Image]:
    """(hash of the file, its pixels). Raises InvalidRequest for an address or a path: only bytes that came with the
    request are looked at."""
    head = _DATA_URI.match(uri) if isinstance(uri, str) else None
    if head is None:
        raise InvalidRequest(
            f"{place} is no data URI of an image.",
            "Send the image itself, as data:image/png;base64,...; addresses and file names are never opened.",
        )
    if len(uri) > limits.upload_bytes * 4 // 3 + 100:
        raise FileTooLarge(f"{place} is larger than {limits.upload_bytes // 1024**2} MB.", "Scale it down.")
    try:
        data = base64.b64decode(uri[head.end() :], validate=True)
    except (binascii.Error, ValueError) as error:
        raise fields.wrong(place, "an image in base64") from error
    return hashlib.sha256(data).hexdigest(), open_image(data, place, limits)
