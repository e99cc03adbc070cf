"""A kept trace gives the same maps, is small, and a foreign file is refused in one sentence."""

from __future__ import annotations

import io
import json
import zipfile

import numpy as np
import pytest

from vlm_studio.core.errors import TraceUnavailable
from vlm_studio.core.traces import PooledTokens, Trace
from vlm_studio.trace import maps, store_format
from vlm_studio.trace.geometry import page_crops

SHA = "a" * 64
PAGE = (1754, 1240)


def softmax_rows(shape: tuple[int, ...], seed: int) -> np.ndarray:
    noise = np.exp(3 * np.random.default_rng(seed).standard_normal(shape))
    return (noise / noise.sum(-1, keepdims=True)).astype(np.float16)


def large_trace(split: bool = True, tokens: int = 60, layers: int = 32) -> Trace:
    crops = page_crops(SHA, PAGE, split, 3)
    count, patches = len(crops), crops[0].grid_hw[0] * crops[0].grid_hw[1]
    pooled = PooledTokens(np.ones((count, 64, 64), np.float16), (3.0,) * count, (("é",) * 64,) * count)
    return Trace(
        perceiver=softmax_rows((count, 3, 64, patches), 1),
        decoder=softmax_rows((tokens, layers, 64 * count), 2),
        layer_ids=tuple(range(layers)),
        crops=crops,
        token_texts=("wörd",) * tokens,
        token_logprobs=(-0.5,) * tokens,
        model_id="8b",
        adapter="mine",
        perceiver_latents=softmax_rows((count, 3, 64, 64), 3),
        pooled=pooled,
        hidden=np.random.default_rng(4).uniform(-1, 1, (tokens, layers, 64 * count)).astype(np.float16),
    )


def test_a_small_trace_comes_back_as_it_was() -> None:
    trace = large_trace(split=False, tokens=4, layers=3)
    back = store_format.unpack(store_format.pack(trace, limit=10**9))
    assert (back.crops, back.layer_ids, back.token_texts) == (trace.crops, trace.layer_ids, trace.token_texts)
    assert back.adapter == "mine" and back.pooled is not None and back.pooled.says[0][0] == "é"
    for name in ("perceiver", "decoder", "perceiver_latents", "hidden"):
        kept, was = getattr(back, name).astype(float), getattr(trace, name).astype(float)
        assert np.abs(kept - was).max() <= 0.01 * np.abs(was).max(), name
    before, after = (maps.raw_values(maps.word_map(t, [1], SHA, PAGE)) for t in (trace, back))
    assert np.corrcoef(before.ravel(), after.ravel())[0, 1] > 0.999


def test_even_noise_of_the_8b_stays_within_two_megabytes_and_keeps_its_places() -> None:
    trace = large_trace()
    data = store_format.pack(trace)
    assert len(data) <= store_format.LIMIT_BYTES
    back = store_format.unpack(data)
    assert back.decoder.shape[0] == 60 and back.decoder.shape[1] == len(back.layer_ids) >= 4
    layers = [trace.layer_ids.index(i) for i in back.layer_ids]
    before = maps.raw_values(maps.word_map(trace, [1], SHA, PAGE, "rollout", layers))
    after = maps.raw_values(maps.word_map(back, [1], SHA, PAGE, "rollout"))
    assert after.sum() == pytest.approx(before.sum(), rel=0.02)
    tile = slice(0, before.shape[0] // 2)
    assert after[tile].sum() == pytest.approx(before[tile].sum(), rel=0.03)


def test_other_versions_and_other_files_are_refused() -> None:
    data = store_format.pack(large_trace(split=False, tokens=2, layers=2))
    with np.load(io.BytesIO(data)) as file:
        arrays = dict(file)
    head = json.loads(bytes(arrays["head"]).decode())
    head["version"] = 99
    arrays["head"] = np.frombuffer(json.dumps(head).encode(), dtype=np.uint8)
    newer = io.BytesIO()
    np.savez(newer, **arrays)
    with pytest.raises(TraceUnavailable, match="version 99"):
        store_format.unpack(newer.getvalue())
    pickled = io.BytesIO()
    np.savez(pickled, head=np.array([{"version": 1}], dtype=object))
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("head.npy", b"\0" * 250_000_000)
    for bad in (b"", b"PK", data[: len(data) // 2], pickled.getvalue(), bomb.getvalue()):
        with pytest.raises(TraceUnavailable, match="damaged"):
            store_format.unpack(bad)
