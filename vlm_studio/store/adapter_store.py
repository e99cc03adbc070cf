"""Adapters and trainings, by owner; the weights are blobs. Another owner's adapter is NotFound."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from vlm_studio.core.adapters import (
    Adapter,
    AdapterFacts,
    AdapterSource,
    ReadLineOf,
    TrainingRun,
    TrainSettings,
    Verdict,
    verdict_of,
)
from vlm_studio.core.errors import InvalidRequest, NotFound
from vlm_studio.core.ids import new_id, utc_now
from vlm_studio.core.sessions import JobState
from vlm_studio.store.blobs import BlobStore
from vlm_studio.store.database import Database
from vlm_studio.store.reading_json import line_of, reading_of
from vlm_studio.store.session_store import SOURCE, SessionStore

NAME_CHARS = 80
NOTES_CHARS = 2_000
WEIGHTS_MIME = "application/x-safetensors"

_ADAPTER = (
    "SELECT id, owner, name, notes, facts, weights_sha256, source, created_at, verdict, active FROM adapter"
)
_TRAINING = (
    "SELECT id, owner, name, state, settings, lines, held_lines, held_pages, message, adapter_id, created_at, "
    "updated_at FROM training"
)


class AdapterStore:
    """Every method takes the owner."""

    def __init__(self, database: Database, sessions: SessionStore, blobs: BlobStore) -> None:
        self.database, self.sessions, self.blobs = database, sessions, blobs

    def add(
        self, owner: str, name: str, facts: AdapterFacts, config: Mapping[str, Any], weights: bytes,
        source: AdapterSource, verdict: Verdict | None = None, notes: str = "",
    ) -> Adapter:  # fmt: skip
        """Keep an adapter; it is not active. `config` is its PEFT configuration, already judged."""
        adapter_id = new_id()
        sha256 = self.blobs.put(weights, WEIGHTS_MIME)
        with self.database.write() as db:
            db.execute(
                "INSERT INTO adapter (id, owner, name, notes, facts, config, weights_sha256, source, "
                "created_at, verdict) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    adapter_id, owner, _name(name), notes[:NOTES_CHARS], json.dumps(asdict(facts)),
                    json.dumps(dict(config)), sha256, source, utc_now(), _json(verdict),
                ),
            )  # fmt: skip
        return self.get(owner, adapter_id)

    def get(self, owner: str, adapter_id: str) -> Adapter:
        """Raises NotFound."""
        with self.database.read() as db:
            row = db.execute(f"{_ADAPTER} WHERE id = ? AND owner = ?", (adapter_id, owner)).fetchone()
        if row is None:
            raise NotFound("There is no such adapter.", "It may have been deleted.")
        return _adapter(row)

    def list(self, owner: str) -> tuple[Adapter, ...]:
        """Newest first."""
        with self.database.read() as db:
            rows = db.execute(f"{_ADAPTER} WHERE owner = ? ORDER BY created_at DESC", (owner,)).fetchall()
        return tuple(map(_adapter, rows))

    def files(self, owner: str, adapter_id: str) -> tuple[dict[str, Any], bytes]:
        """(PEFT configuration, weights). Raises NotFound, StoreError."""
        self.get(owner, adapter_id)
        return self.trusted_files(adapter_id)[1:]

    def trusted_files(self, adapter_id: str) -> tuple[str, dict[str, Any], bytes]:
        """(name, configuration, weights) for callers that checked whose it is. Raises NotFound, StoreError."""
        with self.database.read() as db:
            row = db.execute(
                "SELECT name, config, weights_sha256 FROM adapter WHERE id = ?", (adapter_id,)
            ).fetchone()
        if row is None:
            raise NotFound("There is no such adapter.", "It may have been deleted.")
        return str(row[0]), json.loads(row[1]), self.blobs.trusted_bytes(row[2])

    def rename(self, owner: str, adapter_id: str, name: str, notes: str | None) -> Adapter:
        """No `notes`: those that are there stay. Raises InvalidRequest for an empty name."""
        self.get(owner, adapter_id)
        with self.database.write() as db:
            db.execute(
                "UPDATE adapter SET name = ?, notes = coalesce(?, notes) WHERE id = ?",
                (_name(name), None if notes is None else notes[:NOTES_CHARS], adapter_id),
            )
        return self.get(owner, adapter_id)

    def delete(self, owner: str, adapter_id: str) -> None:
        """Gone for good; readings that it made stay, with its name on record."""
        self.get(owner, adapter_id)
        with self.database.write() as db:
            db.execute("DELETE FROM adapter WHERE id = ?", (adapter_id,))

    def set_verdict(self, owner: str, adapter_id: str, verdict: Verdict) -> Adapter:
        self.get(owner, adapter_id)
        with self.database.write() as db:
            db.execute("UPDATE adapter SET verdict = ? WHERE id = ?", (_json(verdict), adapter_id))
        return self.get(owner, adapter_id)

    def activate(self, owner: str, adapter_id: str | None) -> None:
        """The owner reads with this one wherever a session says nothing else; None: with the base model."""
        with self.database.write() as db:
            if adapter_id is not None:
                self.get(owner, adapter_id)
            db.execute("UPDATE adapter SET active = (id IS ?) WHERE owner = ?", (adapter_id, owner))

    def choose(self, owner: str, session_id: str, adapter_id: str | None) -> None:
        """One session's own choice; None: the base model."""
        self.sessions.get(owner, session_id)
        with self.database.write() as db:
            if adapter_id is not None:
                self.get(owner, adapter_id)
            db.execute(
                "INSERT OR REPLACE INTO session_adapter (session_id, adapter_id) VALUES (?, ?)",
                (session_id, adapter_id),
            )

    def unchoose(self, owner: str, session_id: str) -> None:
        """The session reads with whatever is active again."""
        self.sessions.get(owner, session_id)
        with self.database.write() as db:
            db.execute("DELETE FROM session_adapter WHERE session_id = ?", (session_id,))

    def chosen(self, owner: str, session_id: str) -> tuple[bool, str | None]:
        """(whether the session has a choice of its own, the adapter's id or None for the base model)."""
        with self.database.read() as db:
            row = db.execute(
                "SELECT adapter_id FROM session_adapter JOIN session ON session.id = session_id "
                "WHERE session_id = ? AND owner = ?",
                (session_id, owner),
            ).fetchone()
        return (False, None) if row is None else (True, row[0])

    def in_use(self, owner: str, session_id: str = "") -> Adapter | None:
        """The adapter that a reading of this session wears; None: the base model."""
        own, adapter_id = self.chosen(owner, session_id)
        if own:
            return None if adapter_id is None else self.get(owner, adapter_id)
        with self.database.read() as db:
            active = db.execute(f"{_ADAPTER} WHERE owner = ? AND active", (owner,)).fetchone()
        return None if active is None else _adapter(active)

    def left_out(self, owner: str) -> frozenset[str]:
        """Ids of lines that nothing is learned from."""
        with self.database.read() as db:
            rows = db.execute(
                "SELECT line_id FROM line_left_out JOIN line ON line.id = line_id "
                "JOIN page ON page.id = line.page_id JOIN asset ON asset.id = page.asset_id "
                "JOIN session ON session.id = asset.session_id WHERE session.owner = ?",
                (owner,),
            ).fetchall()
        return frozenset(str(row[0]) for row in rows)

    def leave_out(self, line_id: str, out: bool) -> None:
        """The caller has checked whose line it is."""
        with self.database.write() as db:
            if out:
                db.execute("INSERT OR IGNORE INTO line_left_out (line_id) VALUES (?)", (line_id,))
            else:
                db.execute("DELETE FROM line_left_out WHERE line_id = ?", (line_id,))

    def uncorrected(self, owner: str, limit: int = 2_000) -> tuple[ReadLineOf, ...]:
        """Lines of the owner that a reader wrote last, those of the newest sessions first."""
        with self.database.read() as db:
            rows = db.execute(
                f"SELECT line.id, session.id, {SOURCE}, page.image_sha256, x0, y0, x1, y1, quad, col, "
                "maybe_skipped, v.text, v.confidence, v.words, v.writer, v.warnings "
                "FROM line JOIN line_version v ON v.line_id = line.id AND v.number = line.current "
                "JOIN page ON page.id = line.page_id JOIN asset ON asset.id = page.asset_id "
                "JOIN session ON session.id = asset.session_id WHERE session.owner = ? "
                "AND session.deleted_at IS NULL AND v.author = 'reader' AND removed_at IS NULL "
                "AND v.text <> '' ORDER BY session.updated_at DESC, line.ord LIMIT ?",
                (owner, limit),
            ).fetchall()
        return tuple(
            ReadLineOf(r[0], r[1], r[2], r[3], line_of(*r[4:11]), reading_of(*r[11:16])) for r in rows
        )

    def readings(self, owner: str, signed: str) -> int:
        """How many versions of the owner's lines were written by a reader of that name."""
        with self.database.read() as db:
            row = db.execute(
                "SELECT count(*) FROM line_version v JOIN line ON line.id = v.line_id "
                "JOIN page ON page.id = line.page_id JOIN asset ON asset.id = page.asset_id "
                "JOIN session ON session.id = asset.session_id "
                "WHERE session.owner = ? AND v.author = 'reader' AND v.writer = ?",
                (owner, signed),
            ).fetchone()
        return int(row[0])

    def add_training(
        self, owner: str, name: str, settings: TrainSettings, lines: int, held_lines: int, held_pages: int
    ) -> TrainingRun:
        training_id, now = new_id(), utc_now()
        with self.database.write() as db:
            db.execute(
                "INSERT INTO training (id, owner, name, state, settings, lines, held_lines, held_pages, "
                "created_at, updated_at) VALUES (?, ?, ?, 'queued', ?, ?, ?, ?, ?, ?)",
                (
                    training_id, owner, _name(name), json.dumps(asdict(settings)), lines, held_lines,
                    held_pages, now, now,
                ),
            )  # fmt: skip
        return self.training(owner, training_id)

    def training(self, owner: str, training_id: str) -> TrainingRun:
        """Raises NotFound."""
        with self.database.read() as db:
            row = db.execute(f"{_TRAINING} WHERE id = ? AND owner = ?", (training_id, owner)).fetchone()
        if row is None:
            raise NotFound("There is no such training.", "It may have been deleted.")
        return _training(row)

    def trainings(self, owner: str, limit: int = 20) -> tuple[TrainingRun, ...]:
        """Newest first."""
        with self.database.read() as db:
            rows = db.execute(
                f"{_TRAINING} WHERE owner = ? ORDER BY created_at DESC LIMIT ?", (owner, limit)
            ).fetchall()
        return tuple(map(_training, rows))

    def training_of(self, owner: str, adapter_id: str) -> str | None:
        """The training that made an adapter; None for one that was brought in."""
        with self.database.read() as db:
            row = db.execute(
                "SELECT id FROM training WHERE adapter_id = ? AND owner = ?", (adapter_id, owner)
            ).fetchone()
        return None if row is None else str(row[0])

    def delete_training(self, owner: str, training_id: str) -> None:
        """Its record; an adapter that it made stays."""
        with self.database.write() as db:
            db.execute("DELETE FROM training WHERE id = ? AND owner = ?", (training_id, owner))

    def unfinished(self) -> tuple[TrainingRun, ...]:
        """Of every owner: trainings that are not over, for the app that starts again."""
        with self.database.read() as db:
            rows = db.execute(f"{_TRAINING} WHERE state IN ('queued', 'running', 'paused')").fetchall()
        return tuple(map(_training, rows))

    def set_training(
        self, owner: str, training_id: str, state: JobState, message: str = "", adapter_id: str | None = None
    ) -> TrainingRun:
        with self.database.write() as db:
            db.execute(
                "UPDATE training SET state = ?, message = ?, adapter_id = coalesce(?, adapter_id), "
                "updated_at = ? WHERE id = ? AND owner = ?",
                (state, message, adapter_id, utc_now(), training_id, owner),
            )
        return self.training(owner, training_id)


def _name(name: str) -> str:
    clean = " ".join(name.split())[:NAME_CHARS]
    if not clean:
        raise InvalidRequest("An adapter needs a name.", "Type one, such as whose hand it is.")
    return clean


def _json(verdict: Verdict | None) -> str | None:
    return None if verdict is None else json.dumps(asdict(verdict))


def _adapter(row: Any) -> Adapter:
    return Adapter(
        id=row[0], owner=row[1], name=row[2], notes=row[3], facts=AdapterFacts(**json.loads(row[4])),
        weights_sha256=row[5], source=row[6], created_at=row[7],
        verdict=None if row[8] is None else verdict_of(json.loads(row[8])), active=bool(row[9]),
    )  # fmt: skip


def _training(row: Any) -> TrainingRun:
    return TrainingRun(
        id=row[0], owner=row[1], name=row[2], state=row[3], settings=TrainSettings(**json.loads(row[4])),
        lines=row[5], held_lines=row[6], held_pages=row[7], message=row[8], adapter_id=row[9],
        created_at=row[10], updated_at=row[11],
    )  # fmt: skip
