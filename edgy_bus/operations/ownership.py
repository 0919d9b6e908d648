"""Workers and partitions: which workers live, and which of them owns what since when."""

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from edgy_bus.brokers.base import Broker, GroupSurvey, Members, StreamSurvey
from edgy_bus.operations.overview import GroupStatus, Overview, Since, age_of, overview
from edgy_bus.operations.parts import Parts
from edgy_bus.operations.surveys import since_of, surveyed, worker_of
from edgy_bus.operations.waiting import Waiting, reports_of, waiting_in
from edgy_bus.runtime.peers import read_peer
from edgy_bus.runtime.worker_report import WorkerReport


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """A worker, as its reports and its leases show it.

    A report has neither the process nor the memory of the worker.

    Attributes:
        group: the group of the worker.
        name: the random name of the worker.
        alive: whether the worker has renewed its registration lately.
        receivers: the receivers that it has; empty if it does not say.
        partitions: the partitions that it owns.
        since: when it took them, by its own clock; None if it owns nothing, or does not say.
        reported: when it wrote its last report, by its own clock; None if unknown.
        handled: calls of receivers that have succeeded since it began.
        jobs: events that it has in hand; an event for two receivers counts twice.
        waiting: the calls among them that wait for another attempt.
    """

    group: str
    name: str
    alive: bool
    receivers: tuple[str, ...]
    partitions: int
    since: Since | None
    reported: datetime | None
    handled: int
    jobs: int
    waiting: Waiting


@dataclass(frozen=True, slots=True)
class PartitionStatus:
    """A partition, and its owner in a group.

    Attributes:
        group: the group.
        model: the model with its service.
        partition: the name of the partition.
        owner: the worker that owns the partition; empty if no worker does.
        since: since when, by the clock of the worker; None without an owner, or if unknown.
        alive: whether the owner lives; the lease of another one ends soon.
        lag: entries that are unread or unfinished; None if the broker cannot count them.
        seconds: the age of the oldest of these entries; 0 without such an entry.
    """

    group: str
    model: str
    partition: str
    owner: str
    since: datetime | None
    alive: bool
    lag: int | None
    seconds: float

    @property
    def stands(self) -> bool:
        """Return whether entries wait, and no live worker owns the partition."""
        return self.lag != 0 and not self.alive

    @property
    def urgency(self) -> tuple[bool, float]:
        """Return what orders partitions: those that no worker works on, then the oldest entry."""
        return self.stands, self.seconds


@dataclass(frozen=True, slots=True)
class Ownership:
    """The workers of groups, and the partitions that matter most.

    Attributes:
        workers: the workers, by group; of a group, those that are gone come first.
        partitions: the partitions, the most urgent first, no more than were asked for.
        count: the number of all partitions that match, once for each group.
        standing: the number of those on which no worker works though entries wait.
    """

    workers: tuple[WorkerStatus, ...]
    partitions: tuple[PartitionStatus, ...]
    count: int
    standing: int


async def ownership(
    broker: Broker, *, group: str | None = None, worker: str | None = None, most: int = 200
) -> Ownership:
    """Return who owns what. Only reads. Memory grows with groups, and not with partitions.

    Args:
        broker: the broker.
        group: only this group.
        worker: only this worker and its partitions.
        most: the number of partitions to return.
    """
    # Without outboxes: who owns what is known by the broker alone.
    view = await overview(Parts(broker, ""))
    groups = [each for each in view.status.groups if group in (None, each.name)]
    alive = {each.name: set(each.workers) for each in groups}
    count: Counter[bool] = Counter()
    urgent: list[tuple[tuple[bool, float], int, PartitionStatus]] = []
    asked: set[tuple[str, str]] = set()
    async for stream in surveyed(broker, await broker.declared()):
        await _note_new_workers(broker, stream, alive, asked)
        for each in _partitions(stream, alive, worker):
            # A number breaks ties: of two equal ones, the earlier stays.
            number = -count.total()
            count[each.stands] += 1
            heapq.heappush(urgent, (each.urgency, number, each))
            if len(urgent) > most:
                heapq.heappop(urgent)
    return Ownership(
        workers=tuple(_workers(view, groups, worker)),
        partitions=tuple(each for *_, each in sorted(urgent, reverse=True)),
        count=count.total(),
        standing=count[True],
    )


async def _note_new_workers(
    broker: Broker,
    stream: StreamSurvey,
    alive: Mapping[str, set[str]],
    asked: set[tuple[str, str]],
) -> None:
    """Ask again who lives, once for each owner that was not there before."""
    # After the stream: an owner that has just begun must not look like one that is gone.
    for survey in stream.groups:
        group, owner = survey.group, worker_of(survey.holder)
        is_new = owner and group in alive and owner not in alive[group]
        if is_new and (group, owner) not in asked:
            alive[group].update((await broker.members(group)).alive)
            asked.add((group, owner))


def _partitions(
    stream: StreamSurvey, alive: Mapping[str, set[str]], worker: str | None
) -> Iterator[PartitionStatus]:
    for survey in stream.groups:
        owner = worker_of(survey.holder)
        if survey.group in alive and worker in (None, owner):
            yield PartitionStatus(
                group=survey.group,
                model=stream.partition.model,
                partition=stream.partition.name,
                owner=owner,
                since=since_of(survey.holder) if owner else None,
                alive=owner in alive[survey.group],
                lag=_lag(survey),
                seconds=age_of(survey, stream.now),
            )


def _lag(survey: GroupSurvey) -> int | None:
    return None if survey.unread is None else survey.unread + survey.unfinished


def _workers(
    view: Overview, groups: Iterable[GroupStatus], worker: str | None
) -> Iterator[WorkerStatus]:
    for group in groups:
        _, members = view.registered[group.name]
        reports = reports_of(members)
        # Workers that are gone hold their partitions until the leases end.
        leaving = sorted(group.owners.keys() - set(group.workers))
        for name in (*leaving, *group.workers):
            if worker in (None, name):
                yield _worker(group, name, members, reports.get(name, WorkerReport()))


def _worker(group: GroupStatus, name: str, members: Members, report: WorkerReport) -> WorkerStatus:
    peer = read_peer(members.reports.get(name, b""))
    calls = report.receivers.values()
    return WorkerStatus(
        group=group.name,
        name=name,
        alive=name in group.workers,
        receivers=tuple(sorted(peer.receivers)) if peer else (),
        partitions=group.owners.get(name, 0),
        since=group.since.get(name),
        reported=_moment(report.at),
        handled=sum(each.handled for each in calls),
        jobs=sum(each.jobs for each in calls),
        waiting=waiting_in({name: report}),
    )


def _moment(seconds: float) -> datetime | None:
    # Any program may have written the report.
    try:
        return datetime.fromtimestamp(seconds, UTC) if seconds > 0 else None
    except (OverflowError, ValueError, OSError):
        return None
