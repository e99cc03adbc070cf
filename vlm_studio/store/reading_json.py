"""Words, quads and warnings as JSON columns, and back. Reading raises ValueError, TypeError or KeyError
where the JSON is not what we write, which an import relies on.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from vlm_studio.core.documents import Alternative, Box, Line, LineReading, Point, WordReading


def words_json(words: Sequence[WordReading]) -> str:
    return json.dumps(
        [
            {
                "text": w.text,
                "confidence": round(w.confidence, 5),
                "box": w.box.as_list(2),
                **(
                    {"alternatives": [[a.text, round(a.probability, 5)] for a in w.alternatives]}
                    if w.alternatives
                    else {}
                ),
                **({"warning": w.warning} if w.warning else {}),
            }
            for w in words
        ],
        ensure_ascii=False,
    )


def words_of(text: str) -> tuple[WordReading, ...]:
    return tuple(
        WordReading(
            text=str(w["text"]),
            confidence=float(w["confidence"]),
            box=Box(*(float(v) for v in w["box"])),
            alternatives=tuple(Alternative(str(t), float(p)) for t, p in w.get("alternatives", ())),
            warning=str(w.get("warning", "")),
        )
        for w in json.loads(text)
    )


def strings_json(values: Sequence[str]) -> str:
    return json.dumps(list(values), ensure_ascii=False)


def strings_of(text: str) -> tuple[str, ...]:
    return tuple(str(v) for v in json.loads(text))


def quad_json(quad: tuple[Point, Point, Point, Point] | None) -> str | None:
    return None if quad is None else json.dumps([[round(x, 2), round(y, 2)] for x, y in quad])


def line_of(x0: float, y0: float, x1: float, y1: float, quad: str | None, column: int, skipped: int) -> Line:
    corners: Any = None
    if quad is not None:
        corners = tuple((float(x), float(y)) for x, y in json.loads(quad))
        if len(corners) != 4:
            raise ValueError("a quad has four corners")
    return Line(Box(x0, y0, x1, y1), corners, bool(skipped), int(column))


def reading_of(text: str, confidence: float, words: str, writer: str, warnings: str) -> LineReading:
    return LineReading(text, float(confidence), words_of(words), writer, strings_of(warnings))
