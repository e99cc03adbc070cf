"""Inspect: see what the model saw, and whether to believe the picture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import gradio as gr

from vlm_studio.studio import Studio
from vlm_studio.ui.guard import guarded
from vlm_studio.ui.inspect_view import REMEMBER_INSPECTION_JS, STAGE_JS, TOKENS_JS, WORDS_JS
from vlm_studio.ui.page_view import PICTURES_JS
from vlm_studio.ui.shared import API_HIDDEN, ENGINE_QUEUE, Shared
from vlm_studio.ui.tabs import inspect_handlers as on
from vlm_studio.ui.tabs import inspect_walk as walking
from vlm_studio.ui.tabs.inspect_api import api_inspect
from vlm_studio.ui.tabs.inspect_render import NAMES, View
from vlm_studio.ui.tabs.inspect_texts import BELIEF, METHODS, TOKENS
from vlm_studio.views.crops import how_to_html
from vlm_studio.views.map_figures import figures_html


@dataclass(frozen=True, slots=True)
class Panel:
    state: gr.State
    session_id: gr.Textbox
    intake: gr.Column
    file: gr.File
    examples: gr.HTML
    recent: gr.HTML
    workspace: gr.Column
    status: gr.HTML
    stop: gr.Button
    more: gr.Button
    past: gr.Dropdown
    pages: gr.HTML
    stage: gr.HTML
    question: gr.Textbox
    everything: gr.Checkbox
    ask: gr.Button
    words: gr.HTML
    method: gr.Radio
    layer: gr.Slider
    facts: gr.HTML
    close_ups: gr.HTML
    picture_kind: gr.Radio
    picture: gr.Button
    download: gr.File
    belief: gr.HTML
    curves: gr.Checkbox
    check: gr.Button
    fed: gr.HTML
    crop: gr.Dropdown
    tokens: gr.HTML
    token_view: gr.HTML
    atlas: gr.HTML
    place: gr.State
    walk: gr.HTML
    guess: gr.Radio
    walk_start: gr.Button
    reveal: gr.Button
    go_on: gr.Button

    @property
    def outputs(self) -> list[gr.components.Component]:
        return [getattr(self, name) for name in NAMES]

    @property
    def walk_outputs(self) -> list[gr.components.Component]:
        return [self.place, self.walk, self.guess, self.reveal, self.go_on]


def build(shared: Shared) -> Panel:
    studio = shared.studio
    parts: dict[str, gr.components.Component] = {
        "state": gr.State(View()),
        "session_id": gr.Textbox(visible="hidden", elem_id="inspect-session"),
        **_intake(studio),
    }
    with gr.Column(visible=False, elem_id="inspect-workspace") as workspace:
        parts |= _top()
        with gr.Tabs():
            for label, place in (
                ("Words to pixels", _words_view),
                ("Believe it?", _belief_view),
                ("What it was fed", _fed_view),
                ("The 64 tokens", _tokens_view),
                ("Guided walk", _walk_view),
            ):
                with gr.Tab(label, render_children=True):
                    parts |= place()
            with gr.Tab("How good are these maps?", render_children=True):
                gr.HTML(figures_html(studio.shipped.map_figures()), padding=False)
    return Panel(workspace=workspace, **parts)


def _intake(studio: Studio) -> dict[str, gr.components.Component]:
    with gr.Column(elem_classes="paste-target") as intake:
        gr.HTML(
            '<p class="studio-lead">See what the model saw. Choose a page, and follow it all the way: line, patches, '
            "64 tokens, words, and back to the pixels each word came from.</p>",
            padding=False,
        )
        examples = gr.HTML(
            on.examples_html(studio), js_on_load=PICTURES_JS, elem_id="inspect-examples", padding=False
        )
        recent = gr.HTML(js_on_load=PICTURES_JS, elem_id="inspect-recent", padding=False)
        file = gr.File(
            label="Or drop a photo or PDF here, paste it, or click to choose",
            type="filepath",
            height=150,
            elem_id="inspect-file",
        )
    return {"intake": intake, "examples": examples, "recent": recent, "file": file}


def _top() -> dict[str, gr.components.Component]:
    """The page beside the question and the answer."""
    with gr.Row(elem_classes="tool-row"):
        status = gr.HTML(elem_id="inspect-status")
        stop = gr.Button("Stop", size="sm", variant="stop", visible=False, scale=0, min_width=90)
        more = gr.Button("Another page", size="sm", scale=0, min_width=130)
    pages = gr.HTML(js_on_load=PICTURES_JS, visible=False, elem_id="inspect-pages", padding=False)
    with gr.Row():
        with gr.Column(scale=6, min_width=320):
            stage = gr.HTML(js_on_load=STAGE_JS, elem_id="inspect-stage", padding=False)
            method = gr.Radio(
                METHODS, value="contrast", label="How the map is made", elem_id="inspect-method"
            )
            layer = gr.Slider(
                0,
                1,
                value=0,
                step=1,
                label="Layer of the language model (0: all together)",
                interactive=False,
            )
        with gr.Column(scale=5, min_width=320):
            question = gr.Textbox(
                label="Ask about the chosen line",
                placeholder="Read the line.",
                max_lines=3,
                max_length=4000,
                elem_id="inspect-question",
            )
            with gr.Row(elem_classes="tool-row"):
                everything = gr.Checkbox(
                    label="feed all lines", value=False, container=False, scale=1, min_width=130
                )
                ask = gr.Button(
                    "Ask and look inside",
                    variant="primary",
                    size="md",
                    scale=0,
                    min_width=200,
                    elem_id="inspect-ask",
                )
            past = gr.Dropdown([], label="Asked before on these pages", visible=False, elem_id="inspect-past")
            words = gr.HTML(js_on_load=WORDS_JS, elem_id="inspect-words", padding=False)
            facts = gr.HTML(elem_id="inspect-facts", padding=False)
    return {
        "status": status, "stop": stop, "more": more, "pages": pages, "stage": stage, "question": question,
        "everything": everything, "ask": ask, "past": past, "words": words, "method": method, "layer": layer,
        "facts": facts,
    }  # fmt: skip


def _words_view() -> dict[str, gr.components.Component]:
    close_ups = gr.HTML(js_on_load=STAGE_JS, elem_id="inspect-close-ups", padding=False)
    with gr.Row(elem_classes="tool-row"):
        picture_kind = gr.Radio(
            [("PNG", "png"), ("SVG", "svg")], value="png", label="Take this map away as", scale=2
        )
        picture = gr.Button("Make the picture", size="md", scale=0, min_width=170, elem_id="inspect-picture")
        download = gr.File(label="Your picture", visible=False, interactive=False, scale=2, height=80)
    return {"close_ups": close_ups, "picture_kind": picture_kind, "picture": picture, "download": download}


def _belief_view() -> dict[str, gr.components.Component]:
    gr.HTML(how_to_html(BELIEF), padding=False)
    with gr.Row(elem_classes="tool-row"):
        check = gr.Button(
            "Test this map", variant="primary", size="md", scale=0, min_width=170, elem_id="inspect-check"
        )
        curves = gr.Checkbox(label="also step by step (16 questions more)", value=False, container=False)
    belief = gr.HTML(elem_id="inspect-belief", padding=False)
    return {"check": check, "curves": curves, "belief": belief}


def _fed_view() -> dict[str, gr.components.Component]:
    return {"fed": gr.HTML(elem_id="inspect-fed", padding=False)}


def _tokens_view() -> dict[str, gr.components.Component]:
    gr.HTML(how_to_html(TOKENS), padding=False)
    crop = gr.Dropdown([], label="Crop", visible=False)
    tokens = gr.HTML(js_on_load=TOKENS_JS, elem_id="inspect-tokens", padding=False)
    token_view = gr.HTML(js_on_load=STAGE_JS, elem_id="inspect-token", padding=False)
    atlas = gr.HTML(elem_id="inspect-atlas", padding=False)
    return {"crop": crop, "tokens": tokens, "token_view": token_view, "atlas": atlas}


def _walk_view() -> dict[str, gr.components.Component]:
    place = gr.State(walking.Place())
    walk = gr.HTML(walking.FRESH, elem_id="inspect-walk", padding=False)
    guess = gr.Radio([], label="Your guess", visible=False, elem_id="inspect-guess")
    with gr.Row(elem_classes="tool-row"):
        reveal = gr.Button(
            "Show me", variant="primary", visible=False, min_width=120, elem_id="inspect-reveal"
        )
        go_on = gr.Button("Go on", variant="primary", visible=False, min_width=120, elem_id="inspect-go-on")
        walk_start = gr.Button(
            "Start from the beginning", size="md", min_width=210, scale=0, elem_id="inspect-walk-start"
        )
    return {
        "place": place, "walk": walk, "guess": guess, "reveal": reveal, "go_on": go_on, "walk_start": walk_start,
    }  # fmt: skip


def bind(panel: Panel, shared: Shared, studio: Studio) -> None:
    outputs = panel.outputs

    def engine(
        trigger: Callable[..., gr.events.Dependency],
        fn: Callable[..., object],
        inputs: list[gr.components.Component],
        to: list[gr.components.Component] | None = None,
    ) -> gr.events.Dependency:
        """What runs a model, or may."""
        return trigger(
            guarded(fn, studio),
            inputs,
            to or outputs,
            concurrency_id=ENGINE_QUEUE,
            concurrency_limit=4,
            show_progress="hidden",
            api_visibility=API_HIDDEN,
        )

    def quick(
        trigger: Callable[..., gr.events.Dependency],
        fn: Callable[..., object],
        *inputs: gr.components.Component,
    ) -> gr.events.Dependency:
        return trigger(
            guarded(fn, studio),
            [panel.state, *inputs],
            outputs,
            show_progress="hidden",
            trigger_mode="always_last",
            api_visibility=API_HIDDEN,
        )

    asked = [panel.state, panel.question, panel.everything]
    for opening in (
        engine(panel.file.upload, on.open_file, [panel.file, panel.state]),
        engine(panel.examples.select, on.open_example, [panel.state]),
        engine(panel.recent.select, on.open_recent, [panel.state]),
    ):
        engine(opening.success, on.ask, asked)
    engine(panel.ask.click, on.ask, asked)
    engine(panel.question.submit, on.ask, asked)
    engine(shared.opened.change, on.open_session, [shared.opened])
    engine(shared.page.load, on.open_from_address, [])
    # A gradient asks the model: these wait their turn with the others.
    engine(panel.words.select, on.choose_word, [panel.state])
    engine(panel.method.input, on.choose_method, [panel.state, panel.method])
    engine(panel.layer.release, on.choose_layer, [panel.state, panel.layer])
    engine(panel.check.click, on.check, [panel.state, panel.curves], [panel.belief])
    quick(panel.pages.select, on.choose_page)
    quick(panel.stage.select, on.on_stage)
    quick(panel.past.input, on.choose_past, panel.past)
    quick(panel.crop.input, on.choose_crop, panel.crop)
    quick(panel.tokens.select, on.choose_token)
    quick(panel.token_view.select, on.on_crop)
    panel.stop.click(guarded(on.stop, studio), panel.state, None, queue=False, api_visibility=API_HIDDEN)
    for trigger, fn, to in (
        (panel.more.click, on.start_anew, [*outputs, panel.recent, panel.file]),
        (shared.page.load, on.arrive, [panel.recent]),
    ):
        trigger(guarded(fn, studio), None, to, show_progress="hidden", api_visibility=API_HIDDEN)
    panel.picture.click(
        guarded(on.export, studio),
        [panel.state, panel.picture_kind],
        panel.download,
        concurrency_id=ENGINE_QUEUE,
        api_visibility=API_HIDDEN,
    )
    walked = [panel.state, panel.place]
    engine(panel.walk_start.click, walking.start, walked, panel.walk_outputs)
    engine(panel.go_on.click, walking.go_on, walked, panel.walk_outputs)
    engine(panel.reveal.click, walking.reveal, [*walked, panel.guess], panel.walk_outputs)
    panel.session_id.change(
        None, panel.session_id, None, js=REMEMBER_INSPECTION_JS, api_visibility=API_HIDDEN
    )
    gr.api(guarded(api_inspect, studio), api_name="inspect", concurrency_id=ENGINE_QUEUE)
