"""Adapters that are kept: listed, named, used, taken away and brought in; and the readers that wear them."""

from __future__ import annotations

import hashlib
import io
import json
import re
import threading
import unicodedata
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from vlm_studio.core.adapters import Adapter, AdapterFacts, verdict_of
from vlm_studio.core.errors import AdapterRejected, InvalidRequest
from vlm_studio.tasks.adapt import HandModel, HandReader
from vlm_studio.tasks.adapt_rows import AdapterRows
from vlm_studio.tasks.transcribe import ADAPTED

CONFIG, WEIGHTS, CARD = "adapter_config.json", "adapter_model.safetensors", "card.json"
ARCHIVE_BYTES = 32 * 1024**2
"""An adapter of the line reader is a few hundred kilobytes."""
ACTIVE, BASE = "active", "base"
"""What a session may be read with besides an adapter's id."""
KEPT_READERS = 4
BASE_READER = "nano"
MOST_LINES = 1_000_000
"""That anybody corrected."""
MOST_SCALING = 8
"""Of what an adapter adds; this app trains with 1, others rarely with more than 4."""


class Adapters:
    """Every method takes the owner; another's adapter is NotFound."""

    def __init__(
        self, rows: AdapterRows, model: Callable[[], HandModel], in_use: Callable[[str, str], Adapter | None],
        trusted_files: Callable[[str], tuple[str, dict[str, Any], bytes]], choose_reader: Callable[[], tuple[str, str]],
    ) -> None:  # fmt: skip
        self.rows, self._model = rows, model
        self.in_use, self.trusted_files, self.choose_reader = in_use, trusted_files, choose_reader
        self._readers: OrderedDict[tuple[str, float], HandReader] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def model(self) -> HandModel:
        return self._model()

    def list(self, owner: str) -> tuple[Adapter, ...]:
        return self.rows.list(owner)

    def fits(self, adapter: Adapter) -> bool:
        """Whether the line reader can wear it: it was made for the weights that are installed now."""
        return adapter.facts.kind == "hand" and adapter.facts.base_sha256 == self.model.sha256

    def rename(self, owner: str, adapter_id: str, name: str, notes: str | None = None) -> Adapter:
        """No `notes`: those that are there stay. Raises InvalidRequest for an empty name."""
        renamed = self.rows.rename(owner, adapter_id, name, notes)
        with self._lock:  # a reader signs with the name that it was made with
            for key in [key for key in self._readers if key[0] == adapter_id]:
                del self._readers[key]
        return renamed

    def delete(self, owner: str, adapter_id: str) -> None:
        self.rows.delete(owner, adapter_id)

    def activate(self, owner: str, adapter_id: str | None) -> None:
        """Read with it from now on; None: with the base model.

        Raises InvalidRequest for an adapter that the gate refused, AdapterRejected for one of another base.
        """
        if adapter_id is not None:
            self._usable(owner, adapter_id)
        self.rows.activate(owner, adapter_id)

    def choose(self, owner: str, session_id: str, choice: str) -> None:
        """What one session is read with: an adapter's id, `BASE`, or `ACTIVE` (whatever is active).

        Raises NotFound, InvalidRequest for an adapter that the gate refused, AdapterRejected for one of another base.
        """
        if choice == ACTIVE:
            self.rows.unchoose(owner, session_id)
            return
        if choice != BASE:
            self._usable(owner, choice)
        self.rows.choose(owner, session_id, None if choice == BASE else choice)

    def choice(self, owner: str, session_id: str) -> str:
        """As `choose` was told last; `ACTIVE` where it never was, and in a session that is not there yet."""
        if not session_id:
            return ACTIVE
        chosen, adapter_id = self.rows.chosen(owner, session_id)
        return (adapter_id or BASE) if chosen else ACTIVE

    def wearable(self, owner: str) -> tuple[Adapter, ...]:
        """The owner's adapters that a session may be read with, newest first."""
        return tuple(
            a for a in self.rows.list(owner) if (a.verdict is None or a.verdict.passed) and self.fits(a)
        )

    def _usable(self, owner: str, adapter_id: str) -> None:
        adapter = self.rows.get(owner, adapter_id)
        if adapter.verdict is not None and not adapter.verdict.passed:
            raise InvalidRequest(adapter.verdict.why, "It is kept, and can be exported or deleted.")
        if not self.fits(adapter):
            raise _other_base()

    def export(self, owner: str, adapter_id: str) -> tuple[bytes, str]:
        """(zip file, its name): configuration, weights and card."""
        adapter = self.rows.get(owner, adapter_id)
        config, weights = self.rows.files(owner, adapter_id)
        card = {
            "format": 1,
            "name": adapter.name,
            "notes": adapter.notes,
            "facts": asdict(adapter.facts),
            "weights_sha256": adapter.weights_sha256,
            "verdict": None if adapter.verdict is None else asdict(adapter.verdict),
            "created_at": adapter.created_at,
        }
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(CARD, json.dumps(card, ensure_ascii=False, indent=1))
            archive.writestr(CONFIG, json.dumps(config, indent=1))
            archive.writestr(WEIGHTS, weights)
        safe = "".join(c if c.isalnum() or c in "-_ " else "_" for c in adapter.name).strip() or "adapter"
        return out.getvalue(), f"{safe}.adapter.zip"

    def take_in(self, owner: str, data: bytes) -> Adapter:
        """Keep an exported adapter; it is not active. Raises AdapterRejected for whatever is not plainly one.

        One whose weights are there already is that one, with its name and its verdict, and is not kept twice.
        """
        card, config, weights = _unpack(data)
        try:
            facts = AdapterFacts(**card["facts"])
            name, notes = _plain(card["name"]), _plain(card.get("notes", ""))
            made_with = _plain(facts.made_with)
            if card.get("verdict"):
                notes = f"{notes}\nMeasured where it was made: {_plain(verdict_of(card['verdict']).why)}"
            if type(facts.lines) is not int or not 0 <= facts.lines <= MOST_LINES:
                raise ValueError("a number of lines that cannot be")
        except (KeyError, TypeError, ValueError) as failure:
            raise AdapterRejected("The card of this adapter cannot be read.", "Export it again.") from failure
        if facts.kind != "hand" or facts.base_sha256 != self.model.sha256:
            raise _other_base()
        rank = config.get("r")
        facts = AdapterFacts(
            "hand", self.model.name, self.model.sha256, rank if isinstance(rank, int) else 0,
            self.model.parameters(config, weights), facts.lines, made_with[:40],
        )  # fmt: skip
        clean = self.model.clean(config, weights)
        if clean["lora_alpha"] > MOST_SCALING * clean["r"]:
            raise AdapterRejected(
                "This adapter cannot be used: its scaling is far from any that is trained.",
                "Export it again.",
            )
        digest = hashlib.sha256(weights).hexdigest()
        kept = next((a for a in self.rows.list(owner) if a.weights_sha256 == digest and self.fits(a)), None)
        if kept is not None:
            return kept
        return self.rows.add(owner, name, facts, clean, weights, "imported", None, notes.strip())

    def reader_name(self, owner: str, session_id: str, reader: str) -> str:
        """`reader` with the adapter that this session wears, for `Transcriber.reader`. Raises InvalidRequest."""
        if ADAPTED in reader:
            # The name that a client sends never chooses an adapter: whose it is was not checked.
            raise InvalidRequest(f"There is no reader {reader[:40]!r}.", "Choose one of the list.")
        base = self.choose_reader()[0] if reader in {"", "auto"} else reader
        if base != BASE_READER:
            return reader
        adapter = self.in_use(owner, session_id)
        if adapter is None or not self.fits(adapter):
            return reader
        return f"{BASE_READER}{ADAPTED}{adapter.id}"

    def reader(self, name: str) -> HandReader:
        """The reader that `reader_name` named; its own name says on record which adapter it wore."""
        return self.worn(name.partition(ADAPTED)[2])

    def worn(self, adapter_id: str | None, strength: float = 1.0) -> HandReader:
        """nano's reader with an adapter of somebody whose it is was checked; None: the base. Raises NotFound."""
        key = (adapter_id or "", strength)
        with self._lock:
            if key in self._readers:
                self._readers.move_to_end(key)
                return self._readers[key]
        if adapter_id is None:
            made = self.model.reader(None)
        else:
            called, config, weights = self.trusted_files(adapter_id)
            signed = recorded_name(called, hashlib.sha256(weights).hexdigest())
            made = self.model.reader((config, weights), signed, strength)
        self._keep(key, made)
        return made

    def signed(self, owner: str) -> tuple[tuple[Adapter, str], ...]:
        """The owner's adapters that the line reader can wear, newest first, and how readings by each are signed."""
        found = [a for a in self.rows.list(owner) if self.fits(a)]
        return tuple((a, recorded_name(a.name, a.weights_sha256)) for a in found)

    def files_signed(self, owner: str, signed: str) -> tuple[dict[str, Any], bytes] | None:
        """Configuration and weights of the owner's adapter that signs so; None where it is gone."""
        ending = signed.rpartition(".")[2]
        found = next((a for a in self.rows.list(owner) if a.weights_sha256[:8] == ending), None)
        return None if found is None else self.rows.files(owner, found.id)

    def lend(self, signed: str, config: Mapping[str, Any], weights: bytes) -> None:
        """Have `reader` know an adapter that came with an evidence pack, for as long as it is used.

        Raises AdapterRejected for whatever is not plainly the adapter that signs so.
        """
        if hashlib.sha256(weights).hexdigest()[:8] != signed.rpartition(".")[2]:
            raise AdapterRejected("The pack holds another adapter than it names.", "Make it again.")
        self.model.parameters(config, weights)
        clean = self.model.clean(config, weights)
        self._keep((signed.partition(ADAPTED)[2], 1.0), self.model.reader((clean, weights), signed))

    def _keep(self, key: tuple[str, float], reader: HandReader) -> None:
        with self._lock:
            self._readers[key] = reader
            while len(self._readers) > KEPT_READERS:
                self._readers.popitem(last=False)


def recorded_name(name: str, weights_sha256: str) -> str:
    """How a reading by an adapter is signed: readable, and by the hash of its weights for good."""
    plain = "-".join(re.findall(r"\w+", name.lower()))[:32].strip("-")
    return f"{BASE_READER}{ADAPTED}{plain}.{weights_sha256[:8]}"


def _plain(text: object) -> str:
    """A card's text without control characters and halves of letters, which no page and no database takes.

    Raises TypeError for what is no text.
    """
    if not isinstance(text, str):
        raise TypeError("no text")
    return "".join(c for c in text if c in "\n\t" or unicodedata.category(c) not in {"Cc", "Cs"})


def _unpack(data: bytes) -> tuple[dict[str, Any], dict[str, Any], bytes]:
    """Card, configuration and weights of an exported adapter: these three files and no others."""
    if len(data) > ARCHIVE_BYTES:
        raise AdapterRejected("This file is too large for an adapter.", "Export it again.")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            infos = archive.infolist()
            if sorted(i.filename for i in infos) != sorted([CARD, CONFIG, WEIGHTS]):
                raise ValueError("other files")
            if sum(i.file_size for i in infos) > 2 * ARCHIVE_BYTES:
                raise ValueError("too large")
            if {i.compress_type for i in infos} - {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
                raise ValueError("packed in another way")
            card, config = (json.loads(archive.read(name)) for name in (CARD, CONFIG))
            weights = archive.read(WEIGHTS)
        if not isinstance(card, dict) or not isinstance(config, dict) or card.get("format") != 1:
            raise ValueError("no card")
    except (
        ValueError,
        KeyError,
        RecursionError,
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        NotImplementedError,
        RuntimeError,
    ) as failure:
        raise AdapterRejected(
            "This is not an adapter that this app exported.", "Export it again."
        ) from failure
    return card, config, weights


def _other_base() -> AdapterRejected:
    return AdapterRejected(
        "This adapter was made for other weights of the reader.", "Train it again from your corrections."
    )
