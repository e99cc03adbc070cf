"""HTTP to a model server: JSON and server-sent events, every failure translated once."""

from __future__ import annotations

import json
import logging
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx

from vlm_studio.core.errors import (
    FileTooLarge,
    GenerationFailed,
    InvalidRequest,
    ModelUnavailable,
    StudioError,
    TraceUnavailable,
)

REPLY_BYTES = 1024**3
LINE_CHARS = 4 * 1024**2
log = logging.getLogger(__name__)

_TIMEOUT = httpx.Timeout(600.0, connect=5.0, write=120.0)


class Again(Exception):
    """The server is busy, restarting or gone; the same request may work a moment later."""

    def __init__(self, message: str, resumable: bool = True) -> None:
        super().__init__(message)
        self.resumable = resumable

    def error(self) -> StudioError:
        """What it is once nobody tries again."""
        if not self.resumable:
            return GenerationFailed(str(self), "Ask again.")
        return ModelUnavailable(str(self), "Start the server, or check VLM_STUDIO_MODEL.")


class Server:
    """One server of the API. Raises only Again and StudioError."""

    def __init__(self, url: str, api_key: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise InvalidRequest(
                f"{url[:80]!r} is not the address of a model server.", "Use http://host:port/v1"
            )
        self.name = parts.netloc.rpartition("@")[2]
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        local = parts.hostname in {"127.0.0.1", "localhost", "::1"}
        # A proxy of the environment has no way to this machine. Redirects are not followed: the key stays here.
        self._client = httpx.Client(
            base_url=url.rstrip("/"), headers=headers, timeout=_TIMEOUT, trust_env=not local
        )

    def get(self, path: str) -> dict[str, Any]:
        try:
            return self._value(self._client.get(path, timeout=10.0))
        except httpx.HTTPError as error:
            raise self._gone().error() from error
        except Again as again:
            raise again.error() from again

    def post(self, path: str, body: Mapping[str, Any], key: str, adapter: str = "") -> dict[str, Any]:
        try:
            return self._value(self._client.post(path, json=body, headers=_headers(key, adapter)))
        except httpx.HTTPError as error:
            raise self._gone() from error

    def stop(self, path: str, key: str) -> None:
        """Tell a server of ours that nobody waits for the call of `key` any more; no answer is fine too."""
        try:
            self._client.delete(path, headers={"Idempotency-Key": key}, timeout=5.0)
        except httpx.HTTPError as error:
            log.info("the server could not be told to stop: %s", type(error).__name__)

    def stream(
        self, path: str, body: Mapping[str, Any], key: str, adapter: str = "", to_end: bool = False
    ) -> Iterator[dict[str, Any] | str]:
        """Values of the events; a comment comes as a text. Ends where the server ends it.

        `to_end`: the server closes what it has ended. Ray Serve takes a connection that is left before that for a
        caller who went away, and cancels a request that is as good as over.
        """
        try:
            with self._client.stream("POST", path, json=body, headers=_headers(key, adapter)) as response:
                if response.status_code != 200:
                    response.read()
                    self._require_good(response)
                lines = _lines(response)
                for line in lines:
                    if line.startswith(":"):
                        yield line[1:].strip()
                    elif line.startswith("data:"):
                        data = line[5:].strip()
                        if data == "[DONE]":
                            if to_end:
                                deque(lines, maxlen=0)
                            return
                        yield self._event(data)
        except httpx.HTTPError as error:
            raise self._gone() from error

    def _event(self, data: str) -> dict[str, Any]:
        try:
            value = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise self._nonsense() from error
        if not isinstance(value, dict):
            raise self._nonsense()
        if isinstance(value.get("error"), dict):
            raise _translated(500, value["error"])
        return value

    def _value(self, response: httpx.Response) -> dict[str, Any]:
        self._require_good(response)
        if len(response.content) > REPLY_BYTES:
            raise self._nonsense()
        return self._event(response.text)

    def _require_good(self, response: httpx.Response) -> None:
        status = response.status_code
        if status == 200:
            return
        try:
            error = response.json()["error"]
        except (ValueError, KeyError, TypeError):
            error = {}
        if status in {401, 403}:
            raise ModelUnavailable(
                f"The model server at {self.name} refuses the API key.", "Set VLM_STUDIO_ENGINE_API_KEY."
            )
        # A proxy whose server died under the request says 500 in words of its own.
        if status in {408, 409, 429, 502, 503, 504} or (status == 500 and not error):
            raise Again(f"The model server at {self.name} is busy or starting.")
        raise _translated(status, error if isinstance(error, dict) else {})

    def _gone(self) -> Again:
        return Again(f"The model server at {self.name} does not answer.")

    def _nonsense(self) -> GenerationFailed:
        return GenerationFailed(
            f"The answer of {self.name} is not that of a chat-completions server.", "Check the address."
        )


def _headers(key: str, adapter: str) -> dict[str, str]:
    # Ray Serve sends a request to a replica that has the adapter in use already.
    return {"Idempotency-Key": key} | ({"serve_multiplexed_model_id": adapter} if adapter else {})


def _lines(response: httpx.Response) -> Iterator[str]:
    """Whole lines of a stream; a last one that was cut off is none. Raises GenerationFailed for one without end."""
    rest = ""
    for text in response.iter_text():
        *lines, rest = (rest + text).split("\n")
        yield from (line.rstrip("\r") for line in lines)
        if len(rest) > LINE_CHARS:
            raise GenerationFailed("The model server sends a line without end.", "Check the address.")


def _translated(status: int, error: Mapping[str, Any]) -> StudioError:
    message = str(error.get("message") or f"The model server answered {status}.")[:500]
    code = error.get("code")
    if code == "TraceUnavailable":
        return TraceUnavailable(message)
    if status == 413 or code == "FileTooLarge":
        return FileTooLarge(message)
    if status in {400, 422} or code == "InvalidRequest":
        return InvalidRequest(message)
    if status == 404:
        return ModelUnavailable(message, "Check the address and the model's name.")
    return GenerationFailed(message, "Try again.")
