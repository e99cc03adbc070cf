"""Many strips of writing read together: one prompt, one batch, each row ending when it is done."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import DynamicCache

from vlm_studio.core.cancel import CancelToken
from vlm_studio.core.documents import LineReading
from vlm_studio.model.encoding import Encoder, Pooled, pooled_key, stoppable
from vlm_studio.model.processor import FeedPlan, ModelInput, assemble
from vlm_studio.model.sampling import loops

if TYPE_CHECKING:
    from PIL.Image import Image

ROWS = 20
"""Pieces that are decoded together: the weights are read once for all of them."""
LONGEST = 96
"""Output tokens of one piece; a line of writing has fewer."""


@dataclass
class _Row:
    """A piece while it is read."""

    ids: list[int] = field(default_factory=list)
    logprob: float = 0.0
    looped: bool = False


class StripReader:
    """Reads strips with a loaded model. Used only under the engine's lock."""

    def __init__(self, loaded: Any, encoder: Encoder) -> None:
        self.loaded = loaded
        self.encoder = encoder

    def batches(self, strips: Sequence[Image]) -> Iterator[list[list[Image]]]:
        """The strips, each in its pieces, in groups of at most `ROWS` pieces; a strip is never parted."""
        group: list[list[Image]] = []
        for strip in strips:
            pieces = self.loaded.feeder.reading_images(strip)
            if group and sum(map(len, group)) + len(pieces) > ROWS:
                yield group
                group = []
            group.append(pieces)
        if group:
            yield group

    def read(
        self, strips: Sequence[Sequence[Image]], made_by: str, adapter: str, cancel: CancelToken
    ) -> list[LineReading]:
        """One reading per strip, with the adapter that is on the model. Raises Cancelled between tokens."""
        pieces = [piece for strip in strips for piece in strip]
        rows = self._rows(pieces, made_by, adapter, cancel)
        readings, at = [], 0
        for strip in strips:
            readings.append(self._joined(rows[at : at + len(strip)]))
            at += len(strip)
        return readings

    def _rows(self, pieces: Sequence[Image], made_by: str, adapter: str, cancel: CancelToken) -> list[_Row]:
        """All pieces decoded greedily side by side. Their prompts are of one length, so nothing is padded."""
        feeder, model = self.loaded.feeder, self.loaded.model
        given = [
            assemble(feeder, feeder.reading_text(), [_content(piece)], [piece], FeedPlan("off"))
            for piece in pieces
        ]
        fed = [replace(g.fed[0], number=at) for at, g in enumerate(given)]
        whole = ModelInput((), tuple(fed), tuple(pieces))
        with stoppable(model, cancel):
            features = self.encoder.encode(whole, fed, [pooled_key(f, made_by) for f in fed], cancel)
            lean = self.loaded.lean
            if lean is not None and not lean.adapt(adapter):
                lean = None
            cache = DynamicCache()
            ids = torch.tensor([g.ids for g in given], device=model.device)
            # Where steps are quick the prompts are: their keys and values are used by these steps alone.
            with lean.prompts if lean is not None else nullcontext():
                logits = self._forward(ids, ids.shape[1], cache, features)
        rows = [_Row() for _ in pieces]
        active = list(range(len(pieces)))
        if lean is not None:
            lean.begin(cache, LONGEST)
        for step in range(1, LONGEST + 1):
            cancel.raise_if_cancelled()
            active, places, chosen = self._choose(rows, active, logits)
            if not active or step == LONGEST:
                break
            fewer = len(places) < len(logits)
            tokens = [chosen[place] for place in places]
            if lean is not None:
                if fewer:
                    lean.keep_rows(places)
                logits = lean.step(tokens)
                continue
            if fewer:
                cache.batch_select_indices(torch.tensor(places, device=ids.device))
            column = torch.tensor(tokens, device=ids.device)[:, None]
            logits = self._forward(column, ids.shape[1] + step, cache, None)
        return rows

    def _choose(
        self, rows: Sequence[_Row], active: Sequence[int], logits: Tensor
    ) -> tuple[list[int], list[int], list[int]]:
        """Next token of each active row: (rows that go on, their places in the batch, all chosen tokens)."""
        scores = torch.log_softmax(logits, -1)
        allowed = scores.clone()
        allowed[:, list(self.loaded.never_ids)] = -torch.inf
        best = allowed.argmax(-1)
        sure = scores.gather(1, best[:, None])[:, 0].tolist()
        chosen: list[int] = best.tolist()
        on, places = [], []
        for place, (number, token) in enumerate(zip(active, chosen, strict=True)):
            row = rows[number]
            row.logprob += sure[place]
            if token in self.loaded.end_ids:
                continue
            row.ids.append(token)
            row.looped = loops(row.ids)
            if not row.looped:
                on.append(number)
                places.append(place)
        return on, places, chosen

    def _forward(self, ids: Tensor, length: int, cache: Any, features: Tensor | None) -> Tensor:
        output = self.loaded.model(
            input_ids=ids,
            attention_mask=torch.ones((ids.shape[0], length), dtype=torch.long, device=ids.device),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
            mm_encoder_outputs=None if features is None else {"image": Pooled([features])},
        )
        logits: Tensor = output.logits[:, -1].float()
        return logits

    def _joined(self, rows: Sequence[_Row]) -> LineReading:
        tokenizer = self.loaded.feeder.tokenizer
        texts = [tokenizer.decode(row.ids, skip_special_tokens=True).strip() for row in rows]
        count = sum(len(row.ids) + 1 for row in rows)
        warnings = ("It began to repeat itself and was stopped.",) if any(r.looped for r in rows) else ()
        return LineReading(
            text=" ".join(text for text in texts if text),
            confidence=math.exp(sum(row.logprob for row in rows) / count),
            reader=self.loaded.card.name,
            warnings=warnings,
        )


def _content(piece: Image) -> str:
    """What names the pixels of a piece in the cache of pooled tokens."""
    return hashlib.sha256(f"{piece.mode} {piece.size}".encode() + piece.tobytes()).hexdigest()
