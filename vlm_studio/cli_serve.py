"""``python -m vlm_studio serve``: the model behind an OpenAI-compatible API, alone or on Ray Serve; ``space``."""

from __future__ import annotations

import argparse
import importlib
import ipaddress
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from vlm_studio.core.errors import InvalidRequest
from vlm_studio.core.logs import set_up
from vlm_studio.serve.access import Access
from vlm_studio.serve.api import build_api
from vlm_studio.serve.calls import Calls
from vlm_studio.serve.lifetime import run_until_stopped
from vlm_studio.serve.service import CAPACITY, Service
from vlm_studio.serve.space_folder import write_folder

if TYPE_CHECKING:
    from vlm_studio.studio import Studio

log = logging.getLogger(__name__)

NANO = "idefics2-nano"


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser("serve", help="put the model behind an OpenAI-compatible API")
    parser.add_argument("--host", default="127.0.0.1", help="others reach it too: set VLM_STUDIO_API_KEYS")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--capacity", type=int, default=CAPACITY, help="calls that run or wait at once")
    parser.add_argument(
        "--drain", type=int, default=30, metavar="SECONDS", help="for running calls at the end"
    )
    parser.add_argument("--ray", action="store_true", help="replicas on Ray Serve (requirements-ray.txt)")
    parser.add_argument("--replicas", type=int, default=0, help="with --ray: so many, instead of scaling")
    parser.set_defaults(run=run)
    space = subparsers.add_parser("space", help="write a folder to upload as a Hugging Face Space")
    space.add_argument("folder", type=Path, help="new or empty")
    space.set_defaults(run=run_space)


def run_space(args: argparse.Namespace, studio: Studio) -> int:
    count = write_folder(args.folder)
    print(
        f"{count} files are in {args.folder}. Upload: hf upload --repo-type space OWNER/NAME {args.folder} ."
    )
    return 0


def run(args: argparse.Namespace, studio: Studio) -> int:
    """Serves until it is told to stop."""
    try:
        access = Access(studio.settings.api_keys)
    except ValueError as error:
        # Not the value: it holds the keys.
        raise InvalidRequest("VLM_STUDIO_API_KEYS does not read.", f"{error}.") from None
    if access.open and not _loopback(args.host):
        raise InvalidRequest(
            f"On {args.host} others can reach the server, so it needs keys.",
            "Set VLM_STUDIO_API_KEYS=name:key, with a long random key.",
        )
    set_up(studio.settings.log)
    if args.ray:
        deploy = importlib.import_module("vlm_studio.serve.ray_deploy")
        return int(deploy.run_until_stopped(args.host, args.port, args.replicas))
    service = make_service(studio, args.capacity)
    # Loaded before it answers, so that a load balancer never meets a server that is not ready.
    card = service.engine.card
    log.info("ready", extra={"fields": {"model": card.name, "port": args.port}})
    run_until_stopped(
        build_api(service, access, studio.settings), args.host, args.port, args.drain, service.calls.close
    )
    return 0


def make_service(studio: Studio, capacity: int = CAPACITY) -> Service:
    """The studio's engine with what is around it."""
    return Service(
        engine=studio.engine,
        limits=studio.settings.limits,
        adapters=lambda: studio.shipped_adapters if studio.engine.card.name == NANO else (),
        tracer=studio.tracer,
        calls=Calls(capacity),
        metrics=studio.metrics,
    )


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
