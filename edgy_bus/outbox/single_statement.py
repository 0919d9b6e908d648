"""On PostgreSQL, the change of one row and its event are one statement and one round trip.

The change stands in a CTE. The database makes the event from the row that the CTE returns: with the
key that the database gave, and the values as stored. The JSON is the same as that of `encoding`; a
property test compares both over all types. The outbox id is drawn after the row was changed and
locked, as with two statements.

An event over the limit must undo the change, but a statement cannot undo one of its own CTEs. So the
statement writes NULL as `data` of such an event, the column refuses the NULL, and the whole statement
fails. `is_too_large` recognises the refused column.
"""

import datetime as dt
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from typing import Any, NamedTuple

from sqlalchemy import (
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

_KEYS = (Integer, BigInteger, String, Text, Uuid)
_MOST = 50
"""Columns of an event: PostgreSQL's functions take 100 arguments."""

_STAMP = ("event_id", "time", "created", "traceparent")
"""Columns of the outbox that are parameters of the statement."""


class EventKind(NamedTuple):
    """The part of an event that is the same for all rows of a model: constants of the statement."""

    table: Table
    pk: str
    public: tuple[str, ...]
    """Columns that the event contains."""
    read: tuple[str, ...] | None
    """Columns whose old values the change returns; None for an INSERT or a DELETE."""
    reports_old: bool
    """Return the old values to the caller as well."""
    service: str
    model: str
    signal: str
    partitions: int
    max_bytes: int


@cache
def is_recordable(table: Table, pk: str, public: Sequence[str]) -> bool:
    """Return whether PostgreSQL can write the same JSON of such a row as `encoding`."""
    return (
        len(public) <= _MOST
        and isinstance(table.c[pk].type, _KEYS)
        and all(_json(table.c[name], table.c[name].type) is not None for name in public)
    )


@lru_cache(maxsize=1_000)
def with_event(change: Any, kind: EventKind) -> Executable:
    """Return the statement that makes a change of one row and writes its event."""
    changed = change.cte("changed")
    event = _event(changed, kind).cte("event").prefix_with("MATERIALIZED")
    values: dict[str, ColumnElement[Any]] = {name: _parameter(name) for name in _STAMP}
    fits = func.octet_length(event.c.data) <= _constant(kind.max_bytes)
    values |= {
        "source": _constant(kind.service),
        "model": _constant(kind.model),
        "signal": _constant(kind.signal),
        "label": _partition(event.c.subject, kind.partitions),
        "subject": event.c.subject,
        "data": case((fits, event.c.data)),
    }
    written = insert(outbox).from_select(list(values), select(*values.values()).select_from(event))
    columns = [changed.c[name] for name in kind.table.c.keys()]  # noqa: SIM118
    if kind.reports_old:
        columns += [changed.c[old_name(name)] for name in kind.read or ()]
    return select(*columns).add_cte(then_pending(written).cte("waits"))


def parameters(single: SingleRow, event_id: str, stamp: Stamp) -> dict[str, Any]:
    """Return the parameters of the statement: those of the change and those of the event."""
    return {
        **single.parameters,
        "edgy_bus_event_id": event_id,
        "edgy_bus_time": stamp.time,
        "edgy_bus_created": stamp.created,
        "edgy_bus_traceparent": stamp.traceparent,
    }


def is_too_large(error: IntegrityError) -> bool:
    """Return whether the statement failed because its event is over the limit."""
    return (error.table, error.column) == (outbox.name, outbox.c.data.name)


def _event(changed: Any, kind: EventKind) -> Any:
    """Return the SELECT of the event's subject and data."""
    pairs = [
        part
        for name in kind.public
        for part in (_constant(name), _json(changed.c[name], kind.table.c[name].type))
    ]
    instance = cast(func.json_build_object(*pairs), Text)
    if kind.read is None:
        data = _constant('{"instance":') + instance + _constant(',"is_update":false}')
    else:
        changes = _changes(changed, kind.table, kind.read)
        begin, middle = _constant('{"instance":'), _constant(',"is_update":true,"changes":{')
        data = begin + instance + middle + changes + _constant("}}")
    subject = cast(changed.c[kind.pk], Text)
    return select(subject.label("subject"), data.label("data")).select_from(changed)


def _changes(changed: Any, table: Table, names: Sequence[str]) -> ColumnElement[str]:
    """Return the members of the JSON object `changes`; text that is NULL is left out."""
    members = [
        _member(name, changed.c[old_name(name)], changed.c[name], table.c[name].type)
        for name in names
    ]
    return func.concat_ws(_constant(","), *members) if members else _constant("")


def _member(name: str, old: Any, new: Any, kind: TypeEngine[Any]) -> ColumnElement[Any]:
    differs = old.is_distinct_from(new)
    if isinstance(kind, JSON):
        # The type json has no equality.
        differs = cast(old, JSONB).is_distinct_from(cast(new, JSONB))
    values = func.json_build_object(
        _constant("old"), _json(old, kind), _constant("new"), _json(new, kind)
    )
    return case((differs, _constant(f'"{name}":') + cast(values, Text)))


def _partition(subject: Any, partitions: int) -> ColumnElement[str]:
    """Return the partition's name: `events.partition_number` in SQL."""
    digest = _constant("x") + func.left(func.md5(subject), _constant(8))
    number = cast(cast(digest, BIT(32)), BigInteger)
    return cast(number % _constant(partitions), Text)


def _constant(value: str | int) -> ColumnElement[Any]:
    """Return a part of the statement's text: a parameter costs both sides more each time."""
    return literal(value, Text if isinstance(value, str) else BigInteger, literal_execute=True)


def _parameter(name: str) -> ColumnElement[Any]:
    return bindparam(f"edgy_bus_{name}", type_=outbox.c[name].type)


def _json(column: Any, kind: TypeEngine[Any]) -> Any:
    """Return the argument of `json_build_object` for a column; None for an unsupported type."""
    for types, write in _JSON_WRITERS:
        if isinstance(kind, types):
            return write(column)
    return None


def _as_it_is(column: Any) -> Any:
    return column


def _moment(column: Any) -> Any:
    utc = func.to_char(func.timezone("UTC", column), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
    text = func.replace(utc, _constant(".000000Z"), _constant("Z"))
    least, greatest = dt.datetime.min.isoformat(), dt.datetime.max.isoformat()
    return _finite(column, text, f"{least}Z", f"{greatest}Z")


def _date(column: Any) -> Any:
    text = func.to_char(column, "YYYY-MM-DD")
    return _finite(column, text, dt.date.min.isoformat(), dt.date.max.isoformat())


def _time(column: Any) -> Any:
    text = func.to_char(cast(column, Interval), "HH24:MI:SS.US")
    return func.replace(text, _constant(".000000"), _constant(""))


def _decimal(column: Any) -> Any:
    return cast(column, Text)


def _base64(column: Any) -> Any:
    return func.translate(func.encode(column, "base64"), "\n", "")


def _finite(column: Any, text: Any, least: str, greatest: str) -> Any:
    """Return the text of a time; the driver stores Python's least and greatest as infinities."""
    return case(
        (column.is_(None), None),
        (func.isfinite(column), text),
        (column > func.now(), greatest),
        else_=least,
    )


_JSON_WRITERS: Sequence[tuple[Any, Callable[[Any], Any]]] = (
    (UTCDateTime, _moment),
    (Date, _date),
    (Time, _time),
    (ExactDecimal, _decimal),
    (LargeBinary, _base64),
    ((JSON, Boolean, Integer, BigInteger, String, Text, Double, Uuid, Enum), _as_it_is),
)
"""How columns of a type are written, by the first type that matches."""
