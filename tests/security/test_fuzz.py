"""Spoilt input of every kind ends in a clear error or a value, never in a crash; what once crashed is tried first."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.security import pdf_entry
from tests.security.entries import CORPUS, Entry, entries
from vlm_studio.core.errors import StudioError
from vlm_studio.core.settings import Settings
from vlm_studio.studio import Studio

NAMES = (
    "image", "pdf", "api body", "adapter", "adapter file", "trace over the network", "kept trace", "server's answer",
    "evidence pack", "session import", "backup",
)  # fmt: skip
EXAMPLES = 240


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Entry]]:
    folder = tmp_path_factory.mktemp("fuzz")
    studio = Studio(Settings(data_dir=folder / "data", offline=True))
    yield entries(studio, folder)
    studio.close()
    pdf_entry.close()


def ends_well(entry: Entry, data: bytes) -> None:
    try:
        entry.parse(data)
    except StudioError as error:
        assert error.message


def test_every_entry_is_tried(known: dict[str, Entry]) -> None:
    assert tuple(known) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_good_input_is_taken_and_kept_inputs_end_well(known: dict[str, Entry], name: str) -> None:
    entry = known[name]
    for seed in entry.seeds:
        ends_well(entry, seed)
    for path in sorted((CORPUS / name.replace(" ", "_").replace("'", "")).glob("*.bin")):
        ends_well(entry, path.read_bytes())


@pytest.mark.parametrize("name", NAMES)
def test_spoilt_input_ends_well(known: dict[str, Entry], name: str) -> None:
    entry = known[name]

    @settings(
        max_examples=max(3, EXAMPLES // entry.cost),
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.integers(0, len(entry.seeds) - 1), st.integers(0, 2**32), st.none() | st.binary(max_size=200))
    def tried(which: int, dice: int, raw: bytes | None) -> None:
        seed = entry.seeds[which]
        ends_well(entry, entry.spoil(seed, random.Random(dice)) if raw is None else seed[: dice % 64] + raw)

    tried()


def test_a_file_of_one_kind_is_no_other(known: dict[str, Entry], tmp_path: Path) -> None:
    for name, entry in known.items():
        for other in known.values():
            if other is not entry:
                try:
                    entry.parse(other.seeds[0])
                except StudioError:
                    continue
                assert name in {"image", "pdf"}, name
