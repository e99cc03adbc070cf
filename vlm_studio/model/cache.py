"""Two caches, invisible but for speed: pooled tokens by crop, attention keys and values by conversation."""

from __future__ import annotations

import logging
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import DynamicCache

from vlm_studio.model.pooled_files import SUFFIX, forget, image_of

log = logging.getLogger(__name__)

Key = tuple[int, str, int]
"""A fed token: its id; for an image token also which crop (with model and adapter) and which of its pooled tokens."""


class PooledCache:
    """Pooled tokens (tokens, hidden) of crops, in memory and, where a folder is given, on disk. Thread-safe.

    Keys are `pooled_files.file_key`s. The least recently used go first, in both places.
    """

    def __init__(self, limit_bytes: int, folder: Path | None = None, disk_limit_bytes: int = 1024**3) -> None:
        self.limit_bytes = limit_bytes
        self.folder = folder
        self.disk_limit_bytes = disk_limit_bytes
        self._rows: OrderedDict[str, Tensor] = OrderedDict()
        self._held = 0
        self._lock = threading.Lock()

    def get(self, key: str) -> Tensor | None:
        """On the device where it was put, or on the processor if it comes from the disk."""
        with self._lock:
            if key in self._rows:
                self._rows.move_to_end(key)
                return self._rows[key]
        found = self._from_disk(key)
        if found is not None:
            self._remember(key, found)
        return found

    def put(self, key: str, row: Tensor) -> None:
        """Kept as it is on its device; never changed afterwards."""
        kept = row.detach().clone()
        self._remember(key, kept)
        self._to_disk(key, kept)

    def forget(self, shown: Callable[[Iterable[str]], set[str]]) -> None:
        """Let go, here and on disk, of what was made from images that nobody has any more: see `pooled_files`."""
        with self._lock:
            kept = shown({image_of(key) for key in self._rows})
            for key in [key for key in self._rows if image_of(key) not in kept]:
                self._held -= self._rows.pop(key).nbytes
        if self.folder is not None:
            forget(self.folder, shown)

    def clear(self) -> None:
        """Forget everything in memory; what is on disk stays true, since its keys say what it belongs to."""
        with self._lock:
            self._rows.clear()
            self._held = 0

    def _remember(self, key: str, row: Tensor) -> None:
        with self._lock:
            before = self._rows.pop(key, None)
            self._held += row.nbytes - (before.nbytes if before is not None else 0)
            self._rows[key] = row
            while self._held > self.limit_bytes and self._rows:
                _, dropped = self._rows.popitem(last=False)
                self._held -= dropped.nbytes

    def _from_disk(self, key: str) -> Tensor | None:
        if self.folder is None:
            return None
        path = self.folder / f"{key}{SUFFIX}"
        try:
            row = load_file(path)["pooled"]
            os.utime(path)
        except FileNotFoundError:
            return None
        except (OSError, KeyError, SafetensorError):
            log.warning("kept pooled tokens %s are damaged and made anew", path.name)
            with suppress(OSError):
                path.unlink()
            return None
        return row

    def _to_disk(self, key: str, row: Tensor) -> None:
        if self.folder is None:
            return
        half = self.folder / f"{key}.{threading.get_ident()}.part"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            save_file({"pooled": row.cpu().contiguous()}, half)
            half.replace(self.folder / f"{key}{SUFFIX}")
            self._trim()
        except OSError:
            # A full disk costs speed, not the answer.
            log.warning("pooled tokens could not be kept in %s", self.folder, exc_info=True)
            with suppress(OSError):
                half.unlink()

    def _trim(self) -> None:
        assert self.folder is not None
        found = [(p.stat().st_mtime, p.stat().st_size, p) for p in self.folder.glob(f"*{SUFFIX}")]
        held = sum(size for _t, size, _p in found)
        for _time, size, path in sorted(found):
            if held <= self.disk_limit_bytes:
                return
            path.unlink(missing_ok=True)
            held -= size


class PrefixCache:
    """Keys and values of the last turns of a few conversations. Used only under the engine's lock."""

    def __init__(self, conversations: int, limit_bytes: int = 2 * 1024**3) -> None:
        self.conversations = conversations
        self.limit_bytes = limit_bytes
        self._kept: OrderedDict[str, tuple[list[Key], Any]] = OrderedDict()

    def take(self, conversation: str | None, keys: Sequence[Key]) -> tuple[Any, int]:
        """(cache to go on with, tokens of `keys` it already holds). It is this caller's until `keep` gives it back.

        Where another conversation shares more (a branch, a compare), a copy of its part is taken and it stays.
        At least one token is always left to feed: the model's answer begins after it.
        """
        if conversation is None:
            return DynamicCache(), 0
        shared = {name: _shared(old, keys) for name, (old, _cache) in self._kept.items()}
        best = max(shared, key=lambda name: (shared[name], name == conversation), default=None)
        own = self._kept.pop(conversation, None)
        if best is None or not shared[best]:
            return DynamicCache(), 0
        if best != conversation or own is None:
            return _copied(self._kept[best][1], shared[best]), shared[best]
        old, cache = own
        if drop := len(old) - shared[best]:
            cache.crop(-drop)
        return cache, shared[best]

    def keep(self, conversation: str | None, keys: Sequence[Key], cache: Any) -> None:
        """`keys` are the tokens that `cache` holds, in order."""
        if not conversation:
            return
        self._kept[conversation] = (list(keys), cache)
        self._kept.move_to_end(conversation)
        while len(self._kept) > 1 and (
            len(self._kept) > self.conversations or self.bytes() > self.limit_bytes
        ):
            self._kept.popitem(last=False)

    def bytes(self) -> int:
        return sum(
            layer.keys.nbytes + layer.values.nbytes
            for _k, cache in self._kept.values()
            for layer in cache.layers
        )

    def clear(self) -> None:
        """After the weights changed, or when memory is short."""
        self._kept.clear()


def _copied(cache: Any, tokens: int) -> Any:
    """A cache of its own with the first `tokens` tokens of `cache`."""
    copy = DynamicCache()
    for number, layer in enumerate(cache.layers):
        copy.update(layer.keys[:, :, :tokens].clone(), layer.values[:, :, :tokens].clone(), number)
    return copy


def _shared(old: Sequence[Key], keys: Sequence[Key]) -> int:
    """How many tokens at the beginning are the same; an image goes in whole or not at all."""
    shared = 0
    for a, b in zip(old, keys[:-1], strict=False):
        if a != b:
            break
        shared += 1
    while shared and keys[shared][1] and keys[shared][2]:
        shared -= 1
    return shared
