"""The composition root: settings in, one object with everything the UI and the command line need.

Heavy parts (models, ONNX sessions) are made at first use, so that the app starts in seconds and a
machine that only transcribes never loads torch.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.metadata
import importlib.util
import logging
import platform
import shutil
import threading
from functools import cached_property
from pathlib import Path
from typing import Any

from vlm_studio import __version__
from vlm_studio.core.chat import RunDetails
from vlm_studio.core.comparison import Lesson
from vlm_studio.core.conversation import Variant
from vlm_studio.core.errors import ModelUnavailable, StoreError
from vlm_studio.core.ports import AdapterScope, Engine
from vlm_studio.core.settings import Settings
from vlm_studio.model.characters import ALPHABET
from vlm_studio.model.pooled_files import POOLED, forget
from vlm_studio.shipped import Shipped, lazily
from vlm_studio.store.adapter_store import AdapterStore
from vlm_studio.store.backup import Backups
from vlm_studio.store.blobs import BlobStore
from vlm_studio.store.chat_store import ChatStore
from vlm_studio.store.comparison_store import ComparisonStore
from vlm_studio.store.database import Database
from vlm_studio.store.document_store import DocumentStore
from vlm_studio.store.evidence_files import read_pack, write_pack
from vlm_studio.store.inspection_store import InspectionStore
from vlm_studio.store.search import SearchIndex
from vlm_studio.store.session_facts import session_facts
from vlm_studio.store.session_store import SessionStore
from vlm_studio.store.transcript_store import TranscriptStore
from vlm_studio.store.transfer import Transfer
from vlm_studio.store.visitor_store import VisitorStore
from vlm_studio.tasks.adapt import Adapting, HandModel, Trains
from vlm_studio.tasks.adapt_manage import Adapters
from vlm_studio.tasks.ask_pdf import PageReader
from vlm_studio.tasks.chat import Chats
from vlm_studio.tasks.chat_answer import Answerer
from vlm_studio.tasks.chat_find import find_on_images
from vlm_studio.tasks.compare import Comparing
from vlm_studio.tasks.compare_keep import Comparisons
from vlm_studio.tasks.compare_lessons import by_layer, lessons
from vlm_studio.tasks.compare_sides import ModelBench, ReaderBench
from vlm_studio.tasks.documents_index import Indexer
from vlm_studio.tasks.documents_phrase import Phraser
from vlm_studio.tasks.documents_rank import Similar
from vlm_studio.tasks.documents_session import DocumentSessions
from vlm_studio.tasks.documents_terms import Rarity
from vlm_studio.tasks.evidence import Evidence
from vlm_studio.tasks.inspect import READ_LINE, READ_LINES, Inspections
from vlm_studio.tasks.inspect_look import Looking
from vlm_studio.tasks.live import LiveRuns
from vlm_studio.tasks.models import Models
from vlm_studio.tasks.sessions import Sessions
from vlm_studio.tasks.transcribe import LARGE_READER, EngineReader, LateFinder, Transcriber
from vlm_studio.tasks.transcribe_session import TranscribeSessions
from vlm_studio.tasks.visitors import Visitors

log = logging.getLogger(__name__)

FREE_BYTES_NEEDED = 200 * 1024**2
"""With less than this on the data folder's disk the app calls itself unwell."""


def tracer_of(engine: Engine) -> Any:
    """What looks into `engine`; a server of ours does it itself."""
    if hasattr(engine, "trace"):
        return engine
    return lazily("vlm_studio.trace.tracer", "EngineTracer")(engine, ALPHABET)


class Studio:
    """Everything of one running app. Closing it stops what runs and closes the database."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.shipped = Shipped(settings.assets_dir)
        self.database = Database(settings.data_dir / "studio.db")
        self.blobs = BlobStore(settings.data_dir / "blobs", self.database)
        self.index = SearchIndex(self.database)
        self.session_store = SessionStore(self.database, self.blobs, self.index)
        self.transcripts = TranscriptStore(self.database, self.session_store, self.index)
        self.chat_store = ChatStore(self.database, self.session_store, self.index)
        self.adapter_store = AdapterStore(self.database, self.session_store, self.blobs)
        self.document_store = DocumentStore(self.database, self.session_store, self.index)
        self.live = LiveRuns()
        self.session_store.removed = self._forget_pooled
        self.visitors = Visitors(VisitorStore(self.database, self.blobs))
        if settings.demo:
            self.session_store.admit = self.visitors.admit
        self._lock = threading.RLock()

    @cached_property
    def transcriber(self) -> Transcriber:
        finder = LateFinder(lazily("vlm_studio.reading.detector", "Detector"))
        readers = self.shipped.readers()
        if not self.models.only_nano and not self.models.is_remote:
            large = Variant("idefics2-8b", splitting="off")
            readers[LARGE_READER] = lambda: EngineReader(LARGE_READER, self.models.engine, large)
        return Transcriber(
            finder, readers, self.shipped.choose_reader, lambda name: self.adapters.reader(name)
        )

    @cached_property
    def transcriptions(self) -> TranscribeSessions:
        return TranscribeSessions(
            self.transcriber,
            self.session_store,
            self.transcripts,
            self.blobs,
            self.live,
            self.settings.limits,
            lambda *asked: self.adapters.reader_name(*asked),
        )

    @property
    def hand_model(self) -> HandModel:
        return self.shipped.hand_model

    @cached_property
    def adapters(self) -> Adapters:
        rows = self.adapter_store
        return Adapters(rows, lambda: self.hand_model, rows.in_use, rows.trusted_files, self.choose_reader)

    @cached_property
    def trainer(self) -> Trains:
        return self.shipped.trainer(self.settings.data_dir / "training")

    @cached_property
    def adapting(self) -> Adapting:
        return Adapting(
            self.transcripts,
            self.blobs,
            self.adapter_store,
            lambda: self.trainer,
            lambda: self.hand_model,
            self.live,
            __version__,
            self._teachable,
        )

    def _teachable(self, name: str, rank: int) -> tuple[Path, str]:
        """Folder and revision of a model of the hub that this machine can teach. Raises ModelUnavailable."""
        spec = self.engines.specs.get(name)
        found = spec and lazily("vlm_studio.model.weights", "find")(spec.source, self.settings.cache_dir)
        if not found:
            raise ModelUnavailable(
                f"The weights of {name!r} are not on this machine.", "Ask it something once first."
            )
        lazily("vlm_studio.adapt.qlora", "forecast")(
            found, rank, lazily("vlm_studio.model.machine", "this_machine")()
        )
        return found, str(spec.source.revision)

    @cached_property
    def answerer(self) -> Answerer:
        find = functools.partial(find_on_images, lambda: self.rarity)
        models = self.models
        return Answerer(models.card, models.engine, self.transcriber, find, lambda: self.shipped_adapters)

    @cached_property
    def chats(self) -> Chats:
        return Chats(
            self.session_store,
            self.chat_store,
            self.blobs,
            self.live,
            self.answerer,
            self.settings.limits,
            lambda *asked: self.adapters.reader_name(*asked),
        )

    @cached_property
    def evidence(self) -> Evidence:
        return Evidence(
            self.chat_store,
            self.blobs,
            lambda: self.answerer,
            self.origins_of,
            write_pack,
            read_pack,
            self.settings.limits,
            lambda: self.adapters,
        )

    def origins_of(self, run: RunDetails) -> dict[str, str]:
        """Everything that decides an answer's text: hashes of weights, versions of what computes."""
        found = {"VLM Studio": __version__, "Python": platform.python_version()}
        for package in ("torch", "transformers", "onnxruntime", "rapidocr"):
            with contextlib.suppress(importlib.metadata.PackageNotFoundError):
                found[package] = importlib.metadata.version(package)
        if run.model == "idefics2-nano" or run.reader == "nano":
            found |= self.shipped.weight_hashes()
        elif run.model.startswith("idefics2-"):
            spec = self.engines.specs[run.model]
            found[run.model] = spec.source.revision
        if run.variant.adapter is not None:
            adapters = getattr(self.models.engine(run.variant), "adapters", None)
            found[f"adapter {run.variant.adapter}"] = adapters.key(run.variant) if adapters else ""
        return found

    @cached_property
    def sessions(self) -> Sessions:
        made = Sessions(
            self.session_store,
            self.transcripts,
            self.index,
            self.blobs,
            Transfer(self.database, self.blobs),
            Backups(self.database, self.blobs),
            functools.partial(session_facts, self.database),
            self.settings.limits,
        )
        made.contents["chat"] = lambda owner, session_id: self.chats.entries(owner, session_id)
        made.contents["documents"] = lambda owner, session_id: self.documents.entries(owner, session_id)
        made.contents["compare"] = lambda owner, session_id: self.comparisons.entries(owner, session_id)
        made.checks["chat"] = lambda owner, session_id: self.chats.verify(owner, session_id)
        made.checks["compare"] = lambda owner, session_id: self.comparisons.verify(owner, session_id)
        return made

    @cached_property
    def documents(self) -> DocumentSessions:
        indexer = Indexer(
            self.document_store,
            self.blobs.trusted_bytes,
            PageReader(lambda: self.transcriber),
            self.rarity,
            self.settings.limits,
        )
        return DocumentSessions(
            self.session_store,
            self.document_store,
            self.blobs,
            indexer,
            self.settings.limits,
            self.similar,
            Phraser(self.models.card, self.models.engine),
        )

    @cached_property
    def rarity(self) -> Rarity:
        """How telling words are, for questions over documents."""
        return Rarity(self.shipped.words)

    @cached_property
    def similar(self) -> Similar | None:
        """How near texts are to a question in meaning; None where the meaning model is not installed."""
        if importlib.util.find_spec("all_minilm_l6_v2") is None:
            return None
        vectors = lazily("vlm_studio.model.sentence_vectors", "SentenceVectors")(self.settings.cache_dir)
        compare: Similar = vectors.similar
        return compare

    @cached_property
    def models(self) -> Models:
        return Models(
            self.settings,
            lambda: self.engines,
            lambda: self._remote,
            self.shipped.card,
            lazily("vlm_studio.model.tiles", "crops"),
        )

    @cached_property
    def _remote(self) -> Engine:
        made: Engine = lazily("vlm_studio.model.remote", "RemoteEngine")(
            self.settings.model, self.settings.engine_api_key
        )
        return made

    @cached_property
    def engine(self) -> Engine:
        """The language model that `auto` is: loaded at first use. Raises ModelUnavailable."""
        return self.models.engine(Variant("auto"))

    @cached_property
    def engines(self) -> Any:
        """The `EngineShelf`: every model that can be chosen, each loaded at its first use."""
        return lazily("vlm_studio.model.shelf", "EngineShelf")(self.settings, self._adapters_of)

    def _forget_pooled(self) -> None:
        """What a model made from images that went goes too, whether a model was loaded since or not."""
        if "engines" in self.__dict__:
            self.engines.forget(self.blobs.shown)
        forget(self.settings.data_dir / POOLED, self.blobs.shown)

    @property
    def shipped_adapters(self) -> tuple[str, ...]:
        return self.shipped.adapters

    @cached_property
    def comparing(self) -> Comparing:
        """On nano: its frozen and LoRA adapters ship with the app, its line reader wears those of hands."""
        nano = Variant("idefics2-nano")
        model = ModelBench(lambda: self.models.engine(nano), lambda: tracer_of(self.models.engine(nano)))
        reader = ReaderBench(lambda worn: self.adapters.worn(worn.adapter, worn.adapter_scale))
        return Comparing(
            lambda: self.models.card(nano),
            {"model": model, "reader": reader},
            lambda: self.shipped_adapters,
            lambda owner: self.adapters.signed(owner),
        )

    @cached_property
    def comparisons(self) -> Comparisons:
        rows = ComparisonStore(self.database, self.session_store, self.index)
        return Comparisons(self.session_store, rows, self.blobs, self.settings.limits)

    def lessons(self, measured: bool = False) -> tuple[Lesson, ...]:
        """How the shipped adapters were learned; `measured` loads nano and adds how far each layer moved."""
        changes: dict[str, dict[str, float]] = {}
        if measured:
            shelf = getattr(self.models.engine(Variant("idefics2-nano")), "adapters", None)
            changes = {n: by_layer(shelf.norms_by_module(n)) for n in self.shipped_adapters if shelf}
        return lessons(self.shipped.curves(), changes)

    def _adapters_of(self, loaded: Any) -> AdapterScope:
        """The adapters that a loaded model may wear: those that ship with nano, and kept ones by their id."""

        def files(name: str) -> tuple[dict[str, Any], bytes]:
            if name in self.shipped_adapters:
                return self.shipped.adapter_files(name)
            return self.adapter_store.trusted_files(name)[1:]

        made: AdapterScope = lazily("vlm_studio.model.adapters", "AdapterShelf")(loaded.model, files)
        return made

    @cached_property
    def tracer(self) -> Any:
        return tracer_of(self.engine)

    @cached_property
    def metrics(self) -> Any:
        """The `Metrics` of this process."""
        return lazily("vlm_studio.serve.metrics", "Metrics")()

    @cached_property
    def inspections(self) -> Inspections:
        return Inspections(
            lambda: (self.engine, self.tracer),
            lambda: self.transcriber.finder,
            self.session_store,
            InspectionStore(self.database, self.session_store, self.blobs, self.index),
            self.blobs,
            self.live,
            self.settings.limits,
            self._inspecting_with,
            lazily("vlm_studio.model.tiles", "tiles"),
        )

    def _inspecting_with(self, question: str) -> Variant:
        """nano reads with its reading adapter; any other question goes to the model as it is."""
        name = self.engine.card.name
        reads = name == "idefics2-nano" and question in {"", READ_LINE, READ_LINES}
        return Variant(name, adapter="reading" if reads and "reading" in self.shipped_adapters else None)

    @cached_property
    def looking(self) -> Looking:
        return Looking(self.inspections)

    def choose_reader(self) -> tuple[str, str]:
        return self.shipped.choose_reader()

    def trouble(self) -> str:
        """What keeps work from being saved right now, in a word; empty where nothing does."""
        try:
            with self.database.read() as db:
                db.execute("SELECT 1 FROM session LIMIT 1").fetchone()
        except StoreError:
            return "database"
        return "disk" if shutil.disk_usage(self.settings.data_dir).free < FREE_BYTES_NEEDED else ""

    def close(self, timeout: float = 10.0) -> None:
        """Stop running work, wait for it to save what it has, close the database."""
        if "trainer" in self.__dict__:
            self.trainer.close(timeout)
        if "documents" in self.__dict__:
            self.documents.indexer.close(timeout)
        if not self.live.stop_all(timeout):
            log.warning("work was still running after %s s and is left behind", timeout)
        self.visitors.stop()
        self.database.close()
