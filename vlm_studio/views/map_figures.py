"""How good the maps are: what benchmarks/maps.py measured, as a table for people."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from vlm_studio.views.crops import facts_html, how_to_html, note_html

NAMES = {
    "contrast": "Contrast", "rollout": "Rollout", "raw": "Raw attention", "gradient": "Gradient-weighted",
    "hidden": "Hidden states", "random": "a random map", "centre": "a blob in the middle",
}  # fmt: skip
HOW = (
    "Pages were drawn with words at known places, and the model read them. For every word that it read, each method made its "
    "map. Mass in the box: how much of the map's warmth lies on the word itself. Pointing: how often the hottest point lies on "
    "the word. Both are worth something only where they beat the random map and the blob in the middle."
)


def figures_html(found: Mapping[str, Any]) -> str:
    """`found` is benchmarks/results/maps.json as a value; empty: it was not run here."""
    if not found:
        return note_html("Nothing has been measured on this copy. Run: python benchmarks/maps.py")
    rows = [
        (
            NAMES.get(row["method"], row["method"]),
            (f"{row['mass_in_box']:.0%}", f"{row['pointing']:.0%}", _seconds(row.get("seconds"))),
        )
        for row in found["nano"]
    ]
    table = facts_html(rows, ("mass in the box", "pointing", "one click"))
    told = escape(found["conditions"])
    more = "".join(f"<li>{escape(line)}</li>" for line in found.get("notes", ()))
    return (
        how_to_html(HOW)
        + table
        + f'<p class="studio-hint">{told} Measured by <code>python benchmarks/maps.py</code>.</p>'
        f'<ul class="studio-hint">{more}</ul>'
    )


def _seconds(value: Any) -> str:
    return "-" if value is None else f"{value:.2f} s"
