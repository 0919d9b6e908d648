"""Compute how long the rows of a killed or paused worker waited for the next call.

The input is the calls that the receivers have recorded. All times are seconds, by the clock of this
machine.
"""

import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

_LOOK = 120.0
"""Seconds after the first call in which the search for other waiting events ends."""


@dataclass(frozen=True)
class Outage:
    """Describe a worker that cannot work from time `at` on."""

    kind: str
    process: int
    at: float


@dataclass(frozen=True)
class Call:
    """Describe a call of a receiver with an event of a partition, in a process."""

    group: str
    partition: int
    event: str
    process: int
    at: float


@dataclass(frozen=True)
class Recovery:
    """Measure the outage of a worker for a partition of this worker.

    The wait of an event begins with the outage, or with the commit if the commit was later.

    Attributes:
        first: the wait of the event that was handled first.
        slowest: the longest wait of the events that were committed before the first call.
    """

    outage: Outage
    group: str
    partition: int
    first: float
    slowest: float


def committed_at(event_id: str) -> float:
    """Return the time at which the event was created, just before the commit."""
    # The id is a UUIDv7, which begins with the milliseconds.
    return int(event_id.replace("-", "")[:12], 16) / 1000


def recoveries(outages: Iterable[Outage], calls: Iterable[Call]) -> list[Recovery]:
    """Return a recovery for every outage and every partition whose last caller was that worker.

    A partition without calls after the outage is left out. An event counts once, with the first
    call after the outage began.
    """
    partitions: dict[tuple[str, int], list[Call]] = defaultdict(list)
    for call in sorted(calls, key=lambda call: call.at):
        partitions[call.group, call.partition].append(call)
    times = {key: [call.at for call in in_order] for key, in_order in partitions.items()}
    measured = []
    for outage in outages:
        for (group, partition), in_order in partitions.items():
            begin = bisect_right(times[group, partition], outage.at)
            if 0 < begin < len(in_order) and in_order[begin - 1].process == outage.process:
                first, slowest = _waits(outage.at, in_order[begin:])
                measured.append(Recovery(outage, group, partition, first, slowest))
    return measured


def latencies(calls: Iterable[Call]) -> list[float]:
    """Return the seconds from the commit to the first call, for every event and group."""
    first: dict[tuple[str, str], float] = {}
    for call in calls:
        key = call.group, call.event
        first[key] = min(call.at, first.get(key, math.inf))
    return [at - committed_at(event) for (_, event), at in first.items()]


def shared(calls: Iterable[Call]) -> int:
    """Return the number of events with calls in more than a single process."""
    processes: dict[str, set[int]] = defaultdict(set)
    for call in calls:
        processes[call.event].add(call.process)
    return sum(len(called) > 1 for called in processes.values())


def _waits(since: float, calls: Sequence[Call]) -> tuple[float, float]:
    """Return the wait of the first event, and the longest wait of the events committed by then."""
    seen: set[str] = set()
    first, longest = calls[0], 0.0
    for call in calls:
        committed = committed_at(call.event)
        if committed > first.at and call.at - first.at > _LOOK:
            break
        if call.event not in seen and committed <= first.at:
            longest = max(longest, call.at - max(since, committed))
        seen.add(call.event)
    return first.at - max(since, committed_at(first.event)), longest


def quantile(values: Sequence[float], share: float) -> float:
    """Return the least value that `share` of all values do not exceed."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def described(measured: Sequence[Recovery]) -> str:
    """Return, for each kind of outage, the number of moved partitions and the waits of events."""
    kinds: Mapping[str, list[Recovery]] = defaultdict(list)
    for recovery in measured:
        kinds[recovery.outage.kind].append(recovery)
    summaries = [f"{kind}: {_summary(recoveries)}" for kind, recoveries in sorted(kinds.items())]
    return "; ".join(summaries) or "nothing to measure"


def _summary(measured: Sequence[Recovery]) -> str:
    outages = {recovery.outage for recovery in measured}
    first = spread([recovery.first for recovery in measured])
    slowest = spread([recovery.slowest for recovery in measured])
    return f"{len(outages)} outages, {len(measured)} partitions, first {first}, slowest {slowest}"


def spread(values: Sequence[float]) -> str:
    """Return median, 99th percentile and maximum in seconds, for people."""
    if not values:
        return "unknown"
    return (
        f"p50 {quantile(values, 0.5):.2f} p99 {quantile(values, 0.99):.2f} max {max(values):.2f} s"
    )
