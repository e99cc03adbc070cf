"""Stage 1 on cached tower features: the connector learns that each of its 64 pooled tokens spells one letter."""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, Idefics2Config, LlamaForCausalLM

from vlm_studio.model.spelling import PERCEIVER, VISION_SIZE, SpellingConnector, letter_embeddings
from vlm_studio.recipe.connector_start import warm_start
from vlm_studio.recipe.features import load_reader, read_shards
from vlm_studio.recipe.lines import Stacker, held_out, log, shared_arguments, spelled_cer

BLANK_TEXT = "\n"
"""What a blank pooled token looks like to the language model at first: the end of a line."""


def new_connector() -> SpellingConnector:
    """The connector at nano's geometry, untrained."""
    config = Idefics2Config(
        vision_config={"hidden_size": VISION_SIZE},
        perceiver_config=dict(PERCEIVER),
        text_config={
            "model_type": "llama",
            "hidden_size": 576,
            "intermediate_size": 1536,
            "hidden_act": "silu",
        },
    )
    return SpellingConnector(config)


def started(args: argparse.Namespace, features: torch.Tensor) -> SpellingConnector:
    """A connector that spells from the first step, with the language model's letters."""
    connector = new_connector()
    _tower, head = load_reader(args.reader)
    warm_start(connector, head, features, torch.Generator().manual_seed(args.seed))
    tokenizer: Any = AutoTokenizer.from_pretrained(args.language)
    language = LlamaForCausalLM.from_pretrained(args.language, dtype=torch.float32)
    table = language.get_input_embeddings().weight
    with torch.no_grad():
        connector.letters.copy_(letter_embeddings(table, tokenizer))
        connector.blank.copy_(table[tokenizer.encode(BLANK_TEXT, add_special_tokens=False)[0]])
    return connector


def train(args: argparse.Namespace) -> None:
    """Train for `args.minutes`; goes on from `connector.safetensors` of `args.out` where there is one."""
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    file, curve = args.out / "connector.safetensors", args.out / "connector.jsonl"
    lines = read_shards(args.features)
    connector = started(args, torch.cat([f for f, _ in lines[:64]]))
    if file.exists():
        connector.load_state_dict(load_file(file))
    _tower, head = load_reader(args.reader)
    connector.to(args.device)
    stacker = Stacker(head, args.device)
    held = held_out(args)
    learned = [p for p in connector.parameters() if p.requires_grad]
    parameters = sum(p.numel() for p in learned)
    optimiser = torch.optim.AdamW(learned, weight_decay=0.01)
    rng, began, checked, step = random.Random(args.seed), time.monotonic(), float("-inf"), 0
    losses: list[float] = []
    while True:
        elapsed = time.monotonic() - began
        ends = elapsed >= 60 * args.minutes
        if ends or time.monotonic() - checked > 60 * args.every:
            checked = time.monotonic()
            row = {
                "step": step,
                "lines": step * args.batch,
                "seconds": round(elapsed),
                "parameters": parameters,
            }
            mean = round(sum(losses) / len(losses), 4) if losses else None
            cer = {name: spelled_cer(connector, stacker, rows) for name, rows in held.items()}
            log(curve, {**row, "loss": mean, "cer": cer})
            save_file({k: v.contiguous() for k, v in connector.state_dict().items()}, file)
            losses = []
        if ends:
            return
        batch = rng.sample(lines, args.batch)
        scores = connector.spelled(*stacker(batch))
        loss = F.cross_entropy(scores.flatten(0, 1), stacker.targets(batch).flatten(), ignore_index=-100)
        rate = args.rate * min(1, step / 20) * (1 - 0.95 * elapsed / (60 * args.minutes))
        for group in optimiser.param_groups:
            group["lr"] = rate
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learned, 1.0)
        optimiser.step()
        losses.append(float(loss.detach()))
        step += 1


def main(argv: Sequence[str] | None = None) -> None:
    """Command line of stage 1."""
    parser = argparse.ArgumentParser(description=__doc__)
    shared_arguments(parser)
    parser.add_argument("--features", type=Path, required=True, help="shards of stage 0's tower")
    parser.add_argument("--minutes", type=float, default=6)
    parser.add_argument("--every", type=float, default=1, help="minutes between checkpoints")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=1e-4)
    train(parser.parse_args(argv))


if __name__ == "__main__":
    main()
