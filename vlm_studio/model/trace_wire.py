"""A Trace as JSON and back: arrays as base64 with their type and shape, checked on the way in."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from vlm_studio.core.documents import Box
from vlm_studio.core.errors import TraceUnavailable
from vlm_studio.core.traces import TRACE_VERSION, Crop, PooledTokens, Trace

MAX_BYTES = 512 * 1024**2
_TYPES = ("float16", "float32")


def trace_to_json(trace: Trace) -> dict[str, Any]:
    latents, pooled = trace.perceiver_latents, trace.pooled
    return {
        "version": trace.version,
        "model_id": trace.model_id,
        "adapter": trace.adapter,
        "weighting": trace.weighting,
        "layer_ids": list(trace.layer_ids),
        "token_texts": list(trace.token_texts),
        "token_logprobs": list(trace.token_logprobs),
        "crops": [{**asdict(crop), "box": crop.box.as_list(3)} for crop in trace.crops],
        "perceiver": _array_to_json(trace.perceiver),
        "decoder": _array_to_json(trace.decoder),
        "perceiver_latents": None if latents is None else _array_to_json(latents),
        "pooled": None
        if pooled is None
        else {
            "similarity": _array_to_json(pooled.similarity),
            "effective_rank": list(pooled.effective_rank),
            "says": [list(words) for words in pooled.says],
        },
    }


def trace_from_json(value: Mapping[str, Any]) -> Trace:
    """Raises TraceUnavailable for another version and for anything malformed."""
    if value.get("version") != TRACE_VERSION:
        raise TraceUnavailable("The server records in another format.", "Update the older of the two.")
    try:
        latents, pooled = value.get("perceiver_latents"), value.get("pooled")
        return Trace(
            perceiver=_array(value["perceiver"]),
            decoder=_array(value["decoder"]),
            layer_ids=tuple(int(n) for n in value["layer_ids"]),
            crops=tuple(_crop(crop) for crop in value["crops"]),
            token_texts=tuple(str(t) for t in value["token_texts"]),
            token_logprobs=tuple(float(p) for p in value["token_logprobs"]),
            model_id=str(value["model_id"]),
            adapter=None if value.get("adapter") is None else str(value["adapter"]),
            perceiver_latents=None if latents is None else _array(latents),
            pooled=None if pooled is None else _pooled(pooled),
            weighting="gradient" if value.get("weighting") == "gradient" else "attention",
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise TraceUnavailable("The server's recording is damaged.", "Ask again.") from error


def _array_to_json(array: np.ndarray) -> dict[str, Any]:
    plain = np.ascontiguousarray(array, dtype=array.dtype if array.dtype.name in _TYPES else np.float32)
    data = base64.b64encode(plain.tobytes()).decode("ascii")
    return {"dtype": plain.dtype.name, "shape": list(plain.shape), "data": data}


def _array(value: Mapping[str, Any]) -> np.ndarray:
    shape = [int(n) for n in value["shape"]]
    if value["dtype"] not in _TYPES or len(shape) > 5 or any(n < 0 for n in shape):
        raise ValueError("not an array of ours")
    kind = np.dtype(value["dtype"])
    if math.prod(shape) * kind.itemsize > MAX_BYTES:
        raise ValueError("too large")
    data = base64.b64decode(value["data"], validate=True)
    return np.frombuffer(data, kind).reshape(shape).copy()


def _crop(value: Mapping[str, Any]) -> Crop:
    patch = value.get("patch_px")
    return Crop(
        image_sha256=str(value["image_sha256"]),
        ordinal=int(value["ordinal"]),
        kind=value["kind"] if value["kind"] in {"tile", "whole"} else "strip",
        box=Box(*(float(v) for v in value["box"])),
        patch_hw=_pair(value["patch_hw"]),
        grid_hw=_pair(value["grid_hw"]),
        token_positions=_pair(value["token_positions"]),
        model_size_hw=_pair(value["model_size_hw"]),
        patch_px=None if patch is None else _pair(patch),
    )


def _pair(value: Any) -> tuple[int, int]:
    first, second = value
    return int(first), int(second)


def _pooled(value: Mapping[str, Any]) -> PooledTokens:
    return PooledTokens(
        similarity=_array(value["similarity"]),
        effective_rank=tuple(float(r) for r in value["effective_rank"]),
        says=tuple(tuple(str(word) for word in words) for words in value["says"]),
    )
