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
    Executable,
    Integer,
    Interval,
    LargeBinary,
    Numeric,
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
    select,
)
from sqlalchemy.dialects.postgresql import BIT, JSONB
from sqlalchemy.types import TypeEngine

from edgy_bus.codec import dumps
from edgy_bus.database import Duration, ExactDecimal, PlainUuid, UTCDateTime, stored_type
from edgy_bus.errors import IntegrityError
from edgy_bus.outbox.encoding import Stamp
from edgy_bus.outbox.largest_data import largest_data
from edgy_bus.outbox.smaller_data import DELETION, constant, select_smaller_data
from edgy_bus.outbox.statements import then_pending
from edgy_bus.outbox.table import outbox
from edgy_bus.sources import SingleRow
from edgy_bus.sources.statements import old_name

_Column = ColumnElement[Any]
_Type = TypeEngine[Any]

_KEYS = (Integer, String, Uuid, PlainUuid)
"""Types of keys whose text PostgreSQL writes as `codec.key_text` does, without a conversion.

Subclasses are included: `BigInteger` of `Integer`, `Text` of `String`."""

_MOST = 50
"""The most columns of an event: PostgreSQL's functions take 100 arguments, two for a column."""

_STAMP = ("event_id", "time", "traceparent", "causation", "context")
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
    return all(isinstance(stored_type(table.c[name].type), _SUPPORTED) for name in public)


@lru_cache(maxsize=1_000)
def with_event(change: Any, kind: EventKind) -> Executable:
    """Return the statement that makes a change of a row and writes its event."""
    changed = change.cte("changed")
    # Materialized: PostgreSQL would otherwise make the JSON twice, to measure it and to insert it.
    event = _event(changed, kind).cte("event").prefix_with("MATERIALIZED")
    values: dict[str, _Column] = {name: _parameter(name) for name in _STAMP}
    values |= {
        "model": constant(kind.model),
        "signal": constant(kind.signal),
        "label": _partition(event.c.subject, kind.partitions),
        "subject": event.c.subject,
        "data": _data_within(event.c.data, kind),
        "source": constant(kind.source),
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
        "edgy_bus_traceparent": stamp.traceparent,
        "edgy_bus_causation": stamp.causation,
        "edgy_bus_context": stamp.context,
    }


# An event over the limit must take the change back, also outside of a transaction, but a statement
# cannot undo a CTE of its own. So `data` of such an event is NULL, unless the row was too large
# before; then large fields are left out instead. The column refuses the NULL, and the whole
# statement fails. The refused column identifies the error, in every language of a server,
# and no trigger of the application can cause the same error.


def is_too_large(error: IntegrityError) -> bool:
    """Return whether the statement failed because its event is over the limit."""
    return (error.table, error.column) == (outbox.name, outbox.c.data.name)


def _data_within(data: _Column, kind: EventKind) -> _Column:
    """Return the data of an event within the limit, what may stand for it, or NULL."""
    fits = func.octet_length(data) <= constant(kind.max_bytes)
    is_update = kind.read is not None
    largest = largest_data(kind.table, kind.public, kind.read or ())
    # A row of short columns cannot have been too large before. If the column of the database is
    # longer than its declaration, the event is refused.
    is_small = largest is not None and largest <= kind.max_bytes
    if is_small or not (is_update or kind.signal == DELETION):
        return case((fits, data))
    instead = select_smaller_data(data, kind.max_bytes, len(kind.public), is_update=is_update)
    # PostgreSQL executes a subquery without references to outer rows only if a row needs its value.
    return case((fits, data), else_=instead.scalar_subquery())


_NOT_UPDATED = ',"is_update":false'


def _event(changed: CTE, kind: EventKind) -> Select[Any]:
    """Return the SELECT of the event's subject and data."""
    begin, instance = constant('{"instance":'), _instance(changed, kind)
    if kind.read is None:
        data = begin + instance + constant(_NOT_UPDATED + "}")
    else:
        changes = _changes(changed, kind.table, kind.read)
        middle = constant(_updated(kind) + ',"changes":{')
        data = begin + instance + middle + changes + constant("}}")
    subject = cast(changed.c[kind.pk], Text)
    return select(subject.label("subject"), data.label("data")).select_from(changed)


def _updated(kind: EventKind) -> str:
    """Return the members of the event of an update that do not depend on the row."""
    if kind.signal != "post_update":
        return ',"is_update":true'
    return f',"is_update":true,"assigned":{dumps(kind.read).decode()}'


def _instance(changed: CTE, kind: EventKind) -> _Column:
    """Return the JSON object of the row."""
    arguments: list[_Column] = []
    for name in kind.public:
        arguments += (constant(name), _json(changed.c[name], kind.table.c[name].type))
    return cast(func.json_build_object(*arguments), Text)


def _changes(changed: CTE, table: Table, names: Sequence[str]) -> _Column:
    """Return the members of the JSON object `changes`."""
    members: list[_Column] = []
    for name in names:
        old, new = changed.c[old_name(name)], changed.c[name]
        members.append(_member(name, old, new, table.c[name].type))
    # CONCAT_WS leaves out NULL, the member of a column that did not change.
    return func.concat_ws(constant(","), *members) if members else constant("")


def _member(name: str, old: _Column, new: _Column, kind: _Type) -> _Column:
    differs = old.is_distinct_from(new)
    if isinstance(stored_type(kind), JSON):
        # The type json has no equality.
        differs = cast(old, JSONB).is_distinct_from(cast(new, JSONB))
    values = func.json_build_object(
        constant("old"), _json(old, kind), constant("new"), _json(new, kind)
    )
    return case((differs, constant(f'"{name}":') + cast(values, Text)))


def _partition(subject: _Column, partitions: int) -> _Column:
    """Return the name of the row's partition, as `events.partition_number` computes it."""
    digest = constant("x") + func.left(func.md5(subject), constant(8))
    number = cast(cast(digest, BIT(32)), BigInteger)
    return cast(number % constant(partitions), Text)


def _parameter(name: str) -> _Column:
    return bindparam(f"edgy_bus_{name}", type_=outbox.c[name].type)


# JSON


def _json(column: _Column, kind: _Type) -> _Column:
    """Return the argument of `json_build_object` for a column."""
    stored = stored_type(kind)
    for types, write in _WRITERS:
        if isinstance(stored, types):
            return write(column)
    # The JSON of the other supported types is that of the codec.
    return column


def _moment(column: _Column) -> _Column:
    utc = func.to_char(func.timezone("UTC", column), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
    # Python leaves out a fraction of zero.
    text = func.replace(utc, constant(".000000Z"), constant("Z"))
    least, greatest = dt.datetime.min.isoformat(), dt.datetime.max.isoformat()
    return _finite(column, text, f"{least}Z", f"{greatest}Z")


def _date(column: _Column) -> _Column:
    text = func.to_char(column, "YYYY-MM-DD")
    return _finite(column, text, dt.date.min.isoformat(), dt.date.max.isoformat())


def _time(column: _Column) -> _Column:
    # TO_CHAR takes no time of day.
    text = func.to_char(cast(column, Interval), "HH24:MI:SS.US")
    return func.replace(text, constant(".000000"), constant(""))


def _decimal(column: _Column) -> _Column:
    return cast(column, Text)


def _seconds(column: _Column) -> _Column:
    return cast(column, Numeric) / cast(constant("1000000"), Numeric)


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
    (Duration, _seconds),
)
"""The writers of columns whose JSON PostgreSQL and the codec write differently."""

_SUPPORTED = (
    *tuple(types for types, _ in _WRITERS),
    *_KEYS,
    JSON,
    Boolean,
    Double,
)
