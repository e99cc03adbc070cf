"""Stage 0: the tower, gently fine-tuned end to end with a character head. See README.md for how to run it."""

from __future__ import annotations

import argparse
import copy
import importlib
import json
import math
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

from vlm_studio.model.characters import ALPHABET, encode, pad_strips, prepare_strip, spell
from vlm_studio.model.checkpoint import Reached, read_checkpoint, write_checkpoint
from vlm_studio.model.tower import LineScorer
from vlm_studio.recipe.data import Mixture, Sample, drawn_validation, load_copiste
from vlm_studio.recipe.evaluate import ShippedRecogniser, character_log_probs, score
from vlm_studio.recipe.features import load_reader
from vlm_studio.recipe.synth import list_fonts
from vlm_studio.recipe.texts import load_texts


class _Batches(IterableDataset):  # type: ignore[type-arg]
    """Batches of a mixture for one loader process."""

    def __init__(self, mixture: Mixture, size: int) -> None:
        self.mixture, self.size = mixture, size

    def __iter__(self):  # type: ignore[no-untyped-def]
        cv2.setNumThreads(0)
        info = torch.utils.data.get_worker_info()
        for samples in self.mixture.batches(self.size, info.id if info else 0):
            yield _tensors(samples)


def _tensors(samples: list[Sample]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Pixels, frames, targets joined end to end, and target lengths."""
    pixels, frames = pad_strips([s.strip for s in samples])
    codes = [encode(s.text) for s in samples]
    return (
        torch.from_numpy(pixels),
        torch.from_numpy(frames),
        torch.tensor([c for row in codes for c in row]),
        torch.tensor([len(row) for row in codes]),
    )


def validation_sets(args: argparse.Namespace) -> dict[str, list[Sample]]:
    """The lines that no training sees: real French, and drawn English and French in held-out fonts."""
    texts = load_texts(args.texts)
    sets = {f"drawn_{k}": drawn_validation(texts, args.fonts, k, args.drawn_val, 77) for k in ("en", "fr")}
    real = load_copiste(args.copiste, validation=True)
    if real:
        sets["copiste"] = [Sample(prepare_strip(r.pixels), r.text) for r in real]
    return sets


def evaluate(reader: LineScorer, sets: dict[str, list[Sample]]) -> dict[str, float]:
    """Greedy CER on each set."""
    reader.eval()
    found = {}
    for name, samples in sets.items():
        read = [spell(p) for p in character_log_probs(reader.tower, reader.head, [s.strip for s in samples])]
        found[name] = round(score(read, [s.text for s in samples]).cer, 5)
    return found


def _rate(elapsed: float, total: float, top: float) -> float:
    """Learning rate after `elapsed` of `total` seconds: 4% of warm-up, then a cosine to a twentieth."""
    part = min(1.0, elapsed / total)
    return top * min(1.0, part / 0.04) * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * part)))


def train(args: argparse.Namespace) -> None:
    """Train for `args.minutes`, with a checkpoint in `args.out` every few of them; goes on from the last one.

    `ema.safetensors` is what to export: the average of the weights along the way.
    """
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    reader = _first(args)
    ema = copy.deepcopy(reader)
    sets = validation_sets(args)
    log, state = args.out / "curve.jsonl", args.out / "tower.state"
    device = torch.device(args.device)
    # Depthwise convolutions run a quarter faster on pixels laid out channel by channel within each place.
    reader.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    ema.to(device)
    optimiser = torch.optim.AdamW(
        [
            {"params": [p for p in reader.parameters() if p.ndim > 1], "weight_decay": 0.02},
            {"params": [p for p in reader.parameters() if p.ndim <= 1], "weight_decay": 0.0},
        ]
    )
    weights = [*reader.parameters(), *ema.parameters()]
    reached = read_checkpoint(state, weights, optimiser)
    if reached == Reached():
        shipped = ShippedRecogniser(args.recogniser, args.threads)
        base = {
            n: score([shipped.read(s.strip)[0] for s in v], [s.text for s in v]).cer for n, v in sets.items()
        }
        _write(log, {"step": 0, "seconds": 0, "fast": base, "ema": evaluate(ema, sets)})
    ctc = nn.CTCLoss(zero_infinity=True)
    loader = _loader(args, reached.step)
    step = reached.step
    losses: list[float] = []
    started, checked = time.monotonic() - reached.seconds, time.monotonic()
    while True:
        elapsed = time.monotonic() - started
        ends = elapsed >= 60 * args.minutes
        if ends or time.monotonic() - checked > 60 * args.every:
            save_file(
                {k: v.cpu().contiguous() for k, v in ema.state_dict().items()}, args.out / "ema.safetensors"
            )
            write_checkpoint(state, Reached(step, elapsed), weights, optimiser)
            found = evaluate(copy.deepcopy(ema).to("cpu"), sets)
            mean = sum(losses) / max(1, len(losses))
            _write(log, {"step": step, "seconds": round(elapsed), "loss": mean, "ema": found})
            checked, losses = time.monotonic(), []
        if ends:
            return
        reader.train()
        pixels, frames, targets, lengths = (t.to(device) for t in next(loader))
        for group in optimiser.param_groups:
            group["lr"] = _rate(elapsed, 60 * args.minutes, args.rate)
        # The mean over lines of the loss per character, so that a long line does not drown a short one.
        with torch.autocast(device.type, torch.bfloat16, enabled=args.bfloat16):
            scores = reader(pixels, frames)
        loss = ctc(scores.float().transpose(0, 1), targets, frames, lengths)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(reader.parameters(), 2.0)
        optimiser.step()
        step += 1
        losses.append(float(loss.detach()))
        decay = min(0.995, (1 + step) / (10 + step))
        with torch.no_grad():
            for slow, fast in zip(ema.parameters(), reader.parameters(), strict=True):
                slow.lerp_(fast, 1 - decay)
        if step % 20 == 0:
            print(f"{step} {elapsed:.0f}s loss {sum(losses[-20:]) / 20:.4f}", flush=True)


def _first(args: argparse.Namespace) -> LineScorer:
    """The reader to go on from, or one made of the recogniser's weights."""
    if args.start:
        return LineScorer(*load_reader(args.start))
    # Needs the package onnx, which nothing else here does.
    weights = importlib.import_module("vlm_studio.recipe.tower_weights")
    return LineScorer(*weights.convert(args.recogniser, ALPHABET))


def _loader(args: argparse.Namespace, step: int) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Batches from a process of their own; other ones after `step` steps than at the start."""
    mixture = Mixture(
        load_texts(args.texts),
        list_fonts(args.fonts, False),
        load_copiste(args.copiste, False),
        args.real_share,
        args.seed + step,
    )
    batches = _Batches(mixture, args.batch)
    return iter(DataLoader(batches, batch_size=None, num_workers=1, prefetch_factor=6))


def _write(log: Path, row: dict) -> None:  # type: ignore[type-arg]
    with log.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")
    print(row, flush=True)


def main() -> None:
    """Command line of stage 0."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--recogniser", type=Path, required=True, help="PP-OCRv6_rec_small.onnx of the wheel rapidocr"
    )
    parser.add_argument(
        "--start", type=Path, help="go on from an exported reader, assets/nano/tower.safetensors"
    )
    parser.add_argument(
        "--bfloat16", action="store_true", help="twice as fast where the processor multiplies bfloat16"
    )
    parser.add_argument("--fonts", type=Path, required=True)
    parser.add_argument("--texts", type=Path, required=True)
    parser.add_argument("--copiste", type=Path, help="folder with lines.zip and labels.tsv")
    parser.add_argument("--no-copiste", dest="copiste", action="store_const", const=None)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--every", type=float, default=6, help="minutes between checkpoints")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rate", type=float, default=3e-4)
    parser.add_argument("--real-share", type=float, default=0.45)
    parser.add_argument("--drawn-val", type=int, default=150)
    parser.add_argument("--seed", type=int, default=1)
    train(parser.parse_args())


if __name__ == "__main__":
    main()
