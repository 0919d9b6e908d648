"""Members, backlogs and the removal of data in memory."""

from edgy_bus.brokers.base import Administration, Backlog, EntryId, Members, Pause, Protocol
from edgy_bus.brokers.memory.core import MemoryCore
from edgy_bus.brokers.memory.state import Group
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
        return Members(members.alive, nudge=str(self._nudges[group]), pause=members.pause)

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
        return Members(alive, reports, pause=await self.pause_of(group))

    async def nudge(self, group: str) -> None:
        self._nudges[group] += 1

    async def pause(self, group: str, seconds: float | None, note: str) -> Pause:
        until = None if seconds is None else self._clock() + seconds
        self._pauses[group] = Pause(until, note)
        return self._pauses[group]

    async def pause_of(self, group: str) -> Pause | None:
        pause = self._pauses.get(group)
        if pause is None or pause.until is None or pause.until > self._clock():
            return pause
        return None

    async def resume(self, group: str) -> bool:
        was_paused = await self.pause_of(group) is not None
        self._pauses.pop(group, None)
        return was_paused

    async def backlog(self, partition: Partition) -> list[Backlog]:
        stream = self._streams[partition]
        backlogs = []
        for name, group in stream.groups.items():
            if group.exists:
                unread = sum(entry > group.position for entry in stream.entries)
                backlogs.append(Backlog(name, len(group.pending), unread, len(group.dead)))
        return backlogs

    async def oldest_unfinished(self, partition: Partition, group: str) -> EntryId | None:
        stream, state = self._streams[partition], self._group(partition, group)
        if state is None or not state.exists:
            state = Group()
        unread = (entry for entry in stream.entries if entry > state.position)
        return min(state.pending, default=None) or next(unread, None)

    async def forget(self, partition: Partition, group: str) -> None:
        state = self._group(partition, group)
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
        self._actions.clear()
        self._protocol = Protocol(0, 0)
