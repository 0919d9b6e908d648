"""Hold a lease of a partition, from the first read to the return of the lease."""

import asyncio
import math
from collections.abc import Iterator, Mapping

from edgy_bus import telemetry
from edgy_bus.brokers.base import EntryId, Lease
from edgy_bus.errors import BrokerUnavailable, LeaseLost
from edgy_bus.reasons import describe, trace_of
from edgy_bus.runtime.attendance import Attendance
from edgy_bus.runtime.detours import Detours
from edgy_bus.runtime.handover import Handover, Phase, step
from edgy_bus.runtime.in_hand import InHand
from edgy_bus.runtime.intake import Intake
from edgy_bus.runtime.owned import OwnedTasks, TenureTasks
from edgy_bus.runtime.scheduling import Scheduler
from edgy_bus.runtime.slowness import Slowness, slowest
from edgy_bus.runtime.term import Term
from edgy_bus.runtime.tools import Tools
from edgy_bus.runtime.waits import WaitingCalls
from edgy_bus.services import Service
from edgy_bus.telemetry import catalogue

LAST_WORDS = 3.0
"""Seconds for cancelled receivers to clean up. A receiver that swallows its cancellation is left
behind then: neither the process nor the partition waits for it."""


class Tenure(Service):
    """Handle the events of a partition for as long as the lease is held.

    A tenure ends for one of these reasons, and for no other:

    - The partition was handed over to another worker (`handover`): no receiver runs.
    - `finish` was called: the process stops. Running receivers have their grace time.
    - The receiver whose own group the tenure reads comes back to the group of all.
    - A receiver that this tenure may be calling is to be set aside (`must_begin_anew`). Running
      receivers finish, and the next tenure of this process begins without the receiver.
    - The answer to a read was lost, so that nobody knows which entries the read has taken. The next
      tenure begins with these entries. Running receivers finish, however long they take.
    - The lease is lost: a renewal was not answered in time, the broker refused the lease, or the
      broker was rolled back. Running receivers are cancelled.
    - A broken invariant outside of every receiver: an error of this library, or an answer of the
      broker that waiting does not mend. Reported as `tenure.failed`.

    Whatever a receiver raises, and whatever goes wrong around a call, is a failed attempt of that
    receiver (see `executor`) and ends no tenure.

    Attributes:
        lease: the right to the partition.
        partition: the stream.
        lost: whether the lease is lost.
        left_calls: how many calls of receivers go on after the end, because they swallowed their
            cancellation.
    """

    # A lease is held once: the consumer takes the partition again, after a pause.
    restarts = False

    def __init__(
        self,
        lease: Lease,
        valid_until: float,
        tools: Tools,
        slow: frozenset[str] = frozenset(),
    ) -> None:
        super().__init__()
        self.lease = lease
        self.partition = lease.partition
        self.lost = False
        self.left_calls = 0
        self._term = Term(lease, valid_until)
        self._tasks = TenureTasks(
            services=OwnedTasks(self._failed),
            calls=OwnedTasks(self._failed, self._on_idle),
            writes=OwnedTasks(self._failed, self._on_idle),
        )
        self._handover = Handover()
        self._wanted = False
        self._next_step: asyncio.TimerHandle | None = None
        self._grace: asyncio.TimerHandle | None = None
        self._drained = asyncio.Event()
        """Set when nothing runs that the end of the tenure waits for, or the grace time is over."""
        attendance = Attendance(self._term, tools, slow)
        in_hand = InHand(self._term, tools, attendance)
        self._acknowledger = in_hand.acknowledger
        self._in_hand = in_hand
        self._detours = Detours(self._term, tools, in_hand.lanes, attendance, self._tasks.calls)
        self._scheduler = Scheduler(self._term, tools, in_hand, self._tasks, self._detours)
        self._intake = Intake(self._term, tools, in_hand, self._scheduler, self._detours)
        self._slowness = Slowness()
        self._error: BaseException | None = None

    @property
    def term(self) -> Term:
        """Return how long the tenure may begin receivers, for the keeper, which extends that."""
        return self._term

    @property
    def position(self) -> EntryId | None:
        """Return where the stream was read up to, while the tenure waits for news; else None."""
        return self._intake.position

    @property
    def jobs(self) -> int:
        """Return how many jobs the tenure has in hand."""
        return self._in_hand.lanes.total

    def jobs_by_receiver(self) -> Mapping[str, int]:
        """Return how many jobs the tenure has in hand for each receiver."""
        return self._in_hand.lanes.jobs_by_receiver()

    def waiting(self, now: float) -> Iterator[WaitingCalls]:
        """Yield the receivers whose calls wait for a time: jobs in hand, and parked events."""
        yield from self._in_hand.waits.at(now)
        yield from self._detours.waits.at(now)

    # Called by the consumer

    def wake(self) -> None:
        """Read again: there may be news."""
        self._intake.wake()

    @property
    def caught_up(self) -> bool:
        """Return whether the tenure has ended because its receiver comes back to its group."""
        return self._intake.caught_up

    @property
    def slow(self) -> frozenset[str]:
        """Return the receivers that the next tenure of this process is to set aside."""
        return frozenset(filter(None, [self._slowness.receiver]))

    def must_begin_anew(self) -> bool:
        """Return whether a receiver that this tenure may be calling is to be set aside.

        An operator may have paused the receiver, or it keeps the others waiting. Called in each
        round of the consumer.
        """
        attendance, in_hand = self._detours.attendance, self._in_hand
        # Other tenures may have made room, which wakes nobody.
        in_hand.check_room()
        self._slowness.look(
            asyncio.get_running_loop().time(),
            is_full=in_hand.is_full() and attendance.may_set_aside,
            slow=slowest(in_hand.lanes.jobs_by_receiver(), attendance.wanted),
        )
        return attendance.calls_paused or bool(self._slowness.receiver)

    def nudge(self) -> None:
        """Look soon whether an operator has released or replayed rows. Does not wait."""
        self._detours.nudge()

    def hand_over(self, wanted: bool) -> None:
        """Take note whether another worker should have the partition. Does not wait."""
        self._wanted = wanted
        self._step()

    def finish(self, grace: float | None = None) -> None:
        """Read no more and begin no other receiver; what runs may finish. Does not wait.

        Args:
            grace: seconds after which running receivers are cancelled; None: never.
        """
        if grace is not None and self._grace is None:
            loop = asyncio.get_running_loop()
            self._grace = loop.call_later(grace, self._drained.set)
        self.stopping.set()
        self._term.stop()
        self._intake.stop()
        self._detours.stop()

    def lose(self) -> None:
        """End at once: the lease is lost, or may be."""
        self.lost = True
        self.finish()
        # Ends the reading, and with it `run`, which cancels the receivers.
        self._tasks.services.cancel()

    async def stop(self) -> None:
        """Finish, and wait for the end."""
        self.finish()
        await self.wait()

    # The tenure

    async def run(self) -> None:
        """Read and handle events until the tenure ends."""
        loop = asyncio.get_running_loop()
        self._in_hand.begin()
        # Not in the past, as it is when the keeper has learned that the lease is lost.
        self._limit = loop.call_at(max(loop.time(), self._term.valid_until), self._check_limit)
        acknowledging = self._tasks.services.start(self._acknowledger.run())
        serving = self._tasks.services.start(self._serve(acknowledging))
        try:
            await asyncio.wait([serving])
        finally:
            # First of all: a runner that ends now, or a renewal that arrives now, must begin no
            # other receiver.
            self.finish()
            self._scheduler.stop()
            self._cancel_timers()
            for owned in self._tasks:
                owned.cancel()
            # The lease is renewed until receivers that clean up have ended, if it still can be.
            await self._tasks.services.ended()
            self.left_calls = await self._tasks.calls.ended(LAST_WORDS)
            await self._tasks.writes.ended()
            self._in_hand.drop()
        if self.left_calls:
            telemetry.emit(
                catalogue.CallsLeft(
                    partition=str(self.partition),
                    group=self.lease.role,
                    count=self.left_calls,
                )
            )
        if self._error is not None:
            raise self._error
        if self.lost:
            telemetry.emit(
                catalogue.TenureLost(partition=str(self.partition), group=self.lease.role)
            )

    def _cancel_timers(self) -> None:
        for timer in (self._limit, self._next_step, self._grace):
            if timer is not None:
                timer.cancel()

    def _step(self) -> None:
        """Bring the handover up to date."""
        if self.stopping.is_set():
            return
        loop = asyncio.get_running_loop()
        before = self._handover
        idle = not self._tasks.calls.busy
        state = self._handover = step(before, loop.time(), wanted=self._wanted, idle=idle)
        if self._next_step is not None:
            self._next_step.cancel()
            self._next_step = None
        if math.isfinite(state.until):
            self._next_step = loop.call_at(state.until, self._step)
        if state.phase is not before.phase:
            self._follow(state)

    def _follow(self, state: Handover) -> None:
        """Do what the new state of the handover asks for."""
        self._term.let_begin(state.may_begin)
        if state.phase is Phase.GIVEN:
            self.finish()
        elif state.may_begin:
            self._scheduler.resume()
            self._in_hand.check_room()
        else:
            self._scheduler.pause()
        if state.phase is Phase.DRAINING:
            telemetry.emit(
                catalogue.PartitionDraining(
                    group=self.lease.role,
                    partition=str(self.partition),
                    calls=self._tasks.calls.busy,
                )
            )

    def _on_idle(self) -> None:
        """Take note that no call is busy, or that nothing is put aside."""
        if not self.stopping.is_set():
            if self._wanted:
                self._step()
        elif not len(self._tasks.calls) and not len(self._tasks.writes):
            self._drained.set()

    def _check_limit(self) -> None:
        """End the tenure if its lease may have run out; otherwise look again when it may have."""
        loop = asyncio.get_running_loop()
        # The keeper only writes the new limit, in its own thread. The limit is read again here: a
        # receiver may have blocked the loop while the keeper renewed the lease.
        valid_until = self._term.valid_until
        if loop.time() < valid_until:
            self._limit = loop.call_at(valid_until, self._check_limit)
            # Runners that saw the lease run out, just before it was renewed, have ended.
            self._scheduler.resume()
        else:
            self.lose()

    async def _serve(self, acknowledging: "asyncio.Task[None]") -> None:
        """Read until the tenure is to end, and then drain."""
        try:
            await self._intake.begin()
        except BrokerUnavailable:
            # An event of a row that is held would be handled, and would overtake parked events.
            self.finish()
        else:
            self._tasks.writes.start(self._detours.run())
        await self._intake.run()
        await self._drain(acknowledging)

    async def _drain(self, acknowledging: "asyncio.Task[None]") -> None:
        """Wait for running receivers, and report the entries that they finish.

        Entries whose receivers did not run stay unfinished, for the next owner.
        """
        self.finish()
        self._scheduler.stop()
        self._on_idle()
        await self._drained.wait()
        self._acknowledger.end()
        await asyncio.wait([acknowledging])

    def _failed(self, error: BaseException) -> None:
        """End the tenure because of an error in one of its tasks, which is no receiver's error."""
        if isinstance(error, LeaseLost):
            self.lose()
            return
        # The first error is the reason; later errors may be consequences.
        if self._error is None:
            self._error = error
            telemetry.emit(
                catalogue.TenureFailed(
                    partition=str(self.partition),
                    group=self.lease.role,
                    error=describe(error),
                    trace=trace_of(error),
                )
            )
        self.finish()
