"""Handle the parked events of rows that an operator has released."""

import asyncio
import time
from functools import partial

from edgy_bus import telemetry
from edgy_bus.brokers.base import START, DeadLetter, HeldState, Parked, RowKey
from edgy_bus.codec import unpack
from edgy_bus.errors import EventError, LeaseLost
from edgy_bus.runtime.executor import execute
from edgy_bus.runtime.held_rows import HeldRows
from edgy_bus.runtime.outcome import Again, GiveUp, Note, crashed, decide
from edgy_bus.runtime.patience import patiently
from edgy_bus.runtime.subscriptions import Subscription
from edgy_bus.runtime.term import Term
from edgy_bus.runtime.tools import Tools
from edgy_bus.telemetry import catalogue

_NOTHING = Parked(START, DeadLetter(START, "", "", 0, {}))
"""Taking this event out ends the hold of a row without parked events."""

_AT_ONCE = 4
"""Parked events of a partition that are handled at the same time, each of another row."""


class Releases:
    """Handle the parked events of rows, each row's in order."""

    def __init__(self, term: Term, tools: Tools, held: HeldRows) -> None:
        self._term = term
        self._tools = tools
        self._broker = tools.broker
        self._pause = tools.settings.backoff / 4
        self._held = held
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def handle(self, key: RowKey, attempts: int) -> None:
        """Handle a row's parked events.

        Args:
            key: the row, which is being released.
            attempts: how often the first event was tried since the release.

        Raises:
            LeaseLost: also if the broker has lost parked events of the row.
        """
        if not await self._handle_all(key, attempts):
            self._held.hold_again(key)
            return
        # The row stays among the held ones until the broker agrees: a copy of the broker's data
        # that was put in place meanwhile may hold the row.
        self._held.free(key)
        telemetry.emit(
            catalogue.RowReleased(
                group=self._term.group,
                partition=str(self._term.lease.partition),
                receiver=key.receiver,
            )
        )

    async def _handle_all(self, key: RowKey, attempts: int) -> bool:
        """Handle the parked events in order; return whether all were handled."""
        while not self._term.stopping:
            parked = await self._first(key)
            if parked is None:
                if await self._end_hold(key):
                    return True
                continue
            if not await self._handle_first(key, parked, attempts):
                return False
            # Each parked event has attempts of its own.
            attempts = 0
            # Before the request: an event that is parked behind during the request moves the tail,
            # and makes the broker answer that more events are parked.
            last = parked.id == self._held.tail(key)
            take_out = partial(self._broker.unpark, self._term.lease, key, parked)
            if not await patiently(take_out, self._pause):
                if not last:
                    raise parked_events_lost(self._term, key)
                return True
        return False

    async def _first(self, key: RowKey) -> Parked | None:
        read = partial(self._broker.parked, self._term.lease.partition, self._term.group, key)
        parked = await patiently(read, self._pause)
        return parked[0] if parked else None

    async def _end_hold(self, key: RowKey) -> bool:
        """End the hold of a row whose last parked event an operator has left out.

        Returns:
            False if another event was parked meanwhile.
        """
        partition, group = self._term.lease.partition, self._term.group
        held = await patiently(partial(self._broker.held, partition, group), self._pause)
        if key not in held:
            raise parked_events_lost(self._term, key)
        take_out = partial(self._broker.unpark, self._term.lease, key, _NOTHING)
        return not await patiently(take_out, self._pause)

    async def _handle_first(self, key: RowKey, parked: Parked, attempts: int) -> bool:
        """Handle a row's first parked event.

        Returns:
            False if the event was given up, or if the next owner has to go on.
        """
        subscription = self._subscription(key, parked)
        if subscription is None:
            # Not dropped: a release of the program that has the receiver may come back.
            await self._hold(key, "no receiver of this name subscribes to the event any more")
            return False
        retry = subscription.receiver.options.retry
        while (exhausted := crashed(Note(attempts), retry)) is None:
            note = await self._attempt(key, parked, subscription, attempts)
            if note is None:
                return False
            if note.done:
                return True
            attempts = note.attempts
            if await self._term.pause(max(0.0, note.due - time.time())):
                return False
        await self._hold(key, exhausted.reason)
        return False

    async def _attempt(
        self, key: RowKey, parked: Parked, subscription: Subscription, attempts: int
    ) -> Note | None:
        """Call the receiver once; return its state afterwards, None if the event is held again."""
        async with self._turns:
            # Counted before the call: the event may crash its worker.
            await self._change(key, HeldState(retrying=True, attempts=attempts + 1))
            if not self._term.may_begin():
                await self._change(key, HeldState(retrying=True, attempts=attempts))
                return None
            outcome = await execute(
                subscription, unpack(parked.letter.fields), self._tools.settings.deadline
            )
        retry = subscription.receiver.options.retry
        decision = decide(outcome, Note(attempts), retry, time.time())
        if isinstance(decision, GiveUp):
            await self._hold(key, decision.reason)
            return None
        if not isinstance(decision, Again):
            return Note(attempts, done=True)
        await self._change(key, HeldState(retrying=True, attempts=decision.note.attempts))
        return decision.note

    async def _hold(self, key: RowKey, reason: str) -> None:
        await self._change(key, HeldState())
        telemetry.emit(
            catalogue.RowHeld(
                group=self._term.group,
                partition=str(self._term.lease.partition),
                receiver=key.receiver,
                reason=reason,
            )
        )

    async def _change(self, key: RowKey, state: HeldState) -> None:
        await patiently(partial(self._broker.hold, self._term.lease, key, state), self._pause)

    def _subscription(self, key: RowKey, parked: Parked) -> Subscription | None:
        try:
            envelope = unpack(parked.letter.fields)
        except EventError:
            return None
        subscriptions = self._tools.subscriptions.of(envelope.model, envelope.signal)
        matching = (each for each in subscriptions if each.name == key.receiver)
        return next(matching, None)


def parked_events_lost(term: Term, key: RowKey) -> LeaseLost:
    """Return the error that ends a tenure whose parked events the broker has lost.

    The broker was rolled back. The parked events come again in the next tenure, before later events
    of the row.
    """
    return LeaseLost(
        f"{term.group} has lost parked events of {key.subject} in {term.lease.partition}"
    )
