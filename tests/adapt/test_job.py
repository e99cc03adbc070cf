from __future__ import annotations

from pathlib import Path

from vlm_studio.adapt.job import Job, JobLine, add_point, control, points, read_job, set_control, write_job
from vlm_studio.core.adapters import TrainPoint, TrainSettings


def test_a_job_comes_back_as_it_was_written(tmp_path: Path) -> None:
    job = Job("n", "g", TrainSettings(steps=3), (JobLine("0.png", "né à « Lac »"),), (), 2)
    write_job(tmp_path, job)
    assert read_job(tmp_path) == job


def test_steps_taken_again_after_a_crash_replace_the_old_ones(tmp_path: Path) -> None:
    for phase, step in [
        ("prepare", 20),
        ("train", 10),
        ("train", 20),
        ("prepare", 20),
        ("train", 20),
        ("train", 30),
    ]:
        add_point(tmp_path, TrainPoint(phase, step, 30, 1.0, float(step)))  # type: ignore[arg-type]
    assert [p.step for p in points(tmp_path) if p.phase == "train"] == [10, 20, 30]


def test_a_line_that_is_still_being_written_waits(tmp_path: Path) -> None:
    assert list(points(tmp_path)) == []
    add_point(tmp_path, TrainPoint("train", 1, 2, 0.5))
    with (tmp_path / "progress.jsonl").open("a") as file:
        file.write('{"phase": "tra')
    assert [p.step for p in points(tmp_path)] == [1]


def test_control_is_go_until_something_else_is_said(tmp_path: Path) -> None:
    assert control(tmp_path) == "go"
    set_control(tmp_path, "pause")
    assert control(tmp_path) == "pause"
