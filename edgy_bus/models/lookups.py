"""The conditions of `filter(email__icontains="x")`: a field, two underscores and a lookup."""

from collections.abc import Callable

from sqlalchemy import Column, ColumnElement, Table, func

from edgy_bus.errors import OperationError
from edgy_bus.models.fields import key_of
from edgy_bus.sources import Value

Lookup = Callable[[Column[Value], Value], ColumnElement[bool]]
"""Makes a condition of a column and a value."""


def _exact(column: Column[Value], value: Value) -> ColumnElement[bool]:
    # A comparison with NULL is never true.
    return column.is_(None) if value is None else column == value


def _isnull(column: Column[Value], value: Value) -> ColumnElement[bool]:
    return column.is_(None) if value else column.is_not(None)


def _range(column: Column[Value], value: Value) -> ColumnElement[bool]:
    low, high = value
    return column.between(low, high)


LOOKUPS: dict[str, Lookup] = {
    "exact": _exact,
    # The database makes both sides lower case, because SQLite changes letters of ASCII only.
    "iexact": lambda column, value: func.lower(column) == func.lower(str(value)),
    # Escaped: a % or _ of the application stands for itself.
    "contains": lambda column, value: column.contains(value, autoescape=True),
    "icontains": lambda column, value: column.icontains(str(value), autoescape=True),
    "startswith": lambda column, value: column.startswith(value, autoescape=True),
    "in": lambda column, value: column.in_([key_of(key) for key in value]),
    "gt": lambda column, value: column > value,
    "gte": lambda column, value: column >= value,
    "lt": lambda column, value: column < value,
    "lte": lambda column, value: column <= value,
    "range": _range,
    "isnull": _isnull,
}


def condition(model: str, table: Table, pk: str, name: str, value: Value) -> ColumnElement[bool]:
    """Return `age__gte`, 18 as SQL. Raises `OperationError` for an unknown field or lookup."""
    field, _, lookup = name.partition("__")
    column = column_of(model, table, pk, field)
    if (lookup or "exact") not in LOOKUPS:
        raise OperationError(
            f"unknown lookup {lookup!r} in {name!r}: the known ones are {', '.join(LOOKUPS)}"
        )
    return LOOKUPS[lookup or "exact"](column, key_of(value))


def column_of(model: str, table: Table, pk: str, field: str) -> Column[Value]:
    """Return a column by its field's name, or `pk`."""
    name = pk if field == "pk" else field
    if name not in table.c:
        raise OperationError(f"{model} has no field {field!r}: it has {', '.join(table.c.keys())}")
    return table.c[name]
