"""Rows that a receiver holds (`on_exhausted="hold"`): an event that was given up and the later ones of its row are parked until somebody decides.

Parked events are out of the stream, so that a held row keeps nothing from being trimmed and takes no room in hand. While a row has parked
events, later ones are parked behind them, also while the parked ones are handled again: the broker says in one step whether the row
is still held, so that none overtakes.
"""

import asyncio
import time
from collections.abc import Callable, Iterable

from edgy_bus import telemetry
from edgy_bus.brokers.base import Broker, DeadLetter, HeldState, Lease, Parked, Row
from edgy_bus.codec import unpack
from edgy_bus.errors import BrokerUnavailable, EventError
from edgy_bus.runtime.executor import execute
from edgy_bus.runtime.jobs import Job
from edgy_bus.runtime.outcome import Again, GiveUp, Note, decide
from edgy_bus.runtime.subscriptions import Subscription, Subscriptions
from edgy_bus.services import happens
from edgy_bus.settings import WorkerSettings

_LOOK = 1.0
"""Seconds between two looks whether somebody has decided, while rows are held."""

_AT_ONCE = 4
"""Held rows of a partition whose parked events are handled at the same time."""


class Parking:
    """The held rows of one tenure.

    Args:
        is_over: whether the lease may have run out; nothing is begun then.
    """

    def __init__(
        self,
        broker: Broker,
        lease: Lease,
        subscriptions: Subscriptions,
        settings: WorkerSettings,
        is_over: Callable[[], bool],
    ) -> None:
        self._broker = broker
        self._lease = lease
        self._subscriptions = subscriptions
        self._settings = settings
        self._is_over = is_over
        self.rows: set[Row] = set()
        """The rows that are held, as far as is known here; `park` finds out."""
        self._changed = asyncio.Event()
        self._stopping = asyncio.Event()

    async def load(self) -> None:
        """Learn which rows former owners held. Raises `BrokerUnavailable`."""
        self.rows = set(await self._broker.held(self._lease.place, self._lease.role))
        if self.rows:
            self._changed.set()

    def stop(self) -> None:
        """`run` returns when what it is handling is finished."""
        self._stopping.set()
        self._changed.set()

    async def park(self, job: Job, letter: DeadLetter, *, begin: bool) -> bool:
        """Park an event, waiting as long as the broker cannot; False if the row is not held any more. Raises `LeaseLost`."""
        row = row_of(job)
        notes = job.handling.packed({row.receiver: Note(letter.attempts, done=True)})
        while True:
            try:
                parked = await self._broker.park(self._lease, row, letter, notes, begin=begin)
            except BrokerUnavailable:
                await asyncio.sleep(self._settings.backoff / 4)
                continue
            if begin:
                self.rows.add(row)
                self._changed.set()
            elif not parked:
                self.rows.discard(row)
            return parked

    async def run(self) -> None:
        """Handle the parked events of rows about which somebody has decided. Raises `LeaseLost`."""
        while not self._stopping.is_set():
            await self._changed.wait()
            self._changed.clear()
            while self.rows and not await happens(self._stopping, _LOOK):
                try:
                    await self._look()
                except BrokerUnavailable:
                    await happens(self._stopping, self._settings.backoff / 4)

    async def _look(self) -> None:
        known = set(self.rows)
        found = await self._broker.held(self._lease.place, self._lease.role)
        # What was parked while the broker answered may be missing in the answer.
        self.rows = (self.rows - known) | set(found)
        await self._handle_all([(row, state.attempts) for row, state in found.items() if state.retrying])

    async def _handle_all(self, rows: Iterable[tuple[Row, int]]) -> None:
        gate = asyncio.Semaphore(_AT_ONCE)

        async def handle(row: Row, attempts: int) -> None:
            async with gate:
                await self._handle(row, attempts)

        await asyncio.gather(*(handle(row, attempts) for row, attempts in rows))

    async def _handle(self, row: Row, attempts: int) -> None:
        """Handle a row's parked events one after another, until none is left or one is given up again."""
        while not self._stopping.is_set():
            parked = await self._broker.parked(self._lease.place, self._lease.role, row)
            if not parked:
                break
            subscription = self._subscription(row, parked[0])
            if subscription is None:
                await self._hold(row, "no receiver of this name hears of it any more")
                return
            if not await self._handle_first(row, parked[0], subscription, attempts):
                return
            attempts = 0
            if not await self._broker.unpark(self._lease, row, parked[0].id):
                break
            await self._broker.hold(self._lease, row, HeldState(retrying=True))
        else:
            return
        self.rows.discard(row)
        telemetry.emit("row.released", group=self._lease.role, partition=str(self._lease.place), receiver=row.receiver)

    async def _handle_first(self, row: Row, parked: Parked, subscription: Subscription, attempts: int) -> bool:
        """Whether it was handled; if not, the row is held again."""
        envelope, retry = unpack(parked.letter.fields), subscription.receiver.options.retry
        while attempts < retry.attempts:
            if self._stopping.is_set() or self._is_over():
                return False  # the next owner goes on
            await self._broker.hold(self._lease, row, HeldState(True, attempts + 1))
            outcome = await execute(subscription, envelope, self._settings.deadline)
            decision = decide(outcome, Note(attempts), retry, time.time())
            if isinstance(decision, Again):
                attempts = decision.note.attempts
                await happens(self._stopping, max(0.0, decision.note.due - time.time()))
            elif isinstance(decision, GiveUp):
                await self._hold(row, decision.reason)
                return False
            else:
                return True
        await self._hold(row, f"the process of its worker ended in the last of {attempts} attempts")
        return False

    async def _hold(self, row: Row, reason: str) -> None:
        await self._broker.hold(self._lease, row, HeldState())
        telemetry.emit(
            "row.held", group=self._lease.role, partition=str(self._lease.place), receiver=row.receiver, reason=reason
        )

    def _subscription(self, row: Row, parked: Parked) -> Subscription | None:
        try:
            envelope = unpack(parked.letter.fields)
        except EventError:
            return None
        known = self._subscriptions.of(envelope.model, envelope.signal)
        return next((one for one in known if one.name == row.receiver), None)


def row_of(job: Job) -> Row:
    """The row of a job's event. It has one: `holds` says so."""
    return Row(job.subscription.name, job.envelope.subject or "")


def holds(job: Job) -> bool:
    """Whether the receiver holds the row of an event that it has given up."""
    return job.subscription.receiver.options.on_exhausted == "hold" and job.envelope.subject is not None
