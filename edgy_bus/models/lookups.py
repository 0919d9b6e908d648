"""The conditions of `filter(email__icontains="x")`: a field, two underscores and a lookup.

A value means what the same value means in `create`: the annotated type, without the rules of the
field. A number or a time that the column cannot store is compared all the same: nothing equals
2**70, and every number is less.
"""

import datetime as dt
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Context, Decimal
from typing import Any, NamedTuple

import pydantic
from sqlalchemy import (
    Column,
    ColumnElement,
    Dialect,
    LargeBinary,
    Table,
    Text,
    and_,
    any_,
    false,
    func,
    literal,
    or_,
    select,
    type_coerce,
)
from sqlalchemy.dialects.postgresql import ARRAY

from edgy_bus.database import ExactDecimal
from edgy_bus.errors import OperationError
from edgy_bus.models.annotations import shown
from edgy_bus.models.fields import Field
from edgy_bus.models.meta import MetaInfo
from edgy_bus.models.rules import LONGEST, beyond_utc, key_of
from edgy_bus.signals import suggestion
from edgy_bus.sources import Value

Condition = ColumnElement[bool]

_SQLITE = "sqlite"

_MOST_PARAMETERS = 10_000
"""The most values of `in` that are parameters on SQLite, which has at most 32,766 in all."""

_WIDE = Context(prec=2_000)
"""The context of computations that must not round."""


class Point(NamedTuple):
    """A value of a column, and where a given value stands.

    Attributes:
        value: the nearest value that the column can store.
        side: 0 for the value itself, 1 for a given value above, -1 for one below.
    """

    value: Value
    side: int = 0


@dataclass(frozen=True, slots=True)
class Operand:
    """The field of a condition: its column, and what its values may be."""

    where: str
    column: Column[Value]
    field: Field
    target: Any
    """The model whose instances stand for their keys; None where a field contains no key."""
    dialect: Dialect

    @property
    def is_sqlite(self) -> bool:
        """Return whether the condition is for SQLite."""
        return self.dialect.name == _SQLITE

    @property
    def is_json(self) -> bool:
        """Return whether the column contains JSON."""
        return self.field.kind.natural is object

    def converted(self, value: Value) -> Value:
        """Return a value as the annotated type. Raises `OperationError` for another type."""
        key = value if self.target is None else key_of(value, self.target)
        adapter = self.field.adapter
        if adapter is None:
            return key
        try:
            return adapter.validate_python(key, by_alias=True, by_name=True)
        except pydantic.ValidationError:
            raise OperationError(
                f"{self.where}: the given {type(key).__name__} is no value of "
                f"{shown(self.field.annotation)}"
            ) from None

    def point(self, value: Value) -> Point:
        """Return where a value stands among the values of the column."""
        converted = self.converted(value)
        limits = self.field.kind.limits
        if limits is not None and isinstance(converted, int):
            return _nearest(converted, *limits)
        if isinstance(converted, Decimal):
            return _nearest_decimal(converted, self.field.kind.column_type)
        if isinstance(converted, dt.datetime):
            return _nearest_time(converted)
        if isinstance(converted, dt.timedelta) and self.field.conversion is None:
            return _nearest(converted, -LONGEST, LONGEST)
        if isinstance(converted, float) and math.isnan(converted):
            raise OperationError(f"{self.where}: nothing can be compared with NaN")
        return Point(converted)

    def bound(self, value: Value) -> ColumnElement[Value]:
        """Return a converted value as a parameter."""
        # SQLAlchemy would write True, compared with a column of JSON, as the keyword `true`.
        return literal(value, self.column.type)

    def equal(self, value: Value) -> Condition | None:
        """Return the comparison with a value; None if no row can have the value."""
        point = self.point(value)
        return self.column == self.bound(point.value) if self.can_store(point) else None

    def can_store(self, point: Point) -> bool:
        """Return whether a row can have the given value itself."""
        if point.side:
            return False
        # PostgreSQL has no NUL in texts.
        return self.is_sqlite or not (isinstance(point.value, str) and "\0" in point.value)

    def text(self) -> ColumnElement[str]:
        """Return the column as text. Raises `OperationError` for another type."""
        if self.field.kind.natural is not str:
            raise OperationError(f"{self.where} is no text: lookups of text do not apply")
        # A part of a text is of no annotated type: a part of a URL is no URL.
        return type_coerce(self.column, Text())

    def text_of(self, value: Value) -> str:
        """Return the text that a value of the field is stored as, or a part of such a text."""
        if isinstance(value, str):
            return str(getattr(value, "value", value))
        dumped = value
        if self.field.conversion is not None and value is not None:
            dumped = self.field.conversion.dump(value)
        if not isinstance(dumped, str):
            raise OperationError(f"{self.where}: a lookup of text takes text")
        return dumped


def _nearest(value: Value, least: Value, greatest: Value) -> Point:
    if value > greatest:
        return Point(greatest, 1)
    return Point(least, -1) if value < least else Point(value)


def _nearest_decimal(value: Decimal, column: Any) -> Point:
    if not isinstance(column, ExactDecimal):
        return Point(value)
    nearest = _nearest(value, -column.limit, column.limit)
    if nearest.side:
        return nearest
    step = Decimal(1).scaleb(-column.places)
    floor = value.quantize(step, ROUND_FLOOR, context=_WIDE)
    return Point(floor, 0 if floor == value else 1)


def _nearest_time(value: dt.datetime) -> Point:
    side = beyond_utc(value)
    end = dt.datetime.max if side > 0 else dt.datetime.min
    return Point(end.replace(tzinfo=dt.UTC), side) if side else Point(value)


Lookup = Callable[[Operand, Value], Condition]
"""Makes a condition of a field and a value."""


def _exact(operand: Operand, value: Value) -> Condition:
    # A comparison with NULL is never true.
    if value is None:
        return operand.column.is_(None)
    condition = operand.equal(value)
    return false() if condition is None else condition


def _isnull(operand: Operand, value: Value) -> Condition:
    if not isinstance(value, bool):
        raise OperationError(f"{operand.where}: isnull takes True or False")
    return operand.column.is_(None) if value else operand.column.is_not(None)


# Order


def _gt(operand: Operand, value: Value) -> Condition:
    value, side = _compared(operand, value)
    parameter = operand.bound(value)
    return operand.column >= parameter if side < 0 else operand.column > parameter


def _gte(operand: Operand, value: Value) -> Condition:
    value, side = _compared(operand, value)
    parameter = operand.bound(value)
    return operand.column > parameter if side > 0 else operand.column >= parameter


def _lt(operand: Operand, value: Value) -> Condition:
    value, side = _compared(operand, value)
    parameter = operand.bound(value)
    return operand.column <= parameter if side > 0 else operand.column < parameter


def _lte(operand: Operand, value: Value) -> Condition:
    value, side = _compared(operand, value)
    parameter = operand.bound(value)
    return operand.column < parameter if side < 0 else operand.column <= parameter


def _range(operand: Operand, value: Value) -> Condition:
    bounds = _several(operand, "range", value)
    if len(bounds) != 2:
        raise OperationError(f"{operand.where}: range takes two values, not {len(bounds)}")
    return and_(_gte(operand, bounds[0]), _lte(operand, bounds[1]))


def _compared(operand: Operand, value: Value) -> Point:
    if value is None:
        raise OperationError(f"{operand.where}: None has no order: write isnull=True")
    if operand.is_json:
        raise OperationError(f"{operand.where}: JSON has no order that databases share")
    return operand.point(value)


# Several values


def _in(operand: Operand, value: Value) -> Condition:
    values = _several(operand, "in", value)
    present = [part for part in values if part is not None]
    # In SQL, NULL is in no list: a list with None would find nothing that None alone finds.
    conditions: list[Condition] = [operand.column.is_(None)] if len(present) < len(values) else []
    if operand.is_json:
        conditions += [_exact(operand, part) for part in present]
    else:
        conditions += _among(operand, present)
    return or_(false(), *conditions)


def _among(operand: Operand, present: Sequence[Value]) -> list[Condition]:
    points = [operand.point(value) for value in present]
    values = [point.value for point in points if operand.can_store(point)]
    if not values:
        return []
    column = operand.column
    if not operand.is_sqlite:
        # An array, because parameters are limited in number, and each number would be another text.
        array = literal(values, ARRAY(column.type, dimensions=1))
        return [column == any_(array)]
    if len(values) <= _MOST_PARAMETERS:
        return [column.in_(values)]
    return [_among_json(operand, values)]


def _among_json(operand: Operand, values: Sequence[Value]) -> Condition:
    """Return the condition with a single parameter: a JSON array of the stored values."""
    dump = operand.column.type.dialect_impl(operand.dialect).bind_processor(operand.dialect)
    stored = [dump(value) if dump else value for value in values]
    column: ColumnElement[Value] = operand.column
    # JSON has no bytes.
    if isinstance(operand.field.kind.column_type, LargeBinary):
        stored = [bytes(value).hex().upper() for value in stored]
        column = func.hex(column)
    array = literal(json.dumps(stored), Text())
    return column.in_(select(func.json_each(array).table_valued("value").c.value))


def _several(operand: Operand, lookup: str, value: Value) -> list[Value]:
    # A set has `__iter__`, which explains that it is read asynchronously.
    is_awaitable = hasattr(type(value), "__await__")
    if isinstance(value, str | bytes | Mapping) or is_awaitable or not isinstance(value, Iterable):
        hint = ": await it first" if is_awaitable else ""
        raise OperationError(
            f"{operand.where}: {lookup} takes a list of values, or another iterable, "
            f"not a {type(value).__name__}{hint}"
        )
    return list(value)


# Text


def _iexact(operand: Operand, value: Value) -> Condition:
    if value is None:
        return operand.column.is_(None)
    # The database makes both sides lower case, because SQLite changes letters of ASCII only.
    return func.lower(operand.text()) == func.lower(_text(operand.text_of(value)))


def _contains(operand: Operand, value: Value) -> Condition:
    text, part = operand.text(), operand.text_of(value)
    # LIKE ignores the case of letters on SQLite.
    if operand.is_sqlite:
        return func.instr(text, _text(part)) > 0
    # Escaped: a % or _ of the application stands for itself.
    return text.contains(part, autoescape=True)


def _icontains(operand: Operand, value: Value) -> Condition:
    text, part = operand.text(), operand.text_of(value)
    if operand.is_sqlite:
        return func.instr(func.lower(text), func.lower(_text(part))) > 0
    return text.icontains(part, autoescape=True)


def _startswith(operand: Operand, value: Value) -> Condition:
    text, part = operand.text(), operand.text_of(value)
    if operand.is_sqlite:
        return func.substr(text, 1, len(part)) == _text(part)
    return text.startswith(part, autoescape=True)


def _istartswith(operand: Operand, value: Value) -> Condition:
    text, part = operand.text(), operand.text_of(value)
    if operand.is_sqlite:
        return func.lower(func.substr(text, 1, len(part))) == func.lower(_text(part))
    return text.istartswith(part, autoescape=True)


def _endswith(operand: Operand, value: Value) -> Condition:
    text, part = operand.text(), operand.text_of(value)
    if operand.is_sqlite:
        return _end(text, part) == _text(part)
    return text.endswith(part, autoescape=True)


def _iendswith(operand: Operand, value: Value) -> Condition:
    text, part = operand.text(), operand.text_of(value)
    if operand.is_sqlite:
        return func.lower(_end(text, part)) == func.lower(_text(part))
    return text.iendswith(part, autoescape=True)


def _end(text: ColumnElement[str], part: str) -> ColumnElement[str]:
    # A length of zero would count from the beginning.
    return func.substr(text, -len(part)) if part else func.substr(text, 1, 0)


def _text(value: str) -> ColumnElement[str]:
    return literal(value, Text())


LOOKUPS: dict[str, Lookup] = {
    "exact": _exact,
    "iexact": _iexact,
    "contains": _contains,
    "icontains": _icontains,
    "startswith": _startswith,
    "istartswith": _istartswith,
    "endswith": _endswith,
    "iendswith": _iendswith,
    "in": _in,
    "gt": _gt,
    "gte": _gte,
    "lt": _lt,
    "lte": _lte,
    "range": _range,
    "isnull": _isnull,
}


def condition(meta: MetaInfo, name: str, value: Value) -> Condition:
    """Return `age__gte`, 18 as SQL.

    Raises `OperationError` for an unknown field or lookup, and a value that the field cannot have.
    """
    column, lookup = _split(meta, name)
    field = meta.fields[column.name]
    if lookup not in LOOKUPS:
        raise OperationError(
            f"unknown lookup {lookup!r} in {name!r} of {meta.name}{_instead(field, lookup)}"
        )
    target = meta.sender if field.primary_key or field.references == "self" else field.references
    where = f"{meta.name}.{column.name}"
    operand = Operand(where, column, field, target, meta.registry.database.dialect)
    return LOOKUPS[lookup](operand, value)


def _instead(field: Field, lookup: str) -> str:
    """Return the end of the error about an unknown lookup."""
    target = field.references
    if target is not None and (target == "self" or lookup.partition("__")[0] in target.meta.fields):
        return (
            ": lookups do not follow foreign keys; filter the other model first, and these rows "
            "by its keys with `__in`"
        )
    return suggestion(lookup, LOOKUPS, "the lookups are")


def _split(meta: MetaInfo, name: str) -> tuple[Column[Value], str]:
    # A field may have two underscores in its name.
    if name in meta.fields:
        return column_of(meta.name, meta.table, meta.pk, name), "exact"
    field, _, lookup = name.rpartition("__")
    if field not in meta.fields and field != "pk":
        field, _, lookup = name.partition("__")
    return column_of(meta.name, meta.table, meta.pk, field), lookup or "exact"


def column_of(model: str, table: Table, pk: str, field: str) -> Column[Value]:
    """Return a column by its field's name, or `pk`. Raises `OperationError` for another name."""
    name = pk if field == "pk" else field
    if name not in table.c:
        raise OperationError(
            f"{model} has no field {field!r}{suggestion(field, table.c.keys(), 'it has')}"
        )
    return table.c[name]
