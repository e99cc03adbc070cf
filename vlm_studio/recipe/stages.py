"""Stages 1 and 2 on cached tower features: the connector learns to spell, then the language model learns to read it.

Stage 1 trains the connector alone with CTC on its 64 pooled tokens. Stage 2 trains LoRA adapters and the connector with the
next-token loss of the verbatim line; its frozen twin sees the same lines in the same order with the language model frozen.
"""

from __future__ import annotations

import argparse
import copy
import json
import random
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoTokenizer, Idefics2Config, LlamaForCausalLM

from vlm_studio.model.characters import encode, prepare_strip, spell
from vlm_studio.model.spelling import PERCEIVER, VISION_SIZE, SpellingConnector, letter_embeddings, with_place
from vlm_studio.recipe.connector_start import warm_start
from vlm_studio.recipe.data import drawn_validation, load_copiste
from vlm_studio.recipe.evaluate import score
from vlm_studio.recipe.features import MAX_LETTERS, load_reader, read_shards
from vlm_studio.recipe.texts import load_texts

IMAGE_TOKEN = "<filename>"
AROUND_TOKEN = "<file_sep>"
"""Two tokens that SmolLM2 reserves and never meets in chat; using them leaves its embeddings untouched."""
PROMPT = "Read the line."
LORA = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
Line = tuple[Tensor, str]


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


def stack(lines: list[Line]) -> tuple[Tensor, Tensor]:
    """Connector input (N, T, 160) and its mask (N, T), bool."""
    frames = torch.tensor([len(f) for f, _ in lines])
    features = torch.zeros(len(lines), int(frames.max()), 120)
    for row, (found, _text) in enumerate(lines):
        features[row, : len(found)] = found
    return with_place(features, frames), torch.arange(features.shape[1])[None] < frames[:, None]


def spelling_loss(connector: SpellingConnector, lines: list[Line]) -> Tensor:
    """CTC of the pooled tokens, mean over lines of the loss per character."""
    scores = connector.spelled(*stack(lines)).log_softmax(-1)
    codes = [encode(text) for _f, text in lines]
    flat, lengths = torch.tensor([c for row in codes for c in row]), torch.tensor([len(row) for row in codes])
    return F.ctc_loss(
        scores.transpose(0, 1), flat, torch.full((len(lines),), 64), lengths, zero_infinity=True
    )


@torch.inference_mode()
def pooled_cer(connector: SpellingConnector, lines: list[Line]) -> float:
    """CER of greedy reading from the pooled tokens alone."""
    read: list[str] = []
    for start in range(0, len(lines), 32):
        read += [
            spell(s) for s in connector.spelled(*stack(lines[start : start + 32])).log_softmax(-1).numpy()
        ]
    return score(read, [text for _f, text in lines]).cer


def validation_features(args: argparse.Namespace) -> dict[str, list[Line]]:
    """Features of the held-out lines that 64 tokens can spell."""
    tower, _head = load_reader(args.reader)
    texts = load_texts(args.texts)
    sets: dict[str, list[tuple[Any, str]]] = {
        f"drawn_{k}": [(s.strip, s.text) for s in drawn_validation(texts, args.fonts, k, 80, 77)]
        for k in ("en", "fr")
    }
    if args.copiste:
        lines = load_copiste(args.copiste, validation=True)
        random.Random(3).shuffle(lines)
        sets["copiste"] = [(prepare_strip(r.pixels), r.text) for r in lines[:120]]
    with torch.inference_mode():
        return {
            name: [
                (tower(torch.from_numpy(strip)[None])[0], text)
                for strip, text in pairs
                if len(text) <= MAX_LETTERS
            ]
            for name, pairs in sets.items()
        }


def train_connector(args: argparse.Namespace) -> None:
    """Stage 1. Resumes from `connector.safetensors` of `args.out`; reads new feature shards as they appear."""
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    file, log = args.out / "connector.safetensors", args.out / "stage1.jsonl"
    lines = read_shards(args.features)
    connector = new_connector()
    if file.exists():
        connector.load_state_dict(load_file(file))
    else:
        _tower, head = load_reader(args.reader)
        warm_start(
            connector, head, torch.cat([f for f, _ in lines[:64]]), torch.Generator().manual_seed(args.seed)
        )
        language, tokenizer = load_language(args.language)
        with torch.no_grad():
            connector.letters.copy_(letter_embeddings(language.get_input_embeddings().weight, tokenizer))
            connector.blank.copy_(connector.letters.mean(0))
    held = validation_features(args)
    _log(log, {"seconds": 0, "step": 0, **{k: round(pooled_cer(connector, v), 4) for k, v in held.items()}})
    learned = [p for p in connector.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(learned, weight_decay=0.01)
    rng, started, checked, step = random.Random(args.seed), time.monotonic(), time.monotonic(), 0
    while (elapsed := time.monotonic() - started) < 60 * args.minutes:
        batch = sorted(rng.sample(lines, args.batch), key=lambda line: len(line[0]))
        part = elapsed / (60 * args.minutes)
        _step(
            optimiser,
            learned,
            spelling_loss(connector, batch),
            args.rate * min(1, step / 20) * (1 - 0.95 * part),
        )
        step += 1
        if time.monotonic() - checked > 60:
            checked, lines = time.monotonic(), read_shards(args.features)
            found = {k: round(pooled_cer(connector, v), 4) for k, v in held.items()}
            _log(log, {"seconds": round(elapsed), "step": step, "lines": len(lines), **found})
            save_file(connector.state_dict(), file)
    found = {k: round(pooled_cer(connector, v), 4) for k, v in held.items()}
    _log(log, {"seconds": round(60 * args.minutes), "step": step, **found})
    save_file(connector.state_dict(), file)


def load_language(folder: Path) -> tuple[LlamaForCausalLM, Any]:
    """SmolLM2 and its tokenizer from a folder written by `save_pretrained`."""
    return LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32), AutoTokenizer.from_pretrained(
        folder
    )


def prompt_ids(tokenizer: Any) -> list[int]:
    """The chat turn that asks for a strip's text: 64 image tokens between two fences, in Idefics2's order."""
    image = AROUND_TOKEN + IMAGE_TOKEN * 64 + AROUND_TOKEN
    text = f"<|im_start|>user\n{image}{PROMPT}<|im_end|>\n<|im_start|>assistant\n"
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False)
    return ids


def reading_loss(model: Any, connector: SpellingConnector, tokenizer: Any, lines: list[Line]) -> Tensor:
    """Mean next-token loss of the lines' texts and their end mark."""
    prompt = prompt_ids(tokenizer)
    image = tokenizer.convert_tokens_to_ids(IMAGE_TOKEN)
    answers = [
        [*tokenizer.encode(text, add_special_tokens=False), tokenizer.eos_token_id] for _f, text in lines
    ]
    longest = max(len(a) for a in answers)
    ids = torch.tensor([prompt + a + [tokenizer.eos_token_id] * (longest - len(a)) for a in answers])
    labels = torch.tensor([[-100] * len(prompt) + a + [-100] * (longest - len(a)) for a in answers])
    embedded = model.get_input_embeddings()(ids)
    pooled = connector(*stack(lines))
    embedded = embedded.masked_scatter((ids == image)[..., None].expand_as(embedded), pooled)
    loss: Tensor = model(inputs_embeds=embedded, labels=labels, use_cache=False).loss
    return loss


@torch.inference_mode()
def generated(model: Any, connector: SpellingConnector, tokenizer: Any, lines: list[Line]) -> list[str]:
    """Greedy transcriptions."""
    prompt = torch.tensor(prompt_ids(tokenizer))
    image = tokenizer.convert_tokens_to_ids(IMAGE_TOKEN)
    read: list[str] = []
    for start in range(0, len(lines), 16):
        group = lines[start : start + 16]
        ids = prompt[None].expand(len(group), -1)
        embedded = model.get_input_embeddings()(ids)
        embedded = embedded.masked_scatter(
            (ids == image)[..., None].expand_as(embedded), connector(*stack(group))
        )
        out = model.generate(
            inputs_embeds=embedded,
            attention_mask=torch.ones(ids.shape, dtype=torch.long),
            max_new_tokens=44,
            do_sample=False,
            pad_token_id=tokenizer.eos_token_id,
        )
        read += [text.strip() for text in tokenizer.batch_decode(out, skip_special_tokens=True)]
    return read


def train_reading(args: argparse.Namespace) -> None:
    """Stage 2, or with `--frozen` its twin; both start from stage 1's connector and take the same lines in the same order."""
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    kind = "frozen" if args.frozen else "lora"
    connector = new_connector()
    connector.load_state_dict(load_file(args.out / "connector.safetensors"))
    language, tokenizer = load_language(args.language)
    model: Any = language.requires_grad_(False)
    if not args.frozen:
        model = get_peft_model(language, copy.deepcopy(LORA))
    learned: list[dict[str, Any]] = [
        {"params": [p for p in connector.parameters() if p.requires_grad], "top": 1e-4}
    ]
    if not args.frozen:
        learned.append({"params": [p for p in model.parameters() if p.requires_grad], "top": args.rate})
    optimiser = torch.optim.AdamW(learned, weight_decay=0.01)
    everything = [p for group in learned for p in group["params"]]
    held = {name: rows[: args.check] for name, rows in validation_features(args).items()}
    lines, rng, started, saved, losses = (
        read_shards(args.features),
        random.Random(args.seed),
        time.monotonic(),
        time.monotonic(),
        [],
    )
    for step in range(1, args.steps + 1):
        loss = reading_loss(model, connector, tokenizer, rng.sample(lines, args.batch))
        part = step / args.steps
        for group in optimiser.param_groups:
            group["lr"] = group["top"] * min(1.0, step / 8) * (1 - 0.9 * part)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(everything, 1.0)
        optimiser.step()
        optimiser.zero_grad()
        losses.append(float(loss.detach()))
        if step % 5 == 0:
            row = {"step": step, "lines": step * args.batch, "seconds": round(time.monotonic() - started)}
            _log(args.out / f"{kind}.jsonl", {**row, "loss": round(sum(losses[-5:]) / 5, 4)})
        if time.monotonic() - saved > 120 or step == args.steps:
            saved = time.monotonic()
            _save_reading(args.out, kind, model, connector)
    for name, rows in held.items():
        read = generated(model.eval(), connector, tokenizer, rows)
        found = score(read, [text for _f, text in rows])
        _log(args.out / f"{kind}.jsonl", {"step": args.steps, "set": name, "n": found.lines, "cer": found.cer, "wer": found.wer,
                                          "invented": found.invented, "read": read[:4], "truth": [t for _f, t in rows[:4]]})  # fmt: skip


def _save_reading(out: Path, kind: str, model: Any, connector: SpellingConnector) -> None:
    save_file(
        {k: v.contiguous() for k, v in connector.state_dict().items()}, out / f"{kind}_connector.safetensors"
    )
    if kind == "lora":
        save_file(
            {k: v.contiguous() for k, v in get_peft_model_state_dict(model).items()}, out / "lora.safetensors"
        )


def _step(optimiser: torch.optim.Optimizer, learned: list[Any], loss: Tensor, rate: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = rate
    optimiser.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(learned, 1.0)
    optimiser.step()


def _log(file: Path, row: dict[str, Any]) -> None:
    with file.open("a", encoding="utf-8") as out:
        out.write(json.dumps(row, ensure_ascii=False) + "\n")
    print(row, flush=True)


def main() -> None:
    """Command line: `python -m vlm_studio.recipe.stages connector|read --help`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stage", choices=("connector", "read"))
    for name in ("reader", "fonts", "texts", "features", "language", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--copiste", type=Path)
    parser.add_argument("--frozen", action="store_true", help="stage 2: leave the language model alone")
    parser.add_argument("--minutes", type=float, default=10, help="stage 1")
    parser.add_argument("--steps", type=int, default=100, help="stage 2")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=6e-4)
    parser.add_argument(
        "--check", type=int, default=60, help="stage 2: lines of each held-out set to read at the end"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=5)
    args = parser.parse_args()
    train_connector(args) if args.stage == "connector" else train_reading(args)


if __name__ == "__main__":
    main()
