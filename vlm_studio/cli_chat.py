"""``python -m vlm_studio chat "text <image 1> more" --image a.jpg``; without a text it goes on until an empty line."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from vlm_studio.core.chat import ChatTurn
from vlm_studio.core.conversation import GenParams, Variant
from vlm_studio.core.errors import InvalidRequest, StudioError
from vlm_studio.core.sessions import LOCAL_OWNER
from vlm_studio.ingest.upload import read_file
from vlm_studio.tasks.chat import Kept
from vlm_studio.tasks.chat_answer import Said, Told
from vlm_studio.tasks.chat_feed import Options
from vlm_studio.tasks.chat_replies import as_text
from vlm_studio.tasks.chat_value import answer_value

if TYPE_CHECKING:
    from vlm_studio.studio import Studio

_HELP = """Type a message and press Enter; an empty line ends. Commands:
  /image FILE     attach an image; put it at its place with <image N>, else it comes first
  /again          another answer to the last message
  /new            begin a new chat"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser("chat", help="ask about images, put where they belong in the text")
    parser.add_argument(
        "text", nargs="?", help="with <image 1>, <image 2>... at their places; none: a dialogue"
    )
    parser.add_argument(
        "--image", action="append", type=Path, default=[], metavar="FILE", help="once for each"
    )
    parser.add_argument("--session", default="", metavar="ID", help="go on with this chat")
    parser.add_argument("--format", default="text", choices=["text", "json"])
    parser.add_argument("--system", default="", help="how the model should behave")
    parser.add_argument(
        "--model", default="auto", help="auto, idefics2-nano, idefics2-8b or idefics2-8b-chatty"
    )
    parser.add_argument("--adapter", default=None, help="name of an adapter of that model")
    parser.add_argument("--reader", default="auto", help="for models that do not see pictures")
    plain = GenParams()
    parser.add_argument("--max-tokens", type=int, default=plain.max_new_tokens)
    parser.add_argument("--temperature", type=float, default=plain.temperature, help="0: the likeliest word")
    parser.add_argument("--top-p", type=float, default=plain.top_p)
    parser.add_argument("--repetition-penalty", type=float, default=plain.repetition_penalty)
    parser.add_argument("--seed", type=int, default=plain.seed)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, studio: Studio) -> int:
    """1 when the answer failed."""
    params = GenParams(args.max_tokens, args.temperature, args.top_p, args.repetition_penalty, args.seed)
    options = Options(args.system, params, args.reader, Variant(args.model, adapter=args.adapter))
    talk = _Talk(studio, options, args.session, args.format)
    for path in args.image:
        talk.attach(path)
    if args.text is not None:
        return talk.say(args.text)
    return talk.dialogue(_typed())


def _typed() -> Iterator[str]:
    """Lines as they are typed; ends with an empty one, or with the input."""
    prompt = "> " if sys.stdin.isatty() else ""
    while True:
        print(prompt, end="", file=sys.stderr, flush=True)
        line = sys.stdin.readline()
        if not line.strip():
            return
        yield line.rstrip("\n")


class _Talk:
    """One conversation on a terminal."""

    def __init__(self, studio: Studio, options: Options, session_id: str, form: str) -> None:
        self.studio, self.options, self.session_id, self.form = studio, options, session_id, form
        self.last: ChatTurn | None = None

    def attach(self, path: Path) -> None:
        """Raises NotFound or UserInputError."""
        data = read_file(path, self.studio.settings.limits)
        taken = self.studio.chats.attach(LOCAL_OWNER, self.session_id, [(path.name, data)])
        self.session_id = taken.session_id
        if taken.problems:
            raise InvalidRequest(*taken.problems)
        for image in taken.kept:
            print(f"<image {image.number}> is {image.name}", file=sys.stderr)

    def say(self, text: str) -> int:
        run = self.studio.chats.send(LOCAL_OWNER, self.session_id, text, self.options)
        self.session_id = run.run_id
        return self._print(run.follow())

    def again(self) -> int:
        if self.last is None:
            raise InvalidRequest("There is no answer yet.", "Ask something first.")
        return self._print(self.studio.chats.retry(LOCAL_OWNER, self.last.id, self.options).follow())

    def dialogue(self, lines: Iterator[str]) -> int:
        print(_HELP, file=sys.stderr)
        for line in lines:
            command, _, rest = line.partition(" ")
            try:
                if command == "/image":
                    self.attach(Path(rest.strip()).expanduser())
                elif command == "/again":
                    self.again()
                elif command == "/new":
                    self.session_id, self.last = "", None
                else:
                    self.say(line)
            except StudioError as error:
                print(error, file=sys.stderr)
        return 0

    def _print(self, events: Iterator[object]) -> int:
        """The answer as it comes; quotes and notes once it is whole."""
        streamed = ""
        try:
            for event in events:
                if isinstance(event, Told) and sys.stderr.isatty():
                    print(f"\r\x1b[K{event.message}", end="", file=sys.stderr, flush=True)
                elif isinstance(event, Said) and self.form == "text":
                    if not streamed and sys.stderr.isatty():
                        print("\r\x1b[K", end="", file=sys.stderr, flush=True)
                    streamed += event.text
                    print(event.text, end="", flush=True)
                elif isinstance(event, Kept):
                    self.last = event.turn
        except KeyboardInterrupt:
            self.studio.chats.stop(LOCAL_OWNER, self.session_id)
            raise
        return self._end(streamed)

    def _end(self, streamed: str) -> int:
        turn = self.last
        if turn is None:
            return 1
        if self.form == "json":
            print(json.dumps(answer_value(turn), ensure_ascii=False, indent=1))
        else:
            print("" if streamed else as_text(turn.turn.parts))
            for note in turn.run.notes if turn.run else ():
                print(f"({note})", file=sys.stderr)
        return 1 if turn.status == "failed" else 0
