"""Comparisons as JSON values, and back: for the database, files and the API.

Reading raises ValueError, TypeError, KeyError or AttributeError where the JSON is not what is written here, which an
import relies on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, get_args

from vlm_studio.core.chat_json import variant_of
from vlm_studio.core.comparison import (
    Comparison,
    Confusion,
    ErrorRates,
    LinePair,
    LinesComparison,
    Part,
    Side,
    WordChance,
    WordShift,
)

_SPANS = {"equal", "delete", "insert"}


def comparison_value(found: Comparison | LinesComparison) -> dict[str, Any]:
    """`kind` says which of the two it is: ``one`` line, or ``lines``."""
    return {"kind": "one" if isinstance(found, Comparison) else "lines", **asdict(found)}


def comparison_of(value: Mapping[str, Any]) -> Comparison | LinesComparison:
    part = value["part"]
    if part not in get_args(Part):
        raise ValueError(f"unknown part {part!r}")
    left, right = _side(value["left"]), _side(value["right"])
    if value["kind"] == "lines":
        return LinesComparison(
            left,
            right,
            tuple(LinePair(str(v["left"]), str(v["right"]), str(v["reference"])) for v in value["lines"]),
            tuple(map(_confusion, value["confusions"])),
            part,
        )
    return Comparison(
        prompt_sha256=str(value["prompt_sha256"]),
        seed=int(value["seed"]),
        left=left,
        right=right,
        spans=tuple(map(_span, value["spans"])),
        words=tuple(WordChance(str(v["text"]), float(v["left"]), float(v["right"])) for v in value["words"]),
        reference=str(value["reference"]),
        part=part,
        shifts=tuple(map(_shift, value["shifts"])),
    )


def _side(value: Mapping[str, Any]) -> Side:
    rates = value["rates"]
    return Side(
        str(value["label"]),
        variant_of(value["variant"]),
        str(value["text"]),
        float(value["seconds"]),
        int(value["tokens"]),
        None if rates is None else ErrorRates(float(rates["cer"]), float(rates["wer"])),
        str(value["signed"]),
    )


def _span(value: Any) -> tuple[str, str]:
    operation, text = value
    if operation not in _SPANS:
        raise ValueError(f"unknown operation {operation!r}")
    return operation, str(text)


def _shift(value: Mapping[str, Any]) -> WordShift:
    sides = [tuple(min(1.0, max(0.0, float(v))) for v in value[side]) for side in ("left", "right")]
    if len(sides[0]) != len(sides[1]):
        raise ValueError("maps of two widths")
    return WordShift(str(value["text"]), sides[0], sides[1])


def _confusion(value: Mapping[str, Any]) -> Confusion:
    return Confusion(
        str(value["wanted"]),
        str(value["read"]),
        int(value["left"]),
        int(value["right"]),
        tuple(int(line) for line in value["lines"]),
    )
