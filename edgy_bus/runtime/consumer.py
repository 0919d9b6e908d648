"""Run a group in a worker process: announce the worker, take its share of the partitions.

Every worker computes the shares from the list of live workers, with the same result. No worker
takes a partition from another: a partition changes hands when its owner gives the lease back, or
when the lease of an owner that died runs out.

A round that fails is repeated, and leaves the partitions that this process holds as they are: no
call is cut off because of an error that has nothing to do with the call.
"""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace

from edgy_bus import telemetry
from edgy_bus.brokers.base import Broker, Members, Presence
from edgy_bus.errors import BrokerError, BrokerUnavailable
from edgy_bus.events import Partition
from edgy_bus.portions import Portion
from edgy_bus.reasons import describe, trace_of
from edgy_bus.runtime.asides import AsideWatch
from edgy_bus.runtime.assignment import Post
from edgy_bus.runtime.breakers import Breakers
from edgy_bus.runtime.failures import Failures
from edgy_bus.runtime.hooks import ErrorHooks
from edgy_bus.runtime.jobs import Stats
from edgy_bus.runtime.keeper import Keeper
from edgy_bus.runtime.leases import Membership
from edgy_bus.runtime.load import Load
from edgy_bus.runtime.meter import Meter
from edgy_bus.runtime.news import NewsWatch
from edgy_bus.runtime.pausing import Pauses
from edgy_bus.runtime.peers import Peers
from edgy_bus.runtime.registrar import Registrar
from edgy_bus.runtime.roster import GroupRoster
from edgy_bus.runtime.share import Share
from edgy_bus.runtime.slots import Slots
from edgy_bus.runtime.subscriptions import Subscriptions
from edgy_bus.runtime.tenure import Tenure
from edgy_bus.runtime.term import end_of
from edgy_bus.runtime.tools import Tools
from edgy_bus.runtime.window import Window
from edgy_bus.runtime.worker_report import write_report
from edgy_bus.services import Service, happens, keep_running
from edgy_bus.settings import WorkerSettings
from edgy_bus.signing import Signer
from edgy_bus.telemetry import Measurement, catalogue, measurements

_FOR_EVER = 1e9
"""Seconds: no receiver is forgotten, unless an operator forgets the receiver."""

_SOON = 0.2
"""Seconds until the next look while another worker still holds a partition of this share."""


class Consumer(Service):
    """Handle the events that a group subscribed to, together with all other workers of the group.

    Attributes:
        group: the group's name.
        worker: the name of this worker in the group, unique to this consumer.
        stats: the counts of this process for the group.
        ready: whether a round has succeeded: this process takes part in the group.
    """

    ready = False
    _away = False
    _nudge = ""
    _number = 0
    """The number of the last tenure."""

    def __init__(
        self,
        broker: Broker,
        subscriptions: Subscriptions,
        settings: WorkerSettings,
        slots: Slots,
        keeper: Keeper,
        *,
        registrar: Registrar,
        load: Load,
        signer: Signer | None = None,
        hooks: ErrorHooks | None = None,
    ) -> None:
        super().__init__()
        self.group = subscriptions.group
        self.worker = secrets.token_hex(6)
        self.stats = Stats()
        self._peers = Peers(broker, self.group)
        self._asides = AsideWatch(broker, subscriptions, self._peers)
        self._broker = broker
        self._subscriptions = subscriptions
        self._settings = settings
        self._tenures: dict[Post, Tenure] = {}
        self._keeper = keeper
        self._registrar = registrar
        self._membership = Membership(self.group, self.worker, self._tenures, self._report())
        self._news = NewsWatch(settings, self._tenures)
        self._meter = Meter(self.group) if telemetry.is_measured() else None
        self._roster = GroupRoster(broker, subscriptions, settings.receiver_retention or _FOR_EVER)
        self._share = Share(self.worker, subscriptions, self._roster, self._asides, registrar)
        self._ended = asyncio.Event()
        self._breakers = Breakers(broker, subscriptions, settings.concurrency, self._ended.set)
        self._tools = self._make_tools(slots, load, signer, hooks)
        self._backoff: dict[Post, float] = {}
        self._to_set_aside: dict[Post, frozenset[str]] = {}
        self._pauses = Pauses(self.group)

    def _make_tools(
        self, slots: Slots, load: Load, signer: Signer | None, hooks: ErrorHooks | None
    ) -> Tools:
        """Return what the tenures of this group share."""
        settings = self._settings
        return Tools(
            broker=self._broker,
            subscriptions=self._subscriptions,
            settings=settings,
            slots=slots,
            receivers=self._breakers.slots,
            load=load,
            portion=Portion(settings.fetch_bytes),
            stats=self.stats,
            window=Window(settings.window),
            idle=self._news.expect,
            signer=signer,
            breakers=self._breakers,
            roster=self._roster,
            failures=Failures(hooks),
            meter=self._meter,
        )

    @property
    def partitions(self) -> list[Partition]:
        """Return the partitions that this process holds now."""
        return sorted(post.partition for post in self._tenures if post.role == self.group)

    def states(self) -> list[Measurement]:
        """Return what this process holds now. May be called from another thread."""
        # Copied in one step of the interpreter: the event loop adds and removes tenures.
        tenures = list(self._tenures.values())
        jobs = sum(tenure.jobs for tenure in tenures)
        return [
            measurements.LeasesHeld(group=self.group, count=len(tenures)),
            measurements.JobsInHand(group=self.group, count=jobs),
        ]

    @property
    def alive(self) -> bool:
        """Return whether the rounds and the wait for news make progress."""
        return super().alive and bool(self._news.progress)

    async def stop(self) -> None:
        """Drain, give the partitions back and wait for the end."""
        self.stopping.set()
        self._ended.set()
        await self.wait()

    async def run(self) -> None:
        """Take part in the group until stopped."""
        with self._keeper.keeping(self._membership):
            await self._take_part()

    async def _take_part(self) -> None:
        bell = self._broker.bell()
        helpers = [
            _beside(f"news of group {self.group}", lambda: self._news.listen(bell)),
            _beside(f"interruptions of group {self.group}", lambda: self._news.interrupt(bell)),
        ]
        try:
            while not self.stopping.is_set():
                await self._sleep(await self._step())
            await self._step_down()
        finally:
            # An error ends up here with tenures that still run. Their leases run out; a receiver
            # that goes on without its lease would be a zombie.
            for helper in helpers:
                helper.cancel()
            tenures = [tenure.abort() for tenure in self._tenures.values()]
            await asyncio.gather(*helpers, *tenures, return_exceptions=True)
            await bell.close()
            self._tools.failures.close()
            self._fold()

    # The rounds

    async def _step(self) -> float:
        """Make a round; return the seconds until the next."""
        self.progress.note()
        self._fold()
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
        except Exception as error:  # noqa: BLE001 - no error of a round ends running calls
            self._report_error(error)
            return self._settings.backoff
        if self._away:
            telemetry.emit(catalogue.BrokerAvailable(part=f"worker of group {self.group}"))
        self._away = False
        self.ready = True
        return _SOON if waiting else self._registrar.rest(asyncio.get_running_loop().time())

    async def _round(self) -> bool:
        """Give partitions back, and take new partitions, according to the share.

        Returns:
            Whether a partition of the share is missing, because another worker still holds it.
        """
        await self._give_back_ended()
        members = await self._announce()
        # Also while the group is paused: a receiver that nobody lists is forgotten after a while.
        await self._take_part_in_roster(members)
        if self._pauses.hold_group:
            for tenure in self._tenures.values():
                tenure.finish()
            return False
        share = await self._share.posts(members)
        to_set_aside = self._to_set_aside.items()
        self._to_set_aside = {post: names for post, names in to_set_aside if post in share}
        for post, tenure in self._tenures.items():
            # Never from the other side: a worker that takes a partition while its owner still runs
            # receivers would break the order of rows.
            # A tenure that may be calling a receiver that is to be set aside ends in the same way,
            # and the next tenure begins without the receiver.
            tenure.hand_over(post not in share or tenure.must_begin_anew())
        now = asyncio.get_running_loop().time()
        wanted = [
            post
            for post in sorted(share)
            if post not in self._tenures and self._backoff.get(post, 0) <= now
        ]
        await self._try_each(self._take, wanted)
        return bool(share - self._tenures.keys())

    async def _try_each(
        self, work: Callable[[Post], Awaitable[None]], posts: Sequence[Post]
    ) -> None:
        """Do the same for several partitions; an error concerns its own partition alone.

        Raises:
            BrokerUnavailable: when all have been tried.
        """
        answers = await asyncio.gather(*map(work, posts), return_exceptions=True)
        outage = None
        for post, error in zip(posts, answers, strict=True):
            if isinstance(error, BrokerUnavailable):
                outage = error
            elif error is not None:
                self._avoid(post)
                telemetry.emit(
                    catalogue.PartitionFailed(
                        group=post.role, partition=str(post.partition), error=describe(error)
                    )
                )
        if outage is not None:
            raise outage

    async def _announce(self) -> Members:
        """Announce this worker, and note what operators have decided since the last round."""
        try:
            await self._breakers.exchange()
        except BrokerUnavailable:
            raise
        except BrokerError as error:
            # A broker that refuses a breaker keeps no worker from its group.
            self._report_error(error)
        requested = asyncio.get_running_loop().time()
        report = self._membership.report = self._report()
        members = await self._registrar.join(Presence(self.group, self.worker, report))
        self._membership.joined = requested
        self._pass_on(members.nudge)
        self._pauses.note(members)
        self._breakers.note(members.tripped)
        return members

    async def _take_part_in_roster(self, members: Members) -> None:
        await self._peers.update(members.alive)
        is_changed = await self._roster.renew(
            members.roster,
            sets_aside=self._peers.know_receivers_aside,
            paused=self._pauses.receivers | self._breakers.at_rest,
        )
        if is_changed:
            for tenure in self._tenures.values():
                tenure.wake()

    def _pass_on(self, nudge: str) -> None:
        """Let the tenures look at their held rows if an operator has acted since the last round."""
        if nudge != self._nudge:
            self._nudge = nudge
            self._asides.look_soon()
            for tenure in self._tenures.values():
                tenure.nudge()

    async def _take(self, post: Post) -> None:
        requested = asyncio.get_running_loop().time()
        # A name that no other tenure ever had: a broker that has lost its data counts tenures from
        # one again, and a call of an old tenure that arrives late must not pass for a call of the
        # new tenure.
        # Operators read since when from the number: milliseconds since 1970, which rise even if the
        # clock goes back, or two tenures begin at once.
        self._number = max(self._number + 1, int(time.time() * 1000))
        owner = f"{self.worker}.{self._number}"
        lease = await self._broker.acquire(*post, owner, self._settings.lease)
        if lease is None:
            return
        tools = self._tools
        if lease.receiver:
            tools = replace(tools, subscriptions=self._subscriptions.only(lease.receiver))
        valid_until = end_of(requested, self._settings.lease)
        tenure = Tenure(lease, valid_until, tools, self._to_set_aside.pop(post, frozenset()))
        self._tenures[post] = tenure
        await tenure.start()
        # The lease is given back at once, and not in the next round.
        tenure.when_ended(self._ended.set)
        telemetry.emit(catalogue.PartitionTaken(group=post.role, partition=str(post.partition)))

    async def _give_back_ended(self) -> None:
        ended = self._forget_ended()

        async def give_back(post: Post) -> None:
            # A call goes on: the next owner must not begin before the lease has run out.
            if ended[post].left_calls:
                return
            await self._broker.release(ended[post].lease)
            partition = str(post.partition)
            telemetry.emit(catalogue.PartitionReleased(group=post.role, partition=partition))

        # A lease that cannot be given back runs out.
        await self._try_each(give_back, list(ended))

    def _forget_ended(self) -> dict[Post, Tenure]:
        """Forget the tenures that have ended; return them, because their leases may be held."""
        ended = {post: tenure for post, tenure in self._tenures.items() if not tenure.running}
        for post, tenure in ended.items():
            del self._tenures[post]
            # A tenure that fails at once, again and again, must not keep the process busy.
            if tenure.failure is not None:
                self._avoid(post)
            if tenure.caught_up:
                self._asides.forget(post)
            if tenure.slow:
                self._to_set_aside[post] = tenure.slow
        return ended

    def _avoid(self, post: Post) -> None:
        """Leave a partition alone for a while."""
        now = asyncio.get_running_loop().time()
        self._backoff[post] = now + self._settings.backoff

    async def _step_down(self) -> None:
        """Leave the group, drain, and give every partition back."""
        # The keeper registers this worker no more.
        self._membership.has_left = True
        for tenure in self._tenures.values():
            tenure.finish(self._settings.grace)
        try:
            await self._broker.leave(self.group, self.worker)
        except BrokerUnavailable:
            pass  # the broker forgets this worker when the worker's time has run out
        except Exception as error:  # noqa: BLE001 - what runs is to finish all the same
            self._report_error(error)
        while self._tenures:
            with suppress(BrokerUnavailable):
                await self._give_back_ended()
            await self._sleep(_SOON)

    def _fold(self) -> None:
        if self._meter is not None:
            self._meter.fold()

    def _report_error(self, error: Exception) -> None:
        telemetry.emit(
            catalogue.ConsumerFailed(group=self.group, error=describe(error), trace=trace_of(error))
        )

    def _report(self) -> bytes:
        """Return the report that operators and other programs read about this worker."""
        names = (each.name for each in self._subscriptions.all)
        now = asyncio.get_running_loop().time()
        return write_report(self.stats, list(self._tenures.values()), names, now)

    async def _sleep(self, seconds: float) -> None:
        """Sleep until the next round, or until the consumer is to stop."""
        if await happens(self._ended, seconds):
            self._ended.clear()


def _beside(name: str, run: Callable[[], Awaitable[None]]) -> "asyncio.Task[None]":
    """Start a loop that runs beside the rounds, until it is cancelled."""
    # Not until `stopping`: leases are renewed while the group drains.
    return asyncio.create_task(keep_running(name, run, asyncio.Event()))
