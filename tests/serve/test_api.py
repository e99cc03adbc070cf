"""The official client talks to our server, and what it sends arrives at the engine in order."""

from __future__ import annotations

import base64
import io
import threading
from collections.abc import Callable

import httpx
import openai
import pytest
from PIL import Image

from tests.serve.scripted import ScriptedEngine
from vlm_studio.core.conversation import ImagePart, TextPart
from vlm_studio.core.errors import GenerationFailed
from vlm_studio.serve.calls import Calls
from vlm_studio.serve.service import Service

Serve = Callable[..., str]
KEY = "ann:0123456789abcdef"


def client(url: str, key: str = "none") -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0)


def uri(colour: str, kind: str = "PNG") -> str:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 6), colour).save(buffer, kind)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def user(*parts: object) -> list[dict[str, object]]:
    return [{"role": "user", "content": [_part(p) for p in parts]}]


def _part(part: object) -> object:
    if isinstance(part, str) and part.startswith("data:"):
        return {"type": "image_url", "image_url": {"url": part}}
    return {"type": "text", "text": part}


def test_an_answer_with_usage_and_probabilities(
    serve: Serve, service: Service, engine: ScriptedEngine
) -> None:
    got = client(serve(service)).chat.completions.create(
        model="scripted", messages=user("Read."), logprobs=True, top_logprobs=2, max_tokens=3, seed=5
    )
    choice = got.choices[0]
    assert (choice.message.content, choice.finish_reason) == ("The cat sat", "length")
    assert [t.token for t in choice.logprobs.content] == ["The ", "cat ", "sat"]
    first = choice.logprobs.content[0]
    assert (first.logprob, bytes(first.bytes), [t.token for t in first.top_logprobs]) == (
        -0.5,
        b"The ",
        ["The ", "dog"],
    )
    assert (got.usage.prompt_tokens, got.usage.completion_tokens, got.usage.total_tokens) == (10, 3, 13)
    assert got.usage.prompt_tokens_details.cached_tokens == 3
    assert (engine.asks[0].params.max_new_tokens, engine.asks[0].params.seed) == (3, 5)


def test_a_stream_arrives_token_by_token(serve: Serve, service: Service, engine: ScriptedEngine) -> None:
    engine.gate = threading.Semaphore(0)
    stream = client(serve(service)).chat.completions.create(
        model="scripted", messages=user("Read."), stream=True, stream_options={"include_usage": True}
    )
    texts, usage = [], None
    for number, chunk in enumerate(stream):
        # The next word is only said once the one before has arrived.
        engine.gate.release()
        texts += [c.delta.content for c in chunk.choices if c.delta.content]
        usage = chunk.usage or usage
        assert chunk.object == "chat.completion.chunk" and number < 20
    assert texts == ["The ", "cat ", "sat", "."]
    assert usage is not None and usage.completion_tokens == 4


def test_text_and_images_keep_their_order(serve: Serve, service: Service, engine: ScriptedEngine) -> None:
    content = user("First", uri("red"), "then", uri("blue", "JPEG"), uri("red"), "what?")
    client(serve(service)).chat.completions.create(model="scripted:reading", messages=content)
    (turn,) = engine.asks[0].turns
    kinds = [p.text if isinstance(p, TextPart) else "image" for p in turn.parts]
    assert kinds == ["First", "image", "then", "image", "image", "what?"]
    shas = [p.image_sha256 for p in turn.parts if isinstance(p, ImagePart)]
    assert shas[0] == shas[2] != shas[1] and set(engine.images[0]) == set(shas)
    assert engine.images[0][shas[0]].getpixel((2, 2)) == (255, 0, 0)
    assert engine.asks[0].variant.adapter == "reading"


def test_models_and_adapters_are_listed(serve: Serve, service: Service) -> None:
    assert [m.id for m in client(serve(service)).models.list()] == ["scripted", "scripted:reading"]


@pytest.mark.parametrize(
    ("extra", "status", "says"),
    [
        ({"model": "gpt-9"}, 404, "no model"),
        ({"model": "scripted:other"}, 404, "no model"),
        ({"max_tokens": 10**9}, 400, "max_tokens"),
        ({"temperature": -1}, 400, "temperature"),
        ({"n": 2}, 400, "n is not right"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, 400, "tools"),
        ({"messages": []}, 400, "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, 400, "role"),
        ({"messages": [{"role": "user", "content": [{"type": "file"}]}]}, 400, "messages[0].content[0]"),
        ({"messages": user("x", "data:image/png;base64,AAAA")}, 400, "not an image"),
    ],
)
def test_what_cannot_be_done_says_so(
    serve: Serve, service: Service, extra: dict[str, object], status: int, says: str
) -> None:
    body = {"model": "scripted", "messages": user("Read."), **extra}
    with pytest.raises(openai.APIStatusError) as caught:
        client(serve(service)).chat.completions.create(**body)  # type: ignore[call-overload]
    assert caught.value.status_code == status and says in str(caught.value)


@pytest.mark.parametrize("words", [("A", "B", "ST", "OP", "C"), ("AB", "STOPC", "D"), ("ABS", "TOP")])
@pytest.mark.parametrize("stream", [False, True])
def test_a_stop_text_ends_the_answer_and_is_never_shown(
    serve: Serve, service: Service, engine: ScriptedEngine, words: tuple[str, ...], stream: bool
) -> None:
    engine.words = words
    got = client(serve(service)).chat.completions.create(
        model="scripted", messages=user("Read."), stop="STOP", stream=stream
    )
    if stream:
        assert "".join(c.choices[0].delta.content or "" for c in got) == "AB"
    else:
        assert (got.choices[0].message.content, got.choices[0].finish_reason) == ("AB", "stop")


@pytest.mark.parametrize("stream", [False, True])
def test_a_caller_who_leaves_stops_the_engine(
    serve: Serve, service: Service, engine: ScriptedEngine, stream: bool
) -> None:
    engine.gate = threading.Semaphore(1)
    body = {"model": "scripted", "messages": user("Read."), "stream": stream}
    with (
        pytest.raises(httpx.ReadTimeout),
        httpx.stream("POST", f"{serve(service)}/v1/chat/completions", json=body, timeout=0.7) as response,
    ):
        for _ in response.iter_lines():
            pass
    assert engine.stopped.wait(10)


def test_failures_of_the_engine_reach_the_caller_without_their_insides(
    serve: Serve, service: Service, engine: ScriptedEngine
) -> None:
    url = serve(service)
    engine.fails = GenerationFailed("The model failed.", "Try again.")
    for stream in (False, True):
        with pytest.raises(openai.InternalServerError, match="The model failed"):
            client(url).chat.completions.create(model="scripted", messages=user("x"), stream=stream)
    engine.fails = RuntimeError("secret path /etc/x")
    with pytest.raises(openai.InternalServerError) as caught:
        client(url).chat.completions.create(model="scripted", messages=user("x"))
    assert "secret" not in str(caught.value)


def test_keys_open_and_wrong_ones_are_slowed_down(serve: Serve, service: Service) -> None:
    url = serve(service, KEY)
    assert client(url, "0123456789abcdef").models.list().data
    statuses = [
        httpx.get(f"{url}/v1/models", headers={"Authorization": f"Bearer {n:016}"}).status_code
        for n in range(12)
    ]
    assert statuses[:10] == [401] * 10 and statuses[-1] == 429
    assert httpx.get(f"{url}/metrics").status_code == 429
    assert client(url, "0123456789abcdef").models.list().data


def test_more_than_it_takes_is_told_to_come_back(
    serve: Serve, service: Service, engine: ScriptedEngine
) -> None:
    engine.gate = threading.Semaphore(0)
    service.calls = Calls(capacity=1)
    url = serve(service)
    body = {"model": "scripted", "messages": user("Read."), "stream": True}
    with httpx.stream("POST", f"{url}/v1/chat/completions", json=body, timeout=20) as response:
        assert response.status_code == 200
        refused = httpx.post(f"{url}/v1/chat/completions", json=body, timeout=20)
        assert refused.status_code == 429 and refused.headers["retry-after"]
        engine.gate.release(9)
        assert "[DONE]" in response.read().decode()


def test_one_key_is_answered_once_however_often_it_is_sent(
    serve: Serve, service: Service, engine: ScriptedEngine
) -> None:
    url, headers = serve(service), {"Idempotency-Key": "k1"}
    body = {"model": "scripted", "messages": user("Read.")}
    answers = [httpx.post(f"{url}/v1/chat/completions", json=body, headers=headers).json() for _ in range(3)]
    assert {a["choices"][0]["message"]["content"] for a in answers} == {"The cat sat."}
    assert len(engine.asks) == 1
    streamed = httpx.post(f"{url}/v1/chat/completions", json=body | {"stream": True}, headers=headers)
    assert streamed.status_code == 400 and "idempotency" in streamed.text


def test_a_web_page_cannot_use_an_open_server(serve: Serve, service: Service) -> None:
    url = f"{serve(service)}/v1/chat/completions"
    body = '{"model": "scripted", "messages": [{"role": "user", "content": "x"}]}'
    assert httpx.post(url, content=body, headers={"Content-Type": "text/plain"}).status_code == 415
    kind = {"Content-Type": "application/json"}
    assert httpx.post(url, content=body, headers={**kind, "Origin": "http://evil.example"}).status_code == 403
    assert httpx.post(url, content=body, headers={**kind, "Host": "evil.example"}).status_code == 400
    assert httpx.post(url, content=body, headers=kind).status_code == 200


def test_health_and_metrics(serve: Serve, service: Service) -> None:
    url = serve(service)
    client(url).chat.completions.create(model="scripted", messages=user("Read."))
    text = httpx.get(f"{url}/metrics").text
    assert 'vlm_studio_generations_total{ending="stop"} 1.0' in text
    assert 'vlm_studio_tokens_total{kind="output"} 4.0' in text
    assert httpx.get(f"{url}/healthz").json()["status"] == "ok"
    service.calls.draining = True
    assert httpx.get(f"{url}/healthz").status_code == 503
    assert (
        httpx.post(
            f"{url}/v1/chat/completions", json={"model": "scripted", "messages": user("x")}
        ).status_code
        == 429
    )
    assert httpx.get(f"{url}/secret").json()["error"]["message"] == "There is no such route."
