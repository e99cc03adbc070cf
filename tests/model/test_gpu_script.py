"""The script that measures the 8B on a graphics card runs from end to end at a small size, and goes on where it stopped."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "gpu_idefics2.py"


def test_it_measures_each_way_of_feeding_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = importlib.util.spec_from_file_location("gpu_idefics2", SCRIPT)
    assert spec and spec.loader
    script: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    result = tmp_path / "result.json"
    told = ["--tiny", "--device", "cpu", "--folder", str(tmp_path / "checkpoint"), "--result", str(result)]
    told += ["--runs", "1", "--new-tokens", "3", "--rows", "nf4"]
    first = script.main([*told, "--splitting", "off"])
    assert set(first["rows"]) == {"nf4 whole"} and first["rows"]["nf4 whole"]["image_tokens"] == 128
    both = script.main([*told, "--splitting", "off", "on"])
    assert both["rows"]["nf4 whole"] == first["rows"]["nf4 whole"]
    assert both["rows"]["nf4 split"]["image_tokens"] == 640
    assert both["rows"]["nf4 split"]["follow_up_first_token_s"] > 0
    assert json.loads(result.read_text())["rows"] == both["rows"]
    assert "follow up" in capsys.readouterr().out
    quantized = script.main([*told, "--splitting", "off", "--quantized"])
    assert (tmp_path / "checkpoint-tiny-nf4" / "config.json").exists() and quantized["rows"] == both["rows"]
    # Other conditions are another measurement: no row of the one is taken for the other.
    other = script.main([*told, "--splitting", "off", "--images", "1", "--quantized", "--minutes", "0"])
    assert other["rows"] == {} and "no time left" in capsys.readouterr().out
    other = script.main([*told, "--splitting", "off", "--images", "1", "--quantized"])
    assert other["rows"]["nf4 whole"]["image_tokens"] == 64
