"""Rows that a receiver holds (`on_exhausted="hold"`): an event that was given up and the later ones of its row are parked until somebody decides.

Parked events are out of the stream, so that a held row keeps nothing from being trimmed and takes no room in hand. While a row has parked
events, later ones are parked behind them, also while the parked ones are handled again: the broker says in one step whether the row
is still held, so that none overtakes.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

from edgy_bus import telemetry
from edgy_bus.brokers.base import (
    START,
    Broker,
    DeadLetter,
    EntryId,
    HeldState,
    Lease,
    Parked,
    RowKey,
)
from edgy_bus.codec import unpack
from edgy_bus.errors import BrokerUnavailable, EventError, LeaseLost
from edgy_bus.runtime.executor import execute
from edgy_bus.runtime.jobs import Job
from edgy_bus.runtime.outcome import Again, GiveUp, Note, decide
from edgy_bus.runtime.subscriptions import Subscription, Subscriptions
from edgy_bus.services import happens
from edgy_bus.settings import WorkerSettings
from edgy_bus.telemetry import catalogue

T = TypeVar("T")

_NOTHING = Parked(START, DeadLetter(START, "", "", 0, {}))
"""Finishing it ends the hold of a row without parked events."""

_LOOK = 1.0
"""Seconds between two looks whether somebody has decided, while rows are held."""

_AT_ONCE = 4
"""Parked events of a partition that are handled at the same time, each of another row."""


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
        self.rows: dict[RowKey, EntryId] = {}
        """The rows that are held, as far as is known here (`park` finds out), and where the last parked event of each was put."""
        self._begun: set[RowKey] = set()
        """Rows that are held since the broker was last asked."""
        self._freed: set[RowKey] = set()
        """Rows of which nothing is parked any more, as this tenure has seen to. A hold that is gone otherwise was lost."""
        self._released: dict[RowKey, asyncio.Task[None]] = {}
        """Rows whose parked events are being handled."""
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._changed = asyncio.Event()
        self._stopping = asyncio.Event()

    async def load(self) -> None:
        """Learn which rows former owners held. Raises `BrokerUnavailable`."""
        partition, group = self._lease.partition, self._lease.role
        held = list(await self._broker.held(partition, group))
        tails = await self._broker.tails(partition, group, held)
        self.rows = {row: tails.get(row, START) for row in held}
        if self.rows:
            self._changed.set()

    def stop(self) -> None:
        """`run` returns when what it is handling is finished."""
        self._stopping.set()
        self._changed.set()

    async def park(self, job: Job, letter: DeadLetter, *, begin: bool) -> bool:
        """Park an event, waiting as long as the broker cannot; False if the row is not held any more. Raises `LeaseLost`."""
        row = row_of(job)
        notes = job.handling.packed({row.receiver: Note(letter.attempts, done=True, kept=True)})
        after = START if begin else self.rows.get(row, START)
        call = partial(
            self._broker.park,
            self._lease,
            row,
            letter,
            notes,
            job.handling.kept,
            begin=begin,
            after=after,
        )
        partition = await self._patiently(call)
        if partition is None:
            if row not in self._freed:
                raise self._lost(row)
            self._freed.discard(row)
            self.rows.pop(row, None)
            return False
        self.rows[row] = partition
        if begin:
            self._freed.discard(row)
            self._begun.add(row)
            self._changed.set()
        return True

    async def run(self) -> None:
        """Handle the parked events of rows about which somebody has decided. Raises `LeaseLost`."""
        try:
            while not self._stopping.is_set():
                await self._changed.wait()
                self._changed.clear()
                while self.rows and not await happens(self._stopping, _LOOK):
                    self._collect()
                    await self._look()
            await asyncio.gather(*self._released.values())
        finally:
            for task in self._released.values():
                task.cancel()
            await asyncio.gather(*self._released.values(), return_exceptions=True)

    def _collect(self) -> None:
        """Forget the rows that are handled. Raises what ended one."""
        for row, task in list(self._released.items()):
            if task.done():
                del self._released[row]
                task.result()

    async def _look(self) -> None:
        self._begun.clear()
        partition, group = self._lease.partition, self._lease.role
        try:
            found = await self._broker.held(partition, group)
            tails = await self._broker.tails(
                partition, group, [row for row in found if row not in self.rows]
            )
        except BrokerUnavailable:
            return
        # What is held only since the broker looked is missing in its answer. Where the last event was put is known better here.
        for row in [row for row in self.rows if row not in found and row not in self._begun]:
            if row not in self._freed:
                raise self._lost(row)
            self._freed.discard(row)
            del self.rows[row]
        self.rows = {**{row: tails.get(row, START) for row in found}, **self.rows}
        for row, state in found.items():
            if state.retrying and row not in self._released:
                self._released[row] = asyncio.create_task(self._handle(row, state.attempts))

    async def _handle(self, row: RowKey, attempts: int) -> None:
        """Handle a row's parked events one after another, until none is left or one is given up again."""
        while not self._stopping.is_set():
            parked = await self._patiently(
                partial(self._broker.parked, self._lease.partition, self._lease.role, row)
            )
            if not parked:
                await self._free(row)
                break
            subscription = self._subscription(row, parked[0])
            if subscription is None:
                await self._hold(row, "no receiver of this name hears of it any more")
                return
            if not await self._handle_first(row, parked[0], subscription, attempts):
                return
            attempts = 0
            last = parked[0].id == self.rows.get(row)
            if not await self._patiently(partial(self._broker.unpark, self._lease, row, parked[0])):
                if not last:
                    raise self._lost(row)
                self._freed.add(row)
                break
        else:
            return
        # It stays in `rows` until `park` or `_look` learns it: it may be held again already.
        telemetry.emit(
            catalogue.RowReleased(
                group=self._lease.role, partition=str(self._lease.partition), receiver=row.receiver
            )
        )

    async def _free(self, row: RowKey) -> None:
        """Somebody has left out the last of its parked events."""
        held = await self._patiently(
            partial(self._broker.held, self._lease.partition, self._lease.role)
        )
        if row not in held:
            raise self._lost(row)
        if not await self._patiently(partial(self._broker.unpark, self._lease, row, _NOTHING)):
            self._freed.add(row)

    def _lost(self, row: RowKey) -> LeaseLost:
        """The broker was rolled back: what this tenure has parked will come again, before what came later, in the next one."""
        return LeaseLost(
            f"{self._lease.role} has lost parked events of {row.subject} in {self._lease.partition}"
        )

    async def _handle_first(
        self, row: RowKey, parked: Parked, subscription: Subscription, attempts: int
    ) -> bool:
        """Whether it was handled; if not, the row is held again, or the next owner goes on."""
        envelope, retry = unpack(parked.letter.fields), subscription.receiver.options.retry
        while attempts < retry.attempts:
            async with self._turns:
                # Attempts are counted before they are made: the process may die of one.
                await self._change(row, HeldState(retrying=True, attempts=attempts + 1))
                if self._stopping.is_set() or self._is_over():
                    await self._change(row, HeldState(retrying=True, attempts=attempts))
                    return False
                outcome = await execute(subscription, envelope, self._settings.deadline)
            decision = decide(outcome, Note(attempts), retry, time.time())
            if isinstance(decision, GiveUp):
                await self._hold(row, decision.reason)
                return False
            if not isinstance(decision, Again):
                return True
            attempts = decision.note.attempts
            await self._change(row, HeldState(retrying=True, attempts=attempts))
            await happens(self._stopping, max(0.0, decision.note.due - time.time()))
            if self._stopping.is_set():
                return False
        await self._hold(row, f"the process of its worker ended in the last of {attempts} attempts")
        return False

    async def _hold(self, row: RowKey, reason: str) -> None:
        await self._change(row, HeldState())
        telemetry.emit(
            catalogue.RowHeld(
                group=self._lease.role,
                partition=str(self._lease.partition),
                receiver=row.receiver,
                reason=reason,
            )
        )

    async def _change(self, row: RowKey, state: HeldState) -> None:
        await self._patiently(partial(self._broker.hold, self._lease, row, state))

    async def _patiently(self, call: Callable[[], Awaitable[T]]) -> T:
        """Say it again as long as the broker cannot be reached."""
        while True:
            try:
                return await call()
            except BrokerUnavailable:
                await asyncio.sleep(self._settings.backoff / 4)

    def _subscription(self, row: RowKey, parked: Parked) -> Subscription | None:
        try:
            envelope = unpack(parked.letter.fields)
        except EventError:
            return None
        known = self._subscriptions.of(envelope.model, envelope.signal)
        return next((one for one in known if one.name == row.receiver), None)


def row_of(job: Job) -> RowKey:
    """The row of a job's event. It has one: `holds` says so."""
    return RowKey(job.subscription.name, job.envelope.subject or "")


def holds(job: Job) -> bool:
    """Whether the receiver holds the row of an event that it has given up. Events of no row, and intents (`pre_*`), have no order to keep."""
    envelope = job.envelope
    held = job.subscription.receiver.options.on_exhausted == "hold"
    return held and envelope.subject is not None and envelope.sequence is not None
