"""On PostgreSQL, the change of a row and its event are a single statement, and a single round trip.

The change stands in a CTE. The database makes the event from the row that the CTE returns: with the
key that the database generated, and with the values as stored. The JSON has the same meaning as the
JSON of `encoding`; a property test compares both over all types of fields.
"""

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from functools import cache, lru_cache
from typing import Any, NamedTuple

from sqlalchemy import (
    CTE,
    JSON,
    BigInteger,
    Boolean,
    ColumnElement,
    Date,
    Double,
    Enum,
    Executable,
    Integer,
    Interval,
    LargeBinary,
    Select,
    String,
    Table,
    Text,
    Time,
    Uuid,
    bindparam,
    case,
    cast,
    func,
    insert,
    literal,
    select,
)
from sqlalchemy.dialects.postgresql import BIT, JSONB
from sqlalchemy.types import TypeEngine

from edgy_bus.database import ExactDecimal, UTCDateTime
from edgy_bus.errors import IntegrityError
from edgy_bus.outbox.encoding import Stamp
from edgy_bus.outbox.statements import then_pending
from edgy_bus.outbox.table import outbox
from edgy_bus.sources import SingleRow
from edgy_bus.sources.statements import old_name

_Column = ColumnElement[Any]
_Type = TypeEngine[Any]

_KEYS = (Integer, BigInteger, String, Text, Uuid)
"""Types of keys whose text PostgreSQL writes as `codec.key_text` does."""

_MOST = 50
"""The most columns of an event: PostgreSQL's functions take 100 arguments, two for a column."""

_STAMP = ("event_id", "time", "created", "traceparent")
"""Columns of the outbox that are parameters of the statement."""


class EventKind(NamedTuple):
    """The part of an event that is the same for all rows of a model: constants of the statement.

    Attributes:
        table: the table of the rows.
        pk: the name of the primary key.
        public: the columns that the event contains.
        read: the columns whose old values the change returns; None for an INSERT or a DELETE.
        reports_old: whether the caller gets the old values as well.
        model: the name of the model, with the service.
        signal: the signal.
        source: the service.
        partitions: the number of partitions.
        max_bytes: the largest `data`.
    """

    table: Table
    pk: str
    public: tuple[str, ...]
    read: tuple[str, ...] | None
    reports_old: bool
    model: str
    signal: str
    source: str
    partitions: int
    max_bytes: int


@cache
def is_recordable(table: Table, pk: str, public: Sequence[str]) -> bool:
    """Return whether PostgreSQL can write the same JSON of such a row as `encoding`."""
    if len(public) > _MOST or not isinstance(table.c[pk].type, _KEYS):
        return False
    return all(isinstance(table.c[name].type, _SUPPORTED) for name in public)


@lru_cache(maxsize=1_000)
def with_event(change: Any, kind: EventKind) -> Executable:
    """Return the statement that makes a change of a row and writes its event."""
    changed = change.cte("changed")
    # Materialized: PostgreSQL would otherwise make the JSON twice, to measure it and to insert it.
    event = _event(changed, kind).cte("event").prefix_with("MATERIALIZED")
    values: dict[str, _Column] = {name: _parameter(name) for name in _STAMP}
    values |= {
        "model": _constant(kind.model),
        "signal": _constant(kind.signal),
        "label": _partition(event.c.subject, kind.partitions),
        "subject": event.c.subject,
        "data": _data_or_null(event.c.data, kind.max_bytes),
        "source": _constant(kind.source),
    }
    # The INSERT reads from the changed row, so the outbox id is drawn while the row is locked.
    written = insert(outbox).from_select(list(values), select(*values.values()).select_from(event))
    columns = [changed.c[column.name] for column in kind.table.c]
    if kind.reports_old:
        columns += [changed.c[old_name(name)] for name in kind.read or ()]
    return select(*columns).add_cte(then_pending(written).cte("waits"))


def parameters(single: SingleRow, event_id: str, stamp: Stamp) -> Mapping[str, object]:
    """Return the parameters of the statement: those of the change and those of the event."""
    return {
        **single.parameters,
        "edgy_bus_event_id": event_id,
        "edgy_bus_time": stamp.time,
        "edgy_bus_created": stamp.created,
        "edgy_bus_traceparent": stamp.traceparent,
    }


# An event over the limit must take the change back, also outside of a transaction, but a statement
# cannot undo a CTE of its own. So `data` of such an event is NULL. The column refuses the NULL, and
# the whole statement fails. The refused column identifies the error, in every language of a server,
# and no trigger of the application can cause the same error.


def is_too_large(error: IntegrityError) -> bool:
    """Return whether the statement failed because its event is over the limit."""
    return (error.table, error.column) == (outbox.name, outbox.c.data.name)


def _data_or_null(data: _Column, max_bytes: int) -> _Column:
    fits = func.octet_length(data) <= _constant(max_bytes)
    return case((fits, data))


def _event(changed: CTE, kind: EventKind) -> Select[Any]:
    """Return the SELECT of the event's subject and data."""
    arguments: list[_Column] = []
    for name in kind.public:
        column = changed.c[name]
        arguments += (_constant(name), _json(column, kind.table.c[name].type))
    instance = cast(func.json_build_object(*arguments), Text)
    if kind.read is None:
        data = _constant('{"instance":') + instance + _constant(',"is_update":false}')
    else:
        changes = _changes(changed, kind.table, kind.read)
        begin, middle = _constant('{"instance":'), _constant(',"is_update":true,"changes":{')
        data = begin + instance + middle + changes + _constant("}}")
    subject = cast(changed.c[kind.pk], Text)
    return select(subject.label("subject"), data.label("data")).select_from(changed)


def _changes(changed: CTE, table: Table, names: Sequence[str]) -> _Column:
    """Return the members of the JSON object `changes`."""
    members: list[_Column] = []
    for name in names:
        old, new = changed.c[old_name(name)], changed.c[name]
        members.append(_member(name, old, new, table.c[name].type))
    # CONCAT_WS leaves out NULL, the member of a column that did not change.
    return func.concat_ws(_constant(","), *members) if members else _constant("")


def _member(name: str, old: _Column, new: _Column, kind: _Type) -> _Column:
    differs = old.is_distinct_from(new)
    if isinstance(kind, JSON):
        # The type json has no equality.
        differs = cast(old, JSONB).is_distinct_from(cast(new, JSONB))
    values = func.json_build_object(
        _constant("old"), _json(old, kind), _constant("new"), _json(new, kind)
    )
    return case((differs, _constant(f'"{name}":') + cast(values, Text)))


def _partition(subject: _Column, partitions: int) -> _Column:
    """Return the name of the row's partition, as `events.partition_number` computes it."""
    digest = _constant("x") + func.left(func.md5(subject), _constant(8))
    number = cast(cast(digest, BIT(32)), BigInteger)
    return cast(number % _constant(partitions), Text)


def _constant(value: str | int) -> _Column:
    """Return a part of the statement's text."""
    # A parameter would cost client and server a little more for every row.
    return literal(value, Text if isinstance(value, str) else BigInteger, literal_execute=True)


def _parameter(name: str) -> _Column:
    return bindparam(f"edgy_bus_{name}", type_=outbox.c[name].type)


# JSON


def _json(column: _Column, kind: _Type) -> _Column:
    """Return the argument of `json_build_object` for a column."""
    for types, write in _WRITERS:
        if isinstance(kind, types):
            return write(column)
    # The JSON of the other supported types is that of the codec.
    return column


def _moment(column: _Column) -> _Column:
    utc = func.to_char(func.timezone("UTC", column), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
    # Python leaves out a fraction of zero.
    text = func.replace(utc, _constant(".000000Z"), _constant("Z"))
    least, greatest = dt.datetime.min.isoformat(), dt.datetime.max.isoformat()
    return _finite(column, text, f"{least}Z", f"{greatest}Z")


def _date(column: _Column) -> _Column:
    text = func.to_char(column, "YYYY-MM-DD")
    return _finite(column, text, dt.date.min.isoformat(), dt.date.max.isoformat())


def _time(column: _Column) -> _Column:
    # TO_CHAR takes no time of day.
    text = func.to_char(cast(column, Interval), "HH24:MI:SS.US")
    return func.replace(text, _constant(".000000"), _constant(""))


def _decimal(column: _Column) -> _Column:
    return cast(column, Text)


def _base64(column: _Column) -> _Column:
    # PostgreSQL breaks base64 into lines.
    return func.translate(func.encode(column, "base64"), "\n", "")


def _finite(column: _Column, text: _Column, least: str, greatest: str) -> _Column:
    """Return the text of a time, also of the infinities, which have no digits."""
    # The driver stores Python's least and greatest times as infinities.
    return case(
        (column.is_(None), None),
        (func.isfinite(column), text),
        (column > func.now(), greatest),
        else_=least,
    )


_WRITERS: Sequence[tuple[type, Callable[[_Column], _Column]]] = (
    (UTCDateTime, _moment),
    (Date, _date),
    (Time, _time),
    (ExactDecimal, _decimal),
    (LargeBinary, _base64),
)
"""The writers of columns whose JSON PostgreSQL and the codec write differently."""

_SUPPORTED = (
    *tuple(types for types, _ in _WRITERS),
    JSON,
    Boolean,
    Integer,
    BigInteger,
    String,
    Text,
    Double,
    Uuid,
    Enum,
)
