"""Calls one receiver with one event, and answers what came of it. Writes nothing down."""

import asyncio
from typing import Any

from edgy_bus.codec import Envelope
from edgy_bus.errors import EventError
from edgy_bus.events import Event
from edgy_bus.retry import Asked, Bury, RetryLater, Snooze
from edgy_bus.runtime.inbox import advance
from edgy_bus.runtime.outcome import Done, Failed, Outcome
from edgy_bus.runtime.subscriptions import Subscription
from edgy_bus.signals import Inbox

_LONGEST_REASON = 2_000


class _Undo(Exception):
    """Carries what a receiver asked for out of its transaction, which is rolled back by it."""

    def __init__(self, asked: Asked) -> None:
        self.asked = asked


async def execute(subscription: Subscription, envelope: Envelope, deadline: float) -> Outcome:
    """Run the receiver, for at most `deadline` seconds. What it raises becomes an outcome; cancelling it does not."""
    limit = asyncio.timeout(subscription.receiver.options.deadline or deadline)
    try:
        async with limit:
            return await _call(subscription, envelope)
    except _Undo as undo:
        return undo.asked
    except Exception as error:  # noqa: BLE001 - a receiver may raise what it likes
        if limit.expired():
            return Failed(f"took longer than its deadline of {subscription.receiver.options.deadline or deadline:g} s")
        return Failed(f"{type(error).__name__}: {error}"[:_LONGEST_REASON])


async def _call(subscription: Subscription, envelope: Envelope) -> Outcome:
    try:
        event = envelope.open()
    except EventError as error:
        return Bury(str(error))  # no attempt can succeed
    options = subscription.receiver.options
    instance = subscription.read(event.data.get("instance"))
    if not subscription.receiver.wants(event.data.get("changes"), instance):
        return Done(skipped=True)
    if options.inbox is None:
        return _outcome(await _receive(subscription, event, instance))
    return await _call_once(subscription, envelope, event, instance, options.inbox)


async def _call_once(
    subscription: Subscription, envelope: Envelope, event: Event, instance: Any, inbox: Inbox
) -> Outcome:
    async with inbox.transaction():
        if not await advance(inbox, f"{subscription.group}/{subscription.name}", envelope):
            return Done(skipped=True)
        outcome = _outcome(await _receive(subscription, event, instance))
        if isinstance(outcome, Asked):
            raise _Undo(outcome)
    return outcome


async def _receive(subscription: Subscription, event: Event, instance: Any) -> Any:
    return await subscription.receiver.function(subscription.sender, instance=instance, **_keywords(event, instance))


def _keywords(event: Event, instance: Any) -> dict[str, Any]:
    """Named as Edgy names them, so that a receiver need not know where it runs."""
    data = event.data
    given: dict[str, Any] = {**(data.get("kwargs") or {}), "event": event, "model_instance": instance}
    if event.signal.startswith(("post_", "pre_")):
        changes = data.get("changes")
        values = {name: change["new"] for name, change in changes.items()} if changes else data.get("values")
        given |= {"changes": changes, "values": values, "column_values": values}
        given["is_update"] = bool(data.get("is_update", False))
        given["row_count"] = data.get("row_count", 1)
    if event.signal.startswith("post_"):
        given["operation_skipped"] = False
    return given


def _outcome(answer: Any) -> Outcome:
    return answer if isinstance(answer, RetryLater | Snooze | Bury) else Done()
