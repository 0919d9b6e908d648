"""Calls of receivers inside of a test: recorded, with frozen waits, and cut off by chaos."""

import asyncio
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from edgy_bus.events import Event
from edgy_bus.retrying import LONGEST, Asked, Retry, RetryLater, Snooze, is_wait
from edgy_bus.runtime.subscriptions import Subscription
from edgy_bus.signals import Batch, Receiver, ReceiverFunction
from edgy_bus.testing.broker import FROZEN


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """Describe a call of a receiver.

    Attributes:
        receiver: the durable name of the receiver.
        events: the event; of a batch receiver, the events of the batch.
        error: the error that the call raised; None if the call returned.
        answer: the returned value: None, or an outcome such as `snooze(60)`.
    """

    receiver: str
    events: tuple[Event, ...]
    error: BaseException | None = None
    answer: object = None

    def handled(self) -> list[Event]:
        """Return the events that the receiver is done with after this call."""
        if self.error is not None:
            return []
        return [event for event in self.events if not isinstance(self._answer_for(event), Asked)]

    def _answer_for(self, event: Event) -> object:
        if isinstance(self.answer, Mapping):
            return self.answer.get(event.id)
        return self.answer


@dataclass(slots=True)
class Calls:
    """Record the calls of all receivers, and wake the test that waits for their end.

    Attributes:
        all: the calls that have ended, in the order of their ends.
        running: the calls that have begun and not ended.
        changed: called when a call has ended, or was cut off.
        cut_at: the wait of each call at which the call is cut off; 0: none is.
        cuts: how many calls were cut off.
    """

    changed: Callable[[], None]
    all: list[Call] = field(default_factory=list)
    running: list[Call] = field(default_factory=list)
    cut_at: int = 0
    cuts: int = 0

    def subscription(self, real: Subscription, *, singly: bool = False) -> Subscription:
        """Return a subscription whose receiver is recorded, and waits for the test.

        Args:
            real: the subscription of the program.
            singly: whether batches have a single event.
        """
        receiver, options = real.receiver, real.receiver.options
        changed = replace(
            options,
            name=receiver.name,
            retry=FrozenRetry.of(options.retry),
            # All events of a test are there when a batch begins: waiting brings no other.
            batch=options.batch and Batch(1 if singly else options.batch.size, 0.0),
            # A breaker would let receivers wait by the clock of the day, and a test has a few rows.
            breaker=None,
            # The groups of a test are as old as the test.
            start=None,
        )
        function = self._recorded(receiver.name, receiver.function)
        return replace(real, receiver=Receiver(function, changed, receiver.sender))

    def _recorded(self, name: str, function: ReceiverFunction) -> ReceiverFunction:
        async def call(sender: Any, **keywords: Any) -> object:
            events = keywords.get("events") or [keywords["event"]]
            begun = Call(name, tuple(events))
            self.running.append(begun)
            try:
                answer = await self._made(function(sender, **keywords))
                self.all.append(replace(begun, answer=answer))
                return _frozen(answer)
            except Crash:
                raise
            except BaseException as error:
                self.all.append(replace(begun, error=error))
                raise
            finally:
                # Before the runtime has recorded the outcome: until then the event has no note, and
                # counts as unfinished.
                self.running.remove(begun)
                self.changed()

        return call

    async def _made(self, call: Any) -> object:
        """Await a call, or only the part before its process dies."""
        if not self.cut_at:
            return await call
        steps = _Steps(call, self.cut_at)
        try:
            answer = await steps
        except BaseException:
            if not steps.is_cut:
                raise
        else:
            if not steps.is_cut:
                return answer
        # The process is dead, no matter how the call has ended. As an error of the call, so that
        # the transaction of its inbox is rolled back.
        self.cuts += 1
        raise Crash("chaos: the process of the worker dies here")


class Crash(Exception):
    """Stand for the end of the worker's process, in the middle of a call."""


class _Steps:
    """Await a coroutine up to a wait, which is cancelled, as `Task.cancel` would cancel it.

    So the coroutine gives back what a process that dies would lose: transactions and locks.
    """

    def __init__(self, call: Any, cut_at: int) -> None:
        self._call = call.__await__()
        self._left = cut_at
        self.is_cut = False

    def __await__(self) -> Generator[Any, Any, Any]:
        advance: Callable[[Any], Any] = self._call.send
        value: Any = None
        while True:
            try:
                waits_for = advance(value)
            except StopIteration as stop:
                return stop.value
            self._left -= 1
            if self._left == 0:
                self.is_cut = True
                # None is the wait of `sleep(0)`.
                if waits_for is None or not waits_for.cancel():
                    advance, value = self._call.throw, asyncio.CancelledError()
                    continue
            try:
                value = yield waits_for
                advance = self._call.send
            except BaseException as error:  # noqa: BLE001 - for the coroutine, as if awaited directly
                advance, value = self._call.throw, error


@dataclass(frozen=True, slots=True)
class FrozenRetry(Retry):
    """Wait as another policy does, but without chance, and until the test lets time pass."""

    real: Retry = field(default_factory=Retry)

    @classmethod
    def of(cls, real: Retry) -> "FrozenRetry":
        """Return the policy of a receiver as it is in a test."""
        return cls(real.attempts, real.delay, real.factor, real.ceiling, real.jitter, real)

    def wait(self, failed: int, chance: float | None = None) -> float | None:
        """Return the longest wait of the policy, frozen."""
        del chance
        wait = self.real.wait(failed, 0.0)
        return None if wait is None else _later(wait)


def _later(wait: float) -> float:
    # A wait that is none is refused by the runtime, with the receiver's name.
    return min(LONGEST, wait + FROZEN) if is_wait(wait) else wait


def _frozen(answer: object) -> object:
    """Return an outcome whose time does not end before the test lets the time pass."""
    match answer:
        case Snooze(seconds):
            return Snooze(_later(seconds))
        case RetryLater(after) if after is not None:
            return RetryLater(_later(after))
        case Mapping():
            return {event_id: _frozen(each) for event_id, each in answer.items()}
    return answer


def names(subscriptions: Sequence[Subscription]) -> str:
    """Return the names of receivers for an error."""
    listed = sorted({f"{each.name} ({each.model}.{each.signal})" for each in subscriptions})
    return ", ".join(listed) or "none"
