"""Frozen vs LoRA: one line, read without and with an adapter, and what is known about the difference."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from vlm_studio.studio import Studio
from vlm_studio.ui.compare_view import SHIFT_JS
from vlm_studio.ui.guard import guarded
from vlm_studio.ui.shared import API_HIDDEN, ENGINE_QUEUE, Shared
from vlm_studio.ui.tabs import compare_handlers as on
from vlm_studio.ui.tabs.adapt import STRIPS_JS


@dataclass(frozen=True, slots=True)
class Panel:
    chosen: gr.State
    session: gr.State
    picture: gr.Image
    corrected: gr.Dropdown
    strips: gr.HTML
    prompt: gr.Textbox
    reference: gr.Textbox
    left: gr.Dropdown
    right: gr.Dropdown
    strength: gr.Slider
    compare: gr.Button
    every: gr.Button
    stop: gr.Button
    result: gr.HTML
    kept: gr.Dropdown
    lessons: gr.HTML
    measure: gr.Button

    @property
    def request(self) -> list[gr.components.Component]:
        """What is compared, and how."""
        return [
            self.picture, self.corrected, self.session, self.chosen, self.prompt, self.reference, self.left, self.right,
            self.strength,
        ]  # fmt: skip

    @property
    def shown(self) -> list[gr.components.Component]:
        """A result, where it is kept, what else was compared on the same picture, and whether one is on its way."""
        return [self.result, self.session, self.kept, self.stop]


def build(shared: Shared) -> Panel:
    studio = shared.studio
    gr.HTML(
        '<p class="studio-lead">The same line read without and with an adapter, from the same weights: what a hand that '
        "you taught changes, and what training the language model along buys over leaving it frozen.</p>",
        padding=False,
    )
    with gr.Row():
        with gr.Column(scale=5, min_width=320):
            picture = gr.Image(
                label="A line or a page of writing", type="filepath", sources=["upload", "clipboard"], height=190,
                buttons=[], elem_id="compare-picture",
            )  # fmt: skip
            corrected = gr.Dropdown(
                [], value=None, label="or a line that you put right", elem_id="compare-corrected",
                info="What you correct in Transcribe is listed here",
            )  # fmt: skip
            strips = gr.HTML(js_on_load=STRIPS_JS, elem_id="compare-strips", padding=False, visible=False)
            with gr.Row():
                choices = on.labelled(studio.comparing.choices(""))
                left = gr.Dropdown(choices, value="base", label="Left", min_width=120)
                right = gr.Dropdown(
                    choices,
                    value=on.first_adapter(studio),
                    label="Right",
                    min_width=120,
                    elem_id="compare-right",
                )
            strength = gr.Slider(
                0,
                150,
                value=100,
                step=5,
                label="Strength of the right one, %",
                info="0 is the base model, bit for bit",
            )
            reference = gr.Textbox(
                label="What stands there",
                lines=2,
                info="For error rates, a line of text for each line of writing. Empty: what you put right, where you did",
            )
            with gr.Accordion("Ask something else", open=False):
                prompt = gr.Textbox(label="Prompt", placeholder="Read the line.", max_lines=2)
        with gr.Column(scale=7, min_width=320):
            with gr.Row():
                compare = gr.Button(
                    "Compare this line", variant="primary", min_width=140, elem_id="compare-run"
                )
                every = gr.Button("Compare all lines", min_width=140, elem_id="compare-all")
                stop = gr.Button("Stop", variant="stop", min_width=70, scale=0, visible=False)
            kept = gr.Dropdown(
                [], value=None, label="Compared on this picture", visible=False, elem_id="compare-kept"
            )
            result = gr.HTML(on.NOTHING_YET, js_on_load=SHIFT_JS, elem_id="compare-result", padding=False)
    with gr.Accordion("What the paper found, and what holds here", open=True):
        lessons = gr.HTML(on.lessons(studio), elem_id="compare-lessons", padding=False)
        measure = gr.Button("Measure how far each layer moved", size="sm", elem_id="compare-measure")
    return Panel(
        chosen=gr.State("0"), session=gr.State(""), kept=kept, picture=picture, corrected=corrected, strips=strips, prompt=prompt, reference=reference,
        left=left, right=right, strength=strength, compare=compare, every=every, stop=stop, result=result,
        lessons=lessons, measure=measure,
    )  # fmt: skip


def bind(panel: Panel, shared: Shared, studio: Studio) -> None:
    quick = {"show_progress": "hidden", "api_visibility": API_HIDDEN}
    sides = [panel.left, panel.right]
    shared.tabs.select(guarded(on.tab_chosen, studio), sides, [panel.corrected, *sides], **quick)
    given = [panel.picture, panel.corrected]
    # Gradio would decode a picture before our limits are looked at.
    raw = {**quick, "preprocess": False}
    begun = [panel.strips, panel.chosen, panel.session, panel.kept, panel.result]
    panel.picture.input(
        guarded(on.picture_given, studio), panel.picture, [panel.corrected, *begun], concurrency_id=ENGINE_QUEUE, **raw
    )  # fmt: skip
    panel.corrected.input(
        guarded(on.line_chosen, studio), [panel.corrected, *sides], [panel.picture, *begun], concurrency_id=ENGINE_QUEUE, **quick
    )  # fmt: skip
    for side in sides:
        side.input(
            guarded(on.side_chosen, studio), [panel.corrected, *sides], [panel.corrected, panel.strips, panel.chosen], **quick
        )  # fmt: skip
    panel.strips.select(
        guarded(on.choose_strip, studio), [*given, panel.session, *sides], [panel.strips, panel.chosen], **raw
    )
    for button, handler in ((panel.compare, on.compare), (panel.every, on.compare_all)):
        button.click(
            guarded(handler, studio), panel.request, [*panel.shown, panel.corrected, *sides],
            concurrency_id=ENGINE_QUEUE, concurrency_limit=4, **raw,
        )  # fmt: skip
    panel.kept.input(guarded(on.choose_kept, studio), [panel.kept, *given], panel.shown, **raw)
    shared.opened.change(
        guarded(on.open_session, studio), [shared.opened, *sides],
        [*given, panel.strips, panel.chosen, panel.reference, *sides, *panel.shown], **quick,
    )  # fmt: skip
    panel.stop.click(guarded(on.stop, studio), None, None, queue=False, api_visibility=API_HIDDEN)
    panel.measure.click(
        guarded(on.measure, studio),
        None,
        [panel.measure, panel.lessons],
        concurrency_id=ENGINE_QUEUE,
        **quick,
    )
    gr.api(guarded(on.api_compare, studio), api_name="compare", concurrency_id=ENGINE_QUEUE)
