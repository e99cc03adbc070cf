"""The one place where failures become what a person sees; the log always has the whole of them."""

from __future__ import annotations

import functools
import inspect
import logging
import typing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import gradio as gr

from vlm_studio.core.errors import Cancelled, StudioError

log = logging.getLogger(__name__)


@contextmanager
def _shown() -> Iterator[None]:
    try:
        yield
    except gr.Error:
        raise
    except Cancelled as failure:
        log.info("cancelled: %s", failure)
    except StudioError as failure:
        log.info("%s", failure, exc_info=failure)
        raise gr.Error(str(failure), title="That did not work", print_exception=False) from failure
    except Exception as failure:
        log.exception("a handler failed")
        raise gr.Error(
            "Something went wrong inside the app. What you made is kept; the log has the details.",
            title="A fault of ours",
            print_exception=False,
        ) from failure


def guarded(handler: Callable[..., Any], *leading: Any) -> Callable[..., Any]:
    """`handler` with its first arguments given, and every failure turned into a message.

    Handlers stay plain functions over plain values (tests call them directly); Gradio sees the
    remaining parameters with their types, so `gr.Request` and `gr.Progress` arrive as usual.
    """

    @functools.wraps(handler)
    def plain(*args: Any, **kwargs: Any) -> Any:
        with _shown():
            return handler(*leading, *args, **kwargs)

    @functools.wraps(handler)
    def stream(*args: Any, **kwargs: Any) -> Iterator[Any]:
        with _shown():
            yield from handler(*leading, *args, **kwargs)

    wrapped: Any = stream if inspect.isgeneratorfunction(handler) else plain
    signature = inspect.signature(handler)
    hints = typing.get_type_hints(handler)
    rest = [
        p.replace(annotation=hints.get(p.name, p.annotation))
        for p in list(signature.parameters.values())[len(leading) :]
    ]
    del wrapped.__wrapped__
    # Gradio names an event after its function; a named endpoint of the same name would have to take another.
    wrapped.__name__ = f"on_{handler.__name__}"
    # `gr.api` gives back nothing where it sees no type for it.
    returns = hints.get("return", inspect.Signature.empty)
    wrapped.__signature__ = signature.replace(parameters=rest, return_annotation=returns)
    wrapped.__annotations__ = {p.name: p.annotation for p in rest if p.annotation is not p.empty}
    return typing.cast("Callable[..., Any]", wrapped)
