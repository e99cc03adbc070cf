from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.store.kept import Kept


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    store = Kept(tmp_path / "data")
    yield store
    store.database.close()
