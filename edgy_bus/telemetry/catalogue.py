"""Everything that the library reports about itself, grouped by the reporting part."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar, dataclass_transform

from edgy_bus.telemetry.notice import Counter, Notice

N = TypeVar("N", bound=Notice)


@dataclass_transform(kw_only_default=True, frozen_default=True)
def _entry(entry: type[N]) -> type[N]:
    return dataclass(frozen=True, slots=True, kw_only=True)(entry)


# Services and connections


@_entry
class ServiceFailed(Notice):
    """A background loop failed with an error that the loop does not handle.

    The loop runs again after `again_in` seconds; None: the loop has ended. `trace` names the lines
    of code that the error passed. A loop that fails again and again is a defect: report it.
    """

    name: ClassVar[str] = "service.failed"
    # ERROR: waiting does not mend such an error, though the loop begins anew.
    level: ClassVar[int] = logging.ERROR
    metric: ClassVar[Counter | None] = Counter("edgy_bus_service_failures_total", ("service",))
    service: str
    error: str
    trace: str
    again_in: float | None


@_entry
class ServiceCutOff(Notice):
    """A background loop did not end in the time to stop, and is cancelled."""

    name: ClassVar[str] = "service.cut_off"
    level: ClassVar[int] = logging.WARNING
    service: str
    seconds: float


@_entry
class ServiceAbandoned(Notice):
    """A background loop did not end when cancelled: something in the loop swallows cancellation.

    The stop goes on without the loop, which may run on until the process ends.
    """

    name: ClassVar[str] = "service.abandoned"
    level: ClassVar[int] = logging.ERROR
    service: str


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
    """The broker may evict keys when it is full: its `maxmemory-policy` has to be `noeviction`."""

    name: ClassVar[str] = "broker.evicts"
    # WARNING: nothing is lost before the server is full.
    level: ClassVar[int] = logging.WARNING
    policy: str
    lost: str


@_entry
class BrokerLimited(Notice):
    """The broker refuses something that the library can do without. Reported once."""

    name: ClassVar[str] = "broker.limited"
    # WARNING: an operator may expect what the limit takes away.
    level: ClassVar[int] = logging.WARNING
    refused: str
    effect: str


@_entry
class BrokerForeign(Notice):
    """A key of the bus had a value of another type, which was moved to another name."""

    name: ClassVar[str] = "broker.foreign_key"
    # WARNING: another program uses the bus's prefix, or an operator wrote to the wrong key.
    level: ClassVar[int] = logging.WARNING
    key: str
    type: str
    moved: str


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


@_entry
class SignalUnheard(Notice):
    """A signal was sent that belongs to no model and has no receivers, so nobody heard it.

    Remedy: declare the signal, `User.meta.signals.on_verify = edgy_bus.Signal()`, and send that
    one; or connect a receiver. Reported once for a signal.
    """

    name: ClassVar[str] = "signal.unheard"
    level: ClassVar[int] = logging.WARNING
    sender: str


@_entry
class ModelUndeclared(Notice):
    """A receiver subscribed by name to a model of this service that this program does not have.

    Remedy: correct the name, or import the module of the model before the bus starts.
    """

    name: ClassVar[str] = "model.undeclared"
    # No error: another program of the service may have the model.
    level: ClassVar[int] = logging.WARNING
    model: str
    receiver: str
    hint: str


@_entry
class PatternUnmatched(Notice):
    """A pattern of `publish` matches no signal of a model that is known at the start.

    Remedy: correct the pattern, or declare the model or the signal before the bus starts.
    """

    name: ClassVar[str] = "publish.unmatched"
    level: ClassVar[int] = logging.WARNING
    pattern: str
    where: str
    hint: str


# Outbox and relay


@_entry
class OutboxUnattended(Notice):
    """A program wrote events to the outbox of a bus that the program never started. Reported once.

    Nothing in this program publishes the events. Remedy: run the program inside `async with bus:`,
    or keep `edgy-bus relay` or another program of the service running.
    """

    name: ClassVar[str] = "outbox.unattended"
    level: ClassVar[int] = logging.WARNING
    service: str


@_entry
class OutboxNotDurable(Notice):
    """PostgreSQL may lose commits that it has confirmed: these settings are off."""

    name: ClassVar[str] = "outbox.not_durable"
    level: ClassVar[int] = logging.WARNING
    off: str


@_entry
class OutboxCopied(Notice):
    """The tables of the outbox were copied from another database, and have a new id.

    Without the right to change `edgy_bus_meta` the id stays: `outbox` and `former` are equal then.
    A copy must not publish beside the original: both would take each other's events for lost ones.
    Remedy: another service, another prefix or another Redis for the copy. After a move of the
    database, or an upgrade of the server, nothing has to be done.
    """

    name: ClassVar[str] = "outbox.copied"
    level: ClassVar[int] = logging.WARNING
    outbox: str
    former: str


@_entry
class AnnouncerDropped(Notice):
    """Events of `pre_*` signals were dropped. Reported at most once a minute for each reason.

    Remedies: publish fewer (`Bus(publish=["post_*"])`), keep large fields out of events with
    `secret=True`, or raise the limits of `EventSettings`.
    """

    name: ClassVar[str] = "announcer.dropped"
    # WARNING: `pre_*` events have no promise, but their receivers miss these. Never one notice for
    # each event: an outage drops thousands.
    level: ClassVar[int] = logging.WARNING
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
    """This relay has the lease, and publishes from now on.

    `outbox` is the id of the outbox tables: a service may have several databases.
    """

    name: ClassVar[str] = "relay.leads"
    service: str
    outbox: str


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
    outbox: str
    error: str


@_entry
class RelayRecovered(Notice):
    """The relay publishes again."""

    name: ClassVar[str] = "relay.recovered"
    service: str
    outbox: str


@_entry
class RelayRepartitioned(Notice):
    """Pending events were moved: a process had written them with another number of partitions."""

    name: ClassVar[str] = "relay.repartitioned"
    level: ClassVar[int] = logging.WARNING
    metric: ClassVar[Counter | None] = Counter(
        "edgy_bus_relay_repartitioned_events_total", (), "count"
    )
    service: str
    outbox: str
    count: int


@_entry
class RelayResynchronised(Notice):
    """A stream did not stand where the outbox had left it.

    `marked` events were in the stream, and were not marked before. `lost` says whether the stream
    lost events, which are pending again. `again` events are pending again although every group has
    finished them: older events of their rows came back with an older copy of the stream.
    """

    name: ClassVar[str] = "relay.resynchronised"
    level: ClassVar[int] = logging.WARNING
    metric: ClassVar[Counter | None] = Counter("edgy_bus_relay_repairs_total", ("lost",))
    partition: str
    marked: int
    lost: bool
    again: int = 0


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
    # By name, because the remedy is `edgy-bus group forget` for each of these groups.
    groups: Sequence[str]


@_entry
class GroupAbsent(Notice):
    """Events wait for a group that has no worker, and keep the streams from being trimmed.

    Reported once for a group, with one of its streams. Remedy: start a worker of the group, or
    `edgy-bus group forget` for a group that was renamed or removed.
    """

    name: ClassVar[str] = "group.absent"
    level: ClassVar[int] = logging.WARNING
    metric: ClassVar[Counter | None] = Counter("edgy_bus_group_absences_total", ("group",))
    group: str
    partition: str


@_entry
class GroupPresent(Notice):
    """A group that had no worker makes progress again."""

    name: ClassVar[str] = "group.present"
    group: str


# Programs


@_entry
class ModuleConnectsNothing(Notice):
    """A module of `Bus(receivers=…)` or `--import` connects no receiver of this bus.

    Perhaps its receivers belong to another bus, or to a second copy of the bus: `python app.py` and
    `import app` make two modules. Remedy: connect a receiver in the module, or correct the name of
    the module, or its imports.
    """

    name: ClassVar[str] = "receivers.not_connected"
    level: ClassVar[int] = logging.WARNING
    module: str


@_entry
class ProgramCutOff(Notice):
    """A program was ended at once: the time to stop was over, or a second Ctrl-C came.

    Calls that still ran are repeated by the next worker. `stands` is where the main thread was: a
    receiver, if a receiver blocks the event loop.
    """

    name: ClassVar[str] = "program.cut_off"
    level: ClassVar[int] = logging.ERROR
    reason: str
    stands: str


@_entry
class HealthFileFailed(Notice):
    """The health file cannot be written, and probes fail; reported once until it can.

    Remedy: a folder that exists and that the program may write, `/tmp` for example.
    """

    name: ClassVar[str] = "health.failed"
    level: ClassVar[int] = logging.ERROR
    path: str
    error: str


@_entry
class HealthFileWritten(Notice):
    """The health file can be written again."""

    name: ClassVar[str] = "health.written"
    path: str


@_entry
class HttpServing(Notice):
    """Metrics, health and lag are served at this address."""

    name: ClassVar[str] = "http.serving"
    # With the real port, where the configuration says port 0.
    address: str


@_entry
class DashboardGuessed(Notice):
    """A name and a secret were wrong at the dashboard.

    `count` are the wrong guesses of the address lately; for `pause` seconds no other secret from
    there is looked at. Remedy: an address that goes on does not belong to a person who misspells.
    """

    name: ClassVar[str] = "dashboard.guessed"
    # WARNING: a stranger may be at the door. The name is missing: people type secrets there.
    level: ClassVar[int] = logging.WARNING
    metric: ClassVar[Counter | None] = Counter("edgy_bus_dashboard_wrong_guesses_total")
    address: str
    count: int
    pause: float


@_entry
class HttpFailed(Notice):
    """A request for metrics, health or lag was not answered; the program's work goes on.

    Reported once for each path and kind of error in a minute.
    """

    name: ClassVar[str] = "http.failed"
    # ERROR: operators who watch the program are blind meanwhile.
    level: ClassVar[int] = logging.ERROR
    metric: ClassVar[Counter | None] = Counter("edgy_bus_http_failures_total", ("path",))
    path: str
    error: str
    trace: str = ""


@_entry
class MetricsFileFailed(Notice):
    """A process cannot hand its metrics to its supervisor; reported once until it can.

    Remedy: free space in the folder for temporary files, or a folder that TMPDIR names.
    """

    name: ClassVar[str] = "metrics.failed"
    # ERROR: the metrics of the program lack those of this process.
    level: ClassVar[int] = logging.ERROR
    path: str
    error: str


# Workers


@_entry
class ReceiverListed(Notice):
    """A worker that starts runs this receiver; `options` are those that differ from defaults."""

    name: ClassVar[str] = "worker.receiver"
    group: str
    receiver: str
    model: str
    signal: str
    options: str


@_entry
class ReceiversAdded(Notice):
    """A group has new receivers, which begin with the oldest kept event, or with events to come.

    `start` is "kept" or "now". The option `start=` of a receiver decides; by default receivers of a
    new group begin with the oldest kept event, and new receivers of an older group with events to
    come.
    """

    name: ClassVar[str] = "roster.added"
    group: str
    receivers: Sequence[str]
    start: str


@_entry
class ReceiversMissing(Notice):
    """A group has receivers that no running program has.

    Perhaps a receiver was renamed or removed, or the module of the receiver is not imported.
    Remedy: start the program that has the receivers, or `edgy-bus receiver rename` or `forget`.
    """

    name: ClassVar[str] = "roster.missing"
    # WARNING: a deployment that starts one program after the other ends by itself.
    level: ClassVar[int] = logging.WARNING
    group: str
    receivers: Sequence[str]


@_entry
class ReceiversForgotten(Notice):
    """A group has forgotten receivers, because no program had them for `receiver_retention`."""

    name: ClassVar[str] = "roster.forgotten"
    # WARNING: a program that brings such a receiver back has a new receiver.
    level: ClassVar[int] = logging.WARNING
    group: str
    receivers: Sequence[str]


@_entry
class ReceiverSetAside(Notice):
    """A receiver reads a partition in a group of its own.

    `reason` is "missing": the owner of the partition does not have the receiver; "paused": an
    operator has paused it, or its breaker is open; "slow": it kept the others from reading on;
    "behind": it is new and begins with the oldest kept event. Workers that have the receiver handle
    its events; without such a worker, the events wait, and the stream is not trimmed.
    """

    name: ClassVar[str] = "receiver.set_aside"
    group: str
    receiver: str
    partition: str
    reason: str


@_entry
class ReceiverReturned(Notice):
    """A receiver that was set aside has caught up, and reads with its group again."""

    name: ClassVar[str] = "receiver.returned"
    group: str
    receiver: str
    partition: str


@_entry
class ReceiverDropped(Notice):
    """A receiver that was set aside is forgotten; `count` events were not handled by it.

    None: the broker cannot count them. The events stay in the outbox for its retention.
    """

    name: ClassVar[str] = "receiver.dropped"
    # WARNING: these events are not handled, as an operator or the retention has decided.
    level: ClassVar[int] = logging.WARNING
    group: str
    receiver: str
    partition: str
    count: int | None


@_entry
class WorkerStarted(Notice):
    """A worker runs the receivers of these groups; each receiver is a line `worker.receiver`."""

    name: ClassVar[str] = "worker.started"
    groups: Sequence[str]
    receivers: Sequence[str]


@_entry
class TallyFailed(Notice):
    """The counts of a worker cannot be added to the history of its groups; the work goes on.

    Reported once until the error changes. Charts of the dashboard lack these counts meanwhile.
    """

    name: ClassVar[str] = "tally.failed"
    level: ClassVar[int] = logging.WARNING
    error: str


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
class WorkerHung(Notice):
    """A worker process made no progress for `seconds`, and is killed and replaced.

    Also its threads stand, or it is stopped: a process whose event loop alone is blocked ends by
    itself before, and names the line.
    """

    name: ClassVar[str] = "worker.hung"
    level: ClassVar[int] = logging.ERROR
    metric: ClassVar[Counter | None] = Counter("edgy_bus_worker_hangs_total")
    pid: int
    seconds: float


@_entry
class ProgramChanged(Notice):
    """Files of a worker with `--reload` have changed: the worker begins anew."""

    name: ClassVar[str] = "program.changed"
    files: Sequence[str]


@_entry
class ProgramWaits(Notice):
    """A worker with `--reload` has ended by itself; it begins anew at the next change of a file."""

    name: ClassVar[str] = "program.waits"
    level: ClassVar[int] = logging.WARNING
    status: int


@_entry
class LoopBlocked(Notice):
    """A receiver, or other code, keeps the event loop of a worker from everything else.

    Reported once for each block, after a second. Partitions stay with the worker for `max_blocked`.
    Remedy: let such code wait (`await`), or run it in a thread (`asyncio.to_thread`).
    """

    name: ClassVar[str] = "loop.blocked"
    level: ClassVar[int] = logging.WARNING
    metric: ClassVar[Counter | None] = Counter("edgy_bus_loop_blocks_total", ("receiver",))
    receiver: str | None
    seconds: float
    line: str
    stack: str


@_entry
class LoopFreed(Notice):
    """The event loop of a worker goes on after a block that was reported."""

    name: ClassVar[str] = "loop.freed"
    receiver: str | None
    seconds: float


@_entry
class LoopGivenUp(Notice):
    """The event loop of a worker was blocked for `max_blocked`: its leases run out from now on."""

    name: ClassVar[str] = "loop.given_up"
    # ERROR: another worker repeats the calls, perhaps while they still run.
    level: ClassVar[int] = logging.ERROR
    metric: ClassVar[Counter | None] = Counter("edgy_bus_loops_given_up_total", ("receiver",))
    receiver: str | None
    seconds: float
    line: str


@_entry
class ProcessEnded(Notice):
    """A worker whose event loop was blocked for `max_blocked` ends; its supervisor replaces it."""

    name: ClassVar[str] = "process.ended"
    level: ClassVar[int] = logging.CRITICAL
    receiver: str | None
    line: str
    stack: str
    status: int


@_entry
class ProcessStoodStill(Notice):
    """Neither the event loop of a worker nor the keeper of its leases ran for a while.

    The process was suspended, had no processor, or ran C code that holds Python's lock (the GIL) at
    this line. If that takes as long as a lease, other workers take the partitions.
    """

    name: ClassVar[str] = "process.stood_still"
    level: ClassVar[int] = logging.WARNING
    metric: ClassVar[Counter | None] = Counter("edgy_bus_standstills_total")
    receiver: str | None
    seconds: float
    line: str


@_entry
class LeasesUnanswered(Notice):
    """A renewal of leases has no answer yet, and is tried on another connection.

    Reported once until a renewal is answered.
    """

    name: ClassVar[str] = "leases.unanswered"
    # INFO: leases last for several attempts, and a lost lease is reported by itself.
    metric: ClassVar[Counter | None] = Counter("edgy_bus_renewals_unanswered_total")
    seconds: float


@_entry
class ConsumerFailed(Notice):
    """A round of a group's consumer failed with an error that waiting does not mend.

    The group keeps the partitions that it has, and the next round follows after a pause.
    """

    name: ClassVar[str] = "consumer.failed"
    level: ClassVar[int] = logging.ERROR
    metric: ClassVar[Counter | None] = Counter("edgy_bus_consumer_failures_total", ("group",))
    group: str
    error: str
    trace: str


@_entry
class PartitionFailed(Notice):
    """The lease of a partition could not be taken or given back; other partitions go on.

    An outage of the broker is not reported like this. The next attempt follows after a pause.
    """

    name: ClassVar[str] = "partition.failed"
    level: ClassVar[int] = logging.ERROR
    metric: ClassVar[Counter | None] = Counter("edgy_bus_partition_failures_total", ("group",))
    group: str
    partition: str
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
class ActionUnrecorded(Notice):
    """An operator's action has ended, and the log of actions could not be written."""

    name: ClassVar[str] = "action.unrecorded"
    # WARNING: other operators do not see the action in the log.
    level: ClassVar[int] = logging.WARNING
    action: str
    error: str


@_entry
class GroupPaused(Notice):
    """An operator has paused the group: this worker begins no call, and what runs finishes.

    `until` is in UTC; None: until `edgy-bus resume`.
    """

    name: ClassVar[str] = "group.paused"
    level: ClassVar[int] = logging.WARNING
    group: str
    until: str | None
    note: str


@_entry
class GroupResumed(Notice):
    """The pause of a group has ended."""

    name: ClassVar[str] = "group.resumed"
    group: str


@_entry
class ReceiverPaused(Notice):
    """An operator has paused a receiver: its running calls finish, and its events wait.

    `until` is in UTC; None: until `edgy-bus resume --receiver`.
    """

    name: ClassVar[str] = "receiver.paused"
    level: ClassVar[int] = logging.WARNING
    group: str
    receiver: str
    until: str | None
    note: str


@_entry
class ReceiverResumed(Notice):
    """The pause of a receiver has ended."""

    name: ClassVar[str] = "receiver.resumed"
    group: str
    receiver: str


@_entry
class BreakerOpened(Notice):
    """Every call of a receiver has failed: no worker calls it for a while, and its events wait.

    `reason` is the last error. Remedy: the service that the receiver calls.
    """

    name: ClassVar[str] = "breaker.opened"
    level: ClassVar[int] = logging.WARNING
    group: str
    receiver: str
    seconds: float
    reason: str


@_entry
class BreakerClosed(Notice):
    """A call of a receiver whose breaker had opened has succeeded: the receiver catches up."""

    name: ClassVar[str] = "breaker.closed"
    group: str
    receiver: str


@_entry
class PartitionDraining(Notice):
    """Another worker waits for a partition: no call begins here until the running calls have ended.

    Offers to hand the partition over have failed, because calls were always running. The rows of
    the partition wait for the longest of these calls. Remedy: shorter calls.
    """

    name: ClassVar[str] = "partition.draining"
    level: ClassVar[int] = logging.WARNING
    metric: ClassVar[Counter | None] = Counter("edgy_bus_partitions_drained_total", ("group",))
    group: str
    partition: str
    calls: int


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
    trace: str = ""


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
class CallFailed(Notice):
    """The fields of notices about calls of receivers that were not done.

    `attempts` counts the failed calls of the receiver for the event, this call included. `follows`
    says what happens to the event. `trace` is the traceback of the receiver's error, where the
    receiver raised.
    """

    group: str
    receiver: str
    event: str
    event_id: str
    attempts: int
    reason: str
    follows: str
    trace: str = ""
    quiet: bool = False
    """Written at the level DEBUG: nothing went wrong, or the same happened often in a minute."""

    @property
    def severity(self) -> int:
        """Return DEBUG for quiet notices: a downstream that is away fails thousands of calls."""
        return logging.DEBUG if self.quiet else self.level

    def values(self) -> dict[str, Any]:
        """Return the fields that describe the call."""
        values = Notice.values(self)
        del values["quiet"]
        return values


@_entry
class ReceiverRetried(CallFailed):
    """A receiver failed, or asked to be called again, and will be."""

    name: ClassVar[str] = "receiver.retried"
    level: ClassVar[int] = logging.WARNING
    # No label for the event: each event would be a series of its own.
    metric: ClassVar[Counter | None] = Counter(
        "edgy_bus_receiver_retries_total", ("group", "receiver")
    )


@_entry
class ReceiverGaveUp(CallFailed):
    """A receiver failed for good: the event goes to the dead letters, or its row is held."""

    name: ClassVar[str] = "receiver.gave_up"
    # ERROR: an operator has to decide about the event.
    level: ClassVar[int] = logging.ERROR
    metric: ClassVar[Counter | None] = Counter(
        "edgy_bus_receiver_failures_total", ("group", "receiver")
    )


@_entry
class ReceiverFailsOften(Notice):
    """Lines about failed calls were left out of the log; the level DEBUG has them all.

    Reported once a minute for each receiver and kind of error.
    """

    name: ClassVar[str] = "receiver.fails_often"
    level: ClassVar[int] = logging.WARNING
    group: str
    receiver: str
    error: str
    retried: int
    gave_up: int


@_entry
class ErrorHookFailed(Notice):
    """A hook of `Bus.on_error` raised, or took too long. Reported at most once a minute."""

    name: ClassVar[str] = "hook.failed"
    level: ClassVar[int] = logging.ERROR
    metric: ClassVar[Counter | None] = Counter("edgy_bus_hook_failures_total", ("hook",))
    hook: str
    error: str
    trace: str = ""


@_entry
class ErrorHookBehind(Notice):
    """Hooks of `Bus.on_error` are slower than receivers fail: failures were not handed over."""

    name: ClassVar[str] = "hook.behind"
    level: ClassVar[int] = logging.WARNING
    metric: ClassVar[Counter | None] = Counter("edgy_bus_hook_missed_failures_total", (), "count")
    count: int


@_entry
class ReceiverAnswerUnknown(Notice):
    """A receiver returned a value that is no outcome, and is taken as done. Reported once for each.

    Remedy: return None, or an outcome: `edgy_bus.retry()`, `edgy_bus.snooze(…)`,
    `edgy_bus.dead_letter(…)`. A batch receiver may return a mapping from `event.id` to outcomes.
    """

    name: ClassVar[str] = "receiver.unknown_answer"
    level: ClassVar[int] = logging.WARNING
    group: str
    receiver: str
    answer: str


@_entry
class RetriesOutlastOutbox(Notice):
    """The attempts of a receiver may take longer than events are kept in the outbox.

    An event that waits for its attempts keeps its stream from being trimmed, and cannot be repaired
    after a loss of Redis. Remedy: fewer `attempts` or a lower `ceiling` of the receiver's `Retry`.
    """

    name: ClassVar[str] = "receiver.retries_outlast_outbox"
    level: ClassVar[int] = logging.WARNING
    group: str
    receiver: str
    seconds: float
    kept: float


@_entry
class ReceiverNotEnding(Notice):
    """A call of a receiver goes on, some seconds after it was cancelled.

    The call was cancelled because its deadline was over, the lease was lost, or the process stops.
    The call keeps its row, and a place among the calls of the process. Remedy: let
    `asyncio.CancelledError` through; the call stands at the line that `stands_at` names.
    """

    name: ClassVar[str] = "receiver.not_ending"
    level: ClassVar[int] = logging.ERROR
    metric: ClassVar[Counter | None] = Counter(
        "edgy_bus_receiver_not_ending_total", ("group", "receiver")
    )
    group: str
    receiver: str
    event: str
    event_id: str
    seconds: float
    stands_at: str


@_entry
class CallsLeft(Notice):
    """A tenure ended without these calls, which go on after they were cancelled.

    The lease is not given back: it runs out, so that the next owner begins later.
    """

    name: ClassVar[str] = "tenure.calls_left"
    level: ClassVar[int] = logging.ERROR
    group: str
    partition: str
    count: int


@_entry
class LettersWait(Notice):
    """Dead letters and parked events wait, and their rows with them: the broker refuses them.

    Reported once until everything is written, and once for an event that is refused for itself.
    Free memory at the broker: raise `maxmemory`, or remove dead letters.
    """

    name: ClassVar[str] = "letters.wait"
    # WARNING: rows stand still until an operator makes room, or the refusal ends by itself.
    level: ClassVar[int] = logging.WARNING
    metric: ClassVar[Counter | None] = Counter("edgy_bus_letters_refused_total", ("group",))
    group: str
    partition: str
    count: int
    error: str


@_entry
class LettersRemoved(Notice):
    """Dead letters were removed for ever, because the limits of the worker do not keep them.

    The oldest go first. Remedy: replay or discard letters in time, or raise
    `WorkerSettings(letter_retention=…, most_letters=…)`.
    """

    name: ClassVar[str] = "letters.removed"
    # WARNING: nobody has looked at these events, and nothing brings them back.
    level: ClassVar[int] = logging.WARNING
    metric: ClassVar[Counter | None] = Counter(
        "edgy_bus_letters_removed_total", ("group",), "count"
    )
    group: str
    partition: str
    count: int


@_entry
class LettersWritten(Notice):
    """The dead letters and parked events that had to wait are written."""

    name: ClassVar[str] = "letters.written"
    group: str
    partition: str


@_entry
class ReceiverLeftOpen(Notice):
    """A receiver did not give a database connection back: its open transactions are rolled back.

    Remedy: open transactions and connections with `async with`.
    """

    name: ClassVar[str] = "receiver.left_open"
    # ERROR: what the receiver wrote in these transactions is lost, and no attempt repeats it.
    level: ClassVar[int] = logging.ERROR
    metric: ClassVar[Counter | None] = Counter(
        "edgy_bus_receiver_left_open_total", ("group", "receiver")
    )
    group: str
    receiver: str
    event: str
    event_id: str
    transactions: int


@_entry
class InboxWaits(Notice):
    """A receiver waits for other transactions of its inbox's database; no attempt is counted.

    Reported at most once a minute. Remedies: shorter receivers, fewer of them at a time
    (`WorkerSettings(concurrency=…)`), or PostgreSQL, where other rows are no hindrance.
    """

    name: ClassVar[str] = "inbox.waits"
    level: ClassVar[int] = logging.WARNING
    metric: ClassVar[Counter | None] = Counter("edgy_bus_inbox_waits_total", ("receiver",))
    receiver: str
    error: str


@_entry
class InboxPruned(Notice):
    """Positions of an inbox were forgotten, because no event can need them any more."""

    name: ClassVar[str] = "inbox.pruned"
    # DEBUG: the counter shows the rate.
    level: ClassVar[int] = logging.DEBUG
    metric: ClassVar[Counter | None] = Counter(
        "edgy_bus_inbox_pruned_positions_total", ("group",), "count"
    )
    group: str
    count: int


@_entry
class InboxPruningFailed(Notice):
    """The positions of an inbox could not be forgotten, and the table grows meanwhile.

    Remedy: the role of the worker needs the rights to read and delete rows of `edgy_bus_inbox`.
    """

    name: ClassVar[str] = "inbox.pruning_failed"
    level: ClassVar[int] = logging.WARNING
    metric: ClassVar[Counter | None] = Counter("edgy_bus_inbox_pruning_failures_total", ("group",))
    group: str
    error: str


@_entry
class LetterSkipped(Notice):
    """A replayed dead letter had no effect: its receiver does not want the event any more.

    The inbox of the receiver has a later event of the row, so that the state of the row is newer
    than the letter; or a filter of the receiver leaves the event out.
    """

    name: ClassVar[str] = "letter.skipped"
    metric: ClassVar[Counter | None] = Counter("edgy_bus_letters_skipped_total", ("group",))
    group: str
    partition: str
    receiver: str
    event_id: str


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


@_entry
class TracingFailed(Notice):
    """Spans cannot be made, because the SDK or a processor of spans raises. Nothing else is hurt.

    Reported once for each process. Remedy: the configuration of OpenTelemetry.
    """

    name: ClassVar[str] = "tracing.failed"
    level: ClassVar[int] = logging.ERROR
    error: str


ENTRIES: tuple[type[Notice], ...] = tuple(
    entry
    for entry in globals().values()
    if isinstance(entry, type) and issubclass(entry, Notice) and entry.name
)
"""Every entry of the catalogue."""
