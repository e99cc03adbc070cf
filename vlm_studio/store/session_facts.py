"""What a list of sessions shows besides their rows, for a whole page of the list in one query."""

from __future__ import annotations

from collections.abc import Sequence

from vlm_studio.core.sessions import SessionFacts
from vlm_studio.store.database import Database

PREVIEW_PASSAGES = 3


def session_facts(database: Database, owner: str, session_ids: Sequence[str]) -> dict[str, SessionFacts]:
    """By session id; another owner's are left out."""
    marks = ",".join("?" * len(session_ids))
    with database.read() as db:
        rows = db.execute(
            "SELECT id, (SELECT count(*) FROM asset JOIN page ON page.asset_id = asset.id "
            "WHERE asset.session_id = session.id), "
            "(SELECT group_concat(text, ' · ') FROM (SELECT text FROM passage WHERE session_id = session.id "
            f"AND kind <> 'title' AND text <> '' ORDER BY passage.id LIMIT {PREVIEW_PASSAGES})) "
            f"FROM session WHERE owner = ? AND id IN ({marks})",
            (owner, *session_ids),
        ).fetchall()
    return {str(row[0]): SessionFacts(int(row[1]), str(row[2] or "")) for row in rows}
