"""The app as a Space runs it, and the files that a Space reads."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient

import app
from tests.serve.conftest import Running
from tests.serve.scripted import ScriptedEngine
from tests.serve.test_cli_serve import free_port, wait_for
from tests.tasks.fakes import page_image, png
from vlm_studio.core.errors import InvalidRequest, NotFound
from vlm_studio.core.settings import Settings
from vlm_studio.serve.access import Access
from vlm_studio.serve.api import build_api
from vlm_studio.serve.service import Service
from vlm_studio.serve.space_folder import merged_requirements, missing_command, write_folder
from vlm_studio.studio import Studio
from vlm_studio.tasks.visitors import Quota
from vlm_studio.ui.server import build_server
from vlm_studio.ui.shared import VISITOR_COOKIE

ROOT = Path(__file__).resolve().parents[2]
FAKE = Path(__file__).resolve().parent / "fake"
ENV = {"SPACE_ID": "ann/studio", "SPACE_HOST": "ann-studio.hf.space"}
FIRST, SECOND = "visitor:" + "1" * 32, "visitor:" + "2" * 32


def front_matter() -> dict[str, str]:
    block = (ROOT / "README.md").read_text("utf-8").split("---\n")[1]
    return {k: v.strip().strip('"') for k, _, v in (line.partition(":") for line in block.splitlines())}


def test_front_matter_is_what_a_space_reads() -> None:
    found = front_matter()
    pins = dict(re.findall(r"^([\w.-]+)==(.+)$", (ROOT / "requirements.txt").read_text("utf-8"), re.M))
    assert (found["sdk"], found["app_file"]) == ("gradio", "app.py")
    assert found["sdk_version"] == pins["gradio"]
    # numpy and pymupdf need 3.11 or later, and ZeroGPU has 3.10 and 3.12.
    assert found["python_version"] == "3.12"
    colours = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}
    assert found["colorFrom"] in colours and found["colorTo"] in colours
    assert len(found["short_description"]) <= 60 and found["title"]
    assert "suggested_storage" not in found


def test_requirements_of_a_space_differ_only_where_they_say_so() -> None:
    ours = (ROOT / "requirements.txt").read_text("utf-8").splitlines()
    theirs = merged_requirements().splitlines()
    changed = sorted(set(theirs) - set(ours))
    assert [line.split("==")[0] for line in changed] == ["torch"]
    major, minor = map(int, changed[0].split("==")[1].split(".")[:2])
    assert (2, 8) <= (major, minor) <= (2, 11)
    assert set(ours) - set(theirs) - {"pytest==9.2.0"} == {next(o for o in ours if o.startswith("torch=="))}
    assert not any(line.startswith("-") for line in theirs)


def test_system_packages_are_names_of_debian() -> None:
    names = (ROOT / "packages.txt").read_text("utf-8").split()
    assert names and all(re.fullmatch(r"[a-z0-9][a-z0-9.+-]+", name) for name in names)


def test_the_folder_for_a_space_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "space"
    assert write_folder(target) > 50
    for name in (
        "app.py",
        "README.md",
        "requirements.txt",
        "packages.txt",
        "assets/nano/card.json",
        "LICENSE",
    ):
        assert (target / name).exists(), name
    assert not list(target.rglob("__pycache__")) and not (target / "tests").exists()
    assert "torch==2.11" in (target / "requirements.txt").read_text("utf-8")
    # Files over 10 MB need LFS, which a plain upload does by itself; nothing near a Space's limit is in it.
    assert sum(p.stat().st_size for p in target.rglob("*") if p.is_file()) < 500 * 1024**2
    with pytest.raises(InvalidRequest):
        write_folder(target)
    assert missing_command() == []


def test_settings_of_a_space() -> None:
    plain = Settings()
    assert app.space_settings(plain, {}) == plain
    made = app.space_settings(plain, ENV)
    assert made.demo and made.space == "ann/studio" and "ann-studio.hf.space" in made.allowed_hosts
    assert made.precision == "auto" and made.limits.upload_bytes < plain.limits.upload_bytes
    assert app.space_settings(plain, {**ENV, "SPACES_ZERO_GPU": "true"}).precision == "bf16"


@pytest.fixture
def shared(settings: Settings) -> Iterator[Studio]:
    made = Studio(app.space_settings(settings, ENV))
    yield made
    made.close()


def test_a_visitor_is_told_and_gets_a_cookie_that_works_in_the_frame(shared: Studio) -> None:
    with TestClient(build_server(shared), base_url="https://ann-studio.hf.space") as client:
        page = client.get("/")
        assert "Sessions here are temporary" in page.text
        assert "spaces/ann/studio?duplicate=true" in page.text
        cookie = page.headers["set-cookie"]
        assert all(part in cookie for part in ("Secure", "HttpOnly", "SameSite=none", VISITOR_COOKIE))
        assert "frame-ancestors 'self' https://huggingface.co" in page.headers["content-security-policy"]
        assert "set-cookie" not in client.get("/").headers
        assert client.get("/metrics").status_code == 401
        # The platform's proxy may name another host, and asks for its health under one.
        assert client.get("/healthz", headers={"Host": "10.1.2.3"}).status_code == 200
        home, inside = {"Origin": "https://ann-studio.hf.space"}, {"Host": "10.1.2.3"}
        assert client.post("/gradio_api/queue/join", json={}, headers=home | inside).status_code != 403
        evil = {"Origin": "https://evil.example"}
        assert client.post("/gradio_api/queue/join", json={}, headers=evil | inside).status_code == 403


def test_a_visitor_who_starts_too_much_waits(shared: Studio) -> None:
    with TestClient(build_server(shared), base_url="https://ann-studio.hf.space") as client:
        client.get("/")
        statuses = [client.post("/gradio_api/queue/join", json={}).status_code for _ in range(70)]
        assert 429 not in statuses[:50] and statuses[-1] == 429
        other = {"Cookie": f"{VISITOR_COOKIE}={'x' * 43}"}
        client.cookies.clear()
        assert client.post("/gradio_api/queue/join", json={}, headers=other).status_code != 429


def test_what_a_visitor_keeps_is_counted_and_goes_after_a_day(shared: Studio) -> None:
    shared.visitors.quota = Quota(sessions=2, n_bytes=10**6)
    old = shared.session_store.create(FIRST, "transcribe", "Old")
    shared.session_store.create(FIRST, "transcribe", "New")
    with pytest.raises(InvalidRequest, match="up to 2 sessions"):
        shared.session_store.create(FIRST, "transcribe", "One more")
    shared.session_store.create(SECOND, "transcribe", "Somebody else's")
    person = shared.session_store.create("user:ann", "transcribe", "Of a person who logs in")
    with shared.database.write() as db:
        db.execute(
            "UPDATE session SET updated_at = '2020-01-01T00:00:00' WHERE id IN (?, ?)", (old.id, person.id)
        )
    assert shared.visitors.rows.expire(24) == 1
    with pytest.raises(NotFound):
        shared.session_store.get(FIRST, old.id)
    assert shared.session_store.get("user:ann", person.id)
    shared.session_store.create(FIRST, "transcribe", "Now there is room")


def test_bytes_count_too_and_uploads_say_so(shared: Studio) -> None:
    picture = png(page_image(2))
    shared.visitors.quota = Quota(sessions=9, n_bytes=len(picture))
    first = shared.transcriptions.add_files(FIRST, "", [("a.png", picture)])
    assert len(first.kept) == 1
    again = shared.transcriptions.add_files(FIRST, first.session_id, [("b.png", png(page_image(3)))])
    assert not again.kept and "shared app" in again.problems[0]


def test_what_a_visitor_made_goes_away_and_comes_back(shared: Studio, tmp_path: Path) -> None:
    taken = shared.transcriptions.add_files(FIRST, "", [("a.png", png(page_image(2)))])
    path, _ = shared.sessions.export(FIRST, [], "zip", tmp_path)
    assert shared.visitors.rows.expire(-1) == 1
    report = shared.sessions.import_file(SECOND, path)
    assert report.sessions == 1 and report.session_ids != (taken.session_id,)
    assert len(shared.session_store.pages(SECOND, report.session_ids[0])) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="ZeroGPU forks")
def test_the_app_starts_as_on_zero_gpu(tmp_path: Path) -> None:
    """With a stand-in for `spaces` that refuses to be imported after torch, and a real fork for each call."""
    port, report = free_port(), tmp_path / "report"
    model = Running(build_api(Service(ScriptedEngine()), Access(""), Settings()))
    env = {
        **os.environ, **ENV, "SPACES_ZERO_GPU": "true", "PYTHONPATH": str(FAKE), "FAKE_SPACES_STRICT": "1",
        "FAKE_SPACES_REPORT": str(report), "VLM_STUDIO_PORT": str(port), "VLM_STUDIO_MODEL": f"{model.url}/v1",
        "VLM_STUDIO_DATA_DIR": str(tmp_path / "d"),
    }  # fmt: skip
    with subprocess.Popen(
        [sys.executable, "app.py"], cwd=ROOT, env=env, stderr=subprocess.PIPE, text=True
    ) as running:
        try:
            wait_for(f"http://127.0.0.1:{port}/healthz", running)
            page = httpx.get(f"http://127.0.0.1:{port}/", headers={"Host": ENV["SPACE_HOST"]})
            assert "Sessions here are temporary" in page.text
            assert {"stream", "read", "logprobs", "trace", "gradients"} <= set(report.read_text().split())
            running.send_signal(signal.SIGTERM)
            assert running.wait(30) == 0
        finally:
            running.kill()
            model.stop()
