"""Pooled tokens on disk: files named by the image they were made from, so that they can go with it.

Without torch, so that deleting a session does not load it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from pathlib import Path

log = logging.getLogger(__name__)

POOLED = "pooled"
"""The folder in the data folder."""
SUFFIX = ".safetensors"


def file_key(image: str, digest: str) -> str:
    """What a crop's pooled tokens are called: the hash of its image, then the digest of all that they depend on."""
    return f"{image}-{digest}"


def image_of(key: str) -> str:
    """The image's hash in a `file_key`."""
    return key.partition("-")[0]


def forget(folder: Path, shown: Callable[[Iterable[str]], set[str]]) -> int:
    """Delete what was made from images that nobody has any more; how many files that were.

    `shown` tells which of some hashes are images of a session that is not deleted. A part of a page that was fed as an
    image of its own is none: its tokens go with the next deletion, and are made anew when they are wanted.
    """
    files = [path for path in folder.glob(f"*{SUFFIX}") if path.is_file()]
    kept = shown({image_of(path.stem) for path in files})
    gone = [path for path in files if image_of(path.stem) not in kept]
    for path in gone:
        try:
            path.unlink(missing_ok=True)
        except OSError:
            # On Windows a file that is being read cannot go; the next deletion finds it.
            log.warning("kept pooled tokens could not be deleted", exc_info=True)
    return len(gone)
