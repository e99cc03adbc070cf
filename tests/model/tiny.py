"""A small Idefics2 with random weights and a tokenizer of bytes, saved as a checkpoint as the hub has it.

Its sizes keep the real model's traps: vision sizes and vocabulary that 4-bit kernels cannot take, a class default that
differs from the checkpoint, several end tokens, a sliding window that is shorter than a long chat.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    Idefics2Config,
    Idefics2ForConditionalGeneration,
    Idefics2Processor,
    PreTrainedTokenizerFast,
)
from transformers.models.idefics2.image_processing_pil_idefics2 import Idefics2ImageProcessorPil

from vlm_studio.model.processor import TEMPLATE

LATENTS = 8
WINDOW = 64


def tokenizer() -> PreTrainedTokenizerFast:
    """One token a byte, after the three marks that Mistral's has first."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {t: i for i, t in enumerate(["<unk>", "<s>", "</s>", *letters])}
    plain = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>"))
    plain.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    plain.decoder = decoders.ByteLevel()
    plain.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=plain, bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="<unk>"
    )


def processor() -> Idefics2Processor:
    images = Idefics2ImageProcessorPil(do_image_splitting=True)
    return Idefics2Processor(images, tokenizer(), image_seq_len=LATENTS, chat_template=TEMPLATE)


def config(image_token_id: int, vocabulary: int) -> Idefics2Config:
    return Idefics2Config(
        image_token_id=image_token_id,
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 72,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "image_size": 980,
            "patch_size": 14,
        },
        perceiver_config={
            "hidden_size": 64,
            "resampler_n_latents": LATENTS,
            "resampler_depth": 2,
            "resampler_n_heads": 4,
            "resampler_head_dim": 16,
            "num_key_value_heads": 2,
        },
        text_config={
            "model_type": "mistral",
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "vocab_size": vocabulary,
            "sliding_window": WINDOW,
            "pad_token_id": 0,
            "bos_token_id": 1,
            "eos_token_id": 2,
        },
    )


def save(folder: Path, shards: str = "200KB") -> Path:
    """The checkpoint, in several files."""
    made = processor()
    vocabulary = len(made.tokenizer)
    torch.manual_seed(11)
    model: Any = Idefics2ForConditionalGeneration(config(int(made.image_token_id), vocabulary)).eval()
    with torch.no_grad():
        latents = model.model.connector.perceiver_resampler.latents
        latents.copy_(torch.randn_like(latents))
        for name, weight in model.named_parameters():
            if weight.ndim == 2 and "embed" not in name:
                weight.mul_(4.0)
    end = made.tokenizer.convert_tokens_to_ids("<end_of_utterance>")
    model.generation_config.eos_token_id = [2, end]
    model.generation_config.pad_token_id = 0
    model.to(torch.bfloat16).save_pretrained(folder, max_shard_size=shards)
    made.save_pretrained(folder)
    # The hub's file names the class that needs torchvision.
    for name in ("preprocessor_config.json", "processor_config.json"):
        path = folder / name
        if path.exists():
            told = json.loads(path.read_text("utf-8"))
            text = json.dumps(told).replace("Idefics2ImageProcessorPil", "Idefics2ImageProcessor")
            path.write_text(text, "utf-8")
    return folder
