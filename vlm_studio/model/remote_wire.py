"""Core values as the chat-completions API has them, and back."""

from __future__ import annotations

import base64
import io
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from vlm_studio.core.answers import Answer, FinishReason, TokenEvent, TopToken, Usage
from vlm_studio.core.conversation import Ask, ImagePart, Part, Variant
from vlm_studio.core.documents import LineReading
from vlm_studio.core.errors import GenerationFailed, InvalidRequest, ModelUnavailable
from vlm_studio.core.ports import ModelCard

if TYPE_CHECKING:
    from PIL.Image import Image

UNKNOWN_TOKEN = -1
"""The id of a token where the server does not tell it."""

_REASONS: tuple[FinishReason, ...] = ("stop", "length", "cancelled", "loop")


def request_body(ask: Ask, images: Mapping[str, Image], model: str, ours: bool) -> dict[str, Any]:
    """The JSON body of an Ask; `ours` adds what only a server of this project understands."""
    variant, params = ask.variant, ask.params
    if variant.adapter and not ours:
        raise InvalidRequest("That server knows no adapters of this app.", "Choose the base model.")
    encoded = {sha: data_uri(image) for sha, image in images.items()}
    body: dict[str, Any] = {
        "model": f"{model}:{variant.adapter}" if variant.adapter else model,
        "messages": [
            {"role": turn.role, "content": _content(turn.parts, encoded, ours)} for turn in ask.turns
        ],
        "max_tokens": params.max_new_tokens,
        "temperature": params.temperature,
        "top_p": params.top_p,
        "seed": params.seed,
    }
    if params.repetition_penalty != 1.0:
        body["repetition_penalty"] = params.repetition_penalty
    if ours:
        if variant.adapter:
            body["adapter_scale"] = variant.adapter_scale
        if ask.conversation_id:
            body["prompt_cache_key"] = ask.conversation_id
    return body


def data_uri(image: Image) -> str:
    """PNG: what the model sees there is what it would see here."""
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "PNG", compress_level=3)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _content(parts: Sequence[Part], encoded: Mapping[str, str], ours: bool) -> Any:
    if len(parts) == 1 and not isinstance(parts[0], ImagePart) and not (ours and parts[0].quoted):
        return parts[0].text
    found: list[dict[str, Any]] = []
    for part in parts:
        if isinstance(part, ImagePart):
            found.append({"type": "image_url", "image_url": {"url": encoded[part.image_sha256]}})
        elif ours and part.quoted:
            found.append({"type": "text", "text": part.text, "quoted": True})
        else:
            found.append({"type": "text", "text": part.text})
    return found


class Reply:
    """What arrives in pieces, put together. After `begin_again` the same pieces are expected once more."""

    def __init__(self) -> None:
        self.tokens: list[TokenEvent] = []
        self.ended = False
        self._again = 0
        self._started = time.monotonic()
        self._first_ms = 0.0
        self._reason = ""
        self._usage = Usage()
        self._extra: Mapping[str, Any] = {}

    def begin_again(self) -> None:
        self._again = 0
        self.ended = False

    def add(self, value: Mapping[str, Any]) -> Iterator[TokenEvent]:
        """Tokens that are new. Raises GenerationFailed for nonsense, and where a second try says something else."""
        with _understood():
            if isinstance(value.get("usage"), dict):
                self._usage = _usage(value["usage"])
            parts = [(choice, _tokens(choice)) for choice in value.get("choices") or ()]
            ends = [
                (str(c["finish_reason"]), c.get("vlm_studio")) for c, _ in parts if c.get("finish_reason")
            ]
        for _, tokens in parts:
            for token in tokens:
                if self._again < len(self.tokens):
                    if self.tokens[self._again].text != token.text:
                        raise GenerationFailed("The server began another answer.", "Ask again.")
                    self._again += 1
                    continue
                self.tokens.append(token)
                self._again += 1
                self._first_ms = self._first_ms or self._ms()
                yield token
        for reason, extra in ends:
            self.ended = True
            self._reason, self._extra = reason, extra if isinstance(extra, dict) else {}

    def answer(self, cancelled: bool) -> Answer:
        """Times are those seen here, the way over the network included."""
        reason = "cancelled" if cancelled else self._reason
        times = {"first_token_ms": self._first_ms, "total_ms": self._ms()}
        return _answer(self.tokens, reason, self._usage, {**self._extra, **times})

    def _ms(self) -> float:
        return (time.monotonic() - self._started) * 1000


def read_body(strips: Sequence[Image], model: str, variant: Variant) -> dict[str, Any]:
    body: dict[str, Any] = {"model": model, "images": [data_uri(strip) for strip in strips]}
    if variant.adapter:
        body |= {"model": f"{model}:{variant.adapter}", "adapter_scale": variant.adapter_scale}
    return body


def readings(value: Mapping[str, Any], reader: str) -> list[LineReading]:
    """Raises GenerationFailed for nonsense."""
    with _understood():
        return [
            LineReading(
                str(entry["text"]),
                float(entry["confidence"]),
                (),
                reader,
                tuple(str(warning) for warning in entry.get("warnings") or ()),
            )
            for entry in value["readings"]
        ]


def numbers(value: Any, count: int) -> np.ndarray:
    """`count` numbers. Raises GenerationFailed for anything else."""
    with _understood():
        found = np.asarray(value, dtype=np.float64)
        if found.shape != (count,):
            raise ValueError("another number of them")
        return found


@contextmanager
def _understood() -> Iterator[None]:
    """What is not as the API has it becomes GenerationFailed."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise GenerationFailed(
            "The model server's answer is not that of a chat-completions server.", "Check its address."
        ) from error


def stopped(tokens: Sequence[TokenEvent], total_ms: float) -> Answer:
    """What there is when Stop was pressed."""
    return _answer(
        tokens, "cancelled", Usage(output_tokens=len(tokens)), {"first_token_ms": 0.0, "total_ms": total_ms}
    )


def _answer(tokens: Sequence[TokenEvent], reason: str, usage: Usage, extra: Mapping[str, Any]) -> Answer:
    told = str(extra.get("finish_reason") or reason) if reason != "cancelled" else reason
    notes = extra.get("notes")
    return Answer(
        text="".join(token.text for token in tokens),
        tokens=tuple(tokens),
        finish_reason=next((known for known in _REASONS if known == told), "stop"),
        usage=usage,
        first_token_ms=extra["first_token_ms"],
        total_ms=extra["total_ms"],
        notes=tuple(str(note) for note in notes) if isinstance(notes, list) else (),
    )


def _tokens(choice: Mapping[str, Any]) -> list[TokenEvent]:
    """Tokens with what is known of them; text without log-probabilities is one token."""
    listed = (choice.get("logprobs") or {}).get("content")
    if listed:
        return [_token(entry) for entry in listed]
    text = (choice.get("delta") or {}).get("content") or ""
    if not isinstance(text, str):
        raise TypeError("content is no text")
    return [TokenEvent(text, UNKNOWN_TOKEN, 0.0)] if text else []


def _token(entry: Mapping[str, Any]) -> TokenEvent:
    top = tuple(
        TopToken(str(other["token"]), int(other.get("token_id", UNKNOWN_TOKEN)), float(other["logprob"]))
        for other in entry.get("top_logprobs") or ()
    )
    text, token_id = str(entry["token"]), int(entry.get("token_id", UNKNOWN_TOKEN))
    return TokenEvent(text, token_id, float(entry["logprob"]), top)


def _usage(value: Mapping[str, Any]) -> Usage:
    details = value.get("prompt_tokens_details") or {}
    return Usage(
        prompt_tokens=int(value.get("prompt_tokens") or 0),
        image_tokens=int(details.get("image_tokens") or 0),
        output_tokens=int(value.get("completion_tokens") or 0),
        cached_tokens=int(details.get("cached_tokens") or 0),
    )


def card_from_json(value: Mapping[str, Any]) -> ModelCard:
    """Raises ModelUnavailable for a card of another kind."""
    try:
        return ModelCard(**{name: value[name] for name in ModelCard.__dataclass_fields__})
    except KeyError as error:
        raise unavailable("The model server is of another version than this app.") from error


def foreign_card(name: str) -> ModelCard:
    """What can be said of a model that nobody has told us about."""
    return ModelCard(
        name=name,
        title=name,
        summary="A model on another server; what it can do, its own documentation says.",
        reads_strips=False,
        sees_pictures=True,
        feed="pages",
        image_seq_len=64,
        longest_edge=1568,
        licence="see its server",
        measured={},
    )


def unavailable(message: str) -> ModelUnavailable:
    return ModelUnavailable(message, "Check VLM_STUDIO_MODEL, and python -m vlm_studio doctor.")
