"""How often somebody may log in, upload and start things, and under which name a request is counted."""

from __future__ import annotations

import hashlib

from vlm_studio.core.rates import Rates

ROUTES: tuple[tuple[str, str], ...] = (
    ("/gradio_api/queue/join", "start"),
    ("/gradio_api/call", "start"),
    ("/gradio_api/run", "start"),
    ("/gradio_api/upload", "upload"),
    ("/gradio_api/queue/data", "watch"),
    ("/gradio_api/file", "file"),
    ("/gradio_api", "gradio"),
    ("/assets", "asset"),
    ("/static", "asset"),
    ("/theme.css", "asset"),
    ("/login", "login"),
    ("/healthz", "health"),
    ("/metrics", "metrics"),
)


def route_of(path: str) -> str:
    """A name of ours for a path: what the caller wrote never becomes a label."""
    if path == "/":
        return "page"
    return next((name for begins, name in ROUTES if path.startswith(begins)), "other")


class Throttle:
    """Log-ins are counted by address everywhere; on a shared app also what each visitor starts and uploads."""

    def __init__(self, shared: bool) -> None:
        self._shared = shared
        self._logins = Rates(per_minute=6, burst=10)
        self._visitors = Rates(per_minute=90, burst=60)
        # Whoever leaves the cookie out gets a new one each time, so an address has its own, wider measure.
        self._addresses = Rates(per_minute=900, burst=300)

    def wait(self, path: str, address: str, visitor: str) -> float:
        """0 where the request may go on, otherwise the seconds to wait."""
        route = route_of(path)
        if route == "login":
            return self._logins.take(address)
        if not self._shared or route not in {"start", "upload"}:
            return 0.0
        name = hashlib.sha256(visitor.encode("utf-8", "replace")).hexdigest() if visitor else f"new {address}"
        return self._visitors.take(name) or self._addresses.take(address)
