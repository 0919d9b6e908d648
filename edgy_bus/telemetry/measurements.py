"""Everything that the library measures: the catalogue of measurements, with their metrics.

The first line of an entry's docstring describes its metric.
"""

from dataclasses import dataclass
from typing import ClassVar, TypeVar, dataclass_transform

from edgy_bus.telemetry.measuring import Distribution, Gauge, Histogram, Measurement, Metric
from edgy_bus.telemetry.notice import Counter

M = TypeVar("M", bound=Measurement)


@dataclass_transform(kw_only_default=True, frozen_default=True)
def _entry(entry: type[M]) -> type[M]:
    return dataclass(frozen=True, slots=True, kw_only=True)(entry)


# From a millisecond to an hour: a group that was away for a night ends in the last bucket.
_DELAYS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3600)
# From a receiver that only computes to the default deadline.
_DURATIONS = (0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300)

_RECEIVER = ("group", "receiver")

# By service, group and receiver only: a model or a partition would multiply the series of a large
# system by hundreds.
PUBLISH_DELAY = Histogram("edgy_bus_publish_delay_seconds", ("service",), "delays", _DELAYS)
START_DELAY = Histogram("edgy_bus_start_delay_seconds", _RECEIVER, "delays", _DELAYS)
RECEIVER_TIME = Histogram("edgy_bus_receiver_duration_seconds", _RECEIVER, "times", _DURATIONS)


# What happened


@_entry
class EventsPublished(Measurement):
    """Time from the change of a row to the append of its event to a stream.

    Both clocks take part: that of the publisher or its database, and that of the broker.
    """

    metric: ClassVar[Metric | None] = PUBLISH_DELAY
    service: str
    delays: Distribution


@_entry
class EventsHandled(Measurement):
    """Events that a receiver has handled."""

    metric: ClassVar[Metric | None] = Counter(
        "edgy_bus_receiver_handled_events_total", _RECEIVER, "count"
    )
    group: str
    receiver: str
    count: int


@_entry
class EventsSkipped(Measurement):
    """Events for which a receiver did not have to run: its inbox or its filter said so."""

    metric: ClassVar[Metric | None] = Counter(
        "edgy_bus_receiver_skipped_events_total", _RECEIVER, "count"
    )
    group: str
    receiver: str
    count: int


@_entry
class CallsStarted(Measurement):
    """Time from the append of an event to its first call of a receiver.

    Both clocks take part: that of the broker, and that of the worker.
    """

    metric: ClassVar[Metric | None] = START_DELAY
    group: str
    receiver: str
    delays: Distribution


@_entry
class CallsEnded(Measurement):
    """Time of a call of a receiver, failed calls included; a batch is one call."""

    metric: ClassVar[Metric | None] = RECEIVER_TIME
    group: str
    receiver: str
    times: Distribution


@_entry
class LettersBuried(Measurement):
    """Events that this program has put into the dead letters."""

    metric: ClassVar[Metric | None] = Counter("edgy_bus_dead_letters_total", _RECEIVER, "count")
    group: str
    receiver: str
    count: int


# How things stand; read when the metrics are asked for


@_entry
class ProgramState(Measurement):
    """Seconds since the last progress of a program; see `edgy-bus health`."""

    metric: ClassVar[Metric | None] = Gauge("edgy_bus_progress_age_seconds", (), "age")
    age: float


@_entry
class ProgramReadiness(Measurement):
    """1 if a program has worked since its start; see `edgy-bus health --ready`."""

    metric: ClassVar[Metric | None] = Gauge("edgy_bus_ready", (), "ready")
    ready: int


@_entry
class LeasesHeld(Measurement):
    """Partitions whose lease the workers of a program hold for a group."""

    metric: ClassVar[Metric | None] = Gauge("edgy_bus_worker_leases", ("group",), "count")
    group: str
    count: int


@_entry
class JobsInHand(Measurement):
    """Events, for each of their receivers, that workers have read and not finished."""

    metric: ClassVar[Metric | None] = Gauge("edgy_bus_worker_in_hand_jobs", ("group",), "count")
    group: str
    count: int


@_entry
class GroupLag(Measurement):
    """Events that a group has not finished, in all of its streams."""

    metric: ClassVar[Metric | None] = Gauge("edgy_bus_group_lag_events", ("group",), "count")
    group: str
    count: int


@_entry
class GroupLagAge(Measurement):
    """Age of the oldest event that a group has not finished; 0 without such an event."""

    metric: ClassVar[Metric | None] = Gauge("edgy_bus_group_lag_seconds", ("group",), "seconds")
    group: str
    seconds: float


@_entry
class GroupDeadLetters(Measurement):
    """Dead letters of a group that wait for an operator."""

    metric: ClassVar[Metric | None] = Gauge("edgy_bus_group_dead_letters", ("group",), "count")
    group: str
    count: int


@_entry
class GroupHeldRows(Measurement):
    """Rows that receivers of a group hold, or that are being released."""

    metric: ClassVar[Metric | None] = Gauge("edgy_bus_group_held_rows", ("group",), "count")
    group: str
    count: int


@_entry
class GroupWorkers(Measurement):
    """Workers of a group that are alive."""

    metric: ClassVar[Metric | None] = Gauge("edgy_bus_group_workers", ("group",), "count")
    group: str
    count: int


@_entry
class OutboxPending(Measurement):
    """Events of a publisher's database that are not in their stream."""

    metric: ClassVar[Metric | None] = Gauge(
        "edgy_bus_outbox_pending_events", ("database",), "count"
    )
    database: str
    count: int


@_entry
class OutboxAge(Measurement):
    """Age of the oldest event that is not in its stream; 0 without such an event."""

    metric: ClassVar[Metric | None] = Gauge(
        "edgy_bus_outbox_oldest_seconds", ("database",), "seconds"
    )
    database: str
    seconds: float


ENTRIES: tuple[type[Measurement], ...] = tuple(
    entry
    for entry in globals().values()
    if isinstance(entry, type) and issubclass(entry, Measurement) and entry.metric
)
"""Every entry of the catalogue of measurements."""
