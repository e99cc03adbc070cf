from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.store.kept import OTHER, OWNER, Kept, page_reading
from vlm_studio.core.adapters import Adapter, AdapterFacts, Interval, TrainSettings, Verdict
from vlm_studio.core.errors import InvalidRequest, NotFound
from vlm_studio.store.adapter_store import AdapterStore

FACTS = AdapterFacts("hand", "nano", "f" * 64, 8, 1000, 20, "0.1")
VERDICT = Verdict(True, "Better.", 20, 2, 0.2, 0.1, 0.5, 0.4, Interval(-0.1, -0.2, -0.01), 0.1, 0.1)


@pytest.fixture
def store(kept: Kept) -> AdapterStore:
    return AdapterStore(kept.database, kept.sessions, kept.blobs)


def add(store: AdapterStore, name: str = "My hand", owner: str = OWNER) -> Adapter:
    return store.add(owner, name, FACTS, {"r": 8}, name.encode(), "trained", VERDICT, "by lamplight")


def test_an_adapter_comes_back_as_it_was_kept(store: AdapterStore) -> None:
    kept = add(store, "  My   hand ")
    assert store.get(OWNER, kept.id) == kept
    assert (kept.name, kept.facts, kept.verdict, kept.active) == ("My hand", FACTS, VERDICT, False)
    assert store.files(OWNER, kept.id) == ({"r": 8}, b"  My   hand ")
    renamed = store.rename(OWNER, kept.id, "Ann", "notes")
    assert (renamed.name, renamed.notes) == ("Ann", "notes")
    assert store.rename(OWNER, kept.id, "Bo", None).notes == "notes"
    with pytest.raises(InvalidRequest):
        store.rename(OWNER, kept.id, "  ", "")


@pytest.mark.parametrize(
    "touch",
    [
        lambda s, a: s.get(OTHER, a),
        lambda s, a: s.files(OTHER, a),
        lambda s, a: s.rename(OTHER, a, "mine", ""),
        lambda s, a: s.delete(OTHER, a),
        lambda s, a: s.activate(OTHER, a),
        lambda s, a: s.set_verdict(OTHER, a, VERDICT),
    ],
)
def test_another_owner_sees_nothing(
    store: AdapterStore, touch: Callable[[AdapterStore, str], object]
) -> None:
    kept = add(store)
    with pytest.raises(NotFound):
        touch(store, kept.id)
    assert store.list(OTHER) == ()
    assert store.in_use(OTHER) is None


def test_one_is_active_and_a_session_may_differ(kept: Kept, store: AdapterStore) -> None:
    session, _ = kept.session_with_page()
    first, second = add(store, "first"), add(store, "second")
    assert store.in_use(OWNER, session.id) is None
    store.activate(OWNER, first.id)
    store.activate(OWNER, second.id)
    assert [a.active for a in store.list(OWNER)] == [True, False]
    assert store.in_use(OWNER, session.id) == store.get(OWNER, second.id)
    store.choose(OWNER, session.id, first.id)
    assert store.in_use(OWNER, session.id) == store.get(OWNER, first.id)
    store.choose(OWNER, session.id, None)
    assert store.in_use(OWNER, session.id) is None
    store.unchoose(OWNER, session.id)
    assert store.in_use(OWNER, session.id) == store.get(OWNER, second.id)
    with pytest.raises(NotFound):
        store.choose(OTHER, session.id, None)
    store.choose(OWNER, session.id, first.id)
    store.delete(OWNER, first.id)
    assert store.in_use(OWNER, session.id) == store.get(OWNER, second.id)


def test_weights_are_cleaned_up_with_their_adapter(kept: Kept, store: AdapterStore) -> None:
    adapter = add(store)
    assert kept.blobs.owned_by(OWNER, adapter.weights_sha256)
    assert not kept.blobs.owned_by(OTHER, adapter.weights_sha256)
    store.delete(OWNER, adapter.id)
    assert not kept.blobs.owned_by(OWNER, adapter.weights_sha256)


def test_lines_are_left_out_and_the_others_wait(kept: Kept, store: AdapterStore) -> None:
    _, page = kept.session_with_page()
    first, second = kept.transcripts.save_reading(OWNER, page.id, page_reading(page.page, "one", "two"))
    assert [line.line_id for line in store.uncorrected(OWNER)] == [first.id, second.id]
    kept.transcripts.correct(OWNER, first.id, "won")
    assert [line.line_id for line in store.uncorrected(OWNER)] == [second.id]
    assert store.uncorrected(OTHER) == ()
    store.leave_out(first.id, True)
    assert store.left_out(OWNER) == {first.id}
    assert store.left_out(OTHER) == frozenset()
    store.leave_out(first.id, False)
    assert store.left_out(OWNER) == frozenset()


def test_lines_name_the_file_that_they_stand_in(kept: Kept, store: AdapterStore) -> None:
    _, page = kept.session_with_page()
    kept.transcripts.save_reading(OWNER, page.id, page_reading(page.page, "one"))
    (asset,) = (asset for _, asset in kept.sessions.assets(OWNER, page.session_id))
    assert [line.source for line in store.uncorrected(OWNER)] == [asset.filename]
    assert store.uncorrected(OTHER) == ()


def test_readings_are_counted_by_who_signed_them(kept: Kept, store: AdapterStore) -> None:
    _, page = kept.session_with_page()
    kept.transcripts.save_reading(OWNER, page.id, page_reading(page.page, "one", "two"))
    assert store.readings(OWNER, "fast") == 2
    assert store.readings(OTHER, "fast") == 0


def test_a_training_keeps_its_settings_and_outlives_its_adapter(store: AdapterStore) -> None:
    run = store.add_training(OWNER, "My hand", TrainSettings(steps=33), 20, 8, 2)
    assert (run.state, run.settings.steps, run.lines, run.held_pages) == ("queued", 33, 20, 2)
    adapter = add(store)
    done = store.set_training(OWNER, run.id, "done", "Better.", adapter.id)
    assert (done.state, done.message, done.adapter_id) == ("done", "Better.", adapter.id)
    assert store.training_of(OWNER, adapter.id) == run.id
    assert store.training_of(OTHER, adapter.id) is None
    store.delete(OWNER, adapter.id)
    assert store.training(OWNER, run.id).adapter_id is None
    assert store.trainings(OTHER) == ()
    store.delete_training(OTHER, run.id)
    with pytest.raises(NotFound):
        store.training(OTHER, run.id)
    store.delete_training(OWNER, run.id)
    assert store.trainings(OWNER) == ()
