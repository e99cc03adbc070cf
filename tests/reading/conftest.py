from __future__ import annotations

import pytest

from vlm_studio.reading.detector import Detector
from vlm_studio.reading.fast import FastReader


@pytest.fixture(scope="session")
def detector() -> Detector:
    return Detector()


@pytest.fixture(scope="session")
def fast() -> FastReader:
    return FastReader()
