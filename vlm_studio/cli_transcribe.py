"""``python -m vlm_studio transcribe FILE...``"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from vlm_studio.core.cancel import CancelToken
from vlm_studio.core.documents import Box, Line, Page, PageReading, ReadLine
from vlm_studio.core.errors import NotFound, StudioError, UserInputError
from vlm_studio.ingest.images import open_image
from vlm_studio.ingest.upload import open_pages, read_file
from vlm_studio.tasks.export import FORMATS, FilePage, export
from vlm_studio.tasks.transcribe import PageRead

if TYPE_CHECKING:
    from PIL.Image import Image

    from vlm_studio.studio import Studio

_BATCH = 48
"""Cut lines read together: enough for the readers' own batches, few enough to hold in memory."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser("transcribe", help="read handwriting from images and PDFs")
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--reader", default="auto", help="auto (default), fast, nano or 8b")
    parser.add_argument("--lines-only", action="store_true", help="each FILE is one line, already cut")
    parser.add_argument("--format", default="text", choices=list(FORMATS))
    parser.add_argument("--out", type=Path, help="write here instead of to standard output")
    parser.add_argument("--password", default="", help="of an encrypted PDF")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, studio: Studio) -> int:
    """1 when a file could not be read; the others are done all the same."""
    pages, failed = _cut_lines(args, studio) if args.lines_only else _whole_pages(args, studio)
    content, _ = export(pages, args.format, studio.settings.limits)
    if args.out:
        args.out.write_bytes(content)
    else:
        sys.stdout.buffer.write(content)
    return 1 if failed else 0


def _complain(path: Path, error: StudioError) -> None:
    print(f"{path}: {error}", file=sys.stderr)


def _whole_pages(args: argparse.Namespace, studio: Studio) -> tuple[list[FilePage], bool]:
    limits, pages, failed = studio.settings.limits, [], False
    for path in args.files:
        try:
            data = read_file(path, limits)
            for opened in open_pages(data, path.name, limits, args.password):
                events = studio.transcriber.read_page(opened.page, opened.image, args.reader, CancelToken())
                readings = [event.reading for event in events if isinstance(event, PageRead)]
                pages += [FilePage(str(path), reading, opened.encoded) for reading in readings]
        except (UserInputError, NotFound) as error:
            _complain(path, error)
            failed = True
    return pages, failed


def _cut_lines(args: argparse.Namespace, studio: Studio) -> tuple[list[FilePage], bool]:
    limits, pages, failed = studio.settings.limits, [], False
    for start in range(0, len(args.files), _BATCH):
        opened: list[tuple[Path, Image]] = []
        for path in args.files[start : start + _BATCH]:
            try:
                opened.append((path, open_image(read_file(path, limits), path.name, limits)))
            except (UserInputError, NotFound) as error:
                _complain(path, error)
                failed = True
        begun = time.monotonic()
        strips = [image for _, image in opened]
        readings = list(studio.transcriber.read_strips(strips, args.reader, CancelToken()))
        each = (time.monotonic() - begun) / max(1, len(opened))
        for (path, image), reading in zip(opened, readings, strict=True):
            box = Box(0, 0, image.width, image.height)
            page = Page("", 0, "", image.width, image.height)
            lines = (ReadLine(Line(box), reading),) if reading.text else ()
            pages.append(FilePage(str(path), PageReading(page, lines, reading.reader, each)))
    return pages, failed
