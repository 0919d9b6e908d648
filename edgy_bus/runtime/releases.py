"""Handle the parked events of rows that an operator has released."""

import asyncio
import time
from dataclasses import dataclass, replace
from functools import partial

from edgy_bus import telemetry
from edgy_bus.brokers.base import START, DeadLetter, HeldState, Parked, RowKey
from edgy_bus.codec import Envelope, unpack
from edgy_bus.errors import EventError, LeaseLost
from edgy_bus.runtime.executor import execute
from edgy_bus.runtime.held_rows import HeldRows
from edgy_bus.runtime.outcome import Again, Done, GiveUp, Note, Outcome, crashed, decide
from edgy_bus.runtime.owned import OwnedTasks
from edgy_bus.runtime.patience import patiently
from edgy_bus.runtime.subscriptions import Subscription
from edgy_bus.runtime.term import Term
from edgy_bus.runtime.tools import Tools
from edgy_bus.runtime.waits import Waits
from edgy_bus.telemetry import catalogue

_NOTHING = Parked(START, DeadLetter(START, "", "", 0, {}))
"""Taking this event out ends the hold of a row without parked events."""

_AT_ONCE = 4
"""Parked events of a receiver and a partition that are handled at the same time, each of another
row. A long line of released rows would otherwise keep the receiver's new events waiting."""


@dataclass(frozen=True, slots=True)
class _Finished:
    """Say that a parked event can be taken out: it was handled, or it becomes a dead letter."""

    letter: DeadLetter | None = None


_HANDLED = _Finished()


class Releases:
    """Handle the parked events of rows, each row's in order.

    A receiver that gives up an event holds the row again only with `on_exhausted="hold"`, and not
    for a dead letter that an operator replays: later events of the row had gone on before.

    Args:
        tasks: the tasks of the tenure, among which each row is handled.
        waits: keeps the calls that wait for their next attempt.
    """

    def __init__(
        self, term: Term, tools: Tools, held: HeldRows, tasks: OwnedTasks, waits: Waits
    ) -> None:
        self._term = term
        self._tools = tools
        self._broker = tools.broker
        self._pause = tools.settings.backoff / 4
        self._held = held
        self._tasks = tasks
        self._waits = waits
        self._turns: dict[str, asyncio.Semaphore] = {}

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
            finished = await self._handle_first(key, parked, attempts)
            if finished is None:
                return False
            # Each parked event has attempts of its own.
            attempts = 0
            # Before the request: an event that is parked behind during the request moves the tail,
            # and makes the broker answer that more events are parked.
            last = parked.id == self._held.tail(key)
            if not last:
                is_held = await self._take_out(key, parked, finished)
                if not is_held:
                    raise parked_events_lost(self._term, key)
            elif await self._take_out_last(key, parked, finished):
                return True
        return False

    async def _take_out(self, key: RowKey, parked: Parked, finished: _Finished) -> bool:
        """Take an event out; return whether others are parked, and the row is held."""
        unpark = partial(self._broker.unpark, self._term.lease, key, parked, finished.letter)
        return await patiently(unpark, self._pause)

    async def _take_out_last(self, key: RowKey, parked: Parked, finished: _Finished) -> bool:
        """Take the last event out; False if another was parked behind it meanwhile."""
        self._held.begin_to_free(key)
        is_held = await self._take_out(key, parked, finished)
        # The row stays among the held ones until the broker agrees: a copy of the broker's data
        # that was put in place meanwhile may hold the row.
        return self._held.end_freeing(key, is_held=is_held)

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
        return await self._take_out_last(key, _NOTHING, _HANDLED)

    async def _handle_first(self, key: RowKey, parked: Parked, attempts: int) -> _Finished | None:
        """Handle a row's first parked event.

        Returns:
            None if the row is held again, or if the next owner has to go on.
        """
        subscription = self._subscription(key, parked)
        if subscription is None:
            # Not dropped: a release of the program that has the receiver may come back.
            reason = "no receiver of this name subscribes to the event any more"
            return await self._put_aside(key, parked, None, GiveUp(attempts, reason))
        retry = subscription.receiver.options.retry
        while (exhausted := crashed(Note(attempts), retry)) is None:
            state = await self._attempt(key, parked, subscription, attempts)
            if not isinstance(state, Note):
                return state
            attempts = state.attempts
            if await self._rest(key.receiver, state.wait):
                return None
        self._report_given_up(subscription, parked, None, exhausted)
        return await self._put_aside(key, parked, subscription, exhausted)

    async def _rest(self, receiver: str, seconds: float) -> bool:
        """Wait for the next attempt; return whether the tenure stops."""
        self._waits.add(receiver, asyncio.get_running_loop().time() + seconds)
        # No call runs, and the broker knows the attempts so far: the partition may be handed over
        # at any moment. A wait of up to a year must not keep the partition.
        with self._tasks.resting():
            return await self._term.pause(seconds)

    async def _attempt(
        self, key: RowKey, parked: Parked, subscription: Subscription, attempts: int
    ) -> Note | _Finished | None:
        """Call the receiver once; return a note if the receiver is to be called again."""
        envelope = unpack(parked.letter.fields)
        outcome = await self._call(key, subscription, envelope, attempts)
        if outcome is None:
            return None
        retry = subscription.receiver.options.retry
        decision = decide(outcome, Note(attempts), retry, time.time())
        if isinstance(decision, GiveUp):
            self._report_given_up(subscription, parked, outcome, decision)
            return await self._put_aside(key, parked, subscription, decision)
        if not isinstance(decision, Again):
            self._report_skipped(subscription, envelope, parked, outcome)
            return _HANDLED
        self._tools.failures.retried(subscription, envelope, outcome, decision)
        await self._change(key, HeldState(retrying=True, attempts=decision.note.attempts))
        return decision.note

    async def _call(
        self, key: RowKey, subscription: Subscription, envelope: Envelope, attempts: int
    ) -> Outcome | None:
        """Call the receiver when it is the row's turn; None if the tenure stops first."""
        turns = self._turns.setdefault(subscription.name, asyncio.Semaphore(_AT_ONCE))
        with self._tasks.resting():
            await turns.acquire()
        try:
            return await self._call_in_slot(key, subscription, envelope, attempts)
        finally:
            turns.release()

    async def _call_in_slot(
        self, key: RowKey, subscription: Subscription, envelope: Envelope, attempts: int
    ) -> Outcome | None:
        # A row that has a slot waits for nothing else: other partitions need the slot.
        name, slots, breakers = subscription.name, self._tools.receivers, self._tools.breakers
        turn = slots.stand_in_line(name)
        try:
            # No slot is free while the breaker of the receiver is open.
            if not turn.done() and not await self._comes(turn):
                return None
            outcome = await self._call_now(key, subscription, envelope, attempts)
            # With the slot: a failure may open the breaker, and nobody may have the slot then.
            if breakers is not None and outcome is not None:
                breakers.judge(name, envelope, outcome)
            return outcome
        finally:
            if turn.done() and not turn.cancelled():
                slots.give_back(name)
            else:
                turn.cancel()

    async def _comes(self, turn: asyncio.Future[None]) -> bool:
        """Wait for a slot; return False if the tenure stops first."""
        with self._tasks.resting():
            return await self._term.until(turn)

    async def _call_now(
        self, key: RowKey, subscription: Subscription, envelope: Envelope, attempts: int
    ) -> Outcome | None:
        if not self._term.may_begin():
            return None
        # Counted before the call: the event may crash its worker.
        await self._change(key, HeldState(retrying=True, attempts=attempts + 1))
        if not self._term.may_begin():
            await self._change(key, HeldState(retrying=True, attempts=attempts))
            return None
        return await execute(subscription, envelope, self._tools.settings.deadline)

    def _report_given_up(
        self,
        subscription: Subscription,
        parked: Parked,
        outcome: Outcome | None,
        decision: GiveUp,
    ) -> None:
        follows = "its row is held again" if _is_held(subscription, parked) else "dead letter"
        envelope = unpack(parked.letter.fields)
        self._tools.failures.gave_up(subscription, envelope, outcome, decision, follows)

    def _report_skipped(
        self, subscription: Subscription, envelope: Envelope, parked: Parked, outcome: Outcome
    ) -> None:
        """Report a replay without effect, which an operator waits for."""
        if parked.replayed and isinstance(outcome, Done) and outcome.skipped:
            telemetry.emit(
                catalogue.LetterSkipped(
                    group=self._term.group,
                    partition=str(self._term.lease.partition),
                    receiver=subscription.name,
                    event_id=envelope.id,
                )
            )

    async def _put_aside(
        self, key: RowKey, parked: Parked, subscription: Subscription | None, decision: GiveUp
    ) -> _Finished | None:
        """Hold the row again, or make a dead letter of the event and go on with the row."""
        if _is_held(subscription, parked):
            await self._change(key, HeldState())
            telemetry.emit(
                catalogue.RowHeld(
                    group=self._term.group,
                    partition=str(self._term.lease.partition),
                    receiver=key.receiver,
                    reason=decision.reason,
                )
            )
            return None
        letter = replace(parked.letter, attempts=decision.attempts, reason=decision.reason)
        self._tools.stats.dead += 1
        return _Finished(letter)

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


def _is_held(subscription: Subscription | None, parked: Parked) -> bool:
    """Return whether the row of a parked event that was given up is held again."""
    if parked.replayed:
        return False
    return subscription is None or subscription.receiver.options.on_exhausted == "hold"


def parked_events_lost(term: Term, key: RowKey) -> LeaseLost:
    """Return the error that ends a tenure whose parked events the broker has lost.

    The broker was rolled back. The parked events come again in the next tenure, before later events
    of the row.
    """
    return LeaseLost(
        f"{term.group} has lost parked events of {key.subject} in {term.lease.partition}"
    )
