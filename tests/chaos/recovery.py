"""How long rows of a worker that was killed, or paused, waited to be handled again: computed from what the receivers wrote down."""

import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

_LOOK = 120.0
"""Seconds behind the first call in which those that waited with it are looked for."""


@dataclass(frozen=True)
class Outage:
    """A worker that could not work from `at` on (seconds, as all times here by the clock of this machine)."""

    kind: str
    process: int
    at: float


@dataclass(frozen=True)
class Call:
    """A receiver was called, in a process, with an event of a partition."""

    group: str
    partition: int
    event: str
    process: int
    at: float


@dataclass(frozen=True)
class Recovery:
    """One partition that a worker had when its outage began. An event has waited since then, or since it was committed if that was later."""

    outage: Outage
    group: str
    partition: int
    first: float
    """How long the event that was handled first had waited."""
    slowest: float
    """The longest wait of those that were committed when the first was handled."""


def committed_at(event_id: str) -> float:
    """When an event was made, just before the commit: its id is a UUIDv7, which begins with the milliseconds."""
    return int(event_id.replace("-", "")[:12], 16) / 1000


def recoveries(outages: Iterable[Outage], calls: Iterable[Call]) -> list[Recovery]:
    """For every outage, every partition in which the worker made the last call before.

    A partition of which no event was handled afterwards has nothing to tell. An event counts once, when it is called first after the
    outage began.
    """
    places: dict[tuple[str, int], list[Call]] = defaultdict(list)
    for call in sorted(calls, key=lambda one: one.at):
        places[call.group, call.partition].append(call)
    times = {place: [call.at for call in made] for place, made in places.items()}
    found = []
    for outage in outages:
        for (group, partition), made in places.items():
            begin = bisect_right(times[group, partition], outage.at)
            if 0 < begin < len(made) and made[begin - 1].process == outage.process:
                first, slowest = _waits(outage.at, made[begin:])
                found.append(Recovery(outage, group, partition, first, slowest))
    return found


def latencies(calls: Iterable[Call]) -> list[float]:
    """For every event and group, the seconds from the commit to the first call."""
    first: dict[tuple[str, str], float] = {}
    for call in calls:
        key = call.group, call.event
        first[key] = min(call.at, first.get(key, math.inf))
    return [at - committed_at(event) for (_, event), at in first.items()]


def shared(calls: Iterable[Call]) -> int:
    """How many events receivers in more than one process were called with."""
    processes: dict[str, set[int]] = defaultdict(set)
    for call in calls:
        processes[call.event].add(call.process)
    return sum(len(called) > 1 for called in processes.values())


def _waits(since: float, calls: Sequence[Call]) -> tuple[float, float]:
    """The waits of the first event and of the slowest one that was waiting with it."""
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
    """The least value that `share` of all do not exceed."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def described(found: Sequence[Recovery]) -> str:
    """By kind of outage: how many partitions changed hands, and the waits of their first and slowest events."""
    kinds: Mapping[str, list[Recovery]] = defaultdict(list)
    for one in found:
        kinds[one.outage.kind].append(one)
    return (
        "; ".join(f"{kind}: {_summary(ones)}" for kind, ones in sorted(kinds.items()))
        or "nothing to measure"
    )


def _summary(ones: Sequence[Recovery]) -> str:
    first, slowest = spread([one.first for one in ones]), spread([one.slowest for one in ones])
    return f"{len({one.outage for one in ones})} outages, {len(ones)} partitions, first {first}, slowest {slowest}"


def spread(values: Sequence[float]) -> str:
    """In seconds, for people."""
    if not values:
        return "unknown"
    return (
        f"p50 {quantile(values, 0.5):.2f} p99 {quantile(values, 0.99):.2f} max {max(values):.2f} s"
    )
