"""Ship connector, adapters and learning curves of stages 1 to 3, and what each of them reads and answers.

``python -m vlm_studio.recipe.export_language --out RUN --reader assets/nano/tower.safetensors --fonts F --texts T --copiste C
--language L``

A connector or adapter that does worse than the shipped one is not written (``--force`` writes it all the same, as is right
after a change of the tower). Weights are float16; adapters are PEFT folders that go onto `vlm_studio.model.nano.build`'s model.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file

from vlm_studio.model.characters import spell
from vlm_studio.model.nano import build
from vlm_studio.model.spelling import SpellingConnector
from vlm_studio.recipe.branches import halved_language
from vlm_studio.recipe.evaluate import Score, score
from vlm_studio.recipe.features import Line, load_reader
from vlm_studio.recipe.lines import Stacker, held_out, shared_arguments, spelled
from vlm_studio.recipe.train_connector import new_connector
from vlm_studio.recipe.train_reading import Reading

ROOT = Path(__file__).resolve().parents[2]
ASSETS = ROOT / "assets" / "nano"
ANSWERS = ROOT / "benchmarks" / "results" / "answering.json"
READERS = {
    "reading": "LoRA on the language model, and on the connector where that is the one it learned with: reads a strip letter by letter",
    "frozen": "its twin for comparison: as many steps on the same kinds of lines, LoRA on the connector alone, language model frozen",
}
ANSWERING = "answering"
ADAPTERS = {
    **READERS,
    ANSWERING: "LoRA on the upper layers of the language model: copies short answers from the text of a note that was read "
    "(who, when, how much, which number); of strips it reads nothing, counts badly, and is off for all other talk",
}
NOTES = {
    "name": "Notes with known facts, and questions about them",
    "from": "made up by vlm_studio/recipe/notes.py",
    "licence": "as this project",
    "held_out": "topics, names and things of recipe/notes.py's other side",
}
CONDITIONS = (
    "held-out lines of at most 56 letters, drawn in font families that training never saw, and Copiste lines of texts that it "
    "never saw; greedy, one line a strip"
)


def halved(state: dict[str, torch.Tensor], file: Path) -> None:
    save_file({k: v.half().contiguous() for k, v in state.items()}, file, metadata={"format": "pt"})


def write_connector(source: Path, out: Path) -> None:
    """The trained connector without its letters, which are the language model's own."""
    state = {name: tensor for name, tensor in load_file(source).items() if name != "letters"}
    halved(state, out / "connector.safetensors")


def write_adapter(source: Path, out: Path) -> None:
    """A PEFT folder in half precision: a plain LoRA for nano, nothing about the machine and the program that trained it."""
    out.mkdir(parents=True, exist_ok=True)
    told = json.loads((source / "adapter_config.json").read_text("utf-8"))
    config = {name: told[name] for name in ("peft_type", "r", "lora_alpha", "target_modules", "bias")}
    config |= {"base_model_name_or_path": "idefics2-nano", "task_type": None, "inference_mode": True}
    _write(out / "adapter_config.json", config)
    halved(load_file(source / "adapter_model.safetensors"), out / "adapter_model.safetensors")


def curves(run: Path) -> dict[str, list[dict[str, Any]]]:
    """The learning curves of `run`, one list of rows for each stage that has one."""
    files = {"tower": "curve.jsonl", "connector": "connector.jsonl", **{k: f"{k}.jsonl" for k in ADAPTERS}}
    return {
        stage: [json.loads(row) for row in (run / name).read_text("utf-8").splitlines()]
        for stage, name in files.items()
        if (run / name).exists()
    }


def readings(args: argparse.Namespace, held: dict[str, list[Line]]) -> dict[str, dict[str, Any]]:
    """What each part reads of the same lines: head alone, pooled tokens, language model with each adapter."""
    _tower, head = load_reader(args.reader)
    stacker = Stacker(head)
    rows: dict[str, dict[str, Any]] = {}
    with torch.inference_mode():
        rows["head"] = {
            name: [spell(head(features).log_softmax(-1).numpy()) for features, _t in lines]
            for name, lines in held.items()
        }
    connector = _connector(args.out / "connector.safetensors")
    rows["connector"] = {name: spelled(connector, stacker, lines) for name, lines in held.items()}
    seconds = {}
    for kind in READERS:
        if (args.out / kind / "adapter_model.safetensors").exists():
            began = time.process_time()
            rows[kind] = _read_with(args, kind, stacker, held)
            seconds[kind] = (time.process_time() - began) / sum(map(len, held.values()))
    scored: dict[str, dict[str, Any]] = {
        stage: {name: _row(score(read, [t for _f, t in held[name]])) for name, read in found.items()}
        for stage, found in rows.items()
    }
    for kind, each in seconds.items():
        scored[kind]["cpu_seconds_per_line"] = round(each, 3)
    return scored


def _connector(file: Path) -> SpellingConnector:
    connector = new_connector()
    connector.load_state_dict(load_file(file), strict=False)
    return connector.eval()


def _read_with(
    args: argparse.Namespace, kind: str, stacker: Stacker, held: dict[str, list[Line]]
) -> dict[str, list[str]]:
    base, processor = build(args.language, args.reader.parent)
    base.model.connector.load_state_dict(load_file(args.out / "connector.safetensors"))
    model = PeftModel.from_pretrained(halved_language(base), args.out / kind).eval()
    reading = Reading(model, processor, stacker)
    return {
        name: [text for k in range(0, len(lines), 40) for text in reading.read(lines[k : k + 40])]
        for name, lines in held.items()
    }


def _row(found: Score) -> dict[str, float]:
    return {
        "lines": found.lines,
        "cer": round(found.cer, 4),
        "wer": round(found.wer, 4),
        "invented_words": round(found.invented, 4),
    }


def _mean(rows: dict[str, Any]) -> float:
    cers = [row["cer"] for row in rows.values() if isinstance(row, dict)]
    return sum(cers) / len(cers)


def answered(stages: dict[str, list[dict[str, Any]]]) -> dict[str, Any] | None:
    """What stage 3 measured last on held-out notes: shares of exact answers."""
    rows = [row for row in stages.get(ANSWERING, []) if "exact" in row]
    return {"exact": rows[-1]["exact"]} if rows else None


def export(args: argparse.Namespace) -> None:
    """Measure, compare with what is shipped, write weights, curves, card and provenance."""
    torch.set_num_threads(args.threads)
    measured = readings(args, held_out(args))
    print(json.dumps(measured, indent=1))
    file = args.assets / "curves.json"
    shipped = json.loads(file.read_text("utf-8")) if file.exists() else {}
    old = shipped.get("evaluation", {})
    better = {k for k in measured if args.force or k not in old or _mean(measured[k]) < _mean(old[k])}
    stages = {**shipped.get("stages", {}), **curves(args.out)}
    exact = answered(stages) if (args.out / ANSWERING).exists() else None
    if exact and (args.force or _exact(exact) >= _exact(old.get(ANSWERING, {"exact": {}}))):
        measured[ANSWERING] = exact
        better.add(ANSWERING)
    if "connector" in better:
        write_connector(args.out / "connector.safetensors", args.assets)
    for kind in better & set(ADAPTERS):
        write_adapter(args.out / kind, args.assets / "adapters" / kind)
    evaluation = {**old, **{k: measured[k] for k in better}}
    _write(file, {"conditions": CONDITIONS, "adapters": ADAPTERS, "stages": stages, "evaluation": evaluation})
    _hash_all(args.assets)
    _tell_card(args.assets / "card.json", evaluation, args)
    print("written:", sorted(better))


def _exact(found: dict[str, Any]) -> float:
    """Share of exact answers, of the form that does best."""
    return max((row["all"] for row in found["exact"].values()), default=0.0)


def _tell_card(path: Path, evaluation: dict[str, Any], args: argparse.Namespace) -> None:
    """Size and what the language model reads and answers, into the card that `export_tower` wrote."""
    card = json.loads(path.read_text("utf-8"))
    base, _processor = build(args.language, path.parent)
    card["parameters"] = sum(p.numel() for p in base.parameters())
    card["measured"]["language_model"] = {
        "conditions": CONDITIONS,
        "what": {
            "head": "the tower's character head, greedy",
            "connector": "its 64 pooled tokens, a letter each",
            **ADAPTERS,
        },
        **evaluation,
    }
    if args.answers.exists():
        asked = json.loads(args.answers.read_text("utf-8"))
        card["measured"][ANSWERING] = {
            "conditions": f"questions about {asked['notes']} notes on topics, with names and things, that no training saw, drawn in "
            "font families that none saw and read by the app; right: letter for letter, misreadings count",
            "measured_by": "benchmarks/answering.py",
            **asked["ways"],
        }
    _write(path, card)


def _hash_all(assets: Path) -> None:
    """Every weight file's SHA-256, the day, and what stage 3 learned from, into provenance.json."""
    provenance = json.loads((assets / "provenance.json").read_text("utf-8"))
    provenance["made"] = time.strftime("%Y-%m-%d")
    provenance["data"] = [d for d in provenance["data"] if d["name"] != NOTES["name"]] + [NOTES]
    provenance["sha256"] = {
        str(file.relative_to(assets)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(assets.rglob("*.safetensors"))
    }
    _write(assets / "provenance.json", provenance)


def _write(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", "utf-8")


def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    shared_arguments(parser)
    parser.add_argument("--assets", type=Path, default=ASSETS)
    parser.add_argument("--answers", type=Path, default=ANSWERS, help="what benchmarks/answering.py measured")
    parser.add_argument("--force", action="store_true")
    export(parser.parse_args(argv))


if __name__ == "__main__":
    main()
