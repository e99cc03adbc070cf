"""What the Transcribe tab's parts are told while pages are read."""

from __future__ import annotations

from tests.tasks.fakes import CountingReader, page_image, png, transcriber
from vlm_studio.core.sessions import LOCAL_OWNER as OWNER
from vlm_studio.studio import Studio
from vlm_studio.ui.tabs.transcribe_render import View, render


def test_stop_has_its_name_when_it_comes_into_sight(studio: Studio) -> None:
    """Gradio shows a button of a column that was hidden without the name that it was made with."""
    studio.transcriber = transcriber(CountingReader("a"))
    taken = studio.transcriptions.add_files(OWNER, "", [("notes.png", png(page_image(3)))])
    stops = [
        value
        for value in render(studio, OWNER, View(taken.session_id, running=True))
        if isinstance(value, dict) and value.get("value") == "Stop"
    ]
    assert [stop["visible"] for stop in stops] == [True]
