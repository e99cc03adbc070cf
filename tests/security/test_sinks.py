"""Whatever text gets in, no view lets it become markup: every function of views that makes HTML is called with it."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil
import typing
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import vlm_studio.views
from vlm_studio.core.chat import ChatTurn
from vlm_studio.core.traces import HeatMap
from vlm_studio.views.adapt import StripRow
from vlm_studio.views.heat import Outline

PAYLOADS = (
    '<xss onerror="alert(1)"></xss>',
    '"><img src="http://evil.example/p.png" onerror=alert(1)>',
    "'><script>alert(1)</script>",
    "![x](http://evil.example/p.png) [y](javascript:alert(1)) <a href=javascript:alert(1)>z</a>",
    "${alert(1)} {{alert(1)}} <svg/onload=alert(1)>",
    "</textarea></title></style><iframe src=//evil.example>",
)
PICTURE = "data:image/png;base64,AAAA"
GRID = np.full((3, 4), 0.5, np.float32)
STEP = SimpleNamespace(title=PAYLOADS[0], tells=PAYLOADS[1], question=PAYLOADS[2])
OURS: dict[str, Any] = {
    "step": st.sampled_from([None, STEP]),
    # Made by this app, and said so in the signature: a data URI, or HTML of another view.
    "picture": st.sampled_from(["", PICTURE]),
    "pictures": None,
    "image_uri": st.just(PICTURE),
}
MADE_HERE = {
    # Ids are 26 letters and digits of ours, in imported sessions too.
    "id": st.just("01hzzzzzzzzzzzzzzzzzzzzzzz"),
    "picture": st.just(PICTURE),
    # A class of the style sheet.
    "kind": st.just("line"),
}
FORBIDDEN = {"script", "iframe", "object", "embed", "link", "meta", "base", "form", "xss", "svg/onload"}


def functions() -> Iterator[tuple[str, Callable[..., str]]]:
    for module in pkgutil.iter_modules(vlm_studio.views.__path__):
        loaded = importlib.import_module(f"vlm_studio.views.{module.name}")
        for name, function in inspect.getmembers(loaded, inspect.isfunction):
            if (
                function.__module__ == loaded.__name__
                and name.endswith(("_html", "_markdown", "_svg"))
                and not name.startswith("_")
            ):
                yield f"{module.name}.{name}", function


class Judge(HTMLParser):
    """Collects what a browser would act on."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in FORBIDDEN:
            self.found.append(f"<{tag}>")
        for name, value in attrs:
            bad = name.startswith("on") or name == "srcdoc"
            if name in {"src", "href", "action", "formaction", "poster", "data", "xlink:href"}:
                bad = bad or (not (value or "").startswith(("data:image/", "#")) and bool(value))
            if bad:
                self.found.append(f"<{tag} {name}={value!r}>")


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    """Every text that hypothesis makes is hostile in here."""
    st.register_type_strategy(str, st.sampled_from(PAYLOADS))
    st.register_type_strategy(Image.Image, st.just(Image.new("RGB", (40, 30), "white")))
    st.register_type_strategy(np.ndarray, st.just(GRID))
    st.register_type_strategy(float, st.floats(0, 1))
    st.register_type_strategy(int, st.integers(0, 30))
    st.register_type_strategy(
        HeatMap,
        st.builds(
            HeatMap,
            *[
                st.sampled_from(PAYLOADS),
                st.just(GRID),
                st.just(0.0),
                st.just(1.0),
                st.sampled_from(PAYLOADS),
            ],
        ),
    )
    for value in (ChatTurn, StripRow, Outline):
        known = {f.name: MADE_HERE[f.name] for f in dataclasses.fields(value) if f.name in MADE_HERE}
        st.register_type_strategy(value, st.builds(value, **known))
    yield
    for kind, plain in ((str, st.text()), (float, st.floats()), (int, st.integers())):
        st.register_type_strategy(kind, plain)


def arguments(function: Callable[..., str]) -> dict[str, Any]:
    hints = typing.get_type_hints(function)
    chosen = {}
    for name in inspect.signature(function).parameters:
        strategy = OURS.get(name)
        if name == "pictures" and "Mapping" in str(hints[name]):
            strategy = st.just(_Always())
        if name == "pictures" and "tuple[str, str]" in str(hints[name]):
            strategy = st.lists(st.tuples(st.just(PICTURE), st.sampled_from(PAYLOADS)), max_size=3)
        if "Any" in str(hints[name]):
            strategy = st.dictionaries(st.sampled_from(PAYLOADS), st.sampled_from(PAYLOADS), max_size=3)
        chosen[name] = strategy if strategy is not None else st.from_type(hints[name])
    return chosen


class _Always(dict[str, str]):
    """A picture for whatever hash."""

    def get(self, key: str, default: Any = None) -> Any:
        return PICTURE

    def __missing__(self, key: str) -> str:
        return PICTURE


@pytest.mark.parametrize("name", [name for name, _ in functions()])
def test_text_never_becomes_markup(name: str) -> None:
    function = dict(functions())[name]

    @settings(
        max_examples=30,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.fixed_dictionaries(arguments(function)))
    def judged(values: dict[str, Any]) -> None:
        try:
            made = function(**values)
        except (
            ValueError,
            IndexError,
            ZeroDivisionError,
            KeyError,
            TypeError,
            AttributeError,
            OverflowError,
        ):
            # Values that no caller has: boxes inside out, times that are none.
            return
        judge = Judge()
        judge.feed(made)
        assert judge.found == [], made[:400]

    judged()


def test_the_judge_sees_what_a_browser_would() -> None:
    for payload in PAYLOADS:
        judge = Judge()
        judge.feed(f"<p>{payload}</p>")
        assert judge.found, payload
