"""What happens on each click of the Chat tab: ids and plain values in, what is shown out.

Nothing of a conversation is taken from the browser but the text being written: turns are loaded by id, for their owner.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any, get_args

import gradio as gr
from PIL import Image

from vlm_studio.core.chat import ChatImage, ChatTurn
from vlm_studio.core.conversation import GenParams, Splitting, Variant
from vlm_studio.core.documents import Box
from vlm_studio.core.errors import InvalidRequest, NotFound, StudioError
from vlm_studio.studio import Studio
from vlm_studio.tasks.adapt_manage import ACTIVE
from vlm_studio.tasks.chat import Kept
from vlm_studio.tasks.chat_answer import Said, Told
from vlm_studio.tasks.chat_feed import Options
from vlm_studio.tasks.chat_markers import marker
from vlm_studio.tasks.chat_presets import preset
from vlm_studio.tasks.chat_value import answer_value
from vlm_studio.ui.hand_choice import remember
from vlm_studio.ui.shared import owner_of, uploads_of
from vlm_studio.ui.tabs.sessions_handlers import download_folder
from vlm_studio.views.chat_messages import live_html, messages_html, unanswered_html
from vlm_studio.views.chat_tray import tray_html
from vlm_studio.views.model_choice import model_html
from vlm_studio.views.page_overlay import DISPLAY_WIDTH, draw_lines
from vlm_studio.views.picture_buttons import picture_buttons_html, thumbnail_uri
from vlm_studio.views.transcript import status_html

REFRESH_SECONDS = 0.15
"""Between two redrawings of the answer being written."""
PICTURE_PX, THUMB_PX = 420, 160
TAB = "chat"
SHOWN, COMPOSED = 9, 9
"""How many values `render` and `_closed` give."""
EXAMPLES: tuple[tuple[tuple[str, ...], str], ...] = (
    (("letter.jpg", "notebook_page.jpg"), "How many kilos will the pear tree carry?"),
    (("notebook_page.jpg",), "What do I have to buy, according to <image 1>?"),
    (("letter.jpg",), "What does <image 1> say?"),
    (("letter.jpg",), "What colour is the ink of <image 1>?"),
)
"""(images, question); the last one shows what a reader says that sees no colours."""


def reader_choices(studio: Studio) -> list[tuple[str, str]]:
    return [("auto (best here)", "auto"), *((name, name) for name in studio.transcriber.names)]


def examples_html(studio: Studio) -> str:
    folder = studio.settings.assets_dir / "examples"
    items = [
        (thumbnail_uri(_beside([folder / name for name in files]), 420), question.replace("<image 1>", "it"))
        for files, question in EXAMPLES
    ]
    return (
        '<div class="chat-welcome"><h2>Ask about your images</h2><p>Add one or several, put each where it belongs '
        "in your question, and see what the answer rests on. Or begin with one of these:</p>"
        + picture_buttons_html(items, None, "Examples")
        + "</div>"
    )


def _beside(paths: list[Path]) -> Image.Image:
    """The pages of an example next to each other."""
    pages = [Image.open(path).convert("RGB") for path in paths]
    height = min(page.height for page in pages)
    pages = [page.resize((page.width * height // page.height, height)) for page in pages]
    whole = Image.new("RGB", (sum(page.width for page in pages), height), "white")
    left = 0
    for page in pages:
        whole.paste(page, (left, 0))
        left += page.width
    return whole


def options_of(*values: Any) -> Options:
    """From what `Panel.options` holds."""
    model, splitting, reader, system, temperature, top_p, penalty, longest, seed = values
    if splitting not in get_args(Splitting):
        raise InvalidRequest(f"Images cannot be split {splitting!r}.", "Use auto, on or off.")
    params = GenParams(int(longest), float(temperature), float(top_p), float(penalty), int(seed or 0))
    variant = Variant(str(model or "auto"), splitting=splitting)
    return Options(str(system or ""), params, str(reader or "auto"), variant)


def describe_model(
    studio: Studio, session_id: str, model: str, splitting: Splitting, request: gr.Request
) -> str:
    """What is to be expected of the model chosen, and what the images that wait will cost it."""
    owner = owner_of(studio.settings, request)
    try:
        told = studio.models.explain(model or "auto")
        waiting = [i for i in studio.chats.images(owner, session_id) if i.waiting] if session_id else []
        pixels = [studio.chats.pixels(owner, image.sha256) for image in waiting]
        costs = studio.models.image_tokens(Variant(model or "auto", splitting=splitting), pixels)
    except StudioError as problem:
        return model_html(str(problem), (), ())
    return model_html(told, [image.number for image in waiting], costs)


def render(studio: Studio, owner: str, session_id: str, notice: str = "") -> list[Any]:
    """Values for `Panel.shown`: a conversation as it is kept."""
    chats = studio.chats
    turns = chats.path(owner, session_id) if session_id else ()
    images = chats.images(owner, session_id) if session_id else ()
    waiting = [image for image in images if image.waiting]
    running = bool(session_id) and chats.running(owner, session_id) is not None
    title = studio.session_store.get(owner, session_id).title if session_id else ""
    live = live_html("", "Getting ready ...") if running else ""
    if turns and turns[-1].turn.role == "user" and not running:
        live = unanswered_html(turns[-1])
    return [
        session_id,
        f"<h2>{escape(title)}</h2>" if turns else "",
        messages_html(turns, images, _pictures(studio, owner, turns)) if turns else "",
        live,
        gr.update(visible=not turns),
        tray_html(waiting, {i.sha256: _small(studio, owner, i.sha256, THUMB_PX) for i in waiting}),
        gr.update(visible=not running),
        gr.update(visible=running),
        notice,
    ]


def _pictures(studio: Studio, owner: str, turns: tuple[ChatTurn, ...]) -> dict[str, str]:
    wanted = {part.image_sha256 for turn in turns for part in turn.turn.images}
    return {sha256: _small(studio, owner, sha256, PICTURE_PX) for sha256 in wanted}


def _small(studio: Studio, owner: str, sha256: str, longest: int) -> str:
    return thumbnail_uri(studio.chats.thumbnail(owner, sha256, longest), longest)


def _closed(text: Any = "", editing: str = "", draft: str = "") -> list[Any]:
    """Values for `Panel.composed`: nothing being looked at. `draft` waits until the editing is over."""
    return [
        text, editing, gr.update(visible=bool(editing)), gr.update(visible=False), None, "", 0, (), draft,
    ]  # fmt: skip


def _moved_on(editing: str, draft: str) -> list[Any]:
    """Another conversation is shown: what was being written goes along, a message being edited does not."""
    return _closed(draft if editing else gr.skip())


def _same() -> list[Any]:
    return [gr.skip()] * COMPOSED


def send(
    studio: Studio, session_id: str, text: str, editing: str, draft: str, model: str, splitting: str, reader: str, system: str,
    temperature: float, top_p: float, penalty: float, longest: int, seed: int, request: gr.Request,
) -> list[Any]:  # fmt: skip
    """Keep what was written and begin to answer; an edited message becomes another version, and the draft comes back."""
    owner = owner_of(studio.settings, request)
    options = options_of(model, splitting, reader, system, temperature, top_p, penalty, longest, seed)
    if editing:
        run = studio.chats.edit(owner, editing, text, options)
    else:
        run = studio.chats.send(owner, session_id, text, options)
    return [*render(studio, owner, run.run_id), *_closed(draft)]


def send_example(
    studio: Studio, model: str, splitting: str, reader: str, system: str, temperature: float, top_p: float, penalty: float,
    longest: int, seed: int, request: gr.Request, event: gr.EventData,
) -> list[Any]:  # fmt: skip
    owner = owner_of(studio.settings, request)
    files, question = EXAMPLES[int(event.index)]
    folder = studio.settings.assets_dir / "examples"
    taken = studio.chats.attach(owner, "", [(name, (folder / name).read_bytes()) for name in files])
    options = options_of(model, splitting, reader, system, temperature, top_p, penalty, longest, seed)
    run = studio.chats.send(owner, taken.session_id, question, options)
    return [*render(studio, owner, run.run_id), *_closed()]


def watch(studio: Studio, session_id: str, request: gr.Request) -> Iterator[list[Any]]:
    """Follow the answer being written, from its beginning; ends with the conversation as it is kept."""
    if not session_id:
        yield [gr.skip()] * SHOWN
        return
    owner = owner_of(studio.settings, request)
    run = studio.chats.running(owner, session_id)
    text, told, drawn = "", "", 0.0
    if run is not None:
        for event in run.follow():
            if isinstance(event, Told):
                told = event.message
            elif isinstance(event, Said):
                text, told = text + event.text, ""
            elif isinstance(event, Kept):
                break
            if time.monotonic() - drawn > REFRESH_SECONDS:
                drawn = time.monotonic()
                yield _while_running(live_html(text, told))
        for _ in run.follow():
            # Until the work has really ended: what is drawn next must not take it for running.
            pass
    yield render(studio, owner, session_id)


def _while_running(live: str) -> list[Any]:
    shown: list[Any] = [gr.skip()] * SHOWN
    shown[3], shown[6], shown[7] = live, gr.update(visible=False), gr.update(visible=True)
    return shown


def stop(studio: Studio, session_id: str, request: gr.Request) -> None:
    studio.chats.stop(owner_of(studio.settings, request), session_id)


def attach(
    studio: Studio, session_id: str, files: list[str] | None, request: gr.Request, hand: str = ACTIVE
) -> list[Any]:
    """Files were chosen, dropped or pasted: they wait in the tray, numbered."""
    owner = owner_of(studio.settings, request)
    given = [(Path(path).name, Path(path).read_bytes()) for path in files or []]
    taken = studio.chats.attach(owner, session_id, given)
    remember(studio, owner, session_id, taken.session_id, hand)
    notice = status_html(" ".join(taken.problems), None, problem=True) if taken.problems else ""
    return render(studio, owner, taken.session_id, notice)


def act_on_tray(studio: Studio, session_id: str, request: gr.Request, event: gr.EventData) -> list[Any]:
    owner = owner_of(studio.settings, request)
    if event.act == "remove":
        studio.chats.detach(owner, session_id, int(event.number))
        return [*render(studio, owner, session_id), *_same()]
    return [*[gr.skip()] * SHOWN, *_looking(studio, owner, session_id, int(event.number))]


def act(
    studio: Studio, session_id: str, text: str, editing: str, draft: str, model: str, splitting: str, reader: str, system: str,
    temperature: float, top_p: float, penalty: float, longest: int, seed: int, request: gr.Request, event: gr.EventData,
) -> list[Any]:  # fmt: skip
    """A button of a message."""
    owner = owner_of(studio.settings, request)
    turn = str(event.turn)
    composed = _same()
    if event.act == "retry":
        options = options_of(model, splitting, reader, system, temperature, top_p, penalty, longest, seed)
        studio.chats.retry(owner, turn, options)
    elif event.act == "show":
        studio.chats.choose(owner, turn)
    elif event.act == "edit":
        composed = _closed(studio.chats.typed(owner, turn), turn, draft if editing else text)
    elif event.act == "evidence":
        path = studio.evidence.pack(owner, turn, download_folder())
        return [*[gr.skip()] * (SHOWN + COMPOSED), gr.update(value=str(path), visible=True)]
    elif event.act == "view":
        place = _place(studio, owner, turn, int(event.place))
        return [
            *[gr.skip()] * SHOWN,
            *_looking(studio, owner, session_id, int(event.number), place),
            gr.skip(),
        ]
    return [*render(studio, owner, session_id), *composed, gr.update(visible=False)]


def _place(studio: Studio, owner: str, turn_id: str, place: int) -> Box | None:
    """Where the quote number `place` of an answer stands on its image."""
    if not turn_id or place < 0:
        return None
    run = studio.chats.turn(owner, turn_id).run
    rests = run.rests_on if run else ()
    return rests[place].box if place < len(rests) else None


def _looking(
    studio: Studio,
    owner: str,
    session_id: str,
    number: int,
    region: Box | None = None,
    corner: tuple[float, ...] = (),
) -> list[Any]:
    """Values for `Panel.composed`: an image is shown large, with a region marked on it."""
    image = studio.chats.image(owner, session_id, number)
    drawn = draw_lines(studio.chats.pixels(owner, image.sha256), (), region=region).image
    told = (
        "Now click the opposite corner."
        if corner
        else "Click two opposite corners to send a part of it as well."
    )
    hint = f'<p class="studio-hint"><b>{escape(_named(image))}</b> · {told}</p>'
    values = _same()
    values[3:8] = [gr.update(visible=True), drawn, hint, number, corner]
    return values


def _named(image: ChatImage) -> str:
    return f"Image {image.number}: {image.name}"


def mark_region(
    studio: Studio,
    session_id: str,
    viewed: int,
    corner: tuple[float, ...],
    request: gr.Request,
    event: gr.SelectData,
) -> list[Any]:
    """Two clicks on the image looked at mark a part of it, which joins the message."""
    owner = owner_of(studio.settings, request)
    image = studio.chats.image(owner, session_id, viewed)
    scale = min(1.0, DISPLAY_WIDTH / image.width_px)
    x, y = event.index[0] / scale, event.index[1] / scale
    if not corner:
        dot = Box(x - 4 / scale, y - 4 / scale, x + 4 / scale, y + 4 / scale)
        return [*[gr.skip()] * SHOWN, *_looking(studio, owner, session_id, viewed, dot, (x, y))]
    box = Box(min(x, corner[0]), min(y, corner[1]), max(x, corner[0]), max(y, corner[1]))
    part = studio.chats.attach_region(owner, session_id, viewed, box)
    notice = status_html(f"The part is {marker(part.number)}.", None)
    return [*render(studio, owner, session_id, notice), *_looking(studio, owner, session_id, viewed, box)]


def close_viewer(studio: Studio) -> list[Any]:
    return [gr.skip(), gr.skip(), gr.skip(), gr.update(visible=False), None, "", 0, (), gr.skip()]


def unedit(studio: Studio, draft: str) -> list[Any]:
    return _closed(draft)


def start_anew(studio: Studio, editing: str, draft: str, request: gr.Request) -> list[Any]:
    return [*render(studio, owner_of(studio.settings, request), ""), *_moved_on(editing, draft)]


def take_preset(studio: Studio, name: str) -> list[Any]:
    """System prompt, temperature, top-p, penalty, longest answer."""
    chosen = preset(name)
    params = chosen.params
    return [chosen.system, params.temperature, params.top_p, params.repetition_penalty, params.max_new_tokens]


def open_session(
    studio: Studio, opened: str, session_id: str, editing: str, draft: str, request: gr.Request
) -> list[Any]:
    """A session was chosen elsewhere in the app, or came with the address."""
    kind, _, wanted = opened.partition("/")
    wanted = wanted.split("/")[0]
    if kind != TAB or not wanted or wanted == session_id:
        return [gr.skip()] * (SHOWN + COMPOSED)
    return [*render(studio, owner_of(studio.settings, request), wanted), *_moved_on(editing, draft)]


def open_from_address(studio: Studio, request: gr.Request) -> list[Any]:
    """The page was loaded: a chat in its address is shown, and its tab chosen."""
    owner = owner_of(studio.settings, request)
    session_id = str(dict(request.query_params).get("session", ""))
    try:
        if session_id and studio.session_store.get(owner, session_id).kind == TAB:
            return [*render(studio, owner, session_id), *_closed(), f"{TAB}/{session_id}"]
    except NotFound:
        pass
    return [gr.skip()] * (SHOWN + COMPOSED + 1)


def api_chat(
    studio: Studio, text: str, images: list[gr.FileData] | None = None, session: str = "", system: str = "",
    model: str = "auto", reader: str = "auto", temperature: float = 0.0, max_new_tokens: int = 256, seed: int = 0,
    splitting: Splitting = "auto", hand: str = ACTIVE, request: gr.Request | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Ask something, with images at their markers (``<image 1>``); those without one come first.

    `hand` is the id of an adapter of yours that a new conversation is read with, ``base``, or ``active``.
    Returns what `chat --format json` prints; its `session` goes on with the same conversation.
    """
    owner = owner_of(studio.settings, request)
    given = uploads_of(images)
    problems: tuple[str, ...] = ()
    if given:
        taken = studio.chats.attach(owner, session, given)
        remember(studio, owner, session, taken.session_id, hand)
        session, problems = taken.session_id, taken.problems
    options = options_of(model, splitting, reader, system, temperature, 1.0, 1.0, max_new_tokens, seed)
    run = studio.chats.send(owner, session, text, options)
    turn = next(event.turn for event in run.follow() if isinstance(event, Kept))
    return {**answer_value(turn), "problems": list(problems)}
