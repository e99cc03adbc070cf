"""How the rows of an archive become rows here: judged column by column, then given new ids.

Rows are seen twice: `collect` judges each and remembers its id, `renewed` returns it with every id replaced.
A reference must lead to a row of the archive itself, so that nobody can hang rows on another's session, and
a blob must have come along, so that nobody gets at a file by knowing its hash.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any, get_args

from sqlite_utils import Database

from vlm_studio.core.errors import DamagedFile, FileTooLarge, UnsupportedFile
from vlm_studio.core.ids import ID, new_id
from vlm_studio.core.sessions import SessionKind
from vlm_studio.store.archive import parsed
from vlm_studio.store.references import Schema
from vlm_studio.store.session_store import clean_title

ROW_BYTES = 64 * 1024**2
"""The longest line of an archive: a page with its whole text layer stays far below."""

_ID = re.compile(rf"(?<![0-9a-zA-Z]){ID}(?![0-9a-zA-Z])")
"""An id of core.ids that stands inside a text or JSON value."""
_INT64 = 1 << 63


@dataclass(frozen=True, slots=True)
class _Column:
    type: str
    nullable: bool
    own: bool
    """The table's own id."""
    leads_to: str = ""
    """The table whose id it holds; `blob` for a hash."""


def rows_in(file: IO[bytes]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The (table, row) of each line. Raises DamagedFile, FileTooLarge."""
    while raw := file.readline(ROW_BYTES + 1):
        if len(raw) > ROW_BYTES:
            raise FileTooLarge("A row of the file is too large.")
        value = parsed(raw)
        if (
            not isinstance(value, dict)
            or set(value) != {"table", "row"}
            or not isinstance(value["row"], dict)
        ):
            raise DamagedFile("A part of the file is no row.", "Export it again.")
        yield str(value["table"]), value["row"]


class ImportPlan:
    """`collect` every row, then `assign` inside the write, then `renewed` for every row."""

    def __init__(self, schema: Schema, db: Database, owner: str, blobs: frozenset[str]) -> None:
        self.owner, self.blobs = owner, blobs
        self.columns = {table: _columns(schema, db, table) for table in schema.session_tables()}
        self._ids: dict[str, dict[Any, Any]] = {table: {} for table in self.columns}
        self._texts: dict[str, str] = {}

    def collect(self, table: str, row: dict[str, Any]) -> None:
        """Raises UnsupportedFile for a table or column that is not known, DamagedFile for a bad value."""
        columns = self.columns.get(table)
        if columns is None:
            raise _unknown(f"table {table[:40]!r}")
        for name, value in row.items():
            column = columns.get(name)
            if column is None:
                raise _unknown(f"column {name[:40]!r}")
            if not _fits(column, value):
                raise DamagedFile(f"A value of {table}.{name} is of the wrong kind.", "Export it again.")
            if column.leads_to == "blob" and value is not None and value not in self.blobs:
                raise DamagedFile("A file that a row needs is missing from the archive.", "Export it again.")
            if column.own:
                if value is None or value in self._ids[table]:
                    raise DamagedFile("Two rows of the file have the same id.", "Export it again.")
                self._ids[table][value] = None
        if any(column.own and name not in row for name, column in columns.items()):
            raise DamagedFile("A row of the file has no id.", "Export it again.")
        if table == "session" and row.get("kind") not in get_args(SessionKind):
            raise _unknown(f"kind of session {str(row.get('kind'))[:40]!r}")

    def assign(self, db: Database) -> None:
        """New ids, in the order of the old ones, so that what is sorted by id stays so."""
        for table, ids in self._ids.items():
            if not ids:
                continue
            if any(c.own and "INT" in c.type for c in self.columns[table].values()):
                highest = db.execute(f'SELECT coalesce(max(rowid), 0) FROM "{table}"').fetchone()[0]
                fresh: list[Any] = [int(highest) + 1 + n for n in range(len(ids))]
            else:
                fresh = sorted(new_id() for _ in ids)
            ids.update(zip(sorted(ids), fresh, strict=True))
            self._texts.update((o, n) for o, n in ids.items() if isinstance(o, str) and _ID.fullmatch(o))

    def session_ids(self) -> tuple[str, ...]:
        return tuple(str(new) for new in self._ids["session"].values())

    def renewed(self, table: str, row: dict[str, Any]) -> dict[str, Any]:
        """The row as it is inserted. Raises DamagedFile where it leads to a row that did not come along."""
        fresh = {name: self._value(table, name, value) for name, value in row.items()}
        if "owner" in self.columns[table]:
            fresh["owner"] = self.owner
        if table == "session":
            fresh["deleted_at"] = None
            fresh["title"] = clean_title(str(row.get("title", "")))
        return fresh

    def _value(self, table: str, name: str, value: Any) -> Any:
        column = self.columns[table][name]
        if isinstance(value, dict):
            return base64.b64decode(value["base64"], validate=True)
        if column.own:
            return self._ids[table][value]
        if column.leads_to in self._ids and value is not None:
            if value in self._ids[column.leads_to]:
                return self._ids[column.leads_to][value]
            if not column.nullable:
                raise DamagedFile("A row of the file leads to one that is missing.", "Export it again.")
            return None
        if column.leads_to and column.leads_to != "blob":
            # Something that belongs to no session (an adapter, say) does not travel.
            return None
        if isinstance(value, str):
            return _ID.sub(lambda match: self._texts.get(match[0], match[0]), value)
        return value


def _columns(schema: Schema, db: Database, table: str) -> dict[str, _Column]:
    info = db.conn.execute(f'PRAGMA table_info("{table}")').fetchall()
    keys = [str(row[1]) for row in info if row[5]]
    found = {}
    for row in info:
        name = str(row[1])
        place, column = _root(schema, table, name)
        leads = place if (place, column) != (table, name) else ""
        own = keys == [name] and not any(k.column == name for k in schema.from_table(table))
        leads = leads or next((k.other_table for k in schema.from_table(table) if k.column == name), "")
        found[name] = _Column(str(row[2]).upper(), not row[3] and name not in keys, own, leads)
    return found


def _root(schema: Schema, table: str, column: str) -> tuple[str, str]:
    """Where a chain of foreign keys ends: the table whose own id stands in this column."""
    seen = set()
    while (table, column) not in seen:
        seen.add((table, column))
        key = next((k for k in schema.from_table(table) if k.column == column), None)
        if key is None:
            break
        table, column = key.other_table, key.other_column
    return table, column


def _fits(column: _Column, value: Any) -> bool:
    if value is None:
        return column.nullable
    if isinstance(value, bool):
        return False
    if "INT" in column.type:
        return isinstance(value, int) and abs(value) < _INT64
    if column.type in {"REAL", "FLOAT", "DOUBLE"}:
        return isinstance(value, (int, float)) and abs(value) < _INT64
    if column.type in {"BLOB", ""}:
        return isinstance(value, dict) and set(value) == {"base64"} and isinstance(value["base64"], str)
    return isinstance(value, str)


def _unknown(what: str) -> UnsupportedFile:
    return UnsupportedFile(
        f"The file has a {what}, which this version of the app does not know.", "Update VLM Studio first."
    )
