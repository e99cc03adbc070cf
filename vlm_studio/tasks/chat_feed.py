"""What an answer is made from, and what of it a model is fed.

A model that sees pictures is fed everything as it is. One that only reads writing gets what was read, quoted at the same place.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vlm_studio.core.chat import ChatImage, ChatTurn, ImageText
from vlm_studio.core.conversation import GenParams, ImagePart, TextPart, Turn, Variant
from vlm_studio.tasks.chat_replies import as_text

if TYPE_CHECKING:
    from PIL.Image import Image

HISTORY_CHARS = 12_000
"""Of earlier turns that are fed again; the oldest are left out beyond it, and the answer says so."""
QUOTED_CHARS = 6_000
"""Of one image's text that is fed to a language model."""


@dataclass(frozen=True, slots=True)
class Options:
    """How to answer."""

    system: str = ""
    params: GenParams = field(default_factory=GenParams)
    reader: str = "auto"
    variant: Variant = field(default_factory=lambda: Variant("auto"))
    """`model_id` ``auto``: the best that this machine runs."""


@dataclass(frozen=True, slots=True)
class Context:
    """All that an answer is made from."""

    turns: tuple[ChatTurn, ...]
    """From the first to the message that is answered."""
    images: Mapping[str, ChatImage]
    """By hash."""
    load: Callable[[str], Image]
    """The upright RGB image with this hash."""
    keep_text: Callable[[int, ImageText], None]
    """Called with an image's number once it has been read."""
    options: Options
    conversation_id: str | None = None


def fed_turns(context: Context, about: Sequence[ChatImage] | None) -> tuple[tuple[Turn, ...], int]:
    """What a model is fed, in order, and how many of the first turns were left out because they are too long.

    `about`: None for a model that sees pictures, which gets everything as it is. One that only reads gets what was
    read on these images, each where it stands in the message, and of the turns before only those that a language
    model answered: a small one takes everything else for a pattern to repeat.
    """
    if about is None:
        earlier = [_fed(context, turn) for turn in context.turns[:-1]]
        last = context.turns[-1].turn
    else:
        earlier = [_fed_as_text(context, turn) for turn in _talked(context.turns[:-1], bool(about))]
        last = _fed_as_text(context, context.turns[-1])
        shown = {part.image_sha256 for part in context.turns[-1].turn.images}
        before = [quoted(context, i.sha256) for i in about if i.sha256 not in shown]
        last = Turn("user", (*before, *last.parts))
    kept, room = len(earlier), HISTORY_CHARS
    while kept > 0:
        room -= sum(len(p.text) for p in earlier[kept - 1].parts if isinstance(p, TextPart))
        if room < 0:
            break
        kept -= 1
    # An answer without its question would confuse more than it helps.
    while kept < len(earlier) and earlier[kept].role == "assistant":
        kept += 1
    system = (Turn("system", (TextPart(context.options.system),)),) if context.options.system.strip() else ()
    return (*system, *(turn for turn in earlier[kept:] if turn.parts), last), kept


def _talked(turns: Sequence[ChatTurn], with_images: bool) -> list[ChatTurn]:
    """Questions that a language model answered, with their answers; those about images only where asked for."""
    found: list[ChatTurn] = []
    for asked, answered in itertools.pairwise(turns):
        run = answered.run
        if asked.turn.role == "assistant" or run is None or run.how != "model" or not answered.said:
            continue
        if with_images or not (asked.turn.images or run.rests_on):
            found += [asked, answered]
    return found


def _fed(context: Context, kept: ChatTurn) -> Turn:
    if kept.turn.role == "assistant":
        return Turn("assistant", (TextPart(as_text(kept.turn.parts)),) if kept.turn.parts else ())
    return kept.turn


def _fed_as_text(context: Context, kept: ChatTurn) -> Turn:
    if kept.turn.role == "assistant":
        return Turn("assistant", (TextPart(kept.said),))
    parts = [quoted(context, p.image_sha256) if isinstance(p, ImagePart) else p for p in kept.turn.parts]
    return Turn("user", tuple(parts))


def quoted(context: Context, sha256: str) -> TextPart:
    """What stands on an image, set off as data; marks of the chat format in it lose their meaning."""
    image = context.images[sha256]
    text = image.read.text if image.read else ""
    if not text:
        return TextPart(f"\n[Image {image.number}: no writing on it]\n", quoted=True)
    plain = text[:QUOTED_CHARS].replace("<|", "< |").replace('"""', "''")
    return TextPart(f'\nText read from image {image.number}:\n"""\n{plain}\n"""\n', quoted=True)


def images_of(context: Context, turn: ChatTurn) -> list[ChatImage]:
    """Each once, in the order in which they come."""
    shown = dict.fromkeys(part.image_sha256 for part in turn.turn.images)
    return [context.images[sha256] for sha256 in shown if sha256 in context.images]
