"""The log in two forms: lines for a person at a terminal, or JSON for a collector, without anything of a visitor.

The JSON form takes the words of our own message templates, numbers, the class of an error and where it arose. Names of
files, texts, paths, addresses and messages of foreign errors stay out by construction: they are arguments, and only
numbers among those are written.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, TextIO

KINDS = ("text", "json")


class TextFormatter(logging.Formatter):
    """Time, level, logger and message; values given as `extra={"fields": {...}}` follow as name=value."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:
        fields = "".join(f" {name}={value}" for name, value in _fields(record).items())
        return super().formatMessage(record) + fields


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        value: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            # A message that is no text of ours (an exception handed in) is told by its class alone.
            "event": record.msg if isinstance(record.msg, str) else type(record.msg).__name__,
            **_fields(record),
        }
        numbers = [arg for arg in _arguments(record) if isinstance(arg, int | float)]
        errors = [type(arg).__name__ for arg in _arguments(record) if isinstance(arg, BaseException)]
        if numbers:
            value["numbers"] = numbers
        failure = record.exc_info[1] if record.exc_info else None
        if failure is not None:
            value["trace"] = list(_places(failure))
            errors = [type(error).__name__ for error in _chain(failure)]
        if errors:
            value["error"] = errors
        return json.dumps(value, ensure_ascii=True, default=lambda other: type(other).__name__)


def set_up(kind: str, level: int = logging.INFO, stream: TextIO | None = None) -> None:
    """The root logger writes to `stream` (stderr) from now on. Raises ValueError for an unknown kind."""
    if kind not in KINDS:
        raise ValueError(f"VLM_STUDIO_LOG={kind!r}: use text or json")
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if kind == "json" else TextFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # They write whole addresses.
    for name in ("httpx", "httpcore", "uvicorn.access"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    found = getattr(record, "fields", None)
    return found if isinstance(found, dict) else {}


def _arguments(record: logging.LogRecord) -> tuple[Any, ...]:
    return record.args if isinstance(record.args, tuple) else ()


def _chain(failure: BaseException) -> Iterator[BaseException]:
    """`failure` and what it came from."""
    error: BaseException | None = failure
    while error is not None:
        yield error
        error = error.__cause__


def _places(failure: BaseException) -> Iterator[str]:
    for error in _chain(failure):
        for frame in traceback.extract_tb(error.__traceback__)[-12:]:
            place = frame.filename.replace("\\", "/").split("/site-packages/")[-1]
            yield f"{'/'.join(place.split('/')[-3:])}:{frame.lineno} {frame.name}"
