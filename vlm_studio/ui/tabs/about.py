"""What the app is, what it can and cannot do, and where its source is."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from vlm_studio import SOURCE_URL, __version__
from vlm_studio.studio import Studio
from vlm_studio.ui.shared import Shared

_TEXT = f"""
### What runs here

| Reader | Runs on | What it is |
|---|---|---|
| **fast** | any CPU | PP-OCRv6 small: finds the lines of a page and reads them |
| **idefics2-nano** | any CPU | Idefics2's design at 150 M parameters, trained by this project for reading handwriting |
| **idefics2-8b** | CUDA with 8 GB or more | Idefics2 itself, in 4 bits; also talks about pictures |

nano reads writing. It does not know what a photo shows, and says so when asked.

### Your data

Everything you upload, every reading, every correction and every chat is kept in one folder on this machine.
Nothing is sent anywhere; the app makes no outgoing call when it starts. *Sessions* lists, searches, exports and
deletes what is kept.

### Licence

VLM Studio {__version__} is free software under the AGPL-3.0; its [source code]({SOURCE_URL}) is yours to use, change
and share. Models and example data carry their own licences beside them in `assets/`.
"""


@dataclass(frozen=True, slots=True)
class Panel:
    text: gr.Markdown


def build(shared: Shared) -> Panel:
    return Panel(text=gr.Markdown(_TEXT, elem_id="about-text"))


def bind(panel: Panel, shared: Shared, studio: Studio) -> None:
    """Nothing to press here."""
