"""One forced pass sees what step by step generation sees: the same attention, for every word of an answer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from tests.trace.test_capture import STEPS, generate, hooks
from vlm_studio.core.errors import TraceUnavailable
from vlm_studio.core.ports import Opened
from vlm_studio.trace import forced

COLUMNS = [*range(2, 6), *range(7, 11)]


def spelled(ids: Any) -> str:
    return " ".join(map(str, ids))


@pytest.fixture
def opened(tiny_model: Any, tiny_inputs: Any, tiny_crops: Any) -> Opened:
    return Opened(tiny_model, tiny_inputs, tiny_crops, spelled)


def answer(opened: Opened) -> list[int]:
    ids = generate(opened.model, dict(opened.inputs))
    return ids[0, opened.inputs["input_ids"].shape[1] :].tolist()


def test_rows_equal_the_models_own_eager_attention_step_by_step(opened: Opened) -> None:
    trace = forced.forced_trace(opened, answer(opened), "tiny")
    opened.model.set_attn_implementation("eager")
    try:
        out = generate(
            opened.model, dict(opened.inputs), output_attentions=True, return_dict_in_generate=True
        )
    finally:
        opened.model.set_attn_implementation("sdpa")
    assert trace.decoder.shape == (STEPS, 2, 8)
    for step in range(STEPS):
        for layer in range(2):
            expected = out.attentions[step][layer][0, :, -1].mean(0)[COLUMNS].numpy()
            assert np.allclose(trace.decoder[step, layer], expected, atol=2e-3), (step, layer)
    # Of the prompt, the one word after the last image that is not the place where the answer begins.
    assert trace.prompt_decoder is not None and trace.prompt_decoder.shape == (1, 2, 8)
    assert np.allclose(trace.prompt_decoder[0, 1], out.attentions[0][1][0, :, -2].mean(0)[COLUMNS], atol=2e-3)
    assert trace.prompt_texts == ("8",)
    assert trace.perceiver.shape == (2, 3, 4, 25) and trace.pooled is not None and trace.pooled.says


def test_hidden_states_are_compared_with_the_images_own(opened: Opened) -> None:
    words = answer(opened)
    trace = forced.forced_trace(opened, words)
    full = torch.cat([opened.inputs["input_ids"], torch.tensor([words[:-1]])], 1)
    inputs = dict(opened.inputs, input_ids=full, attention_mask=torch.ones_like(full))
    with torch.no_grad():
        states = opened.model(**inputs, output_hidden_states=True, use_cache=False).hidden_states
    assert trace.hidden is not None and trace.hidden.shape == (STEPS, 2, 8)
    image = states[1][0, COLUMNS]
    word = states[1][0, -STEPS] - image.mean(0)
    expected = torch.nn.functional.cosine_similarity(word[None], image - image.mean(0), dim=-1)
    assert np.allclose(trace.hidden[0, 0], expected.numpy(), atol=2e-3)


def test_nothing_stays_behind_whatever_ends_it(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    before = hooks(opened.model)
    forced.forced_trace(opened, [11, 12])
    assert hooks(opened.model) == before
    for failure in (RuntimeError, KeyboardInterrupt):

        def fail(*args: Any, failure: type[BaseException] = failure) -> None:
            raise failure

        handle = opened.model.lm_head.register_forward_hook(fail)
        try:
            with pytest.raises(failure):
                forced.forced_trace(opened, [11, 12])
            with pytest.raises(failure):
                forced.forced_gradients(opened, [11, 12], [0])
        finally:
            handle.remove()
        assert hooks(opened.model) == before
        assert opened.model.config.text_config._attn_implementation == "sdpa"
        assert all(p.grad is None for p in opened.model.parameters())


def test_gradients_work_where_inference_was_switched_on(opened: Opened) -> None:
    with torch.inference_mode():
        trace = forced.forced_gradients(opened, [11, 12, 13], [1])
    assert trace.weighting == "gradient" and trace.decoder[1].max() == 1


def test_nothing_to_look_into_is_said(opened: Opened) -> None:
    for empty in (Opened(opened.model, opened.inputs, ()), opened):
        with pytest.raises(TraceUnavailable):
            forced.forced_trace(empty, [] if empty is opened else [11])
