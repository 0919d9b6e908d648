"""Insert rows by `insert(Class)`, with the keys that events need."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import ORMExecuteState

from edgy_bus.errors import OperationError
from edgy_bus.integrations.row_changes import SAVE, Changed
from edgy_bus.integrations.sqlalchemy import rows
from edgy_bus.integrations.sqlalchemy.flushing import connection_of
from edgy_bus.integrations.sqlalchemy.mapping import MappedModel, ModelOf, by_class, local_keys
from edgy_bus.integrations.sqlalchemy.rows import Identity
from edgy_bus.integrations.sqlalchemy.sets import Invoke
from edgy_bus.sources import RowChange, Value


class Insertion:
    """The rows that a statement inserts. The statement returns their keys, for their events.

    Args:
        state: the statement, and its session.
        model: the model that the statement names; rows may belong to derived models.
        model_of: returns the model of a mapper.
    """

    def __init__(self, state: ORMExecuteState, model: MappedModel, model_of: ModelOf) -> None:
        self.action = SAVE
        self._state = state
        self._model = model
        self._model_of = model_of
        self._keys: list[Identity] = []
        if not state.parameters and len(model.mapper.tables) > 1:
            raise OperationError(
                f"insert({model.name}).values(…) inserts into one of several tables of joined "
                f"inheritance: use session.add, or execute(insert({model.name}), [{{…}}, …])"
            )

    def lock(self) -> None:
        """Do nothing: nobody else sees the rows."""

    def run(self, invoke: Invoke) -> Value:
        """Execute the statement, and note the keys of its rows."""
        statement: Value = self._state.statement
        if self._has_one_row() and not statement.exported_columns:
            result = invoke(statement)
            # None was inserted where ON CONFLICT DO NOTHING has met a row.
            if result.rowcount:
                self._keys = [tuple(result.inserted_primary_key)]
            return result
        columns = local_keys(self._model.mapper)
        frozen = invoke(statement.returning(*columns)).freeze()
        self._keys = [tuple(row[-len(columns) :]) for row in frozen()]
        if not statement.exported_columns:
            closed = frozen()
            closed.close()
            return closed
        asked = len(frozen().keys()) - len(columns)
        return frozen().columns(*range(asked))

    def changed(self) -> list[Changed[MappedModel]]:
        """Return the inserted rows."""
        connection = connection_of(self._state.session, self._model)
        changed = []
        for model, keys in self._by_model().items():
            written = rows.read(connection, model, keys)
            if any(key not in written for key in keys):
                raise rows.unreadable(model)
            changes = [RowChange(model.key_of(written[key]), written[key]) for key in keys]
            changed.append(Changed(model, SAVE, changes))
        return changed

    def _has_one_row(self) -> bool:
        # Such a result says which key was inserted, and its caller may ask for the key.
        statement: Value = self._state.statement
        several = statement._multi_values or statement.select is not None
        # The key of the table may have other columns, or another order, than that of the class.
        keys = tuple(self._model.mapper.local_table.primary_key)
        return not (self._state.parameters or several) and keys == self._model.mapper.primary_key

    def _by_model(self) -> dict[MappedModel, list[Identity]]:
        model = self._model
        kind = model.mapper.polymorphic_on
        if kind is None:
            return {model: self._keys}
        connection = connection_of(self._state.session, model)
        columns = model.mapper.primary_key
        selected: list[Sequence[Value]] = []
        for part in rows.parts(self._keys):
            of_part = select(*columns, kind).select_from(model.mapper.persist_selectable)
            selected += connection.execute(of_part.where(rows.matching(model, part))).all()
        return by_class(model, selected, self._model_of)
