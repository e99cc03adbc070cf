"""What the app is, what runs here and how well, and where its source is."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from vlm_studio import SOURCE_URL, __version__
from vlm_studio.studio import Studio
from vlm_studio.ui.guard import guarded
from vlm_studio.ui.shared import API_HIDDEN, Shared
from vlm_studio.views.about import card_html, runs_html
from vlm_studio.views.crops import note_html

_LICENCE = f"""
### Licence

VLM Studio {__version__} is free software under the AGPL-3.0; its [source code]({SOURCE_URL}) is yours to use, change
and share. Models and example data carry their own licences beside them in `assets/`.
"""
_LOOKING = note_html("Looking at this machine ...")


@dataclass(frozen=True, slots=True)
class Panel:
    runs: gr.HTML
    """Filled when the tab is opened: looking for a graphics card takes a moment."""


def build(shared: Shared) -> Panel:
    shipped, demo = shared.studio.shipped, shared.studio.settings.demo
    gr.Markdown("### What runs here")
    runs = gr.HTML(_LOOKING, padding=False, elem_id="about-runs")
    gr.Markdown(
        "### How well idefics2-nano reads\n\nIt is this project's own model, and reads where nothing else is chosen."
    )
    gr.HTML(card_html(shipped.card_values(), shipped.training_data()), padding=False, elem_id="about-card")
    gr.Markdown(_your_data(demo, shared.studio.models.is_remote) + _LICENCE)
    return Panel(runs)


def _your_data(demo: bool, remote: bool) -> str:
    where = "the machine that runs it" if demo else "this machine"
    sent = (
        "What you ask in Chat and Documents, with the images that go along, is sent to the server that was set as the model; "
        "nothing else is sent anywhere."
        if remote
        else "Nothing is sent anywhere."
    )
    return (
        "### Your data\n\nEverything you upload, every reading, every correction and every chat is kept in one folder on "
        f"{where}. {sent} The app makes no outgoing call when it starts. *Sessions* lists, searches, exports and deletes "
        "what is kept.\n"
    )


def bind(panel: Panel, shared: Shared, studio: Studio) -> None:
    shared.tabs.select(
        guarded(what_runs, studio), None, panel.runs, show_progress="hidden", api_visibility=API_HIDDEN
    )


def what_runs(studio: Studio, event: gr.SelectData) -> str | gr.HTML:
    """The readers and models of this machine, and why; nothing where another tab was opened."""
    if event.value != "About":
        return gr.skip()
    reader, why = studio.choose_reader()
    name, because = studio.models.default()
    rows = [("reads pages", reader, why), ("answers", name, because)]
    for choice in studio.engines.choices():
        rows.append((choice.title, "runs here" if choice.runs else "does not run here", choice.why))
    return runs_html(rows)
