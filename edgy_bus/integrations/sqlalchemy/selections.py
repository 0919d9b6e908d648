"""Select the rows of a mapped class for a backfill, by conditions that an operator has written."""

import operator
from collections.abc import Callable, Mapping, Sequence

from pydantic import ValidationError
from sqlalchemy import ColumnElement, Select, Table, bindparam, func, select, tuple_

from edgy_bus.codec import dumps, loads
from edgy_bus.errors import OperationError
from edgy_bus.integrations.sqlalchemy.mapping import MappedModel
from edgy_bus.signals import suggestion
from edgy_bus.sources import Value, Values

Condition = ColumnElement[bool]
Lookup = Callable[[ColumnElement[Value], Sequence[Value]], Condition]


def _compared(how: Callable[[Value, Value], Value]) -> Lookup:
    return lambda column, values: how(column, values[0])


LOOKUPS: Mapping[str, Lookup] = {
    "exact": _compared(operator.eq),
    "gt": _compared(operator.gt),
    "gte": _compared(operator.ge),
    "lt": _compared(operator.lt),
    "lte": _compared(operator.le),
    "in": lambda column, values: column.in_(values),
    "range": lambda column, values: column.between(*values),
    "isnull": lambda column, values: column.is_(None) if values[0] else column.is_not(None),
}


class SelectableModel(MappedModel):
    """The description of a mapped class whose rows and events can be sent again."""

    @property
    def table(self) -> Table:
        """Return the table that has a row for each row of the class, for locks."""
        key: Value = self.mapper.primary_key[0]
        table: Table = key.table
        return table

    @property
    def pk(self) -> str:
        """Return the name of a key column of the table."""
        key: Value = self.mapper.primary_key[0]
        name: str = key.key
        return name

    def conditions(self, lookups: Values) -> Sequence[Condition]:
        """Return conditions of rows; see `TableModel`."""
        return conditions(self, lookups)

    def selection(self, lookups: Values) -> "MappedRows":
        """Return the rows that fulfil lookups."""
        return MappedRows(self, self.conditions(lookups))


class MappedRows:
    """The rows of a mapped class, without those of derived classes, whose events have their names.

    Args:
        model: the model.
        conditions: the conditions that the rows fulfil.
    """

    def __init__(self, model: MappedModel, conditions: Sequence[Condition]) -> None:
        self._model = model
        self._keys = model.mapper.primary_key
        self._where = [*of_class(model), *conditions]

    def count(self) -> Select[Value]:
        """Return the SELECT of the number of rows."""
        return self._from(select(func.count().label("n")))

    def last(self) -> Select[Value]:
        """Return the SELECT of the last row."""
        return self._rows().order_by(*(key.desc() for key in self._keys)).limit(1)

    def page(self, after: str | None, until: str, limit: int) -> Select[Value]:
        """Return the SELECT that locks the next rows."""
        rows = self._rows().where(tuple_(*self._keys) <= self._place(until))
        # By the last key, never by OFFSET: rows that are deleted meanwhile would move others up.
        if after is not None:
            rows = rows.where(tuple_(*self._keys) > self._place(after))
        return rows.order_by(*self._keys).limit(limit).with_for_update(key_share=True)

    def place_of(self, row: Values) -> str:
        """Return the key of a row as a JSON list."""
        names = self._model.keys
        stored = self._model.stored({name: row[name] for name in names})
        return dumps([stored[name] for name in names]).decode()

    def _rows(self) -> Select[Value]:
        columns = self._model.columns
        return self._from(select(*(columns[name].label(name) for name in self._model.public)))

    def _from(self, selecting: Select[Value]) -> Select[Value]:
        return selecting.select_from(self._model.mapper.persist_selectable).where(*self._where)

    def _place(self, text: str) -> ColumnElement[Value]:
        return tuple_(*parameters(self._model, loads(text)))


def of_class(model: MappedModel) -> Sequence[Condition]:
    """Return the condition that a row is of the class itself, in a hierarchy of classes."""
    mapper = model.mapper
    kind = mapper.polymorphic_on
    return () if kind is None else (kind == mapper.polymorphic_identity,)


def parameters(model: MappedModel, key: Sequence[Value]) -> list[ColumnElement[Value]]:
    """Return the parts of a key, as events have them, as parameters of a statement."""
    parts = [model.loaded(name, part) for name, part in zip(model.keys, key, strict=True)]
    columns = model.mapper.primary_key
    return [
        bindparam(None, part, type_=column.type, unique=True)
        for part, column in zip(parts, columns, strict=True)
    ]


def conditions(model: MappedModel, lookups: Values) -> list[Condition]:
    """Return the conditions of lookups like `age__gte`. `pk__in` takes keys as events have them.

    Raises:
        OperationError: for an unknown attribute or lookup, and a value that does not fit.
    """
    return [_condition(model, name, value) for name, value in lookups.items()]


def _condition(model: MappedModel, name: str, value: Value) -> Condition:
    attribute, lookup = _split(model, name)
    if attribute == "pk":
        return _of_key(model, lookup, value)
    if attribute not in model.public:
        raise OperationError(
            f"{model.name} has no attribute {attribute!r} in its events"
            f"{suggestion(attribute, model.public, 'they have')}"
        )
    if lookup not in LOOKUPS:
        raise OperationError(
            f"unknown lookup {lookup!r} in {name!r} of {model.name}"
            f"{suggestion(lookup, LOOKUPS, 'the lookups are')}"
        )
    operands = value if lookup in ("in", "range") else [value]
    if lookup == "range" and len(operands) != 2:
        raise OperationError(f"{name} of {model.name} takes two values")
    values = (
        operands if lookup == "isnull" else [_loaded(model, attribute, each) for each in operands]
    )
    return LOOKUPS[lookup](model.columns[attribute], values)


def _of_key(model: MappedModel, lookup: str, value: Value) -> Condition:
    texts = value if lookup == "in" else [value]
    if lookup not in ("in", "exact"):
        raise OperationError(f"pk of {model.name} is chosen by pk and pk__in, not by {lookup}")
    columns = model.mapper.primary_key
    keys = [_parts(model, text) for text in texts]
    if len(columns) == 1:
        return columns[0].in_([key for [key] in keys])
    return tuple_(*columns).in_([tuple(key) for key in keys])


def _parts(model: MappedModel, text: Value) -> list[Value]:
    """Return the parts of a key from the text that events have as their subject."""
    parts = [text] if len(model.keys) == 1 else loads(text)
    return [_loaded(model, name, part) for name, part in zip(model.keys, parts, strict=True)]


def _loaded(model: MappedModel, name: str, value: Value) -> Value:
    try:
        return model.loaded(name, value)
    except (ValidationError, ValueError, LookupError) as error:
        raise OperationError(f"{model.name}.{name} cannot be {value!r}") from error


def _split(model: MappedModel, name: str) -> tuple[str, str]:
    # An attribute may have two underscores in its name.
    if name in model.columns:
        return name, "exact"
    attribute, _, lookup = name.rpartition("__")
    return (attribute, lookup) if attribute else (name, "exact")
