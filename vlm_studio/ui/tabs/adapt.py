"""Teach: corrections become an adapter that reads one's own hand better, or the app says why not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr

from vlm_studio.core.adapters import RANKS
from vlm_studio.studio import Studio
from vlm_studio.ui.guard import guarded
from vlm_studio.ui.shared import API_HIDDEN, ENGINE_QUEUE, Shared
from vlm_studio.ui.tabs import adapt_handlers as on
from vlm_studio.ui.tabs.sessions import LIST_JS

STRIPS_JS = """
const choose = (node) => { if (node) trigger('select', {line: node.dataset.line}); };
element.addEventListener('click', (event) => choose(event.target.closest('[data-line]')));
element.addEventListener('keydown', (event) => {
  const here = event.target.closest('[data-line]');
  if (!here) return;
  if (event.key === 'Enter' || event.key === ' ') { event.preventDefault(); choose(here); }
  const next = event.key === 'ArrowDown' ? here.nextElementSibling
    : event.key === 'ArrowUp' ? here.previousElementSibling : null;
  if (next) { event.preventDefault(); next.focus(); }
});
// A list that is drawn anew stays where it was scrolled to.
let scrolled = 0;
element.addEventListener('scroll', (event) => { scrolled = event.target.scrollTop; }, true);
watch('value', () => {
  const kept = scrolled;
  requestAnimationFrame(() => {
    const list = element.querySelector('.strip-list');
    if (list) list.scrollTop = kept;
  });
});
"""

FOCUS_JS = """() => requestAnimationFrame(() => document.getElementById('%s')?.focus())"""


@dataclass(frozen=True, slots=True)
class Panel:
    training: gr.State
    chosen: gr.State
    advice: gr.HTML
    lines: gr.HTML
    next_lines: gr.HTML
    name: gr.Textbox
    steps: gr.Slider
    rank: gr.Dropdown
    mix: gr.Slider
    train: gr.Button
    controls: gr.Row
    pause: gr.Button
    go_on: gr.Button
    stop: gr.Button
    discard: gr.Button
    status: gr.HTML
    curve: gr.HTML
    verdict: gr.HTML
    adapters: gr.HTML
    card: gr.Column
    card_verdict: gr.HTML
    use: gr.Button
    stop_using: gr.Button
    compare: gr.Button
    new_name: gr.Textbox
    notes: gr.Textbox
    keep: gr.Button
    export: gr.Button
    delete: gr.Button
    delete_now: gr.Button
    keep_it: gr.Button
    taken_in: gr.File
    download: gr.File

    @property
    def outputs(self) -> list[gr.components.Component]:
        """What `adapt_handlers.render` fills, in that order."""
        return [
            self.training, self.chosen, self.advice, self.lines, self.next_lines, self.train, self.controls,
            self.pause, self.go_on, self.stop, self.discard, self.status, self.curve, self.verdict, self.adapters,
            self.card, self.card_verdict, self.use, self.stop_using, self.compare, self.new_name, self.notes,
            self.delete, self.delete_now, self.keep_it,
        ]  # fmt: skip


def build(shared: Shared) -> Panel:
    gr.HTML(
        '<p class="studio-lead">Put lines right in Transcribe, and the reader learns your hand from them. '
        "A page of yours is always kept back to test on: what does not read it better is not used.</p>",
        padding=False,
    )
    advice = gr.HTML(elem_id="adapt-advice", padding=False)
    with gr.Row():
        with gr.Column(scale=6, min_width=320):
            with gr.Tabs():
                with gr.Tab("Correct these next"):
                    next_lines = gr.HTML(js_on_load=STRIPS_JS, elem_id="adapt-next", padding=False)
                with gr.Tab("What it learns from"):
                    lines = gr.HTML(js_on_load=STRIPS_JS, elem_id="adapt-lines", padding=False)
        with gr.Column(scale=5, min_width=320):
            parts = _training()
            parts |= _kept()
    return Panel(
        training=gr.State(""), chosen=gr.State(""), advice=advice, lines=lines, next_lines=next_lines, **parts
    )


def _training() -> dict[str, gr.components.Component]:
    with gr.Column(elem_classes="session-card"):
        name = gr.Textbox(
            label="Whose hand is it?", value="My hand", max_lines=1, max_length=80, elem_id="adapt-name"
        )
        with gr.Accordion("How it learns", open=False):
            steps = gr.Slider(
                10,
                200,
                value=on.DEFAULTS.steps,
                step=10,
                label="Steps",
                info="More take longer and may forget other hands",
            )
            rank = gr.Dropdown(
                list(RANKS), value=on.DEFAULTS.rank, label="Rank", info="How much the adapter can hold"
            )
            mix = gr.Slider(0.0, 0.5, value=on.DEFAULTS.mix, step=0.05, label="Other hands in the mix")
        train = gr.Button("Teach it", variant="primary", elem_id="adapt-train")
        with gr.Row(visible=False) as controls:
            pause = gr.Button("Pause", size="sm", min_width=80)
            go_on = gr.Button("Go on", size="sm", variant="primary", min_width=80, elem_id="adapt-go-on")
            stop = gr.Button("Stop", size="sm", variant="stop", min_width=80)
            discard = gr.Button("Discard", size="sm", min_width=80, elem_id="adapt-discard")
        status = gr.HTML(elem_id="adapt-status", padding=False, visible=False)
        curve = gr.HTML(elem_id="adapt-curve", padding=False, visible=False)
        verdict = gr.HTML(elem_id="adapt-verdict", padding=False, visible=False)
    return {
        "name": name, "steps": steps, "rank": rank, "mix": mix, "train": train, "controls": controls,
        "pause": pause, "go_on": go_on, "stop": stop, "discard": discard, "status": status, "curve": curve, "verdict": verdict,
    }  # fmt: skip


def _kept() -> dict[str, gr.components.Component]:
    with gr.Column(elem_classes="session-card"):
        adapters = gr.HTML(js_on_load=LIST_JS, elem_id="adapt-list", padding=False)
        with gr.Column(visible=False) as card:
            card_verdict = gr.HTML(padding=False)
            with gr.Row():
                use = gr.Button(
                    "Read with it", variant="primary", size="sm", min_width=100, elem_id="adapt-use"
                )
                stop_using = gr.Button(
                    "Read without it", size="sm", min_width=100, elem_id="adapt-stop-using"
                )
                compare = gr.Button("Compare", size="sm", min_width=90, elem_id="adapt-compare")
            new_name = gr.Textbox(label="Name", max_lines=1, max_length=80)
            notes = gr.Textbox(label="Notes", lines=2, max_length=2000)
            with gr.Row():
                keep = gr.Button("Keep name and notes", size="sm", min_width=120)
                export = gr.Button("Export", size="sm", min_width=70, elem_id="adapt-export")
                delete = gr.Button("Delete", size="sm", variant="stop", min_width=70, elem_id="adapt-delete")
                delete_now = gr.Button(
                    "Delete for good", size="sm", variant="stop", min_width=110, visible=False, elem_id="adapt-delete-now"
                )  # fmt: skip
                keep_it = gr.Button(
                    "Keep it", size="sm", min_width=70, visible=False, elem_id="adapt-keep-it"
                )
        with gr.Accordion("Bring in an adapter", open=False):
            taken_in = gr.File(
                label="Drop an .adapter.zip that was exported here or elsewhere",
                file_types=[".zip"], type="filepath", height=120, elem_id="adapt-import",
            )  # fmt: skip
        download = gr.File(
            label="Your file", visible=False, interactive=False, height=80, elem_id="adapt-download"
        )
    return {
        "adapters": adapters, "card": card, "card_verdict": card_verdict, "use": use, "stop_using": stop_using,
        "compare": compare,
        "new_name": new_name, "notes": notes, "keep": keep, "export": export, "delete": delete,
        "delete_now": delete_now, "keep_it": keep_it,
        "taken_in": taken_in, "download": download,
    }  # fmt: skip


def bind(panel: Panel, shared: Shared, studio: Studio) -> None:
    view = [panel.training, panel.chosen]
    quick: dict[str, Any] = {"show_progress": "hidden", "api_visibility": API_HIDDEN}

    def does(
        trigger: Callable[..., object], fn: Callable[..., object], *inputs: gr.components.Component
    ) -> gr.events.Dependency:
        return trigger(
            guarded(fn, studio),
            [*view, *inputs],
            panel.outputs,
            show_progress="hidden",
            concurrency_limit=8,
            api_visibility=API_HIDDEN,
        )

    def goes_to(event: gr.events.Dependency, button: str) -> None:
        """The keyboard's place: the button that was pressed is no longer there."""
        event.success(None, None, None, js=FOCUS_JS % button, api_visibility=API_HIDDEN)

    does(shared.tabs.select, on.tab_chosen)
    does(panel.lines.select, on.toggle_line)
    does(panel.train.click, on.train, panel.name, panel.steps, panel.rank, panel.mix)
    for button, act in ((panel.go_on, on.go_on), (panel.discard, on.discard)):
        does(does(button.click, act).failure, on.shown_anew)
    does(panel.pause.click, on.pause)
    does(panel.stop.click, on.stop)
    does(panel.adapters.select, on.choose)
    goes_to(does(panel.use.click, on.use), "adapt-stop-using")
    goes_to(does(panel.stop_using.click, on.stop_using), "adapt-use")
    does(panel.keep.click, on.rename, panel.new_name, panel.notes).success(
        _no_file, None, panel.download, **quick
    )
    does(panel.delete_now.click, on.delete).then(_no_file, None, panel.download, **quick)
    # Or the next file could only be dropped after this one was taken away, refused or not; `then` follows no failure.
    taken = does(panel.taken_in.upload, on.take_in, panel.taken_in)
    for after in (taken.success, taken.failure):
        after(lambda: None, None, panel.taken_in, **quick)
    asking = [panel.delete, panel.delete_now, panel.keep_it]
    goes_to(panel.delete.click(partial(_asked, True), None, asking, **quick), "adapt-keep-it")
    goes_to(panel.keep_it.click(partial(_asked, False), None, asking, **quick), "adapt-delete")
    panel.adapters.select(_no_file, None, panel.download, **quick)
    panel.next_lines.select(guarded(on.open_line, studio), None, shared.opened, **quick)
    panel.compare.click(guarded(on.compare, studio), panel.chosen, shared.opened, **quick)
    panel.export.click(guarded(on.export, studio), panel.chosen, panel.download, **quick)
    gr.api(guarded(on.api_adapters, studio), api_name="adapters")
    gr.api(guarded(on.api_train, studio), api_name="train", concurrency_id=ENGINE_QUEUE)


def _no_file() -> Any:
    """A file that was exported of one adapter is not offered beside another."""
    return gr.update(value=None, visible=False)


def _asked(sure: bool) -> list[Any]:
    """delete, delete_now, keep_it: what is deleted for good is asked for twice."""
    return [gr.update(visible=not sure), gr.update(visible=sure), gr.update(visible=sure)]
