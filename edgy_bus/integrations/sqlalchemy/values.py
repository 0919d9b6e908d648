"""Convert values of mapped attributes to the values of an event, and back.

An event has a value in a form that JSON can hold: what the application's own types give to the
column, and the stored text of an Enum. A worker reads the value back through the same types.
"""

import base64
import datetime as dt
import enum
import uuid
from collections.abc import Callable, Sequence
from decimal import Decimal

from pydantic import TypeAdapter
from sqlalchemy import ARRAY, JSON, Dialect, Enum, Interval, PickleType
from sqlalchemy.types import TypeDecorator, TypeEngine

from edgy_bus.errors import ModelError
from edgy_bus.sources import Value

ColumnType = TypeEngine[Value]
Convert = Callable[[Value], Value]

_NATURAL = (str, int, float, bool, Decimal, dt.date, dt.datetime, dt.time, dt.timedelta, uuid.UUID)
"""The types whose values JSON holds as they are, or as a text or number that is read back."""


class Conversion:
    """The two functions between the values of an attribute and those of an event.

    None passes both functions by.

    Args:
        column_type: the type of the column.
        dialect: the dialect of the database.
        where: the class and the attribute, for errors.

    Raises:
        ModelError: for a type whose values events cannot contain.
    """

    __slots__ = ("_dump", "_load", "is_plain")

    def __init__(self, column_type: ColumnType, dialect: Dialect, where: str) -> None:
        self._dump, self._load = _functions(column_type, dialect, where)
        self.is_plain = self._dump is None
        """Whether an event has the values as they are."""

    def dump(self, value: Value) -> Value:
        """Return the value for an event."""
        return value if value is None or self._dump is None else self._dump(value)

    def load(self, value: Value) -> Value:
        """Return the value for the attribute. Raises an error of the type for a wrong value."""
        return value if value is None or self._load is None else self._load(value)


_Functions = tuple[Convert | None, Convert | None]


def _functions(column_type: ColumnType, dialect: Dialect, where: str) -> _Functions:
    if isinstance(column_type, Interval):
        # A decorator of SQLAlchemy's own, which stores moments where intervals are missing.
        return None, TypeAdapter(dt.timedelta).validate_python
    # Nothing executable is ever deserialised.
    if isinstance(column_type, TypeDecorator) and not isinstance(column_type, PickleType):
        return _of_decorator(column_type, dialect, where)
    if isinstance(column_type, Enum) and column_type.enum_class is not None:
        return _of_enum(column_type.enum_class, column_type.enums)
    if isinstance(column_type, ARRAY):
        return _of_array(column_type, dialect, where)
    # The column converts JSON itself.
    if isinstance(column_type, JSON):
        return None, None
    return _of_natural(column_type, where)


def _of_natural(column_type: ColumnType, where: str) -> _Functions:
    try:
        python_type = None if isinstance(column_type, PickleType) else column_type.python_type
    except NotImplementedError:
        python_type = None
    if python_type is bytes:
        return bytes, _bytes
    if python_type not in _NATURAL:
        raise _refused(column_type, where)
    return None, TypeAdapter(python_type).validate_python


def _of_decorator(decorator: TypeDecorator[Value], dialect: Dialect, where: str) -> _Functions:
    dump, load = _functions(decorator.load_dialect_impl(dialect), dialect, where)
    kind = type(decorator)
    # The methods of the base class convert nothing.
    if kind.process_bind_param is not TypeDecorator.process_bind_param:
        dump = _after(lambda value: decorator.process_bind_param(value, dialect), dump)
    if kind.process_result_value is not TypeDecorator.process_result_value:
        load = _after(load, lambda value: decorator.process_result_value(value, dialect))
    return dump, load


def _after(first: Convert | None, second: Convert | None) -> Convert | None:
    """Return a function that calls `second` with the result of `first`."""
    if first is None or second is None:
        return first or second

    def both(value: Value) -> Value:
        converted = first(value)
        return None if converted is None else second(converted)

    return both


def _of_enum(members: type[enum.Enum], stored: Sequence[str]) -> _Functions:
    # SQLAlchemy stores names, or what `values_callable` returns, in the order of the members.
    named = members.__members__
    # The names of aliases are stored if the column asks for that.
    chosen = list(named.values()) if len(stored) == len(named) else list(members)
    by_text = dict(zip(stored, chosen, strict=True))
    # The first text of a member is its own, and not that of an alias.
    texts = {member: text for text, member in reversed(by_text.items())}
    return lambda value: texts.get(value, value), by_text.__getitem__


def _of_array(array: ARRAY[Value], dialect: Dialect, where: str) -> _Functions:
    dump, load = _functions(array.item_type, dialect, where)
    return _of_parts(dump), _of_parts(load)


def _of_parts(convert: Convert | None) -> Convert | None:
    if convert is None:
        return None

    def each(value: Value) -> Value:
        if isinstance(value, list | tuple):
            return [each(part) for part in value]
        return value if value is None else convert(value)

    return each


def _bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else base64.b64decode(value, validate=True)


def _refused(column_type: ColumnType, where: str) -> ModelError:
    return ModelError(
        f"{where} has the type {type(column_type).__name__}, whose values events cannot contain: "
        'keep the column out of events with info={"secret": True}'
    )
