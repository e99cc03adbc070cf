"""Transcribe: drop pages, watch them being read, put right what is wrong, take the text away."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import gradio as gr

from vlm_studio.studio import Studio
from vlm_studio.ui.guard import guarded
from vlm_studio.ui.hand_choice import bind_hand, build_hand
from vlm_studio.ui.page_view import (
    ALTERNATIVES_JS,
    ANSWER_JS,
    COPY_TEXT_JS,
    LINES_JS,
    PICTURES_JS,
    REMEMBER_SESSION_JS,
)
from vlm_studio.ui.shared import API_HIDDEN, ENGINE_QUEUE, Shared
from vlm_studio.ui.tabs import transcribe_edit as edit
from vlm_studio.ui.tabs import transcribe_handlers as on

EXPORTS = [
    ("Text (.txt)", "text"),
    ("Markdown (.md)", "md"),
    ("Word (.docx)", "docx"),
    ("Searchable PDF", "pdf"),
    ("PAGE XML", "page"),
    ("ALTO XML", "alto"),
    ("JSON", "json"),
]


@dataclass(frozen=True, slots=True)
class Panel:
    session_id: gr.Textbox
    page_index: gr.Number
    line_id: gr.Textbox
    given: gr.Textbox
    corner: gr.State
    hand: gr.Dropdown
    intake: gr.Column
    files: gr.File
    camera: gr.Image
    password: gr.Textbox
    notice: gr.HTML
    examples: gr.HTML
    reader: gr.Dropdown
    workspace: gr.Column
    status: gr.HTML
    stop: gr.Button
    more: gr.Button
    page_picker: gr.HTML
    page_image: gr.Image
    transcript: gr.HTML
    editor: gr.Column
    strip: gr.Image
    line_text: gr.Textbox
    alternatives: gr.HTML
    undo: gr.Button
    redo: gr.Button
    reread_with: gr.Dropdown
    reread: gr.Button
    mark_region: gr.Checkbox
    history: gr.HTML
    reference: gr.Textbox
    compare: gr.Button
    comparison: gr.HTML
    copy: gr.Button
    export_format: gr.Dropdown
    export: gr.Button
    download: gr.File

    @property
    def page_outputs(self) -> list[gr.components.Component]:
        """What `transcribe_render.render` fills, in that order."""
        return [
            self.session_id,
            self.intake,
            self.workspace,
            self.status,
            self.stop,
            self.page_picker,
            self.page_index,
            self.line_id,
            self.page_image,
            self.transcript,
            self.editor,
            self.strip,
            self.line_text,
            self.alternatives,
            self.undo,
            self.redo,
            self.history,
            self.password,
            self.notice,
            self.given,
            self.comparison,
            self.download,
        ]


def build(shared: Shared) -> Panel:
    studio = shared.studio
    readers = on.reader_choices(studio)
    hand = build_hand("transcribe-hand")
    # Above both: other files of the same drop may have been read already.
    password = gr.Textbox(
        label="Password of the PDF", type="password", visible=False, elem_id="transcribe-password"
    )
    with gr.Column(elem_classes="paste-target") as intake:
        files = gr.File(
            label="Drop photos or PDFs of handwriting here, paste them, or click to choose",
            file_count="multiple",
            type="filepath",
            height=170,
            elem_id="transcribe-files",
        )
        notice = gr.HTML(elem_id="transcribe-notice", padding=False, visible=False)
        with gr.Row():
            reader = gr.Dropdown(
                readers,
                value=studio.settings.reader,
                label="Reader",
                scale=2,
                min_width=160,
                info="auto takes the best one that this machine runs",
            )
        with gr.Accordion("Use the camera", open=False):
            camera = gr.Image(
                label="Photograph a page", sources=["webcam"], type="filepath", show_label=False, height=300
            )
        examples = gr.HTML(
            on.examples_html(studio), js_on_load=PICTURES_JS, elem_id="transcribe-examples", padding=False
        )
    with gr.Column(visible=False) as workspace:
        with gr.Row(elem_classes="tool-row"):
            status = gr.HTML(elem_id="transcribe-status")
            stop = gr.Button("Stop", size="sm", variant="stop", visible=False, scale=0, min_width=90)
            copy = gr.Button("Copy text", size="sm", scale=0, min_width=110, elem_id="transcribe-copy")
            more = gr.Button("New transcription", size="sm", scale=0, min_width=150)
        page_picker = gr.HTML(
            js_on_load=PICTURES_JS, visible=False, elem_id="transcribe-pages", padding=False
        )
        with gr.Row():
            with gr.Column(scale=6, min_width=320):
                page_image = gr.Image(
                    label="Page: click a line",
                    interactive=False,
                    format="jpeg",
                    buttons=["fullscreen"],
                    elem_id="transcribe-page",
                )
                mark_region = gr.Checkbox(
                    label="Read a region: click two opposite corners on the page",
                    value=False,
                    container=False,
                )
            with gr.Column(scale=5, min_width=320):
                with gr.Column(visible=False, elem_classes="line-editor") as editor:
                    strip = gr.Image(
                        show_label=False,
                        interactive=False,
                        buttons=[],
                        container=False,
                        elem_id="transcribe-strip",
                    )
                    line_text = gr.Textbox(
                        label="This line",
                        info="Enter keeps it and goes on; ↑ ↓ go to other lines",
                        max_lines=1,
                        elem_id="transcribe-line",
                        submit_btn=False,
                    )
                    alternatives = gr.HTML(js_on_load=ALTERNATIVES_JS, visible=False)
                    with gr.Row():
                        undo = gr.Button("Undo", size="sm", min_width=70)
                        redo = gr.Button("Redo", size="sm", min_width=70)
                        reread_with = gr.Dropdown(
                            [r for r in readers if r[1] != "auto"],
                            value=studio.choose_reader()[0],
                            label="Reader for one line or region",
                            show_label=False,
                            container=False,
                            min_width=140,
                        )
                        reread = gr.Button("Read again", size="sm", min_width=100)
                    history = gr.HTML()
                transcript = gr.HTML(js_on_load=LINES_JS, elem_id="transcribe-lines")
        with gr.Row(elem_classes="tool-row"):
            export_format = gr.Dropdown(EXPORTS, value="text", label="Take the text away as", scale=2)
            export = gr.Button(
                "Export", variant="primary", scale=1, min_width=120, elem_id="transcribe-export"
            )
            download = gr.File(label="Your file", visible=False, interactive=False, scale=2, height=80)
        with gr.Accordion("Compare with a reference text", open=False):
            reference = gr.Textbox(label="Paste the correct text of this page", lines=5)
            compare = gr.Button("Compare", size="sm")
            comparison = gr.HTML()
    return Panel(
        session_id=gr.Textbox(visible="hidden", elem_id="transcribe-session"),
        # Hidden fields, not states: they travel with the text that was typed for them, as the page had them.
        page_index=gr.Number(0, precision=0, visible="hidden"),
        line_id=gr.Textbox(visible="hidden"),
        given=gr.Textbox(visible="hidden", elem_id="transcribe-given"),
        corner=gr.State(()),
        hand=hand,
        intake=intake,
        files=files,
        camera=camera,
        password=password,
        notice=notice,
        examples=examples,
        reader=reader,
        workspace=workspace,
        status=status,
        stop=stop,
        more=more,
        page_picker=page_picker,
        page_image=page_image,
        transcript=transcript,
        editor=editor,
        strip=strip,
        line_text=line_text,
        alternatives=alternatives,
        undo=undo,
        redo=redo,
        reread_with=reread_with,
        reread=reread,
        mark_region=mark_region,
        history=history,
        reference=reference,
        compare=compare,
        comparison=comparison,
        copy=copy,
        export_format=export_format,
        export=export,
        download=download,
    )


def bind(panel: Panel, shared: Shared, studio: Studio) -> None:
    outputs = panel.page_outputs
    line = [panel.line_id, panel.given, panel.line_text]
    typed = [panel.session_id, panel.page_index, *line]

    def reading(
        trigger: gr.events.Dependency, fn: Callable[..., object], inputs: list[gr.components.Component]
    ) -> None:
        trigger(
            guarded(fn, studio),
            inputs,
            outputs,
            concurrency_id=ENGINE_QUEUE,
            concurrency_limit=4,
            show_progress="hidden",
            api_visibility=API_HIDDEN,
        )

    def quick(
        trigger: gr.events.Dependency, fn: Callable[..., object], inputs: list[gr.components.Component]
    ) -> gr.events.Dependency:
        return trigger(
            guarded(fn, studio), inputs, outputs, show_progress="hidden", api_visibility=API_HIDDEN
        )

    def made(
        trigger: gr.events.Dependency,
        fn: Callable[..., object],
        inputs: list[gr.components.Component],
        output: gr.components.Component,
    ) -> None:
        """What was typed is kept by a step of its own: the work may take long, and the field go on to another line."""
        trigger(
            guarded(edit.keep_typed, studio),
            line,
            panel.given,
            show_progress="hidden",
            api_visibility=API_HIDDEN,
        ).success(guarded(fn, studio), inputs, output, api_visibility=API_HIDDEN)

    bind_hand(panel.hand, panel.session_id, "Transcribe", shared, studio)
    intake = [panel.session_id, panel.reader, panel.password, panel.hand]
    reading(panel.files.upload, on.read_files, [panel.files, *intake])
    reading(panel.password.submit, on.unlock, [panel.files, *intake, *line])
    reading(panel.camera.input, on.read_photo, [panel.camera, *intake])
    reading(panel.examples.select, on.read_example, intake)
    reading(panel.reread.click, edit.reread_line, [*typed, panel.reread_with])
    quick(panel.page_picker.select, on.choose_page, typed)
    panel.page_image.select(
        guarded(on.click_page, studio),
        [*typed, panel.corner, panel.mark_region, panel.reread_with],
        [*outputs, panel.corner],
        concurrency_id=ENGINE_QUEUE,
        show_progress="hidden",
        api_visibility=API_HIDDEN,
    )
    for moved in (
        quick(panel.transcript.select, on.choose_line, typed),
        quick(panel.line_text.submit, edit.keep_line, typed),
    ):
        # In the browser `then` is left out after a failure.
        for ended in (moved.then, moved.failure):
            ended(None, None, None, js=ANSWER_JS, api_visibility=API_HIDDEN)
    quick(panel.alternatives.select, edit.take_alternative, typed)
    quick(panel.undo.click, edit.undo, typed)
    quick(panel.redo.click, edit.redo, typed)
    quick(panel.more.click, on.start_anew, line)
    panel.copy.click(None, None, None, js=COPY_TEXT_JS, api_visibility=API_HIDDEN)
    panel.more.click(lambda: None, None, panel.files, api_visibility=API_HIDDEN)
    panel.stop.click(guarded(on.stop, studio), panel.session_id, None, queue=False, api_visibility=API_HIDDEN)
    made(
        panel.compare.click,
        on.compare,
        [panel.session_id, panel.page_index, panel.reference],
        panel.comparison,
    )
    made(panel.export.click, on.export, [panel.session_id, panel.export_format], panel.download)
    panel.session_id.change(None, panel.session_id, None, js=REMEMBER_SESSION_JS, api_visibility=API_HIDDEN)
    reading(shared.opened.change, on.open_session, [shared.opened, *line])
    shared.page.load(
        guarded(on.open_from_address, studio),
        None,
        outputs,
        concurrency_id=ENGINE_QUEUE,
        show_progress="hidden",
        api_visibility=API_HIDDEN,
    )
    gr.api(guarded(on.api_transcribe, studio), api_name="transcribe", concurrency_id=ENGINE_QUEUE)
