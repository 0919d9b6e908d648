"""The statements of the outbox that are worth writing for a dialect: PostgreSQL takes arrays, and changes several tables in one statement."""

from collections.abc import Mapping, Sequence
from functools import cache, reduce
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Executable,
    Insert,
    Integer,
    Text,
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
    select,
    true,
    union_all,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import TypeEngine

from edgy_bus.codec import dumps
from edgy_bus.outbox.table import chunks, outbox, pending, streams

POSTGRESQL = "postgresql"

DURABILITY = select(
    *(func.current_setting(name).label(name) for name in ("fsync", "synchronous_commit"))
)
"""Settings of the server and of the session that may not be off."""

WRITTEN = (
    "model",
    "label",
    "event_id",
    "signal",
    "subject",
    "time",
    "traceparent",
    "data",
    "created",
)
"""What an event's row is given; its id comes from the database."""

MARKED: dict[str, TypeEngine[Any]] = {
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
    "created": BigInteger(),
}
"""What is told of a chunk that is marked; all chunks of a statement in one array for each."""

EVENT = ("id", "event_id", "signal", "subject", "time", "traceparent", "data")


@cache
def appending(*, many: bool) -> Executable:
    """PostgreSQL: write events and that they are pending, one event of parameters or several in arrays."""
    written = insert(outbox)
    if many:
        given = _arrays(
            "given", {name: BigInteger() if name == "created" else Text() for name in WRITTEN}
        )
        written = written.from_select(list(WRITTEN), select(*given.c))
    else:
        written = written.values(
            {name: bindparam(name, type_=outbox.c[name].type) for name in WRITTEN}
        )
    return then_pending(written)


def then_pending(written: Any) -> Insert:
    """PostgreSQL: what an INSERT into the outbox writes is pending, in the same statement."""
    event = written.returning(outbox.c.id).cte("written")
    return insert(pending).from_select(["id"], select(event.c.id))


LAST_PENDING = insert(pending).from_select(
    ["id"],
    select(outbox.c.id).order_by(outbox.c.id.desc()).limit(bindparam("count", type_=Integer())),
)
"""SQLite: the last rows are those of this transaction, which holds the lock of the whole file."""


@cache
def reading(dialect: str) -> Executable:
    """The heads of all streams and the oldest pending events, in one statement: model, label, and the columns of `EVENT`.

    The row of a head has no id; it has the epoch and the event id of the head in the place of the event's id and subject, and its numbers in
    the place of the data.

    An id whose event somebody has deleted has no model.

    By way of the ids: neither what was published before nor what the planner believes of the tables makes it look at more of the outbox.
    """
    first = (
        select(pending.c.id)
        .order_by(pending.c.id)
        .limit(bindparam("limit", type_=Integer()))
        .subquery("first")
    )
    event: Any = outbox
    joined: Any = first.outerjoin(outbox, outbox.c.id == first.c.id)
    if dialect == POSTGRESQL:
        event = select(outbox).where(outbox.c.id == first.c.id).limit(1).lateral("event")
        joined = first.outerjoin(event, true())
    rows = select(
        event.c.model, event.c.label, first.c.id, *(event.c[name] for name in EVENT[1:])
    ).select_from(joined)
    nothing = null()
    text = {"event_id": streams.c.epoch, "subject": streams.c.head_event, "data": _head_numbers()}
    heads = select(
        streams.c.model, streams.c.label, *(text.get(name, nothing).label(name) for name in EVENT)
    )
    return union_all(rows, heads)


def _head_numbers() -> ColumnElement[str]:
    """As JSON: the numbers of the head's entry, then those of `Incarnations`."""
    numbers = (
        streams.c.head_ms,
        streams.c.head_seq,
        streams.c.incarnation,
        streams.c.since,
        streams.c.former,
    )
    texts: list[ColumnElement[str]] = [cast(one, Text) for one in numbers]
    return (
        literal("[", Text)
        + reduce(lambda one, other: one + literal(",", Text) + other, texts)
        + literal("]", Text)
    )


@cache
def marking() -> Executable:
    """PostgreSQL: move the heads of streams, forget that ids are pending, and keep the chunks; nothing of a chunk whose head is not the old one.

    Answers the numbers of the chunks that were marked.
    """
    one = _arrays("one", MARKED)
    which = _arrays("which", {"id": BigInteger(), "chunk": Integer()})
    chunk = (one.c.model, one.c.label, one.c.new_ms, one.c.new_seq, one.c.events, one.c.created)
    moved = (
        update(streams)
        .where(
            streams.c.model == one.c.model,
            streams.c.label == one.c.label,
            streams.c.epoch == one.c.old_epoch,
            streams.c.head_ms == one.c.old_ms,
            streams.c.head_seq == one.c.old_seq,
            streams.c.head_event == one.c.old_event,
        )
        .values(
            epoch=one.c.new_epoch,
            head_ms=one.c.new_ms,
            head_seq=one.c.new_seq,
            head_event=one.c.new_event,
        )
        .returning(one.c.number, *chunk)
        .cte("moved")
    )
    gone = (
        delete(pending)
        .where(pending.c.id == which.c.id, which.c.chunk == moved.c.number)
        .cte("gone")
    )
    columns = [moved.c[one.name] for one in chunk]
    kept = insert(chunks).from_select([one.name for one in chunks.c], select(*columns)).cte("kept")
    return select(moved.c.number).add_cte(gone, kept)


@cache
def known(dialect: str) -> Executable:
    """The events of the outbox whose ids are among `ids`."""
    return select(outbox.c.id, outbox.c.event_id).where(_among(dialect, outbox.c.id))


@cache
def taking(dialect: str) -> Executable:
    """Those of `ids` that were pending are not any more; answers them."""
    return delete(pending).where(_among(dialect, pending.c.id)).returning(pending.c.id)


@cache
def sending_again(dialect: str) -> Executable:
    """Those of `ids` that are in the outbox are pending."""
    there = select(outbox.c.id).where(
        _among(dialect, outbox.c.id), ~exists().where(pending.c.id == outbox.c.id)
    )
    return insert(pending).from_select(["id"], there)


def ids_for(dialect: str, ids: Sequence[int]) -> dict[str, Any]:
    """The parameter of such a statement."""
    return {"ids": list(ids) if dialect == POSTGRESQL else dumps(list(ids)).decode()}


def _among(dialect: str, of: Column[Any]) -> ColumnElement[bool]:
    if dialect == POSTGRESQL:
        return of == any_(bindparam("ids", type_=ARRAY(BigInteger)))
    return of.in_(
        select(func.json_each(bindparam("ids", type_=Text())).table_valued("value").c.value)
    )


def _arrays(name: str, columns: Mapping[str, TypeEngine[Any]]) -> Any:
    """Arrays of parameters, named like their columns, as a table."""
    given = [bindparam(one, type_=ARRAY(kind)) for one, kind in columns.items()]
    rows = func.unnest(*given).table_valued(
        *(column(one, kind) for one, kind in columns.items()), name=name
    )
    return rows.render_derived()
