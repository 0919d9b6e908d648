"""Read rows of a published table: locked before a change, and as they are after it."""

from collections.abc import Collection, Iterator, Sequence

from sqlalchemy import ColumnElement, Select, Table, delete, false, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from edgy_bus.errors import OperationError
from edgy_bus.integrations.edgy.describing import EdgyModel
from edgy_bus.integrations.edgy.gate import published
from edgy_bus.outbox.statements import SQLITE
from edgy_bus.sources import Value, Values

Identity = tuple[Value, ...]
Rows = dict[Identity, Values]

LARGEST = 10_000
"""The most rows of a statement: their old values and events are in memory."""

_AT_ONCE = 1_000
"""Rows of a SELECT; each has a parameter for every column of the key."""


class TableRows:
    """The rows of a table on a connection.

    Args:
        connection: the connection of the transaction that changes the rows.
        model: the model of the rows.
        table: the table, as the statement has it.
    """

    def __init__(self, connection: AsyncConnection, model: EdgyModel, table: Table) -> None:
        self._connection = connection
        self._model = model
        self._table = table

    async def lock(
        self,
        where: ColumnElement[bool] | None,
        parameters: Values | None = None,
        *,
        exclusive: bool,
    ) -> Rows:
        """Lock the rows that match, in the order of their keys, and return them as they are.

        Args:
            where: the condition; None for all rows.
            parameters: the parameters of the condition.
            exclusive: whether rows are deleted, or a column of a unique index is assigned.

        Raises:
            OperationError: for more than `LARGEST` rows.
        """
        if self._connection.dialect.name == SQLITE:
            # A statement that changes nothing keeps other writers away from the file: without it,
            # a row could change between the SELECT and the change.
            await self._connection.execute(published(delete(self._table).where(false())))
        matching = self._selecting().limit(LARGEST + 1)
        if where is not None:
            matching = matching.where(where)
        # FOR NO KEY UPDATE does not block the inserts of rows that refer to these.
        locking = matching.with_for_update(key_share=not exclusive, of=self._table)
        rows = await self._rows(locking, parameters)
        if len(rows) > LARGEST:
            raise OperationError(
                f"the statement changes more than {LARGEST:,} rows of {self._model.name}: change "
                "them in parts, for example by ranges of the key"
            )
        return rows

    async def read(self, keys: Collection[Identity]) -> Rows:
        """Return rows that this transaction has locked."""
        rows: Rows = {}
        for part in _parts(list(keys)):
            rows |= await self._rows(self._selecting().where(self.among(part)), None)
        return rows

    def among(self, keys: Collection[Identity]) -> ColumnElement[bool]:
        """Return the condition that a row has one of these keys."""
        columns = [self._table.c[name] for name in self._model.keys]
        if len(columns) == 1:
            return columns[0].in_([key[0] for key in keys])
        return tuple_(*columns).in_(list(keys))

    def identity(self, row: Values) -> Identity:
        """Return the values of a row's key."""
        return tuple(row[name] for name in self._model.keys)

    def _selecting(self) -> Select[Value]:
        """Return the SELECT of the public columns, in the order of keys."""
        columns = [self._table.c[name].label(name) for name in self._model.public]
        return select(*columns).order_by(*(self._table.c[name] for name in self._model.keys))

    async def _rows(self, statement: Select[Value], parameters: Values | None) -> Rows:
        result = await self._connection.execute(statement, parameters)
        rows = map(dict[str, Value], result.mappings())
        return {self.identity(row): row for row in rows}


def _parts(keys: Sequence[Identity]) -> Iterator[Sequence[Identity]]:
    for begin in range(0, len(keys), _AT_ONCE):
        yield keys[begin : begin + _AT_ONCE]
