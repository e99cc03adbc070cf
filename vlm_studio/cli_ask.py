"""``python -m vlm_studio ask FILE... "question"``"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from vlm_studio.core.answers import DocumentAnswer
from vlm_studio.core.errors import InvalidRequest, NotFound, UserInputError
from vlm_studio.ingest.upload import read_file
from vlm_studio.tasks.ask_pdf import AskedDocument, Documents, PageReader, json_value, read_document
from vlm_studio.tasks.documents_scope import pages_of

if TYPE_CHECKING:
    from vlm_studio.studio import Studio


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "ask",
        help="ask a question of PDFs and photos of pages",
        description="Answers in the documents' own words, with page, quote and boxes: points from the top "
        "left of the page as displayed for a PDF, pixels for an image.",
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("question", help="in quotes, as the last argument")
    parser.add_argument("--format", default="json", choices=["json", "text"])
    parser.add_argument("--pages", default="", help="only these pages of each file, such as 1-3,7")
    parser.add_argument("--password", default="", help="of an encrypted PDF")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, studio: Studio) -> int:
    """1 when a file could not be read; the others are asked all the same, unless none is left."""
    started, failed = time.monotonic(), False
    if not args.question.strip():
        raise InvalidRequest("The question is empty.", "Type what you want to know.")
    wanted = pages_of(args.pages)
    asked: list[AskedDocument] = []
    reader = PageReader(lambda: studio.transcriber)
    for path in args.files:
        try:
            data = read_file(path, studio.settings.limits)
            read = read_document(
                data, path.name, studio.settings.limits, reader, studio.rarity, args.password, wanted
            )
            pages = tuple(read)
            for note in dict.fromkeys(note for page in pages for note in page.notes):
                print(f"{path}: {note}", file=sys.stderr)
            asked.append(AskedDocument(str(path), pages))
        except InvalidRequest as error:
            # Too short for the pages asked of: no fault as long as another file has them.
            print(error, file=sys.stderr)
        except (UserInputError, NotFound) as error:
            print(f"{path}: {error}", file=sys.stderr)
            failed = True
    if not asked:
        return 1
    found = Documents(asked, studio.rarity, studio.similar).ask(args.question)
    value = json_value(found, time.monotonic() - started)
    if args.format == "json":
        sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=1) + "\n")
    else:
        sys.stdout.write(_as_text(found))
    return 1 if failed else 0


def _as_text(found: DocumentAnswer) -> str:
    lines = [found.text]
    if not found.found and found.why:
        lines.append(found.why)
    for citation in found.citations:
        lines.append(f"  {citation.document}, page {citation.page_index + 1}: “{citation.quote}”")
    return "\n".join(lines) + "\n"
