"""The Frozen vs LoRA tab, its command and its endpoint, with the real line reader and adapters made up for it."""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest
import torch
from PIL import Image
from safetensors.torch import save

from tests.tasks.fakes import png
from tests.ui.test_adapt_tab import EVIL, REQUEST, corrected
from vlm_studio import cli_compare
from vlm_studio.core.adapters import AdapterFacts
from vlm_studio.core.cancel import CancelToken
from vlm_studio.core.comparison import (
    Comparison,
    Confusion,
    LinePair,
    LinesComparison,
    Side,
    WordChance,
    WordShift,
)
from vlm_studio.core.conversation import Variant
from vlm_studio.core.documents import Box, Line
from vlm_studio.core.errors import InvalidRequest, NotFound, StudioError
from vlm_studio.core.sessions import LOCAL_OWNER as OWNER
from vlm_studio.model.characters import ALPHABET
from vlm_studio.studio import Studio
from vlm_studio.tasks.compare import Comparing, reading_ask
from vlm_studio.tasks.compare_input import piece
from vlm_studio.ui import shared
from vlm_studio.ui.app import build_app
from vlm_studio.ui.shared import COMPARE_WITH
from vlm_studio.ui.tabs import compare_handlers as on
from vlm_studio.ui.tabs.compare_given import given_lines
from vlm_studio.views.compare import comparison_html, lines_html, paper_html

LINE = Path(__file__).resolve().parents[1] / "data" / "lines" / "00.jpg"
CLICK: Any = SimpleNamespace(value="Frozen vs LoRA")
Upload = Callable[[bytes], Any]
PAGE = png(Image.new("RGB", (300, 400), "white"))


@pytest.fixture
def upload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Upload:
    """Bytes as Gradio hands over a file that a browser sent."""
    monkeypatch.setattr(shared, "get_upload_folder", lambda: str(tmp_path))

    def sent(data: bytes) -> dict[str, str]:
        (tmp_path / "0.png").write_bytes(data)
        return {"path": str(tmp_path / "0.png"), "orig_name": "mine.png"}

    return sent


def finds(studio: Studio, lines: int, skipped: int = 0) -> None:
    """Have so many lines be found on `PAGE`, and ink that may be none."""
    found = [Line(Box(5, 12 * n, 290, 12 * n + 10), maybe_skipped=n >= lines) for n in range(lines + skipped)]
    studio.transcriber.finder = SimpleNamespace(find=lambda image: tuple(found))  # type: ignore[assignment]


def hand(studio: Studio, name: str = "Ann", owner: str = OWNER, seed: int = 1, size: float = 0.2) -> str:
    """An adapter that spoils the letters, the more the larger `size` is; its id."""
    made = torch.Generator().manual_seed(seed)
    down = torch.randn(2, 120, generator=made)
    up = torch.randn(1 + len(ALPHABET), 2, generator=made) * size
    weights = save({"base_model.model.head.lora_A.weight": down, "base_model.model.head.lora_B.weight": up})
    facts = AdapterFacts("hand", studio.hand_model.name, studio.hand_model.sha256, 2, 9, 20, "1")
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 2}
    return studio.adapter_store.add(owner, name, facts, config, weights, "trained").id


def compared(studio: Studio, left: str, right: str, strength: float = 1.0) -> Comparison:
    with Image.open(LINE) as image:
        strip = piece(image.convert("RGB"))
    sides = studio.comparing.sides(OWNER, left, right, strength)
    return studio.comparing.one(reading_ask(strip.sha256), {strip.sha256: strip.image}, sides)


def test_a_hand_changes_the_reading_and_at_no_strength_nothing(studio: Studio) -> None:
    ann, twin = hand(studio), hand(studio, "Ann's twin")
    changed = compared(studio, "base", ann, 1.5)
    assert any(word.left != word.right for word in changed.words)
    assert any(shift.moved > 0 for shift in changed.shifts)
    assert changed.right.signed.startswith("nano+ann.")
    for same in (compared(studio, "base", ann, 0.0), compared(studio, ann, twin)):
        assert same.left.text == same.right.text
        assert same.words and all(word.left == word.right for word in same.words)
        assert all(shift.left == shift.right for shift in same.shifts)


def test_what_is_compared_is_kept_listed_opened_and_exported(studio: Studio, tmp_path: Path) -> None:
    first = corrected(studio, 200, 1, text="dear sister")[0]
    ann = hand(studio, EVIL)
    asked = ("", "0", "", "", "base", ann, 100.0, REQUEST)
    begun, (html, session, kept, stop, *_) = on.compare(studio, None, first, *asked)
    assert begun[3]["visible"] and not stop["visible"]
    assert EVIL not in html and "dear sister" in html
    assert not kept["visible"]
    *_, (_, again, kept, *_) = on.compare_all(studio, None, None, session, *asked[1:])
    assert again == session
    assert len(kept["choices"]) == 2 and kept["visible"]
    opened = on.open_session(studio, f"compare/{session}", "base", "reading", REQUEST)
    assert opened[:2] == [None, None]
    assert (opened[5]["value"], opened[6]["value"], opened[8]) == ("base", ann, session)
    older = studio.comparisons.list(OWNER, session)[-1]
    assert on.choose_kept(studio, older.id, None, None, REQUEST)[2]["value"] == older.id
    (listed,) = studio.sessions.list(OWNER, kind="compare").items
    assert "base" in listed.facts.preview
    path, _ = studio.sessions.export(OWNER, [session], "md", tmp_path)
    assert "dear sister" in path.read_text("utf-8")
    for call in (
        lambda: studio.comparisons.get("user:eve", older.id),
        lambda: studio.comparisons.list("user:eve", session),
    ):
        with pytest.raises(NotFound):
            call()


def test_kept_comparisons_travel_in_an_export_and_a_false_one_is_refused(
    studio: Studio, tmp_path: Path
) -> None:
    image = piece(Image.new("RGB", (60, 20), "white"))
    side = Side("base", Variant(), "one", 0.1, 0)
    found = LinesComparison(side, side, (LinePair("one", "one"),), ())
    kept = studio.comparisons.keep(OWNER, "", "A title", [image], found)
    path, _ = studio.sessions.export(OWNER, [kept.session_id], "zip", tmp_path)
    (session_id,) = studio.sessions.import_file("user:ann", path).session_ids
    (taken,) = studio.comparisons.list("user:ann", session_id)
    assert (taken.found, taken.images) == (found, kept.images)
    with studio.database.write() as db:
        db.execute("UPDATE comparison SET found = json_set(found, '$.part', 'x') WHERE id = ?", (kept.id,))
    (tmp_path / "false").mkdir()
    path, _ = studio.sessions.export(OWNER, [kept.session_id], "zip", tmp_path / "false")
    before = studio.sessions.list("user:ann").total
    with pytest.raises(StudioError):
        studio.sessions.import_file("user:ann", path)
    assert studio.sessions.list("user:ann").total == before


def test_what_fails_or_is_stopped_says_so_where_the_result_would_stand(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ("", "0", "", "", "base", hand(studio), 100.0, REQUEST)
    _, (told, _, _, stop, *_) = on.compare(studio, None, None, *asked)
    assert "nothing to compare on" in told and not stop["visible"]
    first = corrected(studio, 200, 1, text="dear sister")[0]
    running = on.compare(studio, None, first, *asked)
    next(running)
    monkeypatch.setattr(Comparing, "begin", stopped)
    (told, _, _, stop, *_) = next(running)
    assert "Stopped." in told and not stop["visible"]


def stopped(self: Comparing, owner: str) -> CancelToken:
    token = CancelToken()
    token.cancel()
    return token


def test_adapters_of_others_are_no_choice_and_one_that_is_gone_gives_way(studio: Studio) -> None:
    mine, theirs = hand(studio), hand(studio, owner="user:eve")
    update = on.tab_chosen(studio, "base", mine, REQUEST, CLICK)
    names = [name for _, name in update[2]["choices"]]
    assert mine in names and theirs not in names
    assert update[2]["value"] == mine
    studio.adapters.delete(OWNER, mine)
    assert on.tab_chosen(studio, "base", mine, REQUEST, CLICK)[2]["value"] == "reading"
    for gone in (mine, theirs):
        asked = ("", "0", "", "", "base", gone, 100, REQUEST)
        *_, (told, _, _, _, _, left, right) = on.compare(studio, None, None, *asked)
        assert "That hand has been deleted. Choose another." in told
        assert gone not in told
        assert (left["value"], right["value"]) == ("base", "reading")
        assert gone not in [name for _, name in right["choices"]]
    with pytest.raises(NotFound):
        on.open_session(studio, f"{COMPARE_WITH}{theirs}", "base", "reading", REQUEST)


def test_the_command_and_the_endpoint_take_hands_by_name(
    studio: Studio, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    hand(studio)
    parser = argparse.ArgumentParser()
    cli_compare.add_parser(parser.add_subparsers())
    args = parser.parse_args(["compare", str(LINE), "--right", "ann", "--strength", "50", "--json", "--keep"])
    assert cli_compare.run(args, studio) == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["part"], printed["right"]["label"]) == ("reader", "Ann at 50%")
    assert studio.session_store.count(OWNER, "compare") == 1
    args = parser.parse_args(["compare", str(LINE), "--right", "ann", "--strength", "50"])
    assert cli_compare.run(args, studio) == 0
    assert "Ann at 50% [nano+ann." in capsys.readouterr().out
    monkeypatch.setattr(shared, "get_upload_folder", lambda: str(LINE.parent))
    asked: Any = {"path": str(LINE)}
    found = on.api_compare(studio, asked, "base", "Ann", 50)
    assert json.loads(json.dumps(found))["words"] == printed["words"]
    many = on.api_compare(studio, asked, "base", "Ann", 50, lines=True)
    assert (many["kind"], many["lines"][0]["right"]) == ("lines", printed["right"]["text"])


def test_a_corrected_line_of_ones_own_is_compared_on(studio: Studio) -> None:
    first = corrected(studio, 200, 1, text="dear sister")[0]
    found = given_lines(studio, OWNER, None, first, "base", "reading")
    assert (len(found.pieces), found.known) == (1, "dear sister")
    with pytest.raises(InvalidRequest):
        given_lines(studio, "user:eve", None, first, "base", "reading")


def test_what_is_given_last_takes_the_other_away(studio: Studio, upload: Upload) -> None:
    first = corrected(studio, 200, 1, text="dear sister")[0]
    picture, strips, chosen, session, kept, result = on.line_chosen(studio, first, "base", "reading", REQUEST)
    assert picture is None and not strips["visible"]
    assert (chosen, session, kept["choices"], result) == ("0", "", [], on.NOTHING_YET)
    finds(studio, 3)
    line, strips, chosen, session, kept, result = on.picture_given(studio, upload(PAGE))
    assert line is None and strips["value"].count("data-line") == 3
    assert (chosen, session, kept["choices"], result) == ("0", "", [], on.NOTHING_YET)
    assert on.picture_given(studio, None)[1]["value"] == ""
    assert on.line_chosen(studio, None, "base", "reading", REQUEST) == [gr.skip()] * 6


def test_a_picture_that_cannot_be_read_is_told_in_our_words(studio: Studio, upload: Upload) -> None:
    huge = io.BytesIO()
    Image.new("1", (15_000, 15_000)).save(huge, "PNG")
    _, strips, *_, told = on.picture_given(studio, upload(huge.getvalue()))
    assert "mine.png has too many pixels" in told and "Scale it down" in told
    assert strips["value"] == ""
    assert "is not an image" in on.picture_given(studio, upload(b"a letter"))[-1]


def test_gradio_decodes_no_picture_before_we_do(studio: Studio) -> None:
    page = build_app(studio)
    (picture,) = (b for b in page.blocks.values() if b.elem_id == "compare-picture")
    taking = [made for made in page.fns.values() if picture in made.inputs]
    assert len(taking) == 5
    assert not any(made.preprocess for made in taking)


def test_lines_that_no_training_learns_from_are_compared_together(studio: Studio) -> None:
    assert on.tab_chosen(studio, "base", "reading", REQUEST, CLICK)[0]["choices"] == []
    corrected(studio, 200, 12, text="dear sister")
    corrected(studio, 90, 6, text="dear brother")
    label, value = on.tab_chosen(studio, "base", "reading", REQUEST, CLICK)[0]["choices"][0]
    assert (label, value) == ("all 6 lines kept back to test on", on.HELD)
    found = given_lines(studio, OWNER, None, on.HELD, "base", "reading")
    assert (len(found.pieces), found.known.splitlines()) == (6, ["dear brother"] * 6)


def test_a_reference_of_another_number_of_lines_is_refused(
    studio: Studio, upload: Upload, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ann = hand(studio, size=0.0)
    page = upload(PAGE)
    finds(studio, 3)

    def read(reference: str) -> str:
        asked = ("", "1", "", reference, "base", ann, 100.0, REQUEST)
        *_, (html, *_) = on.compare(studio, page, None, *asked)
        return str(html)

    assert "<p>two</p>" in read("one\n\ntwo\nthree")
    assert "<p>two</p>" in read("two")
    assert "Lines of text: 2. Lines of writing: 3." in read("one\ntwo")
    assert on.api_compare(studio, page, "base", ann, reference="one\ntwo\nthree")["reference"] == "one"
    with pytest.raises(InvalidRequest, match="Lines of text: 2"):
        on.api_compare(studio, page, "base", ann, reference="one\ntwo")
    parser = argparse.ArgumentParser()
    cli_compare.add_parser(parser.add_subparsers())
    two = tmp_path / "two.txt"
    two.write_text("one\ntwo")
    named = ["compare", page["path"], "--right", ann, "--reference", str(two)]
    with pytest.raises(InvalidRequest, match="Lines of text: 2"):
        cli_compare.run(parser.parse_args(named), studio)


def test_lines_that_are_too_many_are_named(
    studio: Studio, upload: Upload, capsys: pytest.CaptureFixture[str]
) -> None:
    ann = hand(studio, size=0.0)
    page = upload(PAGE)
    finds(studio, 26, skipped=1)
    note = "The first 24 of 26 lines are compared. Ink that may be no writing is left out: 1 place."
    assert note in on.picture_given(studio, page)[1]["value"]
    asked = ("", "0", "", "\n".join(f"row {n}." for n in range(26)), "base", ann, 100.0, REQUEST)
    *_, (html, *_) = on.compare_all(studio, page, None, *asked)
    assert note in html and "row 23." in html and "row 24." not in html
    assert on.api_compare(studio, page, "base", ann, lines=True)["note"] == note
    parser = argparse.ArgumentParser()
    cli_compare.add_parser(parser.add_subparsers())
    cli_compare.run(parser.parse_args(["compare", page["path"], "--right", ann, "--lines"]), studio)
    assert note in capsys.readouterr().err


def test_what_is_shipped_is_told_without_loading_a_model(studio: Studio) -> None:
    html = on.lessons(studio)
    assert "Table 3" in html
    assert "engines" not in studio.__dict__
    update = on.tab_chosen(studio, "base", "reading", REQUEST, SimpleNamespace(value="Chat"))  # type: ignore[arg-type]
    assert all(value == gr.skip() for value in update)


def test_both_sides_are_shown_escaped() -> None:
    base = Side(EVIL, Variant(), EVIL, 1.0, 3, signed=EVIL)
    shift = WordShift(EVIL, (0.0, 1.0), (1.0, 0.5))
    found = Comparison(
        "ab" * 32, 0, base, base, (("equal", EVIL),), (WordChance(EVIL, 0.5, 0.9),), EVIL, "reader", (shift,)
    )
    html = comparison_html(found, Image.new("RGB", (40, 10), "white"))
    assert "<img src=x" not in html
    assert 'class="up"' in html
    assert "Both say the same" in html
    assert html.count('class="stage"') == 3
    assert "60% of the map moved" in html
    lines = LinesComparison(base, base, (LinePair(EVIL, EVIL),), (Confusion("<", " ", 2, 0, (0,)),))
    html = lines_html(
        lines, ["data:image/jpeg;base64,AA"], [(("equal", "one "), ("delete", EVIL), ("insert", "too"))]
    )
    assert "<img src=x" not in html
    assert 'class="said insert">one <mark>too</mark></div>' in html
    assert "1 of 1 lines" in html
    assert "<code>&lt;</code>" in html
    assert "69.5" in paper_html("Here too.")
