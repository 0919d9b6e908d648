"""Planted bugs of receivers that are set aside: each lacks one rule. `bugs.BUGS` names them."""

from collections.abc import Mapping
from typing import Any

from edgy_bus.brokers.base import (
    START,
    EntryId,
    Fetched,
    Lease,
    StreamHead,
)
from edgy_bus.brokers.memory.setting_aside import Step
from edgy_bus.brokers.memory.state import Group, Stream
from edgy_bus.events import Partition
from edgy_bus.runtime.attendance import Attendance
from edgy_bus.runtime.tenure import Tenure
from tests.simulation.broker import Redis


class Arranges(Redis):
    """Arrange with a step that lacks something."""

    step: type[Step] = Step

    def _step(self, lease: Lease, stream: Stream, group: Group, *, sets_aside: bool) -> Step:
        return self.step(lease, stream, group, self._clock(), sets_aside=sets_aside)


class UnfinishedStays(Arranges):
    """Begin a receiver's own group without what it has not finished."""

    class step(Step):
        def _move_one(self, name: str, entry: EntryId) -> None:
            return None


class ReturnsUnfinished(Arranges):
    """Bring a receiver back while something of it is unfinished."""

    class step(Step):
        def _bring_back(self, name: str) -> None:
            own = self._own(name)
            if own is not None:
                own.pending.clear()
            super()._bring_back(name)


class ReturnsBehind(Arranges):
    """Bring a receiver back while its group has read further."""

    class step(Step):
        def _bring_back(self, name: str) -> None:
            own = self._own(name)
            if own is not None and not own.pending:
                own.position = max(own.position, self._group.position)
            super()._bring_back(name)


class ReturnsBesideItsTenure(Arranges):
    """Bring a receiver back while a tenure of its own group goes on."""

    class step(Step):
        def _bring_back(self, name: str) -> None:
            self._stream.leases.pop(self._role(name), None)
            super()._bring_back(name)


class OwnGroupsKeepNothing(Redis):
    """Trim what a receiver that is set aside has not finished."""

    async def progress(
        self, partition: Partition, head: StreamHead
    ) -> Mapping[str, EntryId] | None:
        stream = self._streams[partition]
        kept, stream.attendances = stream.attendances, {}  # type: ignore[assignment]
        try:
            return await super().progress(partition, head)
        finally:
            stream.attendances = kept


class MissingOwnGroupsKeepNothing(Redis):
    """Trim though the own group of a receiver that is set aside is missing."""

    async def progress(
        self, partition: Partition, head: StreamHead
    ) -> Mapping[str, EntryId] | None:
        progress = await super().progress(partition, head)
        if progress is None:
            return None
        groups = self._streams[partition].groups
        below = {name: groups[name] for name in progress}
        return {
            name: min(below[name].pending, default=below[name].position.next)
            if entry == START.next
            else entry
            for name, entry in progress.items()
        }


class OwnGroupsAreMadeAgain(Redis):
    """Read the own group of a receiver that is set aside no more."""

    async def fetch(self, lease: Lease, count: int, **where: Any) -> Fetched:
        if not lease.receiver:
            return await super().fetch(lease, count, **where)
        attendance = self._streams[lease.partition].attendances[lease.group]
        if lease.receiver in attendance.asides:
            return await super().fetch(lease, count, **where)
        stream, group = self._owned(lease)
        stream.groups[lease.role] = group
        return Fetched((), False, group.position)


def _leaves_nobody_out(self: Attendance, entry: EntryId) -> tuple[str, ...]:
    return ()


def _sets_aside_at_once(self: Tenure) -> bool:
    """Set a slow receiver aside though calls of it may run."""
    attendance = self._detours.attendance
    attendance._slow = self.slow
    if attendance._slow:
        attendance._arranged = None
        self._slowness.receiver = ""
    return attendance.calls_paused


BROKERS: dict[str, type[Redis]] = {
    "a receiver leaves behind what it has not finished": UnfinishedStays,
    "a receiver returns with something unfinished": ReturnsUnfinished,
    "a receiver returns behind its group": ReturnsBehind,
    "a receiver returns beside the tenure of its own group": ReturnsBesideItsTenure,
    "own groups keep nothing from being trimmed": OwnGroupsKeepNothing,
    "missing own groups keep nothing from being trimmed": MissingOwnGroupsKeepNothing,
    "own groups are made again": OwnGroupsAreMadeAgain,
}

PATCHES: dict[str, tuple[Any, str, Any]] = {
    "receivers that are set aside are called": (Attendance, "left_out", _leaves_nobody_out),
    "a slow receiver is set aside while it runs": (Tenure, "must_begin_anew", _sets_aside_at_once),
}

ASIDE_FAULTS: dict[str, tuple[str, ...]] = {
    "missing own groups keep nothing from being trimmed": ("kill", "destroy group"),
    "own groups are made again": ("pause", "network"),
}
"""The faults under which a bug matters, besides deaths of programs."""
