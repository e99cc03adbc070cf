"""The page about the app says what this machine runs, and what the shipped model was measured at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from vlm_studio.core.settings import Settings
from vlm_studio.studio import Studio
from vlm_studio.ui.tabs.about import what_runs
from vlm_studio.views.about import card_html


def opened(tab: str) -> Any:
    return gr.SelectData(None, {"index": 7, "value": tab, "selected": True})


def test_every_model_is_said_to_run_here_or_not(tmp_path: Path) -> None:
    studio = Studio(Settings(data_dir=tmp_path))
    told = what_runs(studio, opened("About"))
    for choice in studio.engines.choices():
        assert choice.title in told
    assert studio.choose_reader()[1] in told
    assert what_runs(studio, opened("Chat")) == gr.skip()
    studio.close()


def test_the_card_is_told_with_its_rates_and_licences(tmp_path: Path) -> None:
    shipped = Studio(Settings(data_dir=tmp_path)).shipped
    card, data = shipped.card_values(), shipped.training_data()
    told = card_html(card, data)
    for name, row in card["measured"]["nano"].items():
        assert f"{row['cer']:.1%}" in told, name
    assert "non-commercial" in told
    assert "&lt;b&gt;" in card_html({**card, "summary": "<b>"}, data)
    assert "not installed" in card_html({}, [])
