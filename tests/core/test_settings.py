"""Settings come from the environment, and a wrong value is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from vlm_studio.core.settings import Settings


def test_values_are_parsed_by_type() -> None:
    read = Settings.from_env(
        {
            "VLM_STUDIO_PORT": "8000",
            "VLM_STUDIO_DATA_DIR": "/data",
            "VLM_STUDIO_DEMO": "1",
            "VLM_STUDIO_ALLOWED_HOSTS": "a.example, b.example",
            "VLM_STUDIO_UNKNOWN": "x",
        }
    )
    assert (read.port, read.data_dir, read.demo) == (8000, Path("/data"), True)
    assert read.allowed_hosts == ("a.example", "b.example")


@pytest.mark.parametrize("name", ["PORT", "DEMO"])
def test_a_wrong_value_names_its_variable(name: str) -> None:
    with pytest.raises(ValueError, match=f"VLM_STUDIO_{name}"):
        Settings.from_env({f"VLM_STUDIO_{name}": "perhaps"})
