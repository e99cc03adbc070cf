"""What a client of the API calls a file is believed only where Gradio put it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from vlm_studio.core.errors import InvalidRequest
from vlm_studio.ui import shared
from vlm_studio.ui.shared import upload_path, uploads_of


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    made = tmp_path / "gradio"
    made.mkdir()
    monkeypatch.setattr(shared, "get_upload_folder", lambda: str(made))
    return made


def test_what_was_uploaded_arrives_with_its_name(folder: Path) -> None:
    (folder / "a.png").write_bytes(b"x")
    sent = {
        "path": str(folder / "a.png"),
        "orig_name": "../../my letter.png",
        "meta": {"_type": "gradio.FileData"},
    }
    assert uploads_of([sent]) == [("my letter.png", b"x")]
    assert uploads_of([{"path": str(folder / "a.png")}]) == [("a.png", b"x")]
    assert uploads_of([gr.FileData(path=str(folder / "a.png"))]) == [("a.png", b"x")]
    assert uploads_of(None) == [] and upload_path(sent) == folder / "a.png"


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "{folder}/../secret.txt",
        "{folder}",
        "{folder}/missing.png",
        "",
        None,
        3,
        "{folder}/link",
    ],
)
def test_any_other_path_is_refused(folder: Path, path: Any) -> None:
    (folder.parent / "secret.txt").write_text("secret")
    (folder / "link").symlink_to(folder.parent / "secret.txt")
    given = path.format(folder=folder) if isinstance(path, str) else path
    for sent in (
        {"path": given},
        {"path": given, "orig_name": "a.png", "meta": {"_type": "gradio.FileData"}},
        {},
    ):
        with pytest.raises(InvalidRequest):
            uploads_of([sent])
