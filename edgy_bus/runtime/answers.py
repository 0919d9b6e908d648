"""Find the meaning of what a receiver returned.

An outcome is taken as it is, after another look at its numbers. Nothing, and any other value, means
done; a value that is no outcome is reported once for each receiver. A value by which the receiver
cannot mean "done" is a failed call: an error, an outcome that was not made, a coroutine that nobody
awaited. Taken as done, what the receiver wanted would be lost.
"""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from edgy_bus import telemetry
from edgy_bus.reasons import describe
from edgy_bus.retrying import Bury, RetryLater, Snooze, dead_letter, retry, snooze
from edgy_bus.runtime.outcome import Done, Failed, Outcome, Untouched
from edgy_bus.runtime.subscriptions import Subscription
from edgy_bus.telemetry import catalogue

T = TypeVar("T")

_DONE = Done()
_OURS = (Done, Failed, Untouched)
_MAKERS = {RetryLater: "retry", Snooze: "snooze", Bury: "dead_letter"}
_FUNCTIONS = {retry: "retry", snooze: "snooze", dead_letter: "dead_letter"}

_MOST_LOOKED_AT = 10_000
"""Values of a batch receiver's answer that are looked at."""

_MOST_REPORTED = 5
"""Kinds of answers of a receiver that are reported: a type may be made anew for each call."""


class _NotUnderstood(Exception):
    """An answer that asks for something, in a form that has no meaning."""


def meaning(subscription: Subscription, answer: object) -> Outcome:
    """Return the outcome of a call that returned `answer`."""
    if answer is None:
        return _DONE
    outcome = _understood(lambda: _asked_for(answer))
    if outcome is None:
        _report(subscription, f"a value of the type {type(answer).__name__}")
        return _DONE
    return outcome


def meanings(subscription: Subscription, answer: object, ids: Sequence[str]) -> list[Outcome]:
    """Return the outcome of each event of a batch, after a call that returned `answer`.

    Args:
        subscription: the batch receiver.
        answer: an outcome for all events, or a mapping from event ids to the outcomes of some.
        ids: the ids of the events that the receiver was called with.
    """
    outcomes = _understood(lambda: _by_event(subscription, answer, ids))
    if outcomes is None:
        return [meaning(subscription, answer)] * len(ids)
    return [outcomes] * len(ids) if isinstance(outcomes, Failed) else outcomes


def _understood(look: Callable[[], T]) -> T | Failed:
    """Return what a look at an answer finds, or the failed call if the look ends by an error."""
    try:
        return look()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - an answer is an object of the application
        return Failed(describe(error), error)


def _by_event(
    subscription: Subscription, answer: object, ids: Sequence[str]
) -> list[Outcome] | None:
    """Return the outcomes of a mapping; None for an answer about all events."""
    if not isinstance(answer, Mapping):
        if isinstance(answer, Iterable) and not isinstance(answer, str | bytes):
            _refuse_outcomes(answer)
        return None
    batch = frozenset(ids)
    for key, value in answer.items():
        if key in batch:
            continue
        if value is not None and _asked_for(value) is not None:
            raise _NotUnderstood(
                "the receiver returned a mapping with an outcome for something that is no event "
                "of the batch: its keys must be the `id` of events"
            )
        _report(subscription, "a mapping with keys that are no ids of the batch's events")
    return [meaning(subscription, answer.get(event_id)) for event_id in ids]


def _refuse_outcomes(answer: Iterable[object]) -> None:
    # An iterator is not looked into: that would run more of the application's code.
    if isinstance(answer, Sequence | set | frozenset) and any(
        _asked_for(value) is not None for value in list(answer)[:_MOST_LOOKED_AT]
    ):
        raise _NotUnderstood(
            f"the receiver returned outcomes in a {type(answer).__name__}: return an outcome for "
            "all events, or a mapping from `event.id` to outcomes"
        )


def _asked_for(answer: object) -> Outcome | None:
    """Return the outcome that an answer asks for; None for a value that asks for nothing.

    Raises:
        ConfigurationError: for an outcome with numbers out of range.
    """
    match answer:
        # Made again: a subclass, or a copy, may have passed by the checks.
        case RetryLater():
            return RetryLater(answer.after)
        case Snooze():
            return Snooze(answer.seconds)
        case Bury():
            return Bury(answer.reason, answer.error)
        case BaseException():
            return Failed(f"the receiver returned an error: {describe(answer)}", answer)
    if isinstance(answer, _OURS):
        return answer
    mistake = _mistake(answer)
    return None if mistake is None else Failed(f"the receiver returned {mistake}")


def _mistake(answer: object) -> str | None:
    """Describe a value by which no receiver means that it is done."""
    if inspect.iscoroutine(answer):
        # Python would warn about it later, in a place that says nothing.
        answer.close()
        return "a coroutine that nobody awaited: await the call, or return its result"
    if isinstance(answer, type) and issubclass(answer, BaseException):
        return f"the class {answer.__name__} of an error: raise the error"
    name = next((name for each, name in _FUNCTIONS.items() if answer is each), None)
    if isinstance(answer, type) and name is None:
        name = next((name for each, name in _MAKERS.items() if issubclass(answer, each)), None)
    if name is not None:
        return f"{name} itself, not an outcome: call the function, `return {name}(…)`"
    return None


def _report(subscription: Subscription, answer: str) -> None:
    # Once: the receiver returns the same for every event.
    if answer in subscription.reported or len(subscription.reported) >= _MOST_REPORTED:
        return
    subscription.reported.add(answer)
    telemetry.emit(
        catalogue.ReceiverAnswerUnknown(
            group=subscription.group, receiver=subscription.name, answer=answer
        )
    )
