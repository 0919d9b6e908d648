"""Execute a statement on a published table: ask receivers, change the rows, write the events."""

from collections.abc import Mapping, Sequence

from sqlalchemy import Delete, Insert, Result, Update
from sqlalchemy.ext.asyncio import AsyncConnection

from edgy_bus.errors import OperationError
from edgy_bus.integrations.edgy import statements
from edgy_bus.integrations.edgy.answers import Answer, answer_insert, returning_all
from edgy_bus.integrations.edgy.describing import EdgyModel
from edgy_bus.integrations.edgy.gate import published
from edgy_bus.integrations.edgy.reporting import Reporter
from edgy_bus.integrations.edgy.rows import Identity, Rows, TableRows
from edgy_bus.integrations.edgy.statements import Change, Parameters
from edgy_bus.integrations.row_changes import DELETE, SAVE, UPDATE, updated
from edgy_bus.sources import RowChange, Value, Values

AnyResult = Result[Value]


def action_of(statement: Change) -> str:
    """Return what a statement does to rows."""
    if isinstance(statement, Insert):
        return SAVE
    return UPDATE if isinstance(statement, Update) else DELETE


class Execution:
    """The execution of a statement, in an open transaction that undoes the statement on an error.

    Args:
        connection: the connection.
        model: the model of the statement's table.
        reporter: asks and tells receivers, and writes events.
    """

    def __init__(self, connection: AsyncConnection, model: EdgyModel, reporter: Reporter) -> None:
        self._connection = connection
        self._model = model
        self._reporter = reporter

    async def run(self, statement: Change, parameters: Parameters) -> AnyResult:
        """Execute the statement; return what its caller expects."""
        if isinstance(statement, Insert):
            return await self._insert(statement, parameters)
        if parameters is None or isinstance(parameters, Mapping):
            return await self._change(statement, parameters or {})
        return await self._change_each(statement, parameters)

    async def _insert(self, statement: Insert, parameters: Parameters) -> AnyResult:
        if self._reporter.asks(SAVE):
            for values in list(statements.new_rows(statement, parameters)):
                await self._reporter.ask(SAVE, values, values)
        table: Value = statement.table
        inserting = published(returning_all(statement, table))
        result = await self._connection.execute(inserting, parameters)
        answer, rows = answer_insert(statement, table, result)
        await self._reporter.report(
            SAVE, [RowChange(self._model.key_of(row), row) for row in map(self._public, rows)]
        )
        return answer

    def _public(self, row: Values) -> Values:
        return {name: row[name] for name in self._model.public}

    async def _change(self, statement: Update | Delete, parameters: Values) -> AnyResult:
        """Execute an UPDATE or a DELETE that has a condition."""
        rows = self._rows(statement)
        values, names = _assigned(statement, parameters)
        exclusive = self._is_exclusive(statement, names)
        before = await rows.lock(statement.whereclause, parameters, exclusive=exclusive)
        for row in before.values():
            await self._ask(statement, row, values)
        # Limited to the rows that are locked: a row that has come to match since then is not
        # locked, and its old values are not known.
        limited = statement.where(rows.among(before))
        result = await self._connection.execute(published(limited), parameters)
        await self._report(statement, rows, before, dict.fromkeys(before, names))
        return result

    async def _change_each(
        self, statement: Update | Delete, parameters: Sequence[Values]
    ) -> AnyResult:
        """Execute an UPDATE or a DELETE once for each set of parameters."""
        keys = statements.key_sets(statement, self._model.keys, parameters)
        if keys is not None and len(set(keys)) == len(keys):
            return await self._change_by_keys(statement, dict(zip(keys, parameters, strict=True)))
        count = 0
        for each in parameters:
            result: Value = await self._change(statement, each)
            count += result.rowcount
        return Answer([], [], count)

    async def _change_by_keys(
        self, statement: Update | Delete, parameters: Mapping[Identity, Values]
    ) -> AnyResult:
        """Lock all rows at once, in the order of keys, and change each by its key."""
        rows = self._rows(statement)
        assigned = {key: _assigned(statement, each) for key, each in parameters.items()}
        names = [name for _, of_row in assigned.values() for name in of_row]
        exclusive = self._is_exclusive(statement, names)
        before = await rows.lock(rows.among(parameters), exclusive=exclusive)
        for key, row in before.items():
            await self._ask(statement, row, assigned[key][0])
        if not before:
            return Answer([], [], 0)
        present = [parameters[key] for key in before]
        result = await self._connection.execute(published(statement), present)
        of_rows = {key: assigned[key][1] for key in before}
        await self._report(statement, rows, before, of_rows)
        return result

    def _rows(self, statement: Update | Delete) -> TableRows:
        table: Value = statement.table
        return TableRows(self._connection, self._model, table)

    def _is_exclusive(self, statement: Change, names: Sequence[str]) -> bool:
        return isinstance(statement, Delete) or not self._model.unique.isdisjoint(names)

    async def _ask(self, statement: Change, row: Values, values: Values) -> None:
        action = action_of(statement)
        if self._reporter.asks(action):
            await self._reporter.ask(action, row, values)

    async def _report(
        self,
        statement: Update | Delete,
        rows: TableRows,
        before: Rows,
        names: Mapping[Identity, Sequence[str]],
    ) -> None:
        after = await rows.read(before)
        if isinstance(statement, Delete):
            # A trigger may have refused to delete a row without an error.
            gone = [before[key] for key in before if key not in after]
            changes = [RowChange(self._model.key_of(row), row) for row in gone]
        else:
            changes = [self._updated(key, before[key], after, names[key]) for key in before]
        await self._reporter.report(action_of(statement), changes)

    def _updated(
        self, key: Identity, before: Values, after: Rows, names: Sequence[str]
    ) -> RowChange:
        if key not in after:
            raise OperationError(
                f"this statement changes the key of a row of {self._model.name}: events of the row "
                "would continue under another name. Delete the row, and insert another"
            )
        return updated(self._model, before, after[key], names)


def _assigned(statement: Update | Delete, parameters: Values) -> tuple[Values, Sequence[str]]:
    if isinstance(statement, Update):
        return statements.assigned(statement, parameters)
    return {}, ()
