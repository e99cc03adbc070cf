"""Stands in for the package `spaces` on a ZeroGPU machine, with the rules that bite (read in spaces 0.51.3).

A decorated call runs in a forked process: arguments and results are pickled, changes are lost, an exception arrives as
the name of its class, `async` functions are refused, and closing a generator stops the work at its next value.
"""

from __future__ import annotations

import functools
import inspect
import json
import multiprocessing
import os
import pickle
import sys
from collections.abc import Callable, Iterator
from typing import Any

if "torch" in sys.modules and os.environ.get("FAKE_SPACES_STRICT"):
    raise RuntimeError("CUDA has been initialized before importing the `spaces` package.")

DECORATED: list[str] = []
DURATIONS: list[int] = []
_fork = multiprocessing.get_context("fork")


class GpuError(Exception):
    pass


def GPU(task: Callable[..., Any], duration: Callable[..., int]) -> Callable[..., Any]:
    if inspect.iscoroutinefunction(task):
        raise NotImplementedError
    DECORATED.append(task.__name__)

    def begin(args: Any, kwargs: Any) -> tuple[Any, Any]:
        DURATIONS.append(duration(*args, **kwargs))
        ours, theirs = _fork.Pipe()
        sent = pickle.dumps((args, kwargs))
        process = _fork.Process(target=_work, args=(task, sent, theirs, ours), daemon=True)
        process.start()
        theirs.close()
        return ours, process

    @functools.wraps(task)
    def generator(*args: Any, **kwargs: Any) -> Iterator[Any]:
        pipe, process = begin(args, kwargs)
        try:
            while True:
                kind, value = pickle.loads(pipe.recv_bytes())
                if kind == "end":
                    return
                if kind == "error":
                    raise GpuError(value)
                yield value
                pipe.send_bytes(b"more")
        finally:
            pipe.close()
            process.join(10)

    @functools.wraps(task)
    def plain(*args: Any, **kwargs: Any) -> Any:
        values = list(generator(*args, **kwargs))
        return values[0]

    return generator if inspect.isgeneratorfunction(task) else plain


def _work(task: Callable[..., Any], sent: bytes, pipe: Any, other: Any) -> None:
    other.close()
    args, kwargs = pickle.loads(sent)
    try:
        values = task(*args, **kwargs) if inspect.isgeneratorfunction(task) else iter([task(*args, **kwargs)])
        for value in values:
            pipe.send_bytes(pickle.dumps(("value", value)))
            pipe.recv_bytes()
        pipe.send_bytes(pickle.dumps(("end", None)))
    except EOFError:
        values.close()
        if "FAKE_SPACES_STOPPED" in os.environ:
            with open(os.environ["FAKE_SPACES_STOPPED"], "w") as file:
                json.dump("stopped", file)
    except Exception as error:
        pipe.send_bytes(pickle.dumps(("error", type(error).__name__)))
