"""Recording: what is kept equals the model's own attention, nothing stays behind, and answers do not change."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from vlm_studio.trace import capture, geometry

STEPS = 5
PERCEIVER = "model.connector.perceiver_resampler.layers"


def hooks(model: Any) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def generate(model: Any, inputs: dict[str, Any], **more: Any) -> Any:
    with torch.no_grad():
        return model.generate(**inputs, max_new_tokens=STEPS, do_sample=False, pad_token_id=0, **more)


def recorded(model: Any, inputs: Any, crops: Any) -> tuple[Any, Any]:
    recorder = capture.AttentionRecorder("tiny", decode=str)
    with recorder.watch(model, crops):
        ids = generate(model, inputs)
    trace = recorder.result()
    assert trace is not None
    return ids, trace


def test_the_answer_is_the_same_with_and_without_a_recorder(
    tiny_model: Any, tiny_inputs: Any, tiny_crops: Any
) -> None:
    ids, _ = recorded(tiny_model, tiny_inputs, tiny_crops)
    assert torch.equal(ids, generate(tiny_model, tiny_inputs))


def test_decoder_rows_equal_the_models_own_eager_attention(
    tiny_model: Any, tiny_inputs: Any, tiny_crops: Any
) -> None:
    _, trace = recorded(tiny_model, tiny_inputs, tiny_crops)
    tiny_model.set_attn_implementation("eager")
    try:
        out = generate(tiny_model, tiny_inputs, output_attentions=True, return_dict_in_generate=True)
    finally:
        tiny_model.set_attn_implementation("sdpa")
    columns = [*range(2, 6), *range(7, 11)]
    assert trace.decoder.shape == (STEPS, 2, 8) and trace.layer_ids == (0, 1)
    for step in range(STEPS):
        for layer in range(2):
            expected = out.attentions[step][layer][0, :, -1].mean(0)[columns].numpy()
            assert np.allclose(trace.decoder[step, layer], expected, atol=2e-3), (step, layer)


def test_perceiver_rows_equal_eager_and_padding_gets_nothing(
    tiny_model: Any, tiny_inputs: Any, tiny_crops: Any
) -> None:
    _, trace = recorded(tiny_model, tiny_inputs, tiny_crops)
    seen: list[Any] = []
    handles = [
        module.register_forward_hook(lambda m, a, out: seen.append(out[1].detach()))
        for name, module in tiny_model.named_modules()
        if name.startswith(PERCEIVER) and name.endswith("self_attn")
    ]
    tiny_model.set_attn_implementation("eager")
    try:
        generate(tiny_model, tiny_inputs)
    finally:
        tiny_model.set_attn_implementation("sdpa")
        for handle in handles:
            handle.remove()
    assert trace.perceiver.shape == (2, 3, 4, 25) and trace.perceiver_latents is not None
    for layer, weights in enumerate(seen):
        expected = weights.mean(1).numpy()
        assert np.allclose(trace.perceiver[:, layer], expected[:, :, :25], atol=2e-3)
        assert np.allclose(trace.perceiver_latents[:, layer], expected[:, :, 25:], atol=2e-3)
    sums = trace.perceiver.astype(float).sum(-1) + trace.perceiver_latents.astype(float).sum(-1)
    assert np.allclose(sums, 1.0, atol=5e-3)
    # Crop 1 is 3x5 real patches at the top of a 5x5 grid.
    assert trace.perceiver[1, :, :, 15:].max() == 0 and trace.perceiver[1, :, :, :15].min() > 0


def test_what_the_pooled_tokens_say(tiny_model: Any, tiny_inputs: Any, tiny_crops: Any) -> None:
    _, trace = recorded(tiny_model, tiny_inputs, tiny_crops)
    assert trace.pooled is not None and trace.pooled.similarity.shape == (2, 4, 4)
    assert np.allclose(np.diagonal(trace.pooled.similarity, axis1=1, axis2=2), 1, atol=1e-3)
    assert all(1 <= rank <= 4 for rank in trace.pooled.effective_rank)
    assert [len(words) for words in trace.pooled.says] == [4, 4]


def test_nothing_stays_behind_after_success_error_and_cancel(
    tiny_model: Any, tiny_inputs: Any, tiny_crops: Any
) -> None:
    recorder = capture.AttentionRecorder("tiny")
    before = hooks(tiny_model)  # transformers itself may have left some, for its own output_attentions
    recorded(tiny_model, tiny_inputs, tiny_crops)
    assert hooks(tiny_model) == before
    for failure in (RuntimeError, KeyboardInterrupt, GeneratorExit):
        with pytest.raises(failure), recorder.watch(tiny_model, tiny_crops):
            assert hooks(tiny_model) > before
            raise failure
        assert hooks(tiny_model) == before
        assert tiny_model.config.text_config._attn_implementation == "sdpa"
        assert tiny_model.config.perceiver_config._attn_implementation == "sdpa"


def test_a_generation_cut_short_keeps_what_was_recorded(
    tiny_model: Any, tiny_inputs: Any, tiny_crops: Any
) -> None:
    from transformers import StoppingCriteria

    class Stop(StoppingCriteria):
        calls = 0

        def __call__(self, ids: Any, scores: Any, **kwargs: Any) -> Any:
            self.calls += 1
            if self.calls == 2:
                raise InterruptedError
            return torch.zeros(1, dtype=torch.bool)

    recorder = capture.AttentionRecorder("tiny")
    with pytest.raises(InterruptedError), recorder.watch(tiny_model, tiny_crops):
        generate(tiny_model, tiny_inputs, stopping_criteria=[Stop()])
    trace = recorder.result()
    assert trace is not None and trace.decoder.shape[0] == 2


def test_gradients_speak_for_the_word_and_leave_the_model_as_it_was(
    tiny_model: Any, tiny_inputs: Any, tiny_crops: Any
) -> None:
    wanted = {name: p.requires_grad for name, p in tiny_model.named_parameters()}
    before = hooks(tiny_model)
    trace = capture.gradient_trace(tiny_model, tiny_inputs, tiny_crops, [11, 12, 13], [1])
    assert trace.weighting == "gradient" and trace.decoder.shape == (3, 2, 8)
    assert trace.decoder[1].max() == 1 and trace.decoder[0].max() == 0 and trace.decoder.min() >= 0
    assert trace.perceiver.shape == (2, 3, 4, 25) and trace.perceiver.max() > 0
    assert {name: p.requires_grad for name, p in tiny_model.named_parameters()} == wanted
    assert all(p.grad is None for p in tiny_model.parameters()) and hooks(tiny_model) == before
    assert tiny_model.config.text_config._attn_implementation == "sdpa"


def test_forecast_is_what_is_kept(tiny_model: Any, tiny_inputs: Any, tiny_crops: Any) -> None:
    _, trace = recorded(tiny_model, tiny_inputs, tiny_crops)
    kept, moment = geometry.forecast_bytes(2, 25, 4, 3, 4, 2, STEPS)
    assert trace.perceiver_latents is not None
    assert kept == trace.perceiver.nbytes + trace.perceiver_latents.nbytes + trace.decoder.nbytes
    assert moment == 4 * 2 * 4 * 4 * 29


def test_no_image_no_trace(tiny_model: Any) -> None:
    recorder = capture.AttentionRecorder("tiny")
    with recorder.watch(tiny_model, ()):
        generate(tiny_model, {"input_ids": torch.tensor([[1, 5, 6]])})
    assert recorder.result() is None
