"""`filter(email__icontains="x")`: what stands behind the two underscores."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import Column, ColumnElement, Table, func

from edgy_bus.errors import OperationError
from edgy_bus.models.fields import key_of

Lookup = Callable[[Column[Any], Any], ColumnElement[bool]]


def _exact(column: Column[Any], value: Any) -> ColumnElement[bool]:
    return column.is_(None) if value is None else column == value


def _isnull(column: Column[Any], value: Any) -> ColumnElement[bool]:
    return column.is_(None) if value else column.is_not(None)


def _range(column: Column[Any], value: Any) -> ColumnElement[bool]:
    low, high = value
    return column.between(low, high)


LOOKUPS: dict[str, Lookup] = {
    "exact": _exact,
    # Both sides are put into lower case by the database: SQLite knows ASCII alone.
    "iexact": lambda column, value: func.lower(column) == func.lower(str(value)),
    "contains": lambda column, value: column.contains(value, autoescape=True),
    "icontains": lambda column, value: column.icontains(str(value), autoescape=True),
    "startswith": lambda column, value: column.startswith(value, autoescape=True),
    "in": lambda column, value: column.in_([key_of(one) for one in value]),
    "gt": lambda column, value: column > value,
    "gte": lambda column, value: column >= value,
    "lt": lambda column, value: column < value,
    "lte": lambda column, value: column <= value,
    "range": _range,
    "isnull": _isnull,
}


def condition(model: str, table: Table, pk: str, name: str, value: Any) -> ColumnElement[bool]:
    """`age__gte`, 18 as SQL. Raises `OperationError` for a field or a lookup that is not there."""
    field, _, lookup = name.partition("__")
    column = column_of(model, table, pk, field)
    if (lookup or "exact") not in LOOKUPS:
        raise OperationError(
            f"unknown lookup {lookup!r} in {name!r}: the known ones are {', '.join(LOOKUPS)}"
        )
    return LOOKUPS[lookup or "exact"](column, key_of(value))


def column_of(model: str, table: Table, pk: str, field: str) -> Column[Any]:
    """A column by its field's name, or `pk`."""
    name = pk if field == "pk" else field
    if name not in table.c:
        raise OperationError(f"{model} has no field {field!r}: it has {', '.join(table.c.keys())}")
    return table.c[name]
