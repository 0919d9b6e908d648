"""The tables that a publisher keeps in its own database."""

from sqlalchemy import BigInteger, Column, Index, Integer, MetaData, SmallInteger, String, Table, Text, text

PENDING, PUBLISHED, CONFIRMED = 0, 1, 2
"""In the outbox only; in the stream; finished by every group, never sent again."""

metadata = MetaData()

_big = BigInteger().with_variant(Integer, "sqlite")

outbox = Table(
    "edgy_bus_outbox",
    metadata,
    # Assigned while the operation holds its row's lock: it rises from event to event of a row, and is the event's sequence.
    Column("id", _big, primary_key=True, autoincrement=True),
    Column("model", String(255), nullable=False),
    Column("label", String(16), nullable=False),
    Column("event_id", String(36), nullable=False),
    Column("signal", String(255), nullable=False),
    Column("subject", Text, nullable=True),
    Column("time", String(40), nullable=False),
    Column("traceparent", String(64), nullable=True),
    Column("data", Text, nullable=False),
    Column("status", SmallInteger, nullable=False, server_default=text("0")),
    Column("entry_ms", BigInteger, nullable=True),
    Column("entry_seq", BigInteger, nullable=True),
    Column("created", _big, nullable=False),
    # Without AUTOINCREMENT, SQLite gives the id of a deleted row out again.
    sqlite_autoincrement=True,
)
Index(
    "edgy_bus_outbox_pending",
    outbox.c.id,
    postgresql_where=outbox.c.status == PENDING,
    sqlite_where=outbox.c.status == PENDING,
)
Index("edgy_bus_outbox_entry", outbox.c.model, outbox.c.label, outbox.c.status, outbox.c.entry_ms, outbox.c.entry_seq)
Index("edgy_bus_outbox_created", outbox.c.created)

streams = Table(
    "edgy_bus_stream",
    metadata,
    Column("model", String(255), primary_key=True),
    Column("label", String(16), primary_key=True),
    Column("epoch", String(64), nullable=False),
    Column("head_ms", BigInteger, nullable=False),
    Column("head_seq", BigInteger, nullable=False),
    Column("head_event", Text, nullable=False),
    # Every group has finished what lies below; it is written before the stream is trimmed.
    Column("confirmed_ms", BigInteger, nullable=False, server_default=text("0")),
    Column("confirmed_seq", BigInteger, nullable=False, server_default=text("0")),
    Column("incarnation", Integer, nullable=False, server_default=text("1")),
)

groups = Table(
    "edgy_bus_group",
    metadata,
    # Every group that was ever seen on a stream of the model: none of its streams is trimmed before all of them have read it.
    Column("model", String(255), primary_key=True),
    Column("name", String(255), primary_key=True),
)
