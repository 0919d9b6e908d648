"""Bounds the size of a row's events by the types of its columns.

The part of a statement for events over the limit costs every change a fifth of the server's time,
because PostgreSQL prepares all parts. A row whose columns are all short never needs that part.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Boolean, Date, Double, Integer, String, Table, Time, Uuid
from sqlalchemy.types import TypeEngine

from edgy_bus.database import Duration, ExactDecimal, PlainUuid, UTCDateTime, stored_type

_SHORT = (Boolean, Date, Double, Duration, Integer, PlainUuid, Time, UTCDateTime, Uuid)
_SHORTEST = 50
"""More bytes than the JSON of any value of a short type has."""

_PUNCTUATION = 20
"""More bytes than separate a value from the next."""

_FRAME = 200
"""More bytes than an event has around its values."""

_ESCAPED = 6
"""The most bytes of a character in JSON: a control character is written as `\\u001f`."""


def largest_data(table: Table, public: Sequence[str], read: Sequence[str]) -> int | None:
    """Return a number of bytes that no event of a row exceeds; None without such a number.

    Args:
        table: the table of the row.
        public: the columns that the event contains.
        read: the columns whose old and new values the event contains.
    """
    sizes = {name: _largest_value(table.c[name].type) for name in {*public, *read}}
    values = {name: size for name, size in sizes.items() if size is not None}
    if len(values) < len(sizes):
        return None
    names = (*public, *read, *read)
    return _FRAME + sum(values[name] + _ESCAPED * len(name) + _PUNCTUATION for name in names)


def _largest_value(column_type: TypeEngine[Any]) -> int | None:
    """Return a number of bytes that the JSON of a column's value does not exceed, or None."""
    stored = stored_type(column_type)
    if isinstance(stored, _SHORT):
        return _SHORTEST
    if isinstance(stored, ExactDecimal):
        return _SHORTEST + stored.digits
    if isinstance(stored, String) and stored.length is not None:
        return _SHORTEST + _ESCAPED * stored.length
    return None
