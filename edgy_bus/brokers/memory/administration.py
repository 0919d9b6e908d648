"""Members, backlogs and the removal of data in memory."""

from collections.abc import Mapping, Sequence

from edgy_bus.brokers.base import Administration, Backlog, EntryId, Members, Pause, Protocol, Trip
from edgy_bus.brokers.memory.core import MemoryCore
from edgy_bus.brokers.memory.state import Attendance, Group
from edgy_bus.events import Partition

REPORTS_KEPT = 3600.0
"""Seconds for which a report outlives its worker."""


class MemoryAdministration(MemoryCore, Administration):
    """Count workers and entries, and clear dictionaries."""

    async def keep_protocol(self, protocol: Protocol) -> Protocol:
        stored = self._protocol
        version = max(stored.version, protocol.version)
        self._protocol = Protocol(version, max(stored.oldest, protocol.oldest))
        return self._protocol

    async def join(self, group: str, worker: str, ttl: float, report: bytes) -> Members:
        _, last_report = self._workers[group].get(worker, (0.0, b""))
        self._workers[group][worker] = (self._clock() + ttl, report or last_report)
        members = await self.members(group)
        return Members(
            members.alive,
            nudge=str(self._nudges[group]),
            roster=self._roster_versions[group],
            pause=members.pause,
            paused=members.paused,
            tripped=members.tripped,
        )

    async def leave(self, group: str, worker: str) -> None:
        # The report outlives the worker: an operator wants to see the last words of a worker.
        _, report = self._workers[group].get(worker, (0.0, b""))
        self._workers[group][worker] = (self._clock(), report)

    async def members(self, group: str) -> Members:
        now = self._clock()
        recent = {
            worker: (until, report)
            for worker, (until, report) in self._workers[group].items()
            if until > now - REPORTS_KEPT
        }
        self._workers[group] = recent
        alive = [worker for worker, (until, _) in recent.items() if until > now]
        reports = {worker: report for worker, (_, report) in recent.items() if report}
        pauses = self._pauses_of(group)
        trips = {
            name: Trip(max(0.0, until - now), now - since, step, reason)
            for name, (until, since, step, reason) in self._trips[group].items()
        }
        return Members(alive, reports, pause=pauses.pop("", None), paused=pauses, tripped=trips)

    async def reports(self, group: str, workers: Sequence[str]) -> Mapping[str, bytes]:
        known = self._workers[group]
        return {name: known[name][1] for name in workers if name in known and known[name][1]}

    async def nudge(self, group: str) -> None:
        self._nudges[group] += 1

    async def pause(
        self, group: str, seconds: float | None, note: str, *, receiver: str = ""
    ) -> Pause:
        until = None if seconds is None else self._clock() + seconds
        pause = self._pauses[group][receiver] = Pause(until, note)
        return pause

    def _pauses_of(self, group: str) -> dict[str, Pause]:
        """Return the pauses of a group that have not ended; the group's own has an empty name."""
        now = self._clock()
        pauses = self._pauses[group].items()
        return {name: each for name, each in pauses if each.until is None or each.until > now}

    async def resume(self, group: str, *, receiver: str = "") -> bool:
        was_paused = receiver in self._pauses_of(group)
        self._pauses[group].pop(receiver, None)
        return was_paused

    async def trip(self, group: str, receiver: str, seconds: float, step: int, reason: str) -> None:
        now = self._clock()
        _, since, stored, _ = self._trips[group].get(receiver, (0.0, now, 0, ""))
        # Several workers see the same outage: one of them counts.
        if step > stored:
            self._trips[group][receiver] = (now + seconds, since, step, reason)

    async def reset(self, group: str, receiver: str) -> bool:
        return self._trips[group].pop(receiver, None) is not None

    async def backlog(self, partition: Partition) -> list[Backlog]:
        stream = self._streams[partition]
        backlogs = []
        for name, group in stream.groups.items():
            if group.exists and "/" not in name:
                unread = sum(entry > group.position for entry in stream.entries)
                backlogs.append(Backlog(name, len(group.pending), unread, len(group.dead)))
        return backlogs

    async def oldest_unfinished(self, partition: Partition, group: str) -> EntryId | None:
        stream = self._streams[partition]
        oldest = []
        for state in stream.groups_of(group):
            progress = Group() if state is None else state
            unread = (entry for entry in stream.entries if entry > progress.position)
            entry = min(progress.pending, default=None) or next(unread, None)
            oldest += [] if entry is None else [entry]
        return min(oldest, default=None)

    async def forget(self, partition: Partition, group: str) -> None:
        state = self._group(partition, group)
        attendance = self._streams[partition].attendances.pop(group, Attendance())
        for receiver in attendance.asides:
            self._streams[partition].groups.pop(f"{group}/{receiver}", None)
        # Dead letters and held rows wait for an operator, whether or not the group reads on.
        if state is not None:
            self._streams[partition].groups[group] = Group(
                dead=state.dead,
                last_dead=state.last_dead,
                held=state.held,
                parked=state.parked,
                last_parked=state.last_parked,
                exists=False,
            )

    async def erase(self) -> None:
        self._streams.clear()
        self._models.clear()
        self._workers.clear()
        self._nudges.clear()
        self._pauses.clear()
        self._trips.clear()
        self._rosters.clear()
        self._names.clear()
        self._roster_versions.clear()
        self._actions.clear()
        self._relays.clear()
        self._tallies.clear()
        self._versions.clear()
        self._protocol = Protocol(0, 0)
