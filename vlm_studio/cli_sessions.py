"""``python -m vlm_studio sessions list|search|rename|export|import|backup|restore|clean``"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from vlm_studio.core.sessions import LOCAL_OWNER, ArchiveReport
from vlm_studio.tasks.sessions import FORMATS, KEEP_DELETED_DAYS, Listing
from vlm_studio.tasks.sessions_document import listed_value

if TYPE_CHECKING:
    from vlm_studio.studio import Studio

_MARK = re.compile("[\x02\x03]")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser("sessions", help="list, search, export, back up and restore what is kept")
    parser.add_argument("--owner", default=LOCAL_OWNER, help="user:NAME where people log in; default: local")
    actions = parser.add_subparsers(dest="action", required=True)

    listing = actions.add_parser("list", help="what is kept, newest first")
    listing.add_argument("--kind", default="", help="transcribe, documents, chat, inspect or adapt")
    listing.add_argument("--tag", default="")
    listing.add_argument("--show", default="current", choices=["current", "archived", "deleted"])
    searching = actions.add_parser("search", help="find words in everything read, asked or answered")
    searching.add_argument("text", nargs="+", metavar="WORD")
    for sub in (listing, searching):
        sub.add_argument("--limit", type=int, default=50)
        sub.add_argument("--json", action="store_true", help="for programs")

    renaming = actions.add_parser("rename", help="give a session another title")
    renaming.add_argument("id")
    renaming.add_argument("title", nargs="+")

    exporting = actions.add_parser("export", help="write sessions to a file")
    exporting.add_argument("ids", nargs="*", metavar="ID", help="none: all of them")
    exporting.add_argument("--format", default="zip", choices=FORMATS, help="zip can be imported again")
    exporting.add_argument("--out", type=Path, default=Path(), metavar="FOLDER", help="default: this folder")

    importing = actions.add_parser("import", help="add the sessions of an exported zip file")
    importing.add_argument("file", type=Path)

    backing = actions.add_parser("backup", help="copy everything, also while the app runs")
    backing.add_argument("target", type=Path, help="a new .zip file, or a folder (brought up to date)")
    restoring = actions.add_parser("restore", help="make everything as it was in a backup")
    restoring.add_argument("source", type=Path)

    cleaning = actions.add_parser("clean", help="delete for good what was deleted, and files nobody needs")
    cleaning.add_argument("--days", type=float, default=KEEP_DELETED_DAYS, help="deleted that long ago")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, studio: Studio) -> int:
    """1 where something had to be left out."""
    actions: dict[str, Callable[[argparse.Namespace, Studio], int]] = {
        "list": _list, "search": _search, "rename": _rename, "export": _export, "import": _import,
        "backup": _backup, "restore": _restore, "clean": _clean,
    }  # fmt: skip
    return actions[args.action](args, studio)


def _list(args: argparse.Namespace, studio: Studio) -> int:
    return _print(
        args,
        studio.sessions.list(args.owner, kind=args.kind, tag=args.tag, show=args.show, limit=args.limit),
    )


def _search(args: argparse.Namespace, studio: Studio) -> int:
    return _print(args, studio.sessions.list(args.owner, " ".join(args.text), limit=args.limit))


def _print(args: argparse.Namespace, found: Listing) -> int:
    if args.json:
        value = {"total": found.total, "sessions": [listed_value(item) for item in found.items]}
        print(json.dumps(value, ensure_ascii=False, indent=1))
        return 0
    for item in found.items:
        session = item.session
        marks = "".join(f" #{tag}" for tag in session.tags)
        marks += " (pinned)" * session.pinned + " (archived)" * session.archived
        print(f"{session.id}  {session.updated_at[:16]}  {session.kind:<10}  {session.title}{marks}")
        for snippet in item.snippets:
            # Marks of the search show as they would be typed.
            print("    " + _MARK.sub("*", snippet))
    if found.total > len(found.items):
        print(f"{found.total - len(found.items)} more; see --limit", file=sys.stderr)
    return 0


def _rename(args: argparse.Namespace, studio: Studio) -> int:
    print(studio.sessions.rename(args.owner, args.id, " ".join(args.title)).title)
    return 0


def _export(args: argparse.Namespace, studio: Studio) -> int:
    path, report = studio.sessions.export(args.owner, args.ids, args.format, args.out)
    return _told(report, f"{report.sessions} sessions are in {path}")


def _import(args: argparse.Namespace, studio: Studio) -> int:
    report = studio.sessions.import_file(args.owner, args.file)
    for session_id in report.session_ids:
        print(session_id)
    return _told(report, f"{report.sessions} sessions were added")


def _backup(args: argparse.Namespace, studio: Studio) -> int:
    report = studio.sessions.backup(args.target)
    return _told(report, f"{report.sessions} sessions and {report.files} files are in {args.target}")


def _restore(args: argparse.Namespace, studio: Studio) -> int:
    report = studio.sessions.restore(args.source)
    return _told(report, f"{report.sessions} sessions are back; what was there before is in {report.kept}")


def _clean(args: argparse.Namespace, studio: Studio) -> int:
    freed = studio.sessions.clean(args.owner, args.days)
    print(
        f"{freed.sessions} deleted sessions and {freed.files} files are gone, "
        f"{freed.n_bytes / 1e6:.1f} MB are free again"
    )
    return 0


def _told(report: ArchiveReport, sentence: str) -> int:
    for problem in report.problems:
        print(problem, file=sys.stderr)
    print(sentence, file=sys.stderr)
    return 1 if report.problems else 0
