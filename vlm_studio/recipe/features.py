"""Tower features of training lines, written in shards while other stages already learn from them."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from vlm_studio.model.characters import ALPHABET, pad_strips
from vlm_studio.model.tower import CharacterHead, LineTower
from vlm_studio.recipe.data import Mixture, load_copiste
from vlm_studio.recipe.synth import list_fonts
from vlm_studio.recipe.texts import load_texts

MAX_LETTERS = 56
"""64 pooled tokens spell at most this many letters, with room for the blanks between double ones."""


Line = tuple[Tensor, str]
"""Tower features (T, 120) of a strip and what it says."""


def load_reader(file: Path) -> tuple[LineTower, CharacterHead]:
    """Tower and head of one checkpoint, keys `tower.*` and `head.*`."""
    tower, head = LineTower(), CharacterHead(len(ALPHABET))
    state = load_file(file)
    tower.load_state_dict({k[6:]: v.float() for k, v in state.items() if k.startswith("tower.")})
    head.load_state_dict({k[5:]: v.float() for k, v in state.items() if k.startswith("head.")})
    return tower.eval(), head.eval()


@torch.inference_mode()
def write_shards(args: argparse.Namespace) -> None:
    """Write `shards` files of `size` lines: features (sum of frames, 120) half precision, frame counts, and texts as JSON."""
    torch.set_num_threads(args.threads)
    tower, _head = load_reader(args.reader)
    tower.to(args.device)
    real = load_copiste(args.copiste, validation=False)
    mixture = Mixture(load_texts(args.texts), list_fonts(args.fonts, False), real, args.real_share, args.seed)
    batches = mixture.batches(16)
    args.out.mkdir(parents=True, exist_ok=True)
    for shard in range(args.shards):
        rows: list[torch.Tensor] = []
        texts: list[str] = []
        while len(rows) < args.size:
            samples = [s for s in next(batches) if len(s.text) <= MAX_LETTERS]
            if not samples:
                continue
            pixels, frames = pad_strips([s.strip for s in samples])
            found = tower(torch.from_numpy(pixels).to(args.device), torch.from_numpy(frames).to(args.device))
            found = found.half().cpu()
            rows += [found[k, : frames[k]].clone() for k in range(len(samples))]
            texts += [s.text for s in samples]
        write_lines(args.out / f"{shard:04d}.safetensors", list(zip(rows, texts, strict=True)))
        print(shard, len(rows), flush=True)


def write_lines(file: Path, lines: list[Line]) -> None:
    """Features and frame counts in `file`, texts as JSON beside it; `file` gets its name last, so it is never half."""
    part = file.with_suffix(".part")
    counts = torch.tensor([len(found) for found, _ in lines])
    save_file({"features": torch.cat([found for found, _ in lines]).half(), "frames": counts}, part)
    file.with_suffix(".json").write_text(json.dumps([text for _f, text in lines]), "utf-8")
    part.rename(file)


def read_lines(file: Path) -> list[Line]:
    """What `write_lines` wrote, features in float32."""
    tensors = load_file(file)
    texts = json.loads(file.with_suffix(".json").read_text("utf-8"))
    pieces = tensors["features"].split(tensors["frames"].tolist())
    return [(piece.float(), text) for piece, text in zip(pieces, texts, strict=True)]


def read_shards(folder: Path) -> list[Line]:
    """Every line written so far."""
    return [line for file in sorted(folder.glob("*.safetensors")) for line in read_lines(file)]


def main() -> None:
    """Command line: `python -m vlm_studio.recipe.features --help`."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("reader", "fonts", "texts", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--copiste", type=Path)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--shards", type=int, default=40)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--real-share", type=float, default=0.35)
    parser.add_argument("--seed", type=int, default=11)
    write_shards(parser.parse_args())


if __name__ == "__main__":
    main()
