"""All tabs on one page. Build everything first, bind events second, so that tabs can point at each other."""

from __future__ import annotations

import html
import importlib
import importlib.util
from typing import Any

import gradio as gr

from vlm_studio import SOURCE_URL, __version__
from vlm_studio.studio import Studio
from vlm_studio.ui.shared import API_HIDDEN, Shared

TABS: tuple[tuple[str, str], ...] = (
    ("transcribe", "Transcribe"),
    ("documents", "Documents"),
    ("chat", "Chat"),
    ("inspect", "Inspect"),
    ("adapt", "Teach"),
    ("compare", "Frozen vs LoRA"),
    ("sessions", "Sessions"),
    ("about", "About"),
)
"""(module in ui/tabs and id of the tab, label)."""


def build_app(studio: Studio) -> gr.Blocks:
    """The whole page, ready to mount. Loads no model."""
    with gr.Blocks(title="VLM Studio", analytics_enabled=False, delete_cache=(3600, 86400)) as demo:
        gr.HTML(_header(studio.settings.demo), elem_id="studio-header", padding=False)
        if studio.settings.demo:
            gr.HTML(_notice(studio), elem_id="studio-notice", padding=False)
        opened = gr.State("")
        panels: list[tuple[Any, Any]] = []
        with gr.Tabs(elem_id="studio-tabs") as tabs:
            shared = Shared(studio=studio, page=demo, tabs=tabs, opened=opened)
            for name, label in TABS:
                if importlib.util.find_spec(f"vlm_studio.ui.tabs.{name}") is None:
                    continue
                module = importlib.import_module(f"vlm_studio.ui.tabs.{name}")
                with gr.Tab(label, id=name, render_children=True):
                    panels.append((module, module.build(shared)))
        gr.HTML(_footer(), elem_id="studio-footer", padding=False)
        for module, panel in panels:
            module.bind(panel, shared, studio)
        opened.change(_tab_of, opened, tabs, show_progress="hidden", api_visibility=API_HIDDEN)
    return demo


def _tab_of(opened: str) -> gr.Tabs:
    """The tab that shows a session that was asked for."""
    return gr.Tabs(selected=opened.partition("/")[0] or None)


def _header(shared: bool) -> str:
    return (
        '<div class="studio-brand"><span class="studio-mark" aria-hidden="true"></span>'
        "<div><h1>VLM Studio</h1><p>Reads your handwriting, answers from your documents, "
        f"and shows what it looked at.{'' if shared else ' On this machine.'}</p></div></div>"
    )


def _notice(studio: Studio) -> str:
    """What a visitor of a shared app has to know before giving it something."""
    hours = f"{studio.visitors.quota.hours:.0f}"
    space = html.escape(studio.settings.space, quote=True)
    own = (
        f' <a href="https://huggingface.co/spaces/{space}?duplicate=true" target="_blank" '
        'rel="noopener noreferrer">Duplicate this Space</a> to have one to yourself.'
        if space
        else ""
    )
    return (
        f'<p role="note">This is a shared app. Sessions here are temporary: they go {hours} hours after their last '
        "change, or when the app restarts. Take yours away under Sessions (export all), and bring them back there."
        f"{own}</p>"
    )


def _footer() -> str:
    return (
        f'<p>VLM Studio {__version__} · AGPL-3.0 · <a href="{SOURCE_URL}" target="_blank" '
        'rel="noopener noreferrer">source code</a></p>'
    )
