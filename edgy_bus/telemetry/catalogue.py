"""Everything that the library reports about itself, grouped by the reporting part."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeVar, dataclass_transform

from edgy_bus.telemetry.notice import Counter, Notice

N = TypeVar("N", bound=Notice)


@dataclass_transform(kw_only_default=True, frozen_default=True)
def _entry(entry: type[N]) -> type[N]:
    return dataclass(frozen=True, slots=True, kw_only=True)(entry)


# Services and connections


@_entry
class ServiceFailed(Notice):
    """A background loop ended with an error that the loop does not handle."""

    name: ClassVar[str] = "service.failed"
    # ERROR: the loop does not come back without a restart.
    level: ClassVar[int] = logging.ERROR
    metric: ClassVar[Counter | None] = Counter("edgy_bus_service_failures_total", ("service",))
    service: str
    error: str


@_entry
class BrokerUnavailable(Notice):
    """The broker does not answer or refuses writes. Reported once for each outage."""

    name: ClassVar[str] = "broker.unavailable"
    # WARNING: the outage may end by itself, and events wait in the outbox.
    level: ClassVar[int] = logging.WARNING
    metric: ClassVar[Counter | None] = Counter("edgy_bus_broker_outages_total", ("part",))
    part: str
    error: str


@_entry
class BrokerAvailable(Notice):
    """The broker answers again."""

    name: ClassVar[str] = "broker.available"
    part: str


@_entry
class BrokerEvicts(Notice):
    """The broker may evict streams: its `maxmemory-policy` has to be `noeviction`."""

    name: ClassVar[str] = "broker.evicts"
    level: ClassVar[int] = logging.WARNING
    policy: str


@_entry
class ProtocolIsNewer(Notice):
    """A newer release works at the broker; this program may go on, and should be upgraded."""

    name: ClassVar[str] = "broker.newer_protocol"
    version: int
    spoken: int


@_entry
class DatabaseUnavailable(Notice):
    """A database does not answer. Reported once for each outage."""

    name: ClassVar[str] = "database.unavailable"
    level: ClassVar[int] = logging.WARNING
    # No label for the error: its text has any number of values.
    metric: ClassVar[Counter | None] = Counter("edgy_bus_database_outages_total", ("part",))
    part: str
    error: str


@_entry
class DatabaseAvailable(Notice):
    """The database answers again."""

    name: ClassVar[str] = "database.available"
    part: str


@_entry
class ConnectionDiscarded(Notice):
    """A database connection was closed instead of given back, because its state is unknown."""

    name: ClassVar[str] = "database.connection_discarded"
    metric: ClassVar[Counter | None] = Counter("edgy_bus_database_discarded_connections_total")
    error: str


@_entry
class ListenerLost(Notice):
    """The connection that waits for PostgreSQL's notifications broke. Another is opened."""

    name: ClassVar[str] = "database.listener_lost"
    metric: ClassVar[Counter | None] = Counter("edgy_bus_database_lost_listeners_total")
    channel: str
    error: str


@_entry
class TablesChanged(Notice):
    """Tables of this library were created or brought to the version of this release."""

    name: ClassVar[str] = "tables.changed"
    tables: str
    version: int
    statements: int


# Signals


@_entry
class SignalUndeclared(Notice):
    """A receiver subscribed by name to a signal that its model does not have.

    Remedy: declare the signal, `User.meta.signals.on_verify = edgy_bus.Signal()`, or correct the
    name.
    """

    name: ClassVar[str] = "signal.undeclared"
    level: ClassVar[int] = logging.WARNING
    model: str
    signal: str
    receiver: str


# Outbox and relay


@_entry
class OutboxNotDurable(Notice):
    """PostgreSQL may lose commits that it has confirmed: these settings are off."""

    name: ClassVar[str] = "outbox.not_durable"
    level: ClassVar[int] = logging.WARNING
    off: str


@_entry
class AnnouncerDropped(Notice):
    """Events of `pre_*` signals were dropped."""

    name: ClassVar[str] = "announcer.dropped"
    # DEBUG: `pre_*` events have no promise, and an outage drops thousands of events.
    level: ClassVar[int] = logging.DEBUG
    metric: ClassVar[Counter | None] = Counter(
        "edgy_bus_announcer_dropped_events_total", ("reason",), "count"
    )
    count: int
    reason: str


@_entry
class NotifierFailed(Notice):
    """A notification of other processes' relays was not sent; these relays poll."""

    name: ClassVar[str] = "notifier.failed"
    metric: ClassVar[Counter | None] = Counter("edgy_bus_notifier_failures_total")
    error: str


@_entry
class RelayLeads(Notice):
    """This relay has the lease, and publishes from now on."""

    name: ClassVar[str] = "relay.leads"
    service: str


@_entry
class RelayPublished(Notice):
    """Events were appended to a stream and marked in the outbox."""

    name: ClassVar[str] = "relay.published"
    # DEBUG: one notice for each chunk. The counter shows the rate.
    level: ClassVar[int] = logging.DEBUG
    metric: ClassVar[Counter | None] = Counter("edgy_bus_relay_published_events_total", (), "count")
    partition: str
    count: int


@_entry
class RelayFailed(Notice):
    """A round of the relay failed; events wait in the outbox. Reported once for a kind of error."""

    name: ClassVar[str] = "relay.failed"
    # ERROR: waiting does not mend such an error, unlike an outage of the broker.
    level: ClassVar[int] = logging.ERROR
    metric: ClassVar[Counter | None] = Counter("edgy_bus_relay_failures_total", ("service",))
    service: str
    error: str


@_entry
class RelayRecovered(Notice):
    """The relay publishes again."""

    name: ClassVar[str] = "relay.recovered"
    service: str


@_entry
class RelayRepartitioned(Notice):
    """Pending events were moved: a process had written them with another number of partitions."""

    name: ClassVar[str] = "relay.repartitioned"
    level: ClassVar[int] = logging.WARNING
    metric: ClassVar[Counter | None] = Counter(
        "edgy_bus_relay_repartitioned_events_total", (), "count"
    )
    service: str
    count: int


@_entry
class RelayResynchronised(Notice):
    """A stream did not stand where the outbox had left it.

    `marked` events were in the stream, and were not marked before. `lost` says whether the stream
    lost events, which are pending again.
    """

    name: ClassVar[str] = "relay.resynchronised"
    level: ClassVar[int] = logging.WARNING
    metric: ClassVar[Counter | None] = Counter("edgy_bus_relay_repairs_total", ("lost",))
    partition: str
    marked: int
    lost: bool


@_entry
class RelayRestored(Notice):
    """The database is an earlier state of itself: its events have a new incarnation."""

    name: ClassVar[str] = "relay.restored"
    level: ClassVar[int] = logging.WARNING
    # No label for the partition: a restored database affects all partitions at once.
    metric: ClassVar[Counter | None] = Counter("edgy_bus_relay_restored_databases_total")
    partition: str
    incarnation: int


@_entry
class StreamFailed(Notice):
    """A stream cannot be used; other streams go on. Reported once until its error changes.

    The relay tries again after a growing pause; pending events of the stream wait in the outbox.
    """

    name: ClassVar[str] = "stream.failed"
    level: ClassVar[int] = logging.ERROR
    metric: ClassVar[Counter | None] = Counter("edgy_bus_stream_failures_total", ("work",))
    partition: str
    work: str
    error: str


@_entry
class StreamRecovered(Notice):
    """A stream that failed is used again."""

    name: ClassVar[str] = "stream.recovered"
    partition: str


@_entry
class TrimmingWaits(Notice):
    """A stream is not trimmed, because these groups, once seen, are missing at the stream."""

    name: ClassVar[str] = "stream.waits"
    level: ClassVar[int] = logging.WARNING
    partition: str
    # By name, because the remedy is `edgy-bus forget GROUP` for each of these groups.
    groups: Sequence[str]


# Workers


@_entry
class WorkerStarted(Notice):
    """A worker runs the receivers of these groups."""

    name: ClassVar[str] = "worker.started"
    groups: Sequence[str]


@_entry
class WorkerDraining(Notice):
    """A worker reads no more, and lets running receivers finish."""

    name: ClassVar[str] = "worker.draining"
    groups: Sequence[str]


@_entry
class WorkerStopped(Notice):
    """A worker has ended."""

    name: ClassVar[str] = "worker.stopped"
    groups: Sequence[str]


@_entry
class WorkerDied(Notice):
    """A worker process ended by itself, and is replaced."""

    name: ClassVar[str] = "worker.died"
    level: ClassVar[int] = logging.ERROR
    metric: ClassVar[Counter | None] = Counter("edgy_bus_worker_deaths_total")
    # A negative status is the number of a signal: -9 is often a lack of memory.
    status: int


@_entry
class ConsumerFailed(Notice):
    """A round of a group's consumer failed with an error that waiting does not mend."""

    name: ClassVar[str] = "consumer.failed"
    level: ClassVar[int] = logging.ERROR
    metric: ClassVar[Counter | None] = Counter("edgy_bus_consumer_failures_total", ("group",))
    group: str
    error: str


@_entry
class PartitionTaken(Notice):
    """This process has the lease of a partition."""

    name: ClassVar[str] = "partition.taken"
    # DEBUG: a rolling restart moves every partition several times.
    level: ClassVar[int] = logging.DEBUG
    group: str
    partition: str


@_entry
class PartitionReleased(Notice):
    """This process gave the lease of a partition back."""

    name: ClassVar[str] = "partition.released"
    level: ClassVar[int] = logging.DEBUG
    group: str
    partition: str


@_entry
class TenureLost(Notice):
    """The lease of a partition ended before this process gave the lease back."""

    name: ClassVar[str] = "tenure.lost"
    level: ClassVar[int] = logging.WARNING
    metric: ClassVar[Counter | None] = Counter("edgy_bus_tenures_lost_total", ("group",))
    group: str
    partition: str


@_entry
class TenureInDoubt(Notice):
    """The answer to a read was lost; the next tenure finds the entries as unfinished."""

    name: ClassVar[str] = "tenure.in_doubt"
    # INFO: the next tenure repeats the read, so that nothing is lost.
    metric: ClassVar[Counter | None] = Counter("edgy_bus_tenures_in_doubt_total", ("group",))
    group: str
    partition: str
    error: str


@_entry
class TenureFailed(Notice):
    """An error that belongs to no receiver ended a tenure: a defect, or a broken key at the broker.

    The partition is taken again after a pause.
    """

    name: ClassVar[str] = "tenure.failed"
    level: ClassVar[int] = logging.ERROR
    metric: ClassVar[Counter | None] = Counter("edgy_bus_tenures_failed_total", ("group",))
    group: str
    partition: str
    error: str


@_entry
class EntriesMissing(Notice):
    """Unfinished entries are gone from a stream."""

    name: ClassVar[str] = "tenure.entries_missing"
    # ERROR: trimming keeps unfinished entries, so another program or an eviction took these.
    level: ClassVar[int] = logging.ERROR
    metric: ClassVar[Counter | None] = Counter(
        "edgy_bus_missing_entries_total", ("group",), "count"
    )
    group: str
    partition: str
    count: int


@_entry
class ForeignEntry(Notice):
    """An entry of a stream is not an event of this library; the entry is in the dead letters."""

    name: ClassVar[str] = "stream.foreign"
    level: ClassVar[int] = logging.ERROR
    metric: ClassVar[Counter | None] = Counter("edgy_bus_foreign_entries_total", ("group",))
    group: str
    partition: str
    entry: str
    # Bounded by the worker: an entry may contain any bytes.
    reason: str


@_entry
class ReceiverRetried(Notice):
    """A receiver failed, or asked to be called again, and will be."""

    name: ClassVar[str] = "receiver.retried"
    level: ClassVar[int] = logging.WARNING
    # No label for the event: each event would be a series of its own.
    metric: ClassVar[Counter | None] = Counter(
        "edgy_bus_receiver_retries_total", ("group", "receiver")
    )
    group: str
    receiver: str
    event: str
    event_id: str
    attempts: int
    reason: str


@_entry
class ReceiverGaveUp(Notice):
    """A receiver failed for good: the event is in the dead letters, or the row is held."""

    name: ClassVar[str] = "receiver.gave_up"
    # ERROR: an operator has to decide about the event.
    level: ClassVar[int] = logging.ERROR
    metric: ClassVar[Counter | None] = Counter(
        "edgy_bus_receiver_failures_total", ("group", "receiver")
    )
    group: str
    receiver: str
    event: str
    event_id: str
    attempts: int
    reason: str


@_entry
class RowHeld(Notice):
    """A released row is held again: its first parked event failed."""

    name: ClassVar[str] = "row.held"
    metric: ClassVar[Counter | None] = Counter("edgy_bus_rows_held_total", ("group", "receiver"))
    group: str
    partition: str
    receiver: str
    reason: str


@_entry
class RowReleased(Notice):
    """The parked events of a row are handled; the row is held no more."""

    name: ClassVar[str] = "row.released"
    group: str
    partition: str
    receiver: str


ENTRIES: tuple[type[Notice], ...] = tuple(
    entry
    for entry in globals().values()
    if isinstance(entry, type) and issubclass(entry, Notice) and entry is not Notice
)
"""Every entry of the catalogue."""
