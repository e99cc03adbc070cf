"""Parts and run details of a conversation as JSON values, and back: for the database, files and the API.

Reading raises ValueError, TypeError, KeyError or AttributeError where the JSON is not what is written here,
which an import relies on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, get_args

from vlm_studio.core.answers import FinishReason, TokenEvent, TopToken, Usage
from vlm_studio.core.chat import How, ImageText, RestsOn, RunDetails, TextLine
from vlm_studio.core.conversation import GenParams, ImagePart, Part, Precision, Splitting, TextPart, Variant
from vlm_studio.core.documents import Box, Word

_DIGITS = 4


def part_value(part: Part) -> dict[str, Any]:
    if isinstance(part, TextPart):
        return {"text": part.text, **({"quoted": True} if part.quoted else {})}
    value = {"image_sha256": part.image_sha256, "alt": part.alt}
    return {**value, **({"crop_of": part.crop_of} if part.crop_of else {})}


def part_of(value: Mapping[str, Any]) -> Part:
    if "text" in value:
        return TextPart(str(value["text"]), bool(value.get("quoted", False)))
    crop_of = value.get("crop_of")
    return ImagePart(
        str(value["image_sha256"]), str(value.get("alt", "")), None if crop_of is None else str(crop_of)
    )


def text_value(read: ImageText) -> dict[str, Any]:
    lines = [
        {
            "text": line.text, "confidence": round(line.confidence, _DIGITS), "box": line.box.as_list(),
            "words": [[word.text, *word.box.as_list()] for word in line.words],
        }
        for line in read.lines
    ]  # fmt: skip
    return {"reader": read.reader, "lines": lines}


def text_of(value: Mapping[str, Any]) -> ImageText:
    lines = (
        TextLine(
            str(v["text"]),
            float(v["confidence"]),
            _box(v["box"]),
            tuple(Word(str(word[0]), _box(word[1:])) for word in v.get("words", ())),
        )
        for v in value["lines"]
    )
    return ImageText(str(value["reader"]), tuple(lines))


def run_value(run: RunDetails, tokens: bool = True) -> dict[str, Any]:
    """All of it; the tokens with their probabilities only where asked for: they are most of the size."""
    value = {
        "how": run.how, "model": run.model, "reader": run.reader, "system": run.system,
        "variant": asdict(run.variant), "params": asdict(run.params), "usage": asdict(run.usage),
        "first_token_ms": round(run.first_token_ms, 1), "total_ms": round(run.total_ms, 1),
        "reading_ms": round(run.reading_ms, 1), "finish_reason": run.finish_reason,
        "rests_on": [
            {"image": r.number, "quote": r.quote, "box": r.box.as_list() if r.box else None}
            for r in run.rests_on
        ],
        "notes": list(run.notes),
    }  # fmt: skip
    return {**value, **({"tokens": [_token_value(t) for t in run.tokens]} if tokens else {})}


def run_of(value: Mapping[str, Any]) -> RunDetails:
    how, reason = value["how"], value["finish_reason"]
    if how not in get_args(How) or reason not in get_args(FinishReason):
        raise ValueError(f"unknown kind of answer {how!r}, {reason!r}")
    return RunDetails(
        how=how,
        model=str(value["model"]),
        reader=str(value["reader"]),
        system=str(value["system"]),
        variant=variant_of(value["variant"]),
        params=params_of(value["params"]),
        usage=Usage(**{str(k): int(v) for k, v in value["usage"].items()}),
        first_token_ms=float(value["first_token_ms"]),
        total_ms=float(value["total_ms"]),
        reading_ms=float(value["reading_ms"]),
        finish_reason=reason,
        rests_on=tuple(
            RestsOn(int(r["image"]), str(r["quote"]), None if r["box"] is None else _box(r["box"]))
            for r in value["rests_on"]
        ),
        notes=tuple(str(note) for note in value["notes"]),
        tokens=tuple(_token_of(t) for t in value.get("tokens", ())),
    )


def variant_of(value: Mapping[str, Any]) -> Variant:
    precision, splitting, adapter = value["precision"], value["splitting"], value["adapter"]
    if precision not in get_args(Precision) or splitting not in get_args(Splitting):
        raise ValueError(f"unknown precision {precision!r} or splitting {splitting!r}")
    return Variant(
        model_id=str(value["model_id"]),
        precision=precision,
        adapter=None if adapter is None else str(adapter),
        adapter_scale=float(value["adapter_scale"]),
        splitting=splitting,
    )


def params_of(value: Mapping[str, Any]) -> GenParams:
    return GenParams(
        max_new_tokens=int(value["max_new_tokens"]),
        temperature=float(value["temperature"]),
        top_p=float(value["top_p"]),
        repetition_penalty=float(value["repetition_penalty"]),
        seed=int(value["seed"]),
    )


def _box(value: Any) -> Box:
    left, top, right, bottom = (float(v) for v in value)
    return Box(left, top, right, bottom)


def _token_value(token: TokenEvent) -> list[Any]:
    top = [[t.text, t.token_id, round(t.logprob, _DIGITS)] for t in token.top]
    return [token.text, token.token_id, round(token.logprob, _DIGITS), top]


def _token_of(value: Any) -> TokenEvent:
    text, token_id, logprob, top = value
    return TokenEvent(
        str(text), int(token_id), float(logprob), tuple(TopToken(str(t), int(i), float(p)) for t, i, p in top)
    )
