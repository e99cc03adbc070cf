"""Fetching weights from a hub that breaks off, lies and disappears: a small real one on this machine."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from vlm_studio.core.cancel import CancelToken
from vlm_studio.core.errors import Cancelled, ModelUnavailable
from vlm_studio.model import weights
from vlm_studio.model.weights import Source, fetch, find

SOURCE = Source("somebody/model", "a" * 40)
FILES = {
    "config.json": b'{"a": 1}',
    "model-1.safetensors": bytes(range(256)) * 20_000,
    "model-2.safetensors": b"x" * 3_000_000,
    "pytorch_model.bin": b"never fetched",
}


class Hub(ThreadingHTTPServer):
    """`breaks` bytes of a file are sent, then the connection ends, so many times; `lies` names a file sent wrong."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.sent: list[tuple[str, int]] = []
        self.breaks: list[int] = []
        self.lies = ""
        self.status = 200

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.0"
    server: Hub

    def log_message(self, *_: object) -> None:
        return

    def do_GET(self) -> None:
        hub = self.server
        if hub.status != 200:
            self.send_error(hub.status)
            return
        if "/tree/" in self.path:
            self._send(200, json.dumps([_entry(p, c) for p, c in FILES.items()]).encode())
            return
        name = self.path.rsplit("/", 1)[1]
        begin = int(self.headers.get("range", "bytes=0-")[6:-1])
        content = FILES[name] if name != hub.lies else FILES[name][::-1]
        hub.sent.append((name, begin))
        content = content[begin:]
        if hub.breaks and name.endswith(".safetensors"):
            cut = hub.breaks.pop(0)
            self._send(206 if begin else 200, content[:cut], len(content))
            return
        self._send(206 if begin else 200, content)

    def _send(self, status: int, content: bytes, length: int | None = None) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(content) if length is None else length))
        self.end_headers()
        self.wfile.write(content)


def _entry(path: str, content: bytes) -> dict[str, object]:
    git = hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()
    entry: dict[str, object] = {"type": "file", "path": path, "size": len(content), "oid": git}
    if len(content) > 1000:
        entry["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content)}
    return entry


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setattr(weights, "PAUSE_SECONDS", 0)
    server = Hub()
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def run(hub: Hub, folder: Path, said: list[str] | None = None, cancel: CancelToken | None = None) -> Path:
    tell = (said if said is not None else []).append
    return fetch(SOURCE, folder, tell, cancel or CancelToken(), endpoint=hub.address)


def test_fetched_once_whole_and_found_again_without_asking(hub: Hub, tmp_path: Path) -> None:
    said: list[str] = []
    folder = run(hub, tmp_path, said)
    wanted = {name: content for name, content in FILES.items() if not name.endswith(".bin")}
    assert {p.name: p.read_bytes() for p in folder.iterdir() if p.name in FILES} == wanted
    assert "100 %" in said[-1]
    count = len(hub.sent)
    assert find(SOURCE, tmp_path) == folder == run(hub, tmp_path) and len(hub.sent) == count
    (folder / "model-1.safetensors").unlink()
    assert find(SOURCE, tmp_path) is None
    run(hub, tmp_path)
    assert [name for name, _begin in hub.sent[count:]] == ["model-1.safetensors"]


def test_a_broken_connection_goes_on_where_it_stopped(hub: Hub, tmp_path: Path) -> None:
    hub.breaks = [1_500_000, 700_000]
    folder = run(hub, tmp_path)
    begins = [begin for name, begin in hub.sent if name == "model-2.safetensors"]
    assert begins[0] == 0 and begins[1:] == [1_500_000, 2_200_000]
    assert (folder / "model-2.safetensors").read_bytes() == FILES["model-2.safetensors"]


def test_so_does_a_stopped_download_in_the_next_start(hub: Hub, tmp_path: Path) -> None:
    hub.breaks = [2_000_000] + [0] * 9
    with pytest.raises(ModelUnavailable, match="cannot be reached"):
        run(hub, tmp_path)
    hub.breaks, hub.sent = [], []
    cancel = CancelToken()
    cancel.cancel()
    with pytest.raises(Cancelled):
        run(hub, tmp_path, cancel=cancel)
    run(hub, tmp_path)
    assert ("model-2.safetensors", 2_000_000) in hub.sent


def test_a_wrong_checksum_is_said_and_the_file_fetched_anew(hub: Hub, tmp_path: Path) -> None:
    hub.lies = "model-1.safetensors"
    with pytest.raises(ModelUnavailable, match="checksum"):
        run(hub, tmp_path)
    hub.lies = ""
    assert (run(hub, tmp_path) / "model-1.safetensors").read_bytes() == FILES["model-1.safetensors"]


def test_no_hub_no_room_no_leave_are_one_sentence_each(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.status = 401
    with pytest.raises(ModelUnavailable, match="401"):
        run(hub, tmp_path)
    hub.status = 200
    with monkeypatch.context() as patch:
        patch.setattr(weights, "SPARE_BYTES", 10**18)
        with pytest.raises(ModelUnavailable, match="disk has"):
            run(hub, tmp_path)
    assert hub.sent == []
    with pytest.raises(ModelUnavailable, match="offline"):
        fetch(SOURCE, tmp_path, [].append, CancelToken(), offline=True)
    with pytest.raises(ModelUnavailable, match="cannot be reached"):
        fetch(SOURCE, tmp_path, [].append, CancelToken(), endpoint="http://127.0.0.1:9")


def test_a_hub_cannot_name_files_outside_the_folder(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FILES, "../../evil.json", b"{}")
    with pytest.raises(ModelUnavailable, match="outside"):
        run(hub, tmp_path)
