"""Failures become messages, and Gradio still sees what a handler wants."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterator

import gradio as gr
import pytest

from vlm_studio.core.errors import UnsupportedFile
from vlm_studio.ui.guard import guarded


def handler(studio: object, text: str, request: gr.Request) -> str:
    if text == "bad":
        raise UnsupportedFile("This is not an image.", "Send a PNG.")
    return f"{studio}{1 // int(text)}"


def streaming(studio: object, text: str) -> Iterator[str]:
    yield text
    raise UnsupportedFile("This is not an image.", "Send a PNG.")


def test_leading_arguments_are_bound_and_hidden() -> None:
    fn = guarded(handler, "S")
    assert list(inspect.signature(fn).parameters) == ["text", "request"]
    assert inspect.signature(fn).parameters["request"].annotation is gr.Request
    assert fn("1", None) == "S1"


def test_an_endpoint_gives_back_what_its_handler_returns() -> None:
    def answer(studio: str, text: str) -> dict[str, str]:
        return {studio: text}

    with gr.Blocks(analytics_enabled=False) as demo:
        gr.api(guarded(answer, "S"), api_name="answer")
    (endpoint,) = (fn for fn in demo.fns.values() if fn.api_name == "answer")
    assert [type(c).__name__ for c in endpoint.inputs] == ["Api"] and len(endpoint.outputs) == 1


def test_a_studio_error_is_shown_with_its_hint() -> None:
    with pytest.raises(gr.Error, match=r"not an image\. Send a PNG"):
        guarded(handler, "S")("bad", None)


def test_other_errors_are_logged_whole_and_shown_without_detail(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR), pytest.raises(gr.Error) as shown:
        guarded(handler, "S")("0", None)
    assert "ZeroDivisionError" in caplog.text
    assert "Zero" not in str(shown.value)


def test_generators_stay_generators() -> None:
    fn = guarded(streaming, "S")
    assert inspect.isgeneratorfunction(fn)
    stream = fn("x")
    assert next(stream) == "x"
    with pytest.raises(gr.Error):
        next(stream)
