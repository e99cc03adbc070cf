"""An inspection from every side: maps of words, pooled tokens and regions from the recording alone; gradients and the
honesty test with the model.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image

import vlm_studio.trace.honesty as honesty
import vlm_studio.trace.maps as maps
from vlm_studio.core.conversation import Ask, Variant
from vlm_studio.core.documents import Box
from vlm_studio.core.errors import InvalidRequest
from vlm_studio.core.inspections import Inspection
from vlm_studio.core.ports import Engine
from vlm_studio.core.sessions import KeptPage
from vlm_studio.core.traces import Area, HeatMap, Honesty, MaskedDrop, Trace
from vlm_studio.tasks.inspect import Inspections, ask_about, blank_logprobs, renamed
from vlm_studio.tasks.inspect_feed import fed_image, on_pages, prompt_words
from vlm_studio.trace.store_format import unpack

Of = Literal["answer", "question"]
Method = maps.Method
CURVE_STEPS = 8
_KEPT_LOOKS, _KEPT_GRADIENTS = 8, 32
_PAIRS: tuple[tuple[Area, int], ...] = (
    ("hot", 0),
    ("cold", 0),
    *(("random", seed) for seed in range(honesty.RANDOM_MASKS)),
    ("centre", 0),
    ("blank", 0),
)


@dataclass(frozen=True, slots=True)
class Chosen:
    """A word of the answer or of the question, and how to map it."""

    word: int
    of: Of = "answer"
    method: Method = "contrast"
    layers: tuple[int, ...] = ()
    """Indexes into the recorded layers; empty: all."""


@dataclass(frozen=True, slots=True)
class Look:
    """An inspection with its recording, crops on page pixels; crops are named by their page's image hash."""

    inspection: Inspection
    trace: Trace
    pages: tuple[KeptPage, ...]

    @property
    def question_words(self) -> list[tuple[str, int, int]]:
        return prompt_words(self.trace, self.inspection.question)

    def rows(self, chosen: Chosen) -> tuple[int, ...]:
        """Rows of the recording that belong to a word. Raises InvalidRequest."""
        if chosen.of == "question":
            spans = [(first, last) for _, first, last in self.question_words]
        else:
            spans = [(w.first_token, w.last_token) for w in self.inspection.words]
        if not 0 <= chosen.word < len(spans):
            raise InvalidRequest("This answer has no such word.", "Choose one of its words.")
        first, last = spans[chosen.word]
        return tuple(range(first, last + 1))


@dataclass(frozen=True, slots=True)
class Checked:
    """The honesty test of one map, with the masks that were tried: bool [rows, cols] over the page."""

    honesty: Honesty
    masks: tuple[tuple[Area, np.ndarray], ...]
    page_sha256: str


@dataclass(frozen=True, slots=True)
class Checking:
    """How far a test is, 0..1."""

    share: float


class Looking:
    """Every method takes the owner, and raises NotFound where the inspection is not theirs."""

    def __init__(self, inspections: Inspections) -> None:
        self.inspections = inspections
        self._looks: OrderedDict[tuple[str, str], Look] = OrderedDict()
        self._gradients: OrderedDict[tuple[str, str, int], Trace] = OrderedDict()
        self._lock = threading.Lock()

    def look(self, owner: str, inspection_id: str) -> Look:
        """Needs no model. Raises NotFound, TraceUnavailable, StoreError."""
        inspection = self.inspections.get(owner, inspection_id)
        with self._lock:
            known = self._looks.get((owner, inspection_id))
        if known is not None:
            return known
        trace = unpack(self.inspections.rows.trace(owner, inspection_id))
        pages = {page.id: page for page in self.inspections.pages(owner, inspection.session_id)}
        used = tuple(dict.fromkeys(f.page_id for f in inspection.fed))
        look = Look(inspection, trace, tuple(pages[page_id] for page_id in used))
        with self._lock:
            self._looks[owner, inspection_id] = look
            while len(self._looks) > _KEPT_LOOKS:
                self._looks.popitem(last=False)
        return look

    def heat(self, owner: str, inspection_id: str, chosen: Chosen) -> tuple[HeatMap, ...]:
        """A map for each page that was fed. Only the method ``gradient`` asks the model, once a word."""
        look = self.look(owner, inspection_id)
        trace = self._trace_for(owner, look, chosen)
        rows = look.rows(chosen)
        return tuple(
            maps.word_map(
                trace,
                rows,
                page.page.image_sha256,
                (page.page.height_px, page.page.width_px),
                chosen.method,
                chosen.layers or None,
            )
            for page in look.pages
        )

    def words_of_region(
        self, owner: str, inspection_id: str, region: Box, method: Method = "contrast"
    ) -> tuple[float, ...]:
        """For each word of the answer how much more of its map lies in `region` (pixels of its first page) than by chance."""
        look = self.look(owner, inspection_id)
        page = look.pages[0].page
        words = [(w.first_token, w.last_token) for w in look.inspection.words]
        return maps.words_of_region(
            look.trace,
            words,
            region,
            page.image_sha256,
            (page.height_px, page.width_px),
            "contrast" if method == "gradient" else method,
        )

    def check(
        self, owner: str, inspection_id: str, chosen: Chosen, curves: bool = False
    ) -> Iterator[Checking | Checked]:
        """Mask the hot area and others of the same size, and ask again each time. Steps, then the verdict.

        `curves` adds deletion and insertion, twice CURVE_STEPS questions more. Raises StudioError.
        """
        if chosen.of != "answer":
            raise InvalidRequest("Only words of the answer can be tested.", "Choose one of them.")
        look = self.look(owner, inspection_id)
        heat = self.heat(owner, inspection_id, chosen)[0]
        ask, images = self.again(owner, look)
        tester = _Tester(self.inspections.engine, ask, images, look, heat, look.rows(chosen))
        total = len(_PAIRS) + (2 * CURVE_STEPS if curves else 0)
        drops, masks = [], []
        for area, seed in _PAIRS:
            mask = tester.mask(area, honesty.SHARE, seed)
            share = 1.0 if area == "blank" else honesty.SHARE
            drops.append(MaskedDrop(area, share, tester.base - tester.logprob(mask)))
            masks.append((area, mask))
            yield Checking(len(drops) / total)
        deletion = insertion = None
        if curves:
            gone, back = [1.0], []
            for step in range(1, CURVE_STEPS + 1):
                mask = tester.mask("hot", step / CURVE_STEPS, 0)
                gone.append(tester.ratio(mask))
                yield Checking((len(drops) + 2 * step - 1) / total)
                back.append(tester.ratio(tester.fed & ~tester.mask("hot", step / (CURVE_STEPS + 1), 0)))
                yield Checking((len(drops) + 2 * step) / total)
            deletion = honesty.curve_area(gone)
            insertion = honesty.curve_area([tester.ratio(tester.fed), *back, 1.0])
        verdict = honesty.judged(drops, deletion, insertion)
        yield Checked(verdict, tuple(masks), heat.image_sha256)

    def _trace_for(self, owner: str, look: Look, chosen: Chosen) -> Trace:
        if chosen.of == "question":
            if chosen.method == "gradient":
                raise InvalidRequest(
                    "Gradients speak for words that were written.", "Choose a word of the answer."
                )
            return maps.of_prompt(look.trace)
        return self._gradient(owner, look, chosen) if chosen.method == "gradient" else look.trace

    def _gradient(self, owner: str, look: Look, chosen: Chosen) -> Trace:
        key = (owner, look.inspection.id, chosen.word)
        with self._lock:
            known = self._gradients.get(key)
        if known is not None:
            return known
        ask, images = self.again(owner, look)
        ids = [token.token_id for token in look.inspection.tokens]
        found = self.inspections.tracer.gradients(ask, images, ids, look.rows(chosen))
        sizes = {sha: image.size for sha, image in images.items()}
        names = {page.id: page.page.image_sha256 for page in look.pages}
        placed = on_pages(found, look.inspection.fed, sizes, names)
        with self._lock:
            self._gradients[key] = placed
            while len(self._gradients) > _KEPT_GRADIENTS:
                self._gradients.popitem(last=False)
        return placed

    def again(self, owner: str, look: Look) -> tuple[Ask, dict[str, Image.Image]]:
        """The question as it was asked. Raises InvalidRequest where another model is in place now."""
        made = look.inspection
        card = self.inspections.engine.card
        if card.name != made.model:
            raise InvalidRequest(
                f"This was answered by {made.model}, and {card.name} is loaded now.",
                "What was recorded can be looked at; for this view ask again.",
            )
        pages = {page.id: self.inspections.image(owner, page.id) for page in look.pages}
        images = {fed.sha256: fed_image(pages[fed.page_id], fed) for fed in made.fed}
        return ask_about(made.fed, made.question, Variant(made.model, adapter=made.adapter)), images


class _Tester:
    """One word under test: how likely it is with this or that hidden."""

    def __init__(
        self,
        engine: Engine,
        ask: Ask,
        images: Mapping[str, Image.Image],
        look: Look,
        heat: HeatMap,
        rows: Sequence[int],
    ) -> None:
        self._engine, self._ask, self._images = engine, ask, images
        self._look, self._rows = look, list(rows)
        # What comes after the word has no say in its probability.
        self._ids = [token.token_id for token in look.inspection.tokens[: max(rows) + 1]]
        self._page = next(page for page in look.pages if page.page.image_sha256 == heat.image_sha256)
        self._hw = (self._page.page.height_px, self._page.page.width_px)
        self._values = maps.raw_values(heat)
        boxes = [fed.box for fed in look.inspection.fed if fed.page_id == self._page.id]
        self.fed = honesty.fed_cells(boxes, self._hw, (heat.grid.shape[0], heat.grid.shape[1]))
        tokens = [look.inspection.tokens[row].logprob for row in self._rows]
        self.base = float(np.mean(tokens))

    def mask(self, area: Area, share: float, seed: int) -> np.ndarray:
        return honesty.area_mask(self._values, self.fed, area, share, seed)

    def ratio(self, mask: np.ndarray) -> float:
        """Of the word's probability that is left, per token."""
        return float(np.exp(self.logprob(mask) - self.base))

    def logprob(self, mask: np.ndarray) -> float:
        """Mean natural log-probability of the word's tokens with the masked cells painted over."""
        if mask.sum() == self.fed.sum():
            found = blank_logprobs(self._engine, self._ask, self._images, self._ids)
        else:
            found = self._engine.logprobs(*renamed(self._ask, self._painted(mask)), self._ids)
        return float(found[self._rows].mean())

    def _painted(self, mask: np.ndarray) -> Mapping[str, Image.Image]:
        boxes = {fed.sha256: fed for fed in self._look.inspection.fed}
        painted = {}
        for sha, image in self._images.items():
            if boxes[sha].page_id != self._page.id:
                painted[sha] = image
                continue
            pixels = honesty.hidden(np.asarray(image.convert("RGB")), mask, boxes[sha].box, self._hw)
            painted[sha] = Image.fromarray(pixels)
        return painted
