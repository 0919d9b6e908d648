"""One group in one worker process: says that it is alive, takes its share of the partitions, renews, hands back.

The share is computed from the list of workers alive, by each of them alike. Nothing is taken from anybody: a partition changes
hands when its owner gives the lease back, or when the lease of an owner that died runs out.
"""

import asyncio
import itertools
import secrets
from collections.abc import Iterable, Sequence

from edgy_bus import telemetry
from edgy_bus.brokers.base import Bell, Broker
from edgy_bus.codec import dumps
from edgy_bus.errors import BrokerError, BrokerUnavailable
from edgy_bus.events import PRE, Partition, partitions_of
from edgy_bus.runtime.assignment import assign
from edgy_bus.runtime.jobs import Stats
from edgy_bus.runtime.session import PartitionSession, Tools
from edgy_bus.runtime.slots import Slots
from edgy_bus.runtime.subscriptions import Subscriptions
from edgy_bus.runtime.window import Window
from edgy_bus.services import Service, happens
from edgy_bus.settings import WorkerSettings
from edgy_bus.signing import Signer
from edgy_bus.telemetry import catalogue

_LOOK = 0.4
"""Seconds between two looks at who is alive: so much later than its lease ends, the rows of a worker that died are taken over."""

_SOON = 0.2
"""Seconds until the next look when a partition of ours is still held by its former owner."""


class Consumer(Service):
    """Handles what a group subscribed to, together with all other workers of the group."""

    def __init__(
        self,
        broker: Broker,
        subscriptions: Subscriptions,
        settings: WorkerSettings,
        slots: Slots,
        signer: Signer | None = None,
    ) -> None:
        super().__init__()
        self.group = subscriptions.group
        self.worker = secrets.token_hex(6)
        self.stats = Stats()
        self._broker = broker
        self._subscriptions = subscriptions
        self._settings = settings
        self._tools = Tools(
            broker,
            subscriptions,
            settings,
            slots,
            self.stats,
            Window(settings.window),
            self._rearm,
            signer,
        )
        self._sessions: dict[Partition, PartitionSession] = {}
        self._ended = asyncio.Event()
        self._stale = asyncio.Event()
        """Set while the positions that the bell waits with are not those of the idle sessions."""
        self._backoff: dict[Partition, float] = {}
        self._tenures = itertools.count(1)
        self._away = False

    @property
    def partitions(self) -> list[Partition]:
        """The partitions held now."""
        return sorted(self._sessions)

    async def stop(self) -> None:
        self.stopping.set()
        self._ended.set()
        await self.wait()

    async def run(self) -> None:
        bell = self._broker.bell()
        helpers = [
            asyncio.create_task(one)
            for one in (self._keep_leases(), self._listen(bell), self._interrupt(bell))
        ]
        try:
            while not self.stopping.is_set():
                await self._sleep(await self._step())
                for helper in helpers:
                    if helper.done():
                        helper.result()  # it never ends by itself: this raises what ended it
            await self._leave()
            for session in self._sessions.values():
                session.finish()
            while self._sessions:
                await self._step_down()
                await self._sleep(_SOON)
        finally:
            for helper in helpers:
                helper.cancel()
            await asyncio.gather(
                *helpers,
                *(session.abort() for session in self._sessions.values()),
                return_exceptions=True,
            )
            await bell.close()

    # The rounds

    async def _step(self) -> float:
        """One round; seconds until the next."""
        try:
            waiting = await self._round()
        except BrokerUnavailable as error:
            if not self._away:
                telemetry.emit(
                    catalogue.BrokerUnavailable(
                        part=f"worker of group {self.group}", error=str(error)
                    )
                )
            self._away = True
            return min(1.0, self._settings.backoff)
        except BrokerError as error:
            telemetry.emit(catalogue.ConsumerFailed(group=self.group, error=str(error)))
            return self._settings.backoff
        if self._away:
            telemetry.emit(catalogue.BrokerAvailable(part=f"worker of group {self.group}"))
        self._away = False
        return _SOON if waiting else min(_LOOK, self._settings.lease / 4)

    async def _round(self) -> bool:
        """Hand back, and take what is our share; whether some of it is not to be had yet."""
        await self._collect()
        members = await self._broker.join(
            self.group, self.worker, self._settings.lease, self._report()
        )
        share = {
            partition
            for partition, owner in assign(members.alive, await self._partitions()).items()
            if owner == self.worker
        }
        for partition, session in self._sessions.items():
            if partition not in share:
                session.finish()
        now = asyncio.get_running_loop().time()
        wanted = [
            partition
            for partition in sorted(share)
            if partition not in self._sessions and self._backoff.get(partition, 0) <= now
        ]
        _first_error(
            await asyncio.gather(
                *(self._take(partition) for partition in wanted), return_exceptions=True
            )
        )
        return bool(share - self._sessions.keys())

    async def _step_down(self) -> None:
        try:
            await self._collect()
        except BrokerError:
            self._drop_ended()

    async def _partitions(self) -> list[Partition]:
        """Every partition that the group's subscriptions concern. A model that nobody has published yet has none."""
        declared = await self._broker.declared()
        partitions = [
            partition
            for model in self._subscriptions.ordered_models
            for partition in partitions_of(model, declared.get(model, 0))
        ]
        return partitions + [Partition(model, PRE) for model in self._subscriptions.pre_models]

    async def _take(self, partition: Partition) -> None:
        asked = asyncio.get_running_loop().time()
        # A name that no other tenure ever had: a broker that has lost its data counts tenures from one again, and a call of an old
        # tenure that arrives late must not pass for one of the new tenure.
        owner = f"{self.worker}.{next(self._tenures)}"
        lease = await self._broker.acquire(partition, self.group, owner, self._settings.lease)
        if lease is None:
            return
        session = self._sessions[partition] = PartitionSession(
            lease, asked + self._settings.lease, self._tools
        )
        await session.start()
        telemetry.emit(catalogue.PartitionTaken(group=self.group, partition=str(partition)))

    async def _keep_leases(self) -> None:
        """Not a part of the rounds: while hundreds of partitions are taken, those that were taken first have to be kept."""
        pause = self._settings.lease / 4
        while True:
            await asyncio.sleep(pause)
            try:
                await self._renew()
                pause = self._settings.lease / 4
            except BrokerError:
                # The rounds meet the same trouble, and tell. Sessions end by themselves when their time is over.
                pause = min(self._settings.lease / 4, self._settings.backoff, 1.0)

    async def _renew(self) -> None:
        asked = asyncio.get_running_loop().time()
        sessions = [session for session in self._sessions.values() if session.running]
        if not sessions:
            return
        answers = await self._broker.renew_all(
            [session.lease for session in sessions], self._settings.lease
        )
        for session, answer in zip(sessions, answers, strict=True):
            if answer is True:
                session.extend(asked + self._settings.lease)
            elif answer is False:
                session.lose()
        _first_error(answers)

    async def _collect(self) -> None:
        """Give the leases of ended sessions back."""
        for session in self._drop_ended():
            await self._broker.release(session.lease)
            telemetry.emit(
                catalogue.PartitionReleased(group=self.group, partition=str(session.partition))
            )

    def _drop_ended(self) -> list[PartitionSession]:
        """Forget the sessions that have ended; answers them, because their leases may still be held."""
        ended = [session for session in self._sessions.values() if not session.running]
        for session in ended:
            del self._sessions[session.partition]
            if session.failure is not None:
                now = asyncio.get_running_loop().time()
                self._backoff[session.partition] = now + self._settings.backoff
        return ended

    async def _leave(self) -> None:
        try:
            await self._broker.leave(self.group, self.worker)
        except BrokerError:
            return  # the others see it when its time has run out

    def _report(self) -> bytes:
        stats = self.stats
        return dumps(
            {
                "handled": stats.handled,
                "skipped": stats.skipped,
                "retries": stats.retries,
                "dead": stats.dead,
                "partitions": len(self._sessions),
            }
        )

    async def _sleep(self, seconds: float) -> None:
        """Until the next round, or until a session ends or the consumer is to stop."""
        if await happens(self._ended, seconds):
            self._ended.clear()

    # The bell

    def _rearm(self) -> None:
        self._stale.set()

    async def _listen(self, bell: Bell) -> None:
        """Wait for news on the streams whose sessions have read everything."""
        while True:
            self._stale.clear()
            idle = {partition: session.position for partition, session in self._sessions.items()}
            positions = {
                partition: position for partition, position in idle.items() if position is not None
            }
            if not positions:
                await self._stale.wait()
                continue
            try:
                found: Iterable[Partition] = await bell.wait(positions, self._settings.block)
            except BrokerError:
                await asyncio.sleep(min(0.5, self._settings.backoff))
                found = positions  # the sessions find out for themselves
            for partition in sorted(found):
                if partition in self._sessions:
                    self._sessions[partition].wake()

    async def _interrupt(self, bell: Bell) -> None:
        """Make the bell wait with new positions. It may miss a call that comes just before it waits, so the call is repeated."""
        while True:
            await self._stale.wait()
            try:
                await bell.interrupt()
            except BrokerError:
                await asyncio.sleep(min(0.5, self._settings.backoff))
            await asyncio.sleep(0.01)


def _first_error(answers: Sequence[object]) -> None:
    """Raise what went wrong first, when all calls have ended: those that succeeded have done so."""
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer
