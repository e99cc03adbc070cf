"""Our own FastAPI around Gradio: who may call, from where, how much, and what a browser may load."""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import gradio as gr
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware

from vlm_studio import __version__
from vlm_studio.core.errors import Busy
from vlm_studio.core.settings import Settings
from vlm_studio.serve.access import Access, Denied
from vlm_studio.serve.guards import BodyLimit
from vlm_studio.studio import Studio
from vlm_studio.ui.app import build_app
from vlm_studio.ui.shared import VISITOR_COOKIE
from vlm_studio.ui.theme import studio_theme
from vlm_studio.ui.throttle import Throttle, route_of

BODY_SECONDS = 600.0
"""An upload over a slow line; one that only drips is cut off."""

Next = Callable[[Request], Awaitable[Response]]

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'self'",
        # Gradio renders its components with Function(): without these two nothing appears.
        "script-src 'self' 'unsafe-inline' 'unsafe-eval'",
        "style-src 'self' 'unsafe-inline'",
        # An image from elsewhere in an answer would carry text of the page out in its address.
        "img-src 'self' data: blob:",
        "media-src 'self' data: blob:",
        "font-src 'self' data:",
        "connect-src 'self'",
        "worker-src 'self' blob:",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
    )
)


def build_server(studio: Studio) -> FastAPI:
    """The app and its guards as one ASGI application."""
    settings = studio.settings
    api = FastAPI(title="VLM Studio", version=__version__, docs_url=None, redoc_url=None, openapi_url=None)

    _add_operation(api, studio)
    _add_guards(api, studio)
    demo = build_app(studio)
    demo.queue(max_size=64, default_concurrency_limit=8)
    return gr.mount_gradio_app(
        api,
        demo,
        path="/",
        server_name=settings.host,
        server_port=settings.port,
        auth=_accounts(settings),
        blocked_paths=[str(settings.data_dir.resolve())],
        max_file_size=settings.limits.upload_bytes,
        show_error=True,
        ssr_mode=False,
        enable_monitoring=False,
        run_history=False,
        pwa=False,
        footer_links=[],
        theme=studio_theme(),
        css_paths=[path for path in _assets(settings, "theme.css")],
        head="".join(f"<script>{p.read_text('utf-8')}</script>" for p in _assets(settings, "studio.js")),
    )


def _assets(settings: Settings, name: str) -> list[Path]:
    path = settings.assets_dir / name
    return [path] if path.exists() else []


def _accounts(settings: Settings) -> list[tuple[str, str]] | None:
    """Raises ValueError for an entry without a colon."""
    if not settings.auth:
        return None
    pairs: list[tuple[str, str]] = []
    for entry in settings.auth.split(","):
        user, colon, password = entry.partition(":")
        if not (user and colon and password):
            raise ValueError("VLM_STUDIO_AUTH wants user:password[,user:password]")
        pairs.append((user, password))
    return pairs


def _add_operation(api: FastAPI, studio: Studio) -> None:
    """Health for a load balancer and numbers for Prometheus."""
    access = Access(studio.settings.api_keys)
    studio.metrics.watch("runs_live", "Readings and answers under way", lambda: studio.live.running)

    @api.get("/healthz")
    def healthz() -> JSONResponse:
        trouble = studio.trouble()
        status = {"status": "degraded" if trouble else "ok", "version": __version__}
        return JSONResponse(status | ({"trouble": trouble} if trouble else {}), 503 if trouble else 200)

    @api.get("/metrics")
    def metrics(request: Request) -> Response:
        """With a key; without one set, only on one's own machine."""
        try:
            if access.open and (studio.settings.demo or not studio.settings.is_local):
                raise Denied(401, "Set VLM_STUDIO_API_KEYS to read the metrics.")
            access.caller(request.headers.get("authorization", ""), _address(request))
        except (Denied, Busy) as error:
            return JSONResponse({"detail": str(error)}, getattr(error, "status", 429))
        return Response(studio.metrics.text(), media_type=studio.metrics.content_type)


def _add_guards(api: FastAPI, studio: Studio) -> None:
    settings = studio.settings
    throttle = Throttle(settings.demo)
    # A Space's proxy may give another Host than the one that the page was fetched under.
    hosts = settings.allowed_hosts if settings.space else ()

    @api.middleware("http")
    async def guard(request: Request, call_next: Next) -> Response:
        began = time.monotonic()
        response = _refusal(request, throttle, hosts) or await call_next(request)
        _set_headers(response, framed=settings.demo)
        if settings.demo and VISITOR_COOKIE not in request.cookies:
            response.set_cookie(
                VISITOR_COOKIE,
                secrets.token_urlsafe(32),
                max_age=30 * 86400,
                httponly=True,
                secure=True,
                samesite="none",
            )
        studio.metrics.answered(
            request.method, route_of(request.url.path), response.status_code, time.monotonic() - began
        )
        return response

    # Its presence makes Gradio's own, which reflects any origin, stand aside.
    api.add_middleware(CORSMiddleware, allow_origins=[])
    limit = settings.limits.upload_bytes * settings.limits.upload_files
    api.add_middleware(BodyLimit, limit=limit, seconds=BODY_SECONDS)
    api.add_middleware(TrustedHostMiddleware, allowed_hosts=list(settings.allowed_hosts))


def _refusal(request: Request, throttle: Throttle, hosts: Sequence[str]) -> Response | None:
    if request.method in {"GET", "HEAD", "OPTIONS"}:
        return None
    origin = request.headers.get("origin")
    if origin and urlsplit(origin).netloc not in {request.headers.get("host", ""), *hosts}:
        return JSONResponse({"detail": "Requests from other sites are refused."}, 403)
    visitor = request.cookies.get(VISITOR_COOKIE, "")
    wait = throttle.wait(request.url.path, _address(request), visitor)
    if wait:
        later = {"Retry-After": str(math.ceil(wait))}
        return JSONResponse({"detail": "Too often. Wait a moment and try again."}, 429, headers=later)
    return None


def _address(request: Request) -> str:
    return request.client.host if request.client else ""


def _set_headers(response: Response, framed: bool) -> None:
    ancestors = "'self' https://huggingface.co https://*.hf.space" if framed else "'self'"
    response.headers["Content-Security-Policy"] = f"{CONTENT_SECURITY_POLICY}; frame-ancestors {ancestors}"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "no-referrer"
    # The camera takes pictures of pages; nothing else of the machine is asked for.
    response.headers["Permissions-Policy"] = (
        "camera=(self), microphone=(), geolocation=(), usb=(), payment=()"
    )
