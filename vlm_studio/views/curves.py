"""Lines over steps as a small SVG: learning curves. Everything is escaped; colours follow the page's theme."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 520, 200
LEFT, RIGHT, TOP, BOTTOM = 60, 10, 12, 28


@dataclass(frozen=True, slots=True)
class Series:
    """A named line of (x, y) points; drawn in the order given."""

    name: str
    points: Sequence[tuple[float, float]]


def curves_svg(
    series: Sequence[Series],
    label: str,
    value: Callable[[float], str],
    x_label: str = "steps",
    until: float = 0.0,
) -> str:
    """`value` writes a y value (the axis begins at 0); `label` says what the picture shows, for those who cannot see it.

    The x axis ends at `until`, or where the points go beyond it.
    """
    drawn = [line for line in series if line.points]
    if not drawn:
        return ""
    right = max(until, *(x for line in drawn for x, _ in line.points)) or 1.0
    high = max(y for line in drawn for _, y in line.points) * 1.08 or 1.0

    def at(x: float, y: float) -> tuple[float, float]:
        return (
            LEFT + x / right * (WIDTH - LEFT - RIGHT),
            TOP + (1 - y / high) * (HEIGHT - TOP - BOTTOM),
        )

    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label, quote=True)}">']
    for share in (0.0, 0.5, 1.0):
        _, y = at(0, share * high / 1.08)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(
            f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{escape(value(share * high / 1.08))}</text>'
        )
    parts.append(f'<text x="{LEFT}" y="{HEIGHT - 8}">0</text>')
    parts.append(
        f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 8}" text-anchor="end">{right:g} {escape(x_label)}</text>'
    )
    for number, line in enumerate(drawn):
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (at(*point) for point in line.points))
        parts.append(f'<polyline class="line l{number % 4}" points="{path}"/>')
        for point in line.points:
            x, y = at(*point)
            told = f"{line.name}: {value(point[1])} at {point[0]:g}"
            parts.append(
                f'<circle class="l{number % 4}" cx="{x:.1f}" cy="{y:.1f}" r="3"><title>{escape(told)}</title></circle>'
            )
    parts.append("</svg>")
    keys = "".join(f'<span class="key l{n % 4}">{escape(line.name)}</span>' for n, line in enumerate(drawn))
    return f'<figure class="curves"><p class="studio-hint">{escape(label)}</p>{"".join(parts)}<figcaption>{keys}</figcaption></figure>'
