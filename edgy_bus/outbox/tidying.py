"""Looks after the streams and the outbox in rounds: declare, compare, confirm, trim, prune.

A round is done in slices between the pages that are published, so that thousands of streams hold up
no event for long. A stream in which nothing has happened costs a share of a round trip, and no
write.
"""

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import NamedTuple

from edgy_bus import telemetry
from edgy_bus.brokers.base import Broker, EntryId, StreamHead
from edgy_bus.errors import BrokerError, BrokerUnavailable
from edgy_bus.events import Partition
from edgy_bus.outbox.absences import Absences
from edgy_bus.outbox.repairing import Repairer
from edgy_bus.outbox.store import OutboxStore, Standing
from edgy_bus.outbox.troubles import Troubles, Work
from edgy_bus.settings import RelaySettings
from edgy_bus.telemetry import catalogue

SLICE = 0.02
"""Seconds of a slice, about: the longest that tidying keeps an event waiting."""

_AT_ONCE = 16
"""Streams that are looked at together, at the cost of a round trip."""


Progress = Mapping[str, EntryId]
"""The entry below which a group has finished everything, by the name of the group."""


class _Look(NamedTuple):
    """The state of a stream: the groups' progress if the stream holds its head, and its groups."""

    partition: Partition
    standing: Standing
    progress: Progress | None
    groups: set[str]


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
        self._absences = Absences(broker)
        self._next_round = 0.0
        self._models: deque[str] = deque()
        """The models that this round has yet to declare."""
        self._streams: deque[Partition] = deque()
        """The streams that this round has yet to look after."""
        self._known: Mapping[Partition, Standing] = {}
        """The streams as they stood at the beginning of this round."""
        self._resting: dict[Partition, Standing] = {}
        """The streams that stood so at the beginning of the round before, too."""
        self._groups: dict[str, set[str]] = {}
        """The groups of every model, as they were read last in this round."""
        self._looks: deque[_Look] = deque()
        """The streams that were read, and are to be looked after."""
        self._repeated: set[Partition] = set()
        """The streams that this round has read twice."""
        self._prunes = False
        self._trimmed: dict[Partition, tuple[str, EntryId]] = {}
        """The epoch in which a stream was trimmed, and the entry below which."""
        self._waits_for: dict[Partition, list[str]] = {}
        """The groups that keep a stream from being trimmed, because they are missing there."""

    def begin_anew(self) -> None:
        """Give up the round of a tenure that has ended: another relay has led since."""
        self._models.clear()
        self._streams.clear()
        self._looks.clear()
        self._known = {}
        # A copy of the broker that took over may not know the last trims.
        self._trimmed.clear()
        self._prunes = False
        self._next_round = 0.0

    async def step(self) -> bool:
        """Do a slice of the round; whether the round goes on."""
        clock = asyncio.get_running_loop().time
        now = clock()
        if not self._goes_on:
            if now < self._next_round:
                return False
            await self._begin_round(now)
        until = now + SLICE
        while self._models or self._looks or self._streams:
            if self._models:
                await self._repairer.declare_model(self._models.popleft())
            else:
                # The first of each read is looked after in the same slice, before its head moves.
                if not self._looks:
                    await self._read_streams()
                await self._look_after_next()
            if clock() >= until:
                return self._goes_on
        # Each call deletes a bounded number of rows: after a long outage, a round has many of them.
        self._prunes = bool(await self._store.tidying.prune(self._settings.retention))
        return self._goes_on

    @property
    def _goes_on(self) -> bool:
        return bool(self._models or self._looks or self._streams) or self._prunes

    async def _begin_round(self, now: float) -> None:
        await self._repairer.renew()
        streams = await self._store.streams()
        self._groups = await self._store.groups()
        # Streams at rest are not read again, so that any number of them costs the database no more
        # statements than a single one.
        self._resting = {
            partition: standing
            for partition, standing in streams.items()
            if self._known.get(partition) == standing
        }
        self._known = streams
        self._models.extend(self._repairer.models())
        self._streams.extend(sorted(streams))
        self._repeated.clear()
        self._prunes = True
        self._next_round = now + self._settings.trim_every

    async def _read_streams(self) -> None:
        """Read the state of the next streams."""
        # Confirming and trimming compare the head again, so this may be old when it is used.
        chosen = list(islice(self._streams, _AT_ONCE))
        standings = await self._standings(chosen)
        avoided = self._troubles.avoided(*Work)
        usable = [partition for partition in chosen if partition in standings.keys() - avoided]
        progresses = await self._progress(usable, standings)
        # Only now: after an error of the reads above, the round goes on with the same streams.
        for _ in chosen:
            self._streams.popleft()
        for partition in usable:
            names = self._groups.setdefault(partition.model, set())
            progress = progresses.get(partition)
            self._looks.append(_Look(partition, standings[partition], progress, names))

    async def _standings(self, partitions: Sequence[Partition]) -> dict[Partition, Standing]:
        """Return the standings of streams, read now unless a stream is at rest."""
        standings = {
            partition: self._resting[partition]
            for partition in partitions
            if partition in self._resting
        }
        moving = [partition for partition in partitions if partition not in standings]
        if moving:
            standings |= await self._store.tidying.standings(moving)
            self._groups = await self._store.groups()
        return standings

    async def _look_after_next(self) -> None:
        if self._looks:
            look = self._looks.popleft()
            with self._troubles.of(look.partition, Work.TIDYING):
                await self._look_after(*look)

    async def _progress(
        self, partitions: Sequence[Partition], standings: Mapping[Partition, Standing]
    ) -> Mapping[Partition, Progress]:
        """Return the progress of the groups at the streams that still hold their heads."""
        heads = {partition: standings[partition].head for partition in partitions}
        try:
            answers = await self._broker.progress_of_all(heads)
        except BrokerUnavailable:
            raise
        except BrokerError:
            # A stream that cannot be used: each is asked for itself, so that the others go on.
            return {}
        pairs = zip(partitions, answers, strict=True)
        return {partition: answer for partition, answer in pairs if answer is not None}

    async def _look_after(
        self,
        partition: Partition,
        standing: Standing,
        progress: Progress | None,
        groups: set[str],
    ) -> None:
        # A stream that holds its head has lost nothing. Entries beyond, of a relay that crashed
        # before its mark, are found when the next event is refused.
        if progress is None:
            # Read again: an old head that was trimmed in the meantime would count as lost.
            standing = (await self._store.tidying.standings([partition])).get(partition, standing)
            if not await self._repairer.look_at(partition, standing.head):
                return
            progress = await self._broker.progress(partition, standing.head)
        if progress:
            await self._trim(partition, standing, progress, groups)

    async def _trim(
        self, partition: Partition, standing: Standing, progress: Progress, groups: set[str]
    ) -> None:
        """Remove the entries that every group has finished.

        `groups` are the groups of the model, to which new groups are added. A group that the stream
        does not have (lost with the stream, or not there yet) has read nothing of the stream.
        """
        head = standing.head
        for name in progress.keys() - groups:
            # Noted before the first trim that counts the group: a loss must not make it unknown.
            await self._store.add_group(partition.model, name)
            groups.add(name)
        await self._absences.look(
            partition, head.entry.next, progress, asyncio.get_running_loop().time()
        )
        if self._is_kept_waiting(partition, progress, groups):
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
            await self._trim_below(partition, head, finished, progress)
        elif partition not in self._repeated:
            # Events were published since the stream was read: it is read again, as the first.
            self._resting.pop(partition, None)
            self._repeated.add(partition)
            self._streams.appendleft(partition)

    def _is_kept_waiting(self, partition: Partition, progress: Progress, groups: set[str]) -> bool:
        """Return whether groups are missing at a stream. Reports a change of the missing groups."""
        # A relay of an older protocol has noted the own groups of receivers that were set aside.
        missing = sorted(name for name in groups - progress.keys() if "/" not in name)
        if missing != self._waits_for.get(partition, []):
            self._waits_for[partition] = missing
            if missing:
                telemetry.emit(catalogue.TrimmingWaits(partition=str(partition), groups=missing))
        return bool(missing)

    async def _trim_below(
        self, partition: Partition, head: StreamHead, finished: EntryId, progress: Progress
    ) -> None:
        # The head may be finished, but stays in the stream: the stream is known by its head.
        below = min(head.entry, finished)
        if self._settings.keep:
            # By the clock that numbers entries, because this process's clock may be ahead.
            youngest = head.entry.ms - int(self._settings.keep * 1000)
            below = min(below, EntryId(max(0, youngest), 0))
        if self._trimmed.get(partition) == (head.epoch, below):
            return
        removed = await self._broker.trim(partition, head, below, progress)
        # A group that has gone back catches up, to the same entry perhaps.
        if removed is not None:
            self._trimmed[partition] = (head.epoch, below)
