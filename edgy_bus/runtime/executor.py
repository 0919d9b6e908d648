"""Calls a receiver with an event, or with a batch of them, and answers what came of it. Writes nothing down."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgy_bus.codec import Envelope
from edgy_bus.errors import EventError
from edgy_bus.events import Event
from edgy_bus.retry import Asked, Bury, RetryLater, Snooze
from edgy_bus.runtime.inbox import advance
from edgy_bus.runtime.outcome import Done, Failed, Outcome, Untouched
from edgy_bus.runtime.stepping import begin, resume
from edgy_bus.runtime.subscriptions import Subscription
from edgy_bus.signals import Inbox

_LONGEST_REASON = 2_000
_UNCALLED = (Done, Bury)
_OUTCOMES = (RetryLater, Snooze, Bury, Done, Failed)
_DONE, _SKIPPED, _UNTOUCHED = Done(), Done(skipped=True), Untouched()


class _Undo(Exception):
    """Rolls the inbox's transaction back, in which a receiver asked for something else than being done."""


@dataclass(frozen=True, slots=True)
class _Undone:
    """What a batch receiver asked for in a transaction that was rolled back."""

    asked: Mapping[str, Asked]


@dataclass(frozen=True, slots=True)
class Begun:
    """A call of a receiver that waits for something."""

    call: Coroutine[Any, Any, Any]
    waits_for: Any


def _nothing() -> None: ...


async def execute(
    subscription: Subscription,
    envelope: Envelope,
    deadline: float,
    waits: Callable[[], None] = _nothing,
) -> Outcome:
    """Run the receiver, for at most `deadline` seconds. What it raises becomes an outcome; cancelling it does not.

    `waits` is called when it waits for the first time, if it does. A batch receiver is called with a batch of one.
    """
    if subscription.receiver.options.batch is not None:
        (outcome,) = await execute_batch(subscription, [envelope], deadline, waits)
        return outcome
    answer = attempt(subscription, envelope)
    if not isinstance(answer, Begun):
        return answer
    waits()
    return await finish(subscription, answer, deadline)


def attempt(subscription: Subscription, envelope: Envelope) -> Outcome | Begun:
    """Run the receiver of single events up to its first wait, for which most of them have no need; then `finish` it."""
    try:
        call = _call(subscription, envelope)
        if isinstance(call, _UNCALLED):
            return call
        try:
            return Begun(call, begin(call))
        except StopIteration as stop:
            return _outcome(stop.value)
    except Exception as error:  # noqa: BLE001 - a receiver may raise what it likes
        return _failed(error)


async def finish(subscription: Subscription, begun: Begun, deadline: float) -> Outcome:
    """Run the rest of an attempt, for at most `deadline` seconds."""
    return _outcome(await _finished(subscription, resume(begun.call, begun.waits_for), deadline))


async def execute_batch(
    subscription: Subscription,
    envelopes: Sequence[Envelope],
    deadline: float,
    waits: Callable[[], None] = _nothing,
) -> Sequence[Outcome]:
    """Run a batch receiver once with all events; an outcome for each of them, as `execute` answers them.

    What it raises is the outcome of every event that it was called with. `Untouched` are those that it handled in a transaction
    that was rolled back because of what it asked for others.
    """
    waits()
    answer = await _finished(subscription, _call_batch(subscription, envelopes), deadline)
    if isinstance(answer, _Undone):
        return [_asked(answer.asked, one) or _UNTOUCHED for one in envelopes]
    return answer if type(answer) is list else [answer] * len(envelopes)


async def _finished(subscription: Subscription, call: Awaitable[Any], deadline: float) -> Any:
    """What a call answers, or `Failed`."""
    seconds = subscription.receiver.options.deadline or deadline
    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            return await call
    except Exception as error:  # noqa: BLE001 - a receiver may raise what it likes
        if limit.expired():
            return Failed(f"took longer than its deadline of {seconds:g} s")
        return _failed(error)


def _failed(error: Exception) -> Failed:
    return Failed(f"{type(error).__name__}: {error}"[:_LONGEST_REASON])


# One event


def _call(subscription: Subscription, envelope: Envelope) -> Coroutine[Any, Any, Any] | Done | Bury:
    """The call that is to be made, or the outcome if there is none to be made."""
    try:
        event = envelope.open()
    except EventError as error:
        return Bury(str(error))  # no attempt can succeed
    receiver = subscription.receiver
    data = event.data
    instance = subscription.read(data.get("instance"))
    if receiver.picky and not receiver.wants(data.get("changes"), instance):
        return _SKIPPED
    call: Any = receiver.function(subscription.sender, **_keywords(event, instance))
    inbox = receiver.options.inbox
    return call if inbox is None else _once(subscription, envelope, call, inbox)


async def _once(
    subscription: Subscription, envelope: Envelope, call: Coroutine[Any, Any, Any], inbox: Inbox
) -> Any:
    """Make the call, if the inbox does not know the event yet, in the transaction of the inbox."""
    try:
        async with inbox.transaction():
            if not await advance(inbox, f"{subscription.group}/{subscription.name}", envelope):
                return _SKIPPED
            answer = await call
            if isinstance(answer, Asked):
                raise _Undo
            return answer
    except _Undo:
        return answer
    finally:
        call.close()


def _keywords(event: Event, instance: Any) -> dict[str, Any]:
    """Named as Edgy names them, so that a receiver need not know where it runs."""
    data, signal = event.data, event.signal
    after = signal.startswith("post_")
    if after or signal.startswith("pre_"):
        changes = data.get("changes")
        values = (
            {name: change["new"] for name, change in changes.items()}
            if changes
            else data.get("values")
        )
        given = {
            "instance": instance,
            "model_instance": instance,
            "event": event,
            "changes": changes,
            "values": values,
            "column_values": values,
            "is_update": bool(data.get("is_update", False)),
            "row_count": data.get("row_count", 1),
        }
        if after:
            given["operation_skipped"] = False
    else:
        given = {"instance": instance, "model_instance": instance, "event": event}
    return {**(data["kwargs"] or {}), **given} if "kwargs" in data else given


def _outcome(answer: Any) -> Outcome:
    """What a receiver's answer means; it may be an outcome already."""
    if answer is None:
        return _DONE
    return answer if isinstance(answer, _OUTCOMES) else _DONE


# A batch


async def _call_batch(
    subscription: Subscription, envelopes: Sequence[Envelope]
) -> list[Outcome] | _Undone:
    inbox = subscription.receiver.options.inbox
    if inbox is None:
        return await _handle_batch(subscription, envelopes, None)
    try:
        async with inbox.transaction():
            outcomes = await _handle_batch(subscription, envelopes, inbox)
            pairs = zip(envelopes, outcomes, strict=True)
            asked = {one.id: outcome for one, outcome in pairs if isinstance(outcome, Asked)}
            if asked:
                raise _Undo
            return outcomes
    except _Undo:
        return _Undone(asked)


async def _handle_batch(
    subscription: Subscription, envelopes: Sequence[Envelope], inbox: Inbox | None
) -> list[Outcome]:
    receiver = subscription.receiver
    outcomes: list[Outcome] = []
    wanted: list[tuple[int, Event, Any]] = []
    for partition, envelope in enumerate(envelopes):
        outcomes.append(_SKIPPED)
        try:
            event = envelope.open()
        except EventError as error:
            outcomes[partition] = Bury(str(error))
            continue
        instance = subscription.read(event.data.get("instance"))
        if receiver.picky and not receiver.wants(event.data.get("changes"), instance):
            continue
        if inbox is None or await advance(
            inbox, f"{subscription.group}/{subscription.name}", envelope
        ):
            wanted.append((partition, event, instance))
    if wanted:
        instances, events = (
            [instance for _, _, instance in wanted],
            [event for _, event, _ in wanted],
        )
        answer = await receiver.function(subscription.sender, instances=instances, events=events)
        for partition, _, _ in wanted:
            outcomes[partition] = _asked(answer, envelopes[partition]) or _DONE
    return outcomes


def _asked(answer: Any, envelope: Envelope) -> Asked | None:
    """What a batch receiver's answer, one outcome or some by event id, asks for this event."""
    one = answer.get(envelope.id) if isinstance(answer, Mapping) else answer
    return one if isinstance(one, Asked) else None
