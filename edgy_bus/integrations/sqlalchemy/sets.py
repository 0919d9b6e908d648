"""Change sets of rows by `update(Class)` and `delete(Class)`, with the rows that events need."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from sqlalchemy import ColumnElement, Select, Table, select, tuple_
from sqlalchemy.orm import ORMExecuteState

from edgy_bus.errors import OperationError
from edgy_bus.integrations.row_changes import DELETE, UPDATE, Changed, updated
from edgy_bus.integrations.sqlalchemy import rows
from edgy_bus.integrations.sqlalchemy.flushing import check_fixed, connection_of
from edgy_bus.integrations.sqlalchemy.mapping import ClassMapper, MappedModel, by_class, local_keys
from edgy_bus.integrations.sqlalchemy.references import Reached, Referred
from edgy_bus.integrations.sqlalchemy.rows import LARGEST, Identity, Rows
from edgy_bus.sources import RowChange, Value

Invoke = Callable[[Value], Value]
"""Executes a statement, and returns its result."""


class Change(Protocol):
    """A change of rows by a statement.

    Attributes:
        action: `save`, `update` or `delete`.
    """

    action: str

    def lock(self) -> None:
        """Lock the rows that exist, and read them as they are before the change."""

    def run(self, invoke: Invoke) -> Value:
        """Execute the statement, and return what its caller gets."""

    def changed(self) -> list[Changed[MappedModel]]:
        """Return the changes, after the statement."""


class SetChange:
    """The change of the rows that match the condition of a statement.

    Args:
        state: the statement, and its session.
        model: the model that the statement names; rows may belong to derived models.
        action: `update` or `delete`.
        source: knows the models of mappers, and the foreign keys to their rows.
    """

    def __init__(
        self, state: ORMExecuteState, model: MappedModel, action: str, source: Referred
    ) -> None:
        self.action = action
        self._state = state
        self._model = model
        self._model_of = source.model_of
        self._reached = Reached(state.session, source)
        self._before: dict[MappedModel, Rows] = {}
        self._named: dict[Identity, set[str]] = {}
        """The attributes that the rows are assigned, as far as they are known."""
        if action == DELETE and len(_tables_of_hierarchy(model.mapper)) > 1:
            raise OperationError(
                f"delete({model.name}) deletes from one of several tables of joined inheritance, "
                "and leaves a part of each row: use session.delete for each object"
            )

    def lock(self) -> None:
        """Lock the rows, and read them as they are before the change."""
        session, model = self._state.session, self._model
        connection = connection_of(session, model)
        matching = session.execute(self._matching(), self._parameters()).all()
        if len(matching) > LARGEST:
            raise OperationError(
                f"the statement changes more than {LARGEST:,} rows of {model.name}: change them in "
                "parts, for example by ranges of the key"
            )
        # Rows of derived classes are published under their own names, with all their columns.
        for concrete, keys in by_class(model, matching, self._model_of).items():
            exclusive = self.action == DELETE or bool(concrete.unique)
            self._before[concrete] = rows.lock(connection, concrete, keys, exclusive=exclusive)
            if self.action == DELETE:
                self._reached.lock(concrete, keys)

    def run(self, invoke: Invoke) -> Value:
        """Execute the statement, limited to the rows that are locked."""
        # A row that has come to match since then is not locked, and its old values are not known.
        keys = [key for of_model in self._before.values() for key in of_model]
        statement: Value = self._state.statement
        result = invoke(statement.where(_among(self._model, keys)))
        # Rows that the caller has not fetched yet would be in the way of other statements.
        return result.freeze()() if len(statement.exported_columns) else result

    def changed(self) -> list[Changed[MappedModel]]:
        """Return the changes, after the statement."""
        changed: list[Changed[MappedModel]] = []
        for model, before in self._before.items():
            connection = connection_of(self._state.session, model)
            after = rows.read(connection, model, before)
            changes = (self._change(model, key, before, after) for key in before)
            present = [each for each in changes if each is not None]
            changed.append(Changed(model, self.action, present))
        reported = {(model, key) for model, before in self._before.items() for key in before}
        return [*changed, *self._reached.changed(reported)]

    def _change(
        self, model: MappedModel, key: Identity, before: Rows, after: Rows
    ) -> RowChange | None:
        if self.action == DELETE:
            return None if key in after else RowChange(model.key_of(before[key]), before[key])
        if key not in after:
            # The savepoint takes the change back.
            check_fixed(model, model.keys)
        change = updated(model, before[key], after[key], self._named.get(key, ()))
        check_fixed(model, change.assigned or ())
        return change

    def _parameters(self) -> Mapping[str, Value]:
        parameters = self._state.parameters
        return parameters if isinstance(parameters, Mapping) else {}

    def _matching(self) -> Select[Value]:
        """Return the SELECT that locks the rows of the statement, in the order of their keys."""
        model = self._model
        keys = [getattr(model.sender, name) for name in model.keys]
        kind = model.mapper.polymorphic_on
        selecting = select(*keys, *(() if kind is None else (kind,)))
        selecting = self._limited(selecting.order_by(*keys).limit(LARGEST + 1))
        shared = self.action != DELETE and not model.unique
        return selecting.with_for_update(key_share=shared, of=model.sender)

    def _limited(self, selecting: Select[Value]) -> Select[Value]:
        # A SELECT of the class has the same conditions as the statement, also those that the
        # application adds to every statement of the class.
        statement: Value = self._state.statement
        where = statement.whereclause
        limited = selecting if where is None else selecting.where(where)
        return limited.options(*statement._with_options)


class KeyedUpdates(SetChange):
    """The changes of rows by a list of their keys and values: `update(Class), [{…}, …]`."""

    def __init__(self, state: ORMExecuteState, model: MappedModel, source: Referred) -> None:
        super().__init__(state, model, UPDATE, source)
        parameters: Value = state.parameters
        for each in parameters:
            key = tuple(each.get(name) for name in model.keys)
            self._named.setdefault(key, set()).update(each.keys() - model.keys)
        if len(self._named) > LARGEST:
            raise OperationError(
                f"the statement changes more than {LARGEST:,} rows of {model.name}: change them in "
                "parts"
            )

    def run(self, invoke: Invoke) -> Value:
        """Execute the statement as it is."""
        return invoke(self._state.statement)

    def _limited(self, selecting: Select[Value]) -> Select[Value]:
        return selecting.where(rows.matching(self._model, list(self._named)))


def _among(model: MappedModel, keys: Sequence[Identity]) -> ColumnElement[bool]:
    """Return the condition that a row of the table that a statement changes has one of keys."""
    columns = local_keys(model.mapper)
    if len(columns) == 1:
        return columns[0].in_([key[0] for key in keys])
    return tuple_(*columns).in_(keys)


def _tables_of_hierarchy(mapper: ClassMapper) -> set[Table]:
    return {
        table
        for each in (*mapper.self_and_descendants, *mapper.iterate_to_root())
        for table in each.tables
        if isinstance(table, Table)
    }
