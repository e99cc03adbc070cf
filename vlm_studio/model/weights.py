"""Weights from the model hub: found where they are, or fetched, file by file, each going on where it stopped.

Fetched here rather than by `huggingface_hub`, which since 2.x throws a half-fetched file away: the shards of Idefics2-8B
have 5 GB each. What its own cache already holds is used from there.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from huggingface_hub import constants, get_token, snapshot_download
from huggingface_hub.errors import LocalEntryNotFoundError
from platformdirs import user_cache_path

from vlm_studio.core.cancel import CancelToken
from vlm_studio.core.errors import ModelUnavailable
from vlm_studio.model.memory import GIB, size

log = logging.getLogger(__name__)

SUFFIXES = (".safetensors", ".json", ".jinja", ".model")
MANIFEST = "fetched.json"
"""Written last: a folder without it is not whole."""
SPARE_BYTES = GIB
"""What a download leaves free on the disk."""
ATTEMPTS = 5
"""In vain, one after another, before the hub counts as unreachable."""
PAUSE_SECONDS = 1.0
NANO_GOES_ON = "idefics2-nano goes on working meanwhile."

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Source:
    """A repository of the hub at one revision."""

    repo: str
    revision: str

    @property
    def pinned(self) -> bool:
        """Whether it is one commit for ever; a branch or a tag may be another tomorrow."""
        return re.fullmatch(r"[0-9a-f]{40}", self.revision) is not None


@dataclass(frozen=True, slots=True)
class HubFile:
    path: str
    n_bytes: int
    digest: str
    """SHA-256 of a large file, Git's SHA-1 of a small one, in hex."""


def home(source: Source, cache_dir: Path | None) -> Path:
    """Where `source` is kept once it is fetched."""
    root = cache_dir or user_cache_path("vlm-studio", appauthor=False)
    return root / "hub" / source.repo.replace("/", "--") / source.revision


def find(source: Source, cache_dir: Path | None) -> Path | None:
    """A folder that holds all of `source`, without asking the network."""
    folder = home(source, cache_dir)
    if _whole(folder):
        return folder
    try:
        found = Path(
            snapshot_download(
                source.repo,
                revision=source.revision,
                local_files_only=True,
                allow_patterns=[f"*{s}" for s in SUFFIXES],
            )
        )
    except (LocalEntryNotFoundError, OSError, ValueError):
        return None
    return found if _all_shards(found) else None


def fetch(
    source: Source,
    cache_dir: Path | None,
    tell: Tell,
    cancel: CancelToken,
    offline: bool = False,
    endpoint: str | None = None,
) -> Path:
    """The folder with all of `source`, fetched where it is not there yet.

    `tell` gets a sentence now and then. Raises ModelUnavailable (offline, unreachable, disk, checksum) or Cancelled;
    what was fetched until then is kept.
    """
    found = find(source, cache_dir)
    if found is not None:
        return found
    if offline:
        raise ModelUnavailable(
            f"{source.repo} is not on this machine, and the app is set to stay offline.",
            f"Unset VLM_STUDIO_OFFLINE to fetch it once. {NANO_GOES_ON}",
        )
    folder = home(source, cache_dir)
    token = get_token()
    headers = {"authorization": f"Bearer {token}"} if token else {}
    base = endpoint or constants.ENDPOINT
    try:
        with httpx.Client(base_url=base, headers=headers, timeout=30, follow_redirects=True) as client:
            files = listed(client, source)
            _room(folder, files)
            progress = _Progress(source.repo, sum(f.n_bytes for f in files), tell)
            for file in files:
                _fetch_file(client, source, file, folder / file.path, progress, cancel)
    except httpx.HTTPStatusError as failure:
        raise ModelUnavailable(
            f"The model hub refused {source.repo} (status {failure.response.status_code}).",
            f"Try again later; for a repository with conditions set HF_TOKEN. {NANO_GOES_ON}",
        ) from failure
    except httpx.HTTPError as failure:
        raise ModelUnavailable(
            "The model hub cannot be reached.",
            f"Check the connection; fetching goes on where it stopped. {NANO_GOES_ON}",
        ) from failure
    except OSError as failure:
        raise ModelUnavailable(
            f"{folder} cannot be written: {failure.strerror}.",
            f"Free some space or set VLM_STUDIO_CACHE_DIR. {NANO_GOES_ON}",
        ) from failure
    _write_manifest(folder, files)
    return folder


def listed(client: httpx.Client, source: Source) -> list[HubFile]:
    """The files of `source` that a model needs. Raises httpx.HTTPError or ModelUnavailable."""
    answer = client.get(f"/api/models/{source.repo}/tree/{source.revision}", params={"recursive": "true"})
    answer.raise_for_status()
    files = [
        HubFile(entry["path"], int(entry["size"]), str((entry.get("lfs") or entry)["oid"]))
        for entry in answer.json()
        if entry["type"] == "file" and entry["path"].endswith(SUFFIXES)
    ]
    if any(Path(f.path).is_absolute() or ".." in Path(f.path).parts for f in files):
        raise ModelUnavailable("The model hub named files outside the model's folder.", NANO_GOES_ON)
    if not any(f.path.endswith(".safetensors") for f in files):
        raise ModelUnavailable(f"{source.repo} holds no safetensors files.", NANO_GOES_ON)
    return sorted(files, key=lambda f: f.n_bytes)


class _Progress:
    """Says every second or so how far a download is."""

    def __init__(self, what: str, total: int, tell: Tell) -> None:
        self.what, self.total, self.tell = what, total, tell
        self.done = self.fresh = 0
        self.started = self.said = time.monotonic()

    def add(self, n_bytes: int, kept: bool = False) -> None:
        """`kept`: bytes that were there already and tell nothing about the speed."""
        self.done += n_bytes
        self.fresh += 0 if kept else n_bytes
        now = time.monotonic()
        if now - self.said < 1 and self.done < self.total:
            return
        self.said = now
        left = ""
        if self.fresh and self.done < self.total:
            seconds = (now - self.started) / self.fresh * (self.total - self.done)
            left = f", about {max(1, round(seconds / 60))} min left"
        share = 100 * self.done // max(1, self.total)
        self.tell(f"Fetching {self.what}: {share} % of {size(self.total)}{left}.")


def _room(folder: Path, files: Sequence[HubFile]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    missing = sum(f.n_bytes - _size(folder / f.path) - _size(_part(folder / f.path)) for f in files)
    free = shutil.disk_usage(folder).free
    if missing > free - SPARE_BYTES:
        raise ModelUnavailable(
            f"{size(missing)} are still to be fetched, and the disk has {size(free)} free.",
            f"Free some space, or set VLM_STUDIO_CACHE_DIR to a larger disk. {NANO_GOES_ON}",
        )


def _fetch_file(
    client: httpx.Client,
    source: Source,
    file: HubFile,
    target: Path,
    progress: _Progress,
    cancel: CancelToken,
) -> None:
    """`target` with the right content; what is there of it is kept. Raises ModelUnavailable on a wrong checksum."""
    if _size(target) == file.n_bytes:
        progress.add(file.n_bytes, kept=True)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    part = _part(target)
    progress.add(_size(part), kept=True)
    in_vain = 0
    while True:
        before = _size(part)
        try:
            _append(client, f"/{source.repo}/resolve/{source.revision}/{file.path}", part, progress, cancel)
            break
        except httpx.TransportError:
            in_vain = 0 if _size(part) > before else in_vain + 1
            if in_vain == ATTEMPTS:
                raise
            log.info("the connection broke off at %d bytes of %s", _size(part), file.path)
            time.sleep(PAUSE_SECONDS * in_vain)
    if _digest(part, file, cancel) != file.digest:
        part.unlink()
        raise ModelUnavailable(
            f"{file.path} arrived damaged: its checksum is wrong.", f"Try again. {NANO_GOES_ON}"
        )
    part.replace(target)


def _append(client: httpx.Client, url: str, part: Path, progress: _Progress, cancel: CancelToken) -> None:
    """The rest of a file onto `part`."""
    have = _size(part)
    with client.stream("GET", url, headers={"range": f"bytes={have}-"} if have else {}) as answer:
        if answer.status_code == 416:  # nothing is left to fetch
            return
        answer.raise_for_status()
        if have and answer.status_code == 200:  # the server sends it from the beginning
            progress.add(-have, kept=True)
            have = 0
        with part.open("ab" if have else "wb") as file:
            # As it arrives: what is collected into larger pieces is lost when the connection breaks.
            for chunk in answer.iter_bytes():
                cancel.raise_if_cancelled()
                file.write(chunk)
                progress.add(len(chunk))


def _digest(path: Path, file: HubFile, cancel: CancelToken) -> str:
    """As the hub has it: SHA-256, or Git's SHA-1 over a header and the content."""
    digest = hashlib.sha256()
    if len(file.digest) == 40:
        digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as content:
        while block := content.read(16 * 1024**2):
            cancel.raise_if_cancelled()
            digest.update(block)
    return digest.hexdigest()


def _write_manifest(folder: Path, files: Sequence[HubFile]) -> None:
    half = folder / f"{MANIFEST}.part"
    half.write_text(json.dumps({f.path: f.n_bytes for f in files}, indent=1), "utf-8")
    half.replace(folder / MANIFEST)


def _whole(folder: Path) -> bool:
    try:
        told: dict[str, Any] = json.loads((folder / MANIFEST).read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return all(_size(folder / path) == n_bytes for path, n_bytes in told.items())


def _all_shards(folder: Path) -> bool:
    """Whether every file that the index names is there."""
    index = folder / "model.safetensors.index.json"
    if not index.exists():
        return (folder / "model.safetensors").exists()
    names = set(json.loads(index.read_text("utf-8"))["weight_map"].values())
    return all((folder / name).exists() for name in names)


def _part(target: Path) -> Path:
    return target.with_name(f"{target.name}.part")


def _size(path: Path) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0
