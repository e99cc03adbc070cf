"""Documents: drop PDFs and photos of pages, ask, and see the words on the page that answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr

from vlm_studio.studio import Studio
from vlm_studio.ui.documents_view import ASKED_JS, DOCUMENTS_JS
from vlm_studio.ui.guard import guarded
from vlm_studio.ui.page_view import PICTURES_JS, REMEMBER_SESSION_JS
from vlm_studio.ui.shared import API_HIDDEN, Shared
from vlm_studio.ui.tabs import documents_handlers as on
from vlm_studio.views.model_choice import SPLITTINGS

ASKING = "documents"
"""The `concurrency_id` of questions: they need no engine, so they do not wait for one."""

TICKS_JS = """
new MutationObserver(() => {
  for (const box of element.querySelectorAll('[data-act=choose]')) box.checked = box.hasAttribute('checked');
}).observe(element, {subtree: true, childList: true, attributeFilter: ['checked', 'data-document']});
"""
"""Gradio patches attributes in place, and a box once clicked no longer follows its own: after a removal the tick
would stay in its row, on the document that moved up."""

TAKEN_JS = """
(taken) => {
  const field = document.querySelector('#documents-question textarea');
  const text = taken.slice(taken.indexOf(' ') + 1);
  if (field.value.startsWith(text)) {
    field.value = field.value.slice(text.length);
    field.dispatchEvent(new Event('input', {bubbles: true}));
  }
}
"""
"""Empties the field of a question that was taken, but for what was typed since. Not by an output of Gradio's: that is
set a moment after the field was read, and a letter typed in between would be gone."""


@dataclass(frozen=True, slots=True)
class Panel:
    session_id: gr.Textbox
    chosen: gr.State
    viewed: gr.State
    locked: gr.State
    intake: gr.Column
    files: gr.File
    password: gr.Textbox
    notice: gr.HTML
    workspace: gr.Column
    documents: gr.HTML
    more: gr.File
    new: gr.Button
    question: gr.Textbox
    taken: gr.Textbox
    ask: gr.Button
    pages: gr.Textbox
    model: gr.Dropdown
    splitting: gr.Dropdown
    about_model: gr.HTML
    turns: gr.HTML
    stances: gr.HTML
    used: gr.HTML
    page_image: gr.Image
    caption: gr.HTML
    before: gr.Button
    after: gr.Button
    each: gr.Button
    each_table: gr.HTML
    download: gr.File
    timer: gr.Timer

    @property
    def shown(self) -> list[gr.components.Component]:
        """What `documents_handlers.render` fills, in that order."""
        return [
            self.session_id, self.chosen, self.viewed, self.intake, self.workspace, self.password, self.notice,
            self.documents, self.turns, self.stances, self.used, self.page_image, self.caption, self.timer,
            self.locked,
        ]  # fmt: skip


def build(shared: Shared) -> Panel:
    studio = shared.studio
    with gr.Column(elem_classes="paste-target") as intake:
        files = gr.File(
            label="Drop PDFs or photos of pages here, or click to choose",
            file_count="multiple",
            type="filepath",
            height=170,
            elem_id="documents-files",
        )
        gr.HTML(
            '<p class="studio-hint">Digital, scanned and handwritten pages. Every answer quotes the page and '
            "marks the words; where the documents do not say, that is the answer.</p>",
            padding=False,
        )
    notice = gr.HTML(elem_id="documents-notice", padding=False)
    password = gr.Textbox(
        label="Password of the PDF", type="password", visible=False, elem_id="documents-password"
    )
    with gr.Column(visible=False) as workspace:
        with gr.Row():
            with gr.Column(scale=5, min_width=320):
                documents = gr.HTML(
                    js_on_load=DOCUMENTS_JS + TICKS_JS, elem_id="documents-list", padding=False
                )
                with gr.Row(elem_classes="tool-row"):
                    question = gr.Textbox(
                        show_label=False,
                        label="Question",
                        container=False,
                        placeholder="What do you want to know?",
                        max_lines=4,
                        scale=4,
                        elem_id="documents-question",
                    )
                    ask = gr.Button("Ask", variant="primary", scale=0, min_width=90, elem_id="documents-ask")
                turns = gr.HTML(js_on_load=ASKED_JS, elem_id="documents-turns", padding=False)
                stances = gr.HTML(elem_id="documents-stances", padding=False)
                with gr.Accordion("More: page range, model, each document by itself, add files", open=False):
                    model, splitting, about_model = _model_choice(studio)
                    pages = gr.Textbox(label="Only these pages", placeholder="1-3,7", max_lines=1)
                    each = gr.Button(
                        "Ask the question of each document by itself", size="sm", elem_id="documents-each"
                    )
                    each_table = gr.HTML(elem_id="documents-each-table", padding=False)
                    download = gr.File(label="As CSV", visible=False, interactive=False, height=80)
                    more = gr.File(
                        label="Add PDFs or photos",
                        file_count="multiple",
                        type="filepath",
                        height=120,
                        elem_id="documents-more",
                    )
                    new = gr.Button("New documents", size="sm", elem_id="documents-new")
            with gr.Column(scale=6, min_width=320):
                used, page_image, before, caption, after = _page_column()
    return Panel(
        session_id=gr.Textbox(visible="hidden", elem_id="documents-session"),
        chosen=gr.State([]), viewed=gr.State(("", 0, "", 0)), locked=gr.State([]),
        intake=intake, files=files, password=password, notice=notice, workspace=workspace,
        documents=documents, more=more, new=new, question=question,
        taken=gr.Textbox(visible="hidden", elem_id="documents-taken"), ask=ask, pages=pages, model=model,
        splitting=splitting, about_model=about_model, turns=turns,
        stances=stances, used=used, page_image=page_image, caption=caption, before=before, after=after,
        each=each, each_table=each_table, download=download, timer=gr.Timer(1.0, active=False),
    )  # fmt: skip


def _model_choice(studio: Studio) -> tuple[gr.Dropdown, gr.Dropdown, gr.HTML]:
    """Who puts an answer into a sentence, and how the pages are fed to it."""
    with gr.Row():
        model = gr.Dropdown(
            list(studio.models.choices()), value="auto", label="Sentence by", min_width=160,
            info="a model that sees pages; else the quote stands alone", elem_id="documents-model",
        )  # fmt: skip
        splitting = gr.Dropdown(
            list(SPLITTINGS), value="auto", label="Split pages into four parts as well", min_width=160
        )
    about = gr.HTML(elem_id="documents-about-model", padding=False)
    return model, splitting, about


def _page_column() -> tuple[gr.HTML, gr.Image, gr.Button, gr.HTML, gr.Button]:
    """Where the answer stands, the page itself, and the way to the pages before and after."""
    used = gr.HTML(js_on_load=PICTURES_JS, visible=False, elem_id="documents-used", padding=False)
    page_image = gr.Image(
        label="Page",
        show_label=False,
        interactive=False,
        format="jpeg",
        buttons=["fullscreen"],
        elem_id="documents-page",
    )
    with gr.Row(elem_classes="tool-row"):
        before = gr.Button("Previous page", size="sm", min_width=110)
        caption = gr.HTML(elem_id="documents-caption", padding=False)
        after = gr.Button("Next page", size="sm", min_width=110)
    return used, page_image, before, caption, after


def bind(panel: Panel, shared: Shared, studio: Studio) -> None:
    shown = panel.shown
    state = [panel.session_id, panel.chosen, panel.viewed]

    def quick(
        trigger: gr.events.Dependency, fn: Callable[..., object], inputs: list[gr.components.Component],
        outputs: list[gr.components.Component] = shown, **more: Any,
    ) -> gr.events.Dependency:  # fmt: skip
        return trigger(
            guarded(fn, studio), inputs, outputs, concurrency_id=ASKING, concurrency_limit=8,
            show_progress="hidden", api_visibility=API_HIDDEN, **more,
        )  # fmt: skip

    locked = [panel.password, panel.locked]
    quick(panel.files.upload, on.add_files, [panel.files, *locked, *state])
    added = quick(panel.more.upload, on.add_files, [panel.more, *locked, *state])
    added.then(lambda: None, None, panel.more, api_visibility=API_HIDDEN)
    quick(panel.password.submit, on.unlock, [*locked, *state])
    asked = [panel.question, panel.pages, *state]
    models = [panel.model, panel.splitting]
    for trigger in (panel.question.submit, panel.ask.click):
        # Gradio drops an Enter while the one before runs; this one has to be told that it is too early.
        quick(trigger, on.ask, [*models, *asked], [*shown, panel.taken], trigger_mode="multiple")
    panel.taken.change(None, panel.taken, None, js=TAKEN_JS, api_visibility=API_HIDDEN)
    for trigger in (panel.model.input, panel.splitting.input):
        quick(trigger, on.describe_model, [*models, *state], [panel.about_model])
    quick(panel.documents.select, on.act_on_document, state)
    quick(panel.turns.select, on.act_on_turn, state)
    quick(panel.used.select, on.show_used, state)
    quick(panel.before.click, on.page_before, state)
    quick(panel.after.click, on.page_after, state)
    quick(panel.each.click, on.ask_each, asked, [panel.each_table, panel.download])
    quick(panel.timer.tick, on.refresh, state, [panel.documents, panel.timer])
    quick(panel.new.click, on.start_anew, [], [*shown, panel.pages, panel.each_table, panel.download])
    panel.new.click(lambda: None, None, panel.files, api_visibility=API_HIDDEN)
    quick(shared.opened.change, on.open_session, [shared.opened, panel.session_id])
    quick(shared.page.load, on.open_from_address, [], [*shown, shared.opened])
    panel.session_id.change(None, panel.session_id, None, js=REMEMBER_SESSION_JS, api_visibility=API_HIDDEN)
    gr.api(guarded(on.api_ask, studio), api_name="ask", concurrency_id=ASKING)
    studio.documents.indexer.start()
