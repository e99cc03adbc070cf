"""Stage 2 on cached tower features: the language model learns to read what the pooled tokens spell, letter by letter.

One adapter on the whole model: LoRA on the language model and the connector, or with `--frozen` its twin, on the connector
alone. Both start from the same weights and see the same lines in the same order.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from peft import LoraConfig
from safetensors.torch import load_file
from torch import Tensor
from transformers import DynamicCache

from vlm_studio.model.checkpoint import Reached, read_checkpoint, write_checkpoint
from vlm_studio.model.nano import IMAGE_SEQ_LEN, NanoProcessor, build
from vlm_studio.recipe.branches import learned_of, put_on, with_lora
from vlm_studio.recipe.evaluate import score
from vlm_studio.recipe.features import MAX_LETTERS, Line, load_reader, read_shards
from vlm_studio.recipe.lines import Stacker, held_out, log, shared_arguments

LANGUAGE = r"model\.text_model\.layers\.\d+\.(self_attn|mlp)\.\w+_proj"
CONNECTOR = r"model\.connector\.(speller|modality_projection\.\w+_proj|perceiver_resampler\.layers\.\d+\.(self_attn|mlp)\.\w+_proj)"
FEW = 16
"""Held-out lines of each kind that are read on the way; at the end all are."""
SHORT = 14
"""Letters of the longest lines of the first steps."""
LONGEST = 80
"""Output tokens of one line when it is measured."""


def lora(frozen: bool) -> LoraConfig:
    """Rank 16 on every linear layer of language model and connector; of the connector alone for the twin."""
    return LoraConfig(
        r=16, lora_alpha=32, target_modules=CONNECTOR if frozen else f"({LANGUAGE}|{CONNECTOR})"
    )


class Reading:
    """Nano under training, fed with cached features in place of strips."""

    def __init__(self, model: Any, processor: NanoProcessor, stacker: Stacker) -> None:
        self.model, self.processor, self.stacker = model, processor, stacker
        self.base = model.base_model.model
        self.prompt: list[int] = processor.tokenizer.encode(
            processor.reading_text(), add_special_tokens=False
        )
        self.first = self.prompt.index(processor.image_token_id)
        self.end = int(processor.tokenizer.eos_token_id)

    def embedded(self, ids: Tensor, lines: list[Line], kept: int = IMAGE_SEQ_LEN) -> Tensor:
        """(N, L, 576) of prompts and what follows them, with the lines' first `kept` pooled tokens in place."""
        pooled = self.base.model.connector(*self.stacker(lines))
        rows = self.base.get_input_embeddings()(ids)
        after = self.first + pooled.shape[1]
        return torch.cat([rows[:, : self.first], pooled[:, :kept].to(rows.dtype), rows[:, after:]], 1)

    def loss(self, lines: list[Line], trimmed: bool = False) -> Tensor:
        """Mean next-token loss of the lines' letters and their end.

        `trimmed` leaves most of the blanks behind the letters away: cheaper, and nearly the same thing to learn.
        """
        kept = min(IMAGE_SEQ_LEN, max(len(text) for _f, text in lines) + 3) if trimmed else IMAGE_SEQ_LEN
        answers = [[*self.processor.letter_ids(text), self.end] for _f, text in lines]
        longest = max(map(len, answers))
        ids = torch.tensor([self.prompt + a + [self.end] * (longest - len(a)) for a in answers])
        labels = torch.tensor([a + [-100] * (longest - len(a)) for a in answers])
        ids, labels = ids.to(self.stacker.device), labels.to(self.stacker.device)
        # Nothing after a row's end is scored and nothing before it can see it: no mask is needed.
        hidden = self.base.model.text_model(inputs_embeds=self.embedded(ids, lines, kept), use_cache=False)[0]
        wanted = labels != -100
        logits = self.base.lm_head(hidden[:, -longest - 1 : -1][wanted])
        return F.cross_entropy(logits.float(), labels[wanted])

    @torch.inference_mode()
    def read(self, lines: list[Line]) -> list[str]:
        """Greedy readings, all lines side by side."""
        ids = torch.tensor([self.prompt] * len(lines), device=self.stacker.device)
        cache = DynamicCache()
        fed = {"inputs_embeds": self.embedded(ids, lines)}
        tokens: list[Tensor] = []
        done = torch.zeros(len(lines), dtype=torch.bool, device=ids.device)
        while len(tokens) < LONGEST and not bool(done.all()):
            hidden = self.base.model.text_model(**fed, past_key_values=cache, use_cache=True)[0]
            best = self.base.lm_head(hidden[:, -1]).argmax(-1)
            done |= best == self.end
            tokens.append(torch.where(done, self.end, best))
            fed = {"input_ids": tokens[-1][:, None]}
        return [t.strip() for t in self.processor.batch_decode(torch.stack(tokens, 1))]


def batches(lines: list[Line], size: int, seed: int, grow: int) -> Iterator[list[Line]]:
    """Batches of lines of similar length, for ever; the same for the same seed.

    The longest lines allowed grow over the first `grow` batches: copying is learned on short ones for half the price.
    """
    rng = random.Random(seed)
    order: list[Line] = []
    made = 0
    while True:
        longest = SHORT + (MAX_LETTERS - SHORT) * min(1.0, made / max(1, grow))
        pool: list[Line] = []
        while len(pool) < 4 * size:
            if not order:
                order = rng.sample(lines, len(lines))
            line = order.pop()
            if len(line[1]) <= longest:
                pool.append(line)
        pool.sort(key=lambda line: len(line[1]))
        groups = [pool[k : k + size] for k in range(0, len(pool), size)]
        rng.shuffle(groups)
        made += len(groups)
        yield from groups


def train(args: argparse.Namespace) -> None:
    """Train for `args.steps`; goes on from the last checkpoint of the same kind in `args.out`."""
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    kind = "frozen" if args.frozen else "reading"
    curve, kept = args.out / f"{kind}.jsonl", args.out / f"{kind}.state"
    base, processor = build(args.language, args.reader.parent)
    base.model.connector.load_state_dict(load_file(args.out / "connector.safetensors"))
    model = with_lora(base, lora(args.frozen), args.device)
    _tower, head = load_reader(args.reader)
    reading = Reading(model, processor, Stacker(head, args.device))
    learned = learned_of(model)
    parameters = sum(p.numel() for p in learned)
    optimiser = torch.optim.AdamW(learned, weight_decay=0.0, betas=(0.9, 0.98))
    reached = read_checkpoint(kept, learned, optimiser)
    first, used = reached.step, reached.seconds
    if args.adapter and not first:
        put_on(model, args.adapter)
        first, used = args.first, args.seconds
    started = first if args.adapter else 0
    last = min(args.steps, args.until or args.steps)
    held = held_out(args)
    began, saved = time.monotonic() - used, time.monotonic()
    losses: list[float] = []
    for step, batch in enumerate(
        batches(read_shards(args.features), args.batch, args.seed, args.steps // 2), start=1
    ):
        if step > last:
            break
        if step <= first:
            continue
        loss = reading.loss(batch, trimmed=step <= args.trimmed * args.steps)
        for group in optimiser.param_groups:
            group["lr"] = args.rate * min(1.0, (step - started) / 10) * (1 - 0.9 * step / args.steps)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learned, 1.0)
        optimiser.step()
        optimiser.zero_grad()
        losses.append(float(loss.detach()))
        seconds = round(time.monotonic() - began)
        row = {"step": step, "lines": step * args.batch, "seconds": seconds, "parameters": parameters}
        if step % 5 == 0:
            log(curve, {**row, "loss": round(sum(losses[-5:]) / len(losses[-5:]), 4)})
        if step % args.check == 0 or step == last:
            few = {k: v[: None if step == last else FEW] for k, v in held.items()}
            log(curve, {**row, "read": sum(map(len, few.values())), "cer": measured(reading, few)})
        if time.monotonic() - saved > 60 * args.every or step == last:
            saved = time.monotonic()
            model.save_pretrained(args.out / kind)
            write_checkpoint(kept, Reached(step, seconds), learned, optimiser)


def measured(reading: Reading, held: dict[str, list[Line]]) -> dict[str, float]:
    """CER of greedy reading on each held-out set."""
    reading.model.eval()
    found = {}
    for name, rows in held.items():
        read = reading.read(rows)
        truth = [text for _f, text in rows]
        found[name] = round(score(read, truth).cer, 4)
        print(name, list(zip(read[:3], truth[:3], strict=True)), flush=True)
    reading.model.train()
    return found


def main(argv: Sequence[str] | None = None) -> None:
    """Command line of stage 2."""
    parser = argparse.ArgumentParser(description=__doc__)
    shared_arguments(parser)
    parser.add_argument("--features", type=Path, required=True, help="shards of stage 0's tower")
    parser.add_argument("--frozen", action="store_true", help="leave the language model alone")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--until", type=int, help="leave off after this step, before the schedule is over")
    parser.add_argument("--adapter", type=Path, help="start from this one, with moments of zero")
    parser.add_argument("--first", type=int, default=0, help="steps that --adapter has had")
    parser.add_argument("--seconds", type=float, default=0, help="that these took")
    parser.add_argument(
        "--trimmed", type=float, default=0.6, help="share of the steps without the blanks behind a line"
    )
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--check", type=int, default=100, help="steps between readings of the held-out lines")
    parser.add_argument("--every", type=float, default=5, help="minutes between checkpoints")
    train(parser.parse_args(argv))


if __name__ == "__main__":
    main()
