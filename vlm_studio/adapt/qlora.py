"""QLoRA on Idefics2: its weights in 4 bits as they are, a LoRA beside them learned from a person's corrected lines.

``python -m vlm_studio.adapt.qlora FOLDER``, in a process of its own; the folder is that of adapt/job.py, with the folder
of a checkpoint in place of nano's. Rank and target modules after the authors' own fine-tuning recipe (language model,
modality projection and perceiver; the vision tower is left alone), one line at a time with accumulated gradients, and
activations recomputed on the way back: what decides is memory, and `need` says it before anything is loaded.
"""

from __future__ import annotations

import json
import os
import random
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from peft import LoraConfig, get_peft_model_state_dict, inject_adapter_in_model
from PIL import Image as PilImage
from PIL.Image import Image
from safetensors.torch import save
from torch import Tensor, nn
from transformers import Idefics2ForConditionalGeneration

from vlm_studio.adapt.job import CHECKPOINT, CONFIG, WEIGHTS, add_point, control, read_job
from vlm_studio.core.adapters import TrainPoint, TrainSettings
from vlm_studio.core.errors import ModelUnavailable
from vlm_studio.core.ports import ModelCard
from vlm_studio.model.adapter_file import clean_config, parse_adapter
from vlm_studio.model.checkpoint import Reached, read_checkpoint, write_checkpoint
from vlm_studio.model.engine import LoadedModel
from vlm_studio.model.files import replace_file
from vlm_studio.model.loading import load, parameters, read_config
from vlm_studio.model.machine import Machine, choose
from vlm_studio.model.memory import GIB, size
from vlm_studio.model.processor import FeedPlan, assemble, batched

TARGETS = re.compile(
    r"model\.(text_model|connector\.(modality_projection|perceiver_resampler))\..*\b"
    r"(q|k|v|o|gate|up|down)_proj"
)
END = "<end_of_utterance>"
EVERY = 5
"""Steps between two points of the curve, each with a checkpoint."""
BYTES_PER_TRAINED = 16
"""A number that is trained in float32: itself, its gradient, Adam's two moments."""
TEXT_TOKENS = 120
"""Of a prompt and a long line."""
OVERHEAD = int(0.8 * GIB)
"""The CUDA context and what its allocator cannot use."""


@dataclass(frozen=True, slots=True)
class Need:
    """Bytes on the device while training, at a batch of one line."""

    weights: int
    trained: int
    """The adapter with gradients and moments."""
    activations: int
    """Kept layer inputs, one layer recomputed, and the scores of every token."""

    @property
    def total(self) -> int:
        return self.weights + self.trained + self.activations + OVERHEAD

    def sentence(self, free: int) -> str:
        """For the person, with what is free."""
        told = (
            f"Training needs about {size(self.total)} of graphics memory: {size(self.weights)} for the weights, "
            f"{size(self.trained)} for the adapter with its optimiser, {size(self.activations)} for one line"
        )
        return (
            f"{told}; {size(free)} are free."
            if self.total > free
            else f"{told}. {size(free)} are free: it fits."
        )


def need(config: Any, weights: int, rank: int, tokens: int, item: int = 2) -> Need:
    """`weights`: bytes of the loaded model (LoadPlan.need_bytes); `tokens` of one line with its answer, image included."""
    text = config.text_config
    kept = text.num_hidden_layers * tokens * text.hidden_size * item
    layer = tokens * (4 * text.hidden_size + 3 * text.intermediate_size) * item
    # Scores and their gradient are in float32, over the whole vocabulary.
    scores = 2 * tokens * text.vocab_size * 4
    return Need(weights, rank * _sides(config) * BYTES_PER_TRAINED, kept + layer + scores)


def forecast(folder: Path, rank: int, machine: Machine) -> Need:
    """For a checkpoint, without loading it. Raises ModelUnavailable where the machine cannot, saying what it lacks."""
    config = read_config(folder)
    if machine.kind != "cuda":
        raise ModelUnavailable(
            "Teaching a model of the hub needs a CUDA graphics card.",
            "nano learns your hand on any processor.",
        )
    plan = choose(machine, parameters(config), "nf4")
    found = need(config, plan.need_bytes, rank, config.perceiver_config.resampler_n_latents + TEXT_TOKENS)
    if found.total > machine.free_bytes:
        raise ModelUnavailable(found.sentence(machine.free_bytes), "Close what else uses that memory.")
    return found


def _sides(config: Any) -> int:
    """Sum of inputs and outputs of every targeted module: what a LoRA of rank 1 has in numbers."""
    with torch.device("meta"):
        model = Idefics2ForConditionalGeneration(config)
    return sum(m.in_features + m.out_features for n, m in model.named_modules() if TARGETS.fullmatch(n))


class LineLearner:
    """A LoRA on a loaded model, and the loss of a line."""

    def __init__(self, loaded: LoadedModel, settings: TrainSettings) -> None:
        self.loaded, self.settings = loaded, settings
        torch.manual_seed(settings.seed)
        names = [name for name, _ in loaded.model.named_modules() if TARGETS.fullmatch(name)]
        config = LoraConfig(r=settings.rank, lora_alpha=settings.rank, target_modules=names)
        self.model: Any = inject_adapter_in_model(config, loaded.model)
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_("lora_" in name)
            if "lora_" in name:
                # Steps of a learning rate are too small for half precision.
                parameter.data = parameter.data.float()
        self.model.gradient_checkpointing_enable({"use_reentrant": False})

    @property
    def trained(self) -> list[nn.Parameter]:
        return [p for p in self.model.parameters() if p.requires_grad]

    def loss(self, strip: Image, text: str) -> Tensor:
        """Mean next-token loss of the answer alone: the prompt is given, not learned."""
        feeder = self.loaded.feeder
        (image, *_rest) = feeder.reading_images(strip)
        given = assemble(feeder, feeder.reading_text(), ["line"], [image], FeedPlan("off"))
        inputs, _ = batched(feeder, given)
        answer = feeder.tokenizer(f" {text}{END}", add_special_tokens=False)["input_ids"]
        ids = torch.cat([inputs["input_ids"], torch.tensor([answer])], 1)
        device, dtype = self.model.device, self.model.dtype
        fed = {
            "input_ids": ids.to(device),
            "attention_mask": torch.ones_like(ids).to(device),
            "pixel_values": inputs["pixel_values"].to(device, dtype),
            "pixel_attention_mask": inputs["pixel_attention_mask"].to(device),
        }
        scores = self.model(**fed, use_cache=False, logits_to_keep=len(answer) + 1).logits[0, :-1]
        return F.cross_entropy(scores.float(), torch.tensor(answer, device=device))

    def export(self) -> tuple[dict[str, Any], bytes]:
        """(configuration, weights in half precision) as PEFT has them."""
        state = get_peft_model_state_dict(self.model)
        weights = save(
            {f"base_model.model.{k}": v.detach().half().cpu().contiguous() for k, v in state.items()}
        )
        rank = self.settings.rank
        raw = {"peft_type": "LORA", "r": rank, "lora_alpha": rank}
        return clean_config(parse_adapter(raw, weights), self.loaded.card.name), weights


def learn(folder: Path, loaded: LoadedModel) -> bool:
    """Train in the folder of a job, from its last checkpoint on; False where it was asked to stop before its end."""
    job = read_job(folder)
    settings, started = job.settings, time.monotonic()
    learner = LineLearner(loaded, settings)
    optimiser = torch.optim.AdamW(learner.trained, lr=settings.rate, weight_decay=0.01)
    lines = [(_opened(folder / "lines" / line.file), line.text) for line in job.learn]
    held = [(_opened(folder / "lines" / line.file), line.text) for line in job.check[:8]]
    step = read_checkpoint(folder / CHECKPOINT, learner.trained, optimiser).step
    learner.model.train()
    while step < settings.steps:
        while (word := control(folder)) == "pause":
            time.sleep(0.2)
        if word == "stop":
            write_checkpoint(folder / CHECKPOINT, Reached(step), learner.trained, optimiser)
            return False
        total = 0.0
        for strip, text in random.Random(f"{settings.seed}-{step}").choices(lines, k=settings.batch):
            loss = learner.loss(strip, text) / settings.batch
            loss.backward()
            total += float(loss.detach())
        nn.utils.clip_grad_norm_(learner.trained, 1.0)
        optimiser.step()
        optimiser.zero_grad()
        step += 1
        if step % EVERY == 0 or step == settings.steps:
            write_checkpoint(folder / CHECKPOINT, Reached(step), learner.trained, optimiser)
            add_point(folder, TrainPoint("train", step, settings.steps, time.monotonic() - started, total))
    config, weights = learner.export()
    replace_file(folder / WEIGHTS, weights)
    replace_file(folder / CONFIG, json.dumps(config, indent=1).encode())
    last = mean_loss(learner, held)
    add_point(folder, TrainPoint("done", step, settings.steps, time.monotonic() - started, last))
    return True


@torch.no_grad()
def mean_loss(learner: LineLearner, lines: Sequence[tuple[Image, str]]) -> float | None:
    """Of held-out lines; None where there are none."""
    if not lines:
        return None
    learner.model.eval()
    return sum(float(learner.loss(strip, text)) for strip, text in lines) / len(lines)


def _opened(path: Path) -> Image:
    with PilImage.open(path) as image:
        return image.convert("RGB")


def main(argv: Sequence[str]) -> int:
    """0: the adapter is there; 3: stopped, with a checkpoint."""
    folder = Path(argv[0])
    os.environ["HF_HUB_OFFLINE"] = "1"
    checkpoint = Path(read_job(folder).base)
    card = ModelCard(checkpoint.name, checkpoint.name, "", True, True, "pages", 64, 980, "", {})
    return 0 if learn(folder, load(checkpoint, card, "")) else 3


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
