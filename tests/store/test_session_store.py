from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.store.kept import OTHER, OWNER, Kept, png
from vlm_studio.core.documents import Asset, Page
from vlm_studio.core.errors import InvalidRequest, NotFound
from vlm_studio.store.search import MARK_START


def test_a_session_comes_back_as_it_was(kept: Kept) -> None:
    session, page = kept.session_with_page("  Grocery\nlist ")
    kept.sessions.set_meta(OWNER, session.id, {"page": 3, "reader": "fast", "gone": 1})
    kept.sessions.set_meta(OWNER, session.id, {"page": 4, "gone": None})
    kept.database.close()
    again = Kept(kept.root)
    assert again.sessions.get(OWNER, session.id).title == "Grocery list"
    assert again.sessions.pages(OWNER, session.id) == (page,)
    assert again.sessions.meta(OWNER, session.id) == {"page": 4, "reader": "fast"}
    assert again.sessions.page_image(OWNER, page.id) == png()
    again.database.close()


def test_the_list_is_pinned_first_then_newest(kept: Kept) -> None:
    made = [kept.sessions.create(OWNER, "chat", f"Chat {n}") for n in range(4)]
    kept.sessions.create(OTHER, "chat", "Not mine")
    kept.sessions.pin(OWNER, made[1].id)
    kept.sessions.touch(OWNER, made[0].id)
    kept.sessions.archive(OWNER, made[3].id)
    listed = kept.sessions.list(OWNER)
    assert [s.title for s in listed] == ["Chat 1", "Chat 0", "Chat 2"]
    assert [s.title for s in kept.sessions.list(OWNER, limit=1, offset=1)] == ["Chat 0"]
    assert [s.title for s in kept.sessions.list(OWNER, archived=True)] == ["Chat 3"]
    assert len(kept.sessions.list(OWNER, archived=None)) == kept.sessions.count(OWNER, archived=None) == 4
    assert kept.sessions.list(OWNER, kind="transcribe") == ()


def test_tags(kept: Kept) -> None:
    session, _ = kept.session_with_page()
    tagged = kept.sessions.tag(OWNER, session.id, [" work ", "#Work", "été", "", "two  words"])
    assert set(tagged.tags) == {"work", "été", "two words"}
    assert kept.sessions.tags(OWNER) == ("two words", "work", "été") and kept.sessions.tags(OTHER) == ()
    assert [s.id for s in kept.sessions.list(OWNER, tag="été")] == [session.id]
    assert kept.sessions.tag(OWNER, session.id, []).tags == ()
    with pytest.raises(InvalidRequest):
        kept.sessions.tag(OWNER, session.id, ["x" * 41])
    with pytest.raises(InvalidRequest):
        kept.sessions.tag(OWNER, session.id, map(str, range(21)))


def test_delete_can_be_undone_and_purge_cannot(kept: Kept) -> None:
    session, page = kept.session_with_page("Diary")
    kept.sessions.delete(OWNER, session.id)
    assert kept.sessions.list(OWNER) == () and kept.index.search(OWNER, "diary") == ()
    for use in (
        lambda: kept.sessions.get(OWNER, session.id),
        lambda: kept.sessions.page(OWNER, page.id),
        lambda: kept.sessions.rename(OWNER, session.id, "x"),
    ):
        with pytest.raises(NotFound):
            use()
    assert [s.id for s in kept.sessions.list(OWNER, deleted=True)] == [session.id]
    assert kept.sessions.undelete(OWNER, session.id).deleted_at is None
    assert kept.sessions.pages(OWNER, session.id) == (page,)
    with pytest.raises(NotFound):
        kept.sessions.purge(OWNER, session.id)
    kept.sessions.delete(OWNER, session.id)
    assert kept.sessions.purge_deleted(OTHER, 0) == 0 == kept.sessions.purge_deleted(OWNER)
    assert kept.sessions.purge_deleted(OWNER, 0) == 1
    with pytest.raises(NotFound):
        kept.sessions.undelete(OWNER, session.id)
    with kept.database.read() as db:
        for table in ("asset", "page", "passage"):
            assert db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] == 0


def test_renaming_is_found_and_titles_are_clean(kept: Kept) -> None:
    session, _ = kept.session_with_page("Before")
    kept.sessions.rename(OWNER, session.id, "After\x00\u202e the\x02 move" + "y" * 300)
    title = kept.sessions.get(OWNER, session.id).title
    assert title.startswith("After the move") and len(title) == 200
    assert kept.index.search(OWNER, "before") == ()
    (hit,) = kept.index.search(OWNER, "afte")
    assert hit.what == "title" and hit.snippet.startswith(MARK_START)
    with pytest.raises(InvalidRequest):
        kept.sessions.rename(OWNER, session.id, " \n ")


def test_nothing_of_another_owner_is_there(kept: Kept) -> None:
    session, page = kept.session_with_page()
    sessions = kept.sessions
    attempts: list[Callable[[], object]] = [
        lambda: sessions.get(OTHER, session.id),
        lambda: sessions.get(OTHER, session.id, deleted=True),
        lambda: sessions.rename(OTHER, session.id, "mine"),
        lambda: sessions.pin(OTHER, session.id),
        lambda: sessions.archive(OTHER, session.id),
        lambda: sessions.tag(OTHER, session.id, ["x"]),
        lambda: sessions.delete(OTHER, session.id),
        lambda: sessions.undelete(OTHER, session.id),
        lambda: sessions.purge(OTHER, session.id),
        lambda: sessions.meta(OTHER, session.id),
        lambda: sessions.set_meta(OTHER, session.id, {"a": 1}),
        lambda: sessions.assets(OTHER, session.id),
        lambda: sessions.pages(OTHER, session.id),
        lambda: sessions.page(OTHER, page.id),
        lambda: sessions.page_image(OTHER, page.id),
        lambda: sessions.add_asset(OTHER, session.id, Asset(page.page.asset_sha256, "image/png", "x", 1)),
        lambda: sessions.add_pages(OTHER, page.asset_id, [page.page]),
        lambda: sessions.remove_asset(OTHER, page.asset_id),
    ]
    for attempt in attempts:
        with pytest.raises(NotFound):
            attempt()
    assert sessions.list(OTHER) == () and sessions.count(OTHER) == 0
    assert sessions.get(OWNER, session.id).title == "Notes" and sessions.pages(OWNER, session.id) == (page,)


def test_files_keep_their_order_and_a_failed_one_leaves_nothing(kept: Kept) -> None:
    session, first = kept.session_with_page()
    sha = kept.blobs.put(png(1), "image/png")
    asset = Asset(sha, "application/pdf", "two.pdf", 9)
    pages = [Page(sha, n, sha, 40, 30) for n in (1, 0)]
    kept.sessions.add_asset(OWNER, session.id, asset, pages)
    found = kept.sessions.pages(OWNER, session.id)
    assert [(p.filename, p.page.index) for p in found] == [("notes.png", 0), ("two.pdf", 0), ("two.pdf", 1)]
    with pytest.raises(NotFound):
        kept.sessions.add_asset(OWNER, session.id, asset, [Page(sha, 0, "0" * 64, 1, 1)])
    with pytest.raises(InvalidRequest, match="Page 1"):
        kept.sessions.add_asset(OWNER, session.id, asset, [Page(sha, 0, sha, 1, 1)] * 2)
    assert kept.sessions.pages(OWNER, session.id) == found
    assert len(kept.sessions.assets(OWNER, session.id)) == 2
    kept.sessions.remove_asset(OWNER, first.asset_id)
    assert [p.filename for p in kept.sessions.pages(OWNER, session.id)] == ["two.pdf", "two.pdf"]


def test_an_unknown_kind_is_refused(kept: Kept) -> None:
    with pytest.raises(InvalidRequest):
        kept.sessions.create(OWNER, "party", "x")  # type: ignore[arg-type]
