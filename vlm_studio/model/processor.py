"""What a model is fed: prompt ids, images cut into crops, and where each crop's pooled tokens stand among the ids.

Every crop is prepared by itself, never padded to its neighbours: what a crop looks like to the model does not
depend on what else was sent with it, so its pooled tokens can be kept, and no padding is ever encoded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import numpy as np
import torch
from PIL import Image as PilImage
from torch import Tensor

from vlm_studio.core.conversation import Ask, ImagePart, Splitting, Turn
from vlm_studio.core.documents import Box
from vlm_studio.core.errors import InvalidRequest
from vlm_studio.core.traces import Crop
from vlm_studio.model.characters import FRAME_PIXELS, STRIP_HEIGHT, prepare_strip, strip_width
from vlm_studio.model.tiles import cut_at_gaps, paper_colour, splits, tiles, wrapped

Image = PilImage.Image

TEMPLATE = (
    "{% for message in messages %}{{ message['role'].capitalize() }}"
    "{% if message['content'][0]['type'] == 'image' %}{{ ':' }}{% else %}{{ ': ' }}{% endif %}"
    "{% for part in message['content'] %}{% if part['type'] == 'text' %}{{ part['text'] }}"
    "{% elif part['type'] == 'image' %}{{ '<image>' }}{% endif %}{% endfor %}<end_of_utterance>\n{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)
"""Idefics2's chat template, for checkpoints that come without one."""
STRIP_RATIO = 16
"""Width over height of the longest strip that nano is given in one piece."""
READ_PROMPT = "Read the line."
READ_PROMPT_PAGES = "Transcribe the handwritten text exactly. Answer with the text only."


@dataclass(frozen=True, slots=True)
class FeedPlan:
    """How much of the images is fed; each step of the memory ladder gives up a little of it."""

    splitting: Splitting = "auto"
    longest_edge: int = 980
    """Pixels; crops are scaled down to it."""
    images: int | None = None
    """Only the first so many images; None: all of them."""


@dataclass(frozen=True, slots=True)
class Cut:
    """A part of an image before it becomes a tensor."""

    kind: Literal["tile", "whole", "strip"]
    box: Box
    """In pixels of the image; right and bottom may lie beyond it, where paper is continued."""
    size_hw: tuple[int, int]
    """Pixels height, width that the tower is fed."""


@dataclass(frozen=True, slots=True)
class FedCrop:
    """A crop of a request: where it comes from, where its pooled tokens go."""

    crop: Crop
    cut: Cut
    number: int
    """Of its image among those that are fed, 0-based."""


@dataclass(frozen=True, slots=True)
class ModelInput:
    """A request as token ids and crops; pixels are made only for crops that are really encoded."""

    ids: tuple[int, ...]
    fed: tuple[FedCrop, ...]
    images: tuple[Image, ...]

    @property
    def crops(self) -> tuple[Crop, ...]:
        return tuple(f.crop for f in self.fed)


class Feeder(Protocol):
    """Prepares requests for one kind of model."""

    tokenizer: Any
    image_token_id: int
    image_seq_len: int
    begins: bool
    """Whether the tokenizer puts its own begin mark in front of a chat."""
    mixes: bool
    """Whether the tower gives a padded crop exactly what it gives it alone."""

    def cuts(self, image: Image, plan: FeedPlan) -> tuple[Cut, ...]: ...

    def geometry(self, cut: Cut) -> tuple[tuple[int, int], tuple[int, int]]:
        """Rows and columns of patches of a crop fed alone, and the size of a patch in fed pixels."""
        ...

    def pixels(self, image: Image, cut: Cut) -> Tensor:
        """(3, H, W) of a part of `image`; all of it real."""
        ...

    def text(self, turns: Sequence[Turn]) -> str:
        """The chat as text with one ``<image>`` per image."""
        ...

    def expanded(self, text: str, crops: Sequence[int]) -> str:
        """Each ``<image>`` replaced by the marks of its crops."""
        ...

    def reading_text(self) -> str:
        """The prompt that has one strip read."""
        ...

    def reading_images(self, strip: Image) -> list[Image]:
        """The strip as one image or several, in reading order, each read with `reading_text`."""
        ...


def prepare(feeder: Feeder, ask: Ask, images: Mapping[str, Image], plan: FeedPlan) -> ModelInput:
    """What `feeder`'s model is fed for `ask`. Raises InvalidRequest for a message without words."""
    turns = tuple(first_images(ask.turns, plan.images))
    if not any(turn.text for turn in turns):
        raise InvalidRequest("The message is empty.", "Type a question.")
    order = [part.image_sha256 for turn in turns for part in turn.images]
    return assemble(feeder, feeder.text(turns), order, [images[sha] for sha in order], plan)


def assemble(
    feeder: Feeder, text: str, order: Sequence[str], pictures: Sequence[Image], plan: FeedPlan
) -> ModelInput:
    """Ids of `text` with its ``<image>`` marks expanded, and the crops of `pictures` placed among them."""
    cuts = [feeder.cuts(picture, plan) for picture in pictures]
    marked = feeder.expanded(text, [len(c) for c in cuts])
    ids: list[int] = feeder.tokenizer(marked, add_special_tokens=feeder.begins)["input_ids"]
    places = [at for at, token in enumerate(ids) if token == feeder.image_token_id]
    fed: list[FedCrop] = []
    for number, (sha, parts) in enumerate(zip(order, cuts, strict=True)):
        for ordinal, cut in enumerate(parts):
            mine = places[len(fed) * feeder.image_seq_len :][: feeder.image_seq_len]
            patches, patch_px = feeder.geometry(cut)
            crop = Crop(
                image_sha256=sha,
                ordinal=ordinal,
                kind=cut.kind,
                box=cut.box,
                patch_hw=patches,
                grid_hw=_grid(cut, patches),
                token_positions=(mine[0], mine[-1] + 1),
                model_size_hw=cut.size_hw,
                patch_px=patch_px,
            )
            fed.append(FedCrop(crop, cut, number))
    return ModelInput(tuple(ids), tuple(fed), tuple(pictures))


def _grid(cut: Cut, patches: tuple[int, int]) -> tuple[int, int]:
    # A strip of nano is padded to whole frames; other crops are whole patches already.
    return (1, -(-cut.size_hw[1] // FRAME_PIXELS)) if cut.kind == "strip" else patches


def first_images(turns: Sequence[Turn], count: int | None) -> list[Turn]:
    """`turns` with only the first `count` images kept; None keeps all."""
    left = count if count is not None else len(turns) * 10_000
    kept = []
    for turn in turns:
        parts: list[Any] = []
        for part in turn.parts:
            if isinstance(part, ImagePart):
                left -= 1
                if left < 0:
                    continue
            parts.append(part)
        if parts:
            kept.append(replace(turn, parts=tuple(parts)))
    return kept


def batched(feeder: Feeder, given: ModelInput) -> tuple[dict[str, Tensor], tuple[Crop, ...]]:
    """`given` as one padded sample, the way the model's own processor makes it, and its crops on that padded grid."""
    ids = torch.tensor([given.ids])
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if not given.fed:
        return inputs, ()
    pixels, mask = stacked(feeder, given, given.fed)
    height, width = mask.shape[-2:]
    rows_px, cols_px = given.fed[0].crop.patch_px or (1, 1)
    grid = (height // rows_px, width // cols_px)
    inputs |= {"pixel_values": pixels, "pixel_attention_mask": mask}
    return inputs, tuple(replace(crop, grid_hw=grid) for crop in given.crops)


def stacked(feeder: Feeder, given: ModelInput, crops: Sequence[FedCrop]) -> tuple[Tensor, Tensor]:
    """Pixels (1, n, 3, H, W) and masks (1, n, H, W) of `crops`, padded to whole patches and the largest of them."""
    single = [feeder.pixels(given.images[f.number], f.cut) for f in crops]
    patch_px = crops[0].crop.patch_px or (1, 1)
    height, width = (
        -(-max(p.shape[axis] for p in single) // step) * step
        for axis, step in zip((-2, -1), patch_px, strict=True)
    )
    pixels = torch.zeros(1, len(single), 3, height, width)
    mask = torch.zeros(1, len(single), height, width, dtype=torch.long)
    for at, part in enumerate(single):
        rows, cols = part.shape[-2:]
        pixels[0, at, :, :rows, :cols] = part
        mask[0, at, :rows, :cols] = 1
    return pixels, mask


def harmless(text: str, tokenizer: Any) -> str:
    """`text` in which the tokenizer's control marks are broken up: nobody's words may end a turn or be an image."""
    marks = [str(t) for t in tokenizer.added_tokens_decoder.values() if t.special]
    pattern = "|".join(re.escape(m) for m in sorted({*marks, "<image>"}, key=len, reverse=True))
    return re.sub(pattern, lambda found: f"{found[0][0]} {found[0][1:]}", text)


def _messages(turns: Sequence[Turn], tokenizer: Any) -> list[dict[str, Any]]:
    return [
        {
            "role": turn.role,
            "content": [
                {"type": "image"}
                if isinstance(part, ImagePart)
                else {"type": "text", "text": harmless(part.text, tokenizer)}
                for part in turn.parts
            ],
        }
        for turn in turns
    ]


class StripFeeder:
    """For nano: an image is one strip of writing, 48 px high."""

    begins = False
    mixes = True

    def __init__(self, processor: Any, image_seq_len: int) -> None:
        self.processor = processor
        self.tokenizer = processor.tokenizer
        self.image_token_id = int(processor.image_token_id)
        self.image_seq_len = image_seq_len

    def cuts(self, image: Image, plan: FeedPlan) -> tuple[Cut, ...]:
        width = strip_width(image.width, image.height)
        return (Cut("strip", Box(0, 0, image.width, image.height), (STRIP_HEIGHT, width)),)

    def geometry(self, cut: Cut) -> tuple[tuple[int, int], tuple[int, int]]:
        return (1, max(1, cut.size_hw[1] // FRAME_PIXELS)), (STRIP_HEIGHT, FRAME_PIXELS)

    def pixels(self, image: Image, cut: Cut) -> Tensor:
        return torch.from_numpy(prepare_strip(image))

    def text(self, turns: Sequence[Turn]) -> str:
        if len(turns) == 1 and len(turns[0].images) == 1 and turns[0].text == READ_PROMPT:
            return self.reading_text()
        return str(
            self.processor.apply_chat_template(_messages(turns, self.tokenizer), add_generation_prompt=True)
        )

    def expanded(self, text: str, crops: Sequence[int]) -> str:
        around = self.tokenizer.convert_ids_to_tokens(self.processor.around_token_id)
        token = self.tokenizer.convert_ids_to_tokens(self.image_token_id)
        return text.replace("<image>", around + token * self.image_seq_len + around)

    def reading_text(self) -> str:
        # Exactly the turn that nano was trained with: no system message in front.
        return f"<|im_start|>user\n<image>{READ_PROMPT}<|im_end|>\n<|im_start|>assistant\n"

    def reading_images(self, strip: Image) -> list[Image]:
        # 64 pooled tokens spell about 60 characters.
        return cut_at_gaps(strip, -(-strip.width // (STRIP_RATIO * strip.height)))


class PageFeeder:
    """For Idefics2: an image is fed whole, or as four tiles and the whole."""

    begins = True
    mixes = False

    def __init__(self, processor: Any, patch: int, image_seq_len: int) -> None:
        self.processor = processor
        self.tokenizer = processor.tokenizer
        self.image_token_id = int(processor.image_token_id)
        self.image_seq_len = image_seq_len
        self.patch = patch
        size = processor.image_processor.size
        self.shortest, self.longest = int(size["shortest_edge"]), int(size["longest_edge"])
        self.mean = np.array(processor.image_processor.image_mean, dtype=np.float32)
        self.std = np.array(processor.image_processor.image_std, dtype=np.float32)

    def cuts(self, image: Image, plan: FeedPlan) -> tuple[Cut, ...]:
        whole = self._fitted("whole", Box(0, 0, image.width, image.height), plan.longest_edge)
        if not splits(image, plan.splitting, plan.longest_edge):
            return (whole,)
        return (*(self._fitted("tile", box, plan.longest_edge) for box in tiles(image)), whole)

    def _fitted(self, kind: Literal["tile", "whole"], box: Box, longest: int) -> Cut:
        """The crop's size in whole patches with its shape kept; what is too thin gets paper, never stretched."""
        scale = min(1.0, longest / max(box.width, box.height))
        shortest = min(self.shortest, longest)
        if min(box.width, box.height) * scale < shortest:
            scale = min(longest / max(box.width, box.height), shortest / min(box.width, box.height))
        height = max(shortest, self._whole(box.height * scale))
        width = max(shortest, self._whole(box.width * scale))
        if self._whole(box.height * scale) < shortest:
            box = Box(box.left, box.top, box.right, box.top + height / scale)
        if self._whole(box.width * scale) < shortest:
            box = Box(box.left, box.top, box.left + width / scale, box.bottom)
        return Cut(kind, box, (height, width))

    def _whole(self, pixels: float) -> int:
        # Patches that are not whole are never looked at: 13 px of the right and lower edge would be lost.
        return max(1, round(pixels / self.patch)) * self.patch

    def geometry(self, cut: Cut) -> tuple[tuple[int, int], tuple[int, int]]:
        rows, cols = cut.size_hw[0] // self.patch, cut.size_hw[1] // self.patch
        return (rows, cols), (self.patch, self.patch)

    def pixels(self, image: Image, cut: Cut) -> Tensor:
        part = _on_paper(image.convert("RGB"), cut.box)
        part = part.resize((cut.size_hw[1], cut.size_hw[0]), PilImage.Resampling.BILINEAR)
        values = (np.asarray(part, dtype=np.float32) / 255 - self.mean) / self.std
        return torch.from_numpy(values).permute(2, 0, 1)

    def text(self, turns: Sequence[Turn]) -> str:
        template = self.processor.chat_template or TEMPLATE
        return str(
            self.processor.apply_chat_template(
                _messages(_without_system(turns), self.tokenizer),
                chat_template=template,
                add_generation_prompt=True,
                tokenize=False,
            )
        )

    def expanded(self, text: str, crops: Sequence[int]) -> str:
        """As `Idefics2Processor` does it, but each image with its own number of crops."""
        fence, token = self.processor.fake_image_token, self.processor.image_token
        one = fence + token * self.image_seq_len + fence
        pieces = text.split(token)
        text = pieces[0] + "".join(one * n + piece for n, piece in zip(crops, pieces[1:], strict=True))
        text = text.replace(fence + fence, fence)
        return re.sub(rf"{re.escape(fence)}(?=[^\s<])", f"{fence} ", text)

    def reading_text(self) -> str:
        return f"User:<image>{READ_PROMPT_PAGES}<end_of_utterance>\nAssistant:"

    def reading_images(self, strip: Image) -> list[Image]:
        return [wrapped(strip, self.longest / self.shortest)]


def _on_paper(image: Image, box: Box) -> Image:
    """The part `box` of an RGB image; beyond the image, its paper goes on."""
    area = (round(box.left), round(box.top), round(box.right), round(box.bottom))
    if area[2] <= image.width and area[3] <= image.height:
        return image.crop(area)
    canvas = PilImage.new("RGB", (area[2] - area[0], area[3] - area[1]), paper_colour(image))
    canvas.paste(image.crop((area[0], area[1], min(area[2], image.width), min(area[3], image.height))))
    return canvas


def _without_system(turns: Sequence[Turn]) -> list[Turn]:
    """Idefics2 was trained without a system role: its words go in front of the first question."""
    system = tuple(part for turn in turns if turn.role == "system" for part in turn.parts)
    rest = [turn for turn in turns if turn.role != "system"]
    if system and rest:
        rest[0] = replace(rest[0], parts=(*system, *rest[0].parts))
    return rest
