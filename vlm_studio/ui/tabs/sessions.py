"""Sessions: everything a person made, to find, open, rename, take away, delete and bring back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import gradio as gr

from vlm_studio.studio import Studio
from vlm_studio.ui.guard import guarded
from vlm_studio.ui.shared import API_HIDDEN, Shared
from vlm_studio.ui.tabs import sessions_handlers as on
from vlm_studio.views.session_list import KIND_LABELS

EXPORTS = [
    ("Zip (can be imported)", "zip"),
    ("One web page (.html)", "html"),
    ("Markdown (.md)", "md"),
    ("JSON", "json"),
]
KINDS = [("All kinds", ""), *((label, kind) for kind, label in KIND_LABELS.items())]
SHOWN = [("Current", "current"), ("Archived", "archived"), ("Deleted", "deleted")]

LIST_JS = """
const choose = (node) => { if (node) trigger('select', {session: node.dataset.session}); };
const dates = () => element.querySelectorAll('time[datetime]').forEach((node) => {
  const at = new Date(node.getAttribute('datetime'));
  if (isNaN(at)) return;
  const today = at.toDateString() === new Date().toDateString();
  node.textContent = today ? at.toLocaleTimeString([], {hour: '2-digit', minute: '2-digit'})
    : at.toLocaleDateString([], {day: 'numeric', month: 'short', year: 'numeric'});
  node.title = at.toLocaleString();
});
element.addEventListener('click', (event) => choose(event.target.closest('[data-session]')));
element.addEventListener('keydown', (event) => {
  const here = event.target.closest('[data-session]');
  if (!here) return;
  if (event.key === 'Enter' || event.key === ' ') { event.preventDefault(); choose(here); }
  const next = event.key === 'ArrowDown' ? here.nextElementSibling
    : event.key === 'ArrowUp' ? here.previousElementSibling : null;
  if (next) { event.preventDefault(); next.focus(); }
});
dates();
watch('value', dates);
"""
"""Rows are chosen by click or keyboard; dates are shown in the reader's own zone."""

SHOW_ACTIONS_JS = """() => {
  if (window.innerWidth < 760)
    document.querySelector('#session-actions')?.scrollIntoView({behavior: 'smooth', block: 'start'});
}"""
"""On a telephone the actions stand below the list: go there."""


@dataclass(frozen=True, slots=True)
class Panel:
    chosen: gr.State
    undoable: gr.State
    limit: gr.State
    query: gr.Textbox
    kind: gr.Dropdown
    tag: gr.Dropdown
    show: gr.Dropdown
    status: gr.HTML
    undo: gr.Button
    list: gr.HTML
    more: gr.Button
    hint: gr.HTML
    actions: gr.Column
    head: gr.HTML
    title: gr.Textbox
    tags: gr.Textbox
    live: gr.Column
    open: gr.Button
    pin: gr.Button
    archive: gr.Button
    delete: gr.Button
    export_format: gr.Dropdown
    export: gr.Button
    gone: gr.Row
    bring_back: gr.Button
    purge: gr.Button
    download: gr.File
    all_format: gr.Dropdown
    export_all: gr.Button
    taken_in: gr.File
    everything: gr.Column
    backup: gr.Button
    clean: gr.Button
    storage: gr.HTML
    confirm: gr.Row
    restore: gr.Button

    @property
    def view(self) -> list[gr.components.Component]:
        """What every handler is given first, as `sessions_handlers.acts` takes it."""
        return [self.query, self.kind, self.tag, self.show, self.limit, self.chosen, self.undoable]

    @property
    def outputs(self) -> list[gr.components.Component]:
        """What `sessions_handlers.render` fills, in that order."""
        return [
            self.chosen, self.undoable, self.limit, self.tag, self.status, self.undo, self.list, self.more,
            self.hint, self.actions, self.head, self.title, self.tags, self.live, self.pin, self.archive,
            self.gone, self.storage,
        ]  # fmt: skip


def build(shared: Shared) -> Panel:
    with gr.Row(elem_classes="session-filter"):
        query = gr.Textbox(
            label="Search",
            placeholder="Words in titles, transcriptions, questions and answers",
            max_lines=1,
            scale=5,
            min_width=240,
            elem_id="sessions-query",
        )
        kind = gr.Dropdown(KINDS, value="", label="Kind", scale=2, min_width=130)
        tag = gr.Dropdown([("All tags", "")], value="", label="Tag", scale=2, min_width=130)
        show = gr.Dropdown(SHOWN, value="current", label="Show", scale=2, min_width=130)
    with gr.Row(elem_classes="tool-row session-told"):
        status = gr.HTML(elem_id="sessions-status", padding=False, visible=False)
        undo = gr.Button("Undo", size="sm", visible=False, scale=0, min_width=90, elem_id="sessions-undo")
    with gr.Row():
        with gr.Column(scale=7, min_width=320):
            listed = gr.HTML(js_on_load=LIST_JS, elem_id="sessions-list", padding=False)
            more = gr.Button("Show more", size="sm", visible=False)
        with gr.Column(scale=4, min_width=300, elem_id="session-actions"):
            hint = gr.HTML(on.HINT, padding=False)
            parts = _actions()
            download = gr.File(
                label="Your file", visible=False, interactive=False, height=80, elem_id="sessions-download"
            )
    return Panel(
        chosen=gr.State(""),
        undoable=gr.State(""),
        limit=gr.State(on.PAGE),
        query=query,
        kind=kind,
        tag=tag,
        show=show,
        status=status,
        undo=undo,
        list=listed,
        more=more,
        hint=hint,
        download=download,
        **parts,
        **_everything(shared.studio),
    )


def _actions() -> dict[str, gr.components.Component]:
    """What can be done with the chosen session."""
    with gr.Column(visible=False, elem_classes="session-card") as actions:
        head = gr.HTML(js_on_load=LIST_JS, padding=False)
        with gr.Column(visible=False) as live:
            open_ = gr.Button("Open", variant="primary", elem_id="session-open")
            title = gr.Textbox(
                label="Title", max_lines=1, max_length=200, submit_btn="Rename", elem_id="session-title"
            )
            tags = gr.Textbox(
                label="Tags",
                placeholder="family, 1931",
                max_lines=1,
                submit_btn="Keep",
                elem_id="session-tags",
            )
            with gr.Row():
                pin = gr.Button("Pin", size="sm", min_width=70)
                archive = gr.Button("Archive", size="sm", min_width=70)
                delete = gr.Button("Delete", size="sm", variant="stop", min_width=70)
            with gr.Row(elem_classes="tool-row"):
                export_format = gr.Dropdown(EXPORTS, value="zip", label="Take it away as", min_width=150)
                export = gr.Button("Export", size="md", scale=0, min_width=100, elem_id="session-export")
        with gr.Row(visible=False) as gone:
            bring_back = gr.Button("Bring back", variant="primary", size="sm", min_width=120)
            purge = gr.Button("Delete for good", variant="stop", size="sm", min_width=120)
    return {
        "actions": actions, "head": head, "live": live, "open": open_, "title": title, "tags": tags, "pin": pin, "archive": archive, "delete": delete, "export_format": export_format,
        "export": export, "gone": gone, "bring_back": bring_back, "purge": purge,
    }  # fmt: skip


def _everything(studio: Studio) -> dict[str, gr.components.Component]:
    """Import, export and backup of all; the last only where the app has one owner."""
    with gr.Accordion("Import, backup and storage", open=False, elem_id="sessions-everything"):
        with gr.Row(elem_classes="tool-row"):
            all_format = gr.Dropdown(EXPORTS, value="zip", label="Take all of it away as", min_width=180)
            export_all = gr.Button(
                "Export all", size="md", scale=0, min_width=120, elem_id="sessions-export-all"
            )
        taken_in = gr.File(
            label="Import: drop a zip file that was exported here or elsewhere",
            file_types=[".zip"],
            type="filepath",
            height=150,
            elem_id="sessions-import",
        )
        with gr.Row(visible=False) as confirm:
            restore = gr.Button("Replace everything with this backup", variant="stop", size="sm")
        with gr.Column(visible=on.is_alone(studio.settings)) as everything:
            storage = gr.HTML(padding=False)
            with gr.Row():
                backup = gr.Button("Make a backup of everything", size="sm", elem_id="sessions-backup")
                clean = gr.Button("Clean up", size="sm", elem_id="sessions-clean")
    return {
        "all_format": all_format, "export_all": export_all, "taken_in": taken_in, "confirm": confirm,
        "restore": restore, "everything": everything, "storage": storage, "backup": backup, "clean": clean,
    }  # fmt: skip


def bind(panel: Panel, shared: Shared, studio: Studio) -> None:
    view, outputs = panel.view, panel.outputs

    def does(
        trigger: Callable[..., object],
        fn: Callable[..., object],
        *inputs: gr.components.Component,
        to: tuple[gr.components.Component, ...] = (),
    ) -> gr.events.Dependency:
        return trigger(
            guarded(fn, studio),
            [*view, *inputs],
            [*outputs, *to],
            show_progress="hidden",
            trigger_mode="always_last",
            api_visibility=API_HIDDEN,
        )

    does(shared.page.load, on.acts(on.arrive))
    does(shared.tabs.select, on.acts_on(on.tab_chosen), to=(shared.opened,))
    # The input event of a text box misses what is pasted and what is deleted.
    for changed in (panel.query.change, panel.kind.input, panel.tag.input, panel.show.input):
        does(changed, on.acts(on.refilter))
    for button, handler in (
        (panel.more, on.show_more),
        (panel.pin, on.pin),
        (panel.archive, on.archive),
        (panel.delete, on.delete),
        (panel.undo, on.undo),
        (panel.bring_back, on.bring_back),
        (panel.purge, on.purge),
        (panel.clean, on.clean),
    ):
        does(button.click, on.acts(handler))
    does(panel.list.select, on.acts_on(on.choose)).then(
        None, None, None, js=SHOW_ACTIONS_JS, api_visibility=API_HIDDEN
    )
    does(panel.title.submit, on.acts_with(on.rename), panel.title)
    does(panel.tags.submit, on.acts_with(on.tag), panel.tags)
    does(
        panel.taken_in.upload, on.acts_with(on.take_in), panel.taken_in, to=(panel.taken_in, panel.confirm)
    ).failure(lambda: None, None, panel.taken_in, api_visibility=API_HIDDEN)
    does(panel.restore.click, on.acts_with(on.restore), panel.taken_in, to=(panel.taken_in, panel.confirm))
    panel.open.click(
        guarded(on.open_, studio),
        panel.chosen,
        shared.opened,
        show_progress="hidden",
        api_visibility=API_HIDDEN,
    )
    for button, fn, inputs in (
        (panel.export, on.export, [panel.chosen, panel.export_format]),
        (panel.export_all, on.export_all, [panel.all_format]),
        (panel.backup, on.backup, []),
    ):
        button.click(
            guarded(fn, studio),
            inputs,
            panel.download,
            show_progress_on=panel.download,
            api_visibility=API_HIDDEN,
        )
    gr.api(guarded(on.api_sessions, studio), api_name="sessions")
