"""Looks after the streams and the outbox in rounds: compare, confirm, trim, prune.

A round is done in slices between the pages that are published, so that thousands of streams hold up
no event for long. A stream in which nothing has happened costs no write.
"""

import asyncio
import time
from collections import deque
from collections.abc import Mapping

from edgy_bus import telemetry
from edgy_bus.brokers.base import Broker, EntryId, StreamHead
from edgy_bus.events import Partition
from edgy_bus.outbox.repairing import Repairer
from edgy_bus.outbox.store import OutboxStore, Standing
from edgy_bus.outbox.troubles import Troubles, Work
from edgy_bus.settings import RelaySettings
from edgy_bus.telemetry import catalogue

SLICE = 0.05
"""Seconds of a slice, about: the longest that tidying keeps an event waiting."""


class Tidier:
    """Tidies up for a relay that leads."""

    def __init__(
        self,
        store: OutboxStore,
        broker: Broker,
        repairer: Repairer,
        settings: RelaySettings,
        troubles: Troubles,
    ) -> None:
        self._store = store
        self._broker = broker
        self._repairer = repairer
        self._settings = settings
        self._troubles = troubles
        self._next_round = 0.0
        self._streams: deque[Partition] = deque()
        """The streams that this round has yet to look after."""
        self._prunes = False
        self._trimmed: dict[Partition, tuple[str, EntryId]] = {}
        """The epoch in which a stream was trimmed, and the entry below which."""
        self._waits_for: dict[Partition, list[str]] = {}
        """The groups that keep a stream from being trimmed, because they are missing there."""

    async def step(self) -> bool:
        """Do a slice of the round; whether the round goes on."""
        clock = asyncio.get_running_loop().time
        now = clock()
        if not self._goes_on:
            if now < self._next_round:
                return False
            await self._begin_round(now)
        if self._streams:
            await self._look_after_streams(now + SLICE)
            if clock() >= now + SLICE:
                return self._goes_on
        oldest = time.time() - self._settings.retention
        # Each call deletes a bounded number of rows: after a long outage, a round has many of them.
        self._prunes = bool(await self._store.tidying.prune(int(oldest * 1000)))
        return self._goes_on

    @property
    def _goes_on(self) -> bool:
        return bool(self._streams) or self._prunes

    async def _begin_round(self, now: float) -> None:
        await self._repairer.declare()
        self._streams.extend(await self._store.heads())
        self._prunes = True
        self._next_round = now + self._settings.trim_every

    async def _look_after_streams(self, until: float) -> None:
        # Read in every slice: publishing moves the heads between two slices.
        standings = await self._store.tidying.standings()
        groups = await self._store.groups()
        avoided = self._troubles.avoided(*Work)
        clock = asyncio.get_running_loop().time
        while self._streams:
            partition = self._streams.popleft()
            standing = standings.get(partition)
            if standing is not None and partition not in avoided:
                names = groups.setdefault(partition.model, set())
                await self._look_after(partition, standing, names)
            if clock() >= until:
                return

    async def _look_after(self, partition: Partition, standing: Standing, groups: set[str]) -> None:
        # Before trimming, because a stream that has lost entries has another head.
        if not await self._repairer.look_at(partition, standing.head):
            return
        with self._troubles.of(partition, Work.TIDYING):
            await self._trim(partition, standing, groups)

    async def _trim(self, partition: Partition, standing: Standing, groups: set[str]) -> None:
        """Remove the entries that every group has finished.

        `groups` are the groups of the model, to which new groups are added. A group that the stream
        does not have (lost with the stream, or not there yet) has read nothing of the stream.
        """
        head = standing.head
        progress = await self._broker.progress(partition, head)
        for name in progress.keys() - groups:
            # Noted before the first trim that counts the group: a loss must not make it unknown.
            await self._store.add_group(partition.model, name)
            groups.add(name)
        if not progress or self._is_kept_waiting(partition, progress, groups):
            return
        # Beyond the marked head, a crash before the mark would leave nothing to recognise the
        # appended rows by.
        finished = min(head.entry.next, *progress.values())
        # The database confirms before the stream is trimmed: after a loss in between, the trimmed
        # events would count as lost.
        confirmed = finished <= standing.confirmed or await self._store.tidying.confirm(
            partition, head, finished
        )
        if confirmed:
            await self._trim_below(partition, head, finished)

    def _is_kept_waiting(
        self, partition: Partition, progress: Mapping[str, EntryId], groups: set[str]
    ) -> bool:
        """Return whether groups are missing at a stream. Reports a change of the missing groups."""
        missing = sorted(groups - progress.keys())
        if missing != self._waits_for.get(partition, []):
            self._waits_for[partition] = missing
            if missing:
                telemetry.emit(catalogue.TrimmingWaits(partition=str(partition), groups=missing))
        return bool(missing)

    async def _trim_below(self, partition: Partition, head: StreamHead, finished: EntryId) -> None:
        # The head may be finished, but stays in the stream: the stream is known by its head.
        below = min(head.entry, finished)
        if self._settings.keep:
            # By the clock that numbers entries, because this process's clock may be ahead.
            youngest = head.entry.ms - int(self._settings.keep * 1000)
            below = min(below, EntryId(max(0, youngest), 0))
        if self._trimmed.get(partition) != (head.epoch, below):
            await self._broker.trim(partition, head, below)
            self._trimmed[partition] = (head.epoch, below)
