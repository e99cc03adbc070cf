"""The guards around the app: hosts, origins, sizes, headers, files, accounts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from fastapi.testclient import TestClient

from vlm_studio.core.errors import NotFound
from vlm_studio.core.sessions import LOCAL_OWNER
from vlm_studio.core.settings import Settings
from vlm_studio.studio import Studio
from vlm_studio.ui.server import build_server
from vlm_studio.ui.shared import VISITOR_COOKIE, owner_of


@pytest.fixture
def client(studio: Studio) -> Iterator[TestClient]:
    with TestClient(build_server(studio), base_url="http://127.0.0.1:7860") as client:
        yield client


def test_the_page_and_its_health_answer(client: TestClient) -> None:
    assert client.get("/healthz").json()["status"] == "ok"
    page = client.get("/")
    assert page.status_code == 200 and "VLM Studio" in page.text


def test_a_foreign_host_name_is_refused(client: TestClient) -> None:
    assert client.get("/", headers={"Host": "evil.example"}).status_code == 400


def test_a_foreign_origin_may_neither_read_nor_post(client: TestClient) -> None:
    origin = {"Origin": "http://evil.example"}
    assert "access-control-allow-origin" not in client.get("/config", headers=origin).headers
    assert client.post("/gradio_api/queue/join", headers=origin, json={}).status_code == 403
    assert client.post("/gradio_api/upload", headers=origin, files={"files": b"x"}).status_code == 403


def test_too_large_a_body_is_refused_unread(client: TestClient) -> None:
    answer = client.post("/gradio_api/upload", headers={"Content-Length": str(10**12)}, content=b"x")
    assert answer.status_code == 413


def test_headers_keep_the_browser_at_home(client: TestClient) -> None:
    headers = client.get("/").headers
    policy = headers["content-security-policy"]
    assert "img-src 'self' data: blob:" in policy and "connect-src 'self'" in policy
    assert "frame-ancestors 'self'" in policy
    assert headers["x-content-type-options"] == "nosniff"


def test_the_data_folder_is_never_served(client: TestClient, studio: Studio) -> None:
    database = studio.database.path.resolve()
    assert database.exists()
    assert client.get(f"/gradio_api/file={database}").status_code in {403, 404}


def test_with_accounts_nothing_is_shown_before_log_in(studio: Studio) -> None:
    studio.settings = replace(studio.settings, auth="ann:secret")
    with TestClient(build_server(studio), base_url="http://127.0.0.1:7860") as client:
        assert client.get("/config").status_code == 401


class Visitor:
    username = None

    def __init__(self, cookie: str) -> None:
        self.cookies = {VISITOR_COOKIE: cookie} if cookie else {}


def test_owners() -> None:
    local, demo = Settings(), Settings(demo=True)
    assert owner_of(local, None) == LOCAL_OWNER
    first, second = owner_of(demo, Visitor("a" * 40)), owner_of(demo, Visitor("b" * 40))  # type: ignore[arg-type]
    assert first != second and first.startswith("visitor:")
    with pytest.raises(NotFound):
        owner_of(demo, Visitor(""))  # type: ignore[arg-type]
    with pytest.raises(NotFound):
        owner_of(demo, None)
