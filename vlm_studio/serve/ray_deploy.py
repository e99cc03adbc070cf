"""The same engine as replicas on Ray Serve: ``python -m vlm_studio serve --ray``, or ``serve deploy ray_config.yaml``.

Every replica has its own model and serves the same routes. What they share is one small actor with the answers by
idempotency key: a request whose replica died is asked again by the client and answered once.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Sequence
from typing import Any

# Nothing is reported to anybody.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
# A busy machine takes longer than the 30 seconds after which Ray gives up.
os.environ.setdefault("RAY_raylet_start_wait_time_s", "180")
# The replicas are what this machine is for; Ray would put them behind everything else on it.
os.environ.setdefault("RAY_worker_niceness", "0")

import ray
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from ray import serve

from vlm_studio.core.answers import EngineEvent
from vlm_studio.core.settings import Settings
from vlm_studio.model.adapter_file import read_folder
from vlm_studio.model.adapters import AdapterShelf
from vlm_studio.model.shelf import EngineShelf
from vlm_studio.serve.access import Access
from vlm_studio.serve.api import build_api
from vlm_studio.serve.calls import Calls
from vlm_studio.serve.service import CAPACITY, Service
from vlm_studio.serve.shared_answers import SharedAnswers
from vlm_studio.studio import tracer_of

APP = "vlm-studio"
ANSWERS = "vlm-studio-answers"
ADAPTERS_IN_USE = 4


class RayAnswers:
    """The actor as the calls see it."""

    def __init__(self) -> None:
        actor = ray.remote(SharedAnswers)
        # It comes back by itself, empty; a call that met it dead is made again by Ray.
        self._actor = actor.options(
            name=ANSWERS, namespace=APP, get_if_exists=True, lifetime="detached", num_cpus=0,
            max_restarts=-1, max_task_retries=-1,
        ).remote()  # fmt: skip

    async def claim(self, key: str, fingerprint: str) -> tuple[str, str, Sequence[EngineEvent]]:
        found: tuple[str, str, Sequence[EngineEvent]] = await self._actor.claim.remote(key, fingerprint)
        return found

    async def renew(self, key: str, fingerprint: str) -> bool:
        wanted: bool = await self._actor.renew.remote(key, fingerprint)
        return wanted

    async def stop(self, key: str) -> bool:
        found: bool = await self._actor.stop.remote(key)
        return found

    async def finish(self, key: str, fingerprint: str, events: Sequence[EngineEvent]) -> None:
        await self._actor.finish.remote(key, fingerprint, list(events))

    async def release(self, key: str) -> None:
        await self._actor.release.remote(key)

    async def counts(self) -> dict[str, int]:
        found: dict[str, int] = await self._actor.counts.remote()
        return found


@serve.deployment(
    name="Model",
    # Of one replica; what is more waits at the proxy or goes to another replica.
    max_ongoing_requests=CAPACITY,
    health_check_period_s=5,
    health_check_timeout_s=30,
    graceful_shutdown_wait_loop_s=1,
    graceful_shutdown_timeout_s=120,
)
@serve.ingress()
class Model:
    """One replica: settings from the environment, as everywhere."""

    def __init__(self) -> None:
        settings = Settings.from_env(os.environ)
        shipped = settings.assets_dir / "nano" / "adapters"
        # Loaded before the replica counts as healthy.
        engine = EngineShelf(
            settings, lambda loaded: AdapterShelf(loaded.model, lambda n: read_folder(shipped / n))
        ).default
        names = tuple(sorted(path.parent.name for path in shipped.glob("*/adapter_config.json")))
        self._settings, self._answers = settings, RayAnswers()
        self._service = Service(
            engine=engine,
            limits=settings.limits,
            adapters=lambda: names if engine.card.name == "idefics2-nano" else (),
            tracer=tracer_of(engine),
            calls=Calls(CAPACITY, shared=self._answers),
            prepare=self.adapter,
        )

    def __serve_build_asgi_app__(self) -> FastAPI:
        access = Access(self._settings.api_keys)
        return build_api(self._service, access, self._settings, {"/replica": self.about})

    async def about(self, request: Request, client: str) -> Response:
        """Which replica this is, what it works on, and what all of them together have answered."""
        return JSONResponse({
            "replica": serve.get_replica_context().replica_id.unique_id,
            "pid": os.getpid(),
            "running": len(self._service.calls.running),
            "answers": await self._answers.counts(),
        })  # fmt: skip

    @serve.multiplexed(max_num_models_per_replica=ADAPTERS_IN_USE)
    async def adapter(self, name: str) -> str:
        """Tells the router that this replica has the adapter in use: callers who ask for it come here again.

        Nothing is loaded here: the engine puts an adapter on in the moment it is needed.
        """
        return name

    async def check_health(self) -> None:
        """Raises where the replica has stopped serving: Ray then replaces it."""
        if self._service.calls.draining:
            raise RuntimeError("draining")

    async def __del__(self) -> None:
        # Serve calls it when the replica has been asked to leave and its requests have ended.
        await self._service.calls.drain(1.0)


def build(args: dict[str, Any] | None = None) -> serve.Application:
    """The application of ray_config.yaml. `replicas`: so many; without it Ray scales by load."""
    deployment: Any = Model
    replicas = int((args or {}).get("replicas") or 0)
    if replicas:
        return deployment.options(num_replicas=replicas).bind()
    scaling = {"min_replicas": 1, "max_replicas": 8, "target_ongoing_requests": 2, "downscale_delay_s": 300}
    return deployment.options(autoscaling_config=scaling).bind()


def run_until_stopped(host: str, port: int, replicas: int) -> int:
    """Start (or join) Ray, serve until SIGINT or SIGTERM, then drain."""
    if "RAY_ADDRESS" in os.environ:
        ray.init(namespace=APP)
    else:
        ray.init("local", namespace=APP, include_dashboard=False, log_to_driver=True)
    serve.start(http_options={"host": host, "port": port, "location": "EveryNode"})
    serve.run(build({"replicas": replicas}), name=APP, route_prefix="/")
    stop = threading.Event()
    # Only now: Ray puts handlers of its own in when it starts.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    stop.wait()
    serve.shutdown()
    ray.shutdown()
    return 0
