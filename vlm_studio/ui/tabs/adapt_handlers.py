"""What happens on each click of the Teach tab: plain values in, the whole tab out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from vlm_studio.core.adapters import Adapter, LearnLine, ReadLineOf, TrainingRun, TrainPoint, TrainSettings
from vlm_studio.core.errors import NotFound, StudioError
from vlm_studio.core.ids import new_id
from vlm_studio.core.sessions import TrainingLine
from vlm_studio.studio import Studio
from vlm_studio.tasks.adapt import ACTIVE, Judging, Learned
from vlm_studio.tasks.adapt_lines import Split
from vlm_studio.ui.shared import COMPARE_WITH, owner_of
from vlm_studio.ui.tabs.sessions_handlers import download_folder
from vlm_studio.views.adapt import (
    StripRow,
    adapter_card_html,
    adapter_list_html,
    percent,
    strip_list_html,
    time_left,
    training_html,
    verdict_html,
)
from vlm_studio.views.picture_buttons import thumbnail_uri
from vlm_studio.views.transcript import status_html

TAB = "Teach"
DEFAULTS = TrainSettings()
REFRESH_SECONDS = 1.0
SHOWN_LINES = 80
STRIP_PIXELS = 520
OUTPUTS = 25
NO_LINES = "Nothing yet. Put a line right in Transcribe and it appears here."
NO_NEXT = "Nothing to correct. Read some pages in Transcribe first."
ALL_RIGHT = "You have put right every line that was read. Read another page in Transcribe to go on."


@dataclass(frozen=True, slots=True)
class View:
    """Ids come from the browser; whose they are is always checked."""

    training: str = ""
    chosen: str = ""
    status: str = ""
    same_lines: bool = False
    """The lists of lines need no redrawing."""


def render(studio: Studio, owner: str, view: View) -> list[Any]:
    """Values for `Panel.outputs`, in that order."""
    runs = studio.adapting.trainings(owner)
    run = _shown_run(runs, view.training)
    adapters = [(a, studio.adapters.fits(a)) for a in studio.adapters.list(owner)]
    chosen, fits = next(((a, fits) for a, fits in adapters if a.id == view.chosen), (None, False))
    told = studio.adapting.advice(owner)
    busy = run is not None and run.state in {"running", "paused"}
    judging = run is not None and studio.adapting.judging(owner, run.id)
    halted = run is not None and run.state in {"cancelled", "failed"}
    return [
        run.id if run else "",
        chosen.id if chosen else "",
        status_html(f"{_counted(studio.adapting.split(owner))} {told.sentence}".strip(), None),
        gr.skip() if view.same_lines else _lines(studio, owner),
        gr.skip() if view.same_lines else _next(studio, owner),
        gr.update(interactive=told.ready and not busy),
        gr.update(visible=busy or halted),
        gr.update(visible=run is not None and run.state == "running" and not judging),
        gr.update(visible=run is not None and run.state in {"paused", "cancelled", "failed"}),
        gr.update(visible=busy),
        gr.update(visible=halted),
        *map(_shown, (view.status or _run_status(studio, owner, run), _curve(studio, owner, run))),
        # The card of the chosen adapter says it, too.
        _shown("" if run and chosen and run.adapter_id == chosen.id else _run_verdict(studio, owner, run)),
        adapter_list_html(adapters, chosen.id if chosen else ""),
        *_card(chosen, fits),
    ]


def _shown_run(runs: Sequence[TrainingRun], wanted: str) -> TrainingRun | None:
    """One that is not over, or it could not be reached once another was begun: `wanted`, one that runs, the newest."""
    ranked = sorted(runs, key=lambda r: (r.state == "done", r.id != wanted, r.state not in ACTIVE))
    return ranked[0] if ranked else None


def _counted(parts: Split) -> str:
    """What there is to learn from; nothing is said of nothing."""
    if not parts.held:
        return ""
    return f"{len(parts.learn)} corrected lines to learn from, {parts.kept_back}"


def _shown(html: str) -> Any:
    """An empty piece takes no room."""
    return gr.update(value=html, visible=bool(html))


def _card(chosen: Adapter | None, fits: bool) -> list[Any]:
    """card, card_verdict, use, stop_using, compare, new_name, notes, delete, delete_now, keep_it.

    What the reader would refuse is not offered; `card_verdict` says why.
    """
    unasked = [gr.update(visible=True), gr.update(visible=False), gr.update(visible=False)]
    if chosen is None:
        return [gr.update(visible=False), "", *[gr.update()] * 3, "", "", *unasked]
    refused = chosen.verdict is not None and not chosen.verdict.passed
    return [
        gr.update(visible=True),
        adapter_card_html(chosen, fits),
        gr.update(visible=fits and not refused and not chosen.active),
        gr.update(visible=chosen.active),
        gr.update(visible=fits),
        chosen.name,
        chosen.notes,
        *unasked,
    ]


def _lines(studio: Studio, owner: str) -> str:
    entries = studio.adapting.lines(owner)[::-1]
    held = {line.line_id for line in studio.adapting.split(owner).held}
    rows = [
        StripRow(
            e.line.line_id, _picture(studio, owner, e.line), e.line.text, _about(e, held, owner), e.left_out
        )
        for e in entries[:SHOWN_LINES]
    ]
    told = "Choose a line to leave it out, or to take it in again."
    if len(entries) > len(rows):
        told += f" The newest {len(rows)} of {len(entries)} are shown."
    hint = f'<p class="studio-hint">{told}</p>' if rows else ""
    return hint + strip_list_html(rows, "Corrected lines", NO_LINES)


def _about(entry: LearnLine, held: set[str], owner: str) -> str:
    """What becomes of a line, where it stands, who put it right and when."""
    line = entry.line
    use = "left out" if entry.left_out else "kept back to test on" if line.line_id in held else "learned from"
    who = "you" if line.writer == owner else line.writer
    return f"{use} · {line.source} · put right by {who}, {line.created_at[:10]}"


def _next(studio: Studio, owner: str) -> str:
    chosen = studio.adapting.next_lines(owner)
    rows = [
        StripRow(
            f"{n.line.session_id}/{n.line.line_id}", _picture(studio, owner, n.line), n.line.reading.text,
            f"{n.line.source}: " + ("about 1 letter" if n.gain < 1.5 else f"about {round(n.gain)} letters") + " in doubt",
        )
        for n in chosen
    ]  # fmt: skip
    nothing = ALL_RIGHT if studio.adapting.lines(owner) else NO_NEXT
    return strip_list_html(rows, "Lines to correct next", nothing)


def _picture(studio: Studio, owner: str, line: TrainingLine | ReadLineOf) -> str:
    try:
        return thumbnail_uri(studio.adapting.strip(owner, line), STRIP_PIXELS)
    except StudioError:
        return ""


def _run_status(studio: Studio, owner: str, run: TrainingRun | None) -> str:
    if run is None:
        return ""
    if run.state in {"running", "paused"}:
        if studio.adapting.judging(owner, run.id):
            return _judging(Judging())
        return _progress(run, studio.adapting.points(owner, run.id))
    if run.state == "done":
        return status_html(f"Last training: {run.name}, {run.lines} lines.", None) if run.adapter_id else ""
    return status_html(f"{run.name}: {run.message}", None, problem=run.state == "failed")


def _progress(run: TrainingRun, points: Sequence[TrainPoint]) -> str:
    """Of the training that is under way; its name tells it from what is typed above it by now."""
    paused = run.state == "paused"
    if not points:
        return status_html(f"{run.name}: starting ...", 0.0)
    point = points[-1]
    share = point.step / max(1, point.total)
    if point.phase == "prepare":
        told = f"{run.name}: preparing line {point.step} of {point.total}"
        return status_html(f"{told}, paused" if paused else told, 0.25 * share)
    told = f"{run.name}: {'paused at ' if paused else ''}step {point.step} of {point.total}"
    if point.cer is not None:
        told += f", {percent(point.cer)} letter errors on your held-out lines"
    left = "" if paused else time_left(points)
    return status_html(told + (f", {left}" if left else ""), 0.25 + 0.75 * share)


def _judging(event: Judging) -> str:
    told = f", {event.done} of {event.total}" if event.total else ""
    share = event.done / event.total if event.total else 0.0
    return status_html(
        f"Reading the lines that were kept back, and other hands, without it and with it{told}", share
    )


def _curve(studio: Studio, owner: str, run: TrainingRun | None) -> str:
    if run is None or run.message == "Discarded.":
        return ""
    return training_html(studio.adapting.points(owner, run.id))


def _run_verdict(studio: Studio, owner: str, run: TrainingRun | None) -> str:
    if run is None or run.adapter_id is None or run.state != "done":
        return ""
    try:
        return verdict_html(studio.adapter_store.get(owner, run.adapter_id).verdict)
    except NotFound:
        return ""


def tab_chosen(
    studio: Studio, training: str, chosen: str, request: gr.Request, event: gr.EventData
) -> Iterator[list[Any]]:
    """Somebody came (back) to this tab: show everything anew, and join a training that is under way."""
    if event.value != TAB:
        yield [gr.skip()] * OUTPUTS
        return
    owner = owner_of(studio.settings, request)
    view = View(training, chosen)
    yield render(studio, owner, view)
    running = next((r for r in studio.adapting.trainings(owner) if r.state == "running"), None)
    if running is not None:
        yield from _follow(studio, owner, replace(view, training=running.id))


def train(
    studio: Studio,
    training: str,
    chosen: str,
    name: str,
    steps: float,
    rank: float,
    mix: float,
    request: gr.Request,
) -> Iterator[list[Any]]:
    owner = owner_of(studio.settings, request)
    settings = replace(DEFAULTS, steps=int(steps), rank=int(rank), mix=float(mix))
    run = studio.adapting.start(owner, name or "My hand", settings)
    yield from _follow(studio, owner, View(run.id, chosen))


def go_on(studio: Studio, training: str, chosen: str, request: gr.Request) -> Iterator[list[Any]]:
    owner = owner_of(studio.settings, request)
    studio.adapting.go_on(owner, training)
    yield from _follow(studio, owner, View(training, chosen))


def _follow(studio: Studio, owner: str, view: View) -> Iterator[list[Any]]:
    """Live until it is over, paused or stopped; the training goes on whoever leaves.

    One that fails has said so on its record, which is shown with the button that goes on with it.
    """
    yield render(studio, owner, replace(view, same_lines=True))
    live = studio.adapting.watching(owner, view.training)
    shown = 0.0
    with suppress(StudioError):
        for event in live.follow() if live is not None else ():
            if isinstance(event, Learned):
                view = replace(view, chosen=event.adapter.id)
            elif time.monotonic() - shown > REFRESH_SECONDS:
                shown = time.monotonic()
                told = _judging(event) if isinstance(event, Judging) else ""
                yield render(studio, owner, replace(view, status=told, same_lines=True))
    yield render(studio, owner, view)


def _done(
    studio: Studio, request: gr.Request, view: View, act: Callable[..., object], *values: Any
) -> list[Any]:
    """`act` on something of the owner's, then the tab as it is afterwards."""
    owner = owner_of(studio.settings, request)
    act(owner, *values)
    return render(studio, owner, replace(view, same_lines=True))


def pause(studio: Studio, training: str, chosen: str, request: gr.Request) -> list[Any]:
    return _done(studio, request, View(training, chosen), studio.adapting.pause, training)


def stop(studio: Studio, training: str, chosen: str, request: gr.Request) -> list[Any]:
    return _done(studio, request, View(training, chosen), studio.adapting.stop, training)


def toggle_line(
    studio: Studio, training: str, chosen: str, request: gr.Request, event: gr.EventData
) -> list[Any]:
    """Leave a line out, or take it in again."""
    owner = owner_of(studio.settings, request)
    line_id = str(event.line)
    entry = next((e for e in studio.adapting.lines(owner) if e.line.line_id == line_id), None)
    studio.adapting.leave_out(owner, line_id, entry is not None and not entry.left_out)
    return render(studio, owner, View(training, chosen))


def open_line(studio: Studio, request: gr.Request, event: gr.EventData) -> str:
    """``transcribe/session/line/anything``, for the tab that shows it, however often."""
    session_id, _, line_id = str(event.line).partition("/")
    session = studio.session_store.get(owner_of(studio.settings, request), session_id)
    return f"{session.kind}/{session.id}/{line_id}/{new_id()}"


def choose(studio: Studio, training: str, chosen: str, request: gr.Request, event: gr.EventData) -> list[Any]:
    owner = owner_of(studio.settings, request)
    picked = str(event.session)
    return render(studio, owner, View(training, "" if picked == chosen else picked, same_lines=True))


def shown_anew(studio: Studio, training: str, chosen: str, request: gr.Request) -> list[Any]:
    """As it is now, after something was refused that another window has changed."""
    return render(studio, owner_of(studio.settings, request), View(training, chosen, same_lines=True))


def use(studio: Studio, training: str, chosen: str, request: gr.Request) -> list[Any]:
    return _done(studio, request, View(training, chosen), studio.adapters.activate, chosen)


def stop_using(studio: Studio, training: str, chosen: str, request: gr.Request) -> list[Any]:
    return _done(studio, request, View(training, chosen), studio.adapters.activate, None)


def rename(
    studio: Studio, training: str, chosen: str, name: str, notes: str, request: gr.Request
) -> list[Any]:
    return _done(studio, request, View(training, chosen), studio.adapters.rename, chosen, name, notes or "")


def discard(studio: Studio, training: str, chosen: str, request: gr.Request) -> list[Any]:
    return _done(studio, request, View(training, chosen), studio.adapting.discard, training)


def delete(studio: Studio, training: str, chosen: str, request: gr.Request) -> list[Any]:
    studio.adapting.forget(owner_of(studio.settings, request), chosen)
    return _done(studio, request, View(training), studio.adapters.delete, chosen)


def compare(studio: Studio, chosen: str, request: gr.Request) -> str:
    """Asks the tab that compares to take this adapter, however often. Raises NotFound."""
    adapter = studio.adapter_store.get(owner_of(studio.settings, request), chosen)
    return f"{COMPARE_WITH}{adapter.id}/{new_id()}"


def take_in(studio: Studio, training: str, chosen: str, path: str | None, request: gr.Request) -> list[Any]:
    owner = owner_of(studio.settings, request)
    if not path:
        return [gr.skip()] * OUTPUTS
    before = {a.id for a in studio.adapters.list(owner)}
    adapter = studio.adapters.take_in(owner, Path(path).read_bytes())
    if adapter.id in before:
        gr.Info(f"It is there already, as {escape(adapter.name)}.", title="Nothing new")
    return render(studio, owner, View(training, adapter.id, same_lines=True))


def export(studio: Studio, chosen: str, request: gr.Request) -> Any:
    data, name = studio.adapters.export(owner_of(studio.settings, request), chosen)
    path = download_folder() / name
    path.write_bytes(data)
    return gr.update(value=str(path), visible=True)


def api_adapters(studio: Studio, request: gr.Request | None = None) -> list[dict[str, Any]]:
    """The adapters of whoever asks, newest first."""
    owner = owner_of(studio.settings, request)
    return [
        {**asdict(a), "owner": "you", "fits": studio.adapters.fits(a)} for a in studio.adapters.list(owner)
    ]


def api_train(
    studio: Studio, name: str = "My hand", steps: int = DEFAULTS.steps, request: gr.Request | None = None
) -> dict[str, Any]:
    """Teach the reader from all corrections, wait, and say what the gate found."""
    owner = owner_of(studio.settings, request)
    run = studio.adapting.start(owner, name, replace(DEFAULTS, steps=int(steps)))
    live = studio.adapting.watching(owner, run.id)
    for _ in live.follow() if live is not None else ():
        pass
    done = studio.adapting.trainings(owner)[0]
    adapter = studio.adapter_store.get(owner, done.adapter_id) if done.adapter_id else None
    return {
        "state": done.state,
        "message": done.message,
        "adapter": adapter.id if adapter else None,
        "verdict": asdict(adapter.verdict) if adapter and adapter.verdict else None,
    }
