"""Two caches, invisible but for speed: pooled tokens by image, attention keys and values by conversation."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from torch import Tensor
from transformers import DynamicCache

Key = tuple[int, str, int]
"""A fed token: its id; for an image token also which image and which of its pooled tokens."""


class PooledCache:
    """Pooled tokens (tokens, hidden) of images, the least recently used dropped first. Thread-safe."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self._rows: OrderedDict[str, Tensor] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: str) -> Tensor | None:
        with self._lock:
            if key in self._rows:
                self._rows.move_to_end(key)
            return self._rows.get(key)

    def put(self, key: str, row: Tensor) -> None:
        """Kept as it is on its device; never changed afterwards."""
        with self._lock:
            self._rows[key] = row.detach().clone()
            self._rows.move_to_end(key)
            while sum(r.numel() * r.element_size() for r in self._rows.values()) > self.limit_bytes:
                self._rows.popitem(last=False)

    def clear(self) -> None:
        """After the weights or the adapter changed."""
        with self._lock:
            self._rows.clear()


class PrefixCache:
    """Keys and values of the last turns of a few conversations. Used only under the engine's lock."""

    def __init__(self, conversations: int) -> None:
        self.conversations = conversations
        self._kept: OrderedDict[str, tuple[list[Key], Any]] = OrderedDict()

    def take(self, conversation: str | None, keys: Sequence[Key]) -> tuple[Any, int]:
        """(cache to go on with, tokens of `keys` it already holds). It is this caller's until `keep` gives it back.

        At least one token is always left to feed: the model's answer begins after it.
        """
        had = self._kept.pop(conversation, None) if conversation else None
        if had is None:
            return DynamicCache(), 0
        old, cache = had
        shared = 0
        for a, b in zip(old, keys[:-1], strict=False):
            if a != b:
                break
            shared += 1
        # An image goes in whole or not at all.
        while shared and keys[shared][1] and keys[shared][2]:
            shared -= 1
        drop = len(old) - shared
        if not shared:
            return DynamicCache(), 0
        if drop:
            cache.crop(-drop)
        return cache, shared

    def keep(self, conversation: str | None, keys: Sequence[Key], cache: Any) -> None:
        """`keys` are the tokens that `cache` holds, in order."""
        if not conversation:
            return
        self._kept[conversation] = (list(keys), cache)
        while len(self._kept) > self.conversations:
            self._kept.popitem(last=False)

    def clear(self) -> None:
        """After the weights or the adapter changed."""
        self._kept.clear()
