"""The same tasks from a shell: ``python -m vlm_studio transcribe|ask|chat|...``."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import replace

from vlm_studio import __version__
from vlm_studio.core.errors import StudioError
from vlm_studio.core.settings import Settings

COMMANDS: tuple[str, ...] = (
    "cli_app",
    "cli_transcribe",
    "cli_ask",
    "cli_chat",
    "cli_replay",
    "cli_inspect",
    "cli_adapt",
    "cli_compare",
    "cli_sessions",
    "cli_serve",
    "cli_doctor",
)
"""Modules with `add_parser(subparsers)`, which sets the default `run(args, studio) -> int`."""


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0 done, 1 something could not be done, 2 wrong usage; 130 interrupted, 141 nobody reads the output any more."""
    parser = argparse.ArgumentParser(
        prog="vlm_studio", description="Handwriting and documents, read locally."
    )
    parser.add_argument("--version", action="version", version=__version__)
    parser.add_argument("--verbose", action="store_true", help="log what happens to stderr")
    parser.add_argument("--engine", metavar="URL", help="use the model behind an OpenAI-compatible API")
    subparsers = parser.add_subparsers(dest="command", required=True)
    for name in COMMANDS:
        if importlib.util.find_spec(f"vlm_studio.{name}") is not None:
            importlib.import_module(f"vlm_studio.{name}").add_parser(subparsers)
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO if args.verbose else logging.ERROR, stream=sys.stderr)
    for stream in (sys.stdout, sys.stderr):
        # A Windows console may be set to a code page that lacks what people write.
        getattr(stream, "reconfigure", lambda **_: None)(encoding="utf-8", errors="replace")
    try:
        settings = Settings.from_env(os.environ)
        settings = replace(settings, model=args.engine or settings.model)
    except ValueError as error:
        parser.error(str(error))
    studio = importlib.import_module("vlm_studio.studio").Studio(settings)
    try:
        status = int(args.run(args, studio))
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        # Whoever reads the output has seen enough (`| head`); what is still in the buffer is not to fail at the exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + 13
    except StudioError as error:
        print(f"{error.message} {error.hint}".strip(), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        studio.close()
