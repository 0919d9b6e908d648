"""Read and send the rows that a backfill goes through, of models of every kind."""

import uuid
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from sqlalchemy import Executable, func, select

from edgy_bus.codec import key_text
from edgy_bus.errors import ConfigurationError
from edgy_bus.operations.addressed import LONG
from edgy_bus.operations.filters import lookups_of
from edgy_bus.operations.parts import Publisher
from edgy_bus.outbox.copying import ROW_LOCK
from edgy_bus.sources import PagedModel, RowChange, TableModel
from edgy_bus.sources.statements import POSTGRESQL, last_key


class Sent(NamedTuple):
    """Rows that were sent.

    Attributes:
        rows: the number.
        last: the place of the last row; None without rows.
    """

    rows: int
    last: str | None


class ExistingRows(Protocol):
    """The rows of a model that fulfil conditions, in the order of their keys.

    A place is the key of a row as text.
    """

    async def count(self) -> int:
        """Return the number of rows."""

    async def last(self) -> str | None:
        """Return the place of the last row; None without rows."""

    async def send(self, after: str | None, until: str, limit: int, to: str) -> Sent:
        """Write the events of the next rows, for a receiver, in the open transaction.

        Raises:
            TryAgain: if another transaction keeps one of the rows locked.
        """


def rows_of(
    publisher: Publisher, model: TableModel | PagedModel, where: Sequence[str]
) -> ExistingRows:
    """Return the rows of a model. Raises `OperationError` for a condition that does not fit."""
    if isinstance(model, PagedModel):
        return _PagedRows(publisher, model, where)
    return _TableRows(publisher, model, where)


class _TableRows:
    """Rows of one table with a single key column."""

    def __init__(self, publisher: Publisher, model: TableModel, where: Sequence[str]) -> None:
        self._publisher = publisher
        self._model = model
        self._where = model.conditions(lookups_of(where))

    async def count(self) -> int:
        counting = select(func.count().label("n")).select_from(self._model.table)
        return await _count(self._publisher, counting.where(*self._where))

    async def last(self) -> str | None:
        key = self._model.table.c[self._model.pk]
        last = await self._publisher.store.database.run(last_key(key, self._where))
        return _written(last.rows[0][key.name]) if last.rows else None

    async def send(self, after: str | None, until: str, limit: int, to: str) -> Sent:
        where = [*self._where, *self._model.conditions({"pk__lte": until})]
        # By the last key, never by OFFSET: rows that are deleted meanwhile would move others up.
        if after is not None:
            where += self._model.conditions({"pk__gt": after})
        keys = await self._publisher.writer.repeat(self._model, where, limit, to)
        return Sent(len(keys), _written(keys[-1]) if keys else None)


class _PagedRows:
    """Rows that the model selects itself."""

    def __init__(self, publisher: Publisher, model: PagedModel, where: Sequence[str]) -> None:
        self._publisher = publisher
        self._model = model
        self._selection = model.selection(lookups_of(where))

    async def count(self) -> int:
        return await _count(self._publisher, self._selection.count())

    async def last(self) -> str | None:
        rows = (await self._publisher.store.database.run(self._selection.last())).rows
        return self._selection.place_of(rows[0]) if rows else None

    async def send(self, after: str | None, until: str, limit: int, to: str) -> Sent:
        publisher, database = self._publisher, self._publisher.store.database
        if database.dialect.name == POSTGRESQL:
            # As `OutboxWriter.repeat`: rows that are locked by then must not wait for long.
            await database.script(f"SET LOCAL lock_timeout = {ROW_LOCK}")
        rows = (await database.run(self._selection.page(after, until, limit))).rows
        if not rows:
            return Sent(0, None)
        changes = [RowChange(self._model.key_of(row), row) for row in rows]
        await publisher.store.append(list(publisher.encoder.repeated(self._model, changes, to)))
        database.on_commit(publisher.writer.ring)
        return Sent(len(rows), self._selection.place_of(rows[-1]))


async def _count(publisher: Publisher, counting: Executable) -> int:
    database = publisher.store.database
    async with database.transaction(readonly=True, command_timeout=LONG):
        return int((await database.run(counting)).rows[0]["n"])


def _written(key: Any) -> str:
    """Return a key as text from which its field reads the same key."""
    if not isinstance(key, int | str | uuid.UUID):
        raise ConfigurationError(
            f"a backfill goes through keys that are numbers, texts or UUIDs, not through keys of "
            f"the type {type(key).__name__}"
        )
    return key_text(key)
