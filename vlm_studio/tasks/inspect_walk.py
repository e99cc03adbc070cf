"""A guided walk through one answer: your page, crops, patches, 64 tokens, words. Guess before each reveal."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

import vlm_studio.trace.maps as maps
from vlm_studio.core.errors import InvalidRequest
from vlm_studio.core.traces import Honesty, WordSource
from vlm_studio.tasks.inspect_look import Chosen, Look

Picture = Literal["strip", "patches", "atlas", "word", "honesty"]


@dataclass(frozen=True, slots=True)
class WalkStep:
    title: str
    tells: str
    """What to know before guessing."""
    question: str
    options: tuple[str, ...]
    right: int
    """Index into `options`; -1 where only the test that the step runs will tell."""
    reveals: str
    picture: Picture


def walk(look: Look) -> tuple[WalkStep, ...]:
    """The five steps for this answer, with its own numbers. Raises InvalidRequest where no word was written."""
    if not look.inspection.words:
        raise InvalidRequest("The model wrote no word to follow.", "Ask about another line.")
    return (_crops(look), _patches(look), _tokens(look), _word(look), _belief(look))


def word_to_follow(words: Sequence[WordSource]) -> int:
    """The longest of the words that were read from the picture, or of all where none was; -1 where there is none."""
    read = [i for i, word in enumerate(words) if word.source == "read"] or list(range(len(words)))
    return max(read, key=lambda i: len(words[i].text), default=-1)


def outcome(found: Honesty) -> int:
    """Which option of the last step came true."""
    left = float(np.exp(-found.drop_of("hot")))
    return 0 if left > 0.67 else 1 if left > 0.33 else 2


def _crops(look: Look) -> WalkStep:
    crop = look.trace.crops[0]
    if crop.kind == "strip":
        high, wide = crop.model_size_hw
        return WalkStep(
            "Your page, in strips",
            "The model never sees the page as you do. Each line of writing is found, cut out, turned upright, made grey "
            "and scaled to one height.",
            "How high is a line when the model gets it?",
            ("12 pixels", f"{high} pixels", "480 pixels"),
            1,
            f"{high} pixels, and {wide} wide in this case. Whatever cannot be seen at this size, the model cannot know.",
            "strip",
        )
    high, wide = crop.model_size_hw
    return WalkStep(
        "Your page, in crops",
        "The page is scaled down to fit a window of 980 pixels; with splitting on, four quarters of it come along.",
        "How many pictures did the model get?",
        ("1", "5", "20"),
        0 if len(look.trace.crops) == 1 else 1,
        f"{len(look.trace.crops)}; the first is {wide} x {high} pixels.",
        "strip",
    )


def _patches(look: Look) -> WalkStep:
    crop = look.trace.crops[0]
    count = crop.patch_hw[0] * crop.patch_hw[1]
    name = "upright slices 8 pixels wide" if crop.kind == "strip" else "squares of 14 x 14 pixels"
    return WalkStep(
        "Crops, in patches",
        f"The vision tower works on {name}. Each becomes one list of numbers.",
        "How many of them has this crop?",
        (f"{max(2, count // 8)}", f"{count}", f"{count * 8}"),
        1,
        f"{count}. A letter that is split between two patches is put together again further up.",
        "patches",
    )


def _tokens(look: Look) -> WalkStep:
    pooled = look.trace.pooled
    rank = pooled.effective_rank[0] if pooled is not None else 0.0
    latents = look.trace.perceiver.shape[2]
    near = 0 if rank < latents / 4 else 1 if rank < 0.75 * latents else 2
    return WalkStep(
        f"Patches, in {latents} tokens",
        f"However many patches there are, {latents} pooled tokens are all that the language model gets. Each gathers from "
        "where it looks.",
        "How many different things do they say?",
        (f"fewer than {latents // 4}", f"about half of {latents}", f"nearly {latents}"),
        near,
        f"As much as {rank:.0f} tokens that have nothing in common would. Each small picture shows where one token looks.",
        "atlas",
    )


def _word(look: Look) -> WalkStep:
    index = word_to_follow(look.inspection.words)
    word = look.inspection.words[index]
    third = _third(look, index)
    return WalkStep(
        "Tokens, into words",
        f"While it writes “{word.text}”, the model weighs the {look.trace.perceiver.shape[2]} tokens anew.",
        f"Where will it look for “{word.text}”?",
        ("on the left", "in the middle", "on the right"),
        third,
        f"Mostly {('on the left', 'in the middle', 'on the right')[third]}. This is what the attention says; whether to "
        "believe it is the last step.",
        "word",
    )


def _third(look: Look, index: int) -> int:
    """In which third of what was fed most of a word's map lies."""
    page = look.pages[0].page
    heat = maps.word_map(
        look.trace, look.rows(Chosen(index)), page.image_sha256, (page.height_px, page.width_px)
    )
    columns = maps.raw_values(heat).sum(0)
    boxes = [fed.box for fed in look.inspection.fed if fed.page_id == look.pages[0].id]
    left = min(box.left for box in boxes) / page.width_px * len(columns)
    right = max(box.right for box in boxes) / page.width_px * len(columns)
    edges = np.linspace(left, right, 4)
    shares = [columns[round(a) : max(round(b), round(a) + 1)].sum() for a, b in itertools.pairwise(edges)]
    return int(np.argmax(shares))


def _belief(look: Look) -> WalkStep:
    word = look.inspection.words[word_to_follow(look.inspection.words)]
    return WalkStep(
        "Do you believe the picture?",
        "A map is a claim. The test: paint over the hot fifth of what the model was fed, and ask again. Then the same with "
        "other areas of the same size.",
        f"How much of the probability of “{word.text}” is left when the hot area is hidden?",
        ("nearly all of it", "about half", "hardly any"),
        -1,
        "",
        "honesty",
    )
