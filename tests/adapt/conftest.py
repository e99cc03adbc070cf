"""A few short strips, cut from the shipped lines, that a training can learn from in seconds."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
LINES = ROOT / "tests" / "data" / "lines"


@pytest.fixture(scope="session")
def strips() -> list[tuple[Image.Image, str]]:
    """Narrow pieces of real lines. Their texts are made up: nothing here asks whether they are read well."""
    found = []
    for number, text in enumerate(("Le lac", "né en", "douze", "la rue", "Paris", "un mot")):
        with Image.open(LINES / f"{number:02d}.jpg") as image:
            found.append((image.convert("RGB").crop((0, 0, 160, image.height)), text))
    return found
