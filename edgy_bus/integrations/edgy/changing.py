"""Execute a statement on a published table: ask receivers, change the rows, write the events."""

from collections.abc import Mapping, Sequence

from sqlalchemy import Delete, Insert, Result, Update
from sqlalchemy.ext.asyncio import AsyncConnection

from edgy_bus.errors import OperationError
from edgy_bus.integrations.edgy import statements
from edgy_bus.integrations.edgy.answers import Answer, answer_insert, returning_all
from edgy_bus.integrations.edgy.cascades import Cascade, Models
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
        models: the published models, whose rows may follow a deletion.
    """

    def __init__(
        self, connection: AsyncConnection, model: EdgyModel, reporter: Reporter, models: Models
    ) -> None:
        self._connection = connection
        self._model = model
        self._reporter = reporter
        self._models = models

    async def run(self, statement: Change, parameters: Parameters) -> AnyResult:
        """Execute the statement; return what its caller expects."""
        if isinstance(statement, Insert):
            return await self._insert(statement, parameters)
        if parameters is None or isinstance(parameters, Mapping):
            return await self._change(statement, parameters or {})
        return await self._change_each(statement, parameters)

    async def _insert(self, statement: Insert, parameters: Parameters) -> AnyResult:
        model, reporter = self._model, self._reporter
        if reporter.asks(model, SAVE):
            await self._ask_about_new(statement, parameters)
        # The values of the statement are not those of the row: the database makes keys and
        # defaults, and converts what it stores.
        table: Value = statement.table
        inserting = published(returning_all(statement, table))
        result = await self._connection.execute(inserting, parameters)
        answer, rows = answer_insert(statement, table, result)
        public = [{name: row[name] for name in model.public} for row in rows]
        await reporter.report(model, SAVE, [RowChange(model.key_of(row), row) for row in public])
        return answer

    async def _ask_about_new(self, statement: Insert, parameters: Parameters) -> None:
        # The rows that a query makes are not known before they are inserted.
        if statement.select is None:
            for values in statements.new_rows(statement, parameters):
                await self._reporter.ask(self._model, SAVE, values, values)
        elif self._model.signals.pre_save.receivers:
            raise OperationError(
                f"receivers of pre_save of {self._model.name} cannot see the rows of an INSERT "
                "from a SELECT: insert the rows themselves, or disconnect the receivers"
            )

    async def _change(self, statement: Update | Delete, parameters: Values) -> AnyResult:
        """Execute an UPDATE or a DELETE that has a condition."""
        rows = self._rows(statement)
        values, names = _assigned(statement, parameters)
        # A key that SQL computes could give the key of a row to another row.
        if any(name in names and name not in values for name in self._model.keys):
            raise _key_changes(self._model)
        exclusive = self._is_exclusive(statement, names)
        before = await rows.lock(statement.whereclause, parameters, exclusive=exclusive)
        cascade = await self._ask(statement, before, dict.fromkeys(before, values))
        # Limited to the rows that are locked: a row that has come to match since then is not
        # locked, and its old values are not known.
        limited = statement.where(rows.among(before))
        result = await self._connection.execute(published(limited), parameters)
        await self._report(rows, before, dict.fromkeys(before, names), cascade)
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
        if not before:
            return Answer([], [], 0)
        values = {key: assigned[key][0] for key in before}
        cascade = await self._ask(statement, before, values)
        # A row that was inserted since then is not locked.
        present = [parameters[key] for key in before]
        result = await self._connection.execute(published(statement), present)
        written = {key: assigned[key][1] for key in before}
        await self._report(rows, before, written, cascade)
        return result

    def _rows(self, statement: Update | Delete) -> TableRows:
        table: Value = statement.table
        return TableRows(self._connection, self._model, table)

    def _is_exclusive(self, statement: Change, names: Sequence[str]) -> bool:
        return isinstance(statement, Delete) or not self._model.unique.isdisjoint(names)

    async def _ask(
        self, statement: Change, before: Rows, values: Mapping[Identity, Values]
    ) -> Cascade:
        """Ask the receivers of all rows that will change; return those that follow."""
        cascade = Cascade(self._connection, self._models)
        if isinstance(statement, Delete):
            await cascade.lock(self._model, before)
        await self._reporter.ask_each(self._model, action_of(statement), before, values)
        for model, rows in cascade.before.items():
            deleted = {key: row for key, row in rows.items() if key in cascade.deleted[model]}
            changed = {key: row for key, row in rows.items() if key not in deleted}
            await self._reporter.ask_each(model, DELETE, deleted, {})
            await self._reporter.ask_each(model, UPDATE, changed, {})
        return cascade

    async def _report(
        self,
        rows: TableRows,
        before: Rows,
        names: Mapping[Identity, Sequence[str]],
        cascade: Cascade,
    ) -> None:
        await self._report_rows(self._model, before, await rows.read(before), names)
        for model, following in cascade.before.items():
            after = await cascade.rows(model).read(following)
            await self._report_rows(model, following, after, {})

    async def _report_rows(
        self,
        model: EdgyModel,
        before: Rows,
        after: Rows,
        names: Mapping[Identity, Sequence[str]],
    ) -> None:
        """Report rows that are deleted, and rows that were written or differ from before."""
        deleted = [row for key, row in before.items() if key not in after]
        if deleted and any(names.values()):
            raise _key_changes(model)
        changes = [RowChange(model.key_of(row), row) for row in deleted]
        await self._reporter.report(model, DELETE, changes)
        # Statements may write what a row has already: Edgy saves all fields of an instance. Rows
        # that follow a deletion are reported if they differ.
        written = [key for key in after if names.get(key) or before[key] != after[key]]
        changes = [updated(model, before[key], after[key], names.get(key, ())) for key in written]
        await self._reporter.report(model, UPDATE, changes)


def _assigned(statement: Update | Delete, parameters: Values) -> tuple[Values, Sequence[str]]:
    if isinstance(statement, Update):
        return statements.assigned(statement, parameters)
    return {}, ()


def _key_changes(model: EdgyModel) -> OperationError:
    return OperationError(
        f"this statement changes the key of a row of {model.name}: events of the row would "
        "continue under another name. Delete the row, and insert another"
    )
