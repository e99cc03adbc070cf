"""Two layers of ASGI around an app of ours: how large a body may be however it is sent, and how long it may take."""

from __future__ import annotations

import asyncio
import json

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class BodyLimit:
    """Refuses a body over `limit` bytes (413) and one that takes over `seconds` to arrive (408).

    The bytes are counted as they come: a request without a length, or with a false one, gains nothing.
    """

    def __init__(self, app: ASGIApp, limit: int, seconds: float) -> None:
        self.app, self.limit, self.seconds = app, limit, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        length = dict(scope["headers"]).get(b"content-length", b"0")
        if length.isdigit() and (len(length) > 15 or int(length) > self.limit):
            await _refuse(send, 413, "That is more than is taken at once.")
            return
        body = _Body(receive, self.limit, self.seconds)

        async def answer(message: Message) -> None:
            # What the app makes of a body that was cut off is nobody's concern.
            if body.refusal is None:
                body.answered = True
                await send(message)

        try:
            await self.app(scope, body.receive, answer)
        except Exception:
            if body.refusal is None:
                raise
        if body.refusal is not None:
            await _refuse(send, *body.refusal)


class _Body:
    """Passes a request's body on, and plays a caller that left once it is too much."""

    def __init__(self, receive: Receive, limit: int, seconds: float) -> None:
        self._receive, self._left = receive, limit
        self._deadline = asyncio.get_running_loop().time() + seconds
        self._whole = False
        self.answered = False
        self.refusal: tuple[int, str] | None = None

    async def receive(self) -> Message:
        if self._whole or self.answered:
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError:
            self.refusal = (408, "The request took too long to arrive.")
            return {"type": "http.disconnect"}
        self._left -= len(message.get("body", b""))
        self._whole = not message.get("more_body", False)
        if self._left < 0:
            self.refusal = (413, "That is more than is taken at once.")
            return {"type": "http.disconnect"}
        return message


async def _refuse(send: Send, status: int, why: str) -> None:
    body = json.dumps({"detail": why, "error": {"message": why, "type": "invalid_request_error"}}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
