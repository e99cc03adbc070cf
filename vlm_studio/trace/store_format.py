"""A trace as a small file: versioned npz, at most 2 MB, read without any model and without trusting who wrote it.

Attention is kept in one byte a value: the square root of its share of the row's largest, so that small weights keep
their digits. What is still too large gets coarser: every second layer of the decoder, or patches two by two.
"""

from __future__ import annotations

import io
import json
import tokenize
import zipfile
import zlib
from dataclasses import replace
from typing import Any

import numpy as np

from vlm_studio.core.documents import Box
from vlm_studio.core.errors import TraceUnavailable
from vlm_studio.core.traces import TRACE_VERSION, Crop, PooledTokens, Trace

LIMIT_BYTES = 2_000_000
MIME = "application/vnd.vlm-studio.trace"
_UNPACKED_BYTES = 200_000_000
"""More than any trace of ours unpacks to."""
_FEW_LAYERS = 8
_DAMAGED = TraceUnavailable("This recording is damaged.", "Ask again to make a new one.")
_SHARES = ("perceiver", "perceiver_latents", "decoder", "prompt_decoder")
_COSINES = ("hidden",)


def pack(trace: Trace, limit: int = LIMIT_BYTES) -> bytes:
    """The file of a trace; coarser than it was where that is needed to stay within `limit` bytes."""
    while True:
        data = _packed(trace)
        smaller = _coarser(trace) if len(data) > limit else None
        if smaller is None:
            return data
        trace = smaller


_LARGEST = float(np.finfo(np.float16).max)
_BROKEN = (
    OSError, ValueError, KeyError, TypeError, IndexError, AttributeError, EOFError, MemoryError, NotImplementedError,
    RecursionError, RuntimeError, OverflowError, zipfile.BadZipFile, zlib.error, tokenize.TokenError,
)  # fmt: skip
"""What zipfile, numpy and json raise on spoilt bytes."""


def unpack(data: bytes) -> Trace:
    """Raises TraceUnavailable for a version that this app does not know, or a file that is no trace."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > _UNPACKED_BYTES:
                raise _DAMAGED
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            head = json.loads(bytes(file["head"]).decode())
            if head["version"] != TRACE_VERSION:
                raise TraceUnavailable(
                    f"This recording is of version {head['version']}; this app reads {TRACE_VERSION}.",
                    "Ask again to make a new one.",
                )
            arrays = {name: file[name] for name in file.files}
        return _trace(head, arrays)
    except TraceUnavailable:
        raise
    except _BROKEN as error:
        raise _DAMAGED from error


def _packed(trace: Trace) -> bytes:
    arrays: dict[str, np.ndarray] = {}
    for name in _SHARES:
        values = getattr(trace, name)
        if values is not None:
            arrays[name], arrays[f"{name}_top"] = _squeezed(values)
    for name in _COSINES:
        values = getattr(trace, name)
        if values is not None:
            arrays[name] = _bytes_of_cosine(values)
    pooled = trace.pooled
    if pooled is not None:
        arrays["similarity"] = _bytes_of_cosine(pooled.similarity)
    head = {
        "version": trace.version,
        "layer_ids": trace.layer_ids,
        "crops": [_crop_values(crop) for crop in trace.crops],
        "token_texts": trace.token_texts,
        "token_logprobs": trace.token_logprobs,
        "prompt_texts": trace.prompt_texts,
        "model_id": trace.model_id,
        "adapter": trace.adapter,
        "weighting": trace.weighting,
        "pooled": None
        if pooled is None
        else {"effective_rank": pooled.effective_rank, "says": pooled.says, "spells": pooled.spells},
    }
    arrays["head"] = np.frombuffer(json.dumps(head, ensure_ascii=False).encode(), dtype=np.uint8)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def _trace(head: dict[str, Any], arrays: dict[str, np.ndarray]) -> Trace:
    found: dict[str, Any] = {
        name: _restored(arrays[name], arrays[f"{name}_top"]) if name in arrays else None for name in _SHARES
    }
    for name in _COSINES:
        found[name] = _cosine_of_bytes(arrays[name]) if name in arrays else None
    pooled = None
    if head["pooled"] is not None:
        pooled = PooledTokens(
            _cosine_of_bytes(arrays["similarity"]),
            tuple(float(rank) for rank in head["pooled"]["effective_rank"]),
            tuple(tuple(str(word) for word in row) for row in head["pooled"]["says"]),
            tuple(tuple(str(letter) for letter in row) for row in head["pooled"]["spells"]),
        )
    return Trace(
        **found,
        layer_ids=tuple(int(i) for i in head["layer_ids"]),
        crops=tuple(_crop_of(values) for values in head["crops"]),
        token_texts=tuple(str(t) for t in head["token_texts"]),
        token_logprobs=tuple(float(v) for v in head["token_logprobs"]),
        prompt_texts=tuple(str(t) for t in head["prompt_texts"]),
        model_id=str(head["model_id"]),
        adapter=head["adapter"],
        version=int(head["version"]),
        pooled=pooled,
        weighting="gradient" if head["weighting"] == "gradient" else "attention",
    )


def _squeezed(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights (not negative) in bytes, and the largest of each row."""
    wide = values.astype(np.float32)
    top = wide.max(-1, keepdims=True) if wide.size else np.zeros((*wide.shape[:-1], 1), np.float32)
    shares = np.divide(wide, top, out=np.zeros_like(wide), where=top > 0)
    return np.round(np.sqrt(shares) * 255).astype(np.uint8), top


def _restored(squeezed: np.ndarray, top: np.ndarray) -> np.ndarray:
    if not bool((np.abs(top) <= _LARGEST).all()):
        raise ValueError("weights that are no numbers of ours")
    weights: np.ndarray = ((squeezed.astype(np.float32) / 255) ** 2 * top).astype(np.float16)
    return weights


def _bytes_of_cosine(values: np.ndarray) -> np.ndarray:
    return np.round(np.clip(values.astype(np.float32), -1, 1) * 127).astype(np.int8)


def _cosine_of_bytes(values: np.ndarray) -> np.ndarray:
    cosine: np.ndarray = (values.astype(np.float32) / 127).astype(np.float16)
    return cosine


def _coarser(trace: Trace) -> Trace | None:
    """The larger of the two recordings halved or quartered; None where neither can be any coarser."""
    layers = len(trace.layer_ids)
    grid = min((min(crop.patch_hw) for crop in trace.crops), default=0)
    may_thin, may_pool = layers > _FEW_LAYERS, grid >= 4
    if may_thin and (trace.decoder.size * 2 > trace.perceiver.size or not may_pool):
        return _fewer_layers(trace)
    return _larger_patches(trace) if may_pool else None


def _fewer_layers(trace: Trace) -> Trace:
    def every_second(values: np.ndarray | None) -> np.ndarray | None:
        return None if values is None else values[:, 1::2]

    return replace(
        trace,
        decoder=trace.decoder[:, 1::2],
        prompt_decoder=every_second(trace.prompt_decoder),
        hidden=every_second(trace.hidden),
        layer_ids=trace.layer_ids[1::2],
    )


def _larger_patches(trace: Trace) -> Trace:
    """Patches two by two: their weights are added, so that nothing of them is lost but the place."""
    pooled, crops = [], []
    for index, crop in enumerate(trace.crops):
        rows, cols = crop.grid_hw
        grid = trace.perceiver[index, ..., : rows * cols].astype(np.float32)
        grid = grid.reshape(*grid.shape[:-1], rows, cols)
        grid = np.pad(grid, [(0, 0)] * (grid.ndim - 2) + [(0, rows % 2), (0, cols % 2)])
        high, wide = grid.shape[-2] // 2, grid.shape[-1] // 2
        pooled.append(grid.reshape(*grid.shape[:-2], high, 2, wide, 2).sum((-3, -1)))
        crops.append(
            replace(
                crop,
                grid_hw=(high, wide),
                patch_hw=((crop.patch_hw[0] + 1) // 2, (crop.patch_hw[1] + 1) // 2),
                patch_px=None if crop.patch_px is None else (crop.patch_px[0] * 2, crop.patch_px[1] * 2),
            )
        )
    width = max(kept.shape[-2] * kept.shape[-1] for kept in pooled)
    perceiver = np.zeros((*trace.perceiver.shape[:-1], width), dtype=np.float16)
    for index, kept in enumerate(pooled):
        perceiver[index, ..., : kept.shape[-2] * kept.shape[-1]] = kept.reshape(*kept.shape[:-2], -1)
    return replace(trace, perceiver=perceiver, crops=tuple(crops))


def _crop_values(crop: Crop) -> dict[str, Any]:
    return {
        "image": crop.image_sha256, "ordinal": crop.ordinal, "kind": crop.kind, "box": crop.box.as_list(3),
        "patch_hw": crop.patch_hw, "grid_hw": crop.grid_hw, "tokens": crop.token_positions,
        "size_hw": crop.model_size_hw, "patch_px": crop.patch_px,
    }  # fmt: skip


def _crop_of(values: dict[str, Any]) -> Crop:
    def pair(name: str) -> tuple[int, int]:
        first, second = values[name]
        return int(first), int(second)

    kind = values["kind"]
    if kind not in {"tile", "whole", "strip"}:
        raise ValueError(kind)
    return Crop(
        image_sha256=str(values["image"]),
        ordinal=int(values["ordinal"]),
        kind=kind,
        box=Box(*(float(v) for v in values["box"])),
        patch_hw=pair("patch_hw"),
        grid_hw=pair("grid_hw"),
        token_positions=pair("tokens"),
        model_size_hw=pair("size_hw"),
        patch_px=None if values["patch_px"] is None else pair("patch_px"),
    )
