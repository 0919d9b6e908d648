"""The tables that a publisher keeps in its own database.

An event is *pending* until the relay has appended the event to its stream, then *published* until
every group has finished the event, then *confirmed*. The row of an event never changes: the id
stands in `edgy_bus_pending`, in a chunk of `edgy_bus_batch`, or in neither.
"""

from sqlalchemy import BigInteger, Column, Integer, MetaData, String, Table, Text, text

from edgy_bus.database.clock import DatabaseClock
from edgy_bus.database.versions import TableSet, meta_table

metadata = MetaData()

_big = BigInteger().with_variant(Integer, "sqlite")

meta = meta_table(metadata)
"""The version of these tables, and the id of this outbox."""

outbox = Table(
    "edgy_bus_outbox",
    metadata,
    # Assigned while the operation holds its row's lock: the id rises from event to event of a row,
    # and is the event's sequence.
    Column("id", _big, primary_key=True, autoincrement=True),
    Column("model", String(255), nullable=False),
    Column("label", String(16), nullable=False),
    Column("event_id", String(36), nullable=False),
    Column("signal", String(255), nullable=False),
    Column("subject", Text, nullable=True),
    Column("time", String(40), nullable=False),
    Column("traceparent", String(64), nullable=True),
    Column("data", Text, nullable=False),
    # By the clock of the database, which is the same for all processes.
    Column("created", _big, nullable=False, default=DatabaseClock()),
    # Since version 2. Releases that know version 1 leave these columns empty and do not read them.
    Column("source", String(255), nullable=True),
    Column("to", Text, nullable=True),
    Column("causation", String(36), nullable=True),
    Column("context", Text, nullable=True),
    # Without AUTOINCREMENT, SQLite gives the id of a deleted row out again.
    sqlite_autoincrement=True,
)
"""Every event within the retention: a log that is only appended to, and pruned at its old end.

`source` is the service that wrote the event; `to` is the only receiver of the event, as
`GROUP/RECEIVER`; `causation` is the id of the event whose receiver caused this event; `context` is
a JSON object of the application.
"""

# The table is nearly empty most of the time and all of its rows change all the time: autovacuum
# must start after a number of dead rows, not after a share of the table. `postgresql_with` would
# be the argument for these parameters, but SQLAlchemy 2.0 does not know it for tables; both 2.0
# and 2.1 copy the text of `postgresql_using` into CREATE TABLE as it is.
_HEAP_VACUUMED_BY_COUNT = (
    "heap WITH ("
    "autovacuum_vacuum_scale_factor = 0, "
    "autovacuum_vacuum_threshold = 5000, "
    "autovacuum_analyze_scale_factor = 0, "
    "autovacuum_analyze_threshold = 50000, "
    "parallel_workers = 0)"
)

pending = Table(
    "edgy_bus_pending",
    metadata,
    Column("id", _big, primary_key=True, autoincrement=False),
    postgresql_using=_HEAP_VACUUMED_BY_COUNT,
)
"""The ids of the events that are not in their stream, written in the transaction of the event."""

chunks = Table(
    "edgy_bus_batch",
    metadata,
    Column("model", String(255), primary_key=True),
    Column("label", String(16), primary_key=True),
    # The last entry of the chunk, in the epoch of the stream's head.
    Column("last_ms", BigInteger, primary_key=True),
    Column("last_seq", BigInteger, primary_key=True),
    # The ids of the events, and the entry of each: see `ledger`.
    Column("events", Text, nullable=False),
    Column("created", _big, nullable=False, default=DatabaseClock()),
)
"""The events that are in the streams and not confirmed by every group."""

streams = Table(
    "edgy_bus_stream",
    metadata,
    Column("model", String(255), primary_key=True),
    Column("label", String(16), primary_key=True),
    Column("epoch", String(64), nullable=False),
    Column("head_ms", BigInteger, nullable=False),
    Column("head_seq", BigInteger, nullable=False),
    Column("head_event", Text, nullable=False),
    # Every group has finished the entries below. Written before the stream is trimmed.
    Column("confirmed_ms", BigInteger, nullable=False, server_default=text("0")),
    Column("confirmed_seq", BigInteger, nullable=False, server_default=text("0")),
    # Rises when the database turns out to be an earlier state of itself, which gives ids out again:
    # ids beyond `since` belong to `incarnation`, smaller ids to the `former` incarnation.
    Column("incarnation", Integer, nullable=False, server_default=text("1")),
    Column("since", _big, nullable=False, server_default=text("0")),
    Column("former", Integer, nullable=False, server_default=text("1")),
    # Since version 2: rises when the model gets another number of partitions.
    Column("generation", Integer, nullable=False, server_default=text("1")),
)
"""The head of every stream, and the progress of all groups together."""

groups = Table(
    "edgy_bus_group",
    metadata,
    # No stream of the model is trimmed before all of these groups have read the stream.
    Column("model", String(255), primary_key=True),
    Column("name", String(255), primary_key=True),
)
"""Every group that was ever seen on a stream of the model."""

TABLES = TableSet("outbox", metadata, version=2, compatible=1)
"""Version 1 are the tables of releases without `edgy_bus_meta`, which can use version 2 as well."""
