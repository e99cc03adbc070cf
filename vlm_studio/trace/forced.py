"""Looking into an answer that is there already: one pass over question and answer together.

What the model attends to while it writes a word is the same whether the word is being chosen or is put there, so an answer
of any age, of any engine setting, is explained in one forward pass, and with gradients in one more back.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from vlm_studio.core.errors import TraceUnavailable
from vlm_studio.core.ports import Opened
from vlm_studio.core.traces import PooledTokens, Trace
from vlm_studio.trace.capture import AttentionRecorder, base_model, gradient_trace, layer_number

_LAYER = re.compile(r"(^|\.)text_model\.layers\.\d+$")
_SPELLER = re.compile(r"(^|\.)connector\.speller$")


class ForcedRecorder(AttentionRecorder):
    """Also keeps hidden states against those of the image, and the letters that nano's pooled tokens spell."""

    def __init__(self, rows: int, decode: Callable[[int], str] | None, letters: str) -> None:
        """`letters` are those of nano's speller in its order, without the blank, which comes first in its scores."""
        super().__init__(decode=decode, rows=rows)
        self._letters = letters
        self._hidden: dict[int, np.ndarray] = {}
        self._spells: list[tuple[str, ...]] = []

    @property
    def hidden(self) -> np.ndarray | None:
        """[row, layer, image token] float16; see `Trace.hidden`."""
        if not self._hidden:
            return None
        return np.stack([self._hidden[layer] for layer in sorted(self._hidden)], axis=1)

    @property
    def spells(self) -> tuple[tuple[str, ...], ...]:
        return tuple(self._spells)

    def _attach(self, name: str, module: Any) -> list[Any]:
        if _LAYER.search(name):
            return [module.register_forward_hook(self._on_layer(layer_number(name)))]
        if self._letters and _SPELLER.search(name):
            return [module.register_forward_hook(self._on_speller)]
        return super()._attach(name, module)

    def _on_layer(self, layer: int) -> Callable[..., None]:
        def hook(module: Any, args: Any, output: Any) -> None:
            states = (output[0] if isinstance(output, tuple) else output).detach()[0].float()
            if len(self._columns) and states.shape[0] > self._columns[-1]:
                image = states[torch.as_tensor(self._columns, device=states.device)]
                self._hidden[layer] = likeness(states[-self._last :], image)

        return hook

    def _on_speller(self, module: Any, args: Any, output: Any) -> None:
        for best in output.detach().argmax(-1).cpu().tolist():
            self._spells.append(tuple(self._letters[c - 1] if c else "" for c in best))


def likeness(words: torch.Tensor, image: torch.Tensor) -> np.ndarray:
    """[words, image tokens] float16 cosine of (words, size) with (image tokens, size), the image tokens' mean taken off.

    What all image tokens share (large directions of the residual stream) would otherwise drown what differs.
    """
    mean = image.mean(0, keepdim=True)
    unit = torch.nn.functional.normalize(image - mean, dim=-1)
    cosine: np.ndarray = (torch.nn.functional.normalize(words - mean, dim=-1) @ unit.T).cpu().half().numpy()
    return cosine


def forced_trace(opened: Opened, continuation: Sequence[int], model_id: str = "", letters: str = "") -> Trace:
    """What the model looked at for each token of `continuation`, and for the prompt's words after its last image.

    Raises TraceUnavailable where no image is in the prompt or nothing was answered.
    """
    if not opened.crops or not continuation:
        raise TraceUnavailable("There is nothing to look into.", "Ask something about an image first.")
    ids = opened.inputs["input_ids"]
    after = ids.shape[1] - opened.crops[-1].token_positions[1]
    forced = torch.tensor([list(continuation)[:-1]], dtype=ids.dtype, device=ids.device)
    full = dict(opened.inputs)
    full["input_ids"] = torch.cat([ids, forced], 1)
    full["attention_mask"] = torch.ones_like(full["input_ids"])
    rows = after - 1 + len(continuation)
    decode = opened.decode
    recorder = ForcedRecorder(rows, (lambda i: decode([i])) if decode else None, letters)
    with torch.inference_mode(), recorder.watch(opened.model, opened.crops):
        base_model(opened.model)(**full, use_cache=False, logits_to_keep=1)
    trace = recorder.result()
    if trace is None or not trace.decoder.size:
        raise TraceUnavailable("Nothing was recorded for this answer.", "Ask again.")
    return _parted(trace, recorder, opened, after - 1, model_id)


def _parted(trace: Trace, recorder: ForcedRecorder, opened: Opened, words: int, model_id: str) -> Trace:
    """The first `words` rows belong to the prompt's words after its last image, the others to the answer."""
    hidden, pooled = recorder.hidden, trace.pooled
    texts = opened.inputs["input_ids"][0, opened.crops[-1].token_positions[1] : -1].tolist()
    if pooled is not None:
        pooled = PooledTokens(pooled.similarity, pooled.effective_rank, pooled.says, recorder.spells)
    return Trace(
        perceiver=trace.perceiver,
        decoder=trace.decoder[words:],
        layer_ids=trace.layer_ids,
        crops=trace.crops,
        token_texts=(),
        token_logprobs=(),
        model_id=model_id,
        adapter=None,
        perceiver_latents=trace.perceiver_latents,
        pooled=pooled,
        hidden=None if hidden is None else hidden[words:],
        prompt_decoder=trace.decoder[:words],
        prompt_texts=tuple(opened.decode([i]) for i in texts) if opened.decode else (),
    )


def forced_gradients(opened: Opened, continuation: Sequence[int], tokens: Sequence[int]) -> Trace:
    """`gradient_trace` for an opened model, also where whoever opened it switched gradients off."""
    with torch.inference_mode(False):
        inputs = {name: value.clone() for name, value in opened.inputs.items()}
        return gradient_trace(opened.model, inputs, opened.crops, continuation, tokens)
