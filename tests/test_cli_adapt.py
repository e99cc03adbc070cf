"""``adapt`` from a shell: what is learned from, what a training left, and what is wrong said in a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.ui.test_adapt_tab import VERDICT, corrected
from tests.ui.test_compare_tab import hand
from vlm_studio.cli import main
from vlm_studio.core.adapters import AdapterFacts, TrainSettings
from vlm_studio.core.sessions import LOCAL_OWNER as OWNER
from vlm_studio.studio import Studio


@pytest.fixture
def shell(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> Studio:
    """The studio beside the command, on the same data."""
    monkeypatch.setenv("VLM_STUDIO_DATA_DIR", str(studio.settings.data_dir))
    monkeypatch.setenv("VLM_STUDIO_OFFLINE", "1")
    return studio


def test_lines_are_listed_left_out_and_taken_in_again(
    shell: Studio, capsys: pytest.CaptureFixture[str]
) -> None:
    first = corrected(shell, 200, 12, "dear sister")[0]
    corrected(shell, 90, 6, "dear brother")
    assert main(["adapt", "leave-out", first]) == 0
    assert main(["adapt", "lines"]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert len(rows) == 18
    assert "left out" in rows[0] and first in rows[0]
    assert any("kept back" in row for row in rows) and any("learned from" in row for row in rows)
    assert main(["adapt", "leave-out", first, "--take-in"]) == 0
    assert main(["adapt", "lines"]) == 0
    assert "left out" not in capsys.readouterr().out
    assert main(["adapt", "leave-out", "nobody's"]) == 1


def test_an_adapter_of_other_weights_is_not_said_to_read(
    shell: Studio, capsys: pytest.CaptureFixture[str]
) -> None:
    facts = AdapterFacts("hand", "nano", "of other weights", 8, 1000, 20, "1")
    old = shell.adapter_store.add(OWNER, "Ann", facts, {}, b"weights", "trained", VERDICT)
    shell.adapter_store.activate(OWNER, old.id)
    assert main(["adapt", "status"]) == 0
    assert "Reading with the base model: 'Ann'" in capsys.readouterr().out
    assert main(["adapt", "list"]) == 0
    told = capsys.readouterr().out
    assert "made for other weights" in told and "in use" not in told


def test_a_folder_that_cannot_be_is_said_in_a_sentence(
    shell: Studio, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    facts = AdapterFacts("hand", "nano", "sha", 8, 1000, 20, "1")
    mine = shell.adapter_store.add(OWNER, "Ann", facts, {}, b"weights", "trained", VERDICT)
    (tmp_path / "file").write_text("in the way")
    assert main(["adapt", "export", mine.id, "--out", str(tmp_path / "file")]) == 1
    assert "could not be written" in capsys.readouterr().err
    assert main(["adapt", "export", mine.id, "--out", str(tmp_path / "new" / "folder")]) == 0
    assert (tmp_path / "new" / "folder" / "Ann.adapter.zip").exists()


def test_another_name_keeps_the_notes_and_what_is_there_is_said_to_be(
    shell: Studio, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = shell.adapters.rename(OWNER, hand(shell), "Ann", "by lamplight")
    data, _ = shell.adapters.export(OWNER, mine.id)
    assert main(["adapt", "rename", mine.id, "Bo"]) == 0
    assert shell.adapter_store.get(OWNER, mine.id).notes == "by lamplight"
    assert main(["adapt", "rename", mine.id, "Bo", "--notes", ""]) == 0
    assert shell.adapter_store.get(OWNER, mine.id).notes == ""
    (tmp_path / "bo.adapter.zip").write_bytes(data)
    capsys.readouterr()
    assert main(["adapt", "import", str(tmp_path / "bo.adapter.zip")]) == 0
    told = capsys.readouterr()
    assert told.out.strip() == mine.id
    assert "there already, as 'Bo'" in told.err


def test_a_hand_is_deleted_with_what_its_training_left(shell: Studio) -> None:
    facts = AdapterFacts("hand", "nano", "sha", 8, 1000, 20, "1")
    mine = shell.adapter_store.add(OWNER, "Ann", facts, {}, b"weights", "trained", VERDICT)
    run = shell.adapter_store.add_training(OWNER, "Ann", TrainSettings(), 9, 9, 1)
    shell.adapter_store.set_training(OWNER, run.id, "done", "Better.", mine.id)
    folder = shell.settings.data_dir / "training" / run.id
    folder.mkdir(parents=True)
    (folder / "progress.jsonl").write_text("")
    assert main(["adapt", "delete", mine.id]) == 0
    assert list(folder.parent.iterdir()) == []
    assert shell.adapter_store.trainings(OWNER) == ()
    assert shell.adapters.list(OWNER) == ()


def test_a_training_that_was_interrupted_is_discarded(
    shell: Studio, capsys: pytest.CaptureFixture[str]
) -> None:
    run = shell.adapter_store.add_training(OWNER, "Ann", TrainSettings(), 9, 9, 1)
    shell.adapter_store.set_training(OWNER, run.id, "cancelled", "Stopped.")
    assert main(["adapt", "discard"]) == 0
    assert shell.adapter_store.training(OWNER, run.id).message == "Discarded."
    assert main(["adapt", "discard"]) == 1
    assert "no training" in capsys.readouterr().err
