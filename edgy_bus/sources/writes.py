"""Changes of rows, described before they are made: the form in which a source hands over a write.

Every execution reads the same description. `run` makes the change without events. `pages` makes it
page by page, with all that events need. `single` returns the change of one row as a statement of
PostgreSQL, to which `outbox.single_statement` adds the event.
"""

import enum
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import ColumnElement, Executable

from edgy_bus.database import Database, Row
from edgy_bus.sources import statements
from edgy_bus.sources.base import Key, RowChange, TableModel, Values
from edgy_bus.sources.statements import KEY, POSTGRESQL

T = TypeVar("T")

PAGE = 1_000
"""Rows of a set that are in memory at a time."""

_INSERTED = (500, 100, 20, 5, 1)
"""Rows of one INSERT: few sizes, because each is a statement that is compiled once and then kept."""

_PARAMETERS = 5_000
"""Parameters of one INSERT, which bounds the memory of a compiled statement."""


class SingleRow(NamedTuple):
    """The change of one row as one statement of PostgreSQL, which returns the whole row.

    An update assigns the columns `assigned`, and returns the old values of the columns `read` under
    `old_name(…)`; both are None for an INSERT or a DELETE. `reports_old` says whether the caller
    reads the old values, too.
    """

    statement: Executable
    parameters: Mapping[str, Any]
    read: tuple[str, ...] | None = None
    assigned: tuple[str, ...] | None = None
    reports_old: bool = False

    def change(self, pk: str, row: Row) -> RowChange:
        """Return the change that a row of the statement's result describes."""
        if self.read is None:
            return RowChange(row[pk], row)
        names = self.read if self.reports_old else ()
        old = {name: row.pop(statements.old_name(name)) for name in names}
        return RowChange(row[pk], row, old, self.assigned)


@dataclass(frozen=True, slots=True)
class Write(ABC):
    """A change of rows of one table, which `signal` reports."""

    model: TableModel
    signal: str

    @property
    def is_update(self) -> bool:
        """Return whether the rows exist before the change and after it."""
        return False

    @property
    def summary(self) -> Values | None:
        """Return the assigned values if one event stands for all rows, else None."""
        return None

    def single(self) -> SingleRow | None:
        """Return the change as one statement; None if it may change more than one row."""
        return None

    def kept(self, page: list[RowChange]) -> list[RowChange]:
        """Return the part of a page that the caller of a write gets."""
        return page

    @abstractmethod
    async def run(self, database: Database) -> list[RowChange]:
        """Make the change, in a transaction if more than one statement is necessary."""

    @abstractmethod
    def pages(self, database: Database) -> AsyncIterator[list[RowChange]]:
        """Make the change page by page, with the old values of updated rows.

        The caller has opened a transaction. All rows are locked before the first is changed.
        """

    async def _in_transaction(self, database: Database) -> list[RowChange]:
        async with database.transaction():
            return [change async for page in self.pages(database) for change in page]


@dataclass(frozen=True, slots=True)
class InsertRows(Write):
    """Insert rows, those with a key in the order of keys."""

    rows: Sequence[Values]

    def single(self) -> SingleRow | None:
        if len(self.rows) != 1:
            return None
        [values] = self.rows
        statement = statements.insert_rows(self.model.table, tuple(values))
        return SingleRow(statement, statements.parameters(values))

    async def run(self, database: Database) -> list[RowChange]:
        if len(self.rows) == 1:
            return await self._insert(database, self.rows)
        return await self._in_transaction(database)

    async def pages(self, database: Database) -> AsyncIterator[list[RowChange]]:
        for rows in self._statements():
            yield await self._insert(database, rows)

    def _statements(self) -> Iterator[Sequence[Values]]:
        """Return the rows of each INSERT: rows with values for the same columns."""
        pk = self.model.pk
        alike: defaultdict[tuple[str, ...], list[Values]] = defaultdict(list)
        for values in self.rows:
            alike[tuple(values)].append(values)
        for names, rows in alike.items():
            if pk in names:
                # Two processes that insert the same keys wait for each other, never for ever.
                rows.sort(key=lambda values: _sortable(values[pk]))
            yield from _inserted(rows, len(names))

    async def _insert(self, database: Database, rows: Sequence[Values]) -> list[RowChange]:
        table, pk = self.model.table, self.model.pk
        statement = statements.insert_rows(table, tuple(rows[0]), len(rows))
        parameters: dict[str, Any] = {}
        for at, values in enumerate(rows):
            parameters |= statements.parameters(values, at)
        result = await database.run(statement, parameters)
        return [RowChange(row[pk], row) for row in result.rows]


@dataclass(frozen=True, slots=True)
class UpdateRows(Write):
    """Update rows by their keys, each to its own values of the same columns.

    `exclusive` asks for the lock FOR UPDATE: the write may change a column of a unique index.
    `reports_old` says whether the caller of `run` reads the old values of a single row.
    """

    rows: Sequence[tuple[Key, Values]]
    exclusive: bool
    reports_old: bool = False

    @property
    def is_update(self) -> bool:
        return True

    @property
    def _assigned(self) -> tuple[str, ...]:
        return tuple(self.rows[0][1])

    @property
    def _read(self) -> tuple[str, ...]:
        return tuple(name for name in self._assigned if name in self.model.public)

    def single(self) -> SingleRow | None:
        if len(self.rows) != 1:
            return None
        [(key, values)] = self.rows
        table, pk, names, read = self.model.table, self.model.pk, self._assigned, self._read
        statement = statements.update_row(table, pk, names)
        if read:
            statement = statements.update_row_with_old(
                table, pk, names, read, exclusive=self.exclusive
            )
        parameters = {**statements.parameters(values), KEY: key}
        return SingleRow(statement, parameters, read, names, self.reports_old)

    async def run(self, database: Database) -> list[RowChange]:
        if len(self.rows) == 1 and not self.reports_old:
            [(key, values)] = self.rows
            return await self._update(database, key, values, {})
        single = self.single()
        if single is None or database.dialect.name != POSTGRESQL:
            return await self._in_transaction(database)
        result = await database.run(single.statement, single.parameters)
        return [single.change(self.model.pk, row) for row in result.rows]

    async def pages(self, database: Database) -> AsyncIterator[list[RowChange]]:
        values_of: defaultdict[Key, list[Values]] = defaultdict(list)
        for key, values in self.rows:
            values_of[key].append(values)
        locked = await self._lock(database, list(values_of))
        for page in _parts(locked, PAGE):
            changes: list[RowChange] = []
            for row in page:
                changes += await self._update_in_turn(database, row, values_of[row[self.model.pk]])
            yield changes

    async def _lock(self, database: Database, keys: Sequence[Key]) -> list[Row]:
        """Lock rows, and return their keys and old values in the order of keys."""
        table, pk, dialect = self.model.table, self.model.pk, database.dialect.name
        if len(keys) == 1:
            statement = statements.lock_row(table, pk, self._read, exclusive=self.exclusive)
            return (await database.run(statement, {KEY: keys[0]})).rows
        rows: list[Row] = []
        # One statement, or the order would hold within each part only. SQLite has no row locks,
        # and a limit of parameters.
        for part in _parts(keys, len(keys) if dialect == POSTGRESQL else PAGE):
            where = [statements.among(table.c[pk], part, dialect)]
            found = statements.lock_rows(table, pk, where, self._read, exclusive=self.exclusive)
            rows += (await database.run(found)).rows
        return rows

    async def _update_in_turn(
        self, database: Database, old: Values, updates: Sequence[Values]
    ) -> list[RowChange]:
        """Update a locked row to several values, one after the other."""
        changes: list[RowChange] = []
        for values in updates:
            updated = await self._update(database, old[self.model.pk], values, old)
            changes += updated
            old = updated[0].row if updated else old
        return changes

    async def _update(
        self, database: Database, key: Key, values: Values, old: Values
    ) -> list[RowChange]:
        names = self._assigned
        statement = statements.update_row(self.model.table, self.model.pk, names)
        result = await database.run(statement, {**statements.parameters(values), KEY: key})
        return [RowChange(key, row, old, names) for row in result.rows]


@dataclass(frozen=True, slots=True)
class DeleteRow(Write):
    """Delete a row by its key."""

    key: Key

    def single(self) -> SingleRow:
        statement = statements.delete_row(self.model.table, self.model.pk)
        return SingleRow(statement, {KEY: self.key})

    async def run(self, database: Database) -> list[RowChange]:
        single = self.single()
        result = await database.run(single.statement, single.parameters)
        return [RowChange(self.key, row) for row in result.rows]

    async def pages(self, database: Database) -> AsyncIterator[list[RowChange]]:
        yield await self.run(database)


@dataclass(frozen=True, slots=True)
class ChangeSet(Write):
    """Update all rows that match to the same `values`, or delete them if `values` is None.

    With `expand`, every row has an event of its own, otherwise one event stands for the set.
    """

    where: Sequence[ColumnElement[bool]]
    values: Values | None
    expand: bool = True

    @property
    def is_update(self) -> bool:
        return self.values is not None

    @property
    def summary(self) -> Values | None:
        return None if self.expand else (self.values or {})

    def kept(self, page: list[RowChange]) -> list[RowChange]:
        """Return keys only: a set of any size fits into memory page by page."""
        return [RowChange(change.key, {}) for change in page]

    @property
    def _exclusive(self) -> bool:
        keys = statements.key_columns(self.model.table)
        return self.values is None or not keys.isdisjoint(self.values)

    async def run(self, database: Database) -> list[RowChange]:
        """Make the change in one statement; the changes contain keys only, as those of `kept`."""
        table, pk, dialect = self.model.table, self.model.pk, database.dialect.name
        where = statements.matching(table, pk, self.where, dialect, exclusive=self._exclusive)
        statement = statements.change_rows(table, where, self.values).returning(table.c[pk])
        result = await database.run(statement)
        return [RowChange(row[pk], {}) for row in result.rows]

    async def pages(self, database: Database) -> AsyncIterator[list[RowChange]]:
        table, pk = self.model.table, self.model.pk
        locking = statements.lock_rows(table, pk, self.where, (), exclusive=self._exclusive)
        keys = [row[pk] for row in (await database.run(locking)).rows]
        for page in _parts(keys, PAGE):
            yield await self._change(database, page)

    async def _change(self, database: Database, keys: Sequence[Key]) -> list[RowChange]:
        """Change locked rows."""
        table, pk = self.model.table, self.model.pk
        where = [statements.among(table.c[pk], keys, database.dialect.name)]
        assigned = None if self.values is None else tuple(self.values)
        old: dict[Key, Values] = {}
        if assigned is not None:
            read = [name for name in assigned if name in self.model.public]
            reading = statements.read_rows(table, pk, where, read)
            old = {row[pk]: row for row in (await database.run(reading)).rows}
        changing = statements.change_rows(table, where, self.values).returning(*table.c)
        rows = {row[pk]: row for row in (await database.run(changing)).rows}
        return [RowChange(key, rows[key], old.get(key), assigned) for key in keys if key in rows]


def _inserted(rows: Sequence[Values], columns: int) -> Iterator[Sequence[Values]]:
    """Return rows in parts, each of a size that an INSERT may have."""
    at = 0
    while at < len(rows):
        left = len(rows) - at
        size = next(size for size in _INSERTED if _fits(size, columns, left))
        yield rows[at : at + size]
        at += size


def _fits(size: int, columns: int, left: int) -> bool:
    # INSERT … DEFAULT VALUES inserts one row.
    return size == 1 or (columns > 0 and size <= left and size * columns <= _PARAMETERS)


def _parts(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (items[at : at + size] for at in range(0, len(items), max(size, 1)))


def _sortable(key: Key) -> Any:
    return key.value if isinstance(key, enum.Enum) else key
