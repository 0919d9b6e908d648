"""Change sets of rows by `update(Class)` and `delete(Class)`, with the rows that events need."""

from collections.abc import Callable, Sequence

from sqlalchemy import ColumnElement, Select, Table, select, tuple_
from sqlalchemy.orm import ORMExecuteState

from edgy_bus.errors import OperationError
from edgy_bus.integrations.row_changes import DELETE, Changed, updated
from edgy_bus.integrations.sqlalchemy import rows
from edgy_bus.integrations.sqlalchemy.flushing import check_fixed, connection_of
from edgy_bus.integrations.sqlalchemy.gate import UNPUBLISHED
from edgy_bus.integrations.sqlalchemy.mapping import ClassMapper, MappedModel
from edgy_bus.integrations.sqlalchemy.rows import Identity, Rows
from edgy_bus.sources import RowChange, Value

LARGEST = 10_000
"""The most rows of a statement: their old values and events are in memory."""

ModelOf = Callable[[ClassMapper], MappedModel | None]


def is_publishable(state: ORMExecuteState) -> bool:
    """Return whether a statement is an UPDATE or a DELETE with a condition of its own."""
    if not (state.is_update or state.is_delete) or state.execution_options.get(UNPUBLISHED):
        return False
    # A list of parameters is an UPDATE by key, row by row, which the gate refuses.
    return not isinstance(state.parameters, Sequence)


class SetChange:
    """The change of the rows that match the condition of a statement.

    Args:
        state: the statement, and its session.
        model: the model that the statement names; rows may belong to derived models.
        action: `update` or `delete`.
        model_of: returns the model of a mapper.
    """

    def __init__(
        self, state: ORMExecuteState, model: MappedModel, action: str, model_of: ModelOf
    ) -> None:
        self._state = state
        self._model = model
        self._action = action
        self._model_of = model_of
        self._before: dict[MappedModel, Rows] = {}
        self._keys = _local_keys(model.mapper)
        if action == DELETE and len(_tables_of_hierarchy(model.mapper)) > 1:
            raise OperationError(
                f"delete({model.name}) deletes from one of several tables of joined inheritance, "
                "and leaves a part of each row: use session.delete for each object"
            )

    def lock(self) -> None:
        """Lock the rows, and read them as they are before the change."""
        session, model = self._state.session, self._model
        connection = connection_of(session, model)
        rows.lock_file(connection)
        matching = session.execute(self._matching(), self._state.parameters or {}).all()
        if len(matching) > LARGEST:
            raise OperationError(
                f"the statement changes more than {LARGEST:,} rows of {model.name}: change them in "
                "parts, for example by ranges of the key"
            )
        # Rows of derived classes are published under their own names, with all their columns.
        keys: dict[MappedModel, list[Identity]] = {}
        for row in matching:
            keys.setdefault(self._concrete(row), []).append(tuple(row[: len(self._keys)]))
        for concrete, of_model in keys.items():
            exclusive = self._action == DELETE or bool(concrete.unique)
            self._before[concrete] = rows.lock(connection, concrete, of_model, exclusive=exclusive)

    def statement(self) -> Value:
        """Return the statement, limited to the rows that are locked."""
        # A row that has come to match since then is not locked, and its old values are not known.
        keys = [key for of_model in self._before.values() for key in of_model]
        statement: Value = self._state.statement
        return statement.where(self._among(keys))

    def changed(self) -> list[Changed[MappedModel]]:
        """Return the changes, after the statement."""
        changed: list[Changed[MappedModel]] = []
        for model, before in self._before.items():
            connection = connection_of(self._state.session, model)
            after = rows.read(connection, model, before)
            changes = (self._change(model, key, before, after) for key in before)
            present = [each for each in changes if each is not None]
            changed.append(Changed(model, self._action, present))
        return changed

    def _change(
        self, model: MappedModel, key: Identity, before: Rows, after: Rows
    ) -> RowChange | None:
        if self._action == DELETE:
            return None if key in after else RowChange(model.key_of(before[key]), before[key])
        if key not in after:
            # The savepoint takes the change back.
            check_fixed(model, model.keys)
        change = updated(model, before[key], after[key], ())
        check_fixed(model, change.assigned or ())
        return change

    def _matching(self) -> Select[Value]:
        """Return the SELECT that locks the rows of the statement, in the order of their keys."""
        model = self._model
        statement: Value = self._state.statement
        columns = [getattr(model.sender, name) for name in model.keys]
        # A SELECT of the class has the same conditions as the statement, also those that the
        # application adds to every statement of the class.
        kind = model.discriminator
        if kind is not None:
            columns.append(getattr(model.sender, kind))
        where = statement.whereclause
        keys = columns[: len(model.keys)]
        selecting = select(*columns).order_by(*keys).limit(LARGEST + 1)
        if where is not None:
            selecting = selecting.where(where)
        shared = self._action != DELETE and not model.unique
        return selecting.with_for_update(key_share=shared, of=model.sender)

    def _concrete(self, row: Sequence[Value]) -> MappedModel:
        """Return the model of a row by its discriminator."""
        if self._model.discriminator is None:
            return self._model
        mapper = self._model.mapper.polymorphic_map.get(row[-1])
        model = None if mapper is None else self._model_of(mapper)
        return model or self._model

    def _among(self, keys: Sequence[Identity]) -> ColumnElement[bool]:
        if len(self._keys) == 1:
            return self._keys[0].in_([key[0] for key in keys])
        return tuple_(*self._keys).in_(keys)


def _local_keys(mapper: ClassMapper) -> Sequence[ColumnElement[Value]]:
    """Return the columns of the key in the table that a statement changes."""
    keys = []
    for column in mapper.primary_key:
        columns = mapper.get_property_by_column(column).columns
        keys.append(next((each for each in columns if each.table is mapper.local_table), column))
    return keys


def _tables_of_hierarchy(mapper: ClassMapper) -> set[Table]:
    return {
        table
        for each in (*mapper.self_and_descendants, *mapper.iterate_to_root())
        for table in each.tables
        if isinstance(table, Table)
    }
