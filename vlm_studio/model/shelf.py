"""The engines of this machine by name, and which one it is best served by."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import get_args

from vlm_studio.core.cancel import CancelToken
from vlm_studio.core.conversation import Precision
from vlm_studio.core.errors import InvalidRequest, ModelUnavailable
from vlm_studio.core.ports import AdapterScope, Engine
from vlm_studio.core.settings import Settings
from vlm_studio.model.catalog import NANO, Spec, load_hub, load_nano, names, specs
from vlm_studio.model.engine import HFEngine, LoadedModel
from vlm_studio.model.hub_engine import HubEngine
from vlm_studio.model.machine import Machine, choose, this_machine
from vlm_studio.model.memory import size
from vlm_studio.model.pooled_files import POOLED
from vlm_studio.model.weights import Tell, find

log = logging.getLogger(__name__)

AdaptersOf = Callable[[LoadedModel], AdapterScope | None]


@dataclass(frozen=True, slots=True)
class Choice:
    """A model that a person may choose, and what to expect of it here."""

    name: str
    title: str
    runs: bool
    """Whether this machine can run it."""
    here: bool
    """Whether its weights are on this machine."""
    why: str
    """How it would be loaded, or why it cannot be; one or two sentences."""


class EngineShelf:
    """Makes each engine once. At most one model of the hub is in memory at a time. Thread-safe."""

    def __init__(
        self,
        settings: Settings,
        adapters_of: AdaptersOf = lambda _: None,
        machine: Callable[[], Machine] = this_machine,
    ) -> None:
        """`adapters_of` a loaded model is asked when it comes into memory."""
        self.settings = settings
        self._adapters_of = adapters_of
        self._machine = machine
        self._made: dict[str, Engine] = {}
        self._lock = threading.RLock()

    @property
    def names(self) -> tuple[str, ...]:
        return names()

    @cached_property
    def specs(self) -> dict[str, Spec]:
        """Models of the hub at the revisions that are set. Raises InvalidRequest for a setting that is none."""
        return specs(self.settings.revisions)

    @property
    def default(self) -> Engine:
        """The engine of `settings.model`; `auto`: the best that runs here with what is here.

        Raises InvalidRequest for a name that nothing has, ModelUnavailable.
        """
        return self.get(self.choose_default()[0], instead=self.settings.model == "auto")

    def choose_default(self) -> tuple[str, str]:
        """The name of the default engine, and why it is that one."""
        if self.settings.model != "auto":
            return self.settings.model, "As set."
        for choice in self.choices():
            if choice.name == NANO:
                continue
            if choice.runs and choice.here and self._machine().kind == "cuda":
                return choice.name, choice.why
        return NANO, "It runs on any processor, and no larger model is both here and fast enough."

    def get(self, name: str, instead: bool = False) -> Engine:
        """The engine called `name`. Raises InvalidRequest or, for nano, ModelUnavailable.

        `instead`: nano answers where a model of the hub cannot be loaded, and says so.
        """
        with self._lock:
            if name not in self._made:
                self._made[name] = self._make(name, instead)
            return self._made[name]

    def choices(self) -> tuple[Choice, ...]:
        """Every model with whether and how it runs here; looks at files and the device, loads nothing."""
        machine = self._machine()
        found = [Choice(NANO, NANO, True, True, "Runs on any processor.")]
        for name, spec in self.specs.items():
            here = find(spec.source, self.settings.cache_dir) is not None
            try:
                plan = choose(machine, spec.parameters, self.precision)
            except ModelUnavailable as failure:
                found.append(Choice(name, spec.card.title, False, here, failure.message))
                continue
            slow = " Expect minutes per page without a graphics card." if machine.kind == "cpu" else ""
            fetched = "" if here else f" {size(spec.download_bytes)} are fetched once."
            told = f"{plan.why} {size(plan.need_bytes)} of weights.{slow}{fetched}"
            found.append(Choice(name, spec.card.title, True, here, told))
        return tuple(found)

    @property
    def precision(self) -> Precision:
        """Raises InvalidRequest for a setting that is none."""
        if self.settings.precision not in get_args(Precision):
            known = ", ".join(get_args(Precision))
            raise InvalidRequest(
                f"There is no precision {self.settings.precision!r}.", f"Choose one of {known}."
            )
        value: Precision = self.settings.precision  # type: ignore[assignment]
        return value

    def _make(self, name: str, instead: bool) -> Engine:
        if name == NANO:
            return self._engine(load_nano(self.settings.assets_dir, self.settings.cache_dir))
        if name not in self.specs:
            raise InvalidRequest(f"There is no model {name!r}.", f"Choose one of {', '.join(names())}.")
        spec = self.specs[name]

        def load(tell: Tell, cancel: CancelToken) -> HFEngine:
            self._make_room(name)
            return self._engine(self._load(spec, tell, cancel))

        return HubEngine(spec.card, load, (lambda: self.get(NANO)) if instead else None)

    def _load(self, spec: Spec, tell: Tell, cancel: CancelToken) -> LoadedModel:
        # Before anything is fetched: a card that cannot hold the model is no reason to fill a disk.
        choose(self._machine(), spec.parameters, self.precision)
        return load_hub(spec, self.settings.cache_dir, self.settings.offline, self.precision, tell, cancel)

    def _engine(self, loaded: LoadedModel) -> HFEngine:
        # On a shared app nothing of a visitor's images outlives the process.
        folder = None if self.settings.demo else self.settings.data_dir / POOLED
        return HFEngine(loaded, adapters=self._adapters_of(loaded), pooled_folder=folder)

    def forget(self, shown: Callable[[Iterable[str]], set[str]]) -> None:
        """Have every engine let go of what it made from images that nobody has any more."""
        with self._lock:
            made = list(self._made.values())
        for engine in made:
            loaded = engine.loaded if isinstance(engine, HubEngine) else engine
            if isinstance(loaded, HFEngine):
                loaded.pooled.forget(shown)

    def _make_room(self, name: str) -> None:
        for other, engine in list(self._made.items()):
            if other != name and isinstance(engine, HubEngine) and engine.loaded is not None:
                engine.unload()
