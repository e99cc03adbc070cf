"""Two answers side by side, the chance of each word, confusions, and what is known of frozen and LoRA. All escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from PIL import Image

from vlm_studio.core.comparison import (
    Comparison,
    Confusion,
    Lesson,
    LinePair,
    LinesComparison,
    Part,
    Side,
    WordChance,
)
from vlm_studio.views.compare_shift import shift_html
from vlm_studio.views.curves import Series, curves_svg
from vlm_studio.views.diff import diff_html

CHANGED = 0.02
"""A difference of probabilities below this is not coloured."""
PAPER = (
    ("Autoregressive, no perceiver", "frozen", "7.6B", "5M", "51.8"),
    ("Autoregressive", "frozen", "8.3B", "740M", "60.3"),
    ("Cross-attention", "frozen", "10B", "2.3B", "66.7"),
    ("Cross-attention", "LoRA", "10B", "2.5B", "67.3"),
    ("Autoregressive", "LoRA", "8.3B", "950M", "69.5"),
)
_HOW: dict[Part, str] = {
    "model": "The adapter is switched on and off in one loaded language model.",
    "reader": "The line reader of nano, with the adapter added to a copy of its weights.",
}
_LANGUAGE = "language layer "
"""How tasks/compare_lessons.py calls the layers of the language model."""
SOURCE = "Laurençon et al., What matters when building vision-language models?, NeurIPS 2024, Table 3"


def comparison_html(found: Comparison, strip: Image.Image | None = None) -> str:
    """Both answers, what changed, how likely either side finds each word of the right answer, and where on `strip`."""
    same = found.left.text == found.right.text
    changed = '<p class="studio-hint">Both say the same.</p>' if same else diff_html(found.spans)
    left, right = found.left.label, found.right.label
    told = '<p class="studio-hint">In the ink alone, without word frequencies.</p>'
    reference = f"<h4>What stands there</h4><p>{escape(found.reference)}</p>" if found.reference else ""
    return (
        f'<div class="compare-sides">{_side(found.left)}{_side(found.right)}</div>{reference}'
        f"<h4>What changed</h4>{changed}"
        f"<h4>How likely each word is</h4>{told if found.part == 'reader' else ''}{words_html(found.words, left, right)}"
        f"{shift_html(strip, found.shifts, left, right, found.part) if strip is not None else ''}"
        f'<p class="studio-hint">Same input, prompt {escape(found.prompt_sha256[:12])}, seed {found.seed}. {_HOW[found.part]}</p>'
    )


def _side(side: Side) -> str:
    rates = ""
    if side.rates is not None:
        rates = f"<span>CER {side.rates.cer:.1%}, WER {side.rates.wer:.1%}</span>"
    signed = f' title="{escape(side.signed, quote=True)}"' if side.signed else ""
    return (
        f'<section class="compare-side"><h4{signed}>{escape(side.label)}</h4><p class="answer">{escape(side.text) or "&nbsp;"}</p>'
        f'<p class="about">{rates}<span>{side.seconds:.1f} s</span></p></section>'
    )


def words_html(words: Sequence[WordChance], left: str, right: str) -> str:
    """A bar for each side under each word; coloured where the sides differ."""
    if not words:
        return '<p class="studio-hint">Nothing was answered.</p>'
    items = []
    for number, word in enumerate(words):
        change = word.right - word.left
        kind = "up" if change > CHANGED else "down" if change < -CHANGED else ""
        title = f"{left}: {word.left:.1%}; {right}: {word.right:.1%}"
        items.append(
            f'<li class="{kind}" data-word="{number}" tabindex="0" title="{escape(title, quote=True)}">'
            f"<span>{escape(word.text)}</span>"
            f'<i style="width:{100 * word.left:.0f}%"></i><b style="width:{100 * word.right:.0f}%"></b>'
            f"<small>{100 * change:+.0f}</small></li>"
        )
    return (
        f'<ol class="chances" aria-label="Chance of each word">{"".join(items)}</ol>'
        f'<p class="studio-hint">Upper bar {escape(left)}, lower bar {escape(right)}; the number is the change in points.</p>'
    )


def lines_html(
    found: LinesComparison, pictures: Sequence[str], changes: Sequence[Sequence[tuple[str, str]]]
) -> str:
    """Every line both ways below its picture, and the confusions where a reference was given.

    `changes` are the spans of each line (tasks/scoring.py): what only one side wrote is marked there.
    """
    rows = "".join(
        f'<tr class="strip"><td colspan="2">{_picture(pictures, number)}{_reference(pair)}</td></tr>'
        f"<tr><td>{_said(spans, 'delete')}</td><td>{_said(spans, 'insert')}</td></tr>"
        for number, (pair, spans) in enumerate(zip(found.lines, changes, strict=True))
    )
    heads = "".join(f"<th>{escape(side.label)}{_rate(side)}</th>" for side in (found.left, found.right))
    changed = sum(any(kind != "equal" for kind, _ in spans) for spans in changes)
    told = f'<p class="studio-hint">{changed} of {len(changes)} lines are read differently.</p>'
    table = f'<table class="compare-table lines"><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>'
    return told + table + confusions_html(found.confusions, found.left.label, found.right.label, pictures)


def _reference(pair: LinePair) -> str:
    return f'<p class="studio-hint">stands there: {escape(pair.reference)}</p>' if pair.reference else ""


def _said(spans: Sequence[tuple[str, str]], own: str) -> str:
    """What a side wrote of a line; one that writes on and on takes no more room than the other."""
    parts = (
        f"<mark>{escape(text)}</mark>" if kind == own else escape(text)
        for kind, text in spans
        if kind in {"equal", own}
    )
    said = "".join(parts) or '<span class="studio-hint">nothing</span>'
    return f'<div class="said {own}">{said}</div>'


def _rate(side: Side) -> str:
    return f" · CER {side.rates.cer:.1%}" if side.rates is not None else ""


def confusions_html(
    found: Sequence[Confusion], left: str, right: str, pictures: Sequence[str] = (), most: int = 12
) -> str:
    if not found:
        return ""
    rows = "".join(
        f"<tr><td>{_letter(c.wanted)}</td><td>{_letter(c.read)}</td><td>{c.left}</td><td>{c.right}</td>"
        f"<td>{_pictures(c, pictures)}</td></tr>"
        for c in found[:most]
    )
    return (
        f"<h4>Letters that are mixed up</h4><table class='compare-table'><thead><tr><th>written</th><th>read as</th>"
        f"<th>{escape(left)}</th><th>{escape(right)}</th><th>where</th></tr></thead><tbody>{rows}</tbody></table>"
        '<p class="studio-hint">Of a line where a side writes something else altogether, no letters are counted.</p>'
    )


def _letter(letter: str) -> str:
    if not letter:
        return '<span class="studio-hint">nothing</span>'
    return "<code>space</code>" if letter == " " else f"<code>{escape(letter)}</code>"


def _pictures(confusion: Confusion, pictures: Sequence[str]) -> str:
    return "".join(_picture(pictures, number) for number in confusion.lines[:2])


def _picture(pictures: Sequence[str], number: int) -> str:
    """The picture of a line; nothing for what is no picture of ours."""
    if number >= len(pictures) or not pictures[number].startswith("data:image/"):
        return ""
    return f'<img src="{escape(pictures[number], quote=True)}" alt="line {number + 1}">'


def lessons_html(lessons: Sequence[Lesson], total_parameters: int) -> str:
    """How the shipped adapters learned: curves, what was trained, and how far each layer moved."""
    if not lessons:
        return '<p class="studio-hint">The shipped adapters of nano are not installed, so there is nothing of ours to show.</p>'
    titles = {
        "reading": "LoRA on language model and connector",
        "frozen": "frozen language model, connector alone",
    }
    # A side that goes on and on makes more errors than there are letters: the picture ends at all wrong.
    cer = [
        Series(
            titles.get(x.name, x.name),
            [(float(p.step), min(1.0, p.cer)) for p in x.points if p.cer is not None],
        )
        for x in lessons
    ]
    cut = ", cut at 100%" if any((p.cer or 0.0) > 1 for x in lessons for p in x.points) else ""
    loss = [
        Series(titles.get(x.name, x.name), [(float(p.step), p.loss) for p in x.points if p.loss is not None])
        for x in lessons
    ]
    rows = "".join(
        f"<tr><th>{escape(titles.get(x.name, x.name))}</th><td>{x.parameters / 1e6:.2f}M"
        f"{_share(x.parameters, total_parameters)}</td><td>{_last(x.last)}</td><td>{_last(x.shipped)}</td></tr>"
        for x in lessons
    )
    return (
        f'<table class="compare-table"><thead><tr><th>nano</th><th>trainable</th><th>letter errors at the end</th><th>as it ships</th></tr>'
        f"</thead><tbody>{rows}</tbody></table>"
        + '<div class="curve-pair">'
        + curves_svg(cer, f"Letter errors on held-out lines over the steps{cut}", lambda v: f"{100 * v:.0f}%")
        + curves_svg(loss, "Training loss over the steps", lambda v: f"{v:.1f}")
        + "</div>"
        + "".join(change_html(x.change, titles.get(x.name, x.name)) for x in lessons if x.change)
    )


def _share(parameters: int, total: int) -> str:
    return f" ({parameters / total:.1%})" if total else ""


def _last(rates: Mapping[str, float]) -> str:
    names = {"drawn_en": "English", "drawn_fr": "French", "copiste": "real French"}
    return escape(", ".join(f"{names.get(k, k)} {v:.0%}" for k, v in rates.items())) or "not measured"


def change_html(change: Mapping[str, float], title: str) -> str:
    """A bar for each layer: what the adapter adds, as a share of the layer's own weights (Frobenius norms).

    The connector and the language model each have a scale of their own: one began from nothing, the other did not.
    """
    layers = {name: value for name, value in change.items() if name.startswith(_LANGUAGE)}
    connector = {name: value for name, value in change.items() if name not in layers}
    lists = "".join(
        f'<p class="studio-hint">{told}</p>{_bars(part)}'
        for told, part in (("Connector", connector), ("Language model", layers))
        if part
    )
    missing = "What it learned of the connector is not shipped: that was of an earlier one."
    note = "" if connector else f'<p class="studio-hint">{missing}</p>'
    return f"<h4>How far each layer moved: {escape(title)}</h4>{lists}{note}" if lists else ""


def _bars(change: Mapping[str, float]) -> str:
    highest = max(change.values()) or 1.0
    bars = "".join(
        f'<li title="{escape(name, quote=True)}: {value:.2%}"><span>{escape(name)}</span>'
        f'<i style="width:{100 * value / highest:.0f}%"></i><small>{value:.2%}</small></li>'
        for name, value in change.items()
    )
    return f'<ol class="changes">{bars}</ol>'


def paper_html(holds: str) -> str:
    """The paper's table beside ours; `holds` says what of it holds here."""
    rows = "".join(
        f"<tr><th>{a}</th><td>{b}</td><td>{c}</td><td>{d}</td><td>{e}</td></tr>" for a, b, c, d, e in PAPER
    )
    return (
        "<table class='compare-table'><thead><tr><th>8B-class models</th><th>backbones</th><th>parameters</th>"
        f"<th>trainable</th><th>score</th></tr></thead><tbody>{rows}</tbody></table>"
        f'<p class="studio-hint">{escape(SOURCE)}: mean 4-shot score of VQAv2, TextVQA, OKVQA and COCO after 6,000 '
        "steps, without error bars; repeats of some runs differed by under a point.</p>"
        f"<p>{escape(holds)}</p>"
    )
