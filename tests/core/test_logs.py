"""What a JSON log holds, and above all what it does not."""

from __future__ import annotations

import ast
import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from vlm_studio.core.errors import DamagedFile
from vlm_studio.core.logs import set_up

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    for handler in before:
        root.removeHandler(handler)
    yield io.StringIO()
    for handler in root.handlers[:]:
        root.removeHandler(handler)
    for handler in before:
        root.addHandler(handler)
    root.setLevel(level)


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_json_keeps_numbers_and_places_and_nothing_of_a_person(stream: io.StringIO) -> None:
    set_up("json", stream=stream)
    log = logging.getLogger("vlm_studio.test")
    log.info("%s took %d pages from %s", "Diary of Ann.pdf", 7, "10.1.2.3")
    log.info("answered", extra={"fields": {"route": "/v1/models", "status": 200}})
    try:
        try:
            raise ValueError("the text of /home/ann/letter.txt")
        except ValueError as error:
            raise DamagedFile("Diary of Ann.pdf is damaged.", "Export it.") from error
    except DamagedFile as error:
        log.info("%s", error, exc_info=error)
        log.warning(error)
    first, second, third, fourth = lines(stream)
    assert (first["event"], first["numbers"], first["level"]) == ("%s took %d pages from %s", [7], "info")
    assert (second["route"], second["status"]) == ("/v1/models", 200)
    assert third["error"] == ["DamagedFile", "ValueError"]
    assert any("test_logs.py" in place for place in third["trace"])  # type: ignore[union-attr]
    assert fourth["event"] == "DamagedFile"
    for secret in ("Ann", "letter", "10.1.2.3", "damaged."):
        assert secret not in stream.getvalue()


def test_text_is_for_the_person_at_the_terminal(stream: io.StringIO) -> None:
    set_up("text", stream=stream)
    logging.getLogger("x").info("read %s", "a.pdf", extra={"fields": {"pages": 3}})
    assert stream.getvalue().rstrip().endswith("INFO x: read a.pdf pages=3")
    with pytest.raises(ValueError, match="VLM_STUDIO_LOG"):
        set_up("xml")


def test_templates_of_log_calls_hold_no_values() -> None:
    """What stands in the template is written to every log, so it is a constant in every call of ours."""
    for path in sorted((ROOT / "vlm_studio").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and isinstance(node.func.value, ast.Name)
                and node.func.value.id == "log"
                and node.args
            ):
                place = f"{path.relative_to(ROOT)}:{node.lineno}"
                assert isinstance(node.args[0], ast.Constant | ast.Name), place
                assert "session_hash" not in ast.dump(node), place
