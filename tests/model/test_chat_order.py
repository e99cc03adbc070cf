"""What a person puts in order reaches the model in that order: checked on the token ids themselves."""

from __future__ import annotations

from itertools import groupby
from typing import Any

import pytest
from PIL import Image

from vlm_studio.core.chat import ChatImage, ChatTurn
from vlm_studio.core.conversation import Ask, Turn
from vlm_studio.model.engine import HFEngine, LoadedModel
from vlm_studio.tasks.chat_feed import Context, Options, fed_turns
from vlm_studio.tasks.chat_markers import parts_of

IMAGES = tuple(ChatImage(n, f"{n}", f"{n}.png", 60, 60, waiting=True) for n in (1, 2, 3))


def context(*texts: str) -> Context:
    turns = []
    for place, text in enumerate(texts):
        waiting = (
            IMAGES if place == 0 else tuple(ChatImage(i.number, i.sha256, i.name, 60, 60) for i in IMAGES)
        )
        turns.append(ChatTurn(str(place), "s", None, Turn("user", parts_of(text, waiting)), "done", ""))
    return Context(
        tuple(turns),
        {i.sha256: i for i in IMAGES},
        lambda _: Image.new("RGB", (60, 60)),
        lambda *_: None,
        Options(),
    )


def fed(engine: HFEngine, *texts: str) -> str:
    """The prompt as the model is fed it, a run of image tokens written as one dot."""
    turns, _ = fed_turns(context(*texts), None)
    pictures = {i.sha256: Image.new("RGB", (60, 60), (40 * i.number,) * 3) for i in IMAGES}
    loaded: Any = engine.loaded
    with engine.opened(Ask(turns), pictures) as opened:
        ids = opened.inputs["input_ids"][0].tolist()
        assert opened.decode is not None
        return "".join(
            "•" if image else opened.decode(list(run))
            for image, run in groupby(ids, key=lambda token: token == loaded.image_token_id)
        ).replace("<file_sep>", "")


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ("Is <image 3> like <image 1>?", "•Is • like •?"),
        ("<image 2><image 1> both <image 3>", "•• both •"),
        ("What is this?", "•••What is this?"),
        ("a <image 1> b <image 1> c <image 2> d <image 3>", "a • b • c • d •"),
    ],
)
def test_images_and_words_are_fed_in_the_order_they_were_put(
    nano: LoadedModel, text: str, order: str
) -> None:
    assert order in fed(HFEngine(nano), text)


def test_which_image_stands_where(nano: LoadedModel) -> None:
    turns, _ = fed_turns(context("x <image 3> y <image 1>"), None)
    assert [p.image_sha256 for p in turns[0].images] == ["2", "3", "1"]
    pictures = {i.sha256: Image.new("RGB", (48 * i.number * 4, 48)) for i in IMAGES}
    with HFEngine(nano).opened(Ask(turns), pictures) as opened:
        assert [crop.image_sha256 for crop in opened.crops] == ["2", "3", "1"]
        starts = [crop.token_positions[0] for crop in opened.crops]
        assert starts == sorted(starts)


def test_a_message_after_others_keeps_all_in_order(nano: LoadedModel) -> None:
    told = fed(HFEngine(nano), "first <image 1>", "then <image 2> again")
    assert told.index("first") < told.index("then") and told.count("•") == 4
