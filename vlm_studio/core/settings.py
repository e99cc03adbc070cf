"""Everything that can be set, read once. Environment variables begin with ``VLM_STUDIO_``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

PROJECT_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Limits:
    """Caps on what a person may send; all are checked before the costly step they guard."""

    upload_bytes: int = 50 * 1024 * 1024
    upload_files: int = 16
    image_pixels: int = 40_000_000
    pdf_pages: int = 2_000
    page_pixels: int = 12_000_000
    page_seconds: float = 20.0
    pdf_memory_bytes: int = 2 * 1024**3
    question_chars: int = 4_000
    new_tokens: int = 2_048


@dataclass(frozen=True, slots=True)
class Settings:
    data_dir: Path = PROJECT_ROOT / "sessions"
    """studio.db, blobs/, traces/ live here."""
    assets_dir: Path = PROJECT_ROOT / "assets"
    cache_dir: Path | None = None
    """Downloaded and converted weights; None: the platform's user cache."""
    host: str = "127.0.0.1"
    port: int = 7860
    allowed_hosts: tuple[str, ...] = ("127.0.0.1", "localhost", "[::1]")
    reader: str = "auto"
    model: str = "auto"
    """``auto``, a catalog name, or the URL of an OpenAI-compatible server."""
    engine_api_key: str = ""
    precision: str = "auto"
    revisions: tuple[str, ...] = ()
    """``name=revision`` of models of the hub: instead of the commits that this version is pinned to."""
    offline: bool = False
    auth: str = ""
    """``user:password[,user:password]``; empty: one local owner."""
    api_keys: str = ""
    """``name:key[,name:key]``: who may use ``serve`` and read ``/metrics``; keys of 16 characters or more."""
    log: str = "text"
    """``text``, or ``json``: one object a line, without names, contents and addresses."""
    demo: bool = False
    """Shared Space: rows are keyed to visitors, sessions are temporary, quotas apply."""
    space: str = ""
    """``owner/name`` of the Hugging Face Space it runs on; known to it there."""
    limits: Limits = Limits()

    @property
    def is_local(self) -> bool:
        """Whether it listens on this machine only."""
        return self.host in {"127.0.0.1", "localhost", "::1"}

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Settings:
        """Read ``VLM_STUDIO_<FIELD>``; unknown names are ignored.

        Raises ValueError where a value does not parse, naming the variable.
        """
        values: dict[str, object] = {}
        for item in fields(cls):
            raw = env.get(f"VLM_STUDIO_{item.name.upper()}")
            if raw is None or item.name == "limits":
                continue
            try:
                values[item.name] = _parse(str(item.type), raw)
            except ValueError as error:
                raise ValueError(f"VLM_STUDIO_{item.name.upper()}={raw!r}: {error}") from error
        return cls(**values)  # type: ignore[arg-type]


def _parse(type_name: str, raw: str) -> object:
    if "Path" in type_name:
        return Path(raw).expanduser()
    if type_name == "int":
        return int(raw)
    if type_name == "bool":
        if raw.lower() not in {"1", "0", "true", "false", "yes", "no"}:
            raise ValueError("use 1 or 0")
        return raw.lower() in {"1", "true", "yes"}
    if type_name.startswith("tuple"):
        return tuple(part.strip() for part in raw.split(",") if part.strip())
    return raw
