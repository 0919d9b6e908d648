"""Changes of rows, described before they are made: the form in which a source hands over a write.

Every execution reads the same description. `run` makes the change without events. `pages` makes it
page by page, with all that events need. `single` returns the change of a single row as a statement
of PostgreSQL, to which `outbox.single_statement` adds the event.
"""

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from sqlalchemy import JSON, Executable

from edgy_bus.codec import sorted_dumps
from edgy_bus.database import Database, Row
from edgy_bus.database.types import stored_type
from edgy_bus.sources import statements
from edgy_bus.sources.base import Key, RowChange, TableModel, Value, Values
from edgy_bus.sources.statements import KEY, POSTGRESQL, KeyColumn, Names

T = TypeVar("T")

PAGE = 1_000
"""Rows of a set that are in memory at a time."""

_SIZES = (500, 100, 20, 5, 1)
"""The numbers of rows that an INSERT may have.

Few sizes, because every size is a statement that SQLAlchemy compiles once, slowly, and that stays
in memory.
"""

_PARAMETERS = 5_000
"""The most parameters of an INSERT, which bounds the memory of a compiled statement."""


class SingleRow(NamedTuple):
    """The change of a row as a statement of PostgreSQL, which returns the whole row.

    Attributes:
        statement: the statement.
        parameters: its parameters.
        read: the columns of an update whose old values the statement returns, under `old_name(…)`;
            None for an INSERT or a DELETE.
        assigned: the columns that an update writes.
        reports_old: whether the caller reads the old values, too.
    """

    statement: Executable
    parameters: Mapping[str, object]
    read: Names | None = None
    assigned: Names | None = None
    reports_old: bool = False

    def change(self, pk: str, row: Row) -> RowChange:
        """Return the change that a row of the statement's result describes."""
        if self.read is None:
            return RowChange(row[pk], row)
        # Old values that the caller does not read stay in the database.
        names = self.read if self.reports_old else ()
        old = {name: row.pop(statements.old_name(name)) for name in names}
        return RowChange(row[pk], row, old, self.assigned)


@dataclass(frozen=True, slots=True)
class Write(ABC):
    """A change of rows of a table, which `signal` reports."""

    model: TableModel
    signal: str

    @property
    def is_update(self) -> bool:
        """Return whether the rows exist before the change and after the change."""
        return False

    @property
    def summary(self) -> Values | None:
        """Return the assigned values if a single event stands for all rows, else None."""
        return None

    def single(self) -> SingleRow | None:
        """Return the change as a single statement; None if several rows may change."""
        return None

    def kept(self, page: list[RowChange]) -> list[RowChange]:
        """Return the part of a page that the caller of a write gets."""
        return page

    @abstractmethod
    async def run(self, database: Database) -> Sequence[RowChange]:
        """Make the change, in a transaction if a single statement is not enough."""

    @abstractmethod
    def pages(self, database: Database) -> AsyncIterator[list[RowChange]]:
        """Make the change page by page, with the old values of updated rows.

        The caller has opened a transaction. All rows are locked before the first change.
        """

    @property
    def _key(self) -> KeyColumn:
        return self.model.table.c[self.model.pk]

    async def _in_transaction(self, database: Database) -> list[RowChange]:
        async with database.transaction():
            return [change async for page in self.pages(database) for change in page]


@dataclass(frozen=True, slots=True)
class InsertRows(Write):
    """Insert rows, those with a key in the order of their unique values and their keys."""

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
        alike: defaultdict[Names, list[Values]] = defaultdict(list)
        for values in self.rows:
            alike[tuple(values)].append(values)
        # Keys of the application first: SQLite makes keys beyond the greatest one, and would give a
        # later row's key to an earlier row.
        for names in sorted(alike, key=lambda names: pk not in names):
            rows = alike[names]
            if pk in names:
                # Two processes that insert the same values of a unique index wait for each other,
                # never for ever. Any order that they share suffices. Several unique indexes have no
                # common order: there one of two transactions may lose a deadlock (`TryAgain`).
                rows.sort(key=self._order)
            yield from _in_sizes(rows, len(names))

    def _order(self, values: Values) -> list[tuple[bool, Value]]:
        # The stored form: values of any annotated type need no order.
        table = self.model.table
        names = (*statements.unique_columns(table), self.model.pk)
        stored = self.model.stored({name: values[name] for name in names if name in values})
        return [
            (value is not None, _sortable(table.c[name], value)) for name, value in stored.items()
        ]

    async def _insert(self, database: Database, rows: Sequence[Values]) -> list[RowChange]:
        pk = self.model.pk
        statement = statements.insert_rows(self.model.table, tuple(rows[0]), len(rows))
        parameters: dict[str, object] = {}
        for at, values in enumerate(rows):
            parameters |= statements.parameters(values, at)
        result = await database.run(statement, parameters)
        return [RowChange(row[pk], row) for row in result.rows]


@dataclass(frozen=True, slots=True)
class UpdateRows(Write):
    """Update rows by their keys, each to its own values of the same columns.

    Attributes:
        rows: keys with the values to assign.
        exclusive: whether to lock FOR UPDATE, because a column of a unique index may change.
        reports_old: whether the caller of `run` reads the old values of a single row.
    """

    rows: Sequence[tuple[Key, Values]]
    exclusive: bool
    reports_old: bool = False

    @property
    def is_update(self) -> bool:
        return True

    @property
    def _assigned(self) -> Names:
        return tuple(self.rows[0][1])

    @property
    def _read(self) -> Names:
        # Nobody gets the old value of a secret field.
        return tuple(name for name in self._assigned if name in self.model.public)

    def single(self) -> SingleRow | None:
        if len(self.rows) != 1:
            return None
        [(key, values)] = self.rows
        read = self._read
        table = self.model.table
        names, formulas, parameters = statements.assignment(table, values, POSTGRESQL)
        if read:
            statement = statements.update_row_with_old(
                self._key, names, read, exclusive=self.exclusive, formulas=formulas
            )
        else:
            statement = statements.update_row(self._key, names, formulas)
        parameters[KEY] = key
        return SingleRow(statement, parameters, read, self._assigned, self.reports_old)

    async def run(self, database: Database) -> list[RowChange]:
        if len(self.rows) == 1 and not self.reports_old:
            [(key, values)] = self.rows
            # A statement that changes a single row by its key needs no lock before the change.
            return await self._update(database, key, values, {})
        single = self.single()
        if single is None or database.dialect.name != POSTGRESQL:
            return await self._in_transaction(database)
        result = await database.run(single.statement, single.parameters)
        return [single.change(self.model.pk, row) for row in result.rows]

    async def pages(self, database: Database) -> AsyncIterator[list[RowChange]]:
        pk = self.model.pk
        values_of: defaultdict[Key, list[Values]] = defaultdict(list)
        for key, values in self.rows:
            values_of[key].append(values)
        locked = await self._lock(database, list(values_of))
        for page in parts(locked, PAGE):
            changes: list[RowChange] = []
            for row in page:
                changes += await self._update_in_turn(database, row, values_of[row[pk]])
            yield changes

    async def _lock(self, database: Database, keys: Sequence[Key]) -> list[Row]:
        """Lock rows, and return their keys and old values in the order of keys."""
        if len(keys) == 1:
            statement = statements.lock_row(self._key, self._read, exclusive=self.exclusive)
            return (await database.run(statement, {KEY: keys[0]})).rows
        dialect = database.dialect.name
        rows: list[Row] = []
        # A single statement, because an order within each part is no order of all rows. SQLite
        # needs no order, and has a limit of parameters.
        for part in parts(keys, len(keys) if dialect == POSTGRESQL else PAGE):
            where = [statements.among(self._key, part, dialect)]
            locking = statements.lock_rows(self._key, where, self._read, exclusive=self.exclusive)
            rows += (await database.run(locking)).rows
        return rows

    async def _update_in_turn(
        self, database: Database, old: Values, updates: Sequence[Values]
    ) -> list[RowChange]:
        """Update a locked row to several values, one after the other."""
        changes: list[RowChange] = []
        for values in updates:
            updated = await self._update(database, old[self.model.pk], values, old)
            changes += updated
            # A trigger may have refused the update without an error.
            old = updated[0].row if updated else old
        return changes

    async def _update(
        self, database: Database, key: Key, values: Values, old: Values
    ) -> list[RowChange]:
        names, formulas, parameters = statements.assignment(
            self.model.table, values, database.dialect.name
        )
        statement = statements.update_row(self._key, names, formulas)
        parameters[KEY] = key
        result = await database.run(statement, parameters)
        return [RowChange(key, row, old, self._assigned) for row in result.rows]


@dataclass(frozen=True, slots=True)
class DeleteRow(Write):
    """Delete a row by its key."""

    key: Key

    def single(self) -> SingleRow:
        return SingleRow(statements.delete_row(self._key), {KEY: self.key})

    async def run(self, database: Database) -> list[RowChange]:
        single = self.single()
        result = await database.run(single.statement, single.parameters)
        return [RowChange(self.key, row) for row in result.rows]

    async def pages(self, database: Database) -> AsyncIterator[list[RowChange]]:
        yield await self.run(database)


def _sortable(column: KeyColumn, value: Value) -> Value:
    """Return a value that has an order among the values of its column."""
    # Lists and objects have no order, and the values of a column of JSON may have several types.
    if value is None or not isinstance(stored_type(column.type), JSON):
        return value
    return sorted_dumps(value)


def _in_sizes(rows: Sequence[Values], columns: int) -> Iterator[Sequence[Values]]:
    """Return rows in parts, each of a size that an INSERT may have."""
    begin = 0
    while begin < len(rows):
        size = _size(len(rows) - begin, columns)
        yield rows[begin : begin + size]
        begin += size


def _size(remaining: int, columns: int) -> int:
    """Return the number of rows of the next INSERT."""
    if not columns:
        # The only INSERT without columns, INSERT … DEFAULT VALUES, inserts a single row.
        return 1
    most = min(remaining, max(_PARAMETERS // columns, 1))
    return next(size for size in _SIZES if size <= most)


def parts(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Return items in parts of at most `size`."""
    for begin in range(0, len(items), max(size, 1)):
        yield items[begin : begin + size]
