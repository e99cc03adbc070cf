"""Stage 0: teach the line tower and its character head the writing of people, with CTC.

The paper finds that training the vision backbone gently beats freezing it; here it is what separates nano
from the recogniser that it starts from, because step 0 reads exactly like that one. Resumable: run the same
command again. ``python -m vlm_studio.recipe.tower_stage --help``.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from rapidfuzz.distance import Levenshtein
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

from vlm_studio.model.characters import ALPHABET, encode, fold, spell
from vlm_studio.model.tower import FRAME_PIXELS, CharacterHead, LineTower
from vlm_studio.recipe import data, texts
from vlm_studio.recipe.tower_weights import convert

log = logging.getLogger("recipe.tower")


class LineReader(nn.Module):
    """Tower and head: (N, 3, 48, W) and frames (N,) -> log-probabilities (N, T, classes)."""

    def __init__(self, tower: LineTower, head: CharacterHead) -> None:
        super().__init__()
        self.tower, self.head = tower, head

    def forward(self, pixels: Tensor, frames: Tensor) -> Tensor:
        return F.log_softmax(self.head(self.tower(pixels, frames)), dim=-1)


def collate(samples: Sequence[data.Sample]) -> tuple[Tensor, Tensor, list[str]]:
    """Strips on a batch as wide as the widest, in -1..1, and how many frames each has."""
    frames = [-(-s.strip.shape[1] // FRAME_PIXELS) for s in samples]
    pixels = np.zeros((len(samples), 48, max(frames) * FRAME_PIXELS), np.float32)
    for row, sample in zip(pixels, samples, strict=True):
        width = sample.strip.shape[1]
        row[:, :width] = sample.strip / 127.5 - 1
        # A last column that is only partly filled is continued with paper, not with mid grey.
        end = -(-width // FRAME_PIXELS) * FRAME_PIXELS
        row[:, width:end] = np.median(row[:, :width])
    return torch.from_numpy(pixels)[:, None].expand(-1, 3, -1, -1), torch.tensor(frames), [s.text for s in samples]


class _Batches(IterableDataset[list[data.Sample]]):
    def __init__(self, stream: data.Stream) -> None:
        self.stream = stream

    def __iter__(self):  # type: ignore[no-untyped-def]
        return iter(self.stream)


@torch.no_grad()
def error_rate(model: LineReader, samples: Sequence[data.Sample]) -> float:
    """Characters wrong over characters written, greedy decoding."""
    model.eval()
    wrong = total = 0
    ordered = sorted(samples, key=lambda s: s.strip.shape[1])
    for start in range(0, len(ordered), 16):
        pixels, frames, wanted = collate(ordered[start : start + 16])
        scores = model(pixels, frames).numpy()
        for row, count, text in zip(scores, frames.tolist(), wanted, strict=True):
            wrong += Levenshtein.distance(spell(row[:count]), fold(text))
            total += len(fold(text))
    model.train()
    return wrong / max(1, total)


def validation(args: argparse.Namespace, corpus: texts.Corpus) -> dict[str, list[data.Sample]]:
    """Fixed sets that training never sees: real French lines, and rendered lines in held-out fonts."""
    rng = random.Random(7)
    _, held = data.fonts(args.fonts)
    sets = {
        f"fonts_{language}": [data.rendered(corpus, held, language, rng) for _ in range(90)]
        for language in ("en", "fr")
    }
    if args.copiste:
        real = data.copiste(args.copiste)[1]
        sets["copiste"] = [
            data.Sample(np.asarray(_to_height(line.image)), line.text) for line in rng.sample(real, 150)
        ]
    return sets


def _to_height(image: np.ndarray) -> np.ndarray:
    from PIL import Image  # noqa: PLC0415 - only evaluation needs it

    width = max(16, round(image.shape[1] * 48 / image.shape[0]))
    return np.asarray(Image.fromarray(image).resize((width, 48), Image.Resampling.BILINEAR))


def load_reader(path: Path) -> LineReader:
    """Raises FileNotFoundError; a checkpoint of another shape raises RuntimeError."""
    reader = LineReader(LineTower(), CharacterHead(len(ALPHABET)))
    reader.load_state_dict(load_file(path))
    return reader


def loss_of(model: LineReader, batch: Sequence[data.Sample]) -> Tensor:
    pixels, frames, wanted = collate(batch)
    targets = [encode(text) for text in wanted]
    return F.ctc_loss(
        model(pixels, frames).transpose(0, 1),
        torch.tensor([c for t in targets for c in t]),
        frames,
        torch.tensor([len(t) for t in targets]),
        zero_infinity=True,
    )


def train(args: argparse.Namespace) -> None:
    torch.set_num_threads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    real: Sequence[data.RealLine] = data.copiste(args.copiste)[0] if args.copiste else ()
    french = [line.text for line in real]
    corpus = texts.gather(args.fortunes, {"en": args.words_en, "fr": args.words_fr}, french)
    log.info("real %d, english %d, fonts %s", len(real), len(corpus.sentences["en"]), len(data.fonts(args.fonts)[0]))
    last, state_file = args.out / "last.safetensors", args.out / "state.json"
    model = load_reader(last) if last.exists() else LineReader(*convert(args.onnx, ALPHABET))
    state = json.loads(state_file.read_text()) if state_file.exists() else {"step": 0, "best": 9.0, "curve": []}
    for module in [model.tower.stem, *list(model.tower.blocks)[: args.frozen_blocks]]:
        module.requires_grad_(False)
    ema = {k: v.clone() for k, v in model.state_dict().items()}
    sets = validation(args, corpus)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=args.lr, weight_decay=0.01, betas=(0.9, 0.98))
    stream = data.Stream(real, data.fonts(args.fonts)[0], corpus, data.Mix(), args.batch, seed=state["step"] + 1)
    loader = DataLoader(_Batches(stream), batch_size=None, num_workers=1, prefetch_factor=8)
    started = checked = time.monotonic()
    _check(model, ema, sets, state, args)
    for batch in loader:
        step = state["step"] = state["step"] + 1
        warm = min(1.0, (time.monotonic() - started) / 60)
        left = max(0.03, 1 - (time.monotonic() - started) / (args.minutes * 60))
        for group in optimizer.param_groups:
            group["lr"] = args.lr * warm * left
        loss = loss_of(model, batch)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        with torch.no_grad():
            for name, value in model.state_dict().items():
                ema[name].lerp_(value, 0.01)
        if step % 20 == 0:
            log.info("step %d loss %.3f lr %.1e lines/s %.1f", step, float(loss), group["lr"],
                     20 * args.batch / max(1e-9, time.monotonic() - state.get("at", started)))
            state["at"] = time.monotonic()
        if time.monotonic() - checked > args.check_seconds or time.monotonic() - started > args.minutes * 60:
            _check(model, ema, sets, state, args)
            checked = time.monotonic()
        if time.monotonic() - started > args.minutes * 60:
            return


def _check(
    model: LineReader, ema: dict[str, Tensor], sets: dict[str, list[data.Sample]], state: dict, args: argparse.Namespace
) -> None:
    """Measure the averaged weights, keep them if they are the best so far, and write the checkpoint."""
    averaged = LineReader(LineTower(), CharacterHead(len(ALPHABET)))
    averaged.load_state_dict(ema)
    scores = {name: round(error_rate(averaged, samples), 4) for name, samples in sets.items()}
    mean = sum(scores.values()) / len(scores)
    state["curve"].append({"step": state["step"], **scores})
    log.info("check %s", json.dumps(state["curve"][-1]))
    save_file(model.state_dict(), args.out / "last.safetensors")
    if mean < state["best"]:
        state["best"] = mean
        save_file(ema, args.out / "best.safetensors")
    (args.out / "state.json").write_text(json.dumps(state))


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--onnx", type=Path, required=True, help="PP-OCRv6_rec_small.onnx of the wheel rapidocr")
    parser.add_argument("--fonts", type=Path, required=True, help="folder of handwriting fonts")
    parser.add_argument("--copiste", type=Path, help="folder with lines.zip and labels.tsv; leave out to train without")
    parser.add_argument("--fortunes", type=Path, default=Path("/usr/share/games/fortunes"))
    parser.add_argument("--words-en", type=Path, default=Path("/usr/share/dict/american-english"))
    parser.add_argument("--words-fr", type=Path, default=Path("/usr/share/dict/french"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--lr", type=float, default=3e-4)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--frozen-blocks", type=int, default=4)
    parser.add_argument("--check-seconds", type=float, default=480)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    train(parser.parse_args(argv))


if __name__ == "__main__":
    main()
