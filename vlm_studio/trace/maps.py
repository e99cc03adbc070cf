"""From recorded weights to pictures of where they lie: arrays in, arrays out, nothing loaded.

Grids of patches are put back on the pixels of the image they came from. Weights are mass: putting a grid
back never makes more or less of it, whatever the resolution (`place`), so maps of several crops can be added.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, get_args

import numpy as np

from vlm_studio.core.documents import Box
from vlm_studio.core.errors import InvalidRequest, TraceUnavailable
from vlm_studio.core.traces import Crop, HeatMap, Trace

Method = Literal["contrast", "rollout", "raw", "gradient", "hidden"]
METHODS: tuple[str, ...] = get_args(Method)
MAP_SIDE = 224
"""Longest side of a heat map in cells."""


# --- patches back to pixels ---------------------------------------------------------------------------


def cut(flat: np.ndarray, crop: Crop) -> np.ndarray:
    """[..., padded patches] -> [..., rows, cols] of the real ones."""
    rows, cols = crop.grid_hw
    real_rows, real_cols = crop.patch_hw
    return flat[..., : rows * cols].reshape(*flat.shape[:-1], rows, cols)[..., :real_rows, :real_cols]


def patch_edges(crop: Crop) -> tuple[np.ndarray, np.ndarray]:
    """Edges of the patch rows and columns in pixels of the original image: [rows + 1], [cols + 1]."""
    edges = []
    for axis, (start, extent) in enumerate(
        ((crop.box.top, crop.box.height), (crop.box.left, crop.box.width))
    ):
        count, fed = crop.patch_hw[axis], crop.model_size_hw[axis]
        step = crop.patch_px[axis] if crop.patch_px is not None else fed / count
        places = np.minimum(np.arange(count + 1) * step, fed) / fed
        edges.append(start + places * extent)
    return edges[0], edges[1]


def spread(edges: np.ndarray, length: float, cells: int) -> np.ndarray:
    """[cells, patches] share of each patch that falls into each of `cells` cells over `length` pixels."""
    borders = np.linspace(0.0, length, cells + 1)
    low = np.maximum(borders[:-1, None], edges[None, :-1])
    high = np.minimum(borders[1:, None], edges[None, 1:])
    widths = np.maximum(edges[1:] - edges[:-1], 1e-9)
    shares: np.ndarray = np.clip(high - low, 0.0, None) / widths
    return shares


def cells_of(image_hw: tuple[int, int], side: int = MAP_SIDE) -> tuple[int, int]:
    """Rows and columns of a map of this image: at most one cell a pixel, `side` on the longer edge."""
    scale = min(1.0, side / max(image_hw))
    return max(1, round(image_hw[0] * scale)), max(1, round(image_hw[1] * scale))


def place(
    grids: Sequence[np.ndarray], crops: Sequence[Crop], image_hw: tuple[int, int], side: int = MAP_SIDE
) -> np.ndarray:
    """Sum of each crop's grid [rows, cols] spread over the pixels it shows: [cells high, cells wide] float64.

    The sum of the result is the sum of the grids: mass is kept.
    """
    rows, cols = cells_of(image_hw, side)
    total = np.zeros((rows, cols))
    for grid, crop in zip(grids, crops, strict=True):
        row_edges, col_edges = patch_edges(crop)
        down, across = spread(row_edges, image_hw[0], rows), spread(col_edges, image_hw[1], cols)
        total += down @ grid.astype(np.float64) @ across.T
    return total


def heat_map(values: np.ndarray, image_sha256: str, label: str) -> HeatMap:
    """Scaled to 0..1 for a picture; the raw range stays beside it."""
    low, high = float(values.min()), float(values.max())
    scaled = (values - low) / (high - low) if high > low else np.zeros_like(values)
    return HeatMap(image_sha256, scaled.astype(np.float32), low, high, label)


def raw_values(heat: HeatMap) -> np.ndarray:
    """The values before scaling."""
    values: np.ndarray = heat.grid.astype(np.float64) * (heat.raw_max - heat.raw_min) + heat.raw_min
    return values


# --- what each pooled token keeps -----------------------------------------------------------------------


def compose(patches: np.ndarray, latents: np.ndarray | None) -> np.ndarray:
    """Follow the perceiver's layers back to the patches: [latent, patch], rows sum to 1 (or are all 0).

    `patches` [layer, latent, patch] and `latents` [layer, latent, latent] are the two parts of each layer's
    attention. The latents begin as constants, so nothing comes from patches at first, and after each layer
    R <- (I + S) R + P with rows normalised: attention rollout (Abnar and Zuidema, 2020) for a resampler.
    """
    relevance = np.zeros(patches.shape[1:], dtype=np.float64)
    for layer, taken in enumerate(patches.astype(np.float64)):
        kept = relevance
        if latents is not None:
            kept = relevance + latents[layer].astype(np.float64) @ relevance
        relevance = normalised(kept + taken)
    return relevance


def normalised(rows: np.ndarray) -> np.ndarray:
    """Rows divided by their sums; empty rows stay 0."""
    sums = rows.sum(-1, keepdims=True)
    shares: np.ndarray = np.divide(rows, sums, out=np.zeros_like(rows), where=sums > 0)
    return shares


def token_patches(trace: Trace, crop: int, layer: int | None = None) -> np.ndarray:
    """What each pooled token of a crop took from its real patches: [latent, rows, cols], each sums to 1.

    `layer` None follows all perceiver layers (`compose`); a number shows that layer alone.
    """
    _need_perceiver(trace)
    if layer is None:
        latents = None if trace.perceiver_latents is None else trace.perceiver_latents[crop]
        flat = compose(trace.perceiver[crop], latents)
    else:
        flat = normalised(trace.perceiver[crop, layer].astype(np.float64))
    return cut(flat, trace.crops[crop])


def coverage(kept: np.ndarray) -> np.ndarray:
    """[rows, cols]: how much all tokens together took from each patch, 1 = an even share."""
    total = kept.sum(0)
    mean = total.mean()
    even: np.ndarray = total / mean if mean > 0 else total
    return even


def forgotten_share(kept: np.ndarray, below: float = 0.2) -> float:
    """Share of patches from which the tokens took less than `below` of an even share."""
    return float((coverage(kept) < below).mean())


def similarity(pooled: np.ndarray) -> np.ndarray:
    """Cosine of every two pooled tokens: [..., latent, size] -> [..., latent, latent]."""
    values = pooled.astype(np.float64)
    lengths = np.linalg.norm(values, axis=-1, keepdims=True)
    unit = np.divide(values, lengths, out=np.zeros_like(values), where=lengths > 0)
    cosine: np.ndarray = unit @ np.swapaxes(unit, -1, -2)
    return cosine


def effective_rank(pooled: np.ndarray) -> float:
    """How many directions [latent, size] really uses: exp of the entropy of its singular values, 1..latents.

    Roy and Vetterli, "The effective rank", 2007.
    """
    spectrum = np.linalg.svd(pooled.astype(np.float64), compute_uv=False)
    total = spectrum.sum()
    if total <= 0:
        return 1.0
    shares = spectrum[spectrum > 0] / total
    return float(np.exp(-(shares * np.log(shares)).sum()))


# --- words to pixels ------------------------------------------------------------------------------------


def word_weights(
    trace: Trace, tokens: Sequence[int], method: Method, layers: Sequence[int] | None = None
) -> np.ndarray:
    """How much the decoder took from each pooled token for these output tokens: [image token], sums to 1.

    ``contrast`` divides by what all output tokens took from it: places that every word looks at (attention
    sinks) fall away, and what is special to this word stays. ``hidden`` looks at no attention: it compares what the
    model had in mind at the word and at each image token. `layers` are indexes into the recorded ones.
    """
    if method == "hidden":
        return _hidden_weights(trace, tokens, layers)
    if not trace.decoder.size:
        raise TraceUnavailable(
            "No attention on the image was recorded for this answer.",
            "Run it again with recording switched on.",
        )
    _need_word(tokens, trace.decoder.shape[0])
    attention = trace.decoder.astype(np.float64)
    if layers is not None:
        attention = attention[:, list(layers)]
    chosen = attention[list(tokens)]
    if method == "contrast" and trace.decoder.shape[0] > len(tokens):
        # Layer by layer: one with strong sinks must not drown one that follows the writing.
        usual = attention.mean(0)
        chosen = np.clip(chosen / np.maximum(usual, 1e-9) - 1.0, 0.0, None) * np.sqrt(np.maximum(usual, 0.0))
    return normalised(np.clip(chosen.mean((0, 1)), 0.0, None))


def _hidden_weights(trace: Trace, tokens: Sequence[int], layers: Sequence[int] | None) -> np.ndarray:
    if trace.hidden is None:
        raise TraceUnavailable("Hidden states were not recorded for this answer.", "Choose another method.")
    _need_word(tokens, trace.hidden.shape[0])
    alike = trace.hidden[list(tokens)].astype(np.float64)
    if layers is not None:
        alike = alike[:, list(layers)]
    return normalised(np.clip(alike.mean((0, 1)), 0.0, None))


def _need_word(tokens: Sequence[int], count: int) -> None:
    if not tokens or min(tokens) < 0 or max(tokens) >= count:
        raise InvalidRequest("This answer has no such word.", "Choose one of its words.")


def of_prompt(trace: Trace) -> Trace:
    """The same trace for the words of the prompt after its last image, as if they had been the answer.

    Raises TraceUnavailable where they were not recorded.
    """
    if trace.prompt_decoder is None or not trace.prompt_decoder.size:
        raise TraceUnavailable("The question's words were not recorded.", "Choose a word of the answer.")
    return replace(trace, decoder=trace.prompt_decoder, hidden=None, token_texts=trace.prompt_texts)


def word_map(
    trace: Trace,
    tokens: Sequence[int],
    image_sha256: str,
    image_hw: tuple[int, int],
    method: Method = "contrast",
    layers: Sequence[int] | None = None,
    side: int = MAP_SIDE,
) -> HeatMap:
    """Where on one image these output tokens came from, through decoder and perceiver, over all its crops."""
    _need_perceiver(trace)
    weights = word_weights(trace, tokens, method, layers)
    spans = token_spans(trace.crops)
    grids, used = [], []
    for index, crop in enumerate(trace.crops):
        if crop.image_sha256 != image_sha256:
            continue
        last = trace.perceiver.shape[1] - 1
        kept = token_patches(trace, index, last if method == "raw" else None)
        start, stop = spans[index]
        grids.append(np.tensordot(weights[start:stop], kept, axes=1))
        used.append(crop)
    if not used:
        raise InvalidRequest("The model was not given this image.", "Choose an image of this run.")
    return heat_map(place(grids, used, image_hw, side), image_sha256, method)


def words_of_region(
    trace: Trace,
    words: Sequence[tuple[int, int]],
    region: Box,
    image_sha256: str,
    image_hw: tuple[int, int],
    method: Method = "contrast",
) -> tuple[float, ...]:
    """For each word (first, last token) the share of its map inside `region` over the region's share of the
    image: 1 is chance, more means that the word came from there."""
    inside = box_mask(region, image_hw, cells_of(image_hw))
    fair = max(float(inside.mean()), 1e-9)
    return tuple(
        mass_inside(
            raw_values(word_map(trace, range(first, last + 1), image_sha256, image_hw, method)), inside
        )
        / fair
        for first, last in words
    )


def tokens_of_region(kept: np.ndarray, crop: Crop, region: Box) -> np.ndarray:
    """[latent] share of each pooled token of a crop that lies inside `region` (original pixels), 0..1."""
    rows, cols = patch_edges(crop)
    down = _overlap(rows, region.top, region.bottom)
    across = _overlap(cols, region.left, region.right)
    shares: np.ndarray = np.einsum("lrc,r,c->l", kept, down, across)
    return shares


def token_spans(crops: Sequence[Crop]) -> tuple[tuple[int, int], ...]:
    """Start, stop of each crop on the image-token axis of `Trace.decoder`: crops in order, no gaps."""
    spans, start = [], 0
    for crop in crops:
        stop = start + crop.token_positions[1] - crop.token_positions[0]
        spans.append((start, stop))
        start = stop
    return tuple(spans)


# --- measuring a map ------------------------------------------------------------------------------------


def box_mask(box: Box, image_hw: tuple[int, int], cells: tuple[int, int]) -> np.ndarray:
    """[rows, cols] share of each cell that lies inside `box`, 0..1."""
    rows = np.linspace(0.0, image_hw[0], cells[0] + 1)
    cols = np.linspace(0.0, image_hw[1], cells[1] + 1)
    return np.outer(_overlap(rows, box.top, box.bottom), _overlap(cols, box.left, box.right))


def mass_inside(values: np.ndarray, inside: np.ndarray) -> float:
    """Share of the mass of a map (not negative) within a mask, 0..1."""
    total = float(values.sum())
    return float((values * inside).sum()) / total if total > 0 else 0.0


def points_inside(values: np.ndarray, inside: np.ndarray) -> bool:
    """The pointing game: whether the hottest cell lies in the box."""
    return bool(inside.flat[int(values.argmax())] >= 0.5)


def centre_map(cells: tuple[int, int]) -> np.ndarray:
    """A bell over the middle, a sixth of each side wide: it knows only how people frame their photos."""
    rows, cols = ((np.arange(n) + 0.5) / n - 0.5 for n in cells)
    return np.outer(np.exp(-0.5 * (rows * 6) ** 2), np.exp(-0.5 * (cols * 6) ** 2))


def random_map(cells: tuple[int, int], patches: tuple[int, int], seed: int) -> np.ndarray:
    """Independent values on a grid of `patches`, blown up to `cells`: as coarse as a real map, no sense."""
    values = np.random.default_rng(seed).random(patches)
    rows = np.arange(cells[0]) * patches[0] // cells[0]
    cols = np.arange(cells[1]) * patches[1] // cells[1]
    blown: np.ndarray = values[rows][:, cols]
    return blown


def hottest(values: np.ndarray, share: float) -> np.ndarray:
    """Bool mask of the `share` (0..1) hottest cells, at least one; ties go by place: the size is exact."""
    count = max(1, round(values.size * share))
    mask = np.zeros(values.size, dtype=bool)
    mask[np.argsort(values, axis=None, kind="stable")[::-1][:count]] = True
    return mask.reshape(values.shape)


def _overlap(edges: np.ndarray, low: float, high: float) -> np.ndarray:
    """Share of each interval between `edges` that lies in low..high."""
    common = np.minimum(edges[1:], high) - np.maximum(edges[:-1], low)
    shares: np.ndarray = np.clip(common, 0.0, None) / np.maximum(edges[1:] - edges[:-1], 1e-9)
    return shares


def _need_perceiver(trace: Trace) -> None:
    if not trace.perceiver.size:
        raise TraceUnavailable(
            "What the pooled tokens looked at was not recorded.", "Run it again with recording switched on."
        )
