"""Idefics2 from a folder of safetensors into memory, in the precision that suits the machine."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from transformers import (
    BitsAndBytesConfig,
    Idefics2Config,
    Idefics2ForConditionalGeneration,
    Idefics2Processor,
)

from vlm_studio.core.errors import ModelUnavailable, StudioError
from vlm_studio.core.ports import ModelCard
from vlm_studio.model.engine import LoadedModel
from vlm_studio.model.foreign_errors import translated
from vlm_studio.model.machine import LoadPlan, Machine, Parameters, choose, this_machine
from vlm_studio.model.processor import PageFeeder

log = logging.getLogger(__name__)

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
END_OF_UTTERANCE = "<end_of_utterance>"


def load(
    folder: Path,
    card: ModelCard,
    revision: str,
    precision: Any = "auto",
    machine: Machine | None = None,
) -> LoadedModel:
    """The checkpoint in `folder`, on the best device here. Nothing in it is run as code.

    Raises ModelUnavailable (does not fit, damaged, wrong kind) or OutOfMemory.
    """
    here = machine or this_machine()
    config = read_config(folder)
    plan = choose(here, parameters(config), precision)
    log.info("loading %s: %s", card.name, plan.why)
    told = arguments(plan)
    if getattr(config, "quantization_config", None) is not None:
        # Weights that are in 4 bits already stay as they were written.
        told.pop("quantization_config", None)
    with translated():
        model = Idefics2ForConditionalGeneration.from_pretrained(folder, **told).eval()
        processor = Idefics2Processor.from_pretrained(folder, local_files_only=True)
    model.requires_grad_(False)
    return assembled(model, processor, card, f"{revision} {plan.precision} {plan.compute}", (plan.why,))


def assembled(
    model: Any, processor: Any, card: ModelCard, revision: str, notes: tuple[str, ...] = ()
) -> LoadedModel:
    """A loaded Idefics2 with its processor, ready for the engine."""
    tokenizer = processor.tokenizer
    ends = model.generation_config.eos_token_id
    end_ids = set(ends if isinstance(ends, list) else [ends]) | {tokenizer.eos_token_id}
    end_ids.add(tokenizer.convert_tokens_to_ids(END_OF_UTTERANCE))
    fence = tokenizer.convert_tokens_to_ids(processor.fake_image_token)
    if int(processor.image_token_id) != int(model.config.image_token_id):
        raise ModelUnavailable(
            "Model and tokenizer do not belong together: they disagree on the image token.",
            "Fetch the model again.",
        )
    patch = int(model.config.vision_config.patch_size)
    latents = int(model.config.perceiver_config.resampler_n_latents)
    return LoadedModel(
        model=model,
        processor=processor,
        feeder=PageFeeder(processor, patch, latents),
        card=card,
        end_ids=frozenset(int(i) for i in end_ids if i is not None),
        never_ids=frozenset({int(processor.image_token_id), int(fence)}),
        revision=revision,
        notes=notes,
    )


def read_config(folder: Path) -> Idefics2Config:
    """Raises ModelUnavailable where `folder` holds no Idefics2."""
    try:
        config = Idefics2Config.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, StudioError) as failure:
        raise ModelUnavailable(f"{folder} holds no model that can be read.", "Fetch it again.") from failure
    if not list(folder.glob("*.safetensors")):
        raise ModelUnavailable(f"{folder} holds no safetensors files.", "Fetch the model again.")
    return config


def parameters(config: Any) -> Parameters:
    """Weights of each part, counted on a model without memory."""
    with torch.device("meta"):
        model = Idefics2ForConditionalGeneration(config)

    def count(module: Any) -> int:
        return sum(p.numel() for p in module.parameters())

    body = model.model
    return Parameters(
        vision=count(body.vision_model),
        connector=count(body.connector),
        language=count(body.text_model) - count(body.text_model.embed_tokens),
        embeddings=count(body.text_model.embed_tokens),
        head=count(model.lm_head),
    )


def arguments(plan: LoadPlan) -> dict[str, Any]:
    """What `from_pretrained` is given for `plan`."""
    told: dict[str, Any] = {
        "dtype": DTYPES[plan.compute],
        "device_map": device_map(plan),
        "attn_implementation": "sdpa",
        "use_safetensors": True,
        "local_files_only": True,
    }
    if plan.precision == "nf4":
        told["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_compute_dtype=DTYPES[plan.compute],
            # Saves 0.3 GB of 8B and costs a sixth of the speed.
            bnb_4bit_use_double_quant=False,
            llm_int8_skip_modules=plan.skip,
            llm_int8_enable_fp32_cpu_offload=plan.vision_on_cpu,
        )
    return told


def device_map(plan: LoadPlan) -> dict[str, Any]:
    """Which part lies where."""
    device: Any = 0 if plan.device == "cuda" else plan.device
    if not plan.vision_on_cpu:
        return {"": device}
    return {
        "model.vision_model": "cpu",
        "model.connector": device,
        "model.text_model": device,
        "lm_head": device,
    }
