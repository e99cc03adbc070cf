"""What does Idefics2-8B take on a graphics card? Run: python benchmarks/gpu_idefics2.py

Writes a checkpoint of the full size with random weights (once, 17 GB; `--folder`), loads it through the app's own code in
NF4 and in bfloat16, and measures memory and time with and without image splitting: nothing of this depends on what
the weights say. Needs no network. A row that is measured is kept at once in results/gpu_idefics2.json; a second run
on the same machine goes on where the first one stopped, and no row is begun after `--minutes`. Beside each row stands
the model card's own peak memory (one H100, April 2024).

`--tiny` runs the same code at a small size on any machine. `--quantized` writes the checkpoint in 4 bits already (8 GB:
each layer quantized alike, once): so the full size loads on a processor too, where quantizing it takes half an hour:

    python benchmarks/gpu_idefics2.py --device cpu --quantized --rows nf4 --splitting off --runs 1 --new-tokens 2 \
        --edge 448 --images 1 --result benchmarks/results/cpu_idefics2.json
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import resource
import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import psutil
import torch
from bitsandbytes.functional import quantize_4bit
from PIL import Image
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    Idefics2Config,
    Idefics2ForConditionalGeneration,
    Idefics2Processor,
    PreTrainedTokenizerFast,
)
from transformers.models.idefics2.image_processing_pil_idefics2 import Idefics2ImageProcessorPil

from vlm_studio.core.answers import DoneEvent
from vlm_studio.core.cancel import CancelToken
from vlm_studio.core.conversation import Ask, GenParams, ImagePart, TextPart, Turn, Variant
from vlm_studio.core.errors import ModelUnavailable, OutOfMemory
from vlm_studio.model.catalog import SPECS
from vlm_studio.model.engine import HFEngine
from vlm_studio.model.loading import arguments, load, parameters
from vlm_studio.model.machine import choose, this_machine
from vlm_studio.model.processor import TEMPLATE

RESULT = Path(__file__).resolve().parent / "results" / "gpu_idefics2.json"
CARD_PEAK_GB = {"nf4 split": 24.7, "nf4 whole": 9.2, "bf16 split": 41.3, "bf16 whole": 22.2}
"""The model card's table, without flash attention; its 4-bit rows quantize the whole model."""
NEW_TOKENS = 64
SHARD_BYTES = 4 * 1024**3
PLAIN_TOKENS = 31_997


def config(tiny: bool) -> Idefics2Config:
    """The 8B's configuration, or the same shape at a size for tests."""
    vision = {"hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27}
    perceiver = {"hidden_size": 4096, "resampler_n_latents": 64, "resampler_depth": 3}
    text = {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32}
    heads, kv_heads = 32, 8
    if tiny:
        vision = {"hidden_size": 64, "intermediate_size": 72, "num_hidden_layers": 2}
        perceiver = {"hidden_size": 64, "resampler_n_latents": 64, "resampler_depth": 1}
        text = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
        heads, kv_heads = 4, 2
    return Idefics2Config(
        image_token_id=32001,
        vision_config=vision | {"num_attention_heads": 16, "image_size": 980, "patch_size": 14},
        perceiver_config=perceiver
        | {"resampler_n_heads": 16, "resampler_head_dim": 96, "num_key_value_heads": 4},
        text_config=text
        | {
            "model_type": "mistral",
            "vocab_size": 32003,
            "num_attention_heads": heads,
            "num_key_value_heads": kv_heads,
            "max_position_embeddings": 32768,
            "sliding_window": 4096,
            "pad_token_id": 0,
            "bos_token_id": 1,
            "eos_token_id": 2,
        },
    )


def processor() -> Idefics2Processor:
    """Idefics2's processor over a tokenizer of single bytes, filled up to the real vocabulary."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = ["<unk>", "<s>", "</s>", *letters]
    words += [f"<{number}>" for number in range(PLAIN_TOKENS + 3 - len(words))]
    plain = Tokenizer(models.BPE({w: i for i, w in enumerate(words)}, [], unk_token="<unk>"))
    plain.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    plain.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=plain, bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="<unk>"
    )
    return Idefics2Processor(
        Idefics2ImageProcessorPil(do_image_splitting=True),
        tokenizer,
        image_seq_len=64,
        chat_template=TEMPLATE,
    )


def write_checkpoint(folder: Path, made: Idefics2Config, quantized: bool = False) -> None:
    """Random weights, shard by shard: never more than one shard in memory. Written once.

    In bfloat16; `quantized`: what the app keeps in 4 bits is written in 4 bits.
    """
    index = folder / "model.safetensors.index.json"
    if index.exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    with torch.device("meta"):
        model = Idefics2ForConditionalGeneration(made)
    room = shutil.disk_usage(folder).free
    if 2 * sum(p.numel() for p in model.parameters()) > room:
        raise SystemExit(
            f"{folder} has {room / 1e9:.0f} GB free, which is too little: name another with --folder."
        )
    pool = (torch.randn(1 << 22, generator=torch.Generator().manual_seed(1)) * 0.02).to(torch.bfloat16)
    shard: dict[str, torch.Tensor] = {}
    places: dict[str, str] = {}
    packed: dict[torch.Size, dict[str, torch.Tensor]] = {}
    count = held = 0

    def write() -> None:
        nonlocal count, held
        count += 1
        name = f"model-{count:05}.safetensors"
        save_file(shard, folder / name, metadata={"format": "pt"})
        places.update(dict.fromkeys(shard, name))
        shard.clear()
        held = 0

    for name, weight in model.state_dict().items():
        value = torch.ones(weight.shape, dtype=torch.bfloat16)
        if weight.ndim > 1:
            value = pool.repeat(-(-weight.numel() // len(pool)))[: weight.numel()].reshape(weight.shape)
        parts = {name: value.clone()}
        if quantized and ".text_model.layers." in name and weight.ndim > 1:
            if weight.shape not in packed:
                packed[weight.shape] = four_bit(value)
            parts = {f"{name}{key}": part.clone() for key, part in packed[weight.shape].items()}
        shard |= parts
        held += sum(part.nbytes for part in parts.values())
        if held > SHARD_BYTES:
            write()
    write()
    made.architectures = ["Idefics2ForConditionalGeneration"]
    if quantized:
        plan = choose(this_machine(), parameters(made), "nf4")
        made.quantization_config = arguments(plan)["quantization_config"]
    made.save_pretrained(folder)
    processor().save_pretrained(folder)
    index.write_text(json.dumps({"metadata": {}, "weight_map": places}), "utf-8")


def four_bit(weight: torch.Tensor) -> dict[str, torch.Tensor]:
    """Codes and quantization state of `weight` (out, in) by the endings of their names, as transformers saves them."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    codes, state = quantize_4bit(weight.to(device), quant_type="nf4", blocksize=64)
    told = {f".{key}": value.cpu() for key, value in state.as_dict(packed=True).items()}
    return {"": codes.cpu(), **told}


def pictures(count: int = 2, longest: int = 980) -> dict[str, Image.Image]:
    """Photographs' worth of colour, `longest` pixels on the longer side, lying and standing in turns."""
    random = np.random.default_rng(5)
    sizes = [(longest, longest * 3 // 4), (longest * 3 // 4, longest)]
    return {
        f"picture {k}": Image.fromarray(random.integers(0, 255, (9, 12, 3), dtype=np.uint8)).resize(
            sizes[k % 2]
        )
        for k in range(count)
    }


def measured(
    engine: HFEngine, splitting: Any, runs: int, new_tokens: int, images: dict[str, Image.Image]
) -> dict[str, Any]:
    """Seconds and rates of one question about `images`, and of another one after it; the best of `runs`."""
    parts = (*map(ImagePart, images), TextPart("What is to be seen here, and what have they in common?"))
    variant = Variant(engine.card.name, splitting=splitting)
    # Drawn, not the likeliest: random weights would repeat themselves and be stopped.
    params = GenParams(max_new_tokens=new_tokens, temperature=1.0)
    rows = []
    for run in range(runs):
        engine.pooled.clear()
        engine.prefixes.clear()
        said = (Turn("user", parts),)
        first = answered(engine, Ask(said, variant, params, f"run {run}"), images)
        more = (*said, Turn("assistant", (TextPart(first.text),)), Turn("user", (TextPart("And what not?"),)))
        second = answered(engine, Ask(more, variant, params, f"run {run}"), images)
        decode = (first.total_ms - first.first_token_ms) / max(1, first.usage.output_tokens - 1)
        rows.append((first.total_ms, first.first_token_ms, second.first_token_ms, decode, first))
    total, first_ms, follow_ms, decode, answer = min(rows, key=lambda row: row[0])
    usage = answer.usage
    return {
        "prompt_tokens": usage.prompt_tokens,
        "image_tokens": usage.image_tokens,
        "seconds": round(total / 1000, 2),
        "first_token_s": round(first_ms / 1000, 3),
        "follow_up_first_token_s": round(follow_ms / 1000, 3),
        "tokens_per_second": float(f"{1000 / decode:.3g}"),
        "notes": list(answer.notes),
    }


def answered(engine: HFEngine, ask: Ask, images: dict[str, Image.Image]) -> Any:
    *_, done = engine.stream(ask, images, CancelToken())
    assert isinstance(done, DoneEvent)
    return done.answer


def peak_gb(device: str) -> float:
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def main(argv: list[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, default=Path("idefics2-random"), help="for the checkpoint")
    parser.add_argument("--result", type=Path, default=RESULT)
    parser.add_argument("--rows", nargs="+", default=["nf4", "bf16"], choices=["nf4", "bf16", "fp16", "fp32"])
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--new-tokens", type=int, default=NEW_TOKENS)
    parser.add_argument("--splitting", nargs="+", default=["off", "on"], choices=["off", "on"])
    parser.add_argument("--images", type=int, default=2)
    parser.add_argument("--edge", type=int, default=980, help="longer side of the images, pixels")
    parser.add_argument("--minutes", type=float, default=7.0, help="no row is begun later")
    parser.add_argument("--quantized", action="store_true", help="write the checkpoint in 4 bits")
    parser.add_argument("--tiny", action="store_true")
    args = parser.parse_args(argv)
    if args.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("No CUDA card here. Use --tiny --device cpu to try the code.")
    if args.device == "cpu" and torch.cuda.is_available():
        raise SystemExit(
            "The app would load on the card: hide it with CUDA_VISIBLE_DEVICES= to measure a processor."
        )
    if args.quantized and args.rows != ["nf4"]:
        raise SystemExit("A checkpoint in 4 bits has no other row: use --rows nf4 with --quantized.")
    args.began = time.monotonic()
    # Sizes and forms of checkpoints never take each other's place.
    args.folder = args.folder.with_name(
        args.folder.name + ("-tiny" if args.tiny else "") + ("-nf4" if args.quantized else "")
    )
    result = begun(args)
    write_checkpoint(args.folder, config(args.tiny), args.quantized)
    result.setdefault("checkpoint_s", round(time.monotonic() - args.began, 1))
    for precision in args.rows:
        wanted = [row_name(precision, splitting) for splitting in args.splitting]
        if not all(name in result["rows"] for name in wanted):
            one_precision(args, precision, result)
            # What one precision took must be free before the next asks how much is.
            gc.collect()
    show(result)
    return result


def begun(args: argparse.Namespace) -> dict[str, Any]:
    """The result of an earlier run under the same conditions, or a new one."""
    here = this_machine()
    conditions = {
        "machine": f"{here.name}, {platform.machine()}, {torch.get_num_threads()} threads",
        "torch": torch.__version__,
        "tiny": args.tiny,
        "images": args.images,
        "edge": args.edge,
        "new_tokens": args.new_tokens,
    }
    kept: dict[str, Any] = json.loads(args.result.read_text("utf-8")) if args.result.exists() else {}
    if any(kept.get(name) != value for name, value in conditions.items()):
        kept = {}
    return {"rows": {}, **kept, **conditions}


def row_name(precision: str, splitting: str) -> str:
    return f"{precision} {'split' if splitting == 'on' else 'whole'}"


def one_precision(args: argparse.Namespace, precision: Any, result: dict[str, Any]) -> None:
    """Load once, measure each way of feeding that has no row yet, write each row at once."""
    card = replace(SPECS["idefics2-8b"].card, name="random")
    if args.device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    started = time.monotonic()
    try:
        loaded = load(args.folder, card, "random", precision)
    except (ModelUnavailable, OutOfMemory) as failure:
        print(f"{precision}: {failure}", flush=True)
        return
    seconds = round(time.monotonic() - started, 1)
    after = psutil.Process().memory_info().rss / 1e9
    # Random weights may end an answer at once; here each has its full length.
    engine = HFEngine(replace(loaded, end_ids=frozenset()))
    images = pictures(args.images, min(392, args.edge) if args.tiny else args.edge)
    for splitting in args.splitting:
        name = row_name(precision, splitting)
        if name in result["rows"]:
            continue
        if (time.monotonic() - args.began) / 60 > args.minutes:
            print(f"{name}: no time left; run it again to go on.", flush=True)
            continue
        if args.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        row = measured(engine, splitting, args.runs, args.new_tokens, images)
        row |= {
            "load_s": seconds,
            "loaded_rss_gb": round(after, 2),
            "peak_gb": round(peak_gb(args.device), 2),
        }
        row |= {
            "why": loaded.notes[0],
            "card_peak_gb": CARD_PEAK_GB.get(name) if args.device == "cuda" else None,
        }
        result["rows"][name] = row
        args.result.parent.mkdir(parents=True, exist_ok=True)
        args.result.write_text(json.dumps(result, indent=1) + "\n", "utf-8")


def show(result: dict[str, Any]) -> None:
    print(f"{result['machine']}, torch {result['torch']}\n")
    columns = (
        "peak_gb",
        "card_peak_gb",
        "load_s",
        "first_token_s",
        "follow_up_first_token_s",
        "tokens_per_second",
    )
    print(f"{'':<12}" + "".join(f"{name.replace('_', ' '):>26}" for name in columns))
    for name, row in result["rows"].items():
        print(f"{name:<12}" + "".join(f"{row[c] if row[c] is not None else '-':>26}" for c in columns))


if __name__ == "__main__":
    main()
