"""Ids and times: sortable, random enough to be unguessable."""

from __future__ import annotations

import secrets
import time
from datetime import UTC, datetime

_BASE32 = "0123456789abcdefghjkmnpqrstvwxyz"
ID = rf"[{_BASE32}]{{26}}"
"""Regular expression of `new_id`."""


def new_id() -> str:
    """26 characters, sortable by creation time (ULID layout: 48 bits of milliseconds, 80 random bits)."""
    number = (int(time.time() * 1000) << 80) | secrets.randbits(80)
    return "".join(_BASE32[(number >> shift) & 31] for shift in range(125, -1, -5))


def utc_now() -> str:
    """ISO 8601 with microseconds, so that rows sort by time."""
    return datetime.now(UTC).isoformat(timespec="microseconds")
