"""Notes whose facts are known: answers stand in them, and nothing of one side is on the other."""

from __future__ import annotations

import random

import pytest

from vlm_studio.recipe.misread import Misreader
from vlm_studio.recipe.notes import Note, Notes
from vlm_studio.recipe.texts import Texts

TEXTS = Texts({"en": [], "fr": []}, {"en": ["window", "garden"], "fr": ["fenêtre", "jardin"]})


def notes(held_out: bool, count: int = 150) -> list[Note]:
    rng, made = random.Random(7), Notes(TEXTS, held_out)
    return [made.note(rng) for _ in range(count)]


@pytest.mark.parametrize("held_out", [False, True])
def test_every_copied_answer_stands_in_its_note_and_what_is_absent_has_no_place(held_out: bool) -> None:
    for note in notes(held_out):
        told = "\n".join(note.texts)
        for question in note.questions:
            assert "{" not in question.words and question.answer
            if question.slot:
                assert question.answer in told
            if question.kind == "mention":
                asked = any(w.strip("?.,:;!()").casefold() in question.words.casefold() for w in told.split())
                assert asked or question.answer in {"No", "Non"}


def test_training_and_held_out_notes_share_no_question_about_a_topic_and_no_name() -> None:
    def asked(held_out: bool) -> set[str]:
        lists = {"count", "mention", "amount", "item", "absent"}
        return {q.words for n in notes(held_out) for q in n.questions if q.kind not in lists}

    def people(held_out: bool) -> set[str]:
        return {q.answer for n in notes(held_out) for q in n.questions if q.kind == "who"}

    assert not asked(False) & asked(True)
    assert not people(False) & people(True)


def test_a_misread_note_is_answered_as_it_was_read() -> None:
    note = next(n for n in notes(False) if any(q.slot and q.answer.isalpha() for q in n.questions))
    read = note.read_as(str.swapcase)
    before = {q.words: q for q in note.questions}
    for question in read.questions:
        old = before[question.words]
        assert question.answer == (old.answer.swapcase() if old.slot else old.answer)
    assert read.texts == tuple(text.swapcase() for text in note.texts)


def test_a_question_whose_answer_was_not_read_at_all_is_not_asked() -> None:
    note = next(n for n in notes(False) if any(q.slot for q in n.questions))
    assert all(not q.slot for q in note.read_as(lambda _text: "").questions)


def test_misreading_errs_as_the_reader_did_and_not_at_strength_zero() -> None:
    misread = Misreader([("cot", "cat"), ("bat", "bat"), ("ct", "cat")])
    rng = random.Random(1)
    assert misread("a cat", 0.0, rng) == "a cat"
    found = {misread("a", 1.0, rng) for _ in range(60)}
    assert found == {"a", "o", ""}
    assert misread("bct", 5.0, rng) == "bct"
