"""The relay: moves pending outbox rows to their streams, in commit order, each exactly once unless the broker lost it.

Safety comes from compare-and-set, not from the lease: `Broker.publish` appends only where the stream stands at the head that
this database knows, and the mark is made only if that head is still the database's. Any number of relays may run; the lease
keeps them from wasting work. A crash between the append and the mark leaves a stream that is ahead of its head, which the
next relay notices and takes over (`resynchronise`).
"""

import asyncio
import secrets
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from edgy_bus import telemetry
from edgy_bus.brokers.base import Broker, EntryId, Landmark, Lease, StreamHead, StreamState
from edgy_bus.errors import BrokerError, BrokerUnavailable, ConfigurationError
from edgy_bus.events import Partition, partition_name
from edgy_bus.outbox.notifier import CHANNEL
from edgy_bus.outbox.publishing import Publisher
from edgy_bus.outbox.store import OutboxStore, Pending, PendingRow, Recognised
from edgy_bus.services import Bell, Service
from edgy_bus.settings import RelaySettings
from edgy_bus.signing import Signer
from edgy_bus.telemetry import catalogue

_ROLE = "relay"
_FIRST_PAUSE = 0.05

PAGE_BYTES = 16_000_000
"""`data` of a page of rows in memory, about."""


class Relay(Service):
    """Publishes the outbox of one service.

    `models` answers the service's models and their numbers of partitions. `bell` is rung after commits in this process, and by
    PostgreSQL after those in others; without a ring the relay looks every `poll` seconds.
    """

    def __init__(
        self,
        *,
        store: OutboxStore,
        broker: Broker,
        service: str,
        models: Callable[[], Mapping[str, int]],
        settings: RelaySettings,
        bell: Bell,
        signer: Signer | None = None,
    ) -> None:
        super().__init__()
        self.bell = bell
        self._store = store
        self._broker = broker
        self._service = service
        self._models = models
        self._settings = settings
        self._publisher = Publisher(store, broker, service, settings.chunk, signer)
        self._paging = Paging(settings.chunk, settings.page)
        self._owner = secrets.token_hex(8)
        self._lease: Lease | None = None
        self._renew_at = 0.0
        self._tidy_at = 0.0
        self._verified = False
        self._waits_for: dict[Partition, list[str]] = {}
        """The groups that keep a stream from being trimmed, because they are not there."""
        self._trouble = ""

    @property
    def published(self) -> int:
        """Events that this relay has appended and marked."""
        return self._publisher.published

    async def run(self) -> None:
        try:
            async with self._store.database.listen(CHANNEL, self.bell.ring):
                await self._work()
        finally:
            await self._hand_back()

    async def _work(self) -> None:
        pause = _FIRST_PAUSE
        while not self.stopping.is_set():
            try:
                busy = await self.step()
            except Exception as error:  # noqa: BLE001 - whatever it is, rows wait in the outbox until it is over
                self._say_trouble(error)
                await self.pause(pause)
                pause = min(self._settings.backoff, pause * 2)
                continue
            self._say_well()
            pause = _FIRST_PAUSE
            if not busy and not self.stopping.is_set():
                await self.bell.wait(self._settings.poll)

    async def stop(self) -> None:
        self.stopping.set()
        self.bell.ring()
        await self.wait()

    async def step(self) -> bool:
        """One look at the outbox; whether there may be more to do at once. Raises `BrokerUnavailable`."""
        if not await self._leads():
            return False
        if not self._verified:
            await self.verify()
        page = await self._store.pending(self._paging.rows)
        self._paging.read(page.values())
        if await self._correct_labels(page):
            return True
        for partition in [partition for partition, one in page.items() if one.head is None]:
            await self._store.add_stream(partition)
        for partition, head in (await self._publisher.publish(page)).items():
            await self._repair(partition, head)
        await self._tidy()
        return bool(page)

    async def verify(self) -> None:
        """Compare every stream with what the database believes, and repair what the broker lost.

        Raises `ConfigurationError` when a model was published with another number of partitions before.
        """
        self._verified = False
        for model, partitions in self._models().items():
            declared = await self._broker.declare(model, partitions)
            if declared != partitions:
                raise ConfigurationError(
                    f"{model} was published with {declared} partitions and cannot change to {partitions}: "
                    f"set EventSettings(partitions={declared}); its events wait in the outbox"
                )
        repaired = [
            await self._repair(partition, head)
            for partition, head in (await self._store.heads()).items()
        ]
        self._verified = all(repaired)

    async def _correct_labels(self, page: Mapping[Partition, Pending]) -> bool:
        """Move what a process with another number of partitions wrote to where workers look for it.

        Before any event of its row is published: a row's events become visible in the order of their ids.
        """
        moved: dict[int, str] = {}
        for model, partitions in self._models().items():
            for partition, one in page.items():
                if partition.model == model:
                    moved |= misplaced(partition, one.rows, partitions)
        if moved:
            await self._store.relabel(moved)
            telemetry.emit(catalogue.RelayRepartitioned(service=self._service, count=len(moved)))
        return bool(moved)

    async def _repair(self, partition: Partition, head: StreamHead) -> bool:
        """Where a stream does not stand at the head that the database knows, make the database believe the stream.

        False if the stream was replaced while it was read, or the head was moved by somebody else: it has to be looked at again.
        """
        state = await self._broker.inspect(partition, head, secrets.token_hex(8))
        if state.head == head:
            return True
        found = await self._recognise(partition, state)
        if found is None:
            return False
        strangers = max((one.strangers for one in found), default=0)
        placed = [one.placed for one in found]
        repair = await self._store.resynchronise(partition, head, state.head, placed, strangers)
        if repair.done and head.epoch:
            count = sum(len(one.ids) for one in placed)
            lost = state.epoch != head.epoch
            telemetry.emit(
                catalogue.RelayResynchronised(partition=str(partition), found=count, lost=lost)
            )
        if repair.restored:
            telemetry.emit(
                catalogue.RelayRestored(partition=str(partition), incarnation=strangers + 1)
            )
        return repair.done

    async def _recognise(self, partition: Partition, state: StreamState) -> list[Recognised] | None:
        """What the outbox knows of what lies behind the head, page by page; None if the stream was replaced meanwhile."""
        found: list[Recognised] = []
        marks: Sequence[Landmark] | None = state.behind
        while marks:
            found.append(await self._store.recognise(marks))
            if marks[-1].entry >= state.head.entry:
                break
            marks = await self._broker.landmarks(partition, state.head, marks[-1].entry)
        return None if marks is None else found

    async def _leads(self) -> bool:
        """Whether this relay has the lease, which it takes or renews in passing."""
        now = asyncio.get_running_loop().time()
        if self._lease is not None and now < self._renew_at:
            return True
        ttl = self._settings.lease
        if self._lease is None or not await self._broker.renew(self._lease, ttl):
            partition = Partition(_ROLE, self._service)
            self._lease = await self._broker.acquire(partition, _ROLE, self._owner, ttl)
            if self._lease is not None:
                telemetry.emit(catalogue.RelayLeads(service=self._service))
                self._verified = False
        self._renew_at = now + ttl / 3
        return self._lease is not None

    async def _tidy(self) -> None:
        now = asyncio.get_running_loop().time()
        if now < self._tidy_at:
            return
        self._tidy_at = now + self._settings.trim_every
        await self.verify()
        known = await self._store.groups()
        for partition, head in (await self._store.heads()).items():
            await self._trim(partition, head, known.setdefault(partition.model, set()))
        await self._store.prune(int((time.time() - self._settings.retention) * 1000))

    async def _trim(self, partition: Partition, head: StreamHead, known: set[str]) -> None:
        """Remove what every group has finished. `known` are the groups of the model, to which new ones are added.

        A known group that the stream does not have (it was lost with the stream, or its workers have not come to this partition
        yet) has read nothing of it.
        """
        progress = await self._broker.progress(partition, head)
        for name in progress.keys() - known:
            await self._store.add_group(partition.model, name)
            known.add(name)
        missing = sorted(known - progress.keys()) if progress else []
        if missing != self._waits_for.get(partition, []):
            self._waits_for[partition] = missing
            if missing:
                telemetry.emit(catalogue.TrimmingWaits(partition=str(partition), groups=missing))
        if not progress or missing:
            return
        # Beyond the marked head, a crash before the mark would leave nothing to recognise the appended rows by. The head itself may be
        # finished, but stays in the stream: it is what the stream is known by.
        finished = min(head.entry.next, *progress.values())
        if await self._store.confirm(partition, head, finished):
            below = min(head.entry, finished)
            # By the clock that numbers entries, not by ours, which may be ahead of it.
            young = EntryId(max(0, head.entry.ms - int(self._settings.keep * 1000)), 0)
            await self._broker.trim(
                partition, head, min(below, young) if self._settings.keep else below
            )

    async def _hand_back(self) -> None:
        lease, self._lease = self._lease, None
        if lease is None:
            return
        try:
            await self._broker.release(lease)
        except BrokerError:
            return  # it runs out by itself

    def _say_trouble(self, error: Exception) -> None:
        """Once for each kind of trouble, not at every attempt."""
        kind = type(error).__name__
        if kind != self._trouble:
            text = f"{kind}: {error}"
            telemetry.emit(
                catalogue.BrokerUnavailable(part="relay", error=text)
                if isinstance(error, BrokerUnavailable)
                else catalogue.RelayFailed(service=self._service, error=text)
            )
        self._trouble = kind

    def _say_well(self) -> None:
        if self._trouble:
            telemetry.emit(catalogue.RelayRecovered(service=self._service))
        self._trouble = ""


class Paging:
    """How many rows to read at a time: as many as hold about `PAGE_BYTES`, from `fewest` to `most`, judging by the pages before."""

    def __init__(self, fewest: int, most: int) -> None:
        self._fewest = min(fewest, most)
        self._most = most
        self.rows = self._fewest

    def read(self, page: Iterable[Pending]) -> None:
        """Take note of a page."""
        sizes = [len(row.data) for one in page for row in one.rows]
        if sizes:
            fit = PAGE_BYTES * len(sizes) // max(1, sum(sizes))
            self.rows = max(self._fewest, min(self._most, fit, 4 * self.rows))


def misplaced(partition: Partition, rows: Iterable[PendingRow], partitions: int) -> dict[int, str]:
    """The ids of rows that belong to another partition, and its label."""
    right = {row.id: partition_name(row.subject, row.event_id, partitions) for row in rows}
    return {number: label for number, label in right.items() if label != partition.name}
