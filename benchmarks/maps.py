"""Do the heat maps point at the words? Run: python benchmarks/maps.py [--lines 16]

Pages are drawn with words at known places, and nano reads each line. For every word that it wrote as it was drawn, every method
of the Inspect tab makes a map. Reported, always beside a random map and a blob in the middle of what was fed: the share of the
map's mass inside the word's true box, and how often its hottest cell lies there (the pointing game). Words whose probability
the picture does not at least double were not read, and are counted apart. The honesty test is run on some of them.

Then the same code on a random-weight Idefics2 with the 8B's geometry (crops, patches, heads, layers; narrow): shapes, what is
kept against the forecast, and the size of the saved file. Prints tables and writes results/maps.json.
"""

from __future__ import annotations

import argparse
import difflib
import json
import platform
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vlm_studio.core.answers import DoneEvent
from vlm_studio.core.cancel import CancelToken
from vlm_studio.core.conversation import Ask, Variant
from vlm_studio.core.documents import Box, Line
from vlm_studio.core.settings import PROJECT_ROOT, Settings
from vlm_studio.studio import Studio
from vlm_studio.tasks.inspect import ask_about, blank_logprobs, renamed
from vlm_studio.tasks.inspect_feed import on_pages, strips_of, words_of
from vlm_studio.trace import honesty, maps
from vlm_studio.trace.store_format import pack

RESULT = Path(__file__).resolve().parent / "results" / "maps.json"
METHODS = ("contrast", "rollout", "raw", "hidden")
BASELINES = ("random", "centre")
TEXT = (
    "Call the dentist before ten", "thank you for the letter", "the garden was full of roses",
    "bring bread and six eggs", "water the tomatoes tonight", "the train arrives at noon",
    "my brother paints the kitchen", "we walked along the river", "close the window when it rains",
    "the library opens on Monday", "send me the second chapter", "two boxes of old photographs",
    "nobody answered the telephone", "a small house near the harbour", "she forgot her umbrella again",
    "the apples are almost ripe",
)  # fmt: skip
PAGE = (1240, 1754)
"""Width, height of a page; eight lines stand on one."""


@dataclass(frozen=True)
class Drawn:
    """A line of a page, with its words and their true boxes in page pixels."""

    page: int
    line: Line
    words: tuple[tuple[str, Box], ...]


def draw(count: int, font_file: str, seed: int) -> tuple[list[Image.Image], list[Drawn]]:
    """Pages with `count` lines, eight on a page, at uneven places and sizes."""
    random = np.random.default_rng(seed)
    pages: list[Image.Image] = []
    drawn = []
    for number in range(count):
        if number % 8 == 0:
            pages.append(Image.new("RGB", PAGE, (250, 248, 243)))
        pen, size = ImageDraw.Draw(pages[-1]), int(random.integers(40, 58))
        font = ImageFont.truetype(font_file, size) if font_file else ImageFont.load_default(size)
        x, y = int(random.integers(60, 260)), 110 + 190 * (number % 8) + int(random.integers(-30, 30))
        words = []
        for word in TEXT[number % len(TEXT)].split():
            box = pen.textbbox((x, y), word, font=font)
            pen.text((x, y), word, fill=(35, 35, 60), font=font)
            words.append((word, Box(*(float(v) for v in box))))
            x = box[2] + int(size * random.uniform(0.3, 0.55))
        around = words[0][1]
        for _, box_ in words[1:]:
            around = around.union(box_)
        drawn.append(Drawn(len(pages) - 1, Line(around), tuple(words)))
    return pages, drawn


def matched(told: list[tuple[str, int, int]], true: Sequence[str]) -> list[tuple[int, tuple[int, int]]]:
    """(number of the true word, first and last token) of every word that the model wrote as it was drawn, in order."""
    written = [word.casefold() for word, _, _ in told]
    blocks = difflib.SequenceMatcher(
        None, [w.casefold() for w in true], written, autojunk=False
    ).get_matching_blocks()
    return [(at + i, told[to + i][1:]) for at, to, size in blocks for i in range(size)]


@dataclass
class Case:
    """A line with all that is needed to map its words."""

    ask: Ask
    images: dict[str, Image.Image]
    ids: list[int]
    spans: list[tuple[int, int]]
    """First and last token of each word that was written as drawn."""
    boxes: list[Box]
    """The true places of these words, page pixels."""
    drawn: Drawn
    trace: Any
    fed: list[Any]
    read: list[bool]


def cases(
    studio: Studio,
    pages: list[Image.Image],
    lines: list[Drawn],
    variant: Variant,
    times: dict[str, list[float]],
) -> Iterator[Case]:
    engine, tracer = studio.inspections.engine, studio.inspections.tracer
    for drawn in lines:
        strips = strips_of(pages[drawn.page], str(drawn.page), drawn.line)
        fed, images = [f for f, _ in strips], {f.sha256: image for f, image in strips}
        ask = ask_about(fed, "Read the line." if len(fed) == 1 else "Read the lines.", variant)
        started = time.process_time()
        answer = next(e.answer for e in engine.stream(ask, images, CancelToken()) if isinstance(e, DoneEvent))
        times["answering"].append(time.process_time() - started)
        hits = matched(words_of(answer.tokens), [word for word, _ in drawn.words])
        if not hits:
            continue
        ids, found = [token.token_id for token in answer.tokens], [span for _, span in hits]
        seen = np.array([token.logprob for token in answer.tokens])
        started = time.process_time()
        unseen = blank_logprobs(engine, ask, images, ids)
        times["one question asked again"].append(time.process_time() - started)
        read = [
            honesty.word_source(
                "", a, b, *(float(np.exp(p[a : b + 1].mean())) for p in (seen, unseen))
            ).source
            == "read"
            for a, b in found
        ]
        started = time.process_time()
        trace = tracer.trace(ask, images, ids)
        times["recording an answer"].append(time.process_time() - started)
        sizes = {sha: image.size for sha, image in images.items()}
        placed = on_pages(trace, fed, sizes, {str(drawn.page): str(drawn.page)})
        boxes = [drawn.words[number][1] for number, _ in hits]
        yield Case(ask, images, ids, found, boxes, drawn, placed, fed, read)


def measured(values: np.ndarray, box: Box) -> tuple[float, float]:
    inside = maps.box_mask(box, (PAGE[1], PAGE[0]), (values.shape[0], values.shape[1]))
    return maps.mass_inside(values, inside), float(maps.points_inside(values, inside))


def scores_of(
    case: Case, word: int, seed: int, methods: Sequence[str], trace: Any = None
) -> dict[str, tuple[float, float]]:
    """(mass in the box, pointed at it) of each method and baseline for one word."""
    first, last = case.spans[word]
    box, found = case.boxes[word], {}
    hw = (PAGE[1], PAGE[0])
    cells = maps.cells_of(hw)
    fed = honesty.fed_cells([f.box for f in case.fed], hw, cells)
    for method in methods:
        heat = maps.word_map(trace or case.trace, range(first, last + 1), str(case.drawn.page), hw, method)  # type: ignore[arg-type]
        found[method] = measured(maps.raw_values(heat), box)
    found["random"] = measured(maps.random_map(cells, (cells[0] // 6, cells[1] // 6), seed) * fed, box)
    found["centre"] = measured(honesty._centre_of(fed) * fed, box)
    return found


def check(engine: Any, pages: list[Image.Image], case: Case, word: int, method: str) -> Any:
    """The honesty test of one word's map, as the Inspect tab runs it."""
    first, last = case.spans[word]
    hw = (PAGE[1], PAGE[0])
    values = maps.raw_values(
        maps.word_map(case.trace, range(first, last + 1), str(case.drawn.page), hw, method)  # type: ignore[arg-type]
    )
    fed = honesty.fed_cells([f.box for f in case.fed], hw, (values.shape[0], values.shape[1]))
    ids = case.ids[: last + 1]

    def likely(images: dict[str, Image.Image]) -> float:
        return float(engine.logprobs(*renamed(case.ask, images), ids)[first : last + 1].mean())

    base, drops = likely(case.images), []
    boxes = {f.sha256: f.box for f in case.fed}
    for area, seed in (
        ("hot", 0),
        ("cold", 0),
        ("random", 0),
        ("random", 1),
        ("random", 2),
        ("centre", 0),
        ("blank", 0),
    ):
        mask = honesty.area_mask(values, fed, area, honesty.SHARE, seed)  # type: ignore[arg-type]
        painted = {
            sha: Image.fromarray(honesty.hidden(np.asarray(image), mask, boxes[sha], hw))
            for sha, image in case.images.items()
        }
        drops.append(honesty.MaskedDrop(area, honesty.SHARE, base - likely(painted)))  # type: ignore[arg-type]
    return honesty.judged(drops)


class Tally:
    """What was measured so far, line by line."""

    def __init__(self, adapter: str | None) -> None:
        self.adapter = adapter
        self.drawn = self.words = self.read = self.size = 0
        self.times: dict[str, list[float]] = defaultdict(list)
        self.scores: dict[str, list[tuple[float, float]]] = defaultdict(list)
        self.unread: dict[str, list[tuple[float, float]]] = defaultdict(list)
        self.gradients: dict[str, list[tuple[float, float]]] = defaultdict(list)
        self.verdicts: list[Any] = []

    def maps_of(self, case: Case) -> None:
        """Every method that needs no model, for every word."""
        self.size = max(self.size, len(pack(case.trace)))
        for word in range(len(case.spans)):
            self.words, self.read = self.words + 1, self.read + case.read[word]
            started = time.process_time()
            found = scores_of(case, word, self.words, METHODS)
            self.times["a map from the recording"].append(
                (time.process_time() - started) / (len(METHODS) + 2)
            )
            for name, score in found.items():
                (self.scores if case.read[word] else self.unread)[name].append(score)

    def gradient_of(self, tracer: Any, case: Case, word: int) -> None:
        first, last = case.spans[word]
        started = time.process_time()
        raw = tracer.gradients(case.ask, case.images, case.ids, range(first, last + 1))
        self.times["a gradient-weighted map"].append(time.process_time() - started)
        sizes = {sha: image.size for sha, image in case.images.items()}
        placed = on_pages(raw, case.fed, sizes, {str(case.drawn.page): str(case.drawn.page)})
        for name, score in scores_of(case, word, self.words, ("gradient",), placed).items():
            if name == "gradient":
                self.gradients[name].append(score)

    def check_of(self, engine: Any, pages: list[Image.Image], case: Case, word: int) -> None:
        started = time.process_time()
        self.verdicts.append(check(engine, pages, case, word, "contrast"))
        self.times["the honesty test"].append(time.process_time() - started)

    def value(self) -> dict[str, Any]:
        def drop(area: Any) -> float | None:
            found = [v.drop_of(area) for v in self.verdicts]
            return round(statistics.fmean(found), 3) if found else None

        return {
            "adapter": self.adapter, "drawn": self.drawn, "words": self.words, "read": self.read,
            "file_bytes": self.size, "read_words": table(self.scores), "unread_words": table(self.unread),
            "gradient_words": table(self.gradients), "tested": len(self.verdicts),
            "better_than_random": sum(v.better_than_random for v in self.verdicts),
            "mean_drop": {area: drop(area) for area in ("hot", "random", "centre", "cold", "blank")},
            "seconds": {name: round(statistics.median(t), 3) for name, t in self.times.items()},
        }  # fmt: skip


def nano(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """What was measured after each line."""
    import torch

    # One core, and its own time: what else runs on the machine does not count.
    torch.set_num_threads(1)
    studio = Studio(Settings(data_dir=args.data, offline=True, assets_dir=args.assets))
    shipped = (args.assets / "nano" / "adapters" / args.adapter).is_dir()
    variant = Variant("idefics2-nano", adapter=args.adapter if shipped else None)
    pages, lines = draw(args.lines, args.font, args.seed)
    tally = Tally(variant.adapter)
    for case in cases(studio, pages, lines, variant, tally.times):
        tally.drawn = sum(len(line.words) for line in lines[: len(tally.times["answering"])])
        tally.maps_of(case)
        read = [word for word, was_read in enumerate(case.read) if was_read]
        for word in read[: args.gradient_words]:
            tally.gradient_of(studio.inspections.tracer, case, word)
        for word in read[-args.checks :] if args.checks else ():
            tally.check_of(studio.inspections.engine, pages, case, word)
        print(
            f"{len(tally.times['answering'])}/{len(lines)} lines, {tally.read} words read",
            file=sys.stderr,
            flush=True,
        )
        yield tally.value()
    studio.close()


def table(scores: dict[str, list[tuple[float, float]]]) -> list[dict[str, Any]]:
    return [
        {
            "method": name,
            "words": len(found),
            "mass_in_box": round(statistics.fmean(m for m, _ in found), 4),
            "pointing": round(statistics.fmean(p for _, p in found), 4),
        }
        for name, found in scores.items()
        if found
    ]


def idefics2_8b(split: bool) -> dict[str, Any]:
    """The 8B's crops, patches, heads and layers on random weights of little width: shapes and bytes."""
    import torch
    from transformers import Idefics2Config, Idefics2ForConditionalGeneration
    from transformers.models.idefics2 import Idefics2ImageProcessor

    from vlm_studio.core.ports import Opened
    from vlm_studio.trace.forced import forced_trace
    from vlm_studio.trace.geometry import forecast_bytes, page_crops

    torch.manual_seed(1)
    config = Idefics2Config(
        image_token_id=90,
        vision_config={"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 980, "patch_size": 14},
        perceiver_config={"hidden_size": 64, "resampler_n_latents": 64, "resampler_depth": 3, "resampler_n_heads": 16, "resampler_head_dim": 4, "num_key_value_heads": 4},
        text_config={"model_type": "mistral", "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 100, "pad_token_id": 0},
    )  # fmt: skip
    model = Idefics2ForConditionalGeneration(config).eval()
    with torch.no_grad():
        latents = model.model.connector.perceiver_resampler.latents
        latents.copy_(torch.randn_like(latents))
    page = draw(8, "", 1)[0][0]
    fed = Idefics2ImageProcessor()([page], do_image_splitting=split, return_tensors="pt")
    crops = page_crops("p", (PAGE[1], PAGE[0]), split, 1)
    ids = [1]
    for _ in crops:
        ids += [89, *[90] * 64]
    inputs = {
        "input_ids": torch.tensor([[*ids, 89, 5, 6]]),
        "pixel_values": fed["pixel_values"],
        "pixel_attention_mask": fed["pixel_attention_mask"],
    }
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    answer = list(range(10, 42))
    trace = forced_trace(Opened(model, inputs, crops), answer)
    patches = crops[0].grid_hw[0] * crops[0].grid_hw[1]
    kept, most = forecast_bytes(len(crops), patches, 16, 3, 64, 32, len(answer))
    data = pack(trace)
    return {
        "split": split,
        "crops": len(crops),
        "perceiver": list(trace.perceiver.shape),
        "decoder": list(trace.decoder.shape),
        "kept_bytes": trace.perceiver.nbytes + trace.decoder.nbytes + trace.perceiver_latents.nbytes,
        "forecast_kept_bytes": kept,
        "forecast_peak_bytes": most,
        "file_bytes": len(data),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lines", type=int, default=16)
    parser.add_argument("--gradient-words", type=int, default=2, help="of each line")
    parser.add_argument(
        "--checks", type=int, default=1, help="words of each line that are put to the honesty test"
    )
    parser.add_argument("--adapter", default="reading", help="used where it is shipped")
    parser.add_argument("--font", default="", help="a TTF or OTF file; default: the one inside Pillow")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument(
        "--assets", type=Path, default=PROJECT_ROOT / "assets", help="other weights than the shipped ones"
    )
    parser.add_argument("--result", type=Path, default=RESULT)
    parser.add_argument("--again", action="store_true", help="measure the 8B's shapes again, too")
    parser.add_argument("--data", type=Path, default=Path("/tmp/vlm-studio-maps"))
    args = parser.parse_args()
    args.result.parent.mkdir(exist_ok=True)
    known = json.loads(args.result.read_text("utf-8")) if args.result.exists() else {}
    shapes = known.get("idefics2_8b_geometry") or [idefics2_8b(split) for split in (False, True)]
    if args.again:
        shapes = [idefics2_8b(split) for split in (False, True)]
    rows: list[dict[str, Any]] = []
    # Written after every line: a run that is cut short has measured what it says it has.
    for found in nano(args):
        rows = ranked(found)
        value = json.dumps(summary(args, found, rows, shapes), indent=1, ensure_ascii=False)
        args.result.write_text(value + "\n", "utf-8")
    for row in rows:
        print(
            f"{row['method']:<10} {row['words']:>4} words  mass in box {row['mass_in_box']:.3f}  "
            f"pointing {row['pointing']:.3f}"
        )
    print(json.dumps(shapes, indent=1))


def ranked(found: dict[str, Any]) -> list[dict[str, Any]]:
    """The table's rows, the best method first, the baselines last."""
    seconds = found["seconds"]
    rows = [dict(row) for row in (*found["read_words"], *found["gradient_words"])]
    for row in rows:
        if row["method"] not in BASELINES:
            row["seconds"] = seconds[
                "a gradient-weighted map" if row["method"] == "gradient" else "a map from the recording"
            ]
    return sorted(rows, key=lambda row: (row["method"] in BASELINES, -row["mass_in_box"]))


def summary(
    args: argparse.Namespace, found: dict[str, Any], rows: list[dict[str, Any]], shapes: list[dict[str, Any]]
) -> dict[str, Any]:
    drop = found["mean_drop"]
    notes = [
        f"Recording an answer of nano took {found['seconds']['recording an answer']:.1f} s of one core, asking once more {found['seconds']['one question asked again']:.1f} s.",
        f"A saved recording of one line takes {found['file_bytes'] / 1000:.0f} kB; of a page in five crops of the 8B's geometry {shapes[1]['file_bytes'] / 1e6:.1f} MB.",
    ]
    if found["tested"]:
        notes.insert(
            0,
            f"The honesty test believed {found['better_than_random']} of {found['tested']} contrast maps of words that were read: hiding the hot "
            f"fifth cost {drop['hot']:.2f} in log-probability a token, random fifths {drop['random']:.2f}, everything {drop['blank']:.2f}.",
        )
    return {
        "conditions": f"idefics2-nano{' with its reading adapter' if found['adapter'] else ' without an adapter'}; {found['read']} of "
        f"{found['drawn']} drawn words were written right and owe it to the picture, and are counted here; seconds are those of one CPU core.",
        "command": "python benchmarks/maps.py",
        "machine": f"{platform.machine()}, {platform.python_version()}",
        "nano": rows,
        "notes": notes,
        "details": {k: v for k, v in found.items() if k != "read_words"},
        "idefics2_8b_geometry": shapes,
        "arguments": {k: str(v) for k, v in vars(args).items() if k not in {"data", "font", "assets", "result", "again"}},
    }  # fmt: skip


if __name__ == "__main__":
    main()
