"""The guided walk of the Inspect tab: tell, let guess, reveal, five times."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr
from PIL import Image

from vlm_studio.core.errors import InvalidRequest
from vlm_studio.studio import Studio
from vlm_studio.tasks.inspect_feed import strip_feedings
from vlm_studio.tasks.inspect_look import Checked, Chosen, Look
from vlm_studio.tasks.inspect_tokens import crop_tokens, seen_by
from vlm_studio.tasks.inspect_walk import WalkStep, outcome, walk, word_to_follow
from vlm_studio.ui.shared import owner_of
from vlm_studio.ui.tabs import inspect_pictures as pictures
from vlm_studio.ui.tabs.inspect_render import View, page_images
from vlm_studio.views.atlas import atlas_picture
from vlm_studio.views.crops import picture_html, pieces_picture, strip_picture
from vlm_studio.views.inspect_words import honesty_html
from vlm_studio.views.transcript import status_html
from vlm_studio.views.walk import walk_html

FRESH = '<p class="inspect-note">Five steps from your page to the words, with a guess before each. Ask about a line first, then start.</p>'


@dataclass(frozen=True, slots=True)
class Place:
    """How far somebody is."""

    step: int = 0
    right: int = 0
    """Guesses that were right so far."""
    shown: bool = False


def start(studio: Studio, view: View, place: Place, request: gr.Request) -> list[Any]:
    """From the beginning. Raises InvalidRequest where nothing was asked yet."""
    look, _ = _look(studio, view, request)
    place = Place()
    return _step(walk(look), place)


def go_on(studio: Studio, view: View, place: Place, request: gr.Request) -> list[Any]:
    look, _ = _look(studio, view, request)
    steps = walk(look)
    if place.step + 1 < len(steps):
        return _step(steps, Place(place.step + 1, place.right))
    told = f"You guessed {place.right} of {len(steps)}. Choose another line and the numbers change."
    return [place, walk_html(None, len(steps), len(steps), told), *_buttons(None, False, False)]


def reveal(
    studio: Studio, view: View, place: Place, guess: int | None, request: gr.Request
) -> Iterator[list[Any]]:
    """What is really there, against the guess."""
    look, owner = _look(studio, view, request)
    steps = walk(look)
    step = steps[min(place.step, len(steps) - 1)]
    if guess is None:
        raise InvalidRequest("You have not guessed yet.", "Choose one of the answers first.")
    if step.picture != "honesty":
        yield _revealed(steps, step, place, guess, _picture(studio, owner, look, step))
        return
    word = word_to_follow(look.inspection.words)
    for found in studio.looking.check(owner, look.inspection.id, Chosen(word)):
        if isinstance(found, Checked):
            picture = honesty_html(found.honesty, look.inspection.words[word].text)
            picture += pictures.masks_view(page_images(studio, owner, look), look, found)
            step = replace(step, right=outcome(found.honesty), reveals=found.honesty.verdict)
            yield _revealed(steps, step, place, guess, picture)
        else:
            waiting = status_html("Hiding one area after another ...", found.share)
            body = walk_html(step, place.step, len(steps), "") + waiting
            yield [place, body, gr.skip(), gr.update(interactive=False), gr.skip()]


def _look(studio: Studio, view: View, request: gr.Request) -> tuple[Look, str]:
    if not view.inspection_id:
        raise InvalidRequest("There is no answer to follow yet.", "Ask about a line first.")
    owner = owner_of(studio.settings, request)
    return studio.looking.look(owner, view.inspection_id), owner


def _step(steps: tuple[WalkStep, ...], place: Place) -> list[Any]:
    step = steps[place.step]
    return [place, walk_html(step, place.step, len(steps), ""), *_buttons(step, True, False)]


def _revealed(
    steps: tuple[WalkStep, ...], step: WalkStep, place: Place, guess: int, picture: str
) -> list[Any]:
    right = int(guess == step.right)
    after = replace(place, right=place.right + (0 if place.shown else right), shown=True)
    told = ("You guessed it. " if right else f"It is: {step.options[step.right]}. ") + step.reveals
    body = walk_html(step, place.step, len(steps), told, picture, step.options[guess])
    return [after, body, *_buttons(step, False, True)]


def _buttons(step: WalkStep | None, guessing: bool, done: bool) -> list[Any]:
    """The choice, the button that reveals, the one that goes on."""
    if step is None:
        return [gr.update(visible=False), gr.update(visible=False), gr.update(visible=False)]
    choice = (
        gr.update(
            choices=[(text, i) for i, text in enumerate(step.options)],
            value=None,
            label=step.question,
            visible=True,
            interactive=True,
        )
        if guessing
        else gr.update(visible=False)
    )
    return [choice, gr.update(visible=not done, interactive=True), gr.update(visible=done)]


def _picture(studio: Studio, owner: str, look: Look, step: WalkStep) -> str:
    pages = page_images(studio, owner, look)
    first = look.inspection.fed[0]
    if step.picture in {"strip", "patches"}:
        return _fed(pages[first.page_id], look, step.picture == "patches")
    if step.picture == "atlas":
        tokens = crop_tokens(look, 0)
        return picture_html(atlas_picture(seen_by(pages, look, 0), tokens.kept, tokens.labels), step.title)
    heats = studio.looking.heat(owner, look.inspection.id, Chosen(word_to_follow(look.inspection.words)))
    return pictures.close_ups(pages[first.page_id], look, heats[0], first.page_id)


def _fed(page: Image.Image, look: Look, grid: bool) -> str:
    fed = look.inspection.fed[0]
    if fed.line is None:
        return picture_html(pieces_picture(page, look.trace.crops), "What was fed")
    image, crop = strip_feedings(page, fed.page_id, fed.line)[0]
    return picture_html(strip_picture(image, crop, grid), "What was fed")
