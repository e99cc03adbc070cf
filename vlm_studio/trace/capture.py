"""Watching a model while it answers: hooks that reduce what they see at once, and are gone afterwards.

While a recorder watches, attention runs through a function of ours that computes exactly what the model's own
`sdpa` computes and, beside it, only the rows that are kept: all 64 latents of the perceiver, and the newest token
of the decoder. So an answer is the same with and without a recorder, and no (tokens x tokens) matrix is ever made.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np
import torch
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from vlm_studio.core.errors import TraceUnavailable
from vlm_studio.core.traces import Crop, PooledTokens, Trace
from vlm_studio.trace.maps import effective_rank, similarity

TRACED = "vlm_studio_traced"

_PERCEIVER = re.compile(r"(^|\.)perceiver_resampler\.layers\.\d+\.self_attn$")
_RESAMPLER = re.compile(r"(^|\.)perceiver_resampler$")
_DECODER = re.compile(r"(^|\.)text_model\.layers\.\d+\.self_attn$")
_PARTS = ("perceiver_config", "text_config")
_switching = threading.Lock()
_last_rows: ContextVar[int] = ContextVar("last_rows", default=1)
"""How many of the last rows of a causal pass are kept."""


def traced_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    """`sdpa`, and the weights of the rows that a recorder keeps.

    query (b, heads, q, d), key and value (b, kv heads, k, d) -> output (b, q, heads, d), weights (b, heads, r, k):
    r is q where attention is not causal; where it is, only the last row is kept, or the last few in a forced pass.
    """
    output, _ = sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
    is_causal = kwargs.get("is_causal")
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    last = _last_rows.get()
    rows = query[:, :, -last:] if causal else query
    mask = attention_mask
    if mask is not None and causal:
        mask = mask[:, :, -last:]
    elif causal and rows.shape[2] > 1:
        mask = _causal(rows.shape[2], key.shape[2], key.device)
    return output, attention_weights(rows, key, mask, scaling)


def _causal(rows: int, keys: int, device: torch.device) -> torch.Tensor:
    """Bool (1, 1, rows, keys): each of the last `rows` places sees itself and what is before; `sdpa` needs no such mask."""
    places = torch.arange(keys, device=device)
    return (places[None] <= places[keys - rows :, None])[None, None]


def attention_weights(
    query: torch.Tensor, key: torch.Tensor, mask: torch.Tensor | None, scaling: float | None
) -> torch.Tensor:
    """softmax(q k^T x scaling + mask) in float32: (b, heads, q, d), (b, kv heads, k, d) -> (b, heads, q, k).

    `mask` is boolean (True: may look) or added to the scores, as the models of transformers have it.
    """
    keys = repeat_kv(key, query.shape[1] // key.shape[1])
    factor = query.shape[-1] ** -0.5 if scaling is None else scaling
    scores = torch.matmul(query, keys.transpose(2, 3)).float() * factor
    if mask is not None:
        mask = mask[..., : scores.shape[-1]]
        if mask.dtype == torch.bool:
            scores = scores.masked_fill(~mask, torch.finfo(torch.float32).min)
        else:
            scores = scores + mask.float()
    return torch.softmax(scores, dim=-1)


@contextmanager
def traced(model: Any, rows: int = 1) -> Iterator[None]:
    """Perceiver and decoder of `model` run through `traced_attention` inside, and as before afterwards."""
    last = _last_rows.set(rows)
    with _switching:
        AttentionInterface.register(TRACED, traced_attention)
        AttentionMaskInterface.register(TRACED, sdpa_mask)
    try:
        with _attention(model, TRACED):
            yield
    finally:
        _last_rows.reset(last)


@contextmanager
def _attention(model: Any, name: str) -> Iterator[None]:
    """Perceiver and decoder use the attention `name` inside.

    Each module goes by the configuration it was built with, and a language model that was put in its place later
    (nano's) has one of its own: not that of `model.config`.
    """
    configs = [getattr(model.config, part) for part in _PARTS]
    configs += [m.config for n, m in model.named_modules() if _PERCEIVER.search(n) or _DECODER.search(n)]
    before = [(config, config._attn_implementation) for config in {id(c): c for c in configs}.values()]
    try:
        for config, _ in before:
            config._attn_implementation = name
        yield
    finally:
        for config, was in before:
            config._attn_implementation = was


class AttentionRecorder:
    """The `Recorder` port. One recorder watches one generation; `result` is there after it, also when cut short.

    `decode` turns one token id into text, for what each pooled token says; without it that is left out.
    `rows`: how many of the last words of a pass are watched, for a text that is fed whole (trace/forced.py).
    """

    def __init__(
        self,
        model_id: str = "",
        adapter: str | None = None,
        decode: Callable[[int], str] | None = None,
        rows: int = 1,
    ) -> None:
        self.model_id = model_id
        self.adapter = adapter
        self._decode = decode
        self._last = rows
        self._crops: tuple[Crop, ...] = ()
        self._columns: np.ndarray = np.zeros(0, dtype=np.int64)
        self._latents = 0
        self._patches: dict[int, list[np.ndarray]] = {}
        self._between: dict[int, list[np.ndarray]] = {}
        self._pooled: list[np.ndarray] = []
        self._says: list[tuple[str, ...]] = []
        self._rows: dict[int, list[np.ndarray]] = {}
        self._words: torch.Tensor | None = None
        self._watched = False

    @contextmanager
    def watch(self, model: Any, crops: Sequence[Crop]) -> Iterator[None]:
        """Hooks on from here to the end of the block, whatever ends it."""
        plain = base_model(model)
        self._begin(crops)
        if self._decode is not None:
            self._words = plain.get_input_embeddings().weight
        handles = []
        try:
            for name, module in plain.named_modules():
                handles += self._attach(name, module)
            with traced(plain, self._last):
                yield
        finally:
            for handle in handles:
                handle.remove()
            self._words = None
            self._watched = True

    def result(self) -> Trace | None:
        """What was recorded; None where no image went through the model. Valid after `watch` has ended."""
        if not self._watched or not self._crops or not (self._rows or self._patches):
            return None
        perceiver, between = self._perceiver_arrays()
        layers = tuple(sorted(self._rows))
        rows = [np.stack(self._rows[layer]) for layer in layers]
        steps = min((len(r) for r in rows), default=0)
        decoder = np.stack([r[:steps] for r in rows], axis=1) if steps else _nothing(3)
        return Trace(
            perceiver=perceiver,
            decoder=decoder,
            layer_ids=layers,
            crops=self._crops,
            token_texts=(),
            token_logprobs=(),
            model_id=self.model_id,
            adapter=self.adapter,
            perceiver_latents=between,
            pooled=self._pooled_tokens(),
        )

    def _attach(self, name: str, module: Any) -> list[Any]:
        """Hooks for one module of the model; empty for most."""
        if _PERCEIVER.search(name):
            return [module.register_forward_hook(self._on_perceiver(layer_number(name)))]
        if _RESAMPLER.search(name):
            return [module.register_forward_hook(self._on_pooled)]
        if _DECODER.search(name):
            watch = self._on_decoder(layer_number(name))
            return [module.register_forward_hook(watch, with_kwargs=True)]
        return []

    def _begin(self, crops: Sequence[Crop]) -> None:
        self._crops = tuple(crops)
        self._columns = np.concatenate(
            [np.arange(*crop.token_positions) for crop in crops] or [np.zeros(0, dtype=np.int64)]
        )
        self._patches, self._between, self._rows = {}, {}, {}
        self._pooled, self._says = [], []
        self._watched = False

    def _on_perceiver(self, layer: int) -> Callable[..., None]:
        def hook(module: Any, args: Any, output: Any) -> None:
            weights = output[1].detach().mean(1)  # (crops, latents, patches + latents)
            latents = weights.shape[1]
            kept = weights.to(torch.float16).cpu().numpy()
            self._patches.setdefault(layer, []).extend(kept[:, :, :-latents])
            self._between.setdefault(layer, []).extend(kept[:, :, -latents:])

        return hook

    def _on_pooled(self, module: Any, args: Any, output: Any) -> None:
        pooled = output.detach()
        self._pooled += list(pooled.float().cpu().numpy())
        if self._words is not None and self._decode is not None:
            nearest = nearest_words(pooled.flatten(0, 1), self._words).reshape(pooled.shape[:2])
            self._says += [tuple(self._decode(int(i)) for i in row) for row in nearest]

    def _on_decoder(self, layer: int) -> Callable[..., None]:
        def hook(module: Any, args: Any, kwargs: Any, output: Any) -> None:
            weights = output[1]
            if weights is None or not len(self._columns) or weights.shape[-1] <= self._columns[-1]:
                return  # a chunk of the prompt that ends before the last image does
            rows = weights[0].detach().mean(0)
            kept = rows[:, torch.as_tensor(self._columns, device=rows.device)].to(torch.float16).cpu().numpy()
            states = args[0] if args else kwargs["hidden_states"]
            if states.shape[1] > 1:
                # The prompt, maybe in chunks: only the last of them predicts the first output token.
                self._rows[layer] = list(kept)
            else:
                self._rows.setdefault(layer, []).extend(kept)

        return hook

    def _perceiver_arrays(self) -> tuple[np.ndarray, np.ndarray | None]:
        layers = [self._patches[k] for k in sorted(self._patches)]
        count = len(self._crops)
        if not layers or len(layers[0]) != count:
            return _nothing(4), None
        width = max(len(crop[0]) for crop in layers[0])
        # Images encoded one by one have grids of their own; the flat axis is as long as the longest.
        patches = np.zeros((count, len(layers), layers[0][0].shape[0], width), dtype=np.float16)
        for index in range(count):
            for depth, kept in enumerate(layers):
                patches[index, depth, :, : kept[index].shape[1]] = kept[index]
        between = [self._between[k] for k in sorted(self._between)]
        return patches, np.stack([np.stack([kept[i] for kept in between]) for i in range(count)])

    def _pooled_tokens(self) -> PooledTokens | None:
        if len(self._pooled) != len(self._crops):
            return None
        return PooledTokens(
            similarity=np.stack([similarity(p) for p in self._pooled]).astype(np.float16),
            effective_rank=tuple(effective_rank(p) for p in self._pooled),
            says=tuple(self._says) if len(self._says) == len(self._crops) else (),
        )


def gradient_trace(
    model: Any,
    inputs: Mapping[str, torch.Tensor],
    crops: Sequence[Crop],
    continuation: Sequence[int],
    tokens: Sequence[int],
    model_id: str = "",
) -> Trace:
    """Attention x gradient for output tokens `tokens` of `continuation`, forced after the prompt in `inputs`.

    Chefer et al. (2021): the gradient of the words' summed log-probability says which weights speak for
    them; head mean of the positive products. One forward and one backward pass. Decoder rows that were not
    asked for are 0. Raises TraceUnavailable for a model that cannot be differentiated (4-bit without gradients).
    """
    plain = base_model(model)
    seen: dict[str, list[torch.Tensor]] = {"perceiver": [], "decoder": []}

    def keep(kind: str) -> Callable[..., None]:
        def hook(module: Any, args: Any, output: Any) -> None:
            if output[1].requires_grad:
                output[1].retain_grad()
                seen[kind].append(output[1])

        return hook

    ids = inputs["input_ids"]
    forced = torch.tensor([list(continuation)], device=ids.device)
    full = dict(inputs)
    full["input_ids"] = torch.cat([ids, forced], dim=1)
    full["attention_mask"] = torch.ones_like(full["input_ids"])
    handles = []
    try:
        for name, module in plain.named_modules():
            if _PERCEIVER.search(name):
                handles.append(module.register_forward_hook(keep("perceiver")))
            elif _DECODER.search(name):
                handles.append(module.register_forward_hook(keep("decoder")))
        with _attention(plain, "eager"), torch.enable_grad(), _one_leaf(plain):
            logits = plain(**full, use_cache=False).logits[0].float()
            start = ids.shape[1] - 1
            scores = torch.log_softmax(logits[start : start + len(continuation)], -1)
            chosen = list(tokens)
            scores[chosen, forced[0, chosen]].sum().backward()  # type: ignore[no-untyped-call]
        return _gradient_arrays(seen, crops, ids.shape[1], len(continuation), chosen, model_id)
    finally:
        for handle in handles:
            handle.remove()
        plain.zero_grad(set_to_none=True)


def _gradient_arrays(
    seen: Mapping[str, list[torch.Tensor]],
    crops: Sequence[Crop],
    prompt: int,
    length: int,
    tokens: Sequence[int],
    model_id: str,
) -> Trace:
    if not seen["perceiver"] or not seen["decoder"]:
        raise TraceUnavailable(
            "This model cannot be followed backwards.",
            "Choose another method; gradients need full precision.",
        )
    perceiver = torch.stack(
        [_speaking_for(w) for w in seen["perceiver"]], 1
    )  # (crops, layers, latents, keys)
    latents = perceiver.shape[2]
    columns = np.concatenate([np.arange(*crop.token_positions) for crop in crops])
    layers = [_speaking_for(w)[0].cpu().numpy() for w in seen["decoder"]]
    decoder = np.zeros((length, len(layers), len(columns)), dtype=np.float32)
    for depth, weights in enumerate(layers):
        for token in tokens:
            decoder[token, depth] = weights[prompt - 1 + token, columns]
    scale = float(decoder.max()) or 1.0
    kept = perceiver.cpu().numpy()
    top = float(kept.max()) or 1.0
    return Trace(
        # Gradients may be far below what float16 holds; only their proportions matter.
        perceiver=(kept[..., :-latents] / top).astype(np.float16),
        decoder=(decoder / scale).astype(np.float16),
        layer_ids=tuple(range(len(layers))),
        crops=tuple(crops),
        token_texts=(),
        token_logprobs=(),
        model_id=model_id,
        adapter=None,
        perceiver_latents=(kept[..., -latents:] / top).astype(np.float16),
        weighting="gradient",
    )


def _speaking_for(weights: torch.Tensor) -> torch.Tensor:
    """(b, heads, q, k) -> (b, q, k): head mean of the positive part of attention x gradient."""
    gradient = weights.grad if weights.grad is not None else torch.zeros_like(weights)
    return (weights.detach() * gradient).clamp(min=0).mean(1).float()


@contextmanager
def _one_leaf(model: Any) -> Iterator[None]:
    """Only the perceiver's latents ask for gradients inside: enough for every attention weight behind them,
    and no gradient is made for the billions of other numbers."""
    before = {p: p.requires_grad for p in model.parameters()}
    try:
        for parameter in before:
            parameter.requires_grad_(False)
        for name, module in model.named_modules():
            if _RESAMPLER.search(name):
                module.latents.requires_grad_(True)
        yield
    finally:
        for parameter, wanted in before.items():
            parameter.requires_grad_(wanted)


def base_model(model: Any) -> Any:
    """The model itself, taken out of a PEFT wrapper."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def nearest_words(pooled: torch.Tensor, embeddings: torch.Tensor) -> np.ndarray:
    """[latent] ids of the vocabulary entries whose embedding has the largest cosine with each pooled token."""
    table = torch.nn.functional.normalize(embeddings.detach().to(pooled.dtype), dim=-1)
    unit = torch.nn.functional.normalize(pooled, dim=-1)
    ids: np.ndarray = (unit @ table.T).argmax(-1).cpu().numpy()
    return ids


def layer_number(name: str) -> int:
    """The number after the last ``layers.`` in a module's name."""
    return int(re.findall(r"layers\.(\d+)", name)[-1])


def _nothing(dimensions: int) -> np.ndarray:
    return np.zeros((0,) * dimensions, dtype=np.float16)
