"""Chat: messages with images at their place, answers that can be stopped, edited, tried again and branched."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import gradio as gr

from vlm_studio.studio import Studio
from vlm_studio.tasks.chat_presets import PRESETS
from vlm_studio.ui.chat_view import MESSAGES_JS, TRAY_JS
from vlm_studio.ui.guard import guarded
from vlm_studio.ui.hand_choice import bind_hand, build_hand
from vlm_studio.ui.page_view import PICTURES_JS, REMEMBER_SESSION_JS
from vlm_studio.ui.shared import API_HIDDEN, ENGINE_QUEUE, Shared
from vlm_studio.ui.tabs import chat_handlers as on
from vlm_studio.views.model_choice import SPLITTINGS

WATCHERS = 32
"""Pages that may follow an answer at once. They wait, and compute nothing."""


@dataclass(frozen=True, slots=True)
class Panel:
    session_id: gr.Textbox
    editing: gr.State
    viewed: gr.State
    corner: gr.State
    draft: gr.State
    """What was being written before a message was edited."""
    title: gr.HTML
    new: gr.Button
    messages: gr.HTML
    live: gr.HTML
    examples: gr.HTML
    viewer: gr.Column
    picture: gr.Image
    viewer_hint: gr.HTML
    close: gr.Button
    tray: gr.HTML
    text: gr.Textbox
    add: gr.UploadButton
    send: gr.Button
    stop: gr.Button
    unedit: gr.Button
    notice: gr.HTML
    download: gr.File
    model: gr.Dropdown
    splitting: gr.Dropdown
    about_model: gr.HTML
    reader: gr.Dropdown
    hand: gr.Dropdown
    preset: gr.Dropdown
    system: gr.Textbox
    temperature: gr.Slider
    top_p: gr.Slider
    penalty: gr.Slider
    longest: gr.Slider
    seed: gr.Number

    @property
    def options(self) -> list[gr.components.Component]:
        """What `chat_handlers.options_of` takes, in that order."""
        return [
            self.model, self.splitting, self.reader, self.system, self.temperature, self.top_p, self.penalty,
            self.longest, self.seed,
        ]  # fmt: skip

    @property
    def shown(self) -> list[gr.components.Component]:
        """What `chat_handlers.render` fills, in that order."""
        return [
            self.session_id, self.title, self.messages, self.live, self.examples, self.tray, self.send, self.stop,
            self.notice,
        ]  # fmt: skip

    @property
    def composed(self) -> list[gr.components.Component]:
        """What is being written, and the picture being looked at."""
        return [
            self.text,
            self.editing,
            self.unedit,
            self.viewer,
            self.picture,
            self.viewer_hint,
            self.viewed,
            self.corner,
            self.draft,
        ]


def build(shared: Shared) -> Panel:
    studio = shared.studio
    with gr.Row(elem_classes="tool-row chat-head"):
        title = gr.HTML(elem_id="chat-title", padding=False)
        new = gr.Button("New chat", size="sm", scale=0, min_width=110, elem_id="chat-new")
    with gr.Column(elem_id="chat-scroll"):
        examples = gr.HTML(
            on.examples_html(studio), js_on_load=PICTURES_JS, elem_id="chat-examples", padding=False
        )
        messages = gr.HTML(js_on_load=MESSAGES_JS, elem_id="chat-messages", padding=False)
        live = gr.HTML(js_on_load=MESSAGES_JS, elem_id="chat-live", padding=False)
    with gr.Column(visible=False, elem_id="chat-viewer") as viewer:
        viewer_hint = gr.HTML(padding=False)
        picture = gr.Image(
            show_label=False, interactive=False, format="jpeg", buttons=["fullscreen"], elem_id="chat-picture"
        )
        close = gr.Button("Close", size="sm", elem_id="chat-close")
    with gr.Column(elem_id="chat-composer", elem_classes="paste-target"):
        tray = gr.HTML(js_on_load=TRAY_JS, elem_id="chat-tray", padding=False)
        text = gr.Textbox(
            show_label=False,
            label="Message",
            container=False,
            placeholder="Ask about your images. Put each where it belongs: Is <image 1> the answer to <image 2>?",
            lines=1,
            max_lines=12,
            elem_id="chat-text",
        )
        with gr.Row(elem_classes="chat-buttons"):
            add = gr.UploadButton(
                "Add images",
                file_count="multiple",
                type="filepath",
                size="sm",
                scale=0,
                min_width=110,
                elem_id="chat-add",
            )
            notice = gr.HTML(elem_id="chat-notice", padding=False)
            unedit = gr.Button("Do not edit", size="sm", scale=0, min_width=100, visible=False)
            stop = gr.Button(
                "Stop", size="sm", variant="stop", scale=0, min_width=90, visible=False, elem_id="chat-stop"
            )
            send = gr.Button("Send", size="sm", variant="primary", scale=0, min_width=90, elem_id="chat-send")
    models = _models(studio)
    download = gr.File(label="Evidence", visible=False, interactive=False, height=80, elem_id="chat-evidence")
    return Panel(
        session_id=gr.Textbox(visible="hidden", elem_id="chat-session"),
        editing=gr.State(""),
        viewed=gr.State(0),
        corner=gr.State(()),
        draft=gr.State(""),
        title=title,
        new=new,
        messages=messages,
        live=live,
        examples=examples,
        viewer=viewer,
        picture=picture,
        viewer_hint=viewer_hint,
        close=close,
        tray=tray,
        text=text,
        add=add,
        send=send,
        stop=stop,
        unedit=unedit,
        notice=notice,
        download=download,
        **models,
        **_settings(studio),
    )


def _models(studio: Studio) -> dict[str, gr.components.Component]:
    about = gr.HTML(elem_id="chat-about-model", padding=False)
    with gr.Row(elem_id="chat-model-row"):
        model = gr.Dropdown(
            list(studio.models.choices()), value="auto", label="Model", min_width=180, elem_id="chat-model"
        )
        splitting = gr.Dropdown(
            list(SPLITTINGS), value="auto", label="Split images into four parts as well", min_width=180,
            elem_id="chat-splitting",
        )  # fmt: skip
    return {"model": model, "splitting": splitting, "about_model": about}


def _settings(studio: Studio) -> dict[str, gr.components.Component]:
    with gr.Accordion("How to answer", open=False, elem_id="chat-settings"):
        with gr.Row():
            reader = gr.Dropdown(
                on.reader_choices(studio),
                value="auto",
                label="Reader",
                info="for models that do not see pictures",
                min_width=180,
            )
            hand = build_hand("chat-hand")
            preset = gr.Dropdown(
                [p.name for p in PRESETS], value=PRESETS[0].name, label="Preset", min_width=180
            )
        system = gr.Textbox(
            label="System prompt", placeholder="How the model should behave", lines=2, max_lines=8
        )
        plain = PRESETS[0].params
        with gr.Row():
            temperature = gr.Slider(
                0, 2, plain.temperature, step=0.05, label="Temperature", info="0: always the likeliest word"
            )
            top_p = gr.Slider(0.05, 1, plain.top_p, step=0.05, label="Top-p")
            penalty = gr.Slider(1, 2, plain.repetition_penalty, step=0.05, label="Repetition penalty")
        with gr.Row():
            longest = gr.Slider(
                16,
                studio.settings.limits.new_tokens,
                plain.max_new_tokens,
                step=16,
                label="Longest answer, tokens",
            )
            seed = gr.Number(plain.seed, label="Seed", precision=0, minimum=0)
    return {
        "reader": reader, "hand": hand, "preset": preset, "system": system, "temperature": temperature,
        "top_p": top_p, "penalty": penalty, "longest": longest, "seed": seed,
    }  # fmt: skip


def bind(panel: Panel, shared: Shared, studio: Studio) -> None:
    everything = [*panel.shown, *panel.composed]

    def quick(
        trigger: Callable[..., gr.events.Dependency],
        fn: Callable[..., object],
        inputs: list[gr.components.Component],
        outputs: list[gr.components.Component],
    ) -> gr.events.Dependency:
        return trigger(
            guarded(fn, studio), inputs, outputs, show_progress="hidden", api_visibility=API_HIDDEN
        )

    def watched(event: gr.events.Dependency) -> None:
        """Then follow the answer. It is made elsewhere (tasks/live.py): this only waits, and takes no engine's turn."""
        event.success(
            guarded(on.watch, studio),
            panel.session_id,
            panel.shown,
            concurrency_id="chat-watch",
            concurrency_limit=WATCHERS,
            show_progress="hidden",
            api_visibility=API_HIDDEN,
        )

    sent = [panel.session_id, panel.text, panel.editing, panel.draft, *panel.options]
    for trigger in (panel.text.submit, panel.send.click):
        watched(quick(trigger, on.send, sent, everything))
    watched(quick(panel.examples.select, on.send_example, panel.options, everything))
    acted = [*everything, panel.download]
    watched(quick(panel.messages.select, on.act, sent, acted))
    watched(quick(panel.live.select, on.act, sent, acted))
    kept = [panel.editing, panel.draft]
    watched(
        quick(shared.opened.change, on.open_session, [shared.opened, panel.session_id, *kept], everything)
    )
    watched(quick(shared.page.load, on.open_from_address, [], [*everything, shared.opened]))
    quick(panel.add.upload, on.attach, [panel.session_id, panel.add, panel.hand], panel.shown)
    bind_hand(panel.hand, panel.session_id, "Chat", shared, studio)
    quick(panel.tray.select, on.act_on_tray, [panel.session_id], everything)
    quick(panel.picture.select, on.mark_region, [panel.session_id, panel.viewed, panel.corner], everything)
    quick(panel.close.click, on.close_viewer, [], panel.composed)
    quick(panel.unedit.click, on.unedit, [panel.draft], panel.composed)
    quick(panel.new.click, on.start_anew, kept, everything)
    quick(
        panel.preset.input, on.take_preset, [panel.preset],
        [panel.system, panel.temperature, panel.top_p, panel.penalty, panel.longest],
    )  # fmt: skip
    asked_about = [panel.session_id, panel.model, panel.splitting]
    for shown in (panel.model.input, panel.splitting.input, panel.tray.change, shared.page.load):
        quick(shown, on.describe_model, asked_about, [panel.about_model])
    panel.stop.click(guarded(on.stop, studio), panel.session_id, None, queue=False, api_visibility=API_HIDDEN)
    panel.session_id.change(None, panel.session_id, None, js=REMEMBER_SESSION_JS, api_visibility=API_HIDDEN)
    gr.api(guarded(on.api_chat, studio), api_name="chat", concurrency_id=ENGINE_QUEUE)
