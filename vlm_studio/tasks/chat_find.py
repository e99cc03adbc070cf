"""Answers looked up in what was read on images, word for word: the same search as over documents."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

from vlm_studio.core.chat import ChatImage, ImageText
from vlm_studio.core.documents import Box
from vlm_studio.core.passages import PageText, PageWord
from vlm_studio.tasks.ask_pdf import AskedDocument, Documents
from vlm_studio.tasks.chat_replies import Finding
from vlm_studio.tasks.documents_terms import Rarity

INK = 0.75
"""Height of the writing as a share of its line's box."""


def find_on_images(
    rarity: Callable[[], Rarity], question: str, images: Sequence[ChatImage]
) -> tuple[Finding, ...]:
    """What the images' writing says to the question, the best first; empty where it does not."""
    read = [image for image in images if image.read and image.read.lines]
    if not read or not question.strip():
        return ()
    documents = [AskedDocument(f"image {i.number}", (_page(i, i.read or ImageText("", ())),)) for i in read]
    answer = Documents(documents, rarity()).ask(question)
    if not answer.found:
        return ()
    return tuple(
        Finding(
            # The quote is shown on its own.
            answer.text.removesuffix(f" ({citation.quote})"),
            read[int(citation.document_id)].number,
            citation.quote,
            functools.reduce(Box.union, citation.boxes) if citation.boxes else None,
        )
        for citation in answer.citations
    )


def _page(image: ChatImage, read: ImageText) -> PageText:
    words = tuple(
        PageWord(word.text, word.box, number, INK * line.box.height)
        for number, line in enumerate(read.lines)
        for word in line.words
    )
    return PageText(0, image.width_px, image.height_px, "px", words, read.reader)
