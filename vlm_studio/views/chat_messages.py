"""A conversation as HTML: parts in their order, what an answer rests on, and what can be done with each message.

Buttons carry data-act; the page's script sends it with data-turn, data-number and data-place. All text is escaped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from vlm_studio.core.chat import ChatImage, ChatTurn, RestsOn, RunDetails
from vlm_studio.core.conversation import ImagePart, Part, TextPart
from vlm_studio.views.light_markdown import light_markdown

_HOW = {
    "model": "put into words by the language model",
    "quote": "found in what was read, word for word",
    "transcript": "all that was read",
    "highlights": "sentences of the text, unchanged",
    "cannot_see": "this model does not see pictures",
    "cannot_do": "this model cannot do that",
    "not_found": "nothing was found",
}
_STOPPED, _NOT_BEGUN = "Stopped here.", "Stopped before the first word."


def messages_html(turns: Sequence[ChatTurn], images: Sequence[ChatImage], pictures: Mapping[str, str]) -> str:
    """`pictures`: a data URI for the hash of each image that is shown."""
    known = {image.sha256: image for image in images}
    shown = "".join(
        _asked(turn, known, pictures) if turn.turn.role == "user" else _answer(turn) for turn in turns
    )
    return f'<div class="chat-turns" role="log" aria-label="Conversation">{shown}</div>'


def live_html(text: str, told: str) -> str:
    """The answer being written, and what is going on."""
    body = f'<div class="said">{light_markdown(text)}</div>' if text else ""
    status = f'<p class="told" role="status"><i class="pulse"></i>{escape(told)}</p>' if told else ""
    return f'<article class="turn answer live">{body}{status}</article>'


def unanswered_html(turn: ChatTurn) -> str:
    """Below a message whose answer was lost with the app."""
    return (
        '<article class="turn answer"><p class="told">The app ended before this was answered.</p>'
        f'<div class="tools">{_button("retry", "Answer it now", turn=turn.id)}</div></article>'
    )


def _asked(turn: ChatTurn, known: Mapping[str, ChatImage], pictures: Mapping[str, str]) -> str:
    parts = turn.turn.parts
    # Pictures in front of the words get a row of their own; others stand in the line.
    leading = next((i for i, part in enumerate(parts) if isinstance(part, TextPart)), len(parts))
    pieces = [_piece(part, known, pictures) for part in parts]
    if leading:
        pieces[:leading] = [f'<div class="row">{"".join(pieces[:leading])}</div>']
    tools = _versions(turn) + _button("edit", "Edit", turn=turn.id)
    return f'<article class="turn asked" data-turn="{escape(turn.id)}"><div class="parts">{"".join(pieces)}</div><div class="tools">{tools}</div></article>'


def _piece(part: Part, known: Mapping[str, ChatImage], pictures: Mapping[str, str]) -> str:
    if isinstance(part, TextPart):
        return f'<span class="words">{escape(part.text)}</span>'
    return _figure(part, known.get(part.image_sha256), pictures)


def _figure(part: ImagePart, image: ChatImage | None, pictures: Mapping[str, str]) -> str:
    number = image.number if image else 0
    label = escape(part.alt or f"image {number}")
    return (
        f'<button type="button" class="picture" data-act="view" data-number="{number}" title="{label}">'
        f'<img src="{pictures.get(part.image_sha256, "")}" alt="{label}"><span>{number}</span></button>'
    )


def _answer(turn: ChatTurn) -> str:
    run = turn.run
    rests = list(run.rests_on) if run else []
    pieces, quotes = [], 0
    for part in turn.turn.parts:
        if not isinstance(part, TextPart):
            continue
        if part.quoted:
            rest = rests[quotes] if quotes < len(rests) else None
            pieces.append(_quote(part.text, rest, turn.id, quotes))
            quotes += 1
        else:
            pieces.append(f'<div class="said">{light_markdown(part.text)}</div>')
    if run and run.how == "model" and rests:
        pieces.append(_based_on(rests))
    if turn.status == "stopped":
        pieces.append(f'<p class="told">{_STOPPED if turn.turn.parts else _NOT_BEGUN}</p>')
    notes = "".join(f'<p class="note">{escape(note)}</p>' for note in (run.notes if run else ()))
    tools = (
        _versions(turn)
        + f'<button type="button" data-act="copy" data-copy="{escape(turn.said or turn.turn.text)}">Copy</button>'
        + _button("retry", "Try again", turn=turn.id)
        + _button("evidence", "Evidence", turn=turn.id)
    )
    details = _details(turn, run) if run else ""
    how = f" how-{run.how}" if run else ""
    return (
        f'<article class="turn answer {turn.status}{how}">{"".join(pieces)}{notes}'
        f'<div class="tools">{tools}</div>{details}</article>'
    )


def _quote(text: str, rest: RestsOn | None, turn_id: str, place: int) -> str:
    source = ""
    if rest is not None:
        label = f"image {rest.number}" + (": show the place" if rest.box else "")
        source = (
            f'<button type="button" class="source" data-act="view" data-turn="{turn_id}" data-place="{place}" '
            f'data-number="{rest.number}">{label}</button>'
        )
    return f"<blockquote><div>{escape(text)}</div>{source}</blockquote>"


def _based_on(rests: Sequence[RestsOn]) -> str:
    numbers = ", ".join(str(rest.number) for rest in rests)
    quotes = "".join(f"<blockquote><div>{escape(rest.quote)}</div></blockquote>" for rest in rests)
    images = "image" if len(rests) == 1 else "images"
    return (
        f'<details class="rests"><summary>Rests on the text of {images} {numbers}</summary>{quotes}</details>'
    )


def _versions(turn: ChatTurn) -> str:
    """Arrows to walk the versions of a turn."""
    if len(turn.versions) < 2:
        return ""
    at = turn.version
    before = turn.versions[at - 1] if at > 0 else ""
    after = turn.versions[at + 1] if at + 1 < len(turn.versions) else ""
    return (
        '<span class="versions">'
        + _button("show", "‹", turn=before, label="Version before", off=not before)
        + f"<span>{at + 1} / {len(turn.versions)}</span>"
        + _button("show", "›", turn=after, label="Version after", off=not after)
        + "</span>"
    )


def _button(act: str, text: str, turn: str, label: str = "", off: bool = False) -> str:
    named = f' aria-label="{label}"' if label else ""
    return (
        f'<button type="button" data-act="{act}" data-turn="{escape(turn)}"{named}'
        f"{' disabled' if off else ''}>{text}</button>"
    )


def _details(turn: ChatTurn, run: RunDetails) -> str:
    """How it came about, folded away."""
    usage = run.usage
    rows = [("Answer", _HOW[run.how]), ("Model", run.model)]
    if run.variant.adapter:
        rows.append(("Adapter", f"{run.variant.adapter} × {run.variant.adapter_scale:g}"))
    if run.reader:
        rows.append(("Read by", f"{run.reader}, {_seconds(run.reading_ms)}"))
    if run.how == "model":
        rows += [
            ("Tokens", f"{usage.prompt_tokens} in, {usage.output_tokens} out"),
            ("Image tokens", f"{usage.image_tokens}, splitting {run.variant.splitting}"),
            ("Taken from the cache", f"{usage.cached_tokens} tokens" if usage.cached_tokens else "nothing"),
            ("First word after", _seconds(run.first_token_ms)),
            ("Seed, temperature", f"{run.params.seed}, {run.params.temperature:g}"),
        ]
    rows += [("Took", _seconds(run.total_ms)), ("Ended", run.finish_reason)]
    table = "".join(f"<dt>{name}</dt><dd>{escape(value)}</dd>" for name, value in rows)
    return f"<details class='details'><summary>{escape(_summary(run))}</summary><dl>{table}</dl></details>"


def _summary(run: RunDetails) -> str:
    parts = [run.model]
    if run.how == "model":
        parts.append(f"{run.usage.output_tokens} tokens")
    return " · ".join((*parts, _seconds(run.total_ms)))


def _seconds(milliseconds: float) -> str:
    return f"{milliseconds / 1000:.1f} s"
