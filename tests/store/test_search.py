from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.store.kept import OTHER, OWNER, Kept, page_reading
from vlm_studio.core.documents import Box
from vlm_studio.store.search import MARK_END, MARK_START, fts_expression, snippet


def marked(text: str) -> str:
    return text.replace(MARK_START, "[").replace(MARK_END, "]")


@pytest.fixture
def notes(kept: Kept) -> Kept:
    _, page = kept.session_with_page("Einkauf")
    kept.transcripts.save_reading(
        OWNER,
        page.id,
        page_reading(page.page, "Café à la crème", "die Größe des Cœurs", "well-known foo AND bar"),
    )
    return kept


@pytest.mark.parametrize(
    ("query", "snippet"),
    [
        ("cafe", "[Café] à la crème"),
        ("CRÈME", "Café à la [crème]"),
        ("grosse", "die [Größe] des Cœurs"),
        ("größe", "die [Größe] des Cœurs"),
        ("coeur", "die Größe des [Cœurs]"),
        ("groe", None),
        ("well-known", "[well]-[known] foo AND bar"),
        ("foo AND", "well-known [foo] [AND] bar"),
        ("bar foo", "well-known [foo] AND [bar]"),
        ('"foo bar"', None),
        ('"foo and"', "well-known [foo] [AND] bar"),
        ("kno", "well-[known] foo AND bar"),
        ("kno ", None),
        ("know foo", None),
        ("fo* :", "well-known [foo] AND bar"),
        ("col:foo", None),
        ("NOT cafe", None),
        ("einkauf", "[Einkauf]"),
    ],
)
def test_what_is_found(notes: Kept, query: str, snippet: str | None) -> None:
    hits = notes.index.search(OWNER, query)
    assert [marked(hit.snippet) for hit in hits] == ([] if snippet is None else [snippet])


@pytest.mark.parametrize(
    "query",
    ['"', '""', "*", "-", "a-b", "foo AND", "col:x", "NEAR(", "^foo", "(", "foo OR", "'", "\0", " ",
     "x" * 5000, "{a b}: c", "é\u0301", "\ud800", '"foo', "a " * 400],
)  # fmt: skip
def test_no_query_raises(notes: Kept, query: str) -> None:
    notes.index.search(OWNER, query)


def test_any_text_is_a_query(notes: Kept) -> None:
    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.text(max_size=40), st.text(alphabet='"*-+:(){}^ anforNEAR', max_size=30))
    def check(first: str, second: str) -> None:
        notes.index.search(OWNER, first)
        notes.index.search(OWNER, second)
        assert len(snippet(first, (second,), chars=20)) < 200

    check()


def test_a_hit_knows_its_place(notes: Kept) -> None:
    (hit,) = notes.index.search(OWNER, "grosse")
    (session,) = notes.sessions.list(OWNER)
    (page,) = notes.sessions.pages(OWNER, session.id)
    line = notes.transcripts.line(OWNER, hit.ref)
    assert (hit.session_id, hit.kind, hit.title, hit.what) == (session.id, "transcribe", "Einkauf", "line")
    assert hit.page_image_sha256 == page.page.image_sha256 and hit.page_id == page.id
    assert hit.box == line.line.box == Box(2, 9, 38, 15)


def test_other_readings_are_found_and_said_to_be_so(notes: Kept) -> None:
    hits = notes.index.search(OWNER, "chapeau")
    assert len(hits) == 3
    assert marked(hits[0].snippet).endswith("(also read: [chapeau])")
    (line,) = notes.index.search(OWNER, "creme")
    notes.transcripts.correct(OWNER, line.ref, "Thé au lait")
    (hit,) = notes.index.search(OWNER, "cafe")
    assert marked(hit.snippet) == "Thé au lait (also read: [Café] à la crème · chapeau)"
    notes.transcripts.undo(OWNER, line.ref)
    assert [marked(h.snippet) for h in notes.index.search(OWNER, "cafe")] == ["[Café] à la crème"]


def test_only_ones_own_and_nothing_deleted(notes: Kept) -> None:
    other, page = notes.session_with_page("Café of somebody else", owner=OTHER)
    notes.transcripts.save_reading(OTHER, page.id, page_reading(page.page, "cafe secret"))
    assert {h.session_id for h in notes.index.search(OTHER, "cafe")} == {other.id}
    assert notes.index.search(OWNER, "secret") == ()
    assert notes.index.search("", "cafe") == ()
    notes.sessions.delete(OTHER, other.id)
    assert notes.index.search(OTHER, "cafe") == ()
    notes.sessions.purge(OTHER, other.id)
    with notes.database.read() as db:
        rows = db.execute("SELECT count(*) FROM passage_fts WHERE passage_fts MATCH 'secret'").fetchone()
        db.execute("INSERT INTO passage_fts(passage_fts, rank) VALUES ('integrity-check', 1)")
    assert rows[0] == 0, "purging takes the text out of the index too"


def test_others_register_rows_through_one_function(kept: Kept) -> None:
    session = kept.sessions.create(OWNER, "chat", "Talk")
    kept.index.index("turn", session.id, "t1", "What does the invoice say?")
    kept.index.index("passage", session.id, "p1", "Invoice no. 7", "facture")
    assert {h.what for h in kept.index.search(OWNER, "invoice")} == {"turn", "passage"}
    assert [h.ref for h in kept.index.search(OWNER, "invoice", kinds=["turn"])] == ["t1"]
    assert kept.index.search(OWNER, "invoice", session_id="elsewhere") == ()
    kept.index.index("turn", session.id, "t1", "Something else")
    assert [h.ref for h in kept.index.search(OWNER, "invoice")] == ["p1"]
    kept.index.index("passage", session.id, "p1", "")
    kept.index.remove("turn", "never there")
    assert kept.index.search(OWNER, "facture") == ()


def test_snippets_are_cut_around_the_match() -> None:
    text = "word " * 60 + "needle " + "word " * 60
    shown = snippet(text, ("needle",))
    assert f"{MARK_START}needle{MARK_END}" in shown and len(shown) < 180
    assert shown.startswith("…") and shown.endswith("…")
    assert snippet("a \x02b\x03 c", ("c",)) == "a b \x02c\x03", "marks in the text itself are dropped"


def test_a_single_letter_is_no_prefix() -> None:
    assert fts_expression("a") == '"a"'
    assert fts_expression("猫") == '"猫"*'
    assert fts_expression("ab") == '"ab"*'
