"""Stage 3: the language model answers short questions about strips, and about text that was read elsewhere.

LoRA on the language model alone, started from `reading`: the connector is left as it is, so that the adapter stays valid with
another tower. A note's lines are shown in one of two ways. *Strips*: pooled tokens, simulated as letter embeddings with the
tower's own confusions and doubts; the answer is copied letter by letter. *Text*: as the app quotes what it read, with the
same confusions; the answer is written as the language model writes.
"""

from __future__ import annotations

import argparse
import random
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from peft import LoraConfig
from safetensors.torch import load_file
from torch import Tensor

from vlm_studio.model.characters import ALPHABET, encode
from vlm_studio.model.checkpoint import Reached, read_checkpoint, write_checkpoint
from vlm_studio.model.nano import AROUND_TOKEN, IMAGE_SEQ_LEN, NanoProcessor, build
from vlm_studio.recipe.branches import learned_of, put_on, with_lora
from vlm_studio.recipe.features import load_reader, read_shards
from vlm_studio.recipe.lines import log, shared_arguments
from vlm_studio.recipe.misread import Misreader, learned_misreader
from vlm_studio.recipe.notes import Note, Notes
from vlm_studio.recipe.texts import load_texts

Form = Literal["strips", "text"]
FORMS: tuple[Form, Form] = ("strips", "text")
LAYERS = r"model\.text_model\.layers\.(8|9|[12]\d)\.(self_attn|mlp)\.\w+_proj"
"""The upper 22 of 30: no gradient has to go further down, which saves an eighth of the time."""
STRENGTHS = (0.0, 0.3, 0.6, 1.0)
"""Of the misreading, times the tower's own: 1 is what it reads with letters alone, 0.8 with word frequencies."""
DOUBTED = 0.25
"""Share of the letters whose pooled token also has something of another letter."""
QUOTED = '\nText read from image {number}:\n"""\n{text}\n"""\n'
"""As the app sets off what it read (tasks/chat_feed.py)."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A note as embeddings, and its questions with their answers as ids, each seeing the note and itself alone."""

    note: Tensor
    """(T, 576)."""
    asked: tuple[tuple[list[int], list[int]], ...]
    """Ids of a question up to where the answer begins, and of the answer with its end."""
    kinds: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.note) + sum(len(q) + len(a) for q, a in self.asked)


class Composer:
    """Notes to samples, as the chat template lays them out."""

    def __init__(self, base: Any, processor: NanoProcessor, misreader: Misreader) -> None:
        self.base, self.misreader, self.processor = base, misreader, processor
        self.tokenizer = processor.tokenizer
        shown = processor.apply_chat_template(
            [{"role": "user", "content": [{"type": "text", "text": "@"}]}], add_generation_prompt=True
        )
        self.before, self.after = shown.rsplit("@", 1)
        self.end = int(self.tokenizer.eos_token_id)

    def ids(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=False))

    def sample(self, note: Note, form: Form, rng: random.Random) -> Sample:
        """`note`, misread, with its questions; answers as they were read."""
        read = note.read_as(self.misreader.at(rng.choice(STRENGTHS), rng))
        shown = self._strips(read, rng) if form == "strips" else self._quoted(read, rng)
        asked = tuple(
            (
                self.ids(q.words + self.after),
                [
                    *(
                        self.processor.letter_ids(q.answer)
                        if q.slot and form == "strips"
                        else self.ids(q.answer)
                    ),
                    self.end,
                ],
            )
            for q in read.questions
        )
        return Sample(shown, asked, tuple(q.kind for q in read.questions))

    def _embedded(self, text: str) -> Tensor:
        table: Tensor = self.base.get_input_embeddings().weight
        return table[self.ids(text)].float()

    def _quoted(self, note: Note, rng: random.Random) -> Tensor:
        """On one image, or on two."""
        texts = note.texts
        cut = rng.randrange(1, len(texts)) if len(texts) > 2 and rng.random() < 0.25 else len(texts)
        images = [part for part in (texts[:cut], texts[cut:]) if part]
        quoted = [QUOTED.format(number=k, text="\n".join(part)) for k, part in enumerate(images, 1)]
        return self._embedded(self.before + "".join(quoted))

    def _strips(self, note: Note, rng: random.Random) -> Tensor:
        """Strips as the connector would spell them; most without the blanks behind their letters, which is cheaper."""
        letters, blank = self.base.model.connector.letters, self.base.model.connector.blank[None]
        around = self._embedded(AROUND_TOKEN)
        whole = rng.random() < 0.1
        rows = [self._embedded(self.before)]
        for text in note.texts:
            codes = torch.tensor(encode(text)[:IMAGE_SEQ_LEN], dtype=torch.long) - 1
            taken = [(c, encode(self.misreader.instead(ALPHABET[c], rng))) for c in codes.tolist()]
            other = torch.tensor([t[0] - 1 if t else c for c, t in taken], dtype=torch.long)
            doubt = 0.5 * torch.rand(len(codes), 1) * (torch.rand(len(codes), 1) < DOUBTED)
            spelled = (1 - doubt) * letters[codes] + doubt * letters[other]
            kept = IMAGE_SEQ_LEN if whole else min(IMAGE_SEQ_LEN, len(codes) + rng.randint(1, 6))
            rows += [around, spelled, blank.expand(kept - len(codes), -1), around]
        return torch.cat(rows)


class Answering:
    """The language model under training on packed samples."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.base = model.base_model.model
        self.device = self.base.lm_head.weight.device

    def scores(self, samples: Sequence[Sample]) -> tuple[Tensor, Tensor, list[tuple[int, int]]]:
        """Logits (M, vocabulary) and labels (M,) of all answer tokens, and (sample, question) of each."""
        packed = [self._packed(s) for s in samples]
        longest = max(len(rows) for rows, *_ in packed)
        dtype = self.base.lm_head.weight.dtype
        fed = torch.zeros(len(packed), longest, packed[0][0].shape[1], dtype=dtype, device=self.device)
        seen = torch.eye(longest, dtype=torch.bool, device=self.device).repeat(len(packed), 1, 1, 1)
        places = torch.zeros(len(packed), longest, dtype=torch.long, device=self.device)
        rows_at: list[int] = []
        columns_at: list[int] = []
        labels: list[int] = []
        owners: list[tuple[int, int]] = []
        for number, (rows, sees, positions, answers) in enumerate(packed):
            fed[number, : len(rows)] = rows.to(dtype)
            seen[number, 0, : len(rows), : len(rows)] = sees
            places[number, : len(rows)] = positions
            for question, (start, ids) in enumerate(answers):
                rows_at += [number] * len(ids)
                # A token is predicted where the one before it stands.
                columns_at += range(start - 1, start - 1 + len(ids))
                labels += ids
                owners += [(number, question)] * len(ids)
        bias = torch.zeros(seen.shape, dtype=dtype, device=self.device).masked_fill(~seen, float("-inf"))
        hidden = self.base.model.text_model(
            inputs_embeds=fed, attention_mask=bias, position_ids=places, use_cache=False
        )[0]
        logits = self.base.lm_head(hidden[rows_at, columns_at]).float()
        return logits, torch.tensor(labels, device=self.device), owners

    def _packed(self, sample: Sample) -> tuple[Tensor, Tensor, Tensor, list[tuple[int, list[int]]]]:
        """Embeddings (L, 576), who sees whom (L, L), places (L,), and where each answer starts."""
        ids = torch.tensor([i for q, a in sample.asked for i in (*q, *a)], device=self.device)
        table = self.base.get_input_embeddings()
        rows = torch.cat([sample.note.to(self.device), table(ids).float()])
        sees = torch.ones(len(rows), len(rows), dtype=torch.bool, device=self.device).tril()
        places = torch.arange(len(rows), device=self.device)
        at, answers = len(sample.note), []
        for question, answer in sample.asked:
            ends = at + len(question) + len(answer)
            sees[at:ends, len(sample.note) : at] = False
            places[at:ends] = torch.arange(ends - at, device=self.device) + len(sample.note)
            answers.append((at + len(question), answer))
            at = ends
        return rows, sees, places, answers

    @torch.inference_mode()
    def exact(self, samples: Sequence[Sample]) -> dict[str, list[bool]]:
        """By kind, whether each answer would be written exactly: every token the likeliest one."""
        found: dict[str, list[bool]] = defaultdict(list)
        for start in range(0, len(samples), 4):
            part = samples[start : start + 4]
            logits, labels, owners = self.scores(part)
            right = (logits.argmax(-1) == labels).tolist()
            for number, sample in enumerate(part):
                for question, kind in enumerate(sample.kinds):
                    found[kind].append(
                        all(
                            ok for ok, owner in zip(right, owners, strict=True) if owner == (number, question)
                        )
                    )
        return dict(found)


def measured(answering: Answering, held: dict[str, list[Sample]]) -> dict[str, dict[str, float]]:
    """Share of exact answers on held-out notes, of each kind and of all, for each form."""
    answering.model.eval()
    shares = {}
    for form, samples in held.items():
        found = answering.exact(samples)
        every = [ok for oks in found.values() for ok in oks]
        shares[form] = {"all": round(sum(every) / len(every), 3)} | {
            kind: round(sum(oks) / len(oks), 3) for kind, oks in sorted(found.items())
        }
    answering.model.train()
    return shares


def train(args: argparse.Namespace) -> None:
    """Train for `args.minutes`; goes on from the last checkpoint in `args.out`."""
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    curve, kept = args.out / "answering.jsonl", args.out / "answering.state"
    base, processor = build(args.language, args.reader.parent)
    base.model.connector.load_state_dict(load_file(args.out / "connector.safetensors"))
    _tower, head = load_reader(args.reader)
    misreader = learned_misreader(head, read_shards(args.features)[: args.heard])
    model = with_lora(base, LoraConfig(r=16, lora_alpha=32, target_modules=LAYERS), args.device)
    if args.reading:
        put_on(model, args.reading)
    composer, answering = Composer(base, processor, misreader), Answering(model)
    learned = learned_of(model)
    optimiser = torch.optim.AdamW(learned, weight_decay=0.0, betas=(0.9, 0.98))
    reached = read_checkpoint(kept, learned, optimiser)
    step, used = reached.step, reached.seconds
    texts = load_texts(args.texts)
    notes = Notes(texts, held_out=False)
    held = _held(composer, Notes(texts, held_out=True), args)
    parameters = sum(p.numel() for p in learned)
    began, saved = time.monotonic() - used, time.monotonic()
    losses: list[float] = []
    asked = 0
    while True:
        elapsed = time.monotonic() - began
        ends = elapsed >= 60 * args.minutes
        row = {"step": step, "notes": step * args.batch, "seconds": round(elapsed), "parameters": parameters}
        if losses and (ends or len(losses) == 10):
            log(curve, {**row, "loss": round(sum(losses) / len(losses), 4), "questions": asked})
            losses, asked = [], 0
        if step % args.check == 0 or ends:
            log(curve, {**row, "exact": measured(answering, held)})
        if ends or time.monotonic() - saved > 60 * args.every:
            saved = time.monotonic()
            model.save_pretrained(args.out / "answering")
            write_checkpoint(kept, Reached(step, elapsed), learned, optimiser)
        if ends:
            return
        step += 1
        batch = _batch(composer, notes, args, step)
        logits, labels, _owners = answering.scores(batch)
        loss = F.cross_entropy(logits, labels)
        rate = args.rate * min(1.0, step / 20) * max(0.05, 1 - 0.95 * elapsed / (60 * args.minutes))
        for group in optimiser.param_groups:
            group["lr"] = rate
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learned, 1.0)
        optimiser.step()
        optimiser.zero_grad()
        losses.append(float(loss.detach()))
        asked += sum(len(s.asked) for s in batch)


def _batch(composer: Composer, notes: Notes, args: argparse.Namespace, step: int) -> list[Sample]:
    """The notes of one step, the same for the same seed: all in one form, so that they are of similar length."""
    rng = random.Random(f"{args.seed}-{step}")
    form: Form = "strips" if rng.random() < args.strips else "text"
    samples: list[Sample] = []
    while len(samples) < args.batch:
        sample = composer.sample(notes.note(rng), form, rng)
        if sample.asked and len(sample) <= args.longest:
            samples.append(sample)
    return samples


def _held(composer: Composer, notes: Notes, args: argparse.Namespace) -> dict[str, list[Sample]]:
    """Notes about other topics, with other names and things, in the forms that are trained."""
    rng = random.Random(91)
    made = [note for note in (notes.note(rng) for _ in range(args.held)) if note.questions]
    forms = [form for form in FORMS if (args.strips if form == "strips" else 1 - args.strips) > 0]
    return {
        form: [composer.sample(note, form, random.Random(k)) for k, note in enumerate(made)] for form in forms
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Command line of stage 3."""
    parser = argparse.ArgumentParser(description=__doc__)
    shared_arguments(parser)
    parser.add_argument("--features", type=Path, required=True, help="shards that misreading is learned from")
    parser.add_argument("--reading", type=Path, help="start from this adapter of stage 2")
    parser.add_argument("--heard", type=int, default=1500, help="lines that misreading is learned from")
    parser.add_argument("--strips", type=float, default=0.0, help="share of the steps on strips, not on text")
    parser.add_argument("--minutes", type=float, default=50)
    parser.add_argument("--batch", type=int, default=3, help="notes of a step")
    parser.add_argument("--longest", type=int, default=400, help="tokens of a note with its questions")
    parser.add_argument("--rate", type=float, default=8e-4)
    parser.add_argument("--check", type=int, default=100, help="steps between looks at held-out notes")
    parser.add_argument("--every", type=float, default=5, help="minutes between checkpoints")
    train(parser.parse_args(argv))


if __name__ == "__main__":
    main()
