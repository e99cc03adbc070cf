"""Short answers about notes, by the adapter that learned to give them; only what stands in the note is shown.

The adapter is worn for this one request. It was taught on notes of a few lines, so longer texts are left to the rules, and what it
says is taken only where the text that was read holds it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import replace

from vlm_studio.core.answers import Answer, DoneEvent, StatusEvent
from vlm_studio.core.cancel import CancelToken
from vlm_studio.core.chat import ChatImage, RestsOn
from vlm_studio.core.conversation import Ask, GenParams, TextPart, Turn, Variant
from vlm_studio.core.folding import fold
from vlm_studio.core.ports import Engine
from vlm_studio.tasks.chat_replies import Reply

ADAPTER = "answering"
LONGEST_NOTE = 500
"""Characters of the text that it is asked about: notes of about this length were its lessons."""
PARAMS = GenParams(max_new_tokens=40)
SAYS_NOT = frozenset({"it does not say", "ce n'est pas ecrit"})
"""What it says where the note does not answer, folded."""
_OUTER = " .,:;!?\"'()-*"


def wearing(variant: Variant) -> Variant:
    return replace(variant, adapter=ADAPTER, adapter_scale=1.0)


def suits(images: Sequence[ChatImage]) -> bool:
    """Whether the writing on `images` is short enough to have been taught."""
    return 0 < sum(len(image.read.text) for image in images if image.read) <= LONGEST_NOTE


def ask_learned(
    engine: Callable[[Variant], Engine],
    variant: Variant,
    question: str,
    images: Sequence[ChatImage],
    quoted: Sequence[TextPart],
    cancel: CancelToken,
) -> Generator[str, None, tuple[Reply | None, Answer | None]]:
    """What is going on meanwhile, and in the end the answer, as it is shown and as it was made.

    No reply where the note does not say, or where what was said stands nowhere in it. `quoted` is what was read, as chats quote
    it. Raises StudioError.
    """
    turn = Turn("user", (*quoted, TextPart(question)))
    answer: Answer | None = None
    ask = Ask((turn,), variant, PARAMS)
    for event in engine(variant).stream(ask, {}, cancel):
        if isinstance(event, StatusEvent):
            yield event.message
        elif isinstance(event, DoneEvent):
            answer = event.answer
    if answer is None or answer.finish_reason != "stop":
        return None, answer
    return standing(answer.text.strip(), images), answer


def standing(said: str, images: Sequence[ChatImage]) -> Reply | None:
    """`said` with the line that it stands on; None where it stands on none."""
    wanted = _bare(said)
    if not wanted or wanted in SAYS_NOT:
        return None
    for image in images:
        for line in image.read.lines if image.read else ():
            if _within(wanted, _bare(line.text)):
                told = TextPart(f"{said}\n\nIt stands on image {image.number}:")
                rests = RestsOn(image.number, line.text, line.box)
                return Reply("quote", (told, TextPart(line.text, quoted=True)), (rests,))
    return None


def _within(wanted: str, line: str) -> bool:
    """Whether whole words of `line` are `wanted`; a space more or less does not matter."""
    words, squeezed = line.split(), wanted.replace(" ", "")
    return any(
        "".join(words[first:last]).strip(_OUTER) == squeezed
        for first in range(len(words))
        for last in range(first + 1, len(words) + 1)
    )


def _bare(text: str) -> str:
    return " ".join(fold(text).split()).strip(_OUTER)
