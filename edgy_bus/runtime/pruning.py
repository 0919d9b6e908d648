"""Forget the positions of an inbox that no event can need any more.

A position protects against an event that comes again. An event comes again as long as its entry is
unfinished in a stream, or its row is in the outbox and Redis loses data. So a position is forgotten
when it is `retention` older than the oldest entry that the group has not finished, by the clock of
the inbox's database. The retention has to be longer than that of every outbox whose events the
group handles, plus the longest time for which their relays stand still.

Not forgotten are the positions of rows that are held, because parked events have no entry any more,
and the positions of models that the broker does not know, because their events may be lost and sent
again.
"""

import random
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgy_bus import telemetry
from edgy_bus.brokers.base import Broker
from edgy_bus.errors import BrokerError, BrokerUnavailable, DatabaseError, DatabaseUnavailable
from edgy_bus.events import Partition, partitions_of
from edgy_bus.runtime.inbox import Position, Positions
from edgy_bus.services import Service
from edgy_bus.telemetry import catalogue

_ROLE = "pruning"
_AT_ONCE = 500
"""Positions that are read, and at most forgotten, at a time."""

_BETWEEN = 0.05
"""Seconds between two reads of positions."""

_FIRST = 60.0
"""The most seconds until the first pass: a worker may be restarted before every later one."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What may be forgotten of a model.

    Attributes:
        before: the time, in milliseconds since 1970, before which positions are forgotten.
        held: the receivers and subjects of held rows, as positions contain them.
    """

    before: int
    held: frozenset[tuple[str, str]] = frozenset()

    def exclude(self, position: Position) -> bool:
        """Return whether a position is to be kept."""
        return position.handled >= self.before or (position.receiver, position.subject) in self.held


NOTHING = Bounds(0)
"""The bounds of a model of which nothing may be forgotten."""


def cutoff(now: int, oldest: int | None, retention: float) -> int:
    """Return the time before which positions may be forgotten, in milliseconds since 1970.

    Args:
        now: the time of the inbox's database, in milliseconds since 1970.
        oldest: the time of the oldest entry that the group has not finished, likewise.
        retention: seconds for which positions stay.
    """
    # An unfinished entry may have been sent again after a loss, so that its event is older than the
    # entry, by the retention of its outbox at the most.
    return min(now, now if oldest is None else oldest) - int(retention * 1000)


def interval(retention: float) -> float:
    """Return the seconds between two passes over an inbox."""
    return min(86_400.0, max(1.0, retention / 20))


class InboxPruner(Service):
    """Goes through the inbox of a group in a database, now and then, a page at a time.

    Args:
        broker: knows what the group has not finished.
        group: the group, whose positions alone are looked at.
        positions: the positions in the inbox of a database, whose tables exist.
        retention: seconds for which positions stay.
    """

    def __init__(self, broker: Broker, group: str, positions: Positions, retention: float) -> None:
        super().__init__()
        self._broker = broker
        self._group = group
        self._positions = positions
        self._retention = retention
        self._interval = interval(retention)
        self._owner = secrets.token_hex(6)
        self._failure = ""
        """The kind of error that was reported last, until a pass succeeds."""

    async def run(self) -> None:
        # By chance, so that the workers of a group do not all ask at once for the same lease.
        await self.pause(random.random() * min(_FIRST, self._interval))
        while not self.stopping.is_set():
            try:
                await self._pass()
            except (BrokerError, DatabaseError) as error:
                self._report(error)
            else:
                self._failure = ""
            await self.pause(self._interval * (1 + random.random() / 10))

    async def _pass(self) -> None:
        # The lease is not given back: a pass in each interval is enough for all workers.
        if not await self._broker.acquire(self._leased(), _ROLE, self._owner, self._interval):
            return
        forgotten = await self.prune()
        if forgotten:
            telemetry.emit(catalogue.InboxPruned(group=self._group, count=forgotten))

    async def prune(self) -> int:
        """Go through the inbox once; return how many positions were forgotten."""
        bounds: dict[str, Bounds] = {}
        declared = await self._broker.declared()
        forgotten, last = 0, None
        while not self.stopping.is_set():
            now, page = await self._positions.page(last, _AT_ONCE)
            models = {position.model for position in page if self._owns(position)}
            for model in models - bounds.keys():
                bounds[model] = await self._bounds(model, declared, now)
            forgotten += await self._forget(page, bounds)
            if len(page) < _AT_ONCE:
                break
            last = page[-1]
            await self.pause(_BETWEEN)
        return forgotten

    async def _forget(self, page: Sequence[Position], bounds: Mapping[str, Bounds]) -> int:
        old = [
            position
            for position in page
            if self._owns(position) and not bounds[position.model].exclude(position)
        ]
        # A position that has moved in the meantime is not the position that was read.
        return await self._positions.forget(old) if old else 0

    async def _bounds(self, model: str, declared: Mapping[str, int], now: int) -> Bounds:
        if model not in declared:
            return NOTHING
        partitions = partitions_of(model, declared[model])
        oldest: list[int] = []
        held: set[tuple[str, str]] = set()
        for partition in partitions:
            entry = await self._broker.oldest_unfinished(partition, self._group)
            if entry is not None:
                oldest.append(entry.ms)
            # After the unfinished entries: an event that is parked in between is seen twice, and
            # the other way round would not be seen at all.
            for row in await self._broker.held(partition, self._group):
                held.add((f"{self._group}/{row.receiver}", row.subject))
        before = cutoff(now, min(oldest, default=None), self._retention)
        return Bounds(before, frozenset(held))

    def _owns(self, position: Position) -> bool:
        # Other groups may be behind, and have receivers with an inbox in the same database.
        return position.receiver.startswith(f"{self._group}/")

    def _leased(self) -> Partition:
        """Return what the lease of a pass is about: an inbox, named like a partition."""
        return Partition("inbox", f"{self._group}/{self._positions.database_id}")

    def _report(self, error: Exception) -> None:
        kind = type(error).__name__
        # Outages of a worker's broker and databases are reported by others.
        outage = isinstance(error, BrokerUnavailable | DatabaseUnavailable)
        if kind != self._failure and not outage:
            notice = catalogue.InboxPruningFailed(group=self._group, error=f"{kind}: {error}")
            telemetry.emit(notice)
        self._failure = kind
