"""Who answers short questions about notes best: rules, the language model alone, or the language model that learned it?

    python benchmarks/answering.py --fonts SET/fonts --texts SET/texts

SET is what `vlm_studio.recipe.collect` gathers. Notes are about topics, with names and things, that no training saw, drawn in font
families that no training saw. The app's reader reads them; then each way answers the same questions: the rules that Chat
answers with, nano with its adapter off, and nano with `answering`, which is shown the text that was read or the strips
themselves. An answer is right where it is the true one, upper or lower case and outer marks aside: what the reader misread counts
against everybody. Prints a table and writes results/answering.json.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from PIL import Image
from rapidfuzz.distance import Levenshtein

from vlm_studio.core.answers import DoneEvent
from vlm_studio.core.cancel import CancelToken
from vlm_studio.core.chat import ChatImage, ImageText, TextLine
from vlm_studio.core.conversation import Ask, GenParams, ImagePart, Part, TextPart, Turn, Variant
from vlm_studio.core.documents import Box, Word
from vlm_studio.core.settings import Settings
from vlm_studio.recipe.note_topics import WORDS
from vlm_studio.recipe.notes import Note, Notes, Question
from vlm_studio.recipe.synth import choose, draw_line, list_fonts
from vlm_studio.recipe.texts import load_texts
from vlm_studio.studio import Studio
from vlm_studio.tasks.chat_find import find_on_images
from vlm_studio.tasks.chat_learned import standing

RESULT = Path(__file__).resolve().parent / "results" / "answering.json"
PARAMS = GenParams(max_new_tokens=40)
OUTER = " .,:;!?\"'()-*"


@dataclass
class Drawn:
    """A note with its strips and what the reader read on each."""

    note: Note
    strips: list[Image.Image]
    read: list[str]
    image: ChatImage = field(init=False)

    def __post_init__(self) -> None:
        lines = tuple(
            TextLine(text, 0.9, Box(0, 60 * k, 1000, 60 * k + 50), _words(text, 60 * k))
            for k, text in enumerate(self.read)
            if text
        )
        self.image = ChatImage(1, "note", "note.png", 1000, 60 * len(lines), read=ImageText("nano", lines))


def _words(text: str, top: float) -> tuple[Word, ...]:
    found, at = [], 0
    for word in text.split():
        found.append(Word(word, Box(20 * at, top, 20 * (at + len(word)), top + 50)))
        at += len(word) + 1
    return tuple(found)


def drawn_notes(args: argparse.Namespace, studio: Studio) -> list[Drawn]:
    """Notes in unseen fonts, one hand each."""
    rng = random.Random(args.seed)
    notes, fonts = Notes(load_texts(args.texts), held_out=True), list_fonts(args.fonts, held_out=True)
    found: list[Drawn] = []
    while len(found) < args.notes:
        note = notes.note(rng)
        font = choose(fonts, "".join(note.texts), rng)
        if font is None or not note.questions:
            continue
        strips = [Image.fromarray(draw_line(t, font, rng.getrandbits(32)).pixels) for t in note.texts]
        read = [r.text for r in studio.transcriber.read_strips(strips, "nano", CancelToken())]
        found.append(Drawn(note, strips, read))
    return found


Way = Callable[[Drawn, Question], str]


def by_rules(studio: Studio) -> Way:
    def answer(drawn: Drawn, question: Question) -> str:
        findings = find_on_images(lambda: studio.rarity, question.words, (drawn.image,))
        words = WORDS[drawn.note.language]
        if question.kind == "mention":
            return words["yes" if findings else "no"][0]
        return findings[0].answer if findings else words["absent"][0]

    return answer


def by_model(studio: Studio, adapter: str | None, strips: bool) -> Way:
    def answer(drawn: Drawn, question: Question) -> str:
        pictures = {f"{id(drawn)}-{k}": strip.convert("RGB") for k, strip in enumerate(drawn.strips)}
        text = "\n".join(t for t in drawn.read if t)
        shown: list[Part] = (
            [ImagePart(sha) for sha in pictures]
            if strips
            else [TextPart(f'\nText read from image 1:\n"""\n{text}\n"""\n', quoted=True)]
        )
        ask = Ask(
            (Turn("user", (*shown, TextPart(question.words))),),
            Variant("idefics2-nano", adapter=adapter),
            PARAMS,
            f"{id(drawn)}",
        )
        for event in studio.models.engine(ask.variant).stream(ask, pictures if strips else {}, CancelToken()):
            if isinstance(event, DoneEvent):
                return event.answer.text.strip()
        return ""

    return answer


def remembered(way: Way) -> Way:
    """Asked once, however many ways build on it."""
    known: dict[tuple[int, str], str] = {}

    def answer(drawn: Drawn, question: Question) -> str:
        key = (id(drawn), question.words)
        if key not in known:
            known[key] = way(drawn, question)
        return known[key]

    return answer


def as_chat(learned: Way, rules: Way) -> Way:
    """What the adapter says where it stands in the note, and else what the rules say."""

    def answer(drawn: Drawn, question: Question) -> str:
        said = learned(drawn, question)
        return said if standing(said, (drawn.image,)) else rules(drawn, question)

    return answer


def bare(text: str) -> str:
    return " ".join(text.casefold().split()).strip(OUTER)


def measured(way: Way, notes: Sequence[Drawn], show: bool) -> dict[str, Any]:
    """Shares of right answers, of each kind and of all; of refusals; letters wrong in the answers that are copied."""
    right: dict[str, list[bool]] = defaultdict(list)
    copied: list[bool] = []
    edits = letters = false_refusals = held = asked = 0
    began = time.perf_counter()
    for drawn in notes:
        refusal = bare(WORDS[drawn.note.language]["absent"][0])
        for question in drawn.note.questions:
            said = way(drawn, question)
            right[question.kind].append(bare(said) == bare(question.answer))
            if question.slot:
                asked += 1
                copied.append(right[question.kind][-1])
                false_refusals += bare(said) == refusal
                held += bare(question.answer) in bare(said)
                wrong = Levenshtein.distance(bare(said), bare(question.answer))
                edits += min(wrong, len(question.answer))
                letters += len(question.answer)
            if show:
                print(f"{question.kind:8} {question.words} -> {said!r} ({question.answer!r})", flush=True)
    every = [ok for oks in right.values() for ok in oks]
    return {
        "questions": len(every),
        "right": share(every),
        "copied_right": share(copied),
        "copied_held": round(held / max(1, asked), 3),
        "copied_cer": round(edits / max(1, letters), 3),
        "refused_rightly": share(right.get("absent", [])),
        "refused_wrongly": round(false_refusals / max(1, asked), 3),
        "by_kind": {k: {"questions": len(v), "right": share(v)} for k, v in sorted(right.items())},
        "seconds_per_question": round((time.perf_counter() - began) / max(1, len(every)), 2),
    }


def share(oks: Sequence[bool]) -> float:
    return round(sum(oks) / max(1, len(oks)), 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fonts", type=Path, required=True)
    parser.add_argument("--texts", type=Path, required=True)
    parser.add_argument("--notes", type=int, default=30)
    parser.add_argument("--seed", type=int, default=404)
    parser.add_argument("--ways", nargs="*", help="only these")
    parser.add_argument("--data", type=Path, required=True, help="an empty folder for the app's data")
    parser.add_argument("--assets", type=Path, help="other assets than the shipped ones")
    parser.add_argument("--show", action="store_true", help="every answer")
    parser.add_argument("--dry", action="store_true", help="do not write the result")
    args = parser.parse_args()
    settings = Settings(data_dir=args.data, **({"assets_dir": args.assets} if args.assets else {}))
    studio = Studio(settings)
    notes = drawn_notes(args, studio)
    rules, learned = remembered(by_rules(studio)), remembered(by_model(studio, "answering", False))
    ways: dict[str, Way] = {
        "rules": rules,
        "answering, text": learned,
        "as Chat answers": as_chat(learned, rules),
        "adapter off, text": by_model(studio, None, False),
        "answering, strips": by_model(studio, "answering", True),
    }
    found: dict[str, Any] = {}
    for name, way in ways.items():
        if not args.ways or name in args.ways:
            found[name] = measured(way, notes, args.show)
            print(name, json.dumps(found[name]), flush=True)
    studio.close()
    if not args.dry:
        about = {"notes": len(notes), "machine": platform.machine(), "ways": found}
        RESULT.write_text(json.dumps(about, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
