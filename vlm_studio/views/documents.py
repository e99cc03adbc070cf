"""Documents, questions and their proof as escaped HTML, and pages with the proof marked on them."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from PIL import Image, ImageDraw

from vlm_studio.core.asked import AskedTurn, KeptDocument
from vlm_studio.core.documents import Box

_MARK = (245, 190, 40)
_EDGE = (202, 107, 10)
_STATES = {
    "queued": "waiting",
    "running": "being taken in",
    "paused": "paused",
    "done": "",
    "failed": "failed",
    "cancelled": "stopped",
}
SAID_BY = "Put into a sentence by {}; the quotes are the proof."
NOTHING_YET = "Ask something above. Every answer shows the words of the page that it rests on."


def marked(page: Image.Image, boxes: Sequence[Box]) -> Image.Image:
    """`page` with each box (its pixels) marked as with a highlighter."""
    layer = Image.new("RGB", page.size, "white")
    pen = ImageDraw.Draw(layer)
    pad = max(2.0, 0.003 * page.width)
    grown = [(b.left - pad, b.top - pad, b.right + pad, b.bottom + pad) for b in boxes]
    for corners in grown:
        pen.rectangle(corners, fill=_MARK)
    inked = Image.composite(page, layer, page.convert("L").point(lambda grey: 255 if grey < 110 else 0))
    area = Image.new("L", page.size, 0)
    for corners in grown:
        ImageDraw.Draw(area).rectangle(corners, fill=150)
    shown = Image.composite(inked, page, area)
    for corners in grown:
        ImageDraw.Draw(shown).rectangle(corners, outline=_EDGE, width=max(1, round(page.width / 700)))
    return shown


def document_list_html(documents: Sequence[KeptDocument], chosen: Sequence[str], shown: str) -> str:
    """A row for each document: what it is, how far it is taken in, and what can be done with it.

    data-act and data-document say what was clicked; `chosen`: ids asked (empty: all), `shown`: the one looked at.
    """
    rows = "".join(_document(d, d.id in chosen, d.id == shown) for d in documents)
    return f'<ul class="document-list" aria-label="Documents">{rows}</ul>'


def _document(document: KeptDocument, chosen: bool, shown: bool) -> str:
    about = f"{document.pages} page" + ("" if document.pages == 1 else "s")
    if document.read:
        about += f", {document.read} read from their image"
    if document.state != "done":
        about += f" · {document.done} of {document.pages} {_STATES[document.state]}".rstrip()
    bar = ""
    if document.state != "done":
        percent = round(100 * document.done / max(1, document.pages))
        bar = (
            f'<span class="bar" role="progressbar" aria-valuenow="{percent}" aria-valuemin="0" aria-valuemax="100" '
            f'aria-label="Pages taken in"><i style="width:{percent}%"></i></span>'
        )
    problem = f'<p class="problem">{escape(document.message)}</p>' if document.message else ""
    actions = [("Pause", "pause"), ("Stop", "cancel")] if document.waiting else []
    if document.state in {"paused", "cancelled", "failed"}:
        actions.append(("Go on", "resume"))
    actions.append(("Remove", "remove"))
    buttons = "".join(
        f'<button type="button" data-act="{act}" data-document="{escape(document.id)}">{label}</button>'
        for label, act in actions
    )
    return (
        f'<li aria-current="{"true" if shown else "false"}"><label class="ask-this">'
        f'<input type="checkbox" data-act="choose" data-document="{escape(document.id)}"'
        f'{" checked" if chosen else ""} aria-label="Ask only this document: {escape(document.name)}"></label>'
        f'<button type="button" class="open" data-act="open" data-document="{escape(document.id)}">'
        f"<b>{escape(document.name)}</b><span>{escape(about)}</span></button>"
        f'<span class="actions">{buttons}</span>{bar}{problem}</li>'
    )


def turns_html(turns: Sequence[AskedTurn], chosen: tuple[str, int]) -> str:
    """Questions with their answers, the newest first; `chosen`: turn id and number of the citation shown."""
    if not turns:
        return f'<p class="studio-empty">{escape(NOTHING_YET)}</p>'
    return '<div class="asked">' + "".join(_turn(turn, chosen) for turn in reversed(turns)) + "</div>"


def _turn(turn: AskedTurn, chosen: tuple[str, int]) -> str:
    asked_as = ""
    if turn.asked_as != turn.question:
        asked_as = f'<p class="about">Understood as: {escape(turn.asked_as)}</p>'
    scope = []
    if turn.documents:
        scope.append("one document" if len(turn.documents) == 1 else f"{len(turn.documents)} documents")
    if turn.pages:
        scope.append(f"pages {turn.pages}")
    if scope:
        asked_as += f'<p class="about">Asked of {escape(", ".join(scope))}.</p>'
    body = _said(turn, chosen) if turn.answer.found else _unsaid(turn)
    if turn.said_by is not None:
        asked_as += f'<p class="about">{escape(SAID_BY.format(turn.said_by.model_id))}</p>'
    if turn.note:
        asked_as += f'<p class="about">{escape(turn.note)}</p>'
    return (
        f'<article data-turn="{escape(turn.id)}"><h4>{escape(turn.question)}</h4>{asked_as}{body}'
        f'<p class="about">{turn.answer.seconds:.2f} s · <button type="button" data-act="stances" '
        f'data-turn="{escape(turn.id)}">Which pages agree?</button></p></article>'
    )


def _said(turn: AskedTurn, chosen: tuple[str, int]) -> str:
    """The words asked for, then each quote with its place."""
    first = turn.answer.citations[0]
    lead = turn.answer.text
    if lead.endswith(f"({first.quote})"):
        # The quote stands right below, so it is not said twice.
        lead = lead.removesuffix(f"({first.quote})").strip()
    if lead.endswith(f": {first.quote}"):
        lead = lead.removesuffix(f": {first.quote}")
    head = f'<p class="lead">{escape(lead)}</p>' if lead != first.quote else ""
    quotes = "".join(
        f'<button type="button" class="quote" data-act="cite" data-turn="{escape(turn.id)}" data-citation="{number}" '
        f'aria-pressed="{"true" if chosen == (turn.id, number) else "false"}"><q>{_emphasised(c.quote, lead)}</q>'
        f"<span>{escape(c.document)}, page {c.page_index + 1}</span></button>"
        for number, c in enumerate(turn.answer.citations)
    )
    return head + quotes


def _emphasised(quote: str, lead: str) -> str:
    place = quote.find(lead)
    if not lead or place < 0 or lead == quote:
        return escape(quote)
    return f"{escape(quote[:place])}<mark>{escape(lead)}</mark>{escape(quote[place + len(lead) :])}"


def _unsaid(turn: AskedTurn) -> str:
    return (
        f'<p class="lead unsaid">{escape(turn.answer.text)}</p><p class="about">{escape(turn.answer.why)}</p>'
    )


def stances_html(rows: Sequence[tuple[str, int, str, str]], silent: int) -> str:
    """(document, 1-based page, agrees or differs, its words) of the pages that speak, and how many are silent."""
    if not rows:
        return '<p class="studio-hint">No page speaks to this question.</p>'
    body = "".join(
        f'<tr class="{escape(stance)}"><td>{escape(document)}</td><td>{page}</td><td>{escape(stance)}</td>'
        f"<td>{escape(says)}</td></tr>"
        for document, page, stance, says in rows
    )
    quiet = (
        f'<p class="studio-hint">{silent} other page{"" if silent == 1 else "s"} say nothing about it.</p>'
    )
    return (
        '<table class="stances"><thead><tr><th>Document</th><th>Page</th><th></th><th>Says</th></tr></thead>'
        f"<tbody>{body}</tbody></table>{quiet if silent else ''}"
    )


def each_html(rows: Sequence[tuple[str, str, str, str]]) -> str:
    """(document, answer, page, quote) for each document that the same was asked of."""
    body = "".join(
        f"<tr><td>{escape(document)}</td><td>{escape(answer)}</td><td>{escape(page)}</td><td>{escape(quote)}</td></tr>"
        for document, answer, page, quote in rows
    )
    return (
        '<table class="stances"><thead><tr><th>Document</th><th>Answer</th><th>Page</th><th>Quote</th></tr></thead>'
        f"<tbody>{body}</tbody></table>"
    )
