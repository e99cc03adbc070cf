"""A decode step for small Llama-like models on a processor that reads a sixth of the bytes.

Each token reads every weight, so on a processor a step is as slow as the weights are large. SmolLM2 comes in 4 bits (Q4_1:
a scale and an offset for each 32 weights) and is widened to float32 for everything else; here its layers go back to those
same 4 bits, for torch's own kernel, which multiplies in bfloat16. What that rounding could change is settled in full
precision: the leading tokens are scored again with the float32 head, and where two of them are close (`CLOSE`) the whole
step is done again by the model itself. Keys and values are written into buffers instead of being joined anew.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

log = logging.getLogger(__name__)

GROUP = 32
"""Weights that share a scale and an offset: Q4_1's own grouping."""
LEADERS = 32
"""Tokens whose logits are computed again with the float32 head."""
CLOSE = 0.1
"""Natural log-probability by which a token must lead for the quick step to decide; its own error is a third of that."""
FAST = torch.bfloat16


@dataclass(frozen=True)
class Packed:
    """A linear layer without bias in 4 bits."""

    codes: Tensor
    scales: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """(rows, in) -> (rows, out), bfloat16."""
        return torch.ops.aten._weight_int4pack_mm_for_cpu(x, self.codes, GROUP, self.scales)


def packed(weight: Tensor) -> Packed:
    """`weight` (out, in): each group of `GROUP` weights on sixteen levels from its least to its greatest."""
    n_out, n_in = weight.shape
    groups = weight.detach().float().reshape(n_out, n_in // GROUP, GROUP)
    low, high = groups.amin(-1), groups.amax(-1)
    step = ((high - low) / 15).clamp(min=1e-12)
    codes = ((groups - low[..., None]) / step[..., None]).round_().to(torch.int32).reshape(n_out, n_in)
    # The kernel counts codes from -8, so the offset is that of code 8.
    scales = torch.stack([step, low + 8 * step], -1).transpose(0, 1).contiguous().to(FAST)
    return Packed(torch.ops.aten._convert_weight_to_int4pack_for_cpu(codes, 1), scales)


@dataclass
class _Linear:
    """One or several linear layers with one input as one, with what an adapter adds to them."""

    base: Packed
    down: Tensor | None = None
    up: Tensor | None = None

    def __call__(self, x: Tensor) -> Tensor:
        """(rows, in) float32 -> (rows, out) float32."""
        y = self.base(x.to(FAST)).float()
        if self.down is not None and self.up is not None:
            y += F.linear(F.linear(x, self.down), self.up)
        return y


class _Layer:
    """`linears` are qkv, out, gate and up, down."""

    def __init__(self, linears: Sequence[_Linear], norm_in: Tensor, norm_mid: Tensor) -> None:
        self.qkv, self.out, self.gate_up, self.down = self.linears = tuple(linears)
        self.norm_in, self.norm_mid = norm_in, norm_mid


class LeanDecoder:
    """One decode step after another over keys and values of its own. Used only under the engine's lock."""

    def __init__(self, model: Any, kept: Path | None = None) -> None:
        """`model`: one that `suits`. `kept` is a file for the packed weights, which take a second to make."""
        text, config = model.model.text_model, model.config.text_config
        self.heads, self.kv_heads = config.num_attention_heads, config.num_key_value_heads
        self.size = config.hidden_size // self.heads
        self.hidden, self.wide = config.hidden_size, config.intermediate_size
        self.eps = config.rms_norm_eps
        self.embeddings = plain(text.embed_tokens).weight
        self.norm = text.norm.weight
        self._model = model
        self.frequencies = text.rotary_emb.inv_freq.float()
        groups = [_parts(layer) for layer in text.layers]
        weights = _weights([[*modules] for layer in groups for modules in layer] + [[model.lm_head]], kept)
        self.head = weights.pop()
        linears = [_Linear(weight) for weight in weights]
        self.layers = [
            _Layer(
                linears[4 * k : 4 * k + 4],
                layer.input_layernorm.weight,
                layer.post_attention_layernorm.weight,
            )
            for k, layer in enumerate(text.layers)
        ]
        self._adapter = ""
        self._keys: list[Tensor] = []
        self._values: list[Tensor] = []
        self._held = 0
        self._turns = (torch.zeros(0), torch.zeros(0))

    @property
    def n_bytes(self) -> int:
        """Bytes of weights that a step reads."""
        linears = [linear.base for layer in self.layers for linear in layer.linears]
        return sum(p.codes.nbytes + p.scales.nbytes for p in [*linears, self.head])

    def adapt(self, key: str) -> bool:
        """Add what the adapter that is on the model now adds; `key` names its content. False: not a plain LoRA."""
        if key == self._adapter:
            return True
        # Layers are looked up anew: putting an adapter on wraps them.
        groups = [modules for layer in self._model.model.text_model.layers for modules in _parts(layer)]
        pairs = [_lora(modules) for modules in groups]
        if any(pair is None for pair in pairs) or _active(self._model.lm_head) != []:
            return False
        linears = [linear for layer in self.layers for linear in layer.linears]
        for linear, pair in zip(linears, pairs, strict=True):
            linear.down, linear.up = pair or (None, None)
        self._adapter = key
        return True

    def begin(self, cache: Any, room: int) -> None:
        """Take over the keys and values of `cache`, with room for `room` more tokens."""
        self._held = cache.get_seq_length()
        total = self._held + room
        self._keys, self._values = [], []
        for layer in cache.layers:
            for kept, buffers in ((layer.keys, self._keys), (layer.values, self._values)):
                buffer = kept.new_empty(len(kept), self.kv_heads, total, self.size)
                buffer[:, :, : self._held] = kept
                buffers.append(buffer)
        angles = torch.outer(torch.arange(total, dtype=torch.float32), self.frequencies)
        sin = angles.sin()
        self._turns = torch.cat([angles.cos()] * 2, -1), torch.cat([-sin, sin], -1)

    def lend(self, cache: Any, drop: int = 0) -> None:
        """Let `cache` hold what this holds, without the last `drop` tokens."""
        for layer, keys, values in zip(cache.layers, self._keys, self._values, strict=True):
            end = self._held - drop
            layer.keys, layer.values = keys[:, :, :end], values[:, :, :end]

    def take_last(self, cache: Any) -> None:
        """The newest token's keys and values as the model itself has made them."""
        for layer, keys, values in zip(cache.layers, self._keys, self._values, strict=True):
            keys[:, :, self._held - 1] = layer.keys[:, :, -1]
            values[:, :, self._held - 1] = layer.values[:, :, -1]

    def keep_rows(self, rows: Sequence[int]) -> None:
        """Go on with these rows of the batch only."""
        chosen = torch.tensor(rows)
        self._keys = [keys[chosen] for keys in self._keys]
        self._values = [values[chosen] for values in self._values]

    def step(self, tokens: Sequence[int]) -> Tensor:
        """Logits (rows, vocabulary) float32 after one more token in each row of the batch."""
        at, rows = self._held, len(tokens)
        self._held = end = at + 1
        cos, sin = self._turns[0][at], self._turns[1][at]
        heads, both, half = self.heads, self.heads + self.kv_heads, self.size // 2
        shape, group = (self.hidden,), self.heads // self.kv_heads
        x = self.embeddings[list(tokens)]
        for layer, keys, values in zip(self.layers, self._keys, self._values, strict=True):
            mixed = layer.qkv(F.rms_norm(x, shape, layer.norm_in, self.eps)).view(rows, -1, self.size)
            turned = mixed[:, :both]
            turned = turned * cos + turned.roll(half, -1) * sin
            keys[:, :, at] = turned[:, heads:]
            values[:, :, at] = mixed[:, both:]
            query = turned[:, :heads].reshape(rows, self.kv_heads, group, self.size)
            seen = F.scaled_dot_product_attention(query, keys[:, :, :end], values[:, :, :end])
            x = x + layer.out(seen.reshape(rows, -1))
            grown = layer.gate_up(F.rms_norm(x, shape, layer.norm_mid, self.eps))
            x = x + layer.down(F.silu(grown[:, : self.wide]) * grown[:, self.wide :])
        return self._logits(F.rms_norm(x, shape, self.norm, self.eps))

    def _logits(self, x: Tensor) -> Tensor:
        logits = self.head(x.to(FAST)).float()
        leaders = logits.topk(LEADERS).indices
        exact = plain(self._model.lm_head).weight[leaders] @ x[:, :, None]
        return logits.scatter(1, leaders, exact[:, :, 0])


def close(logits: Tensor) -> bool:
    """Whether the first two tokens are too near to each other for the quick step to decide."""
    first, second = logits.topk(2).values.tolist()
    return bool(first - second < CLOSE)


def suits(model: Any) -> bool:
    """Whether `LeanDecoder` computes what this model computes: small, Llama-like, float32 on an x86 processor."""
    text = getattr(model.config, "text_config", None)
    return (
        text is not None
        and text.model_type == "llama"
        and model.device.type == "cpu"
        and model.dtype == torch.float32
        and not getattr(text, "attention_bias", False)
        and not getattr(text, "mlp_bias", False)
        and (getattr(text, "rope_parameters", None) or {}).get("rope_type", "default") == "default"
        and text.hidden_size % GROUP == text.intermediate_size % GROUP == 0
        and torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")
    )


def plain(module: Any) -> Any:
    """The layer itself, where an adapter is wrapped around it."""
    return module.get_base_layer() if hasattr(module, "get_base_layer") else module


def _parts(layer: Any) -> tuple[tuple[Any, ...], ...]:
    attention, mlp = layer.self_attn, layer.mlp
    return (
        (attention.q_proj, attention.k_proj, attention.v_proj),
        (attention.o_proj,),
        (mlp.gate_proj, mlp.up_proj),
        (mlp.down_proj,),
    )


def _weights(groups: Sequence[Sequence[Any]], kept: Path | None) -> list[Packed]:
    """The packed weights of each group of modules, from `kept` where they are there."""
    if kept is not None:
        # The kernel's layout is the processor's and torch's own business.
        kept = kept.with_suffix(f".{torch.__version__}.{torch.backends.cpu.get_cpu_capability()}.safetensors")
        try:
            found = load_file(kept)
            return [Packed(found[f"{k}.codes"], found[f"{k}.scales"]) for k in range(len(groups))]
        except (OSError, KeyError, SafetensorError):
            log.info("packing the language model's weights, once")
    made = [packed(torch.cat([plain(m).weight for m in group])) for group in groups]
    if kept is not None:
        half = kept.with_suffix(".part")
        named = {f"{k}.codes": p.codes for k, p in enumerate(made)}
        named |= {f"{k}.scales": p.scales for k, p in enumerate(made)}
        try:
            save_file(named, half)
            half.replace(kept)
        except OSError:
            log.warning("packed weights could not be kept in %s", kept.parent, exc_info=True)
    return made


def _lora(modules: Sequence[Any]) -> tuple[Any, Any] | None:
    """The adapter's two matrices over `modules` as one pair, (None, None) without any; None where it is no plain LoRA."""
    downs, ups = [], []
    for module in modules:
        mine = _active(module)
        if mine is None:
            return None
        downs.append([down for down, _up in mine])
        ups.append([up for _down, up in mine])
    if not any(downs):
        return None, None
    blocks = [
        torch.cat(up, 1) if up else plain(module).weight.new_zeros(plain(module).weight.shape[0], 0)
        for module, up in zip(modules, ups, strict=True)
    ]
    return torch.cat([d for mine in downs for d in mine]), torch.block_diag(*blocks)


def _active(module: Any) -> list[tuple[Tensor, Tensor]] | None:
    """Down and scaled up matrix of each LoRA that is on `module`; None where something else is."""
    if not hasattr(module, "lora_A") or module.disable_adapters:
        return []
    if module.merged or getattr(module, "lora_magnitude_vector", None):
        return None
    return [
        (module.lora_A[name].weight, module.lora_B[name].weight * module.scaling[name])
        for name in module.active_adapters
        if name in module.lora_A
    ]
