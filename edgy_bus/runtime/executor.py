"""Call receivers, with an event or a batch of events, and return the outcome of the call.

The outcome is a value; `Verdicts` records it. Nothing that a receiver does ends a tenure: every
error of a receiver, or around a receiver (reading the row, filters, keywords, the inbox), is an
outcome. The exceptions are cancellation of the task that makes the call, `KeyboardInterrupt`, which
is the operator's, and `GeneratorExit`, with which Python closes a call that no task waits for any
more.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from edgy_bus.codec import Envelope
from edgy_bus.errors import EventError
from edgy_bus.events import Event
from edgy_bus.retry import Asked, Bury, RetryLater, Snooze
from edgy_bus.runtime.inbox import advance
from edgy_bus.runtime.outcome import Done, Failed, Outcome, Untouched, bounded, describe
from edgy_bus.runtime.stepping import begin, complete, resume
from edgy_bus.runtime.subscriptions import Subscription
from edgy_bus.signals import Inbox

_UNCALLED = (Done, Bury)
_OUTCOMES = (RetryLater, Snooze, Bury, Done, Failed)
_DONE, _SKIPPED, _UNTOUCHED = Done(), Done(skipped=True), Untouched()


class _Undo(Exception):
    """Roll the inbox's transaction back, because a receiver asked for something else than done."""


@dataclass(frozen=True, slots=True)
class _Undone:
    """Hold the answers of a batch receiver whose transaction was rolled back."""

    asked: Mapping[str, Asked]


@dataclass(frozen=True, slots=True)
class Begun:
    """Hold a call that waits for something."""

    call: Coroutine[Any, Any, Any]
    waits_for: Any


def _nothing() -> None: ...


async def execute(
    subscription: Subscription,
    envelope: Envelope,
    deadline: float,
    waits: Callable[[], None] = _nothing,
) -> Outcome:
    """Run a receiver with one event.

    Args:
        subscription: the receiver; a batch receiver is called with a batch of one.
        envelope: the event.
        deadline: the most seconds that the call may take, unless the receiver has its own limit.
        waits: called when the receiver waits for the first time.
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
    """Run a receiver of single events up to its first wait; `finish` runs the rest.

    This is a plain function: a receiver that waits for nothing, as most do, needs no task, no
    deadline and no coroutine of this library.
    """
    try:
        call = _call(subscription, envelope)
        if isinstance(call, _UNCALLED):
            return call
        try:
            return Begun(call, begin(call))
        except StopIteration as stop:
            return _outcome(stop.value)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - a receiver may raise anything
        # CancelledError too: nobody can cancel this task while the task runs, so the receiver, or
        # something that the receiver waited for, was cancelled.
        return Failed(describe(error))


async def finish(subscription: Subscription, begun: Begun, deadline: float) -> Outcome:
    """Run the rest of an attempt, for at most `deadline` seconds."""
    answer = await _finished(subscription, resume(begun.call, begun.waits_for), deadline)
    return _outcome(answer)


async def execute_batch(
    subscription: Subscription,
    envelopes: Sequence[Envelope],
    deadline: float,
    waits: Callable[[], None] = _nothing,
) -> Sequence[Outcome]:
    """Run a batch receiver once with all events; return an outcome for each, as `execute` does.

    An error that the receiver raises is the outcome of every event. `Untouched` is the outcome of
    an event that was handled in a transaction that was rolled back, because the receiver asked for
    something else for other events.
    """
    waits()
    call = complete(_call_batch(subscription, envelopes))
    answer = await _finished(subscription, call, deadline)
    if isinstance(answer, _Undone):
        return [answer.asked.get(envelope.id, _UNTOUCHED) for envelope in envelopes]
    return answer if type(answer) is list else [answer] * len(envelopes)


async def _finished(subscription: Subscription, call: Awaitable[Any], deadline: float) -> Any:
    """Return what a call returns, or `Failed`."""
    seconds = subscription.receiver.options.deadline or deadline
    limit = asyncio.timeout(seconds)
    cancellations = _cancellations()
    try:
        async with limit:
            return await call
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:
        # A CancelledError is the receiver's failure if nobody asked this task to cancel: something
        # that the receiver waited for was cancelled. Compared with the count before the call,
        # because a library may leave a request behind that it has answered.
        if isinstance(error, asyncio.CancelledError) and _cancellations() > cancellations:
            raise
        if limit.expired():
            return Failed(f"took longer than its deadline of {seconds:g} s")
        return Failed(describe(error))


def _cancellations() -> int:
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()


# One event


def _call(subscription: Subscription, envelope: Envelope) -> Coroutine[Any, Any, Any] | Done | Bury:
    """Return the call to make, or the outcome if there is no call to make."""
    try:
        event = envelope.open()
        data = event.data
        instance = subscription.read(data.get("instance"))
    except EventError as error:
        # The bytes stay the same in every attempt, so that no attempt can succeed.
        return Bury(bounded(str(error)))
    except ValidationError as error:
        return _misfit(error)
    receiver = subscription.receiver
    if receiver.picky and not receiver.wants(data.get("changes"), instance):
        return _SKIPPED
    call: Any = receiver.function(subscription.sender, **_keywords(event, instance))
    inbox = receiver.options.inbox
    return call if inbox is None else _once(subscription, envelope, call, inbox)


def _misfit(error: ValidationError) -> Bury:
    """Give up a row that does not fit its model or schema: no attempt can succeed.

    The reason names fields and rules only. It goes to logs and dead letters, and the error's own
    text contains the row's values.
    """
    # Of a location only the field: deeper parts may be keys of the row's own JSON.
    details = error.errors(include_url=False, include_context=False, include_input=False)
    misfits = [f"{'.'.join(map(str, each['loc'][:1]))} ({each['type']})" for each in details]
    return Bury(bounded(f"the row does not fit {error.title}: {', '.join(misfits)}"))


async def _once(
    subscription: Subscription, envelope: Envelope, call: Coroutine[Any, Any, Any], inbox: Inbox
) -> Any:
    """Make the call in a transaction of the inbox, unless the inbox knows the event already."""
    try:
        async with inbox.transaction():
            if not await advance(inbox, _inbox_name(subscription), envelope):
                return _SKIPPED
            answer = await call
            # The receiver will be called again, or the event is given up. Its writes, and the
            # position in the inbox, must not stay.
            if isinstance(answer, Asked):
                raise _Undo
            return answer
    except _Undo:
        return answer
    finally:
        # Python warns about a coroutine that was made and never awaited.
        call.close()


def _inbox_name(subscription: Subscription) -> str:
    return f"{subscription.group}/{subscription.name}"


def _keywords(event: Event, instance: Any) -> dict[str, Any]:
    """Return a receiver's keywords, named as Edgy names them.

    The names are the same where the receiver runs in the process of the operation.
    """
    data, signal = event.data, event.signal
    after = signal.startswith("post_")
    if after or signal.startswith("pre_"):
        changes = data.get("changes")
        values: Any
        if changes:
            values = {name: change["new"] for name, change in changes.items()}
        else:
            values = data.get("values")
        keywords = {
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
            keywords["operation_skipped"] = False
    else:
        keywords = {"instance": instance, "model_instance": instance, "event": event}
    # Keywords of a custom signal come from the publisher, and must not replace these.
    return {**(data["kwargs"] or {}), **keywords} if "kwargs" in data else keywords


def _outcome(answer: Any) -> Outcome:
    """Return the meaning of a receiver's answer; an answer that is no outcome means done."""
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
    # A batch is one transaction. An outcome other than done for one event undoes the whole batch.
    asked: dict[str, Asked] = {}
    try:
        async with inbox.transaction():
            outcomes = await _handle_batch(subscription, envelopes, inbox)
            for envelope, outcome in zip(envelopes, outcomes, strict=True):
                if isinstance(outcome, Asked):
                    asked[envelope.id] = outcome
            if asked:
                raise _Undo
            return outcomes
    except _Undo:
        return _Undone(asked)


async def _handle_batch(
    subscription: Subscription, envelopes: Sequence[Envelope], inbox: Inbox | None
) -> list[Outcome]:
    """Call the receiver with the events that it wants and that the inbox does not know."""
    receiver = subscription.receiver
    outcomes: list[Outcome] = [_SKIPPED] * len(envelopes)
    wanted: list[int] = []
    instances: list[Any] = []
    events: list[Event] = []
    for number, envelope in enumerate(envelopes):
        try:
            event = envelope.open()
            instance = subscription.read(event.data.get("instance"))
        except EventError as error:
            outcomes[number] = Bury(bounded(str(error)))
            continue
        except ValidationError as error:
            outcomes[number] = _misfit(error)
            continue
        if receiver.picky and not receiver.wants(event.data.get("changes"), instance):
            continue
        if inbox is None or await advance(inbox, _inbox_name(subscription), envelope):
            wanted.append(number)
            instances.append(instance)
            events.append(event)
    if not wanted:
        return outcomes
    answer = await receiver.function(subscription.sender, instances=instances, events=events)
    for number in wanted:
        outcomes[number] = _asked(answer, envelopes[number]) or _DONE
    return outcomes


def _asked(answer: Any, envelope: Envelope) -> Asked | None:
    """Return the outcome that a batch receiver asks for an event, None for done.

    Args:
        answer: an outcome for all events, or a mapping from event ids to the outcomes of some.
        envelope: the event.
    """
    outcome = answer.get(envelope.id) if isinstance(answer, Mapping) else answer
    return outcome if isinstance(outcome, Asked) else None
