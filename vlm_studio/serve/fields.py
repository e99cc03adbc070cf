"""Values of a JSON body, taken out one by one with a message that names the field that is wrong."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from vlm_studio.core.errors import InvalidRequest


def json_object(body: bytes) -> dict[str, Any]:
    """Raises InvalidRequest for anything but one JSON object with finite numbers."""
    try:
        value = json.loads(body, parse_constant=_not_a_number)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest("The body is not valid JSON.", "Send one JSON object.") from error
    if not isinstance(value, dict):
        raise InvalidRequest("The body is not a JSON object.", "Send one JSON object.")
    return value


def _not_a_number(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def wrong(field: str, wanted: str) -> InvalidRequest:
    return InvalidRequest(f"{field} is not right.", f"It has to be {wanted}.")


def text(values: Mapping[str, Any], name: str, default: str | None = None) -> str:
    """Raises InvalidRequest where it is missing (without default) or no string."""
    value = values.get(name)
    return whole_text(default if value is None else value, name)


def whole_text(value: Any, name: str) -> str:
    """`value`, a text of whole characters: JSON can hold half of one, which no model and no file can."""
    if not isinstance(value, str):
        raise wrong(name, "a text")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise wrong(name, "a text of whole characters") from error
    return value


def flag(values: Mapping[str, Any], name: str) -> bool:
    """False where it is missing."""
    value = values.get(name)
    if value is not None and not isinstance(value, bool):
        raise wrong(name, "true or false")
    return bool(value)


def whole(values: Mapping[str, Any], name: str, default: int, low: int, high: int) -> int:
    value = values.get(name)
    value = default if value is None else value
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise wrong(name, f"a whole number from {low} to {high}")
    return value


def number(values: Mapping[str, Any], name: str, default: float, low: float, high: float) -> float:
    value = values.get(name)
    value = default if value is None else value
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise wrong(name, f"a number from {low:g} to {high:g}")
    return float(value)
