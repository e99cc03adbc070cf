"""What the code itself must never do, read from its syntax trees; and what the page offers to callers."""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vlm_studio.core.errors import InvalidRequest
from vlm_studio.core.settings import Limits
from vlm_studio.serve.requests import chat_request
from vlm_studio.studio import Studio

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "vlm_studio"
API = {"transcribe", "sessions", "chat", "inspect", "adapters", "train", "ask", "documents", "compare"}
"""Endpoints that are meant for callers; every other one is plumbing of the page."""


def calls(folder: Path = PACKAGE) -> Iterator[tuple[str, ast.Call, str]]:
    for path in sorted(folder.rglob("*.py")):
        if "recipe" in path.parts:
            # Makes the weights, from files that it wrote itself; imported by nobody.
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call):
                yield f"{path.relative_to(ROOT)}:{node.lineno}", node, ast.unparse(node.func)


def keywords(node: ast.Call) -> dict[str, Any]:
    return {k.arg: k.value.value for k in node.keywords if k.arg and isinstance(k.value, ast.Constant)}


def test_nothing_runs_a_shell_or_text_as_code() -> None:
    for place, node, name in calls():
        assert name not in {"eval", "exec", "os.system", "os.popen", "pickle.loads", "torch.load"}, place
        assert keywords(node).get("shell") is not True, place
        assert keywords(node).get("allow_pickle") is not True, place


def test_weights_are_safetensors_and_revisions_are_pinned() -> None:
    for place, node, name in calls():
        if name.endswith("snapshot_download") or name.endswith("hf_hub_download"):
            assert any(k.arg == "revision" for k in node.keywords), place
        if "AutoPeftModel" in name or name.endswith(("load_adapter", "PeftModel.from_pretrained")):
            raise AssertionError(f"{place} lets PEFT follow a configuration")


def test_the_page_uses_nothing_that_was_a_hole() -> None:
    for place, node, name in calls(PACKAGE / "ui"):
        assert name not in {"gr.load", "gr.FileExplorer", "gr.LoginButton"}, place
        assert keywords(node).get("sanitize_html") is not False, place
        assert keywords(node).get("datatype") not in {"html", "markdown"}, place
        assert keywords(node).get("share") is not True, place


def test_templates_hold_no_placeholders() -> None:
    """Gradio runs `${...}` of whatever data a `{{placeholder}}` receives."""
    for place, node, name in calls(PACKAGE / "ui"):
        if name.endswith("HTML"):
            assert "html_template" not in keywords(node), place
    for path in [*(PACKAGE / "ui").rglob("*.py"), *(PACKAGE / "views").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert "{{" not in node.value, f"{path.name}:{node.lineno}"


def test_only_named_endpoints_are_for_callers(studio: Studio) -> None:
    from vlm_studio.ui.app import build_app

    for event in build_app(studio).config["dependencies"]:
        named = event["api_visibility"] == "public"
        # Gradio adds a number where an event of the page has the same name.
        name = re.sub(r"_\d+$", "", str(event["api_name"]))
        assert not named or name in API, name


def test_every_use_case_takes_the_owner(studio: Studio) -> None:
    """Somebody else's session is not there; whoever forgets to ask whose it is, forgets that."""
    from vlm_studio.tasks import chat, sessions, transcribe_session
    from vlm_studio.tasks import inspect as inspecting

    # About everything here and guarded where it is called, or about no row at all.
    free = {
        "Sessions": {"backup", "restore", "is_backup", "usage", "storage"},
        "TranscribeSessions": set(),
        "Chats": {"images_of", "presets"},
        "Inspections": set(),
    }
    for value in (
        sessions.Sessions,
        transcribe_session.TranscribeSessions,
        chat.Chats,
        inspecting.Inspections,
    ):
        for name, method in inspect.getmembers(value, inspect.isfunction):
            if name.startswith("_") or name in free[value.__name__]:
                continue
            first = list(inspect.signature(method).parameters)[1:2]
            assert first == ["owner"], f"{value.__name__}.{name}"


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:9/x.png", "https://evil.example/x.png", "file:///etc/passwd", "/etc/passwd", "../app.py",
     "data:text/html;base64,AAAA", "data:image/svg+xml;base64,PHN2Zy8+", "data:image/png,raw", "ftp://x/y", "", "data:"],
)  # fmt: skip
def test_no_address_and_no_path_is_ever_opened(url: str) -> None:
    """An audit hook sees every look-up, connection and opened file of this process."""
    seen: list[tuple[str, Any]] = []
    watching = True

    def hook(event: str, args: Any) -> None:
        if watching and event in {"socket.getaddrinfo", "socket.connect", "open", "urllib.Request"}:
            seen.append((event, args[0]))

    sys.addaudithook(hook)
    part = f'{{"type": "image_url", "image_url": {{"url": "{url}"}}}}'
    text = f'{{"type": "text", "text": "look at {url}"}}'
    body = f'{{"model": "m", "messages": [{{"role": "user", "content": [{text}, {part}]}}]}}'
    try:
        with pytest.raises(InvalidRequest.__mro__[1]):
            chat_request(body.encode(), "m", (), Limits())
    finally:
        watching = False
    assert [s for s in seen if s[0] != "open" or "passwd" in str(s[1]) or "app.py" in str(s[1])] == []
