"""How the adapters that ship with nano were learned, how far each moved its layers, and what of the paper's table holds."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from vlm_studio.core.comparison import CurvePoint, Lesson

KNOWN_LESSONS = ("reading", "frozen")


def lessons(curves: Mapping[str, Any], changes: Mapping[str, Mapping[str, float]]) -> tuple[Lesson, ...]:
    """The shipped adapters' learning curves, from `assets/nano/curves.json`; what is not there is left out."""
    found = []
    stages = curves.get("stages", {})
    for name in KNOWN_LESSONS:
        rows = [row for row in stages.get(name, ()) if isinstance(row, dict)]
        if not rows:
            continue
        points = tuple(
            CurvePoint(int(row["step"]), row.get("loss"), _mean(row.get("cer")))
            for row in rows
            if "step" in row
        )
        last: dict[str, Any] = next(
            (row["cer"] for row in reversed(rows) if isinstance(row.get("cer"), dict)), {}
        )
        parameters = max((int(row.get("parameters", 0)) for row in rows), default=0)
        measured = curves.get("evaluation", {}).get(name, {})
        shipped = {kind: measured[kind]["cer"] for kind in last if "cer" in measured.get(kind, {})}
        found.append(Lesson(name, parameters, points, changes.get(name, {}), last, shipped))
    return tuple(found)


def by_layer(norms: Mapping[str, tuple[float, float]]) -> dict[str, float]:
    """Relative change of each part of the connector, then of each layer of the language model, in their order.

    `norms` has for each matrix that of what an adapter adds and that of its own weights. Those of a layer are taken
    together, as one long list of numbers: a matrix that was nearly empty before, as the last of the resampler's, would
    otherwise speak for all.
    """
    groups: dict[tuple[int, str], list[tuple[float, float]]] = defaultdict(list)
    for name, both in norms.items():
        layer = re.search(r"text_model\.layers\.(\d+)\.", name)
        part = re.search(r"connector\.(\w+)", name)
        key = (int(layer[1]), f"language layer {layer[1]}") if layer else (-1, part[1] if part else name)
        groups[key].append(both)
    return {
        name: math.hypot(*(added for added, _ in found)) / (math.hypot(*(own for _, own in found)) or 1.0)
        for (_, name), found in sorted(groups.items())
    }


def what_holds(found: Sequence[Lesson]) -> str:
    """What of the paper's table holds for the shipped pair, from their own figures."""
    ends = {lesson.name: _mean(lesson.last) for lesson in found}
    reading, frozen = ends.get("reading"), ends.get("frozen")
    if reading is None or frozen is None:
        return "Of nano there are no figures here yet, so whether this holds at 150M parameters is not said."
    sizes = {lesson.name: lesson.parameters for lesson in found}
    steps = {lesson.name: max(point.step for point in lesson.points) for lesson in found}
    if steps["reading"] == steps["frozen"]:
        training = "after the same lines and steps"
    else:
        training = (
            f"on the same lines in the same order, after {steps['reading']} steps and {steps['frozen']}"
        )
    more = sizes["reading"] / max(1, sizes["frozen"])
    if reading < frozen * 0.95:
        told = f"Here too the LoRA side ends ahead of its frozen twin: {reading:.1%} letter errors against {frozen:.1%}"
    elif frozen < reading * 0.95:
        told = f"Here it does not hold: the frozen twin ends with {frozen:.1%} letter errors, LoRA with {reading:.1%}"
    else:
        told = f"Here the two end about equal: {reading:.1%} letter errors with LoRA, {frozen:.1%} frozen"
    above = max(reading, frozen) > 1
    return (
        f"{told}, {training}, with {more:.0f} times as many trainable parameters. It is another task "
        "(one line of writing), another size and one run each, so it repeats the question of the paper, not its result."
        + (
            " A rate above 100% is of a side that writes on and on: more wrong letters than there are to read."
            if above
            else ""
        )
    )


def _mean(rates: Any) -> float | None:
    if not isinstance(rates, dict):
        return rates if isinstance(rates, float) else None
    values = [v for v in rates.values() if isinstance(v, (int, float))]
    return sum(values) / len(values) if values else None
