"""The OpenAI chat-completions API over an engine, as an ASGI application."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware

from vlm_studio import __version__
from vlm_studio.core.answers import DoneEvent, TokenEvent
from vlm_studio.core.errors import Cancelled, StudioError
from vlm_studio.core.ids import new_id
from vlm_studio.core.settings import Settings
from vlm_studio.serve import replies
from vlm_studio.serve.access import Access, Denied
from vlm_studio.serve.calls import Call
from vlm_studio.serve.fields import wrong
from vlm_studio.serve.guards import BodyLimit
from vlm_studio.serve.requests import ChatRequest, token_list
from vlm_studio.serve.service import Service, answer_of, status_line

log = logging.getLogger(__name__)

BODY_BYTES = 96 * 1024**2
BODY_SECONDS = 60.0
KEEP_ALIVE_SECONDS = 5.0

Handler = Callable[[Request, str], Awaitable[Response]]


def build_api(
    service: Service, access: Access, settings: Settings, more: Mapping[str, Handler] = MappingProxyType({})
) -> FastAPI:
    """Routes under /v1, /healthz and /metrics, and `more` to GET. Without keys only the host names of `settings`
    are answered."""
    api = FastAPI(title="VLM Studio", version=__version__, docs_url=None, redoc_url=None, openapi_url=None)

    async def health(request: Request) -> Response:
        state = "draining" if service.calls.draining else "ok"
        body = {"status": state, "version": __version__, "running": len(service.calls.running)}
        return JSONResponse(body, 200 if state == "ok" else 503)

    async def models(request: Request, client: str) -> Response:
        return JSONResponse(await run_in_threadpool(service.models))

    async def chat(request: Request, client: str) -> Response:
        body, parsed = await _parsed(service, request, client)
        call = await service.begin(parsed, body, client, request.headers.get("idempotency-key", "")[:200])
        head = {"id": f"chatcmpl-{new_id()}", "created": int(time.time()), "model": parsed.model}
        if not parsed.stream:
            return await _whole(request, call, parsed, head)
        # Most failures come at once, and then have a status of their own.
        await call.settled(0.5)
        return StreamingResponse(
            _streamed(call, parsed, head),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )

    async def stop(request: Request, client: str) -> Response:
        key = request.headers.get("idempotency-key", "")[:200]
        return JSONResponse({"object": "stopped", "stopped": await service.calls.stop(f"{client}/{key}")})

    async def logprobs(request: Request, client: str) -> Response:
        body, parsed = await _parsed(service, request, client)
        await service.ready(parsed.ask.variant)
        found = await run_in_threadpool(service.logprobs, parsed, _continuation(body))
        return JSONResponse({"object": "logprobs", "model": parsed.model, "logprobs": found})

    async def inspect(request: Request, client: str) -> Response:
        body, parsed = await _parsed(service, request, client)
        tokens = token_list(body, "tokens")
        await service.ready(parsed.ask.variant)
        trace = await run_in_threadpool(service.inspect, parsed, _continuation(body), tokens)
        return JSONResponse({"object": "trace", "model": parsed.model, "trace": trace})

    async def read(request: Request, client: str) -> Response:
        parsed = await run_in_threadpool(service.parse_strips, await request.body())
        await service.ready(parsed.variant)
        return JSONResponse({"object": "readings", "readings": await run_in_threadpool(service.read, parsed)})

    async def metrics(request: Request, client: str) -> Response:
        return Response(service.metrics.text(), media_type=service.metrics.content_type)

    api.add_api_route("/healthz", health)
    _add(api, service, access, "GET", "/v1/models", models)
    _add(api, service, access, "GET", "/metrics", metrics)
    _add(api, service, access, "POST", "/v1/chat/completions", chat)
    _add(api, service, access, "DELETE", "/v1/chat/completions", stop)
    _add(api, service, access, "POST", "/v1/logprobs", logprobs)
    _add(api, service, access, "POST", "/v1/inspect", inspect)
    _add(api, service, access, "POST", "/v1/read", read)
    for path, handler in more.items():
        _add(api, service, access, "GET", path, handler)
    api.add_exception_handler(HTTPException, _unknown)
    api.add_middleware(BodyLimit, limit=BODY_BYTES, seconds=BODY_SECONDS)
    if access.open:
        # Whoever can reach it may use it, so a web page must not reach it under another name.
        api.add_middleware(TrustedHostMiddleware, allowed_hosts=list(settings.allowed_hosts))
    return api


def _add(api: FastAPI, service: Service, access: Access, method: str, path: str, handler: Handler) -> None:
    async def route(request: Request) -> Response:
        began = time.monotonic()
        try:
            client = access.caller(request.headers.get("authorization", ""), _address(request))
            _require_json(request)
            response = await handler(request, client)
        except Denied as error:
            response = JSONResponse(replies.error_body(str(error), error.kind), error.status)
        except Exception as error:
            if not isinstance(error, StudioError):
                log.exception("a request failed")
            status, body = replies.failure(error)
            later = {"Retry-After": "1"} if status in {429, 503} else {}
            response = JSONResponse(body, status, headers=later)
        response.headers["X-Content-Type-Options"] = "nosniff"
        seconds = time.monotonic() - began
        service.metrics.answered(method, path, response.status_code, seconds)
        fields = {
            "method": method,
            "route": path,
            "status": response.status_code,
            "ms": round(seconds * 1000),
        }
        log.info("answered", extra={"fields": fields})
        return response

    api.add_api_route(path, route, methods=[method])


def _require_json(request: Request) -> None:
    """Raises Denied for what a web page elsewhere could make a browser send without asking first."""
    if request.method == "POST" and "application/json" not in request.headers.get("content-type", ""):
        raise Denied(415, "Send application/json.")
    if request.headers.get("origin"):
        raise Denied(403, "Requests from web pages are refused.")


async def _parsed(service: Service, request: Request, client: str) -> tuple[bytes, ChatRequest]:
    body = await request.body()
    return body, await run_in_threadpool(service.parse, body, client)


def _continuation(body: bytes) -> tuple[int, ...]:
    found = token_list(body, "continuation")
    if found is None:
        raise wrong("continuation", "a list of token ids")
    return found


async def _whole(request: Request, call: Call, parsed: ChatRequest, head: dict[str, Any]) -> Response:
    async def collect() -> list[Any]:
        return [event async for event in call.follow()]

    # Cancelling the collector makes it leave, and a call that nobody watches is stopped.
    events = await _unless_left(request, asyncio.ensure_future(collect()))
    answer = answer_of(events)
    if answer.finish_reason == "cancelled":
        raise Cancelled("The server is stopping.", "Try again in some seconds.")
    top = parsed.top_logprobs if parsed.logprobs else None
    return JSONResponse(replies.completion(head, answer, answer.tokens, top))


async def _unless_left(request: Request, work: asyncio.Future[Any]) -> Any:
    """What `work` gives; where the caller leaves first, it is cancelled and Cancelled raised."""
    left = asyncio.ensure_future(request.receive())
    try:
        await asyncio.wait({work, left}, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            return work.result()
        raise Cancelled("The caller left.")
    finally:
        left.cancel()
        work.cancel()


async def _streamed(call: Call, parsed: ChatRequest, head: dict[str, Any]) -> AsyncIterator[bytes]:
    top = parsed.top_logprobs if parsed.logprobs else None
    yield replies.sse(replies.first_chunk(head))
    events = call.follow(KEEP_ALIVE_SECONDS)
    try:
        async for event in events:
            if isinstance(event, TokenEvent):
                yield replies.sse(replies.chunk(head, event.text, [event], top))
            elif isinstance(event, DoneEvent):
                if event.answer.finish_reason == "cancelled":
                    raise Cancelled("The server is stopping.", "Try again in some seconds.")
                for value in replies.last_chunks(head, event.answer, parsed.include_usage):
                    yield replies.sse(value)
                yield replies.sse("[DONE]")
            else:
                yield status_line(event)
    except Exception as error:
        if not isinstance(error, StudioError):
            log.exception("a stream failed")
        yield replies.sse(replies.failure(error)[1])
    finally:
        await events.aclose()  # type: ignore[attr-defined]


def _address(request: Request) -> str:
    return request.client.host if request.client else ""


async def _unknown(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    return JSONResponse(replies.error_body("There is no such route.", "invalid_request_error"), status)
