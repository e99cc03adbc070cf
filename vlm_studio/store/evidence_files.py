"""An evidence pack as a zip file: named parts with their hashes in a manifest. A hostile one is refused unread."""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path

from vlm_studio import __version__
from vlm_studio.core.errors import DamagedFile
from vlm_studio.core.ids import utc_now
from vlm_studio.store.archive import MANIFEST, Archive, ArchiveLimits, manifest_of, new_file, read_capped

FORMAT = "vlm-studio-evidence"
VERSION = 1
PART_BYTES = 64 * 1024**2
_ENTRY = re.compile(
    r"manifest\.json|run\.json|README\.txt|probabilities\.csv|images/[0-9a-f]{64}\.(?:png|jpg)|quotes/[0-9]{2}\.png"
    r"|hand/adapter_(?:config\.json|model\.safetensors)"
)
_LIMITS = ArchiveLimits(entries=200, entry_bytes=PART_BYTES)


def write_pack(target: Path, parts: Mapping[str, bytes]) -> None:
    """Raises InvalidRequest where `target` exists, StoreError where it cannot be written."""
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in parts.items()}
    manifest = {
        "format": FORMAT, "version": VERSION, "app": __version__, "created_at": utc_now(), "parts": hashes,
    }  # fmt: skip
    with new_file(target) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(MANIFEST, json.dumps(manifest, indent=1))
        for name, data in parts.items():
            packed = zipfile.ZIP_STORED if name.endswith((".png", ".jpg")) else zipfile.ZIP_DEFLATED
            archive.writestr(name, data, packed)


def read_pack(path: Path) -> dict[str, bytes]:
    """The parts, each as its hash says. Raises UnsupportedFile, DamagedFile or FileTooLarge."""
    archive = Archive(path, _ENTRY, _LIMITS)
    try:
        hashes = manifest_of(archive, FORMAT, VERSION).get("parts")
        if not isinstance(hashes, dict) or {MANIFEST, *hashes} != archive.names:
            raise DamagedFile("The pack holds other parts than it says.", "Make it again.")
        parts = {}
        for name, sha256 in hashes.items():
            with archive.open(name) as file:
                parts[name] = read_capped(file, PART_BYTES, name)
            if hashlib.sha256(parts[name]).hexdigest() != sha256:
                raise DamagedFile(
                    f"{name} was changed after the pack was made.",
                    "It proves nothing any more: make it again.",
                )
        return parts
    finally:
        archive.close()
