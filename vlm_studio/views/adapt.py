"""What the Teach tab shows: corrected lines, lines to put right next, a training, adapters. All text is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from vlm_studio.core.adapters import Adapter, TrainPoint, Verdict
from vlm_studio.views.curves import Series, curves_svg


@dataclass(frozen=True, slots=True)
class StripRow:
    """A line with its picture, as a list shows it."""

    line_id: str
    picture: str
    """Data URI; empty where the page's image is gone."""
    text: str
    about: str
    muted: bool = False


def strip_list_html(rows: Sequence[StripRow], label: str, nothing: str) -> str:
    """Rows that are chosen by click or keyboard; data-line says which.

    Tab comes to the first row alone and goes on behind the list: arrows go over the rows.
    """
    if not rows:
        return f'<p class="studio-empty">{escape(nothing)}</p>'
    items: list[str] = []
    for row in rows:
        picture = f'<img src="{row.picture}" alt="">' if row.picture else ""
        muted = ' class="muted"' if row.muted else ""
        items.append(
            f'<li data-line="{escape(row.line_id, quote=True)}" tabindex="{-1 if items else 0}" role="option" '
            f'aria-selected="{"false" if row.muted else "true"}"{muted}>{picture}'
            f'<span class="text">{escape(row.text)}</span><span class="about">{escape(row.about)}</span></li>'
        )
    return f'<ol class="strip-list" role="listbox" aria-label="{escape(label, quote=True)}">{"".join(items)}</ol>'


def training_html(points: Sequence[TrainPoint]) -> str:
    """Loss and error rate of the held-out lines over all the steps there will be; empty before the first."""
    trained = [p for p in points if p.phase == "train"]
    errors = [(float(p.step), p.cer) for p in trained if p.cer is not None]
    losses = [(float(p.step), p.loss) for p in trained if p.loss is not None]
    until = float(max((p.total for p in trained), default=0))
    return curves_svg(
        [Series("letter errors, without the help of word frequencies", errors)],
        "Letter errors on held-out lines over the steps, letters alone: the test at the end reads as the app does",
        percent,
        until=until,
    ) + curves_svg(
        [Series("training loss", losses)], "Training loss over the steps", lambda v: f"{v:.2f}", until=until
    )


def time_left(points: Sequence[TrainPoint]) -> str:
    """How long the steps that are left take if they go on as the last ones did; empty where nobody knows yet."""
    trained = [p for p in points if p.phase == "train"]
    if len(trained) < 2 or trained[-1].step <= trained[-2].step or trained[-1].step >= trained[-1].total:
        return ""
    before, last = trained[-2:]
    pace = (last.seconds - before.seconds) / (last.step - before.step)
    seconds = pace * (last.total - last.step)
    if seconds <= 0:
        # It went on from a checkpoint in between, and its clock began anew.
        return ""
    if seconds > 90:
        return f"about {seconds / 60:.0f} min left"
    return "about a minute left" if seconds > 45 else "less than a minute left"


def verdict_html(verdict: Verdict | None) -> str:
    """Before and after, with what chance could make of it, and what it forgot."""
    if verdict is None:
        return '<p class="studio-hint">It was not measured here.</p>'
    kind = "good" if verdict.passed else "bad"
    change = verdict.cer_change
    rows = (
        ("Letters wrong (CER)", percent(verdict.cer_before), percent(verdict.cer_after)),
        ("Words wrong (WER)", percent(verdict.wer_before), percent(verdict.wer_after)),
        ("Other hands (CER)", percent(verdict.general_before), percent(verdict.general_after)),
    )
    cells = "".join(f"<tr><th>{escape(a)}</th><td>{b}</td><td>{c}</td></tr>" for a, b, c in rows)
    pages = "page" if verdict.pages == 1 else "pages"
    return (
        f'<div class="verdict {kind}"><p>{escape(verdict.why)}</p>'
        f"<table><thead><tr><th></th><th>before</th><th>after</th></tr></thead><tbody>{cells}</tbody></table>"
        f'<p class="studio-hint">On {verdict.lines} lines of {verdict.pages} {pages} that it never saw. Change of the CER '
        f"{points(change.mean)}, 80% interval {points(change.low)} to {points(change.high)} points.</p></div>"
    )


def adapter_card_html(adapter: Adapter, fits: bool) -> str:
    """What the gate found, and why the reader cannot wear it where it cannot."""
    told = ""
    if adapter.facts.kind != "hand":
        told = f"It was learned by {adapter.facts.base}, not by the reader of handwriting."
    elif not fits:
        told = "It was made for other weights of the reader than are installed now: it can only be exported or deleted. Teach it again."
    elif adapter.verdict is not None and not adapter.verdict.passed:
        told = "It can be compared, exported or deleted."
    elif adapter.active:
        told = "Pages are read with it from now on; what was read before stays until it is read again."
    return verdict_html(adapter.verdict) + (f'<p class="studio-hint">{escape(told)}</p>' if told else "")


def adapter_list_html(adapters: Sequence[tuple[Adapter, bool]], chosen: str) -> str:
    """`adapters` with whether each fits the weights that are installed."""
    if not adapters:
        return '<p class="studio-empty">No adapter yet. One is made by training, or brought in.</p>'
    items = [_adapter(adapter, fits, adapter.id == chosen) for adapter, fits in adapters]
    return f'<ol class="session-list" role="listbox" aria-label="Adapters">{"".join(items)}</ol>'


def _adapter(adapter: Adapter, fits: bool, chosen: bool) -> str:
    if adapter.facts.kind != "hand":
        state = f"for {adapter.facts.base}"
    elif not fits:
        state = "made for other weights, not used" if adapter.active else "made for other weights"
    elif adapter.active:
        state = "in use"
    elif adapter.verdict is not None and not adapter.verdict.passed:
        state = "not better, not used"
    else:
        state = "imported" if adapter.source == "imported" else ""
    badge = f'<span class="badge">{escape(state)}</span>' if state else ""
    told = f"{adapter.facts.lines} lines" if adapter.facts.lines else "unknown lines"
    if adapter.verdict is not None:
        told += f" · CER {percent(adapter.verdict.cer_before)} → {percent(adapter.verdict.cer_after)}"
    return (
        f'<li data-session="{escape(adapter.id, quote=True)}" role="option" tabindex="0" '
        f'aria-selected="{"true" if chosen else "false"}"><div class="head"><span class="title">{escape(adapter.name)}'
        f'</span>{badge}<time datetime="{escape(adapter.created_at)}">{escape(adapter.created_at[:10])}</time></div>'
        f'<p class="preview">{escape(told)}</p></li>'
    )


def percent(share: float) -> str:
    return f"{100 * share:.1f}%"


def points(share: float) -> str:
    return f"{100 * share:+.1f}"
