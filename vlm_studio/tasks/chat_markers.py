"""What a person types into the composer, as parts in their order, and back.

``<image 2>`` stands where image 2 belongs. Attached images without a marker come before the text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from vlm_studio.core.chat import ChatImage
from vlm_studio.core.conversation import ImagePart, Part, TextPart
from vlm_studio.core.errors import InvalidRequest

_MARKER = re.compile(r"<image\s*#?(\d{1,6})\s*>", re.IGNORECASE)


def marker(number: int) -> str:
    return f"<image {number}>"


def parts_of(text: str, images: Sequence[ChatImage]) -> tuple[Part, ...]:
    """Parts of a message; `images` are those of the conversation. Words are kept as they were typed.

    Raises InvalidRequest for a marker without its image, and for a message with nothing in it.
    """
    known = {image.number: image for image in images}
    placed: list[Part] = []
    used: set[int] = set()
    at = 0
    for found in _MARKER.finditer(text):
        number = int(found[1])
        if number not in known:
            raise InvalidRequest(f"There is no image {number} in this chat.", _numbers(known))
        _add_text(placed, text[at : found.start()])
        placed.append(image_part(known[number]))
        used.add(number)
        at = found.end()
    _add_text(placed, text[at:])
    first = [image_part(i) for i in images if i.waiting and i.number not in used]
    parts = (*first, *placed)
    if not parts:
        raise InvalidRequest("The message is empty.", "Type a question, or attach an image.")
    return parts


def image_part(image: ChatImage) -> ImagePart:
    return ImagePart(image.sha256, f"image {image.number}: {image.name}")


def written(parts: Sequence[Part], images: Sequence[ChatImage]) -> str:
    """The message as a person would type it, with a marker for every image."""
    numbers = {image.sha256: image.number for image in images}
    pieces = []
    for part in parts:
        if isinstance(part, TextPart):
            pieces.append(part.text)
        elif part.image_sha256 in numbers:
            pieces.append(marker(numbers[part.image_sha256]))
    return "".join(pieces).strip()


def unplaced(text: str, images: Sequence[ChatImage]) -> tuple[int, ...]:
    """Numbers of the waiting images that have no marker in `text`: they will come first."""
    used = {int(found[1]) for found in _MARKER.finditer(text)}
    return tuple(i.number for i in images if i.waiting and i.number not in used)


def _add_text(parts: list[Part], text: str) -> None:
    if text.strip():
        parts.append(TextPart(text))


def _numbers(known: dict[int, ChatImage]) -> str:
    if not known:
        return "Attach the image first."
    names = [str(number) for number in sorted(known)]
    listed = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
    return f"It has image{'' if len(names) == 1 else 's'} {listed}."
