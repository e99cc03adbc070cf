"""Zip files and backup folders as they are read and written: nothing is ever unpacked by its own name.

A file that came from outside is judged before anything of it is read: only names of the expected form, no
doubles, no encryption, and no more content than its size can honestly hold (a "zip bomb" is refused).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from vlm_studio.core.errors import DamagedFile, FileTooLarge, InvalidRequest, StoreError, UnsupportedFile
from vlm_studio.store.database import translated

MANIFEST = "manifest.json"
MANIFEST_BYTES = 256 * 1024**2
BLOB_BYTES = 512 * 1024**2
"""The largest stored file that is taken in."""
SHA256 = re.compile(r"[0-9a-f]{64}")
_CHUNK = 1 << 20
_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
_ENCRYPTED = 1


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """Caps on what an archive may hold."""

    entries: int = 1_000_000
    entry_bytes: int = 4 * 1024**3
    ratio: int = 60
    """Unpacked bytes per byte of the file; text of ours packs to about a twentieth."""
    slack_bytes: int = 64 * 1024**2
    """Allowed whatever the ratio."""


class Archive:
    """A zip file that came from outside, opened and judged. Raises UserInputError, NotFound never."""

    def __init__(self, path: Path, allowed: re.Pattern[str], limits: ArchiveLimits | None = None) -> None:
        """`allowed`: the whole of an entry's name. Raises UnsupportedFile, DamagedFile or FileTooLarge."""
        limits = limits or ArchiveLimits()
        try:
            self._zip = zipfile.ZipFile(path)
        except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile) as error:
            raise UnsupportedFile(
                f"{path.name} is not a zip file that can be read.", "Choose a file that this app exported."
            ) from error
        try:
            _judge(self._zip.infolist(), path, allowed, limits)
        except BaseException:
            self._zip.close()
            raise

    @property
    def names(self) -> frozenset[str]:
        return frozenset(self._zip.namelist())

    @contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        """Raises DamagedFile where the entry is missing or broken, also while it is read."""
        with damage_told(name):
            try:
                entry = self._zip.open(name)
            except KeyError as error:
                raise DamagedFile(f"The file lacks its part {name}.", "Export it again.") from error
            except (OSError, ValueError, struct.error) as error:
                # Its place in the file is none.
                raise DamagedFile(f"The part {name} of the file is damaged.", "Copy it again.") from error
            with entry:
                yield entry

    def close(self) -> None:
        self._zip.close()


class Folder:
    """A backup folder with the same face as `Archive`; its names come from its manifest."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        try:
            entry = (self.path / name).open("rb")
        except OSError as error:
            raise DamagedFile(f"The backup lacks its part {name}.", "Use another backup.") from error
        with entry:
            yield entry

    def close(self) -> None:
        """Nothing is held open."""


@contextmanager
def damage_told(name: str) -> Iterator[None]:
    """Whatever zipfile raises on broken content becomes DamagedFile."""
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
        raise DamagedFile(f"The part {name} of the file is damaged.", "Export or copy it again.") from error


def _judge(
    entries: list[zipfile.ZipInfo], path: Path, allowed: re.Pattern[str], limits: ArchiveLimits
) -> None:
    if len(entries) > limits.entries:
        raise FileTooLarge(f"{path.name} holds too many parts.", f"Up to {limits.entries:,} are read.")
    seen: set[str] = set()
    total = 0
    for entry in entries:
        name = entry.orig_filename
        if name != entry.filename or not allowed.fullmatch(name) or name in seen:
            raise UnsupportedFile(
                f"{path.name} holds {name[:60]!r}, which no file of this app holds.",
                "Choose a file that this app exported.",
            )
        if entry.flag_bits & _ENCRYPTED or entry.compress_type not in _METHODS:
            raise UnsupportedFile(
                f"{path.name} is packed or encrypted in another way than this app does.",
                "Choose a file that this app exported.",
            )
        seen.add(name)
        total += entry.file_size
        if entry.file_size > limits.entry_bytes:
            raise FileTooLarge(f"The part {name} of {path.name} is too large.")
    if total > limits.slack_bytes + limits.ratio * path.stat().st_size:
        raise FileTooLarge(
            f"{path.name} would unpack to far more than its size.", "It was not made by this app."
        )


def read_capped(file: IO[bytes], limit: int, name: str) -> bytes:
    """The whole of `file`. Raises FileTooLarge beyond `limit` bytes."""
    data = file.read(limit + 1)
    if len(data) > limit:
        raise FileTooLarge(f"The part {name} of the file is too large.")
    return data


def manifest_of(source: Archive | Folder, kind: str, version: int) -> dict[str, Any]:
    """The manifest, of the expected kind. Raises UnsupportedFile for another kind or a newer version."""
    with source.open(MANIFEST) as file:
        value = parsed(read_capped(file, MANIFEST_BYTES, MANIFEST))
    if not isinstance(value, dict) or value.get("format") != kind:
        raise UnsupportedFile("This file is of another kind.", f"Choose one of the kind {kind}.")
    found = value.get("version")
    if not isinstance(found, int) or isinstance(found, bool) or not 1 <= found <= version:
        raise UnsupportedFile("This file was made by a newer version of the app.", "Update VLM Studio first.")
    return value


def kind_of(path: Path) -> str:
    """What the manifest of a zip file says that it is; empty where it has none."""
    try:
        with zipfile.ZipFile(path) as archive, archive.open(MANIFEST) as file:
            value = parsed(read_capped(file, MANIFEST_BYTES, MANIFEST))
    except (OSError, KeyError, ValueError, zipfile.BadZipFile, zlib.error, RuntimeError, DamagedFile):
        return ""
    return str(value.get("format", "")) if isinstance(value, dict) else ""


def parsed(raw: bytes) -> Any:
    """JSON without NaN. Raises DamagedFile."""
    try:
        return json.loads(raw, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise DamagedFile("A part of the file is not the JSON it should be.", "Export it again.") from error


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


@contextmanager
def new_file(target: Path) -> Iterator[Path]:
    """A temporary file beside `target`, which gets that name when all went well; nothing is overwritten.

    Raises InvalidRequest where `target` exists, StoreError where it cannot be written.
    """
    if target.exists():
        raise InvalidRequest(f"{target} exists already.", "Choose another name; nothing is overwritten.")
    with translated():
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".part-", dir=target.parent)
        os.close(handle)
        try:
            yield Path(name)
            Path(name).replace(target)
        finally:
            Path(name).unlink(missing_ok=True)


def require_space(folder: Path, n_bytes: int) -> None:
    """Raises StoreError where `folder`'s disk has less than that left."""
    with translated():
        free = shutil.disk_usage(folder).free
    if free < n_bytes:
        raise StoreError(
            f"This needs {n_bytes / 1e6:,.0f} MB and the disk has {free / 1e6:,.0f} MB left.",
            "Free some space and try again.",
        )


def hash_of(file: IO[bytes], into: IO[bytes] | None = None) -> tuple[str, int]:
    """SHA-256 in hex and length of what is left of `file`, written to `into` on the way."""
    digest, length = hashlib.sha256(), 0
    while chunk := file.read(_CHUNK):
        digest.update(chunk)
        length += len(chunk)
        if into is not None:
            into.write(chunk)
    return digest.hexdigest(), length
