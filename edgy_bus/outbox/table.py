"""The tables that a publisher keeps in its own database.

An event is *pending* until the relay has appended it to its stream, then *published* until every group has finished it, then
*confirmed*. The row of the event itself never changes: which of the three it is, is whether its id stands in `edgy_bus_pending`, in a
batch of `edgy_bus_batch`, or in neither.
"""

from sqlalchemy import BigInteger, Column, Integer, MetaData, String, Table, Text, text

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
    Column("created", _big, nullable=False),
    # Without AUTOINCREMENT, SQLite gives the id of a deleted row out again.
    sqlite_autoincrement=True,
)
"""Every event within the retention: a log that is only appended to, and pruned at its old end."""

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
"""The ids of what is not in its stream, written in the transaction of the event."""

batches = Table(
    "edgy_bus_batch",
    metadata,
    Column("model", String(255), primary_key=True),
    Column("label", String(16), primary_key=True),
    # The last entry of the batch, in the epoch of the stream's head.
    Column("last_ms", BigInteger, primary_key=True),
    Column("last_seq", BigInteger, primary_key=True),
    # Which events, and at which entries: see `ledger`.
    Column("events", Text, nullable=False),
    Column("created", _big, nullable=False),
)
"""What is in the streams and not confirmed by every group."""

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
    # Rises when the database turns out to be an earlier state of itself, which gives ids out again: ids beyond `since` belong to
    # `incarnation`, those up to it to the `former` one.
    Column("incarnation", Integer, nullable=False, server_default=text("1")),
    Column("since", _big, nullable=False, server_default=text("0")),
    Column("former", Integer, nullable=False, server_default=text("1")),
)

groups = Table(
    "edgy_bus_group",
    metadata,
    # Every group that was ever seen on a stream of the model: none of its streams is trimmed before all of them have read it.
    Column("model", String(255), primary_key=True),
    Column("name", String(255), primary_key=True),
)
