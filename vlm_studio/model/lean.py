"""A decode step for small Llama-like models on a processor that reads a sixth of the bytes.

Each token reads every weight, so on a processor a step is as slow as the weights are large. SmolLM2 comes in 4 bits (Q4_1:
a scale and an offset for each 32 weights) and is widened to float32 for everything else; here its layers go back to those
same 4 bits, for torch's own kernel, which multiplies in bfloat16. What that rounding could change is settled in full
precision: the leading tokens are scored again with the float32 head, and where two of them are close (`CLOSE`) the whole
step is done again with the model's own weights. Keys and values are written into buffers instead of being joined anew.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import AbstractContextManager
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
CLOSE = 0.125
"""Natural log-probability by which a token must lead for the quick step to decide: 2.7 times the error that rounding
makes of such a lead (root mean square; inputs, outputs and scales of the weights have about a third of it each)."""
FAST = torch.bfloat16


@dataclass(frozen=True)
class Packed:
    """A linear layer without bias in 4 bits."""

    codes: Tensor
    scales: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """(rows, in) -> (rows, out), bfloat16."""
        return torch._weight_int4pack_mm_for_cpu(x, self.codes, GROUP, self.scales)


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
    exact: Sequence[Tensor]
    """The weights of the layers themselves."""
    down: Tensor | None = None
    up: Tensor | None = None

    def __call__(self, x: Tensor, exactly: bool) -> Tensor:
        """(rows, in) float32 -> (rows, out), bfloat16, or float32 where it is exact or an adapter adds to it."""
        y = (
            torch.cat([F.linear(x, weight) for weight in self.exact], -1)
            if exactly
            else self.base(x.to(FAST))
        )
        if self.down is None or self.up is None:
            return y
        return F.linear(F.linear(x, self.down), self.up).add_(y)


class _Norm:
    """Root mean square norm in few calls: in a step of a small model they cost as much as the numbers."""

    def __init__(self, weight: Tensor, eps: float) -> None:
        count = weight.numel()
        self.weight, self.eps = weight * count**0.5, eps * count

    def __call__(self, x: Tensor) -> Tensor:
        """(rows, hidden) float32."""
        squares = torch.bmm(x[:, None], x[:, :, None])[:, 0]
        return (x * self.weight).mul_(squares.add_(self.eps).rsqrt_())


class _Layer:
    """`linears` are qkv, out, gate and up, down."""

    def __init__(self, linears: Sequence[_Linear], norm_in: _Norm, norm_mid: _Norm) -> None:
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
        self.embeddings = plain(text.embed_tokens).weight
        self.norm = _Norm(text.norm.weight, config.rms_norm_eps)
        self._model = model
        self.frequencies = text.rotary_emb.inv_freq.float()
        groups = [_parts(layer) for layer in text.layers]
        weights = _weights([[*modules] for layer in groups for modules in layer] + [[model.lm_head]], kept)
        self.head = weights.pop()
        linears = [
            _Linear(weight, [plain(module).weight for module in group])
            for weight, group in zip(weights, (modules for layer in groups for modules in layer), strict=True)
        ]
        self.layers = [
            _Layer(
                linears[4 * k : 4 * k + 4],
                _Norm(layer.input_layernorm.weight, config.rms_norm_eps),
                _Norm(layer.post_attention_layernorm.weight, config.rms_norm_eps),
            )
            for k, layer in enumerate(text.layers)
        ]
        self._adapter = ""
        self._kept: list[Tensor] = []
        """Of each layer (2, rows, heads of keys, tokens, size): keys, then values."""
        self._held = 0
        self._turns: tuple[Tensor, ...] = ()

    @property
    def n_bytes(self) -> int:
        """Bytes of weights that a step reads."""
        linears = [linear.base for layer in self.layers for linear in layer.linears]
        return sum(p.codes.nbytes + p.scales.nbytes for p in [*linears, self.head])

    @property
    def prompts(self) -> AbstractContextManager[Any]:
        """Many prompts at once go through the model in bfloat16 inside, where the processor multiplies in it."""
        return torch.autocast("cpu", FAST, enabled=torch.cpu._is_avx512_bf16_supported())

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
        self._kept = []
        for layer in cache.layers:
            buffer = layer.keys.new_empty(2, len(layer.keys), self.kv_heads, total, self.size)
            buffer[0, :, :, : self._held] = layer.keys
            buffer[1, :, :, : self._held] = layer.values
            self._kept.append(buffer)
        angles = torch.outer(torch.arange(total, dtype=torch.float32), self.frequencies)
        # Queries come out scaled for attention: a power of two for heads of 64, which rounds nothing.
        scale = torch.ones(self.heads + self.kv_heads, 1)
        scale[: self.heads] = self.size**-0.5
        sin = angles.sin()
        self._turns = tuple(
            torch.cat(halves, -1)[:, None] * scale for halves in ([angles.cos()] * 2, [-sin, sin])
        )

    def lend(self, cache: Any, drop: int = 0) -> None:
        """Let `cache` hold what this holds, without the last `drop` tokens."""
        end = self._held - drop
        for layer, kept in zip(cache.layers, self._kept, strict=True):
            layer.keys, layer.values = kept[0, :, :, :end], kept[1, :, :, :end]

    def keep_rows(self, rows: Sequence[int]) -> None:
        """Go on with these rows of the batch only."""
        chosen = torch.tensor(rows)
        self._kept = [kept[:, chosen] for kept in self._kept]

    def step(self, tokens: Sequence[int], again: bool = False) -> Tensor:
        """Logits (rows, vocabulary) float32 after one more token in each row of the batch.

        `again`: the last tokens once more, in full precision: those of the leading tokens are the model's own.
        """
        at, rows = self._held - again, len(tokens)
        self._held = end = at + 1
        cos, sin = self._turns[0][at], self._turns[1][at]
        both, half = self.heads + self.kv_heads, self.size // 2
        grouped = (rows * self.kv_heads, self.heads // self.kv_heads, self.size)
        pair = (rows, 2, self.kv_heads, self.size)
        x = self.embeddings[list(tokens)]
        for layer, kept in zip(self.layers, self._kept, strict=True):
            mixed = layer.qkv(layer.norm_in(x), again).view(rows, -1, self.size).float()
            turned = mixed[:, :both]
            other = turned.roll(half, -1)
            turned.mul_(cos).addcmul_(other, sin)
            kept.select(3, at).copy_(mixed[:, self.heads :].view(pair).transpose(0, 1))
            keys, values = kept.flatten(1, 2).narrow(2, 0, end)
            # Two products and a softmax: for one token, scaled_dot_product_attention takes longer to be called.
            likeness = torch.bmm(mixed[:, : self.heads].reshape(grouped), keys.transpose(1, 2))
            seen = torch.bmm(likeness.softmax(-1), values)
            x = x.add_(layer.out(seen.view(rows, -1), again))
            gate, up = layer.gate_up(layer.norm_mid(x), again).split(self.wide, 1)
            x = x.add_(layer.down(F.silu(gate.float()).mul_(up), again))
        return self._logits(self.norm(x))

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
