"""``/transcribe`` over HTTP: passwords, and refusals that say one thing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from tests.tasks.documents_pdf import LEASE, encrypted
from tests.tasks.fakes import CountingReader, transcriber
from vlm_studio.core.errors import InvalidRequest
from vlm_studio.core.settings import Settings
from vlm_studio.studio import Studio
from vlm_studio.ui.tabs.transcribe_handlers import api_transcribe


@pytest.fixture
def studio(settings: Settings) -> Iterator[Studio]:
    made = Studio(settings)
    made.transcriber = transcriber(CountingReader("a"))
    yield made
    made.close()


def sent(folder: Path, name: str, data: bytes) -> list[Any]:
    path = folder / name
    path.write_bytes(data)
    return [gr.FileData(path=str(path), orig_name=name)]


def test_a_password_opens_an_encrypted_pdf(studio: Studio, tmp_path: Path) -> None:
    files = sent(tmp_path, "lease.pdf", encrypted(LEASE, "secret"))
    with pytest.raises(InvalidRequest, match=r"Type the password of the PDF and try again\.$"):
        api_transcribe(studio, files)
    assert len(api_transcribe(studio, files, password="secret")["pages"]) == 2


def test_what_is_wrong_with_a_file_is_all_that_is_said(studio: Studio, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest) as refused:
        api_transcribe(studio, sent(tmp_path, "empty.png", b""))
    assert str(refused.value) == "empty.png is empty (0 bytes). Copy it again; the transfer may have failed."
    with pytest.raises(InvalidRequest, match=r"^No file was sent\. Send images or PDFs\.$"):
        api_transcribe(studio, [])


def test_a_damaged_pdf_is_read_with_a_note(studio: Studio, tmp_path: Path) -> None:
    (first, *_) = api_transcribe(studio, sent(tmp_path, "cut.pdf", LEASE[:-60]))["pages"]
    assert first["notes"][0].startswith("cut.pdf was damaged")
