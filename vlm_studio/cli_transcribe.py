"""``python -m vlm_studio transcribe FILE...``"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from vlm_studio.core.cancel import CancelToken
from vlm_studio.core.documents import Box, Line, LineReading, Page, PageReading, ReadLine
from vlm_studio.core.errors import InvalidRequest, NotFound, StoreError, StudioError, UserInputError
from vlm_studio.ingest.images import open_image
from vlm_studio.ingest.upload import open_pages, read_file
from vlm_studio.tasks.export import FORMATS, FilePage, export
from vlm_studio.tasks.transcribe import PageRead, with_note

if TYPE_CHECKING:
    from PIL.Image import Image

    from vlm_studio.studio import Studio

log = logging.getLogger(__name__)

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
    """1 when a file could not be read; the others are done all the same. Raises StudioError."""
    # What is wrong with the whole call is said before minutes of reading, not after them.
    if args.out and not args.out.resolve().parent.is_dir():
        raise InvalidRequest(
            f"There is no folder {args.out.resolve().parent}.", "Make it, or use another --out."
        )
    studio.transcriber.reader(args.reader)
    job = _Job(args, studio)
    (job.cut_lines if args.lines_only else job.whole_pages)()
    content, _ = export(job.pages, args.format, studio.settings.limits)
    if args.out:
        try:
            args.out.write_bytes(content)
        except OSError as error:
            raise StoreError(
                f"{args.out} could not be written: {error.strerror}.", "Use another --out."
            ) from error
    else:
        sys.stdout.buffer.write(content)
    return 1 if job.failed else 0


class _Job:
    """One call: what was read so far, and whether a file was left out."""

    def __init__(self, args: argparse.Namespace, studio: Studio) -> None:
        self.paths: list[Path] = args.files
        self.reader, self.password = args.reader, args.password
        self.transcriber, self.limits = studio.transcriber, studio.settings.limits
        self.pages: list[FilePage] = []
        self.failed = False

    def whole_pages(self) -> None:
        for number, path in enumerate(self.paths):
            self._tell(number)
            with self._left_out(path):
                for opened in open_pages(self._bytes(path), path.name, self.limits, self.password):
                    events = self.transcriber.read_page(opened.page, opened.image, self.reader, CancelToken())
                    self.pages += [
                        FilePage(str(path), with_note(event.reading, opened.note), opened.encoded)
                        for event in events
                        if isinstance(event, PageRead)
                    ]
                    if opened.note and opened.page.index == 0:
                        print(f"{path}: {opened.note}", file=sys.stderr)
        self._tell(len(self.paths))

    def cut_lines(self) -> None:
        for start in range(0, len(self.paths), _BATCH):
            self._tell(start)
            opened: list[tuple[Path, Image]] = []
            for path in self.paths[start : start + _BATCH]:
                with self._left_out(path):
                    opened.append((path, open_image(self._bytes(path), path.name, self.limits)))
            begun = time.monotonic()
            strips = [image for _, image in opened]
            readings = list(self.transcriber.read_strips(strips, self.reader, CancelToken()))
            each = (time.monotonic() - begun) / max(1, len(opened))
            self.pages += [
                _line_page(path, image, reading, each)
                for (path, image), reading in zip(opened, readings, strict=True)
            ]
        self._tell(len(self.paths))

    def _bytes(self, path: Path) -> bytes:
        if path.is_dir():
            raise NotFound(f"{path} is a folder.", "Name the files in it.")
        return read_file(path, self.limits)

    @contextmanager
    def _left_out(self, path: Path) -> Iterator[None]:
        """A file that fails costs only itself, whatever is wrong with it; a missing reader costs everything."""
        try:
            yield
        except (UserInputError, NotFound) as error:
            self._complain(path, str(error))
        except StudioError:
            raise
        except Exception:
            log.info("%s could not be read", path, exc_info=True)
            self._complain(path, "It could not be read. --verbose says why.")

    def _complain(self, path: Path, told: str) -> None:
        self.failed = True
        print(f"{path}: {told}", file=sys.stderr)

    def _tell(self, done: int) -> None:
        """How far it is, for a person at a terminal; nothing for a program."""
        if len(self.paths) > 1 and sys.stderr.isatty():
            end = "\n" if done == len(self.paths) else "\r"
            print(f"{done} of {len(self.paths)} files", end=end, file=sys.stderr, flush=True)


def _line_page(path: Path, image: Image, reading: LineReading, seconds: float) -> FilePage:
    box = Box(0, 0, image.width, image.height)
    page = Page("", 0, "", image.width, image.height)
    lines = (ReadLine(Line(box), reading),) if reading.text else ()
    return FilePage(str(path), PageReading(page, lines, reading.reader, seconds))
