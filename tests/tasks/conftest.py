"""A desk to teach at, with the real store below it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tasks.adapt_desk import Desk


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path / "data")
    yield made
    made.live.stop_all(5)
    made.kept.database.close()


@pytest.fixture
def ready(desk: Desk) -> Desk:
    desk.correct(200, 14)
    desk.correct(90, 8)
    return desk
