"""What runs on this machine, and what the embedded model was measured at, as tables for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from vlm_studio.views.crops import facts_html, note_html

SETS = {
    "drawn_en": "drawn in handwriting fonts, English",
    "drawn_fr": "drawn in handwriting fonts, French",
    "copiste": "real handwriting, French",
}
ABSENT = "The weights of idefics2-nano are not installed here."


def runs_html(rows: Sequence[tuple[str, str, str]]) -> str:
    """(what, what it is here, why) for each reader and model."""
    return facts_html([(name, (state, why)) for name, state, why in rows])


def card_html(card: Mapping[str, Any], data: Sequence[Mapping[str, str]]) -> str:
    """nano's card, and what it was trained on; empty where it does not ship."""
    if not card:
        return note_html(ABSENT)
    measured = card["measured"]
    rows = [
        (
            f"{SETS.get(name, name)} ({nano['lines']} lines)",
            [f"{row[rate]:.1%}" for rate in ("cer", "wer") for row in (measured["fast"][name], nano)],
        )
        for name, nano in measured["nano"].items()
    ]
    heads = (
        "letters wrong, fast",
        "letters wrong, nano",
        "words wrong, fast",
        "words wrong, nano",
    )
    sources = "".join(
        f"<li>{escape(source['name'])}, from {escape(source['from'])}. {escape(source['licence'])}</li>"
        for source in data
    )
    return (
        f"<p>{escape(card['summary'])} {card.get('parameters', 0) / 1e6:.0f} million parameters.</p>"
        + facts_html(rows, heads)
        + f'<p class="studio-hint">Measured on {escape(measured["conditions"])}.</p>'
        f"<details><summary>What it learned from, and the licences</summary>"
        f'<p>{escape(card["licence"])}</p><ul class="studio-hint">{sources}</ul></details>'
    )
