"""The model that answers and how it is fed: what can be chosen, and what a choice means, in a few words."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

SPLITTINGS = (
    ("Auto: pages yes, photos no", "auto"),
    ("Always: small writing", "on"),
    ("Never: quicker", "off"),
)
"""(label, value) of image splitting."""


def model_html(told: str, numbers: Sequence[int], costs: Sequence[int], what: str = "image") -> str:
    """`told` about the model; `costs` in tokens of the images with these `numbers`, empty where it gets none of them.

    `what` the numbers count.
    """
    cost = ""
    if numbers and costs:
        each = ", ".join(f"{escape(what)} {n}: {c}" for n, c in zip(numbers, costs, strict=True))
        cost = f" <b>{sum(costs)} image tokens</b> ({each})."
    elif numbers:
        cost = " It gets the text that is read on them, so images cost no tokens of their own."
    return f'<p class="studio-hint">{escape(told)}{cost}</p>'
