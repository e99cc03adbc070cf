"""Counters for Prometheus: how many, how long, how it ended. No names, no contents, no addresses."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)

from vlm_studio.core.answers import Answer

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)


class Metrics:
    """The numbers of one app or server; each has its own registry."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "vlm_studio_requests", "HTTP requests", ("method", "route", "status"), registry=self.registry
        )
        self.seconds = Histogram(
            "vlm_studio_request_seconds", "Time until the answer began", ("route",),
            buckets=_SECONDS, registry=self.registry,
        )  # fmt: skip
        self.generations = Counter(
            "vlm_studio_generations", "Generations by how they ended", ("ending",), registry=self.registry
        )
        self.tokens = Counter(
            "vlm_studio_tokens", "Tokens fed, spared by a kept prefix, and written", ("kind",),
            registry=self.registry,
        )  # fmt: skip
        self.first_token = Histogram(
            "vlm_studio_first_token_seconds", "Time to the first token of a generation",
            buckets=_SECONDS, registry=self.registry,
        )  # fmt: skip

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """One HTTP request; `route` is a pattern of ours, never what the caller wrote."""
        self.requests.labels(method, route, str(status)).inc()
        self.seconds.labels(route).observe(seconds)

    def generated(self, answer: Answer) -> None:
        self.generations.labels(answer.finish_reason).inc()
        self.tokens.labels("prompt").inc(answer.usage.prompt_tokens)
        self.tokens.labels("cached").inc(answer.usage.cached_tokens)
        self.tokens.labels("output").inc(answer.usage.output_tokens)
        if answer.tokens:
            self.first_token.observe(answer.first_token_ms / 1000)

    def failed(self, error: BaseException) -> None:
        self.generations.labels(type(error).__name__).inc()

    def watch(self, name: str, what: str, value: Callable[[], float]) -> None:
        """A gauge that asks for its value when it is read."""
        Gauge(f"vlm_studio_{name}", what, registry=self.registry).set_function(value)

    def text(self) -> bytes:
        """All of them as Prometheus reads them."""
        return generate_latest(self.registry)
