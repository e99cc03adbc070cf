"""Frozen vs LoRA on lines that were put right: what a hand may be tested on, and what it learned from."""

from __future__ import annotations

from collections.abc import Sequence

import gradio as gr

from tests.ui.test_adapt_tab import REQUEST, corrected
from tests.ui.test_compare_tab import hand
from vlm_studio.core.adapters import TrainSettings
from vlm_studio.core.sessions import LOCAL_OWNER as OWNER
from vlm_studio.studio import Studio
from vlm_studio.tasks.adapt_lines import Split
from vlm_studio.ui.tabs import compare_handlers as on
from vlm_studio.ui.tabs.compare_given import given_lines


def pages(studio: Studio) -> tuple[Split, Split]:
    """What a training would learn from and keep back now, and the other way round."""
    corrected(studio, 200, 10, text="dear sister")
    corrected(studio, 90, 10, text="dear brother")
    parts = studio.adapting.split(OWNER)
    return parts, Split(parts.held, parts.learn)


def taught(studio: Studio, parts: Split, name: str = "Ann", held_pages: Sequence[str] = ()) -> str:
    """A hand whose training is on record; its id. Trainings of before have no `held_pages` there."""
    sides = [[(studio.adapting.strip(OWNER, x), x.text) for x in side] for side in (parts.learn, parts.held)]
    run = studio.adapter_store.add_training(OWNER, name, TrainSettings(), *map(len, sides), parts.held_pages)
    studio.trainer.prepare(run.id, *sides, run.settings, pages=held_pages)
    made = hand(studio, name)
    studio.adapter_store.set_training(OWNER, run.id, "done", adapter_id=made)
    return made


def told(studio: Studio, corrected: str, left: str, right: str) -> str:
    """The result of comparing on lines that were put right."""
    asked = ("", "0", "", "", left, right, 100.0, REQUEST)
    *_, (html, *_) = on.compare_all(studio, None, corrected, *asked)
    return str(html)


def test_a_hand_is_tested_on_what_its_own_training_kept_back(studio: Studio) -> None:
    _, turned = pages(studio)
    ann, held = taught(studio, turned), turned.held[0].text
    assert studio.adapting.split(OWNER).held[0].text != held
    listed, strips, chosen = on.side_chosen(studio, on.HELD, "base", ann, REQUEST)
    assert listed["choices"][0] == ("all 10 lines kept back when Ann was taught", on.HELD)
    assert strips["value"].count("data-line") == 10 and chosen == "0"
    assert given_lines(studio, OWNER, None, on.HELD, "base", ann).known.splitlines() == [held] * 10
    html = told(studio, on.HELD, "base", ann)
    assert held in html and "learned from" not in html
    assert on.side_chosen(studio, None, "base", "reading", REQUEST)[1:] == [gr.skip()] * 2


def test_lines_that_a_hand_may_have_learned_from_are_called_so(studio: Studio) -> None:
    parts, turned = pages(studio)
    ann = taught(studio, parts)
    later = corrected(studio, 120, 1, text="dear aunt")[0]
    brought = hand(studio, "Bob", seed=2)
    learned, out, held = parts.learn[1].line_id, parts.learn[0].line_id, parts.held[0].line_id
    studio.adapting.leave_out(OWNER, out, True)
    assert "Ann learned from this line: " in told(studio, learned, "base", ann)
    assert "Ann learned from this line: " in told(studio, learned, ann, "base")
    (listed,) = studio.sessions.list(OWNER, kind="compare").items[:1]
    kept = studio.comparisons.list(OWNER, listed.session.id)[0]
    assert "Ann learned from this line: " in on.choose_kept(studio, kept.id, None, learned, REQUEST)[0]
    assert "Ann may have learned from this line: " in told(studio, out, "base", ann)
    for fair in (held, later):
        assert "learned from" not in told(studio, fair, "base", ann)
    assert "learned from" not in told(studio, learned, "base", "base")
    html = told(studio, on.HELD, ann, brought)
    assert "What Bob learned from is not on record here" in html and "Ann" in html
    assert "Ann may have" not in html
    cat = taught(studio, turned, "Cat")
    html = told(studio, on.HELD, ann, cat)
    assert "Ann may have learned from 10 of these 10 lines" in html and "Cat may" not in html


def test_a_training_whose_files_are_gone_is_no_record(studio: Studio) -> None:
    ann = taught(studio, pages(studio)[0])
    studio.trainer.remove(studio.adapter_store.trainings(OWNER)[0].id)
    listed = on.side_chosen(studio, None, "base", ann, REQUEST)[0]
    assert listed["choices"][0][0] == "all 10 lines kept back to test on"
    assert "What Ann learned from is not on record here" in told(studio, on.HELD, "base", ann)


def test_a_line_of_a_page_that_was_kept_back_was_not_learned_from(studio: Studio) -> None:
    parts, _ = pages(studio)
    out, rest = parts.held[0], Split(parts.learn, ())  # as if left out then
    ann = taught(studio, rest, held_pages=[out.page_image_sha256])
    assert "learned from" not in told(studio, out.line_id, "base", ann)
    before = taught(studio, rest, "Cat")
    assert "Cat learned from this line: " in told(studio, out.line_id, "base", before)
