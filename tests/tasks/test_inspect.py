"""From a page to an answer that was looked into: what is fed, kept, found again, and refused to others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.tasks.fakes import RowFinder, page_image, png
from vlm_studio.core.answers import Answer, DoneEvent, EngineEvent, StatusEvent, TokenEvent, Usage
from vlm_studio.core.cancel import CancelToken
from vlm_studio.core.conversation import Ask, ImagePart
from vlm_studio.core.documents import Box, Line
from vlm_studio.core.errors import Cancelled, InvalidRequest, NotFound, StudioError
from vlm_studio.core.inspections import Inspection
from vlm_studio.core.ports import ModelCard
from vlm_studio.core.sessions import LOCAL_OWNER as OWNER
from vlm_studio.core.settings import Limits
from vlm_studio.core.traces import PooledTokens, Trace
from vlm_studio.store.inspection_store import InspectionStore
from vlm_studio.studio import Studio
from vlm_studio.tasks.inspect import Inspected, Inspections, Step
from vlm_studio.tasks.inspect_export import honesty_value, inspection_value
from vlm_studio.tasks.inspect_feed import feedings, prompt_words, rounded, strips_of, words_of
from vlm_studio.tasks.inspect_look import Checked, Chosen, Looking
from vlm_studio.tasks.inspect_tokens import crop_tokens, masked_examples, seen_by, tokens_of_pixels
from vlm_studio.tasks.inspect_walk import outcome, walk
from vlm_studio.trace.geometry import strip_crop

NO = np.zeros(0)
WORDS = ("Call", " the", " dent", "ist")
LATENTS, LAYERS = 8, 3


class InkEngine:
    """Says "Call the dentist": sure of "Call" where the first fed image has ink on its left, whatever of the rest."""

    card = ModelCard("ink", "Ink", "For tests.", True, False, "strips", LATENTS, 2400, "none", {})

    def __init__(self) -> None:
        self.asked: list[Ask] = []
        self.tokens: Sequence[str] = WORDS

    def stream(
        self, ask: Ask, images: Mapping[str, Image.Image], cancel: CancelToken, recorder: object = None
    ) -> Iterator[EngineEvent]:
        self.asked.append(ask)
        assert set(images) == {p.image_sha256 for turn in ask.turns for p in turn.images}
        yield StatusEvent("Waiting for the model: 1 before you.")
        chances = self.chances(next(iter(images.values())))
        events = [TokenEvent(text, i, chances[i]) for i, text in enumerate(self.tokens)]
        yield from events
        yield DoneEvent(Answer("".join(self.tokens), tuple(events), "stop", Usage(), 1.0, 2.0))

    def logprobs(
        self, ask: Ask, images: Mapping[str, Image.Image], continuation: Sequence[int]
    ) -> np.ndarray:
        first = next(p for turn in ask.turns for p in turn.images)
        return np.array(self.chances(images[first.image_sha256])[: len(continuation)])

    @staticmethod
    def chances(image: Image.Image) -> list[float]:
        grey = np.asarray(image.convert("L")).astype(float)
        left = grey[:, : image.width // 10]
        return [-0.1 if left.min() < 100 else -5.0, -0.2, -0.3, -0.3]

    def read(self, *args: object) -> Iterator[object]:
        raise AssertionError("nothing is read here")


class LeftTracer:
    """Token k looks at the k-th eighth of its strip, and word i at token i."""

    def trace(self, ask: Ask, images: Mapping[str, Image.Image], continuation: Sequence[int]) -> Trace:
        hashes = [p.image_sha256 for turn in ask.turns for p in turn.images]
        crops = [strip_crop(sha, images[sha].size, LATENTS) for sha in hashes]
        width = max(crop.patch_hw[1] for crop in crops)
        perceiver = np.zeros((len(crops), 1, LATENTS, width), np.float16)
        for index, crop in enumerate(crops):
            for frame in range(crop.patch_hw[1]):
                perceiver[index, 0, min(LATENTS - 1, frame * LATENTS // crop.patch_hw[1]), frame] = 1
        decoder = np.full((len(continuation), LAYERS, LATENTS * len(crops)), 0.001, np.float16)
        for row in range(len(continuation)):
            decoder[row, :, row] = 0.9
        pooled = PooledTokens(
            np.ones((len(crops), LATENTS, LATENTS), np.float16),
            (2.0,) * len(crops),
            (),
            (tuple("abcdefgh"),) * len(crops),
        )
        return Trace(
            perceiver, decoder, tuple(range(LAYERS)), tuple(crops), (), (), "ink", None, pooled=pooled,
            hidden=decoder, prompt_decoder=decoder[:3], prompt_texts=("Read", " the", " line."),
        )  # fmt: skip

    def gradients(
        self, ask: Ask, images: Mapping[str, Image.Image], continuation: Sequence[int], tokens: Sequence[int]
    ) -> Trace:
        return self.trace(ask, images, continuation)


@pytest.fixture
def engine() -> InkEngine:
    return InkEngine()


@pytest.fixture
def inspections(studio: Studio, engine: InkEngine) -> Inspections:
    rows = InspectionStore(studio.database, studio.session_store, studio.blobs, studio.index)
    return Inspections(
        lambda: (engine, LeftTracer()),  # type: ignore[arg-type, return-value]
        RowFinder,
        studio.session_store,
        rows,
        studio.blobs,
        studio.live,
        Limits(),
    )


def inked_page() -> Image.Image:
    """Two lines, each with ink all along."""
    page = page_image(2)
    for row in (0, 1):
        for x in range(25, 275, 12):
            page.paste((20, 20, 20), (x, 40 * row + 12, x + 6, 40 * row + 28))
    return page


def opened(inspections: Inspections, owner: str = OWNER) -> tuple[str, str]:
    session = inspections.open_file(owner, "notes.png", png(inked_page()))
    return session, inspections.pages(owner, session)[0].id


def asked(inspections: Inspections, lines: Sequence[int] = (0,), question: str = "") -> Inspection:
    session, page = opened(inspections)
    events = list(inspections.start(OWNER, session, page, lines, question).follow())
    assert isinstance(events[0], Step) and isinstance(events[-1], Inspected)
    shares = [event.share for event in events if isinstance(event, Step)]
    assert shares == sorted(shares)
    return events[-1].inspection


def test_a_line_is_fed_answered_and_kept_with_its_trace(inspections: Inspections, engine: InkEngine) -> None:
    made = asked(inspections)
    assert made.answer == "Call the dentist" and made.question == "Read the line."
    assert [(w.text, w.first_token, w.last_token) for w in made.words] == [
        ("Call", 0, 0), ("the", 1, 1), ("dentist", 2, 3),
    ]  # fmt: skip
    assert [w.source for w in made.words] == ["read", "guessed", "guessed"]
    parts = engine.asked[0].turns[0].parts
    assert isinstance(parts[0], ImagePart) and parts[0].image_sha256 == made.fed[0].sha256
    look = Looking(inspections).look(OWNER, made.id)
    assert look.trace.crops[0].box == made.fed[0].box
    assert look.trace.crops[0].image_sha256 == look.pages[0].page.image_sha256
    assert look.trace.token_texts == WORDS and len(inspections.rows.trace(OWNER, made.id)) < 20_000


def test_all_lines_are_fed_where_none_is_named_and_too_many_are_refused(inspections: Inspections) -> None:
    made = asked(inspections, ())
    assert len(made.fed) == 2 and made.question == "Read the lines."
    session = inspections.open_file(OWNER, "long.png", png(page_image(1, width=4400)))
    page = inspections.pages(OWNER, session)[0].id
    run = inspections.start(OWNER, session, page, [0])
    found = next(event for event in run.follow() if isinstance(event, Inspected)).inspection
    # A strip of 200 times its height is cut into pieces that 64 tokens can spell.
    assert len(found.fed) > 5 and all(fed.piece is not None for fed in found.fed)
    assert found.fed[0].box.right == pytest.approx(found.fed[1].box.left, abs=0.1)


def test_words_pixels_and_back(inspections: Inspections) -> None:
    made, looking = asked(inspections), Looking(inspections)
    (heat,) = looking.heat(OWNER, made.id, Chosen(0, method="rollout"))
    page = looking.look(OWNER, made.id).pages[0].page
    warm = np.argwhere(heat.grid > 0.5) * [
        page.height_px / heat.grid.shape[0],
        page.width_px / heat.grid.shape[1],
    ]
    box = made.fed[0].box
    assert box.top - 3 <= warm[:, 0].min() and warm[:, 0].max() <= box.bottom
    assert warm[:, 1].max() < box.left + box.width / 8 + 3
    for method in ("contrast", "raw", "hidden", "gradient"):
        other = looking.heat(OWNER, made.id, Chosen(0, method=method))[0]  # type: ignore[arg-type]
        assert np.unravel_index(other.grid.argmax(), other.grid.shape)[1] < heat.grid.shape[1] / 4, method
    left = Box(box.left, box.top, box.left + box.width / 8, box.bottom)
    factors = looking.words_of_region(OWNER, made.id, left, "rollout")
    assert factors[0] > 3 > 1 > factors[2]
    assert [word for word, _, _ in looking.look(OWNER, made.id).question_words] == ["Read", "the", "line."]
    assert looking.heat(OWNER, made.id, Chosen(2, "question"))
    with pytest.raises(InvalidRequest):
        looking.heat(OWNER, made.id, Chosen(7))
    with pytest.raises(InvalidRequest):
        looking.heat(OWNER, made.id, Chosen(0, "question", "gradient"))


def test_the_honesty_test_believes_a_map_that_the_model_needs(inspections: Inspections) -> None:
    made, looking = asked(inspections), Looking(inspections)
    *steps, checked = looking.check(OWNER, made.id, Chosen(0, method="rollout"), curves=True)
    assert isinstance(checked, Checked) and len(steps) == 7 + 16
    assert checked.honesty.better_than_random and checked.honesty.verdict.startswith("Believe it")
    assert checked.honesty.drop_of("blank") == pytest.approx(4.9) and checked.honesty.drop_of("cold") == 0
    assert checked.honesty.deletion_auc is not None and checked.honesty.deletion_auc < 0.5
    look = looking.look(OWNER, made.id)
    pages = {page.id: inspections.image(OWNER, page.id) for page in look.pages}
    examples = dict(masked_examples(pages, look, checked))
    assert set(examples) == {"hot", "cold", "random", "centre", "blank"}
    assert np.asarray(examples["blank"]).min() > 200
    *_, other = looking.check(OWNER, made.id, Chosen(2))
    assert isinstance(other, Checked) and not other.honesty.better_than_random
    assert "hardly needs the picture" in other.honesty.verdict
    assert honesty_value(other.honesty)["better_than_random"] is False


def test_pooled_tokens_and_the_pixels_they_keep(inspections: Inspections) -> None:
    made, looking = asked(inspections), Looking(inspections)
    look = looking.look(OWNER, made.id)
    tokens = crop_tokens(look, 0)
    assert tokens.labels == tuple("abcdefgh") and tokens.spells and tokens.rank == 2
    assert tokens.missed == 0 and tokens.kept.shape[0] == LATENTS
    assert tokens_of_pixels(tokens, Box(0.0, 0.0, 0.12, 1.0)) == [0]
    assert set(tokens_of_pixels(tokens, Box(0.4, 0.0, 0.6, 1.0))) == {3, 4}
    pages = {page.id: inspections.image(OWNER, page.id) for page in look.pages}
    assert (
        seen_by(pages, look, 0).size == strips_of(pages[made.fed[0].page_id], "", made.fed[0].line)[0][1].size
    )  # type: ignore[arg-type]


def test_an_old_inspection_opens_without_any_model(inspections: Inspections, studio: Studio) -> None:
    made = asked(inspections)

    def none() -> object:
        raise AssertionError("a model was asked for")

    cold = Inspections(
        none,
        RowFinder,
        studio.session_store,
        inspections.rows,
        studio.blobs,
        studio.live,
        Limits(),  # type: ignore[arg-type]
    )
    looking = Looking(cold)
    assert cold.of_session(OWNER, made.session_id) == (made,)
    look = looking.look(OWNER, made.id)
    assert looking.heat(OWNER, made.id, Chosen(0)) and crop_tokens(look, 0).spells
    assert len(walk(look)) == 5
    value = inspection_value(looking, OWNER, look, "contrast")
    assert value["words"][0]["source"] == "read" and value["fed"][0]["spells"] == "abcdefgh"
    assert value["words"][0]["looked_at"][0] < value["words"][1]["looked_at"][2]


def test_nothing_of_another_owner_is_seen_by_its_id(inspections: Inspections) -> None:
    made, looking = asked(inspections), Looking(inspections)
    looking.look(OWNER, made.id)  # now in the cache
    eve = "user:eve"
    page = made.fed[0].page_id
    for attempt in (
        lambda: looking.look(eve, made.id),
        lambda: looking.heat(eve, made.id, Chosen(0)),
        lambda: list(looking.check(eve, made.id, Chosen(0))),
        lambda: inspections.rows.trace(eve, made.id),
        lambda: inspections.of_session(eve, made.session_id),
        lambda: inspections.lines(eve, page),
        lambda: inspections.open_page(eve, page),
        lambda: inspections.start(eve, made.session_id, page, [0]),
    ):
        with pytest.raises(NotFound):
            attempt()
    other, _ = opened(inspections)
    with pytest.raises(NotFound):
        inspections.start(OWNER, other, page, [0])


def test_it_goes_with_its_session_and_travels_in_its_export(
    inspections: Inspections, studio: Studio, tmp_path: Path
) -> None:
    made = asked(inspections)
    archives: Any = studio.sessions.archives
    archives.export(OWNER, [made.session_id], tmp_path / "one.zip")
    report = archives.import_archive("user:ann", tmp_path / "one.zip", lambda owner, session: None)
    (copy,) = inspections.of_session("user:ann", report.session_ids[0])
    assert (copy.answer, copy.words) == (made.answer, made.words) and copy.id != made.id
    assert Looking(inspections).heat("user:ann", copy.id, Chosen(0))
    studio.session_store.delete(OWNER, made.session_id)
    with pytest.raises(NotFound):
        inspections.get(OWNER, made.id)


def test_stop_and_failures_end_in_one_sentence(inspections: Inspections, engine: InkEngine) -> None:
    session, page = opened(inspections)
    engine.tokens = ()
    with pytest.raises(StudioError, match="answered nothing"):
        list(inspections.start(OWNER, session, page, [0]).follow())
    with pytest.raises(InvalidRequest):
        inspections.start(OWNER, session, page, [0], "x" * 5000)
    run = inspections.start(OWNER, session, page, [0])
    run.cancel.cancel()
    with pytest.raises((Cancelled, StudioError)):
        list(run.follow())
    empty = inspections.open_file(OWNER, "blank.png", png(Image.new("RGB", (300, 400), "white")))
    blank_page = inspections.pages(OWNER, empty)[0].id
    with pytest.raises(InvalidRequest, match="No line of writing"):
        list(inspections.start(OWNER, empty, blank_page, []).follow())


def test_another_model_is_not_asked_about_an_old_answer(inspections: Inspections, engine: InkEngine) -> None:
    made, looking = asked(inspections), Looking(inspections)
    engine.card = ModelCard("other", "Other", "", True, False, "strips", 8, 2400, "", {})  # type: ignore[misc]
    assert looking.heat(OWNER, made.id, Chosen(0))
    for attempt in (
        lambda: list(looking.check(OWNER, made.id, Chosen(0))),
        lambda: looking.heat(OWNER, made.id, Chosen(0, method="gradient")),
    ):
        with pytest.raises(InvalidRequest, match="answered by ink"):
            attempt()


def test_lines_come_back_as_they_were_found(inspections: Inspections) -> None:
    _, page = opened(inspections)
    first = inspections.lines(OWNER, page)
    assert inspections.lines(OWNER, page) == first and len(first) == 2
    slanted = rounded(Line(Box(1.234, 2, 3, 4), ((1.006, 2), (3, 2.5), (3, 4), (1, 3.5))))
    assert slanted.quad is not None and slanted.quad[0] == (1.01, 2) and slanted.box.left == 1.23


def test_words_are_cut_at_blanks_and_found_in_the_prompt() -> None:
    tokens = [TokenEvent(t, 0, 0.0) for t in ("\n", "Mon", "day", ",", " 1", "2", "", " Oct", "ober", "\n")]
    assert words_of(tokens) == [("Monday,", 1, 3), ("12", 4, 6), ("October", 7, 8)]
    prompt = Trace(
        NO, NO, (), (), (), (), "", None, prompt_texts=("\n", "Read", " the", " line", ".", "<end>")
    )
    assert prompt_words(prompt, "Read the line.") == [("Read", 1, 1), ("the", 2, 2), ("line.", 3, 4)]
    assert prompt_words(prompt, "What is it?") == []


def test_what_the_8b_would_get_is_told_without_it() -> None:
    lines = [Line(Box(100, y, 1100, y + 14)) for y in range(100, 1600, 60)]
    off, on = feedings("a" * 64, (1240, 1754), lines)[:2]
    assert (off.too_small and on.too_small is not False) or on.writing is not None
    assert off.cost.image_tokens == 64 and on.cost.image_tokens == 320
    assert on.writing is not None and on.writing.cut_by_seam == len(lines)
    assert 0 < off.recording[0] < on.recording[0] < 20 * 2**20
    tiles = (Box(0, 0, 1240, 870), Box(0, 0, 1240, 870), Box(0, 870, 1240, 1754), Box(0, 870, 1240, 1754))
    here = feedings("a" * 64, (1240, 1754), lines, tiles)[2]
    # Seams between the writing cut nothing, and no crop is padded.
    assert here.writing is not None and here.writing.cut_by_seam == 0
    assert here.cost.patches == here.cost.padded_patches


def test_the_walk_has_this_answers_own_numbers(inspections: Inspections) -> None:
    made, looking = asked(inspections), Looking(inspections)
    steps = walk(looking.look(OWNER, made.id))
    frames = looking.look(OWNER, made.id).trace.crops[0].patch_hw[1]
    assert steps[1].options[steps[1].right] == str(frames)
    assert steps[3].options[steps[3].right] == "on the left"
    *_, checked = looking.check(OWNER, made.id, Chosen(0, method="rollout"))
    assert isinstance(checked, Checked) and outcome(checked.honesty) == 2
