"""How much sooner and faster than plain `generate`? Run: python benchmarks/engine_speed.py

Against transformers as a user would write it (processor, `generate`, one request after the other), on idefics2-nano and
this machine's processor, alternating in one run:
- first token of a follow-up question about the same page of handwriting (its lines as strips);
- reading twenty strips, up to the same number of tokens each;
- decode tokens per second (and llama.cpp's on the same SmolLM2 file, where `llama-cpp-python` is installed);
- start of the process to the first token, and peak memory, in a fresh process.
Seconds and, because machines are shared, processor seconds. Says how far decoding is from the limit that reading the
weights from memory sets. Prints tables and writes results/engine_speed.json.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

RESULT = ROOT / "benchmarks" / "results" / "engine_speed.json"
LINES = ROOT / "tests" / "data" / "lines"
STORY = "Write a story about a boat."


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=48, help="decoded per answer")
    parser.add_argument("--strip-tokens", type=int, default=40, help="most tokens of one strip")
    parser.add_argument("--strips", type=int, default=20)
    parser.add_argument("--lines", type=int, default=24, help="of the page that is asked about")
    parser.add_argument("--threads", type=int, default=0, help="0: torch's own choice")
    parser.add_argument("--only", nargs="+", choices=["start", "decode", "follow-up", "strips"])
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        start_child()
        return
    result: dict[str, Any] = json.loads(RESULT.read_text("utf-8")) if RESULT.exists() else {}
    result["machine"] = f"{platform.machine()}, {cores()} cores, Python {platform.python_version()}"
    for name, measure in PARTS.items():
        if not args.only or name in args.only:
            result[name] = measure(args)
            RESULT.parent.mkdir(exist_ok=True)
            RESULT.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    show(result)


def cores() -> int:
    return len(__import__("os").sched_getaffinity(0))


def loaded(args: argparse.Namespace) -> Any:
    import torch

    from vlm_studio.model.catalog import load_nano

    if args.threads:
        torch.set_num_threads(args.threads)
    return load_nano(ROOT / "assets", None)


def ask(*parts: Any, before: tuple[Any, ...] = (), tokens: int = 1, conversation: str | None = None) -> Any:
    from vlm_studio.core.conversation import Ask, GenParams, Turn

    turns = (*before, Turn("user", tuple(parts)))
    return Ask(turns, params=GenParams(max_new_tokens=tokens), conversation_id=conversation)


def answer(engine: Any, request: Any, images: Any) -> Any:
    from vlm_studio.core.cancel import CancelToken

    *_, done = engine.stream(request, images, CancelToken())
    return done.answer


def both(ours: Callable[[], Any], plain: Callable[[], Any], rounds: int) -> tuple[dict[str, Any], Any, Any]:
    """Seconds and processor seconds of two ways in turns, medians and ratios, and what each gave last."""
    times: dict[str, list[tuple[float, float]]] = {"ours": [], "plain": []}
    last: dict[str, Any] = {}
    for _ in range(rounds):
        for name, call in (("ours", ours), ("plain", plain)):
            wall, used = time.perf_counter(), time.process_time()
            last[name] = call()
            times[name].append((time.perf_counter() - wall, time.process_time() - used))
    found: dict[str, Any] = {}
    for name, values in times.items():
        found[f"{name}_s"] = round(statistics.median(v[0] for v in values), 4)
        found[f"{name}_cpu_s"] = round(statistics.median(v[1] for v in values), 4)
    found["ratio"] = round(found["plain_s"] / found["ours_s"], 2)
    found["cpu_ratio"] = round(found["plain_cpu_s"] / found["ours_cpu_s"], 2)
    return found, last["ours"], last["plain"]


def pictures(count: int) -> dict[str, Any]:
    from PIL import Image

    files = sorted(LINES.glob("*.jpg"))
    return {
        f"strip {k}": Image.open(files[k % len(files)]).convert("RGB").rotate(k // len(files))
        for k in range(count)
    }


def follow_up(args: argparse.Namespace) -> dict[str, Any]:
    """A page of `--lines` lines, one question answered, then another one: time to its first token."""
    import torch

    from vlm_studio.core.conversation import ImagePart, TextPart, Turn
    from vlm_studio.model.engine import HFEngine

    model = loaded(args)
    images = pictures(args.lines)
    engine = HFEngine(model)
    first = ask(*map(ImagePart, images), TextPart("Who wrote this?"), tokens=12, conversation="page")
    said = answer(engine, first, images).text
    before = (*first.turns, Turn("assistant", (TextPart(said),)))
    questions = iter([f"What is written in line {k}?" for k in range(1, 100)])
    asked: list[str] = []

    def ours() -> str:
        asked.append(next(questions))
        request = ask(TextPart(asked[-1]), before=before, conversation="page")
        return str(answer(engine, request, images).text)

    def plain() -> str:
        messages = [
            {"role": t.role, "content": [{"type": "image"} if isinstance(p, ImagePart) else {"type": "text", "text": p.text} for p in t.parts]}
            for t in ask(TextPart(asked[-1]), before=before).turns
        ]  # fmt: skip
        text = model.processor.apply_chat_template(messages, add_generation_prompt=True)
        inputs = model.processor(text=[text], images=[list(images.values())])
        with torch.inference_mode():
            out = model.model.generate(**inputs, max_new_tokens=1, do_sample=False)
        return str(model.processor.batch_decode(out[:, inputs["input_ids"].shape[1] :])[0])

    found, one, other = both(ours, plain, args.rounds)
    return found | {"same_first_token": one == other, "lines": len(images)}


def strips(args: argparse.Namespace) -> dict[str, Any]:
    """Twenty strips, each up to the same number of tokens: one batch, or one `generate` each."""
    import torch

    from vlm_studio.core.cancel import CancelToken
    from vlm_studio.model import strip_reading
    from vlm_studio.model.engine import HFEngine

    model = loaded(args)
    strip_reading.LONGEST = args.strip_tokens
    pieces = [p for s in pictures(args.strips).values() for p in model.feeder.reading_images(s)]
    pieces = [p for p in pieces if len(model.feeder.reading_images(p)) == 1][: args.strips]

    def ours() -> list[str]:
        return [r.text for r in HFEngine(model).read(pieces, CancelToken())]

    def plain() -> list[str]:
        texts = []
        for piece in pieces:
            inputs = model.processor(text=[model.feeder.reading_text()], images=[[piece]])
            with torch.inference_mode():
                out = model.model.generate(**inputs, max_new_tokens=args.strip_tokens, do_sample=False)
            texts.append(model.processor.batch_decode(out[:, inputs["input_ids"].shape[1] :])[0].strip())
        return texts

    found, one, other = both(ours, plain, max(1, args.rounds // 3))
    same = sum(a.startswith(b[:20]) or b.startswith(a[:20]) for a, b in zip(one, other, strict=True))
    return found | {"strips": len(pieces), "most_tokens": args.strip_tokens, "same_beginning": same}


def decode(args: argparse.Namespace) -> dict[str, Any]:
    """Tokens per second after the first one."""
    import torch

    from vlm_studio.core.conversation import TextPart
    from vlm_studio.model.engine import HFEngine

    model = loaded(args)
    engine = HFEngine(replace(model, end_ids=frozenset()))
    request = ask(TextPart(STORY), tokens=args.tokens)
    ids = model.feeder.tokenizer(
        model.feeder.text(request.turns), return_tensors="pt", add_special_tokens=False
    )

    def plain() -> list[int]:
        with torch.inference_mode():
            out = model.model.generate(**ids, max_new_tokens=args.tokens, do_sample=False, eos_token_id=None)
        return list(out[0, ids["input_ids"].shape[1] :].tolist())

    def first_plain() -> None:
        with torch.inference_mode():
            model.model.generate(**ids, max_new_tokens=1, do_sample=False, eos_token_id=None)

    def ours() -> list[int]:
        return [t.token_id for t in answer(engine, request, {}).tokens]

    def first_ours() -> None:
        answer(engine, ask(TextPart(STORY), tokens=1), {})

    first, _, _ = both(first_ours, first_plain, args.rounds)
    found, one, other = both(ours, plain, args.rounds)
    for name in ("ours_s", "ours_cpu_s", "plain_s", "plain_cpu_s"):
        # The prompt and the first token are no decoding.
        found[name] = round(found[name] - first[name], 4)
    found["ratio"] = round(found["plain_s"] / found["ours_s"], 2)
    found["cpu_ratio"] = round(found["plain_cpu_s"] / found["ours_cpu_s"], 2)
    same = next((k for k, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), len(one))
    weights = sum(p.numel() for n, p in model.model.named_parameters() if "text_model.layers" in n)
    head = model.model.lm_head.weight.numel()
    bandwidth = read_bandwidth()
    rate = (len(one) - 1) / found["ours_s"]
    found |= {
        "tokens": len(one),
        "same_tokens": same,
        "tokens_per_second": round(rate, 1),
        "plain_tokens_per_second": round((len(other) - 1) / found["plain_s"], 1),
        "bytes_a_step": model.lean.n_bytes if model.lean else 4 * (weights + head),
        "plain_bytes_a_step": 4 * (weights + head),
        "read_gb_s": round(bandwidth / 1e9, 1),
    }
    found["share_of_limit"] = round(rate * found["bytes_a_step"] / bandwidth, 2)
    found["plain_share_of_limit"] = round(
        found["plain_tokens_per_second"] * found["plain_bytes_a_step"] / bandwidth, 2
    )
    return found | llama_cpp(args)


def read_bandwidth() -> float:
    """Bytes per second of summing an array that is far larger than any cache: the best of five."""
    import torch

    data = torch.ones(1 << 28, dtype=torch.float32)
    best = 0.0
    for _ in range(5):
        started = time.perf_counter()
        data.sum()
        best = max(best, data.nbytes / (time.perf_counter() - started))
    return best


def llama_cpp(args: argparse.Namespace) -> dict[str, Any]:
    """llama.cpp on the same file, where it is installed."""
    if importlib.util.find_spec("llama_cpp") is None:
        return {"llama_cpp": "not installed"}
    from llama_cpp import Llama

    from vlm_studio.model.language_model import wheel_file

    model = Llama(str(wheel_file()), n_ctx=512, n_threads=cores(), verbose=False)
    rates = []
    for _ in range(args.rounds):
        model.reset()
        started, count = 0.0, 0
        for _token in model.generate(model.tokenize(STORY.encode()), temp=0.0):
            count += 1
            started = started or time.perf_counter()
            if count > args.tokens:
                break
        rates.append((count - 1) / (time.perf_counter() - started))
    return {"llama_cpp_tokens_per_second": round(statistics.median(rates), 1)}


def start(args: argparse.Namespace) -> dict[str, Any]:
    """A fresh process: seconds to the first token of a text question, and the most memory it held."""
    rows = []
    for _ in range(args.rounds):
        started = time.perf_counter()
        done = subprocess.run(
            [sys.executable, __file__, "--child"], capture_output=True, text=True, check=True, cwd=ROOT
        )
        told = json.loads(done.stdout.strip().splitlines()[-1])
        rows.append((time.perf_counter() - started, told))
    best = min(rows, key=lambda row: row[1]["first_token_s"])[1]
    return best


def start_child() -> None:
    began = time.perf_counter()
    from vlm_studio.core.answers import TokenEvent
    from vlm_studio.core.cancel import CancelToken
    from vlm_studio.core.conversation import TextPart
    from vlm_studio.model.catalog import load_nano
    from vlm_studio.model.engine import HFEngine

    imported = time.perf_counter()
    engine = HFEngine(load_nano(ROOT / "assets", None))
    ready = time.perf_counter()
    first = 0.0
    for event in engine.stream(ask(TextPart(STORY), tokens=8), {}, CancelToken()):
        if isinstance(event, TokenEvent) and not first:
            first = time.perf_counter()
    used = resource.getrusage(resource.RUSAGE_SELF)
    told = {
        "imports_s": round(imported - began, 2),
        "loading_s": round(ready - imported, 2),
        "first_token_s": round(first - began, 2),
        "cpu_s": round(used.ru_utime + used.ru_stime, 2),
        "peak_mb": round(used.ru_maxrss / 1024),
    }
    print(json.dumps(told))


PARTS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "start": start,
    "decode": decode,
    "follow-up": follow_up,
    "strips": strips,
}


def show(result: dict[str, Any]) -> None:
    print(f"{result['machine']}\n")
    print(f"{'':<12}{'ours s':>10}{'plain s':>10}{'ratio':>8}{'processor ratio':>18}")
    for name in ("follow-up", "strips", "decode"):
        if row := result.get(name):
            print(f"{name:<12}{row['ours_s']:>10}{row['plain_s']:>10}{row['ratio']:>8}{row['cpu_ratio']:>18}")
    for name in ("decode", "start"):
        if row := result.get(name):
            print(f"\n{name}: " + ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in row.items()))


if __name__ == "__main__":
    main()
