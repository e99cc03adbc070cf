"""Crops into pooled tokens: from memory, from disk, or through the vision tower."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from vlm_studio.core.cancel import CancelToken
from vlm_studio.model.cache import PooledCache
from vlm_studio.model.pooled_files import file_key
from vlm_studio.model.processor import FedCrop, Feeder, ModelInput, stacked

BATCH = 8
"""Crops of one size that go through the tower together."""


class Pooled:
    """What `mm_encoder_outputs` must look like for Idefics2: an object with the pooled tokens of each sample."""

    def __init__(self, pooler_output: list[Tensor]) -> None:
        self.pooler_output = pooler_output


def pooled_key(fed: FedCrop, made_by: str) -> str:
    """Names the image and all that a crop's pooled tokens depend on; `made_by`: weights, precision and adapter."""
    crop = fed.crop
    told = [made_by, crop.image_sha256, crop.kind, crop.box.as_list(3), crop.model_size_hw]
    return file_key(crop.image_sha256, hashlib.sha256(json.dumps(told).encode()).hexdigest())


class Encoder:
    """Pooled tokens of a request's crops. Used only under the engine's lock."""

    def __init__(self, model: Any, feeder: Feeder, pooled: PooledCache) -> None:
        self.model = model
        self.feeder = feeder
        self.pooled = pooled

    def encode(
        self,
        given: ModelInput,
        wanted: Sequence[FedCrop],
        keys: Sequence[str],
        cancel: CancelToken,
        fresh: bool = False,
        tell: Callable[[int, int], None] | None = None,
    ) -> Tensor | None:
        """(crops x tokens, hidden) of `wanted` in their order; None where there are none.

        `fresh`: every crop goes through the tower, for who watches it. Raises Cancelled between batches.
        """
        rows: list[Tensor | None] = [None if fresh else self.pooled.get(key) for key in keys]
        missing = [at for at, row in enumerate(rows) if row is None]
        for group in self._groups(missing, wanted):
            cancel.raise_if_cancelled()
            if tell is not None:
                tell(group[0] + 1, len(wanted))
            for at, row in zip(group, self._through(given, [wanted[at] for at in group]), strict=True):
                rows[at] = row
                self.pooled.put(keys[at], row)
        found = [row.to(self.model.device) for row in rows if row is not None]
        return torch.cat(found, 0) if found else None

    def _groups(self, places: Sequence[int], crops: Sequence[FedCrop]) -> Iterator[list[int]]:
        """`places` in order, in groups that are fed together: of one size, unless padding changes nothing."""
        group: list[int] = []
        for at in places:
            same = not group or (
                self.feeder.mixes or crops[group[0]].crop.model_size_hw == crops[at].crop.model_size_hw
            )
            if not same or len(group) == BATCH:
                yield group
                group = []
            group.append(at)
        if group:
            yield group

    def _through(self, given: ModelInput, crops: Sequence[FedCrop]) -> Sequence[Tensor]:
        """One row of pooled tokens per crop."""
        pixels, mask = (t.to(self.model.device) for t in stacked(self.feeder, given, crops))
        output = self.model.get_image_features(pixels, mask, return_dict=True)
        rows: Sequence[Tensor] = torch.cat(list(output.pooler_output), 0).split(self.feeder.image_seq_len)
        return rows


@contextmanager
def stoppable(model: Any, cancel: CancelToken) -> Iterator[None]:
    """Raises Cancelled between two layers of `model` once Stop was pressed: a long prompt need not end first."""

    def look(*_: Any) -> None:
        cancel.raise_if_cancelled()

    layers = [m for name, m in model.named_modules() if name.rpartition(".")[0].endswith("layers")]
    handles = [layer.register_forward_pre_hook(look) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
