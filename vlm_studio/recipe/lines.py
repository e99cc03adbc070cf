"""Cached tower features as batches for the connector, and the held-out lines that stages 1 and 2 are measured on."""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path
from typing import Any

import torch
from rapidfuzz.distance import Levenshtein
from torch import Tensor, nn

from vlm_studio.model.characters import ALPHABET, encode, prepare_strip
from vlm_studio.model.spelling import N_LATENTS, SpellingConnector, letter_numbers, with_place
from vlm_studio.recipe.data import drawn_validation, load_copiste
from vlm_studio.recipe.evaluate import score
from vlm_studio.recipe.features import MAX_LETTERS, Line, load_reader, read_lines, write_lines
from vlm_studio.recipe.texts import load_texts

BLANK = 0


class Stacker:
    """Lines to what the connector reads, letters counted by the tower's own head."""

    def __init__(self, head: nn.Linear, device: str = "cpu") -> None:
        self.head, self.device = head.to(device), device

    @torch.no_grad()
    def __call__(self, lines: list[Line]) -> tuple[Tensor, Tensor]:
        """Connector input (N, T, 160) and its mask (N, T), bool."""
        features, frames = self._padded(lines)
        mask = torch.arange(features.shape[1], device=self.device)[None] < frames[:, None]
        return with_place(features, self.head(features), frames), mask

    @torch.no_grad()
    def targets(self, lines: list[Line]) -> Tensor:
        """(N, 64) long: the letter that each pooled token should spell, blank (0) where none, -100 where unknown.

        The head's own reading, one letter a pooled token, is laid beside the text with the fewest edits.
        """
        features, frames = self._padded(lines)
        scores = self.head(features)
        numbers, letters = letter_numbers(scores, frames), scores[..., 1:].argmax(-1) + 1
        found = torch.zeros(len(lines), N_LATENTS, dtype=torch.long)
        for row, (_f, text) in enumerate(lines):
            seen = numbers[row] >= 0
            first = dict(
                zip(reversed(numbers[row][seen].tolist()), reversed(letters[row][seen].tolist()), strict=True)
            )
            read, wanted = [first[k] for k in sorted(first)], encode(text)
            if len(read) > N_LATENTS:
                found[row] = -100
                continue
            found[row, : len(read)] = torch.tensor(aligned(read, wanted), dtype=torch.long)
        return found.to(self.device)

    def _padded(self, lines: list[Line]) -> tuple[Tensor, Tensor]:
        frames = torch.tensor([len(f) for f, _ in lines], device=self.device)
        features = torch.zeros(len(lines), int(frames.max()), 120, device=self.device)
        for row, (found, _text) in enumerate(lines):
            features[row, : len(found)] = found.to(self.device)
        return features, frames


def aligned(read: list[int], wanted: list[int]) -> list[int]:
    """For each of `read` its counterpart in `wanted`, or blank where it has none."""
    found = list(read)
    for edit in Levenshtein.opcodes(read, wanted):
        for k in range(edit.src_start, edit.src_end):
            if edit.tag == "replace":
                found[k] = wanted[edit.dest_start + k - edit.src_start]
            elif edit.tag == "delete":
                found[k] = BLANK
    return found


@torch.inference_mode()
def spelled(connector: SpellingConnector, stacker: Stacker, lines: list[Line]) -> list[str]:
    """What the pooled tokens alone say: one letter a token, blanks left out."""
    read: list[str] = []
    for start in range(0, len(lines), 32):
        best = connector.spelled(*stacker(lines[start : start + 32])).argmax(-1)
        read += ["".join(ALPHABET[c - 1] for c in row if c) for row in best.tolist()]
    return read


def spelled_cer(connector: SpellingConnector, stacker: Stacker, lines: list[Line]) -> float:
    return round(score(spelled(connector, stacker, lines), [text for _f, text in lines]).cer, 4)


def held_out(args: argparse.Namespace) -> dict[str, list[Line]]:
    """Features of held-out lines, made once: drawn in unseen fonts, and Copiste's unseen texts."""
    names = ["drawn_en", "drawn_fr", *(["copiste"] if args.copiste else [])]
    files = {name: args.out / f"held_{name}.safetensors" for name in names}
    if not all(file.exists() for file in files.values()):
        for name, lines in _held_features(args).items():
            write_lines(files[name], lines)
    return {name: read_lines(file)[: args.held] for name, file in files.items()}


@torch.inference_mode()
def _held_features(args: argparse.Namespace) -> dict[str, list[Line]]:
    tower, _head = load_reader(args.reader)
    texts = load_texts(args.texts)
    sets: dict[str, list[tuple[Any, str]]] = {
        f"drawn_{k}": [(s.strip, s.text) for s in drawn_validation(texts, args.fonts, k, 2 * args.held, 77)]
        for k in ("en", "fr")
    }
    if args.copiste:
        lines = load_copiste(args.copiste, validation=True)
        random.Random(3).shuffle(lines)
        sets["copiste"] = [(prepare_strip(r.pixels), r.text) for r in lines[: 2 * args.held]]
    return {
        name: [
            (tower(torch.from_numpy(strip)[None])[0], text)
            for strip, text in [pair for pair in pairs if len(pair[1]) <= MAX_LETTERS][: args.held]
        ]
        for name, pairs in sets.items()
    }


def log(file: Path, row: dict[str, Any]) -> None:
    """Append one JSON line and show it."""
    with file.open("a", encoding="utf-8") as out:
        out.write(json.dumps(row, ensure_ascii=False) + "\n")
    print(row, flush=True)


def shared_arguments(parser: argparse.ArgumentParser) -> None:
    """What stages 1 and 2 are both told."""
    for name in ("reader", "fonts", "texts", "language", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--copiste", type=Path)
    parser.add_argument("--held", type=int, default=40, help="held-out lines of each kind")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=5)
