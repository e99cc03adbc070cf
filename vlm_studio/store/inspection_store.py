"""Answers that were looked into, with their recordings. A row of another owner is NotFound."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, cast

from vlm_studio.core.answers import TokenEvent, TopToken
from vlm_studio.core.documents import Box, Line
from vlm_studio.core.errors import NotFound, StoreError
from vlm_studio.core.ids import new_id, utc_now
from vlm_studio.core.inspections import Fed, Inspection
from vlm_studio.core.traces import WordSource
from vlm_studio.store.blobs import BlobStore
from vlm_studio.store.database import Database
from vlm_studio.store.reading_json import line_of, quad_json, strings_json, strings_of
from vlm_studio.store.search import SearchIndex
from vlm_studio.store.session_store import SessionStore

_SELECT = (
    "SELECT inspection.id, session_id, inspection.created_at, question, answer, model, adapter, seconds, "
    "trace_seconds, tokens, words, notes, trace_sha256 FROM inspection JOIN session ON session.id = session_id"
)
_SEEN = "session.owner = ? AND session.deleted_at IS NULL"


class InspectionStore:
    """Every method takes the owner."""

    def __init__(
        self, database: Database, sessions: SessionStore, blobs: BlobStore, index: SearchIndex
    ) -> None:
        self.database, self.sessions, self.blobs, self.index = database, sessions, blobs, index

    def save(self, owner: str, session_id: str, made: Inspection, trace: bytes, mime: str) -> Inspection:
        """Keep an answer with its recording, in one write. Raises NotFound, StoreError."""
        inspection_id, now = new_id(), utc_now()
        sha256 = self.blobs.put(trace, mime)
        with self.database.write() as db:
            self.sessions.touch(owner, session_id)
            db.execute(
                "INSERT INTO inspection (id, session_id, created_at, question, answer, model, adapter, seconds, "
                "trace_seconds, trace_sha256, tokens, words, notes) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    inspection_id, session_id, now, made.question, made.answer, made.model, made.adapter,
                    made.seconds, made.trace_seconds, sha256, _tokens_json(made.tokens),
                    _words_json(made.words), strings_json(made.notes),
                ),
            )  # fmt: skip
            for place, fed in enumerate(made.fed):
                self.sessions.page(owner, fed.page_id)
                piece = fed.piece or (None, None)
                db.execute(
                    "INSERT INTO inspection_image (inspection_id, ord, page_id, sha256, x0, y0, x1, y1, line, "
                    "piece_from, piece_to) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (
                        inspection_id, place, fed.page_id, fed.sha256, fed.box.left, fed.box.top,
                        fed.box.right, fed.box.bottom, _line_json(fed.line), *piece,
                    ),
                )  # fmt: skip
            page_id, box = (made.fed[0].page_id, made.fed[0].box) if made.fed else (None, None)
            self.index.index(
                "answer", session_id, inspection_id, made.answer, made.question, page_id=page_id, box=box
            )
        return self.get(owner, inspection_id)

    def list(self, owner: str, session_id: str) -> tuple[Inspection, ...]:
        """Of a session, oldest first. Raises NotFound."""
        self.sessions.get(owner, session_id)
        with self.database.read() as db:
            rows = db.execute(
                f"{_SELECT} WHERE session_id = ? AND {_SEEN} ORDER BY inspection.created_at, inspection.id",
                (session_id, owner),
            ).fetchall()
        return tuple(self._inspection(row) for row in rows)

    def get(self, owner: str, inspection_id: str) -> Inspection:
        """Raises NotFound."""
        return self._inspection(self._row(owner, inspection_id))

    def trace(self, owner: str, inspection_id: str) -> bytes:
        """The recording as it was saved. Raises NotFound, StoreError where it is damaged."""
        return self.blobs.trusted_bytes(str(self._row(owner, inspection_id)[12]))

    def _row(self, owner: str, inspection_id: str) -> Sequence[Any]:
        with self.database.read() as db:
            row = db.execute(
                f"{_SELECT} WHERE inspection.id = ? AND {_SEEN}", (inspection_id, owner)
            ).fetchone()
        if row is None:
            raise NotFound("There is no such inspection.", "Its session may have been deleted.")
        return cast("Sequence[Any]", row)

    def _inspection(self, row: Sequence[Any]) -> Inspection:
        with self.database.read() as db:
            images = db.execute(
                "SELECT page_id, sha256, x0, y0, x1, y1, line, piece_from, piece_to FROM inspection_image "
                "WHERE inspection_id = ? ORDER BY ord",
                (row[0],),
            ).fetchall()
        try:
            return Inspection(
                id=row[0], session_id=row[1], created_at=row[2], question=row[3], answer=row[4], model=row[5],
                adapter=row[6], seconds=float(row[7]), trace_seconds=float(row[8]), tokens=_tokens_of(row[9]),
                words=_words_of(row[10]), notes=strings_of(row[11]), fed=tuple(map(_fed, images)),
            )  # fmt: skip
        except (ValueError, TypeError, KeyError) as error:
            raise StoreError(
                "This inspection is damaged in the database.", "Ask the question again."
            ) from error


def _tokens_json(tokens: Sequence[TokenEvent]) -> str:
    return json.dumps(
        [
            [
                t.text,
                t.token_id,
                round(t.logprob, 5),
                [[o.text, o.token_id, round(o.logprob, 5)] for o in t.top],
            ]
            for t in tokens
        ],
        ensure_ascii=False,
    )


def _tokens_of(text: str) -> tuple[TokenEvent, ...]:
    return tuple(
        TokenEvent(
            str(word),
            int(token_id),
            float(logprob),
            tuple(TopToken(str(o), int(i), float(p)) for o, i, p in top),
        )
        for word, token_id, logprob, top in json.loads(text)
    )


def _words_json(words: Sequence[WordSource]) -> str:
    return json.dumps(
        [
            [w.text, w.first_token, w.last_token, round(w.with_image, 6), round(w.without_image, 6), w.source]
            for w in words
        ],
        ensure_ascii=False,
    )


def _words_of(text: str) -> tuple[WordSource, ...]:
    found = []
    for word, first, last, with_image, without, source in json.loads(text):
        if source not in {"read", "mixed", "guessed"}:
            raise ValueError(source)
        found.append(WordSource(str(word), int(first), int(last), float(with_image), float(without), source))
    return tuple(found)


def _line_json(line: Line | None) -> str | None:
    if line is None:
        return None
    return json.dumps(
        {"box": line.box.as_list(2), "quad": quad_json(line.quad), "column": line.column}, ensure_ascii=False
    )


def _fed(row: Sequence[Any]) -> Fed:
    line = None
    if row[6] is not None:
        found = json.loads(row[6])
        box = [float(v) for v in found["box"]]
        line = line_of(box[0], box[1], box[2], box[3], found["quad"], found["column"], 0)
    piece = None if row[7] is None or row[8] is None else (int(row[7]), int(row[8]))
    return Fed(row[0], row[1], Box(row[2], row[3], row[4], row[5]), line, piece)
