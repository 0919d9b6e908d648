"""The data of an event over the limit, made smaller: by Python, and by PostgreSQL.

An event over the limit refuses the operation if the operation made the row too large. A row that is
too large already, because another program or an earlier setting allowed that, must not be stuck: it
can be changed and deleted, and its event leaves out large fields; `omitted` contains their names.
An update whose old and new values do not fit together leaves out `changes` first: then nobody knows
which fields have changed.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Select,
    TableValuedAlias,
    Text,
    and_,
    case,
    cast,
    column,
    func,
    literal,
    not_,
    select,
)
from sqlalchemy.dialects.postgresql import JSONB

from edgy_bus.codec import dumps

DELETION = "post_delete"

Data = Mapping[str, Any]
"""The data of an event."""


def smaller_data(data: Data, signal: str, max_bytes: int) -> Iterator[Data]:
    """Return what may stand for data over the limit, the most complete first."""
    whole = {name: value for name, value in data.items() if name != "changes"}
    if data["is_update"]:
        yield whole
        # The row was within the limit, and the update made it too large.
        if len(dumps(whole)) - _growth(data["changes"]) <= max_bytes:
            return
    elif signal != DELETION:
        return
    yield without_large_fields(whole, max_bytes)


def without_large_fields(data: Data, max_bytes: int) -> Data:
    """Return data without the large fields of the row, and with their names as `omitted`."""
    row = data["instance"]
    largest = _largest_value(max_bytes, len(row))
    omitted = [name for name, value in row.items() if len(dumps(value)) > largest]
    instance = {name: value for name, value in row.items() if name not in omitted}
    return {**data, "instance": instance, "omitted": omitted}


def _largest_value(max_bytes: int, fields: int) -> int:
    """Return the size of the largest value in an event that leaves large fields out."""
    # Half of the event for values, the rest for names.
    return max_bytes // (2 * max(fields, 1))


def _growth(changes: Mapping[str, Data]) -> int:
    """Return the number of bytes by which changed fields have become longer, as far as known."""
    return sum(
        len(dumps(values["new"])) - len(dumps(values["old"]))
        for values in changes.values()
        if "old" in values
    )


# The same in PostgreSQL. Everything is taken from the JSON of the event, and not from the columns
# of the row. So the statement is short, whatever the table has: the server prepares all of it for
# every change, and hardly ever needs this part.

_Column = ColumnElement[Any]


def select_smaller_data(
    data: _Column, max_bytes: int, fields: int, *, is_update: bool
) -> Select[Any]:
    """Return the SELECT of what may stand for data over the limit; NULL if nothing may.

    Args:
        data: the text of the JSON, a column of a CTE.
        max_bytes: the limit.
        fields: the number of fields in the event.
        is_update: whether the row was updated, and not deleted.
    """
    most, json = constant(max_bytes), cast(data, JSONB)
    whole = json.op("-", return_type=JSONB())(constant("changes"))
    parts = select(
        cast(whole, Text).label("whole"),
        _partial(whole, _largest_value(max_bytes, fields)).label("partial"),
        _size_growth(json).label("growth"),
    ).subquery("parts")
    fits = func.octet_length(parts.c.partial) <= most
    if not is_update:
        return select(case((fits, parts.c.partial)))
    size = func.octet_length(parts.c.whole)
    was_too_large = size - parts.c.growth > most
    return select(case((size <= most, parts.c.whole), (and_(was_too_large, fits), parts.c.partial)))


def _partial(whole: _Column, largest: int) -> _Column:
    """Return the data without the large fields, and with their names as `omitted`."""
    fields = _members(_member(whole, "instance"), "fields")
    fits = func.octet_length(cast(fields.c.value, Text)) <= constant(largest)
    smaller = func.jsonb_build_object(
        constant("instance"),
        _or_empty(func.jsonb_object_agg(fields.c.key, fields.c.value).filter(fits), "{}"),
        constant("omitted"),
        _or_empty(func.jsonb_agg(fields.c.key).filter(not_(fits)), "[]"),
    )
    text = cast(whole.op("||", return_type=JSONB())(smaller), Text)
    return select(text).select_from(fields).scalar_subquery()


def _or_empty(aggregate: _Column, empty: str) -> _Column:
    # An aggregate of no rows is NULL.
    return func.coalesce(aggregate, cast(constant(empty), JSONB))


def _size_growth(json: _Column) -> _Column:
    changes = _members(_member(json, "changes"), "changes")
    old, new = (
        func.octet_length(cast(_member(changes.c.value, name), Text)) for name in ("old", "new")
    )
    growth = func.coalesce(func.sum(new - old), constant(0))
    return select(growth).select_from(changes).scalar_subquery()


def _member(value: _Column, name: str) -> _Column:
    """Return a member of a JSON object."""
    return value.op("->", return_type=JSONB())(constant(name))


def _members(value: _Column, name: str) -> TableValuedAlias:
    """Return the members of a JSON object as a table of keys and values."""
    members = (column("key", Text), column("value", JSONB))
    return func.jsonb_each(value).table_valued(*members, name=name)


def constant(value: str | int) -> _Column:
    """Return a part of the statement's text."""
    # A parameter would cost client and server a little more for every row.
    return literal(value, Text if isinstance(value, str) else BigInteger, literal_execute=True)
