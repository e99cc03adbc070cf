"""What happens on each click of the Documents tab: plain values in, a page update out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.utils import get_upload_folder

from vlm_studio.core.asked import AskedTurn
from vlm_studio.core.conversation import Splitting, Variant
from vlm_studio.core.errors import InvalidRequest, NotFound, StudioError
from vlm_studio.core.ids import new_id
from vlm_studio.studio import Studio
from vlm_studio.tasks.ask_pdf import json_value
from vlm_studio.tasks.documents_session import as_csv
from vlm_studio.tasks.models import QUOTE_STANDS
from vlm_studio.ui.shared import owner_of, uploads_of
from vlm_studio.ui.tabs.documents_render import (
    NOTICE,
    OUTPUTS,
    View,
    Viewed,
    nothing,
    render,
    view_of,
)
from vlm_studio.views.documents import document_list_html, each_html, stances_html
from vlm_studio.views.model_choice import model_html
from vlm_studio.views.transcript import status_html

TAB = "documents"
SO_FAR = "Some pages are still being taken in: the answer rests on those that are there already."
API_WAIT_SECONDS = 540.0


def add_files(
    studio: Studio, files: list[str] | None, password: str, locked: list[str], session_id: str, chosen: list[str],
    viewed: Viewed, request: gr.Request,
) -> list[Any]:  # fmt: skip
    """Files were dropped or chosen: open them, and take them in in the background.

    `locked`: paths of earlier ones that wait for their password.
    """
    owner = owner_of(studio.settings, request)
    view = view_of(session_id, chosen, viewed)
    if not files:
        return render(studio, owner, view)
    given = [(Path(path).name, Path(path).read_bytes()) for path in files]
    taken = studio.documents.add_files(owner, session_id, given, password)
    notice = status_html(" ".join(taken.problems), None, problem=True) if taken.problems else ""
    waiting = dict.fromkeys((*locked, *(files[number] for number in taken.locked)))
    view = replace(view, session_id=taken.session_id, notice=notice, locked=tuple(waiting))
    return render(studio, owner, view)


def unlock(
    studio: Studio, password: str, locked: list[str], session_id: str, chosen: list[str], viewed: Viewed,
    request: gr.Request,
) -> list[Any]:  # fmt: skip
    """A password was given: open what waits for one, and nothing that is in already."""
    return add_files(studio, locked, password, [], session_id, chosen, viewed, request)


def describe_model(
    studio: Studio, model: str, splitting: Splitting, session_id: str, chosen: list[str], viewed: Viewed,
    request: gr.Request,
) -> str:  # fmt: skip
    """What is to be expected of the model chosen, and what the page looked at would cost it."""
    owner = owner_of(studio.settings, request)
    try:
        told = studio.models.explain(model, QUOTE_STANDS)
        pixels = [studio.documents.image(owner, viewed[0], viewed[1])] if session_id and viewed[0] else []
        costs = studio.models.image_tokens(Variant(model, splitting=splitting), pixels)
    except StudioError as problem:
        return model_html(str(problem), (), ())
    # A model that reads strips only is never asked here, so nothing is said of its cost.
    return model_html(told, [viewed[1] + 1] if costs else (), costs, "page")


def ask(
    studio: Studio, model: str, splitting: Splitting, question: str | None, pages: str | None, session_id: str,
    chosen: list[str], viewed: Viewed, request: gr.Request,
) -> Iterator[list[Any]]:  # fmt: skip
    owner = owner_of(studio.settings, request)
    variant = Variant(model or "auto", splitting=splitting)
    text = question or ""
    turn: AskedTurn | None = None
    taken = False
    try:
        for event in studio.documents.asking(owner, session_id, text, tuple(chosen), pages or "", variant):
            if isinstance(event, AskedTurn):
                turn = event
            else:
                # Its field is emptied once, in the browser: whatever is typed there meanwhile is the next question.
                # The id makes the same question asked again another one.
                yield _told(status_html(event, None), gr.skip() if taken else f"{new_id()} {text}")
                taken = True
    except Exception:
        if taken:
            yield _told(status_html(f"Not answered: “{text.strip()}”", None, problem=True), gr.skip())
        raise
    assert turn is not None
    view = _at(view_of(session_id, chosen, viewed), turn, 0)
    if any(document.waiting for document in studio.documents.documents(owner, session_id)):
        view = replace(view, notice=status_html(SO_FAR, None))
    yield [*render(studio, owner, view), gr.skip()]


def _told(notice: str, taken: Any) -> list[Any]:
    """A notice and the question that was taken; all else stays as it is."""
    values: list[Any] = [gr.skip()] * OUTPUTS
    values[NOTICE] = notice
    return [*values, taken]


def _at(view: View, turn: AskedTurn, citation: int) -> View:
    """The view turned to a citation of an answer; the page stays where there is none."""
    if not 0 <= citation < len(turn.answer.citations):
        return replace(view, viewed=(view.viewed[0], view.viewed[1], turn.id, 0))
    cited = turn.answer.citations[citation]
    return replace(view, viewed=(cited.document_id, cited.page_index, turn.id, citation))


def act_on_document(
    studio: Studio,
    session_id: str,
    chosen: list[str],
    viewed: Viewed,
    request: gr.Request,
    event: gr.EventData,
) -> list[Any]:
    """Something in the list was clicked: a document, its check mark or one of its buttons."""
    owner = owner_of(studio.settings, request)
    view = view_of(session_id, chosen, viewed)
    act, document_id = str(event.act), str(event.document)
    if act == "open":
        view = replace(view, viewed=(document_id, 0, "", 0))
    elif act == "choose":
        others = tuple(i for i in view.chosen if i != document_id)
        view = replace(view, chosen=(*others, document_id) if event.on else others)
    elif act in {"pause", "resume", "cancel", "remove"}:
        getattr(studio.documents, act)(owner, document_id)
    return render(studio, owner, view)


def act_on_turn(
    studio: Studio,
    session_id: str,
    chosen: list[str],
    viewed: Viewed,
    request: gr.Request,
    event: gr.EventData,
) -> list[Any]:
    """A quote was clicked, or which pages agree was asked."""
    owner = owner_of(studio.settings, request)
    view = view_of(session_id, chosen, viewed)
    turn = _turn(studio, owner, session_id, str(event.turn))
    if str(event.act) == "stances":
        return render(studio, owner, replace(view, stances=_stances(studio, owner, session_id, turn)))
    return render(studio, owner, _at(view, turn, int(event.citation)))


def _turn(studio: Studio, owner: str, session_id: str, turn_id: str) -> AskedTurn:
    turn = next((t for t in studio.documents.turns(owner, session_id) if t.id == turn_id), None)
    if turn is None:
        raise NotFound("There is no such question.", "It may have been deleted.")
    return turn


def _stances(studio: Studio, owner: str, session_id: str, turn: AskedTurn) -> str:
    found = studio.documents.stances(owner, session_id, turn.id)
    speaking = [s for s in found if s.citation is not None]
    rows = [(s.citation.document, s.page + 1, s.stance, s.says) for s in speaking if s.citation is not None]
    title = f'<p class="studio-hint">{escape(turn.question)}</p>'
    return title + stances_html(rows, len(found) - len(speaking))


def show_used(
    studio: Studio,
    session_id: str,
    chosen: list[str],
    viewed: Viewed,
    request: gr.Request,
    event: gr.EventData,
) -> list[Any]:
    owner = owner_of(studio.settings, request)
    view = view_of(session_id, chosen, viewed)
    turn = _turn(studio, owner, session_id, view.viewed[2])
    return render(studio, owner, _at(view, turn, int(event.index)))


def page_before(
    studio: Studio, session_id: str, chosen: list[str], viewed: Viewed, request: gr.Request
) -> list[Any]:
    return _leaf(studio, view_of(session_id, chosen, viewed), -1, request)


def page_after(
    studio: Studio, session_id: str, chosen: list[str], viewed: Viewed, request: gr.Request
) -> list[Any]:
    return _leaf(studio, view_of(session_id, chosen, viewed), 1, request)


def _leaf(studio: Studio, view: View, step: int, request: gr.Request) -> list[Any]:
    owner = owner_of(studio.settings, request)
    document_id, page, turn, citation = view.viewed
    documents = studio.documents.documents(owner, view.session_id) if view.session_id else ()
    last = next((d.pages for d in documents if d.id == document_id), 1) - 1
    there = min(max(page + step, 0), last)
    return render(studio, owner, replace(view, viewed=(document_id, there, turn, citation)))


def ask_each(
    studio: Studio, question: str | None, pages: str | None, session_id: str, chosen: list[str], viewed: Viewed,
    request: gr.Request,
) -> list[Any]:  # fmt: skip
    """The typed question, or the last one asked, of each document by itself."""
    owner = owner_of(studio.settings, request)
    turns = studio.documents.turns(owner, session_id) if session_id else ()
    text = (question or "").strip() or (turns[-1].asked_as if turns else "")
    if not text:
        raise InvalidRequest("There is no question yet.", "Type it above.")
    rows = studio.documents.ask_each(owner, session_id, text, pages or "")
    path = Path(get_upload_folder()) / new_id() / "answers.csv"
    path.parent.mkdir(parents=True, mode=0o700)
    path.write_bytes(as_csv(rows))
    table = []
    for row in rows:
        first = row.answer.citations[0] if row.answer.citations else None
        table.append(
            (
                row.document.name,
                row.answer.text if first is None or not row.answer.text.endswith(f"({first.quote})")
                else row.answer.text.removesuffix(f"({first.quote})").strip(),
                str(first.page_index + 1) if first else "",
                first.quote if first else "",
            )
        )  # fmt: skip
    title = f'<p class="studio-hint">{escape(text)}</p>'
    return [title + each_html(table), gr.update(value=str(path), visible=True)]


def refresh(
    studio: Studio, session_id: str, chosen: list[str], viewed: Viewed, request: gr.Request
) -> list[Any]:
    """How far the documents are taken in."""
    owner = owner_of(studio.settings, request)
    documents = studio.documents.documents(owner, session_id) if session_id else ()
    return [
        document_list_html(documents, chosen, viewed[0]),
        gr.Timer(active=any(d.waiting for d in documents)),
    ]


def start_anew(studio: Studio) -> list[Any]:
    """Nothing is left of the documents: what was narrowed to their pages, or asked of each, goes with them."""
    return [*nothing(View("", locked=())), "", "", gr.update(value=None, visible=False)]


def open_session(studio: Studio, opened: str, session_id: str, request: gr.Request) -> list[Any]:
    """A session was chosen elsewhere in the app, or came with the address."""
    kind, _, wanted = opened.partition("/")
    wanted = wanted.split("/")[0]
    if kind != TAB or not wanted or wanted == session_id:
        return [gr.skip()] * OUTPUTS
    return render(studio, owner_of(studio.settings, request), _last(studio, wanted, request))


def open_from_address(studio: Studio, request: gr.Request) -> list[Any]:
    """The page was loaded: documents in its address are shown, and their tab chosen."""
    session_id = str(dict(request.query_params).get("session", ""))
    try:
        owner = owner_of(studio.settings, request)
        if session_id and studio.session_store.get(owner, session_id).kind == TAB:
            return [*render(studio, owner, _last(studio, session_id, request)), f"{TAB}/{session_id}"]
    except NotFound:
        pass
    return [gr.skip()] * (OUTPUTS + 1)


def _last(studio: Studio, session_id: str, request: gr.Request) -> View:
    """A session at the answer that was given last. What waits for its password belongs to another one."""
    turns = studio.documents.turns(owner_of(studio.settings, request), session_id)
    view = View(session_id, locked=())
    return _at(view, turns[-1], 0) if turns else view


def api_ask(
    studio: Studio, files: list[gr.FileData], question: str, pages: str = "", password: str = "",
    session: str = "", request: gr.Request | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Ask a question of PDFs and images. Returns what `ask` prints, with the session that keeps them.

    With `session` the documents kept there are asked too, and `files` may be empty.
    """
    owner = owner_of(studio.settings, request)
    given = uploads_of(files)
    taken = studio.documents.add_files(owner, session, given, password)
    if not taken.session_id:
        raise InvalidRequest(" ".join(taken.problems) or "No file was sent.", "Send PDFs or images.")
    studio.documents.settle(owner, taken.session_id, API_WAIT_SECONDS)
    turn = studio.documents.ask(owner, taken.session_id, question, (), pages)
    value = json_value(turn.answer, turn.answer.seconds)
    return {**value, "session": taken.session_id, "problems": list(taken.problems)}
