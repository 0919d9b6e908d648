"""The relay: moves pending outbox rows to their streams, in commit order, each exactly once unless the broker lost it.

Safety comes from compare-and-set, not from the lease: `Broker.publish` appends only where the stream stands at the head that
this database knows, and the mark is made only if that head is still the database's. Any number of relays may run; the lease
keeps them from wasting work. A crash between the append and the mark leaves a stream that is ahead of its head, which the
next relay notices and takes over (`resynchronise`).
"""

import asyncio
import secrets
import time
from collections.abc import Callable, Mapping, Sequence

from edgy_bus import telemetry
from edgy_bus.brokers.base import Broker, EntryId, Head, Lease, StreamState
from edgy_bus.codec import Wire, pack_head
from edgy_bus.errors import BrokerError, BrokerUnavailable, ConfigurationError
from edgy_bus.events import Partition, partition_label
from edgy_bus.outbox.notifier import CHANNEL
from edgy_bus.outbox.store import OutboxStore, PendingRow
from edgy_bus.services import Bell, Service
from edgy_bus.settings import RelaySettings
from edgy_bus.signing import Signer

_ROLE = "relay"
_FIRST_PAUSE = 0.05


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
        self.published = 0
        self._store = store
        self._broker = broker
        self._service = service
        self._models = models
        self._settings = settings
        self._signer = signer
        self._owner = secrets.token_hex(8)
        self._lease: Lease | None = None
        self._renew_at = 0.0
        self._tidy_at = 0.0
        self._verified = False
        self._waits_for: dict[Partition, list[str]] = {}
        """The groups that keep a stream from being trimmed, because they are not there."""
        self._trouble = ""

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
        pending = await self._store.pending(self._settings.page)
        if await self._correct_labels({partition: one.rows for partition, one in pending.items()}):
            return True
        for partition, one in pending.items():
            if one.head is None:
                await self._store.add_stream(partition)
            await self._publish_all(partition, one.head or Head(), one.incarnation, one.rows)
        await self._tidy()
        return bool(pending)

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
        for partition, head in (await self._store.heads()).items():
            state = await self._inspect(partition, head)
            if state.head != head:
                await self._resynchronise(partition, head, state)
        self._verified = True

    async def _correct_labels(self, pending: Mapping[Partition, Sequence[PendingRow]]) -> bool:
        """Move what a process with another number of partitions wrote to where workers look for it.

        Before any event of its row is published: a row's events become visible in the order of their ids.
        """
        moved: dict[int, str] = {}
        for model, partitions in self._models().items():
            for partition, row in ((one, row) for one, rows in pending.items() if one.model == model for row in rows):
                label = partition_label(row.subject, row.event_id, partitions)
                if label != partition.label:
                    moved[row.id] = label
        if moved:
            await self._store.relabel(moved)
            telemetry.emit("relay.relabelled", service=self._service, count=len(moved))
        return bool(moved)

    async def _publish_all(
        self, partition: Partition, head: Head, incarnation: int, rows: Sequence[PendingRow]
    ) -> None:
        for start in range(0, len(rows), self._settings.batch):
            batch = rows[start : start + self._settings.batch]
            moved = await self._publish(partition, head, incarnation, batch)
            if moved is None:
                return
            head = moved
            await self._leads()

    async def _publish(
        self, partition: Partition, head: Head, incarnation: int, batch: Sequence[PendingRow]
    ) -> Head | None:
        """Append and mark one batch; the new head, or None if the stream has to be looked at again first."""
        wires = [self._wire(partition, incarnation, row) for row in batch]
        entries = await self._broker.publish(partition, head, wires)
        if entries is None:
            await self._resynchronise(partition, head, await self._inspect(partition, head))
            return None
        new = Head(head.epoch, entries[-1], batch[-1].event_id)
        placed = {row.id: entry for row, entry in zip(batch, entries, strict=True)}
        if not await self._store.mark(partition, head, new, placed):
            return None
        self.published += len(batch)
        telemetry.emit("relay.published", partition=str(partition), count=len(batch))
        return new

    async def _inspect(self, partition: Partition, head: Head) -> StreamState:
        return await self._broker.inspect(partition, head, secrets.token_hex(8))

    async def _resynchronise(self, partition: Partition, head: Head, state: StreamState) -> None:
        if await self._store.resynchronise(partition, head, state) and head.epoch:
            telemetry.emit(
                "relay.resynchronised",
                partition=str(partition),
                found=len(state.behind),
                lost=state.epoch != head.epoch,
            )

    def _wire(self, partition: Partition, incarnation: int, row: PendingRow) -> Wire:
        head = pack_head(
            event_id=row.event_id,
            source=self._service,
            model=partition.model,
            signal=row.signal,
            subject=row.subject,
            time=row.time,
            sequence=row.id,
            incarnation=incarnation,
            traceparent=row.traceparent,
        )
        data = row.data.encode()
        signature = b"" if self._signer is None else self._signer.sign(partition, row.event_id.encode(), head, data)
        return Wire(row.event_id, head, data, signature)

    async def _leads(self) -> bool:
        """Whether this relay has the lease, which it takes or renews in passing."""
        now = asyncio.get_running_loop().time()
        if self._lease is not None and now < self._renew_at:
            return True
        ttl = self._settings.lease
        if self._lease is None or not await self._broker.renew(self._lease, ttl):
            place = Partition(_ROLE, self._service)
            self._lease = await self._broker.acquire(place, _ROLE, self._owner, ttl)
            if self._lease is not None:
                telemetry.emit("relay.leads", service=self._service)
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

    async def _trim(self, partition: Partition, head: Head, known: set[str]) -> None:
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
                telemetry.emit("stream.waits", partition=str(partition), groups=missing)
        if not progress or missing:
            return
        # Beyond the marked head, a crash before the mark would leave nothing to recognise the appended rows by.
        below = min(head.entry, *progress.values())
        if await self._store.confirm(partition, head, below):
            # By the clock that numbers entries, not by ours, which may be ahead of it.
            young = EntryId(max(0, head.entry.ms - int(self._settings.keep * 1000)), 0)
            await self._broker.trim(partition, head, min(below, young) if self._settings.keep else below)

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
            event = "broker.unavailable" if isinstance(error, BrokerUnavailable) else "relay.failed"
            telemetry.emit(event, part="relay", error=f"{kind}: {error}")
        self._trouble = kind

    def _say_well(self) -> None:
        if self._trouble:
            telemetry.emit("relay.recovered", service=self._service)
        self._trouble = ""
