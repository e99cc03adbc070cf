"""What the foreign keys say: which rows keep a blob, whose they are, and what belongs to a session.

Read from the schema itself, so that a table added by a later migration takes part without being listed.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlite_utils import Database


@dataclass(frozen=True, slots=True)
class ForeignKey:
    table: str
    column: str
    other_table: str
    other_column: str


@dataclass(frozen=True, slots=True)
class Schema:
    """Names come from our own migrations, never from outside: they are safe to put into SQL."""

    keys: tuple[ForeignKey, ...]
    columns: dict[str, dict[str, str]]
    """Table to column to declared type."""

    @classmethod
    def of(cls, db: Database) -> Schema:
        names = [
            str(row[0])
            for row in db.conn.execute(
                "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' "
                "AND name NOT LIKE '%_fts%' AND name NOT LIKE '\\_%' ESCAPE '\\' ORDER BY name"
            )
        ]
        keys, columns = [], {}
        for name in names:
            columns[name] = {
                str(r[1]): str(r[2]).upper() for r in db.conn.execute(f'PRAGMA table_info("{name}")')
            }
            for row in db.conn.execute(f'PRAGMA foreign_key_list("{name}")'):
                keys.append(ForeignKey(name, str(row[3]), str(row[2]), str(row[4] or "id")))
        return cls(tuple(keys), columns)

    def from_table(self, table: str) -> tuple[ForeignKey, ...]:
        return tuple(k for k in self.keys if k.table == table)

    def blob_columns(self) -> tuple[tuple[str, str], ...]:
        """(table, column) of everything that keeps a blob."""
        return tuple((k.table, k.column) for k in self.keys if k.other_table == "blob")

    def path_to_session(self, table: str) -> tuple[ForeignKey, ...] | None:
        """The shortest chain of keys from `table` to `session`; None where there is none."""
        paths: list[tuple[str, tuple[ForeignKey, ...]]] = [(table, ())]
        seen = {table}
        while paths:
            place, chain = paths.pop(0)
            if place == "session":
                return chain
            for key in self.from_table(place):
                if key.other_table not in seen:
                    seen.add(key.other_table)
                    paths.append((key.other_table, (*chain, key)))
        return None

    def session_tables(self) -> tuple[str, ...]:
        """Tables whose rows belong to a session, parents before children."""
        found = {t: p for t in self.columns if (p := self.path_to_session(t)) is not None}
        return tuple(sorted(found, key=lambda t: (self._depth(t, found), t)))

    def _depth(self, table: str, found: dict[str, tuple[ForeignKey, ...]]) -> int:
        """The longest chain towards `session`: a row comes after everything that it refers to."""

        def longest(place: str, seen: frozenset[str]) -> int:
            steps = [
                1 + longest(k.other_table, seen | {place})
                for k in self.from_table(place)
                if k.other_table in found and k.other_table not in seen | {place}
            ]
            return max(steps, default=0)

        return longest(table, frozenset())

    def rows_of_session(self, table: str) -> str:
        """SQL: all columns of the rows of `table` that belong to the session given as its one parameter."""
        return (
            f'SELECT "{table}".* FROM "{table}" {self._joins(table)} '
            f'WHERE "session".id = ? ORDER BY "{table}".rowid'
        )

    def _joins(self, table: str) -> str:
        chain = self.path_to_session(table) or ()
        joins, place = [], table
        for key in chain:
            joins.append(
                f'JOIN "{key.other_table}" ON "{key.other_table}"."{key.other_column}" = '
                f'"{place}"."{key.column}"'
            )
            place = key.other_table
        return " ".join(joins)

    def owner_queries(self) -> tuple[str, ...]:
        """SQL with parameters (sha256, owner): a row where that owner has something with that blob."""
        queries = []
        for table, column in self.blob_columns():
            if "owner" in self.columns[table]:
                queries.append(f'SELECT 1 FROM "{table}" WHERE "{column}" = ? AND owner = ? LIMIT 1')
            elif self.path_to_session(table):
                queries.append(
                    f'SELECT 1 FROM "{table}" {self._joins(table)} WHERE "{table}"."{column}" = ? '
                    f'AND "session".owner = ? LIMIT 1'
                )
        return tuple(queries)

    def shown_queries(self) -> tuple[str, ...]:
        """SQL with the parameter sha256: a row of a session that is not deleted, with that blob."""
        return tuple(
            f'SELECT 1 FROM "{table}" {self._joins(table)} WHERE "{table}"."{column}" = ? '
            f'AND "session".deleted_at IS NULL LIMIT 1'
            for table, column in self.blob_columns()
            if self.path_to_session(table)
        )

    def unreferenced(self) -> str:
        """SQL condition on a row of `blob`: nothing keeps it."""
        conditions = [
            f'NOT EXISTS (SELECT 1 FROM "{t}" WHERE "{t}"."{c}" = blob.sha256)'
            for t, c in self.blob_columns()
        ]
        return " AND ".join(conditions) or "1"
