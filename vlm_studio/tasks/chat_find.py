"""Answers looked up in what was read on images, word for word."""

from __future__ import annotations

from collections.abc import Sequence

from vlm_studio.core.chat import ChatImage
from vlm_studio.tasks.chat_replies import Finding


def find_on_images(question: str, images: Sequence[ChatImage]) -> Sequence[Finding]:
    return ()
