"""``python -m vlm_studio inspect IMAGE``"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from PIL import Image

from vlm_studio.core.errors import GenerationFailed, InvalidRequest
from vlm_studio.core.sessions import LOCAL_OWNER
from vlm_studio.ingest.upload import read_file
from vlm_studio.tasks.documents_scope import length_of
from vlm_studio.tasks.inspect import Inspected, Step
from vlm_studio.tasks.inspect_export import honesty_value, inspection_value
from vlm_studio.tasks.inspect_look import Checked, Chosen, Look, Method
from vlm_studio.tasks.inspect_tokens import crop_tokens, seen_by
from vlm_studio.views.atlas import atlas_picture
from vlm_studio.views.crops import strip_picture
from vlm_studio.views.heat import flat_picture

if TYPE_CHECKING:
    from vlm_studio.core.inspections import Inspection
    from vlm_studio.studio import Studio


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser("inspect", help="ask about a page and see what the model looked at")
    parser.add_argument("image", type=Path, metavar="IMAGE", help="an image or PDF")
    parser.add_argument("--question", default="", help='default: "Read the line."')
    parser.add_argument("--page", type=int, default=1, help="of a PDF, from 1")
    parser.add_argument("--line", type=int, default=1, help="which line is fed, from 1; 0 feeds all of them")
    parser.add_argument("--method", default="contrast", choices=get_args(Method))
    parser.add_argument("--check", action="store_true", help="also test every word's map (slow)")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="write maps, crops and atlas there as pictures"
    )
    parser.add_argument("--format", default="text", choices=["text", "json"])
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, studio: Studio) -> int:
    """The session is kept, so that the Inspect tab can open it."""
    if args.page < 1:
        raise InvalidRequest(f"There is no page {args.page}.", "Pages are counted from 1.")
    data = read_file(args.image, studio.settings.limits)
    inspections = studio.inspections
    session = inspections.open_file(LOCAL_OWNER, args.image.name, data)
    pages = inspections.pages(LOCAL_OWNER, session)
    if args.page > len(pages):
        raise InvalidRequest(length_of(args.image.name, len(pages)), "Choose one of them with --page.")
    page = pages[args.page - 1]
    lines = [args.line - 1] if args.line > 0 else []
    made = None
    for event in inspections.start(LOCAL_OWNER, session, page.id, lines, args.question).follow():
        if isinstance(event, Inspected):
            made = event.inspection
        elif isinstance(event, Step) and not event.text:
            print(event.message, file=sys.stderr)
    if made is None:
        raise GenerationFailed("There is no answer.", "Ask again.")
    look = studio.looking.look(LOCAL_OWNER, made.id)
    found = inspection_value(studio.looking, LOCAL_OWNER, look, args.method)
    if args.check:
        _check(studio, look, found, args.method)
    if args.out:
        _pictures(studio, look, args.out, args.method)
    print(json.dumps(found, ensure_ascii=False, indent=2) if args.format == "json" else _text(made, found))
    return 0


def _check(studio: Studio, look: Look, found: dict[str, Any], method: Method) -> None:
    for number, word in enumerate(found["words"]):
        chosen = Chosen(number, method=method)
        for step in studio.looking.check(LOCAL_OWNER, look.inspection.id, chosen):
            if isinstance(step, Checked):
                word["honesty"] = honesty_value(step.honesty)


def _text(made: Inspection, found: dict[str, Any]) -> str:
    rows = [made.answer, "", f"{'word':<20} {'with':>6} {'without':>8}  source   looked at (x0 y0 x1 y1)"]
    for word in found["words"]:
        box = " ".join(f"{v:.0f}" for v in word["looked_at"])
        rows.append(
            f"{word['text']:<20.20} {word['probability']:>6.0%} {word['without_image']:>8.0%}  "
            f"{word['source']:<8} {box}"
        )
        if "honesty" in word:
            rows.append("    " + word["honesty"]["verdict"])
    rows.append(f"\nKept as session {made.session_id}: the Inspect tab opens it.")
    return "\n".join(rows)


def _pictures(studio: Studio, look: Look, folder: Path, method: Method) -> None:
    """A map for each word, and for each crop what was fed and its atlas."""
    folder.mkdir(parents=True, exist_ok=True)
    pages = {page.id: studio.inspections.image(LOCAL_OWNER, page.id) for page in look.pages}
    for number, word in enumerate(look.inspection.words):
        for page, heat in zip(
            look.pages,
            studio.looking.heat(LOCAL_OWNER, look.inspection.id, Chosen(number, method=method)),
            strict=True,
        ):
            told = f"{page.filename}: where {look.inspection.model} looked for “{word.text}” ({method}, {word.source})"
            _save(flat_picture(pages[page.id], heat, told), folder / f"word-{number + 1:02d}.png")
    for number in range(len(look.trace.crops)):
        seen, tokens = seen_by(pages, look, number), crop_tokens(look, number)
        _save(atlas_picture(seen, tokens.kept, tokens.labels), folder / f"atlas-{number + 1:02d}.png")
        if tokens.crop.kind == "strip":
            _save(strip_picture(seen, tokens.crop), folder / f"fed-{number + 1:02d}.png")


def _save(image: Image.Image, path: Path) -> None:
    image.save(path)
