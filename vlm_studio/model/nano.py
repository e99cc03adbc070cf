"""idefics2-nano: Idefics2's own classes at about 150 M parameters, with a line tower in place of SigLIP.

`NanoForConditionalGeneration` is an `Idefics2ForConditionalGeneration`: generation, caches, hooks and PEFT treat it like the
8B. What differs is what an image is: a strip of writing, 48 px high, seen as one row of frames of 8 px, pooled into 64
tokens that spell it in the language model's own letters (model/spelling.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL.Image import Image
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoTokenizer,
    BatchFeature,
    Idefics2Config,
    Idefics2ForConditionalGeneration,
    LlamaForCausalLM,
)
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.idefics2.modeling_idefics2 import Idefics2Model

from vlm_studio.model.characters import ALPHABET, pad_strips, prepare_strip
from vlm_studio.model.spelling import (
    N_LATENTS,
    PERCEIVER,
    VISION_SIZE,
    SpellingConnector,
    letter_embeddings,
    with_place,
)
from vlm_studio.model.tower import FRAME_PIXELS, STRIP_HEIGHT, CharacterHead, LineTower

IMAGE_TOKEN = "<filename>"
AROUND_TOKEN = "<file_sep>"
"""Two tokens that SmolLM2 reserves and never meets in chat; using them leaves its embeddings untouched."""
IMAGE_SEQ_LEN = N_LATENTS
READ_PROMPT = "Read the line."


def nano_config(text_config: dict[str, Any], image_token_id: int) -> Idefics2Config:
    """Idefics2's configuration at nano's sizes; the SigLIP part is a stand-in without layers."""
    return Idefics2Config(
        image_token_id=image_token_id,
        tie_word_embeddings=True,
        vision_config={
            "hidden_size": VISION_SIZE,
            "intermediate_size": 8,
            "num_hidden_layers": 0,
            "num_attention_heads": 8,
            "image_size": STRIP_HEIGHT,
            "patch_size": FRAME_PIXELS,
        },
        perceiver_config=dict(PERCEIVER),
        text_config={**text_config, "model_type": "llama"},
    )


class NanoVision(nn.Module):
    """(N, 3, 48, W) strips and their frames (N,) -> features with place codes (N, T, 160), as the connector wants them.

    The character head only counts letters here; what they are is left to the connector.
    """

    def __init__(self) -> None:
        super().__init__()
        self.tower = LineTower()
        self.head = CharacterHead(len(ALPHABET))

    def forward(self, pixel_values: Tensor, frames: Tensor) -> BaseModelOutputWithPooling:
        features = self.tower(pixel_values, frames)
        return BaseModelOutputWithPooling(last_hidden_state=with_place(features, self.head(features), frames))


class NanoModel(Idefics2Model):
    """Idefics2's body with nano's tower and connector."""

    def __init__(self, config: Idefics2Config) -> None:
        super().__init__(config)
        self.vision_model = NanoVision()
        self.connector = SpellingConnector(config)
        self.post_init()

    def get_image_features(
        self, pixel_values: Tensor, pixel_attention_mask: Tensor | None = None, **_: Any
    ) -> BaseModelOutputWithPooling:
        """`pixel_values` (batch, images, 3, 48, W), `pixel_attention_mask` (batch, images, 48, W), 1 where a strip is.

        `pooler_output`: for each sample (64 x its images, hidden). An image without a single real column is padding.
        """
        count = pixel_values.shape[1]
        pixels = pixel_values.flatten(0, 1).to(self.dtype)
        if pixel_attention_mask is None:
            pixel_attention_mask = torch.ones_like(pixel_values[:, :, 0])
        columns = pixel_attention_mask.flatten(0, 1)[:, 0].sum(-1)
        frames = (columns // FRAME_PIXELS).long()
        real = frames > 0
        outputs = self.vision_model(pixels[real], frames[real])
        hidden = outputs.last_hidden_state
        mask = torch.arange(hidden.shape[1], device=hidden.device)[None] < frames[real][:, None]
        pooled = self.connector(hidden, attention_mask=mask)
        per_sample = real.view(-1, count).sum(1).tolist()
        outputs.pooler_output = [rows.reshape(-1, rows.shape[-1]) for rows in pooled.split(per_sample)]
        return outputs


class NanoForConditionalGeneration(Idefics2ForConditionalGeneration):
    """Nano with its language model's head."""

    def __init__(self, config: Idefics2Config) -> None:
        super().__init__(config)
        self.model = NanoModel(config)
        self.post_init()


class NanoProcessor:
    """The interface of `Idefics2Processor`: chat template, `<image>` expansion, pixels. Strips take the place of photos."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.image_token_id = int(tokenizer.convert_tokens_to_ids(IMAGE_TOKEN))
        self.around_token_id = int(tokenizer.convert_tokens_to_ids(AROUND_TOKEN))

    def reading_text(self) -> str:
        """The prompt that has one strip read, with the image's tokens in place."""
        image = AROUND_TOKEN + IMAGE_TOKEN * IMAGE_SEQ_LEN + AROUND_TOKEN
        return f"<|im_start|>user\n{image}{READ_PROMPT}<|im_end|>\n<|im_start|>assistant\n"

    def letter_ids(self, text: str) -> list[int]:
        """`text` as nano writes a reading: a token a letter, as its pooled tokens spell it, never longer pieces.

        Decoding them gives `text` back. Whoever trains on transcriptions makes labels with this, or the model unlearns it.
        """
        return [i for letter in text for i in self.tokenizer.encode(letter, add_special_tokens=False)]

    def apply_chat_template(
        self, messages: Sequence[dict[str, Any]], add_generation_prompt: bool = False
    ) -> str:
        """Messages with typed parts (`{"type": "text", "text": ...}`, `{"type": "image"}`) as SmolLM2's chat text."""
        plain = [
            {"role": message["role"], "content": "".join(_part(part) for part in message["content"])}
            for message in messages
        ]
        return str(
            self.tokenizer.apply_chat_template(
                plain, add_generation_prompt=add_generation_prompt, tokenize=False
            )
        )

    def __call__(
        self,
        text: Sequence[str],
        images: Sequence[Sequence[Image | np.ndarray]] | None = None,
        return_tensors: str = "pt",
    ) -> BatchFeature:
        """Token ids (left-padded), attention mask, and for images `pixel_values` (B, n, 3, 48, W) with their mask.

        Raises ValueError where a text's `<image>` marks are not as many as its images.
        """
        strips = [[prepare_strip(image) for image in row] for row in images or [[] for _ in text]]
        expanded = []
        for prompt, row in zip(text, strips, strict=True):
            if prompt.count("<image>") != len(row):
                raise ValueError(f"{prompt.count('<image>')} image marks for {len(row)} images")
            expanded.append(
                prompt.replace("<image>", AROUND_TOKEN + IMAGE_TOKEN * IMAGE_SEQ_LEN + AROUND_TOKEN)
            )
        encoded = self.tokenizer(
            expanded,
            add_special_tokens=False,
            padding=True,
            padding_side="left",
            return_tensors=return_tensors,
        )
        data = {"input_ids": encoded["input_ids"], "attention_mask": encoded["attention_mask"]}
        if any(strips):
            data |= _pixels(strips)
        return BatchFeature(data)

    def batch_decode(self, ids: Any, skip_special_tokens: bool = True) -> list[str]:
        return list(self.tokenizer.batch_decode(ids, skip_special_tokens=skip_special_tokens))


def _part(part: dict[str, Any]) -> str:
    # Nobody's text may stand for an image: the marks of their own are broken up.
    return "<image>" if part["type"] == "image" else str(part["text"]).replace("<image>", "< image >")


def _pixels(strips: list[list[np.ndarray]]) -> dict[str, Tensor]:
    pixels, frames = pad_strips([strip for row in strips for strip in row])
    most = max(len(row) for row in strips)
    batch = torch.zeros(len(strips), most, *pixels.shape[1:])
    mask = torch.zeros(len(strips), most, STRIP_HEIGHT, pixels.shape[3], dtype=torch.long)
    at = 0
    for number, row in enumerate(strips):
        for place in range(len(row)):
            batch[number, place] = torch.from_numpy(pixels[at])
            mask[number, place, :, : int(frames[at]) * FRAME_PIXELS] = 1
            at += 1
    return {"pixel_values": batch, "pixel_attention_mask": mask}


def build(
    language_folder: Path, weights: Path, dtype: torch.dtype = torch.float32
) -> tuple[Any, NanoProcessor]:
    """Nano and its processor: SmolLM2 from `language_folder`, tower and connector from `weights` (assets/nano).

    Without a trained connector in `weights` the model still chats over text.
    """
    tokenizer = AutoTokenizer.from_pretrained(language_folder)
    processor = NanoProcessor(tokenizer)
    text_config = AutoConfig.from_pretrained(language_folder).to_dict()
    config = nano_config(text_config, processor.image_token_id)
    with torch.device("meta"):
        model = NanoForConditionalGeneration(config)
    model.to_empty(device="cpu")
    language = LlamaForCausalLM.from_pretrained(language_folder, dtype=dtype)
    model.model.text_model = language.model
    model.lm_head = language.lm_head
    _fill(model, weights, tokenizer, dtype)
    model.generation_config.eos_token_id = [tokenizer.eos_token_id]
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return model.eval(), processor


def _fill(model: Any, weights: Path, tokenizer: Any, dtype: torch.dtype) -> None:
    """Tower and connector weights in place; the letters are the language model's own embeddings."""
    state = {k: v.to(dtype) for k, v in load_file(weights / "tower.safetensors").items()}
    model.model.vision_model.load_state_dict(state)
    model.model.vision_model.to(dtype)
    connector = SpellingConnector(model.config).to(dtype)
    file = weights / "connector.safetensors"
    if file.exists():
        connector.load_state_dict({k: v.to(dtype) for k, v in load_file(file).items()}, strict=False)
    with torch.no_grad():
        connector.letters.copy_(letter_embeddings(model.get_input_embeddings().weight, tokenizer).to(dtype))
    model.model.connector = connector
