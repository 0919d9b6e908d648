"""Call receivers, with an event or a batch of events, and return the outcome of the call.

The outcome is a value; `Verdicts` records it. Nothing that a receiver does ends a tenure: every
error of a receiver, or around a receiver (reading the row, filters, keywords, the inbox), is an
outcome. The exceptions are cancellation of the task that makes the call, `KeyboardInterrupt`, which
is the operator's, and `GeneratorExit`, with which Python closes a call that no task waits for any
more.

Calls follow one another in the task of a runner, each in a context of its own: a context variable
that a receiver sets reaches no other call, as if each call had a task.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextvars import Context, copy_context
from dataclasses import dataclass
from typing import Any

from edgy_bus.codec import Envelope
from edgy_bus.database import left_open
from edgy_bus.errors import (
    ContractError,
    DatabaseUnavailable,
    EventError,
    TryAgain,
)
from edgy_bus.events import Event
from edgy_bus.origin import handle, handle_batch
from edgy_bus.reasons import describe
from edgy_bus.retrying import Bury
from edgy_bus.runtime.answers import meaning, meanings
from edgy_bus.runtime.call_spans import batch_span, begin_span, end_span
from edgy_bus.runtime.inbox import advance
from edgy_bus.runtime.keywords import keywords_of
from edgy_bus.runtime.leftovers import give_back
from edgy_bus.runtime.not_ending import CallWatch
from edgy_bus.runtime.outcome import Done, Failed, Outcome, Untouched
from edgy_bus.runtime.owned import is_cancelled_by_owner
from edgy_bus.runtime.stepping import begin, complete, resume
from edgy_bus.runtime.subscriptions import Subscription
from edgy_bus.runtime.turns import CallTime, Turn, report_wait
from edgy_bus.signals import Inbox, fitted
from edgy_bus.telemetry import CallSpan

_UNCALLED = (Done, Bury)
_SKIPPED, _UNTOUCHED = Done(skipped=True), Untouched()

_INBOX_PAUSE = 2.0
"""Seconds until a call whose inbox did not answer is made again."""


class _Undo(Exception):
    """Roll the inbox's transaction back, because a receiver asked for something else than done."""


@dataclass(frozen=True, slots=True)
class _Undone:
    """Hold the outcomes other than done of a batch whose transaction was rolled back."""

    asked: Mapping[str, Outcome]


@dataclass(frozen=True, slots=True)
class Begun:
    """Hold a call that waits for something.

    Attributes:
        call: the coroutine of the call.
        waits_for: the object that the coroutine waits for.
        context: the context of the call.
        cancellations: how often the runner's task was asked to cancel before the call.
        time: measures the time of the call.
        span: the span of the call, if anybody traces the call.
    """

    call: Coroutine[Any, Any, Any]
    waits_for: Any
    context: Context
    cancellations: int
    time: CallTime
    span: CallSpan | None = None


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
    answer = attempt(subscription, envelope, asyncio.current_task())
    if not isinstance(answer, Begun):
        return answer
    waits()
    return await finish(subscription, envelope, answer, deadline)


def attempt(
    subscription: Subscription, envelope: Envelope, task: asyncio.Task[Any] | None
) -> Outcome | Begun:
    """Run a receiver of single events up to its first wait; `finish` runs the rest.

    This is a plain function: a receiver that waits for nothing, as most do, needs no task, no
    deadline and no coroutine of this library. `task` is the current task.
    """
    context, cancellations = copy_context(), _cancellations(task)
    answer = context.run(_begin, subscription, envelope, context, cancellations)
    is_over = not (left_open(context) or _cancellations(task) > cancellations)
    if is_over or isinstance(answer, Begun):
        return answer
    # `finish` gives the connection back, and waits for the database. A receiver that cancelled the
    # task that calls it is cancelled by this wait, and not the runner by its next one.
    rest = _after_a_turn(answer)
    return Begun(rest, begin(rest), context, cancellations, CallTime(waiting=False))


def _begin(
    subscription: Subscription, envelope: Envelope, context: Context, cancellations: int
) -> Outcome | Begun:
    time = CallTime(waiting=subscription.receiver.options.inbox is not None)
    span = None
    try:
        call = _call(subscription, envelope, time)
        if isinstance(call, _UNCALLED):
            return call
        # Nothing of the receiver has run yet. An event that it does not want has no span.
        span = begin_span(subscription, (envelope,))
        try:
            return Begun(call, begin(call), context, cancellations, time, span)
        except StopIteration as stop:
            outcome = meaning(subscription, stop.value)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - a receiver may raise anything
        # CancelledError too: nobody can cancel this task while the task runs, so the receiver, or
        # something that the receiver waited for, was cancelled.
        outcome = _failed(subscription, time, error)
    end_span(span, (outcome,))
    return outcome


async def _after_a_turn(answer: Outcome) -> Outcome:
    await asyncio.sleep(0)
    return answer


async def finish(
    subscription: Subscription, envelope: Envelope, begun: Begun, deadline: float
) -> Outcome:
    """Run the rest of an attempt, for at most `deadline` seconds."""
    watch = CallWatch(subscription, envelope, begun.call)
    rest = resume(begun.call, begun.waits_for, begun.context, watch.cancelled)
    outcomes: list[Outcome] = []
    try:
        answer = await _finished(watch, rest, begun, deadline)
        outcomes.append(meaning(subscription, answer))
    finally:
        end_span(begun.span, outcomes)
    return outcomes[0]


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
    time = CallTime(waiting=subscription.receiver.options.inbox is not None)
    call = _call_batch(subscription, envelopes, time)
    begun = Begun(call, None, copy_context(), _cancellations(asyncio.current_task()), time)
    watch = CallWatch(subscription, envelopes[0], call)
    rest = complete(call, begun.context, watch.cancelled)
    answer = await _finished(watch, rest, begun, deadline)
    if isinstance(answer, _Undone):
        return [answer.asked.get(envelope.id, _UNTOUCHED) for envelope in envelopes]
    return answer if type(answer) is list else [answer] * len(envelopes)


async def _finished(watch: CallWatch, rest: Awaitable[Any], begun: Begun, deadline: float) -> Any:
    """Return what a call returns, or an outcome if it fails; close what the call left open.

    Args:
        watch: names the receiver and the event.
        rest: the rest of the call.
        begun: the call.
        deadline: seconds, unless the receiver has its own limit.
    """
    subscription, envelope, time = watch.subscription, watch.envelope, begun.time
    seconds = subscription.receiver.options.deadline or deadline
    limit = time.limited(seconds)
    may_wait = True
    try:
        async with limit:
            return await rest
    except (KeyboardInterrupt, GeneratorExit):
        # The event loop does not run any more.
        may_wait = False
        raise
    except BaseException as error:
        # A CancelledError is the receiver's failure unless the owner of this task asked for it:
        # something that the receiver waited for was cancelled, or the receiver cancelled the task.
        # Compared with the count before the call, because a library may leave a request behind
        # that it has answered.
        if (
            isinstance(error, asyncio.CancelledError)
            and _cancellations(asyncio.current_task()) > begun.cancellations
            and is_cancelled_by_owner()
        ):
            raise
        if limit.expired():
            return Failed(f"took longer than its deadline of {seconds:g} s", error)
        return _failed(subscription, time, error)
    finally:
        watch.ended()
        _forget_requests(begun.cancellations)
        # Also when the task is cancelled: the next owner of the partition repeats the call, and
        # must not wait for locks that this call holds.
        if may_wait and (left := left_open(begun.context)):
            await give_back(subscription, envelope, left, begun.context)


def _failed(subscription: Subscription, time: CallTime, error: BaseException) -> Failed | Untouched:
    """Return the outcome of a call that ended with an error."""
    inbox = subscription.receiver.options.inbox
    if inbox is None or not time.waiting or not isinstance(error, DatabaseUnavailable | TryAgain):
        return Failed(describe(error), error)
    # The receiver was not called, and the event is not to blame for the database of the inbox.
    report_wait(inbox, _inbox_name(subscription), error)
    return Untouched(f"its inbox waits: {describe(error)}", wait=_INBOX_PAUSE)


def _cancellations(task: asyncio.Task[Any] | None) -> int:
    """Return how often a task was asked to cancel."""
    return 0 if task is None else task.cancelling()


def _forget_requests(cancellations: int) -> None:
    """Forget that a receiver asked to cancel the task that runs it.

    Libraries of later calls would take the request for one of the task's owner.
    """
    task = asyncio.current_task()
    while task is not None and task.cancelling() > cancellations and not is_cancelled_by_owner():
        task.uncancel()


# One event


def _call(
    subscription: Subscription, envelope: Envelope, time: CallTime
) -> Coroutine[Any, Any, Any] | Done | Bury:
    """Return the call to make, or the outcome if there is no call to make."""
    opened = _open(subscription, envelope)
    if isinstance(opened, Bury):
        return opened
    event, instance = opened
    # The context of this call only: `attempt` runs every call in a context of its own.
    handle(event)
    receiver = subscription.receiver
    if receiver.picky and not receiver.wants(event.data.get("changes"), instance):
        return _SKIPPED
    try:
        keywords = keywords_of(subscription, event, instance)
    except ContractError as error:
        return Bury(str(error), error)
    call: Any = receiver.function(subscription.sender, **keywords)
    inbox = receiver.options.inbox
    return call if inbox is None else _once(subscription, envelope, call, inbox, time=time)


def _open(subscription: Subscription, envelope: Envelope) -> tuple[Event, Any] | Bury:
    """Return the event and the instance; or give the event up, because no attempt can succeed."""
    # The bytes stay the same in every attempt.
    try:
        event = envelope.open()
    except EventError as error:
        return Bury(str(error), error)
    row = event.data.get("instance")
    if row is None:  # an event of a whole set
        return event, None
    try:
        return event, fitted(subscription.read, row, subscription.model)
    except ContractError as error:
        return Bury(str(error), error)


async def _once(
    subscription: Subscription,
    envelope: Envelope,
    call: Coroutine[Any, Any, Any],
    inbox: Inbox,
    *,
    time: CallTime,
) -> Any:
    """Make the call in a transaction of the inbox, unless the inbox knows the event already."""
    try:
        async with Turn(inbox, _inbox_name(subscription)):
            if not await advance(inbox, _inbox_name(subscription), envelope):
                return _SKIPPED
            time.begin()
            outcome = meaning(subscription, await call)
            # The receiver will be called again, or the event is given up. Its writes, and the
            # position in the inbox, must not stay.
            if not isinstance(outcome, Done):
                raise _Undo
            return outcome
    except _Undo:
        return outcome
    finally:
        # Python warns about a coroutine that was made and never awaited.
        call.close()


def _inbox_name(subscription: Subscription) -> str:
    return f"{subscription.group}/{subscription.name}"


# A batch


async def _call_batch(
    subscription: Subscription, envelopes: Sequence[Envelope], time: CallTime
) -> list[Outcome] | _Undone:
    inbox = subscription.receiver.options.inbox
    if inbox is None:
        return await _handle_batch(subscription, envelopes, None, time)
    # A batch is one transaction. An outcome other than done for one event undoes the whole batch.
    asked: dict[str, Outcome] = {}
    try:
        async with Turn(inbox, _inbox_name(subscription)):
            outcomes = await _handle_batch(subscription, envelopes, inbox, time)
            for envelope, outcome in zip(envelopes, outcomes, strict=True):
                if not isinstance(outcome, Done):
                    asked[envelope.id] = outcome
            if asked:
                raise _Undo
            return outcomes
    except _Undo:
        return _Undone(asked)


async def _handle_batch(
    subscription: Subscription,
    envelopes: Sequence[Envelope],
    inbox: Inbox | None,
    time: CallTime,
) -> list[Outcome]:
    """Call the receiver with the events that it wants and that the inbox does not know."""
    receiver = subscription.receiver
    outcomes: list[Outcome] = [_SKIPPED] * len(envelopes)
    wanted: list[int] = []
    instances: list[Any] = []
    events: list[Event] = []
    for number, envelope in enumerate(envelopes):
        opened = _open(subscription, envelope)
        if isinstance(opened, Bury):
            outcomes[number] = opened
            continue
        event, instance = opened
        if receiver.picky and not receiver.wants(event.data.get("changes"), instance):
            continue
        if inbox is None or await advance(inbox, _inbox_name(subscription), envelope):
            wanted.append(number)
            instances.append(instance)
            events.append(event)
    if not wanted:
        return outcomes
    handle_batch(events)
    called = [envelopes[number] for number in wanted]
    with batch_span(subscription, called) as answered:
        time.begin()
        answer = await receiver.function(subscription.sender, instances=instances, events=events)
        answered.extend(meanings(subscription, answer, [each.id for each in called]))
    for number, outcome in zip(wanted, answered, strict=True):
        outcomes[number] = outcome
    return outcomes
