"""Statements of the outbox that differ by dialect.

PostgreSQL takes arrays, and changes several tables in one statement. SQLite takes JSON lists.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Executable,
    FromClause,
    Insert,
    Integer,
    Label,
    LargeBinary,
    Select,
    Table,
    TableValuedAlias,
    Text,
    and_,
    any_,
    bindparam,
    cast,
    column,
    delete,
    exists,
    func,
    insert,
    literal,
    null,
    or_,
    select,
    true,
    union_all,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import TypeEngine

from edgy_bus.codec import dumps
from edgy_bus.outbox.table import chunks, outbox, pending, streams

POSTGRESQL = "postgresql"
SQLITE = "sqlite"

DURABILITY = select(
    *(func.current_setting(name).label(name) for name in ("fsync", "synchronous_commit"))
)
"""Settings of the server and of the session that may not be off."""

_LIMIT = bindparam("limit", type_=Integer())
_BYTES = bindparam("bytes", type_=BigInteger())

WRITTEN = (
    "model",
    "label",
    "event_id",
    "signal",
    "subject",
    "time",
    "traceparent",
    "data",
    "source",
    "to",
    "causation",
    "context",
)
"""The columns of an event's row; the database adds the id and the time."""

SqlType = TypeEngine[Any]
Rows = Select[Any]
Parameters = dict[str, Any]
"""Values for the parameters of a statement."""

MARKED: dict[str, SqlType] = {
    "number": Integer(),
    "model": Text(),
    "label": Text(),
    "old_epoch": Text(),
    "old_ms": BigInteger(),
    "old_seq": BigInteger(),
    "old_event": Text(),
    "new_epoch": Text(),
    "new_ms": BigInteger(),
    "new_seq": BigInteger(),
    "new_event": Text(),
    "events": Text(),
}
"""The parameters of a mark: an array each, with an element for every chunk."""

EVENT = (
    "id",
    "event_id",
    "signal",
    "subject",
    "time",
    "traceparent",
    "data",
    "source",
    "to",
    "causation",
    "context",
)
"""The columns that the relay reads of an event, in the order of `PendingRow`."""


@cache
def appending(*, many: bool) -> Executable:
    """PostgreSQL: write events, pending, from parameters; several events from arrays."""
    written = insert(outbox)
    if many:
        rows = _arrays("rows", dict.fromkeys(WRITTEN, Text()))
        written = written.from_select(list(WRITTEN), select(*rows.c))
    else:
        values = {name: bindparam(name, type_=outbox.c[name].type) for name in WRITTEN}
        written = written.values(values)
    return then_pending(written)


def then_pending(written: Insert) -> Insert:
    """PostgreSQL: make the events of an INSERT into the outbox pending, in the same statement."""
    # One statement: a crash between two would leave an event that no relay finds.
    event = written.returning(outbox.c.id).cte("written")
    return insert(pending).from_select(["id"], select(event.c.id))


LAST_PENDING = insert(pending).from_select(
    ["id"],
    select(outbox.c.id).order_by(outbox.c.id.desc()).limit(bindparam("count", type_=Integer())),
)
"""SQLite: the last rows are those of this transaction, which holds the lock of the whole file."""


@cache
def reading(dialect: str, *, avoiding: bool = False, shared: bool = False) -> Executable:
    """Select the heads of all streams and the oldest pending events, in one statement.

    At most `limit` events, with about `bytes` of data.

    The columns are model, label, and those of `EVENT`. The row of a head has no id; its epoch
    stands in the place of the event's id, the event of the head in the place of the subject, and
    its numbers in the place of the data. An id whose event is deleted has no model.

    With `avoiding`, events of partitions among `names` are passed over; with `shared`, events of
    other services than `service`. Such a statement looks at every event that is passed over.
    """
    if avoiding or shared:
        first = _pending_but(dialect, avoiding=avoiding, shared=shared)
    else:
        first = _oldest_pending()
    events = _within_bytes(dialect, first)
    instead = {
        "event_id": streams.c.epoch,
        "subject": streams.c.head_event,
        "data": _head_numbers(),
    }
    columns = [instead.get(name, null()).label(name) for name in EVENT]
    return union_all(events, select(streams.c.model, streams.c.label, *columns))


def _oldest_pending() -> FromClause:
    """Select the first ids.

    By way of the ids: neither what was published before nor what the planner believes of the tables
    makes the statement look at more of the outbox.
    """
    return select(pending.c.id).order_by(pending.c.id).limit(_LIMIT).subquery("first")


def _pending_but(dialect: str, *, avoiding: bool, shared: bool) -> FromClause:
    """Select the first ids, without some partitions or without other services."""
    event, joined = _with_events(dialect, pending)
    rows = select(pending.c.id).select_from(joined)
    orphan = event.c.id.is_(None)
    if avoiding:
        partition = event.c.model + literal(":", Text) + event.c.label
        rows = rows.where(or_(orphan, ~_among(dialect, partition, "names", Text())))
    if shared:
        rows = rows.where(or_(orphan, _belongs_to_service(event.c.model)))
    # Nested, because SQLite takes no ORDER BY inside of a UNION.
    return rows.order_by(pending.c.id).limit(_LIMIT).subquery("first")


def _within_bytes(dialect: str, first: FromClause) -> Rows:
    """Select the events of some ids, as long as the `data` before an event is within `bytes`.

    So a page is larger than `bytes` by one event at the most, and the first event always fits.
    """
    if dialect == POSTGRESQL:
        event, joined = _with_events(dialect, first)
        # Large data stays outside of the rows here, and its size is known without reading it.
        size = func.coalesce(func.octet_length(event.c.data), 0)
        before = _sum_before(size, first.c.id)
        page = _event_columns(first, event).add_columns(before).select_from(joined).subquery("page")
        columns = (page.c[name] for name in ("model", "label", *EVENT))
        return select(*columns).where(page.c.before < _BYTES)
    # The sizes alone: SQLite would copy the data of all rows aside to sum their sizes up.
    event, joined = _with_events(dialect, first)
    size = func.coalesce(func.length(cast(event.c.data, LargeBinary())), 0)
    sizes = select(first.c.id, size.label("size")).select_from(joined).subquery("sizes")
    before = _sum_before(sizes.c.size, sizes.c.id)
    measured = select(sizes.c.id, before).subquery("measured")
    within = select(measured.c.id).where(measured.c.before < _BYTES).subquery("within")
    event, joined = _with_events(dialect, within)
    return _event_columns(within, event).select_from(joined)


def _sum_before(size: ColumnElement[int], order: ColumnElement[int]) -> Label[int]:
    """Sum the sizes of the rows before each row."""
    return (func.sum(size).over(order_by=order, rows=(None, 0)) - size).label("before")


def _with_events(dialect: str, ids: FromClause) -> tuple[FromClause, FromClause]:
    """Return the events of some ids, and ids and events joined."""
    if dialect == POSTGRESQL:
        # LATERAL with LIMIT: the planner has no other way than the primary key, id by id.
        event = select(outbox).where(outbox.c.id == ids.c.id).limit(1).lateral("event")
        return event, ids.outerjoin(event, true())
    joined = ids.outerjoin(outbox, outbox.c.id == ids.c.id)
    return outbox, joined


def _event_columns(ids: FromClause, event: FromClause) -> Rows:
    columns = (event.c[name] for name in EVENT[1:])
    return select(event.c.model, event.c.label, ids.c.id, *columns)


def _belongs_to_service(model: ColumnElement[str]) -> ColumnElement[bool]:
    """Match the models of `service`, as `events.service_of` does."""
    service = bindparam("service", type_=Text())
    # The length plus the dot; the names of both services may contain dots: `shop`, `shop.eu`.
    begins = func.substr(model, 1, func.length(service) + 1) == service + literal(".", Text)
    name = func.substr(model, func.length(service) + 2)
    return and_(begins, func.replace(name, ".", "") == name)


def _head_numbers() -> ColumnElement[str]:
    """Write the numbers of the head's entry, then those of `Incarnations`, as a JSON list."""
    stream = streams.c
    numbers = (stream.head_ms, stream.head_seq, stream.incarnation, stream.since, stream.former)
    first, *more = (cast(number, Text) for number in numbers)
    text = literal("[", Text) + first
    for number in more:
        text = text + literal(",", Text) + number
    return text + literal("]", Text)


@cache
def marking() -> Executable:
    """PostgreSQL: move the heads of streams, make ids no longer pending, and keep the chunks.

    A chunk whose stream's head is not the old head changes nothing. Returns the numbers of the
    chunks that were marked.
    """
    chunk = _arrays("chunk", MARKED)
    event = _arrays("event", {"id": BigInteger(), "chunk": Integer()})
    # The head is the condition of everything else: a chunk that is not in `moved` changes nothing.
    kept_columns = [chunk.c[name] for name in ("number", *_KEPT)]
    moved = (
        update(streams)
        .where(
            streams.c.model == chunk.c.model,
            streams.c.label == chunk.c.label,
            streams.c.epoch == chunk.c.old_epoch,
            streams.c.head_ms == chunk.c.old_ms,
            streams.c.head_seq == chunk.c.old_seq,
            streams.c.head_event == chunk.c.old_event,
        )
        .values(
            epoch=chunk.c.new_epoch,
            head_ms=chunk.c.new_ms,
            head_seq=chunk.c.new_seq,
            head_event=chunk.c.new_event,
        )
        .returning(*kept_columns)
        .cte("moved")
    )
    published = (
        delete(pending)
        .where(pending.c.id == event.c.id, event.c.chunk == moved.c.number)
        .cte("published")
    )
    rows = select(*(moved.c[name] for name in _KEPT))
    kept = insert(chunks).from_select(list(_CHUNK), rows).cte("kept")
    return select(moved.c.number).add_cte(published, kept)


_KEPT = ("model", "label", "new_ms", "new_seq", "events")
"""The parameters of a mark that become the columns of a chunk, in their order."""

_CHUNK = ("model", "label", "last_ms", "last_seq", "events")


@cache
def adding(dialect: str, table: Table) -> Executable:
    """Insert a row unless its key exists: another relay may insert the row at the same moment."""
    insertion = sqlite.insert(table) if dialect == SQLITE else postgresql.insert(table)
    return insertion.on_conflict_do_nothing()


@cache
def events_of(dialect: str) -> Executable:
    """Select the events of the outbox whose ids are among `ids`."""
    return select(outbox.c.id, outbox.c.event_id).where(_among_ids(dialect, outbox.c.id))


@cache
def streams_of(dialect: str) -> Executable:
    """Select the streams whose partitions are among `names`."""
    partition = streams.c.model + literal(":", Text) + streams.c.label
    return select(streams).where(_among(dialect, partition, "names", Text()))


@cache
def taking(dialect: str) -> Executable:
    """Make those of `ids` that are pending no longer pending; returns them."""
    return delete(pending).where(_among_ids(dialect, pending.c.id)).returning(pending.c.id)


@cache
def sending_again(dialect: str) -> Executable:
    """Make those of `ids` pending that are in the outbox and not pending; returns them."""
    # An id that is pending already, or whose event is pruned, stays as it is.
    there = select(outbox.c.id).where(
        _among_ids(dialect, outbox.c.id), ~exists().where(pending.c.id == outbox.c.id)
    )
    return insert(pending).from_select(["id"], there).returning(pending.c.id)


def ids_for(dialect: str, ids: Sequence[int]) -> Parameters:
    """Return the parameter of a statement about `ids`."""
    return {"ids": _list_for(dialect, ids)}


def names_for(dialect: str, names: Sequence[str]) -> Parameters:
    """Return the parameter of a statement about `names` of partitions."""
    return {"names": _list_for(dialect, names)}


def _list_for(dialect: str, values: Sequence[int] | Sequence[str]) -> Sequence[object] | str:
    return list(values) if dialect == POSTGRESQL else dumps(list(values)).decode()


def _among_ids(dialect: str, column: Column[int]) -> ColumnElement[bool]:
    return _among(dialect, column, "ids", BigInteger())


def _among(
    dialect: str, column: ColumnElement[Any], parameter: str, kind: SqlType
) -> ColumnElement[bool]:
    """Match a column that is among the values of a parameter: an array, on SQLite a JSON list."""
    if dialect == POSTGRESQL:
        return column == any_(bindparam(parameter, type_=ARRAY(kind)))
    values = func.json_each(bindparam(parameter, type_=Text())).table_valued("value")
    return column.in_(select(values.c.value))


def _arrays(name: str, columns: Mapping[str, SqlType]) -> TableValuedAlias:
    """Return array parameters, named like their columns, as a table."""
    arrays = [bindparam(parameter, type_=ARRAY(kind)) for parameter, kind in columns.items()]
    names = [column(parameter, kind) for parameter, kind in columns.items()]
    return func.unnest(*arrays).table_valued(*names, name=name).render_derived()
