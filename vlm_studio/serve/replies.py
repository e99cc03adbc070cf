"""What the server writes: values of the OpenAI chat-completions API, as plain dictionaries.

Fields of ours, which its clients skip: `token_id` beside each log-probability, and `vlm_studio` in a choice (why it
really ended, notes) and in a model (its card).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from vlm_studio.core.answers import Answer, TokenEvent, Usage
from vlm_studio.core.errors import (
    Busy,
    Cancelled,
    FileTooLarge,
    ModelUnavailable,
    NotFound,
    OutOfMemory,
    StudioError,
    UserInputError,
)
from vlm_studio.core.ports import ModelCard

_STATUS: tuple[tuple[type[StudioError], int, str], ...] = (
    (FileTooLarge, 413, "invalid_request_error"),
    (UserInputError, 400, "invalid_request_error"),
    (NotFound, 404, "invalid_request_error"),
    (ModelUnavailable, 503, "server_error"),
    (OutOfMemory, 503, "server_error"),
    (Busy, 429, "rate_limit_error"),
    (Cancelled, 499, "cancelled"),
)


def failure(error: BaseException) -> tuple[int, dict[str, Any]]:
    """(HTTP status, body) of an error; what is not ours tells nothing of itself."""
    if not isinstance(error, StudioError):
        return 500, error_body("The server failed; its log has the details.", "server_error")
    for kind, status, name in _STATUS:
        if isinstance(error, kind):
            return status, error_body(str(error), name, type(error).__name__)
    return 500, error_body(str(error), "server_error", type(error).__name__)


def error_body(message: str, kind: str, code: str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def model_list(card: ModelCard, adapters: Sequence[str], created: int) -> dict[str, Any]:
    """The base model and each adapter as `model:adapter`."""
    shown = {**asdict(card), "measured": dict(card.measured)}
    entries = [
        {"id": f"{card.name}:{adapter}" if adapter else card.name, "object": "model", "created": created,
         "owned_by": "vlm-studio", "vlm_studio": {"card": shown, "adapter": adapter or None}}
        for adapter in ("", *adapters)
    ]  # fmt: skip
    return {"object": "list", "data": entries}


def usage(value: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": value.prompt_tokens,
        "completion_tokens": value.output_tokens,
        "total_tokens": value.prompt_tokens + value.output_tokens,
        "prompt_tokens_details": {"cached_tokens": value.cached_tokens, "image_tokens": value.image_tokens},
    }


def logprobs(tokens: Sequence[TokenEvent], top: int) -> dict[str, Any]:
    return {
        "content": [
            {
                **_token(t.text, t.logprob, t.token_id),
                "top_logprobs": [_token(o.text, o.logprob, o.token_id) for o in t.top[:top]],
            }
            for t in tokens
        ],
        "refusal": None,
    }


def _token(text: str, logprob: float, token_id: int) -> dict[str, Any]:
    # JSON has no infinity; a client of the API expects a very small number instead.
    return {
        "token": text,
        "logprob": max(logprob, -9999.0),
        "bytes": list(text.encode("utf-8", "replace")),
        "token_id": token_id,
    }


def completion(
    head: Mapping[str, Any], answer: Answer, tokens: Sequence[TokenEvent], top: int | None
) -> dict[str, Any]:
    """The whole answer; `top` None leaves the log-probabilities out."""
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": answer.text, "refusal": None},
        "logprobs": None if top is None else logprobs(tokens, top),
        **_ending(answer),
    }
    return {**head, "object": "chat.completion", "choices": [choice], "usage": usage(answer.usage)}


def chunk(
    head: Mapping[str, Any], text: str, tokens: Sequence[TokenEvent], top: int | None
) -> dict[str, Any]:
    choice = {
        "index": 0,
        "delta": {"content": text},
        "logprobs": None if top is None else logprobs(tokens, top),
        "finish_reason": None,
    }
    return {**head, "object": "chat.completion.chunk", "choices": [choice]}


def first_chunk(head: Mapping[str, Any]) -> dict[str, Any]:
    choice = {
        "index": 0,
        "delta": {"role": "assistant", "content": ""},
        "logprobs": None,
        "finish_reason": None,
    }
    return {**head, "object": "chat.completion.chunk", "choices": [choice]}


def last_chunks(head: Mapping[str, Any], answer: Answer, include_usage: bool) -> list[dict[str, Any]]:
    ending = {"index": 0, "delta": {}, "logprobs": None, **_ending(answer)}
    found = [{**head, "object": "chat.completion.chunk", "choices": [ending]}]
    if include_usage:
        found.append({**head, "object": "chat.completion.chunk", "choices": [], "usage": usage(answer.usage)})
    return found


def _ending(answer: Answer) -> dict[str, Any]:
    return {
        "finish_reason": "length" if answer.finish_reason == "length" else "stop",
        "vlm_studio": {
            "finish_reason": answer.finish_reason,
            "notes": list(answer.notes),
            "first_token_ms": answer.first_token_ms,
            "total_ms": answer.total_ms,
        },
    }


def sse(value: Mapping[str, Any] | str) -> bytes:
    """One server-sent event."""
    body = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return f"data: {body}\n\n".encode()
