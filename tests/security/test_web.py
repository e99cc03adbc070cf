"""What a hostile page, host, visitor or body can do to the running app: nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from fastapi.testclient import TestClient

from vlm_studio.core.settings import Limits, Settings
from vlm_studio.studio import Studio
from vlm_studio.ui.server import build_server

HOME = "http://127.0.0.1:7860"
EVIL = {"Origin": "http://evil.example"}
SMALL = Limits(upload_bytes=20_000, upload_files=2)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    settings = Settings(data_dir=tmp_path_factory.mktemp("web") / "data", offline=True, limits=SMALL)
    studio = Studio(settings)
    with TestClient(build_server(studio), base_url=HOME) as made:
        yield made
    studio.close()


@pytest.mark.parametrize(
    "path", ["/", "/config", "/gradio_api/token", "/gradio_api/info", "/healthz", "/metrics"]
)
@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1.evil.example", "http://localhost:1"]
)
def test_no_other_page_may_read(client: TestClient, path: str, origin: str) -> None:
    answer = client.get(path, headers={"Origin": origin, "Cookie": "access-token=x"})
    assert "access-control-allow-origin" not in answer.headers
    asked = client.options(path, headers={"Origin": origin, "Access-Control-Request-Method": "POST"})
    assert "access-control-allow-origin" not in asked.headers


@pytest.mark.parametrize(
    "path",
    ["/gradio_api/queue/join", "/gradio_api/upload", "/gradio_api/call/transcribe", "/gradio_api/run/predict",
     "/gradio_api/reset", "/gradio_api/cancel", "/gradio_api/component_server", "/login"],
)  # fmt: skip
def test_no_other_page_may_post(client: TestClient, path: str) -> None:
    assert client.post(path, json={}, headers=EVIL).status_code == 403
    assert client.post(path, content="{}", headers={**EVIL, "Content-Type": "text/plain"}).status_code == 403


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:7860", "127.0.0.1.evil.example", "[::1].evil", ""]
)
def test_another_host_name_is_refused(client: TestClient, host: str) -> None:
    assert client.get("/", headers={"Host": host}).status_code == 400


@pytest.mark.parametrize(
    "path",
    ["{data}/studio.db", "{data}/../data/studio.db", "/etc/passwd", "app.py", "../app.py", "requirements.txt",
     ".git/config", "%2e%2e/%2e%2e/etc/passwd", "http://127.0.0.1:7860/healthz", "http://169.254.169.254/latest",
     "file:///etc/passwd"],
)  # fmt: skip
def test_no_file_of_the_machine_is_served(
    client: TestClient, path: str, request: pytest.FixtureRequest
) -> None:
    filled = path.format(data="/data")
    for route in (
        "/gradio_api/file=",
        "/file=",
        "/gradio_api/stream/",
        "/static/",
        "/assets/",
        "/custom_component/",
    ):
        answer = client.get(route + filled, follow_redirects=False)
        assert answer.status_code in {400, 403, 404, 405, 422}, (route, path, answer.status_code)


def test_a_body_is_counted_however_it_is_sent(client: TestClient) -> None:
    def drip() -> Iterator[bytes]:
        for _ in range(60):
            yield b"x" * 1000

    assert client.post("/gradio_api/queue/join", content=drip()).status_code == 413
    lying = client.post("/gradio_api/upload", content=b"x" * 60_000, headers={"Content-Length": "10"})
    assert lying.status_code in {400, 413}
    assert (
        client.post("/gradio_api/upload", content=b"x", headers={"Content-Length": "9" * 30}).status_code
        == 413
    )
    large = client.post("/gradio_api/upload", files={"files": ("a.png", b"x" * 30_000)})
    assert large.status_code == 413


@pytest.mark.parametrize("path", ["/", "/healthz", "/nothing/there", "/gradio_api/info"])
def test_every_answer_carries_the_headers(client: TestClient, path: str) -> None:
    headers = client.get(path).headers
    policy = headers["content-security-policy"]
    for rule in ("img-src 'self' data: blob:", "connect-src 'self'", "object-src 'none'", "base-uri 'self'",
                 "form-action 'self'", "frame-ancestors 'self'", "default-src 'self'"):  # fmt: skip
        assert rule in policy
    assert "http:" not in policy and "*" not in policy
    assert headers["x-content-type-options"] == "nosniff" and headers["referrer-policy"] == "no-referrer"
    assert "geolocation=()" in headers["permissions-policy"]


def test_passwords_cannot_be_tried_at_will(tmp_path_factory: pytest.TempPathFactory) -> None:
    settings = Settings(data_dir=tmp_path_factory.mktemp("auth") / "data", auth="ann:secret")
    studio = Studio(settings)
    with TestClient(build_server(studio), base_url=HOME) as client:
        tries = [client.post("/login", data={"username": "ann", "password": f"{n}"}) for n in range(14)]
        statuses = [answer.status_code for answer in tries]
        assert 200 not in statuses and statuses[-1] == 429 and int(tries[-1].headers["retry-after"]) >= 1
        assert client.post("/login", data={"username": "ann", "password": "secret"}).status_code == 429
        for path in ("/config", "/gradio_api/info", "/gradio_api/queue/data?session_hash=x"):
            assert client.get(path).status_code in {401, 404}
        assert client.post("/gradio_api/queue/join", json={}).status_code == 401
    studio.close()


def test_health_says_when_nothing_can_be_saved(client: TestClient, studio: Studio) -> None:
    assert client.get("/healthz").json() == {"status": "ok", "version": "0.1.0"}
    with TestClient(build_server(studio), base_url=HOME) as other:
        studio.database.connection().execute("ALTER TABLE session RENAME TO gone")
        answer = other.get("/healthz")
        assert answer.status_code == 503 and answer.json()["trouble"] == "database"
        studio.database.connection().execute("ALTER TABLE gone RENAME TO session")


def test_metrics_are_for_this_machine_or_for_who_has_the_key(client: TestClient, settings: Settings) -> None:
    assert "vlm_studio_requests_total" in client.get("/metrics").text
    key = "0123456789abcdef"
    studio = Studio(replace(settings, api_keys=f"prometheus:{key}", host="0.0.0.0"))
    with TestClient(build_server(studio), base_url=HOME) as other:
        assert other.get("/metrics").status_code == 401
        text = other.get("/metrics", headers={"Authorization": f"Bearer {key}"}).text
        assert 'route="metrics"' in text
        other.get("/a-secret-path")
        assert "secret" not in other.get("/metrics", headers={"Authorization": f"Bearer {key}"}).text
    studio.close()
