"""Finding, exporting and clearing away what is kept; the same from a shell."""

from __future__ import annotations

import io
import json
import re
import zipfile
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from vlm_studio import cli
from vlm_studio.core.chat import Draft
from vlm_studio.core.conversation import ImagePart, TextPart, Turn
from vlm_studio.core.documents import Asset, Box, Line, LineReading, Page, PageReading, ReadLine
from vlm_studio.core.errors import InvalidRequest, NotFound, UserInputError
from vlm_studio.core.sessions import LOCAL_OWNER as OWNER
from vlm_studio.store.search import MARK_START
from vlm_studio.studio import Studio
from vlm_studio.tasks.sessions import FORMATS
from vlm_studio.tasks.sessions_document import Entry

OTHER = "user:eve"
NASTY = '<script>alert(1)</script> & "quotes" ${x} _stars_ *and* # marks \x00\ud800'


def picture(colour: int = 255, size: tuple[int, int] = (60, 40), kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, (colour, 0, 0)).save(buffer, kind)
    return buffer.getvalue()


def transcription(
    studio: Studio, *texts: str, title: str = "Diary", owner: str = OWNER, size: tuple[int, int] = (60, 40)
) -> str:
    data = picture(len(title), size)
    sha = studio.blobs.put(data, "image/png")
    session = studio.session_store.create(owner, "transcribe", title)
    asset = Asset(sha, "image/png", "page <1>.png", len(data))
    (kept,) = studio.session_store.add_asset(owner, session.id, asset, [Page(sha, 0, sha, 60, 40)])
    lines = tuple(
        ReadLine(Line(Box(0, 8 * n, 60, 8 * n + 7)), LineReading(text, 0.9, (), "fast"))
        for n, text in enumerate(texts)
    )
    studio.transcripts.save_reading(owner, kept.id, PageReading(kept.page, lines, "fast", 0.1))
    return session.id


def chat(studio: Studio, text: str, title: str = "A chat", owner: str = OWNER) -> str:
    session = studio.session_store.create(owner, "chat", title)
    studio.chat_store.add_turn(owner, session.id, Draft(None, Turn("user", (TextPart(text),))))
    return session.id


def titles(studio: Studio, **asked: object) -> list[str]:
    return [item.session.title for item in studio.sessions.list(OWNER, **asked).items]  # type: ignore[arg-type]


def test_the_list_says_what_is_inside(studio: Studio) -> None:
    transcription(studio, "Dear Margaret,", "thank you for the roses")
    chat(studio, "what is this?")
    transcription(studio, "not yours", title="Secret", owner=OTHER)
    first, second = studio.sessions.list(OWNER).items
    assert (first.session.title, first.facts.pages, first.facts.preview) == ("A chat", 0, "what is this?")
    assert second.facts.pages == 1 and second.facts.preview == "Dear Margaret, · thank you for the roses"
    assert first.hits == 0 and first.snippets == ()


def test_one_search_finds_everything_and_can_be_narrowed(studio: Studio) -> None:
    page = transcription(studio, "roses by the wall", "more roses", "and roses", "roses again")
    talk = chat(studio, "Are these roses?")
    chat(studio, "nothing of the kind", title="Roses in the title")
    transcription(studio, "roses of somebody else", owner=OTHER)
    found = {item.session.id: item for item in studio.sessions.list(OWNER, "rose").items}
    assert len(found) == 3
    assert found[page].hits == 4 and len(found[page].snippets) == 3
    assert all(MARK_START in snippet for snippet in found[page].snippets)
    assert titles(studio, text="rose", kind="transcribe") == ["Diary"]
    studio.sessions.tag(OWNER, talk, ["garden"])
    assert titles(studio, text="rose", tag="garden") == ["A chat"]
    studio.sessions.archive(OWNER, page)
    assert len(titles(studio, text="rose")) == 3, "a search looks into the archive too"
    assert titles(studio, text="rose", show="archived") == ["Diary"]
    assert titles(studio, show="archived") == ["Diary"] and len(titles(studio)) == 2
    assert studio.sessions.list(OWNER, "rose", limit=1).total == 3
    assert titles(studio, text="unicorn") == []


def test_a_word_that_stands_everywhere_is_not_counted_to_the_end(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        chat(studio, "roses", title=f"Number {number}")
    assert (studio.sessions.list(OWNER, "roses").total, studio.sessions.list(OWNER, "roses").at_least) == (
        4,
        False,
    )
    monkeypatch.setattr("vlm_studio.tasks.sessions.HITS", 3)
    assert (studio.sessions.list(OWNER, "roses").total, studio.sessions.list(OWNER, "roses").at_least) == (
        3,
        True,
    )


def test_deleted_comes_back_until_it_is_purged(studio: Studio) -> None:
    session_id = transcription(studio, "roses")
    with pytest.raises(NotFound):
        studio.sessions.delete(OTHER, session_id)
    assert studio.sessions.delete(OWNER, session_id).title == "Diary"
    assert titles(studio) == [] == titles(studio, text="roses")
    assert titles(studio, show="deleted") == ["Diary"] == titles(studio, show="deleted", text="dia")
    assert titles(studio, show="deleted", text="other") == []
    assert studio.sessions.tidy(OWNER) == 0, "it was deleted only now"
    studio.sessions.undelete(OWNER, session_id)
    assert titles(studio, text="roses") == ["Diary"]
    studio.sessions.delete(OWNER, session_id)
    with studio.database.write() as db:
        db.execute("UPDATE session SET deleted_at = '2020-01-01T00:00:00.000000+00:00'")
    assert studio.sessions.tidy(OWNER) == 1
    assert titles(studio, show="deleted") == []
    assert studio.sessions.usage().orphans == 1
    with studio.database.write() as db:
        db.execute("UPDATE blob SET stored_at = '2020-01-01T00:00:00.000000+00:00'")
    freed = studio.sessions.clean(OWNER)
    assert (freed.sessions, freed.files) == (0, 1) and freed.n_bytes > 0
    assert studio.sessions.usage().blobs == 0


class Page_(HTMLParser):
    """What a browser would make of an HTML file: its tags, its text, where pictures come from."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.sources: list[str] = []
        self.handlers: list[str] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.sources += [value or "" for name, value in attrs if name in {"src", "href", "srcset"}]
        self.handlers += [name for name, _ in attrs if name.startswith("on")]

    def handle_data(self, data: str) -> None:
        self.words += data


def test_the_html_export_stands_alone_and_shows_text_as_it_is(studio: Studio, tmp_path: Path) -> None:
    visible = '<script>alert(1)</script> & "quotes" ${x}'
    session_id = transcription(studio, visible, "second line", title="A <b>title</b> & more")
    page = studio.session_store.pages(OWNER, session_id)[0]
    studio.transcripts.correct(OWNER, studio.transcripts.lines(OWNER, page.id)[1].id, "put right <i>so</i>")
    studio.sessions.tag(OWNER, session_id, ["<tag>"])
    path, _ = studio.sessions.export(OWNER, [session_id], "html", tmp_path)
    text = path.read_text("utf-8")
    seen = Page_(text)
    assert not {"script", "b", "i", "tag"} & set(seen.tags) and seen.handlers == []
    assert seen.sources and all(source.startswith("data:image/") for source in seen.sources)
    for shown in (visible, "A <b>title</b> & more", "put right <i>so</i>", "page <1>.png, page 1", "<tag>"):
        assert shown in seen.words
    assert text.count('class="yours"') == 1 and "default-src 'none'" in text


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_takes_one_and_all_whatever_stands_in_them(
    studio: Studio, tmp_path: Path, kind: str
) -> None:
    ids = [
        transcription(studio, NASTY.replace("\x00\ud800", ""), title="../../etc: *?"),
        chat(studio, "a ## b"),
    ]
    one, report = studio.sessions.export(OWNER, ids[:1], kind, tmp_path)
    assert one.parent == tmp_path and re.fullmatch(r"[\w -]+\.\w+", one.name) and report.sessions == 1
    everything, report = studio.sessions.export(OWNER, [], kind, tmp_path)
    assert report.sessions == 2 and everything != one and everything.stat().st_size > 100
    with pytest.raises(InvalidRequest):
        studio.sessions.export(OWNER, [], kind, tmp_path)


def test_the_text_exports_hold_the_text(studio: Studio, tmp_path: Path) -> None:
    transcription(studio, "first *line*", "second")
    chat(studio, "what is <this>?\nsecond # line")
    path, _ = studio.sessions.export(OWNER, [], "json", tmp_path)
    talk, diary = json.loads(path.read_text("utf-8"))["sessions"]
    assert [line["text"] for line in diary["reading"]["pages"][0]["lines"]] == ["first *line*", "second"]
    assert talk["entries"] == [{"from": "You", "parts": [{"text": "what is <this>?\nsecond # line"}]}]
    path, _ = studio.sessions.export(OWNER, [], "md", tmp_path)
    text = path.read_text("utf-8")
    assert (
        "# Diary" in text
        and "first \\*line\\*  \nsecond" in text
        and "what is \\<this\\>?  \nsecond \\# line" in text
    )


def test_another_kind_of_session_says_itself_what_is_in_it(studio: Studio, tmp_path: Path) -> None:
    sha = studio.blobs.put(picture(), "image/png")
    session = studio.session_store.create(OWNER, "chat", "Interleaved")
    studio.session_store.add_asset(OWNER, session.id, Asset(sha, "image/png", "a.png", 1))
    secret = studio.blobs.put(picture(9), "image/png")
    parts = (TextPart("look at"), ImagePart(sha, "a red <field>"), TextPart("and"), ImagePart(secret))
    studio.sessions.contents["chat"] = lambda owner, session_id: [Entry("You", parts)]
    path, _ = studio.sessions.export(OWNER, [session.id], "html", tmp_path)
    text = path.read_text("utf-8")
    assert text.index("look at") < text.index("<img") < text.index("<p>and</p>")
    assert text.count("<img") == 1, "a picture that is not theirs does not come along"
    path, _ = studio.sessions.export(OWNER, [session.id], "md", tmp_path)
    assert "*[picture: a red \\<field\\>]*" in path.read_text("utf-8")


def test_nothing_of_another_owner_leaves(studio: Studio, tmp_path: Path) -> None:
    session_id = transcription(studio, "secret", owner=OTHER)
    for kind in FORMATS:
        with pytest.raises(NotFound):
            studio.sessions.export(OWNER, [session_id], kind, tmp_path)
        with pytest.raises(InvalidRequest, match="nothing to export"):
            studio.sessions.export(OWNER, [], kind, tmp_path)
    assert list(tmp_path.glob("*.*")) == []
    with pytest.raises(InvalidRequest, match="format"):
        studio.sessions.export(OTHER, [session_id], "exe", tmp_path)


def test_an_import_looks_at_the_pictures(studio: Studio, tmp_path: Path) -> None:
    """Its hashes may all be right, and a page still be no picture, or not of the size it says."""
    good = transcription(studio, "fine")
    path, _ = studio.sessions.export(OWNER, [good], "zip", tmp_path)
    assert studio.sessions.import_file(OWNER, path).sessions == 1
    bad = transcription(studio, "lies", title="Lies", size=(10, 10))
    path, _ = studio.sessions.export(OWNER, [bad], "zip", tmp_path)
    with pytest.raises(UserInputError, match="size"):
        studio.sessions.import_file(OWNER, path)
    sha = studio.blobs.put(b"no picture", "image/png")
    with studio.database.write() as db:
        db.execute("UPDATE page SET image_sha256 = ?", (sha,))
    path.unlink()
    path, _ = studio.sessions.export(OWNER, [bad], "zip", tmp_path)
    with pytest.raises(UserInputError, match="no picture"):
        studio.sessions.import_file(OWNER, path)
    assert len(titles(studio)) == 3


def shell(studio: Studio, monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    monkeypatch.setenv("VLM_STUDIO_DATA_DIR", str(studio.settings.data_dir))
    return cli.main(["sessions", *map(str, words)])


def test_the_shell_does_the_same(
    studio: Studio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    session_id = transcription(studio, "Dear Margaret", "the roses")
    transcription(studio, "hers", title="Hers", owner=OTHER)
    assert shell(studio, monkeypatch, "list") == 0
    out = capsys.readouterr().out
    assert session_id in out and "Diary" in out and "Hers" not in out
    assert shell(studio, monkeypatch, "search", "ros", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["total"] == 1 and found["sessions"][0]["snippets"] == ["the \x02roses\x03"]
    assert shell(studio, monkeypatch, "search", "roses") == 0 and "the *roses*" in capsys.readouterr().out
    assert shell(studio, monkeypatch, "rename", session_id, "From", "Margaret") == 0
    assert titles(studio) == ["From Margaret"]

    assert shell(studio, monkeypatch, "backup", tmp_path / "all.zip") == 0
    assert shell(studio, monkeypatch, "export", session_id, "--out", tmp_path) == 0
    assert zipfile.is_zipfile(tmp_path / "From Margaret.zip")
    assert shell(studio, monkeypatch, "import", tmp_path / "From Margaret.zip") == 0
    assert titles(studio) == ["From Margaret"] * 2
    assert shell(studio, monkeypatch, "restore", tmp_path / "all.zip") == 0
    assert titles(studio) == ["From Margaret"]
    assert shell(studio, monkeypatch, "clean", "--days", 0) == 0
    capsys.readouterr()
    for words in (
        ("import", tmp_path / "all.zip"),
        ("restore", tmp_path / "From Margaret.zip"),
        ("rename", "nobody", "x"),
        ("--owner", OTHER, "rename", session_id, "x"),
        ("import", tmp_path / "missing.zip"),
    ):
        assert shell(studio, monkeypatch, *words) == 1
        told = capsys.readouterr().err
        assert told.strip() and "Traceback" not in told
    assert titles(studio) == ["From Margaret"]
