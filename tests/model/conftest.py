"""The shipped nano with its language model, loaded once: the real thing is small enough for tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from vlm_studio.model.engine import LoadedModel

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def nano() -> LoadedModel:
    from vlm_studio.model.catalog import load_nano

    return load_nano(ROOT / "assets", None)
