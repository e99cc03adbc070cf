"""Who may call: API keys compared in constant time, and how often each may."""

from __future__ import annotations

import hashlib
import hmac

from vlm_studio.core.errors import Busy
from vlm_studio.core.rates import Rates

MIN_KEY = 16
OPEN = "local"
"""The one caller of a server without keys, which only listens on this machine."""


class Denied(Exception):
    """A request that is refused before it is looked at: no key, a wrong one, or from a web page."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.kind = "authentication_error" if status == 401 else "invalid_request_error"


class Access:
    """`keys`: ``name:key[,name:key]``; empty lets everybody in as one caller.

    Raises ValueError for an entry that is not of that form, a short key or a name that comes twice.
    """

    def __init__(self, keys: str, per_minute: float = 600.0, burst: int = 60) -> None:
        self._digests: dict[str, bytes] = {}
        for entry in filter(None, (part.strip() for part in keys.split(","))):
            name, colon, key = entry.partition(":")
            if not (name and colon) or len(key) < MIN_KEY or name in self._digests:
                raise ValueError(f"use name:key, each name once, keys of {MIN_KEY} characters or more")
            self._digests[name] = _digest(key)
        self._rates = Rates(per_minute, burst)
        self._failures = Rates(per_minute=10, burst=10)

    @property
    def open(self) -> bool:
        return not self._digests

    def caller(self, authorization: str, address: str) -> str:
        """The name behind an Authorization header. Raises Denied, or Busy after too many tries or calls."""
        name = OPEN if self.open else self._named(authorization)
        if not name:
            if self._failures.take(address):
                raise Busy("Too many wrong keys came from this address.", "Wait a minute.")
            raise Denied(401, "The API key is missing or wrong. Send it as: Authorization: Bearer KEY")
        wait = self._rates.take(name)
        if wait:
            raise Busy("That is more requests than one key may make.", f"Try again in {wait:.0f} seconds.")
        return name

    def _named(self, authorization: str) -> str:
        kind, _, key = authorization.partition(" ")
        given = _digest(key.strip()) if kind.lower() == "bearer" else b""
        found = ""
        # Every key is compared, so that the time tells nothing.
        for name, digest in self._digests.items():
            if hmac.compare_digest(digest, given):
                found = name
        return found


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
