"""An engine on a server is the same engine: words, probabilities, traces, Stop, and faults on the way."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing

import httpx
import numpy as np
import pytest
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from PIL import Image

from tests.serve.conftest import Running
from tests.serve.scripted import CARD, ScriptedEngine, ScriptedTracer
from vlm_studio.core.answers import Answer, DoneEvent, StatusEvent, TokenEvent
from vlm_studio.core.cancel import CancelToken
from vlm_studio.core.conversation import Ask, GenParams, ImagePart, TextPart, Turn, Variant
from vlm_studio.core.documents import Box
from vlm_studio.core.errors import GenerationFailed, InvalidRequest, ModelUnavailable, TraceUnavailable
from vlm_studio.core.traces import Crop, PooledTokens, Trace
from vlm_studio.model.remote import RemoteEngine
from vlm_studio.model.trace_wire import trace_from_json, trace_to_json
from vlm_studio.serve.service import Service

Serve = Callable[..., str]
KEY = "0123456789abcdef"
ASK = Ask(
    (
        Turn("system", (TextPart("Be short."),)),
        Turn("user", (TextPart("What"), ImagePart("a"), TextPart("page text", quoted=True), ImagePart("b"))),
    ),
    Variant(adapter="reading", adapter_scale=0.5),
    GenParams(max_new_tokens=4, temperature=0.5, top_p=0.9, repetition_penalty=1.1, seed=3),
    "talk",
)
IMAGES = {"a": Image.new("RGB", (5, 4), "red"), "b": Image.new("RGB", (6, 4), "blue")}
PLAIN = Ask((Turn("user", (TextPart("Read."),)),))


def answer(engine: RemoteEngine, ask: Ask = PLAIN, images: dict[str, Image.Image] | None = None) -> Answer:
    *events, done = list(engine.stream(ask, images or {}, CancelToken()))
    assert isinstance(done, DoneEvent)
    assert tuple(e for e in events if isinstance(e, TokenEvent)) == done.answer.tokens
    return done.answer


def test_it_says_what_the_engine_behind_it_says(
    serve: Serve, service: Service, engine: ScriptedEngine
) -> None:
    remote = RemoteEngine(f"{serve(service, f'ann:{KEY}')}/v1", KEY)
    got, here = answer(remote, ASK, images=IMAGES), engine.asks[0]
    *_, wanted = ScriptedEngine().stream(ASK, IMAGES, CancelToken())
    assert isinstance(wanted, DoneEvent)
    assert (got.text, got.tokens, got.usage, got.notes) == (
        wanted.answer.text, wanted.answer.tokens, wanted.answer.usage, wanted.answer.notes,
    )  # fmt: skip
    assert remote.card == CARD
    assert (
        here.params == ASK.params and here.variant.adapter == "reading" and here.variant.adapter_scale == 0.5
    )
    assert here.conversation_id == "ann/talk"
    parts = here.turns[1].parts
    assert [isinstance(p, ImagePart) for p in parts] == [False, True, False, True] and parts[2] == ASK.turns[
        1
    ].parts[2]
    seen = [engine.images[0][p.image_sha256].getpixel((1, 1)) for p in parts if isinstance(p, ImagePart)]
    assert seen == [(255, 0, 0), (0, 0, 255)]


def test_forced_probabilities_come_back(serve: Serve, service: Service) -> None:
    found = RemoteEngine(f"{serve(service)}/v1").logprobs(PLAIN, {}, [3, 5])
    assert np.allclose(found, [-0.3, -0.5])


def trace() -> Trace:
    crop = Crop("a" * 64, 0, "strip", Box(0, 1.5, 30, 48), (1, 4), (1, 6), (2, 5), (48, 320), (48, 8))
    rng = np.random.default_rng(0)
    pooled = PooledTokens(rng.random((1, 3, 3)).astype(np.float16), (1.5,), (("a", "<b>", ""),))
    half = rng.random((1, 2, 3, 6)).astype(np.float16)
    return Trace(
        half,
        half[0],
        (0, 3),
        (crop,),
        ("The",),
        (-0.1,),
        "scripted",
        None,
        perceiver_latents=half,
        pooled=pooled,
    )


def test_what_it_looked_at_comes_back(serve: Serve, service: Service) -> None:
    tracer = service.tracer = ScriptedTracer(trace())
    remote = RemoteEngine(f"{serve(service)}/v1")
    got = remote.trace(ASK, IMAGES, [5, 6])
    assert got.crops == trace().crops and got.pooled is not None
    for name in ("perceiver", "decoder", "perceiver_latents"):
        sent, came = getattr(tracer.kept, name), getattr(got, name)
        assert came.dtype == sent.dtype and np.array_equal(came, sent)
    assert got.pooled.says == trace().pooled.says  # type: ignore[union-attr]
    remote.gradients(ASK, IMAGES, [5, 6], [1])
    assert tracer.asked == [((5, 6), None), ((5, 6), (1,))]
    with pytest.raises(InvalidRequest):
        remote.gradients(ASK, IMAGES, [5, 6], [2])
    service.tracer = None
    with pytest.raises(TraceUnavailable):
        remote.trace(ASK, IMAGES, [5, 6])


def test_strips_are_read_in_order_and_in_batches(serve: Serve, service: Service) -> None:
    strips = [Image.new("L", (8 + n, 6)) for n in range(40)]
    found = list(RemoteEngine(f"{serve(service)}/v1").read(strips, CancelToken(), Variant(adapter="reading")))
    assert [r.text for r in found] == [f"reading {8 + n}" for n in range(40)]
    assert found[0].warnings == ("faint",) and found[0].confidence == 0.5


@pytest.mark.parametrize(
    "damage",
    [{"version": 99}, {"crops": [{}]}, {"decoder": {"dtype": "object", "shape": [1], "data": ""}},
     {"decoder": {"dtype": "float16", "shape": [10**9, 10**9], "data": ""}},
     {"decoder": {"dtype": "float16", "shape": [7], "data": "AAAA"}}, {"layer_ids": None}],
)  # fmt: skip
def test_a_damaged_trace_is_refused(damage: dict[str, object]) -> None:
    with pytest.raises(TraceUnavailable):
        trace_from_json(trace_to_json(trace()) | damage)


def test_stop_answers_at_once_and_stops_the_server(
    serve: Serve, service: Service, engine: ScriptedEngine
) -> None:
    engine.gate, cancel = threading.Semaphore(2), CancelToken()
    events = RemoteEngine(f"{serve(service)}/v1").stream(PLAIN, {}, cancel)
    got: list[object] = []
    for event in events:
        got.append(event)
        if sum(isinstance(e, TokenEvent) for e in got) == 2:
            cancel.cancel()
    assert isinstance(got[-1], DoneEvent) and got[-1].answer.finish_reason == "cancelled"
    assert got[-1].answer.text.startswith("The cat ")
    assert engine.stopped.wait(30)


def test_errors_are_said_in_our_words(serve: Serve, service: Service, engine: ScriptedEngine) -> None:
    with pytest.raises(InvalidRequest, match="address"):
        RemoteEngine("/etc/passwd")
    url = serve(service, f"ann:{KEY}")
    with pytest.raises(ModelUnavailable, match="API key"):
        answer(RemoteEngine(f"{url}/v1", "wrong"))
    with pytest.raises(ModelUnavailable, match="no model 'x'"):
        answer(RemoteEngine(f"{url}/v1#x", KEY))
    engine.fails = GenerationFailed("The model failed.", "Try again.")
    with pytest.raises(GenerationFailed, match="The model failed"):
        answer(RemoteEngine(f"{url}/v1", KEY))
    with pytest.raises(ModelUnavailable, match="does not answer"):
        RemoteEngine("http://127.0.0.1:9/v1").card  # noqa: B018


class Flaky:
    """Passes requests on to a Service's API, and breaks the first `breaks` streams after some bytes."""

    def __init__(self, url: str, breaks: int, after: int) -> None:
        self.app = FastAPI()
        self.left, self.tries = breaks, 0

        @self.app.get("/v1/models")
        def models() -> Response:
            return JSONResponse(httpx.get(f"{url}/v1/models").json())

        @self.app.post("/v1/chat/completions")
        async def chat(request: Request) -> Response:
            body, headers = await request.body(), {"Idempotency-Key": request.headers["idempotency-key"]}
            self.tries += 1
            kind = {"Content-Type": "application/json"}
            async with httpx.AsyncClient() as client:
                whole = (
                    await client.post(f"{url}/v1/chat/completions", content=body, headers=headers | kind)
                ).content
            cut = self.left > 0
            self.left -= 1
            pieces = iter([whole[:after]] if cut else [whole])
            return StreamingResponse(pieces, media_type="text/event-stream")


def test_a_stream_that_breaks_goes_on_without_a_word_twice(
    serve: Serve, service: Service, engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vlm_studio.model.remote._pause", lambda seconds, cancel: None)
    flaky = Flaky(serve(service), breaks=2, after=900)
    running = Running(flaky.app)
    try:
        events = list(RemoteEngine(f"{running.url}/v1").stream(PLAIN, {}, CancelToken()))
    finally:
        running.stop()
    assert [e.text for e in events if isinstance(e, TokenEvent)] == ["The ", "cat ", "sat", "."]
    assert any(isinstance(e, StatusEvent) and "Trying again" in e.message for e in events)
    assert flaky.tries == 3 and len(engine.asks) == 1


def test_a_replica_that_dies_under_a_look_is_asked_again(
    serve: Serve, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vlm_studio.model.remote._pause", lambda seconds, cancel: None)
    url, proxy, seen = serve(service), FastAPI(), list[str | None]()

    @proxy.get("/v1/models")
    def models() -> Response:
        return JSONResponse(httpx.get(f"{url}/v1/models").json())

    @proxy.post("/v1/logprobs")
    async def logprobs(request: Request) -> Response:
        seen.append(request.headers.get("serve_multiplexed_model_id"))
        if len(seen) == 1:
            return Response("Internal Server Error", 500)
        async with httpx.AsyncClient() as client:
            kind = {"Content-Type": "application/json"}
            got = await client.post(f"{url}/v1/logprobs", content=await request.body(), headers=kind)
            return JSONResponse(got.json())

    running = Running(proxy)
    try:
        found = RemoteEngine(f"{running.url}/v1").logprobs(ASK, IMAGES, [3])
    finally:
        running.stop()
    assert np.allclose(found, [-0.3]) and seen == ["reading", "reading"]


def foreign(lines: list[str]) -> FastAPI:
    """A server that knows nothing of ours: no card, no log-probabilities."""
    app = FastAPI()

    @app.get("/v1/models")
    def models() -> dict[str, object]:
        return {"object": "list", "data": [{"id": "llava", "object": "model"}]}

    @app.post("/v1/chat/completions")
    def chat() -> Response:
        return StreamingResponse(iter(lines), media_type="text/event-stream")

    return app


@pytest.fixture
def other() -> Iterator[Callable[..., RemoteEngine]]:
    running: list[Running] = []

    def start(*lines: str) -> RemoteEngine:
        running.append(Running(foreign([f"{line}\n\n" for line in lines])))
        return RemoteEngine(f"{running[-1].url}/v1")

    yield start
    for one in running:
        one.stop()


def test_any_server_of_the_api_will_do(other: Callable[..., RemoteEngine]) -> None:
    engine = other(
        'data: {"choices":[{"index":0,"delta":{"role":"assistant"}}]}',
        'data: {"choices":[{"index":0,"delta":{"content":"A "}}]}',
        'data: {"choices":[{"index":0,"delta":{"content":"cat"},"finish_reason":"length"}]}',
        'data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":2}}',
        "data: [DONE]",
    )
    got = answer(engine)
    assert (got.text, got.finish_reason, got.usage.prompt_tokens) == ("A cat", "length", 7)
    assert engine.card.name == "llava" and engine.card.sees_pictures
    with pytest.raises(InvalidRequest, match="look into"):
        engine.logprobs(PLAIN, {}, [1])


@pytest.mark.parametrize(
    "line", ["data: nonsense", 'data: {"error":{"message":"out of cheese"}}', "data: [1]", "data: {}"]
)
def test_a_foreign_server_that_misbehaves_is_one_clear_error(
    other: Callable[..., RemoteEngine], line: str
) -> None:
    with pytest.raises(GenerationFailed):
        answer(other(line))


def test_a_generator_that_is_dropped_stops_the_server(
    serve: Serve, service: Service, engine: ScriptedEngine
) -> None:
    engine.gate = threading.Semaphore(1)
    with closing(RemoteEngine(f"{serve(service)}/v1").stream(PLAIN, {}, CancelToken())) as events:  # type: ignore[type-var]
        while not isinstance(next(events), TokenEvent):
            pass
    assert engine.stopped.wait(30)
