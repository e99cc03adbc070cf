"""Shared fixtures: settings and a studio in a folder of their own. Nothing here loads a model."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

# Read by gradio while it is imported.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_OFFLINE"] = "1"

import pytest

from vlm_studio.core.settings import Settings

if TYPE_CHECKING:
    from vlm_studio.studio import Studio


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data", offline=True)


@pytest.fixture
def studio(settings: Settings) -> Iterator[Studio]:
    from vlm_studio.studio import Studio

    made = Studio(settings)
    yield made
    made.close()
