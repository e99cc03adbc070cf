"""``python -m vlm_studio adapt status|next|lines|leave-out|train|go-on|discard|list|use|rename|export|import|delete``"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from vlm_studio.core.adapters import HUB_SETTINGS, RANKS, Adapter, TrainingRun, TrainPoint, TrainSettings
from vlm_studio.core.errors import NotFound, StoreError
from vlm_studio.core.sessions import LOCAL_OWNER
from vlm_studio.ingest.upload import read_file
from vlm_studio.tasks.adapt import Judging, Learned

if TYPE_CHECKING:
    from vlm_studio.studio import Studio


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser("adapt", help="teach the reader your hand from your corrections")
    parser.add_argument("--owner", default=LOCAL_OWNER, help="user:NAME where people log in; default: local")
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("status", help="what there is to learn from, and what to do next")
    coming = actions.add_parser("next", help="lines whose correction would teach most")
    coming.add_argument("--count", type=int, default=12)
    actions.add_parser("lines", help="what you put right: learned from, kept back to test on, or left out")
    leaving = actions.add_parser("leave-out", help="learn nothing from a line")
    leaving.add_argument("id", help="as `adapt lines` names it")
    leaving.add_argument("--take-in", action="store_true", help="learn from it again")
    training = actions.add_parser("train", help="learn from all corrections; used only if it reads better")
    training.add_argument("--name", default="My hand")
    training.add_argument("--steps", type=int, default=TrainSettings().steps)
    training.add_argument(
        "--rank",
        type=int,
        choices=RANKS,
        help=f"default: {TrainSettings().rank}, and {HUB_SETTINGS.rank} with --model",
    )
    training.add_argument(
        "--mix", type=float, default=TrainSettings().mix, help="share of other hands, 0-0.5"
    )
    training.add_argument(
        "--model", default="", help="teach a model of the hub instead, such as idefics2-8b (CUDA)"
    )
    again = actions.add_parser("go-on", help="go on with a training that was stopped or interrupted")
    again.add_argument("id", nargs="?", default="", help="default: the newest")
    dropping = actions.add_parser("discard", help="forget a training that was stopped or failed")
    dropping.add_argument("id", nargs="?", default="", help="default: the newest")
    listing = actions.add_parser("list", help="adapters, newest first")
    listing.add_argument("--json", action="store_true", help="for programs")
    using = actions.add_parser("use", help="read with an adapter from now on")
    using.add_argument("id", help="an adapter's id, or none for the base model")
    renaming = actions.add_parser("rename", help="another name, or other notes")
    renaming.add_argument("id")
    renaming.add_argument("name")
    renaming.add_argument("--notes", help="default: those that are there")
    exporting = actions.add_parser("export", help="write an adapter to a file")
    exporting.add_argument("id")
    exporting.add_argument("--out", type=Path, default=Path(), metavar="FOLDER")
    importing = actions.add_parser("import", help="bring in an exported adapter")
    importing.add_argument("file", type=Path)
    deleting = actions.add_parser("delete", help="delete an adapter for good")
    deleting.add_argument("id")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, studio: Studio) -> int:
    """1 where the gate refused what was learned."""
    actions: dict[str, Callable[[argparse.Namespace, Studio], int]] = {
        "status": _status, "next": _next, "lines": _lines, "leave-out": _leave_out, "train": _train,
        "go-on": _go_on, "discard": _discard, "list": _list, "use": _use, "rename": _rename, "export": _export,
        "import": _import, "delete": _delete,
    }  # fmt: skip
    return actions[args.action](args, studio)


def _status(args: argparse.Namespace, studio: Studio) -> int:
    parts = studio.adapting.split(args.owner)
    print(f"{len(parts.learn)} lines to learn from, {parts.kept_back}")
    print(studio.adapting.advice(args.owner).sentence)
    worn = studio.adapter_store.in_use(args.owner)
    if worn is not None and not studio.adapters.fits(worn):
        print(f"Reading with the base model: {worn.name!r} was made for other weights.")
    else:
        print(f"Reading with {worn.name!r}." if worn else "Reading with the base model.")
    return 0


def _lines(args: argparse.Namespace, studio: Studio) -> int:
    held = {line.line_id for line in studio.adapting.split(args.owner).held}
    for entry in studio.adapting.lines(args.owner):
        line = entry.line
        state = "left out" if entry.left_out else "kept back" if line.line_id in held else "learned from"
        print(f"{line.line_id}  {line.created_at[:10]}  {state:12}  {line.text}")
    return 0


def _leave_out(args: argparse.Namespace, studio: Studio) -> int:
    studio.adapting.leave_out(args.owner, args.id, not args.take_in)
    return 0


def _next(args: argparse.Namespace, studio: Studio) -> int:
    for line in studio.adapting.next_lines(args.owner, args.count):
        print(f"{line.gain:5.1f}  {line.line.source}: {line.line.reading.text}")
    return 0


def _train(args: argparse.Namespace, studio: Studio) -> int:
    usual = HUB_SETTINGS if args.model else TrainSettings()
    settings = replace(
        usual,
        steps=args.steps,
        rank=args.rank or usual.rank,
        mix=min(max(args.mix, 0.0), 0.5),
        model=args.model,
    )
    return _watch(args, studio, studio.adapting.start(args.owner, args.name, settings))


def _go_on(args: argparse.Namespace, studio: Studio) -> int:
    return _watch(args, studio, studio.adapting.go_on(args.owner, _unfinished(args, studio).id))


def _discard(args: argparse.Namespace, studio: Studio) -> int:
    studio.adapting.discard(args.owner, _unfinished(args, studio).id)
    return 0


def _unfinished(args: argparse.Namespace, studio: Studio) -> TrainingRun:
    """The newest training whose id begins as asked for. Raises NotFound."""
    for run in studio.adapting.trainings(args.owner):
        if run.id.startswith(args.id) and run.state != "done":
            return run
    raise NotFound("There is no training to go on with.", "Begin one with `adapt train`.")


def _watch(args: argparse.Namespace, studio: Studio, run: TrainingRun) -> int:
    print(f"Training {run.id}: {run.lines} lines, {run.held_lines} kept back.", file=sys.stderr)
    learned: Adapter | None = None
    live = studio.adapting.watching(args.owner, run.id)
    for event in live.follow() if live is not None else ():
        if isinstance(event, TrainPoint) and event.phase != "done":
            cer = "" if event.cer is None else f", CER of kept-back lines {event.cer:.1%}"
            print(f"{event.phase} {event.step}/{event.total}{cer}", file=sys.stderr)
        elif isinstance(event, Judging) and not event.done:
            print("reading the lines that were kept back", file=sys.stderr)
        elif isinstance(event, Learned):
            learned = event.adapter
    if learned is not None and learned.verdict is None:
        print(
            f"{learned.id}  learned, not measured; ask for it with the model {learned.facts.base}:{learned.id}"
        )
        return 0
    if learned is None or learned.verdict is None:
        print(studio.adapter_store.training(args.owner, run.id).message, file=sys.stderr)
        return 1
    print(f"{learned.id}  {learned.verdict.why}")
    return 0 if learned.verdict.passed else 1


def _list(args: argparse.Namespace, studio: Studio) -> int:
    adapters = studio.adapters.list(args.owner)
    if args.json:
        print(json.dumps([asdict(a) for a in adapters], ensure_ascii=False, indent=1))
        return 0
    for adapter in adapters:
        verdict = adapter.verdict
        told = f"CER {verdict.cer_before:.1%} -> {verdict.cer_after:.1%}" if verdict else adapter.source
        fits = studio.adapters.fits(adapter)
        marks = " (in use)" * (adapter.active and fits) + " (made for other weights)" * (not fits)
        marks += " (refused)" * (verdict is not None and not verdict.passed)
        print(f"{adapter.id}  {adapter.created_at[:16]}  {adapter.name}  {told}{marks}")
    return 0


def _use(args: argparse.Namespace, studio: Studio) -> int:
    studio.adapters.activate(args.owner, None if args.id == "none" else args.id)
    return 0


def _rename(args: argparse.Namespace, studio: Studio) -> int:
    print(studio.adapters.rename(args.owner, args.id, args.name, args.notes).name)
    return 0


def _export(args: argparse.Namespace, studio: Studio) -> int:
    data, name = studio.adapters.export(args.owner, args.id)
    try:
        args.out.mkdir(parents=True, exist_ok=True)
        (args.out / name).write_bytes(data)
    except OSError as failure:
        told = failure.strerror or failure
        raise StoreError(
            f"{args.out / name} could not be written: {told}.", "Use another --out."
        ) from failure
    print(args.out / name)
    return 0


def _import(args: argparse.Namespace, studio: Studio) -> int:
    before = {a.id for a in studio.adapters.list(args.owner)}
    adapter = studio.adapters.take_in(args.owner, read_file(args.file, studio.settings.limits))
    if adapter.id in before:
        print(f"It is there already, as {adapter.name!r}.", file=sys.stderr)
    print(adapter.id)
    return 0


def _delete(args: argparse.Namespace, studio: Studio) -> int:
    studio.adapting.forget(args.owner, args.id)
    studio.adapters.delete(args.owner, args.id)
    return 0
