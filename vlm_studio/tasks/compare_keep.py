"""Comparisons that are kept: one session for each picture, with everything that was compared on it."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import Protocol

from PIL import Image

from vlm_studio.core.comparison import Comparison, ErrorRates, KeptComparison, LinesComparison, Side
from vlm_studio.core.conversation import ImagePart, TextPart
from vlm_studio.core.sessions import Session, SessionKind
from vlm_studio.core.settings import Limits
from vlm_studio.ingest.images import open_image
from vlm_studio.tasks.compare_input import Piece
from vlm_studio.tasks.sessions_document import Entry

TITLE_CHARS = 60


class SessionRows(Protocol):
    def create(self, owner: str, kind: SessionKind, title: str) -> Session: ...
    def get(self, owner: str, session_id: str) -> Session: ...


class ComparisonRows(Protocol):
    def save(
        self, owner: str, session_id: str, images: Sequence[str], found: Comparison | LinesComparison
    ) -> KeptComparison: ...
    def get(self, owner: str, comparison_id: str) -> KeptComparison: ...
    def list(self, owner: str, session_id: str) -> tuple[KeptComparison, ...]: ...


class Blobs(Protocol):
    def put(self, data: bytes, mime: str) -> str: ...
    def read(self, owner: str, sha256: str) -> bytes: ...


class Comparisons:
    """Every method takes the owner."""

    def __init__(self, sessions: SessionRows, rows: ComparisonRows, blobs: Blobs, limits: Limits) -> None:
        self.sessions, self.rows, self.blobs, self.limits = sessions, rows, blobs, limits

    def keep(
        self,
        owner: str,
        session_id: str,
        title: str,
        strips: Sequence[Piece],
        found: Comparison | LinesComparison,
    ) -> KeptComparison:
        """Keep a result (in a new session where `session_id` is empty). Raises NotFound, StoreError."""
        session_id = session_id or self.sessions.create(owner, "compare", title[:TITLE_CHARS]).id
        images = []
        for strip in strips:
            buffer = io.BytesIO()
            strip.image.convert("RGB").save(buffer, "PNG")
            images.append(self.blobs.put(buffer.getvalue(), "image/png"))
        return self.rows.save(owner, session_id, images, found)

    def list(self, owner: str, session_id: str) -> tuple[KeptComparison, ...]:
        """Newest first. Raises NotFound."""
        return self.rows.list(owner, session_id)

    def get(self, owner: str, comparison_id: str) -> KeptComparison:
        """Raises NotFound."""
        return self.rows.get(owner, comparison_id)

    def strips(self, owner: str, kept: KeptComparison) -> tuple[Image.Image, ...]:
        """RGB, in the order of the lines. Raises NotFound, DamagedFile."""
        return tuple(open_image(self.blobs.read(owner, sha), "strip", self.limits) for sha in kept.images)

    def entries(self, owner: str, session_id: str) -> Iterator[Entry]:
        """Every comparison as a document has it, oldest first."""
        for kept in reversed(self.rows.list(owner, session_id)):
            found = kept.found
            shown = tuple(ImagePart(sha256, "strip") for sha256 in kept.images)
            about = f"Compared {kept.created_at[:16].replace('T', ' ')}"
            yield Entry(about, (*shown, TextPart(_told(found))))

    def verify(self, owner: str, session_id: str) -> None:
        """Look at imported comparisons as they will be shown. Raises DamagedFile or another StudioError."""
        for kept in self.rows.list(owner, session_id):
            self.strips(owner, kept)


def _told(found: Comparison | LinesComparison) -> str:
    """Both sides, their error rates, and how likely either finds each word."""
    rows = [_side(found.left), _side(found.right)]
    if isinstance(found, Comparison):
        rows += [f"{w.text}: {w.left:.1%} and {w.right:.1%}" for w in found.words]
        if found.reference:
            rows.insert(0, f"There stands: {found.reference}")
    return "\n".join(rows)


def _side(side: Side) -> str:
    name = f"{side.label} ({side.signed})" if side.signed else side.label
    return f"{name}{_rates(side.rates)}: {side.text}"


def _rates(rates: ErrorRates | None) -> str:
    return f", CER {rates.cer:.1%}, WER {rates.wer:.1%}" if rates else ""
