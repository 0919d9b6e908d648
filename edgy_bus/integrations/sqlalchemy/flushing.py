"""Follow a flush: which rows it changes, and what the rows were before."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import NamedTuple, Protocol

from sqlalchemy import ClauseElement, Connection
from sqlalchemy.orm import Session, object_session
from sqlalchemy.orm.attributes import instance_state, set_attribute
from sqlalchemy.orm.base import PASSIVE_NO_INITIALIZE

from edgy_bus.errors import OperationError
from edgy_bus.integrations.row_changes import DELETE, SAVE, UPDATE, Changed, updated
from edgy_bus.integrations.sqlalchemy import rows
from edgy_bus.integrations.sqlalchemy.mapping import ClassMapper, MappedModel
from edgy_bus.integrations.sqlalchemy.rows import Identity, Rows
from edgy_bus.sources import RowChange, Value

Models = Mapping[ClassMapper, MappedModel]

_UNSET = object()


class Step(NamedTuple):
    """A row that the flush has changed."""

    model: MappedModel
    action: str
    target: Value
    assigned: Sequence[str] = ()


Answers = dict[tuple[MappedModel, str], bool]
"""Answers to a question about the changes of a model, each asked once in a flush."""

Reported = Collection[tuple[MappedModel, Identity]]
"""Rows whose changes are reported already."""


class ReferringRows(Protocol):
    """The rows that refer to rows which are deleted, so that the database may change them."""

    def lock(self, model: MappedModel, keys: Sequence[Identity]) -> None:
        """Lock the rows that refer to rows with these keys."""

    def has(self, model: MappedModel, key: Identity) -> bool:
        """Return whether a row is among them."""

    def changed(self, reported: Reported) -> Iterator[Changed[MappedModel]]:
        """Yield what the database has changed."""


@dataclass(slots=True)
class Flush:
    """The rows that a flush changes.

    Attributes:
        asked: the objects whose `pre_*` receivers have run, by identity.
        kept: what these objects were before.
        locked: the rows that the flush has locked, as they were then.
        updating: the attributes that an UPDATE is about to write, by the identity of the object.
        reached: the rows that refer to rows which the flush deletes.
        steps: what was changed, in order.
        wanted: whether changes of a model have events, or receivers here.
        silent: whether nobody is asked or told before changes of a model.
        depth: the number of open transactions as soon as the flush executes SQL.
        is_written: whether the events are written.
    """

    asked: dict[int, Value] = field(default_factory=dict)
    kept: list["Before"] = field(default_factory=list)
    locked: dict[MappedModel, Rows] = field(default_factory=dict)
    updating: dict[int, Sequence[str]] = field(default_factory=dict)
    reached: ReferringRows | None = None
    steps: list[Step] = field(default_factory=list)
    wanted: Answers = field(default_factory=dict)
    silent: Answers = field(default_factory=dict)
    depth: int | None = None
    is_written: bool = False

    @property
    def executes(self) -> bool:
        """Return whether the flush executes SQL whose events are not written yet."""
        return self.depth is not None and not self.is_written

    def lock(
        self,
        connection: Connection,
        model: MappedModel,
        keys: Iterable[Identity],
        *,
        exclusive: bool,
    ) -> None:
        """Lock rows of a model, unless they are locked."""
        # Locked already: later reads would show what this flush has written.
        locked = self.locked.setdefault(model, {})
        missing = [key for key in keys if key not in locked]
        if missing:
            locked.update(rows.lock(connection, model, missing, exclusive=exclusive))

    def reported(self) -> Reported:
        """Return the rows that the flush itself has changed."""
        return {(step.model, _identity(step)) for step in self.steps}

    def undo(self, *, new_only: bool = False) -> None:
        """Take back what receivers did to objects of a flush that does not happen."""
        for before in self.kept:
            if not (new_only and identity(before.target)):
                before.restore()


class Before:
    """The values of an object before its receivers run."""

    def __init__(self, model: MappedModel, target: Value) -> None:
        self.target = target
        values = instance_state(target).dict
        self._values = {name: values.get(name, _UNSET) for name in model.columns}

    def restore(self) -> None:
        """Give the object its values again."""
        state = instance_state(self.target)
        for name, value in self._values.items():
            if state.dict.get(name, _UNSET) is value:
                continue
            if value is _UNSET:
                # The attribute had no value, and its column's default is due.
                state.dict.pop(name, None)
                state.committed_state.pop(name, None)
            else:
                set_attribute(self.target, name, value)


def assigned(model: MappedModel, target: Value) -> list[str]:
    """Return the attributes of stored columns that an UPDATE of an object would write."""
    state = instance_state(target)
    # The attributes that were assigned since they were loaded; others are not looked at.
    return [
        name
        for name in state.committed_state
        if name in model.columns and state.get_history(name, PASSIVE_NO_INITIALIZE).has_changes()
    ]


def assigns_unique(model: MappedModel, target: Value) -> bool:
    """Return whether an UPDATE of an object would write a column of a unique index."""
    return bool(model.unique) and not model.unique.isdisjoint(assigned(model, target))


def is_due(model: MappedModel, target: Value) -> bool:
    """Return whether a flush updates the row of an object, for a column or a reference."""
    state = instance_state(target)
    written = [name for name in state.committed_state if name in model.assigning]
    return any(state.get_history(name, PASSIVE_NO_INITIALIZE).has_changes() for name in written)


def check_fixed(model: MappedModel, names: Sequence[str]) -> None:
    """Refuse a change of a key, or of the class of a row.

    Raises:
        OperationError: naming the attribute.
    """
    for name in names:
        if name in model.keys:
            raise OperationError(
                f"{model.name}.{name} is a part of the key, and the key of a row cannot be changed:"
                " events of the row would continue under another name. Delete the row, and add "
                "another"
            )
        if name == model.discriminator:
            raise OperationError(
                f"{model.name}.{name} says which class the row belongs to, and cannot be changed: "
                "delete the row, and add an object of the other class"
            )


def replaced(model: MappedModel, target: Value) -> list[str]:
    """Return the attributes that the UPDATE for an object in a deleted one's place would write."""
    fixed = {*model.keys, model.discriminator}
    return [name for name in assigned(model, target) if name not in fixed]


def check_replaced(mapper: ClassMapper, target: Value) -> None:
    """Refuse an object in the place of a deleted object of another class.

    Raises:
        OperationError: naming both classes.
    """
    session = object_session(target)
    if session is None or len(list(mapper.base_mapper.self_and_descendants)) == 1:
        return
    existing = session.identity_map.get(mapper.identity_key_from_instance(target))
    if existing is not None and mapper_of(existing) is not mapper:
        raise OperationError(
            f"a {mapper.class_.__name__} is added in the place of a deleted "
            f"{type(existing).__name__} with the same key, in one flush: SQLAlchemy would update "
            "the row, and no event would report the deletion. flush() between the two"
        )


def changes_of(session: Session, flush: Flush) -> Iterator[Changed[MappedModel]]:
    """Yield the changes of a flush, in its order. Reads the rows that were written."""
    # Read back, because the database may store another value than it was given, and makes defaults.
    written = _read(session, flush.steps)
    for (model, action), steps in groupby(
        _described(flush, written), lambda pair: (pair[0].model, pair[1])
    ):
        changes = [change for _, _, change in steps]
        yield Changed(model, action, changes)


def _read(session: Session, steps: Sequence[Step]) -> Mapping[MappedModel, Rows]:
    keys: dict[MappedModel, list[Identity]] = {}
    for step in steps:
        if step.action != DELETE:
            keys.setdefault(step.model, []).append(_identity(step))
    return {
        model: rows.read(connection_of(session, model), model, of_model)
        for model, of_model in keys.items()
    }


def _described(
    flush: Flush, written: Mapping[MappedModel, Rows]
) -> Iterator[tuple[Step, str, RowChange]]:
    for step in flush.steps:
        model, key = step.model, _identity(step)
        before = flush.locked.get(model, {}).get(key)
        if step.action == DELETE:
            # A row that another transaction has deleted meanwhile was not deleted here.
            if before is not None:
                yield step, DELETE, RowChange(model.key_of(before), before)
            continue
        row = written[model].get(key)
        if row is None and before is not None and flush.reached and flush.reached.has(model, key):
            # Updated, then deleted by a foreign key.
            yield step, DELETE, RowChange(model.key_of(before), before)
            continue
        if row is None:
            raise rows.unreadable(model)
        if step.action == SAVE:
            yield step, SAVE, RowChange(model.key_of(row), row)
            continue
        # Without a row that was locked before, nobody knows the old values.
        change = updated(model, before or {}, row, step.assigned)
        # An object in the place of a deleted one may be the same in all columns.
        if step.assigned or change.assigned:
            yield step, UPDATE, change


def _identity(step: Step) -> Identity:
    # A new object gets its identity at the end of the flush.
    mapper, target = step.model.mapper, step.target
    return identity(target) or tuple(mapper.primary_key_from_instance(target))


def identity(target: Value) -> Identity:
    """Return the values of an object's key; empty for a new object."""
    return tuple(instance_state(target).identity or ())


def mapper_of(target: Value) -> ClassMapper:
    """Return the mapper of an object."""
    return instance_state(target).mapper


def connection_of(session: Session, model: MappedModel) -> Connection:
    """Return the connection of a session's transaction for the rows of a model."""
    # The transaction has one connection for an engine, which the flush uses as well.
    return session.connection(bind_arguments={"mapper": model.mapper})


def current(model: MappedModel, target: Value) -> dict[str, Value]:
    """Return the values that an object has, without formulas for the database."""
    values = instance_state(target).dict
    return {
        name: values[name]
        for name in model.columns
        if name in values and not _is_formula(values[name])
    }


def _is_formula(value: Value) -> bool:
    return isinstance(value, ClauseElement) or hasattr(value, "__clause_element__")
