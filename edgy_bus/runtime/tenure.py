"""Hold a lease of a partition, from the first read to the return of the lease."""

import asyncio

from edgy_bus import telemetry
from edgy_bus.brokers.base import EntryId, Lease
from edgy_bus.errors import BrokerUnavailable, LeaseLost
from edgy_bus.runtime.detours import Detours
from edgy_bus.runtime.in_hand import InHand
from edgy_bus.runtime.intake import Intake
from edgy_bus.runtime.outcome import describe
from edgy_bus.runtime.owned import OwnedTasks
from edgy_bus.runtime.scheduling import Scheduler
from edgy_bus.runtime.term import Term
from edgy_bus.runtime.tools import Tools
from edgy_bus.services import Service
from edgy_bus.telemetry import catalogue


class Tenure(Service):
    """Handle the events of a partition for as long as the lease is held.

    A tenure ends for one of these reasons, and for no other:

    - `finish` was called: another worker gets the partition, or the process stops. Running
      receivers have their grace time.
    - The answer to a read was lost, so that nobody knows which entries the read has taken. As
      above; the next tenure begins with these entries.
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
    """

    def __init__(self, lease: Lease, valid_until: float, tools: Tools) -> None:
        super().__init__()
        self.lease = lease
        self.partition = lease.partition
        self.lost = False
        self._grace = tools.settings.grace
        self._term = Term(lease, valid_until)
        self._services = OwnedTasks(self._failed)
        """Reading, and reporting to the broker."""
        self._tasks = OwnedTasks(self._failed)
        """The tasks that run receivers; these have the grace time."""
        in_hand = InHand(self._term, tools)
        self._acknowledger = in_hand.acknowledger
        self._detours = Detours(self._term, tools, self._tasks)
        self._scheduler = Scheduler(self._term, tools, in_hand, self._tasks, self._detours)
        self._intake = Intake(self._term, tools, in_hand, self._scheduler)
        self._error: BaseException | None = None

    @property
    def position(self) -> EntryId | None:
        """Return where the stream was read up to, while the tenure waits for news; else None."""
        return self._intake.position

    # Called by the consumer

    def extend(self, valid_until: float) -> None:
        """Record that the lease was renewed.

        Args:
            valid_until: when the lease may run out, by the loop's clock, counted from before the
                renewal was requested.
        """
        self._term.valid_until = valid_until
        # Runners that saw the lease run out, just before this answer arrived, have ended.
        self._scheduler.pump()

    def wake(self) -> None:
        """Read again: there may be news."""
        self._intake.wake()

    def finish(self) -> None:
        """Read no more and begin no other receiver; what runs may finish. Does not wait."""
        self.stopping.set()
        self._term.stop()
        self._intake.stop()
        self._detours.stop()

    def lose(self) -> None:
        """End at once: the lease is lost, or may be."""
        self.lost = True
        self.finish()
        # Ends the reading, and with it `run`, which cancels the receivers.
        self._services.cancel()

    async def stop(self) -> None:
        """Finish, and wait for the end."""
        self.finish()
        await self.wait()

    # The tenure

    async def run(self) -> None:
        """Read and handle events until the tenure ends."""
        loop = asyncio.get_running_loop()
        self._limit = loop.call_at(self._term.valid_until, self._check_limit)
        acknowledging = self._services.start(self._acknowledger.run())
        serving = self._services.start(self._serve(acknowledging))
        try:
            await asyncio.wait([serving])
        finally:
            # First of all: a runner that ends now, or a renewal that arrives now, must begin no
            # other receiver.
            self.finish()
            self._scheduler.stop()
            self._limit.cancel()
            self._services.cancel()
            self._tasks.cancel()
            # The lease is renewed until receivers that clean up have ended, if it still can be.
            await self._services.ended()
            await self._tasks.ended()
        if self._error is not None:
            raise self._error
        if self.lost:
            telemetry.emit(
                catalogue.TenureLost(partition=str(self.partition), group=self.lease.role)
            )

    def _check_limit(self) -> None:
        """End the tenure if its lease may have run out; otherwise look again when it may have."""
        loop = asyncio.get_running_loop()
        # A renewal only writes the new limit. The limit is read again here, in the loop's own
        # thread: the timer may be late, and the renewal may have come first.
        if loop.time() < self._term.valid_until:
            self._limit = loop.call_at(self._term.valid_until, self._check_limit)
        else:
            self.lose()

    async def _serve(self, acknowledging: "asyncio.Task[None]") -> None:
        """Read until the tenure is to end, and then drain."""
        try:
            await self._detours.load()
        except BrokerUnavailable:
            # An event of a row that is held would be handled, and would overtake parked events.
            self.finish()
        else:
            self._tasks.start(self._detours.run())
        await self._intake.run()
        await self._drain(acknowledging)

    async def _drain(self, acknowledging: "asyncio.Task[None]") -> None:
        """Give running receivers their grace time, and report the entries that they finish.

        Entries whose receivers did not run stay unfinished, for the next owner.
        """
        self.finish()
        self._scheduler.stop()
        await self._tasks.finish(within=self._grace)
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
                    partition=str(self.partition), group=self.lease.role, error=describe(error)
                )
            )
        self.finish()
