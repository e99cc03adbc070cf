"""An answer word by word: what was read, what was guessed, and whether a map is to be believed."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np
from PIL import Image

from vlm_studio.core.answers import TokenEvent
from vlm_studio.core.traces import Area, Honesty, WordSource
from vlm_studio.views.data_uri import data_uri

AREAS: dict[Area, str] = {
    "hot": "the hot area",
    "cold": "the coldest area",
    "random": "random places (mean of three)",
    "centre": "the middle",
    "blank": "everything",
}
_SOURCES = {
    "read": "read from the picture",
    "mixed": "partly read, partly guessed",
    "guessed": "guessed: as likely without the picture",
}


def words_html(
    words: Sequence[WordSource],
    question: Sequence[str],
    chosen: tuple[str, int] | None,
    factors: Sequence[float] = (),
) -> str:
    """Question and answer as buttons; data-of and data-word say which. `factors` are how far each word of the answer
    came from a marked region, 1 = chance: those above 1.5 are lit."""
    asked = "".join(
        _button("question", i, word, "asked", "a word of the question", chosen)
        for i, word in enumerate(question)
    )
    told = []
    for i, word in enumerate(words):
        title = (
            f"{word.with_image:.0%} sure with the picture, {word.without_image:.0%} with a blank one: "
            f"{_SOURCES[word.source]}"
        )
        kind: str = word.source
        if i < len(factors):
            title += f". {factors[i]:.1f} times chance from the region"
            kind += " from-region" if factors[i] > 1.5 else " not-region"
        told.append(_button("answer", i, word.text, kind, title, chosen))
    legend = "".join(f'<span class="{source}">{source}</span>' for source in ("read", "mixed", "guessed"))
    return (
        '<div class="inspect-words">'
        + (f'<p class="of">You asked</p><div class="words">{asked}</div>' if asked else "")
        + f'<p class="of">The model wrote <span class="legend">{legend}</span></p>'
        + f'<div class="words answer">{"".join(told) or "nothing"}</div></div>'
    )


def _button(of: str, number: int, word: str, kind: str, title: str, chosen: tuple[str, int] | None) -> str:
    pressed = "true" if chosen == (of, number) else "false"
    return (
        f'<button type="button" data-of="{of}" data-word="{number}" class="{kind}" aria-pressed="{pressed}" '
        f'title="{escape(title, quote=True)}">{escape(word)}</button>'
    )


def word_facts_html(word: WordSource, tokens: Sequence[TokenEvent]) -> str:
    """One word: how sure, with and without the picture, and what else it might have been."""
    rows = "".join(
        f'<div class="bar-row"><span>{name}</span><span class="bar"><i style="width:{100 * share:.0f}%"></i></span>'
        f"<b>{share:.0%}</b></div>"
        for name, share in (("with the picture", word.with_image), ("with blank paper", word.without_image))
    )
    first = tokens[word.first_token]
    others = [o.text.strip() for o in first.top if o.token_id != first.token_id and o.text.strip()][:4]
    instead = f'<p class="studio-hint">It might have begun: {escape(", ".join(others))}</p>' if others else ""
    return (
        f'<div class="word-facts"><p><b>{escape(word.text)}</b> was {escape(_SOURCES[word.source])}.</p>'
        f"{rows}{instead}</div>"
    )


def honesty_html(found: Honesty, word: str) -> str:
    """Bars of what hiding each area cost the word, and the verdict."""
    kind = "good" if found.better_than_random else "bad"
    areas: list[Area] = ["hot", "random", "centre", "cold", "blank"]
    drops = {area: found.drop_of(area) for area in areas}
    largest = max(0.2, *drops.values())
    rows = "".join(
        f'<div class="bar-row {area}"><span>{escape(AREAS[area])}</span><span class="bar">'
        f'<i style="width:{100 * max(0.0, drop) / largest:.0f}%"></i></span>'
        f"<b>{_left(drop)}</b></div>"
        for area, drop in drops.items()
    )
    curves = ""
    if found.deletion_auc is not None and found.insertion_auc is not None:
        curves = (
            '<p class="studio-hint">Taking the hottest away step by step leaves on average '
            f"{found.deletion_auc:.0%} of the word's probability (less is better); giving the hottest back first "
            f"brings {found.insertion_auc:.0%} (more is better).</p>"
        )
    return (
        f'<div class="honesty {kind}"><p class="verdict">{escape(found.verdict)}</p>'
        f'<p class="of">How much of the probability of “{escape(word)}” is left when this is hidden</p>{rows}{curves}</div>'
    )


def _left(drop: float) -> str:
    share = float(np.exp(-drop))
    return f"{share:.0%} left" if share < 1.995 else f"{share:.1f} times as likely"


def masked_html(pictures: Sequence[tuple[Image.Image, str]]) -> str:
    """What the model was shown in the test, side by side."""
    items = "".join(
        f'<figure><img alt="{escape(caption, quote=True)}" src="{data_uri(image, "JPEG")}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
        for image, caption in pictures
    )
    return f'<div class="masked">{items}</div>'
