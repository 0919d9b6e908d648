"""Whatever goes wrong around a receiver is that receiver's failed attempt, and ends no tenure."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import BaseModel

import edgy_bus as edgy
from edgy_bus.brokers.base import DeadLetter
from edgy_bus.brokers.memory import MemoryBroker
from edgy_bus.retrying import Bury, Retry, RetryLater, Snooze
from edgy_bus.runtime.executor import execute, execute_batch
from edgy_bus.runtime.outcome import Done, Failed, GiveUp, Note, decide
from edgy_bus.runtime.subscriptions import Subscription
from edgy_bus.signals import read_by
from tests.support import PARTITION, Told, event, eventually, publish
from tests.unit.runtime.support import QUICK, Effects, Group, envelope, subscribe

PLANTED = "planted@example.com"


class Nasty(BaseException):
    """Not an Exception, as some libraries have them."""


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


ERRORS = [
    ValueError("no"),
    Nasty("no"),
    SystemExit(3),
    asyncio.CancelledError(),
    GeneratorExit(),
    StopIteration(),
    StopAsyncIteration(),
    Unprintable(),
    BaseExceptionGroup("many", [ValueError("no"), Nasty("no")]),
]


def name_of(error: object) -> str:
    return type(error).__name__


def raising(error: BaseException) -> Callable[..., Any]:
    def function(*_: Any) -> Any:
        raise error

    return function


async def nothing(sender: Any, **kwargs: Any) -> None: ...


class BrokenInbox:
    """A database whose table of inboxes is missing, say."""

    dialect = SimpleNamespace(name="postgresql")

    def transaction(self) -> Any:
        raise LookupError("no such table: edgy_bus_inbox")

    async def run(self, statement: Any, parameters: Any = None) -> Any: ...


def around(error: BaseException) -> Mapping[str, Subscription]:
    """Subscriptions that fail with an error in each of the steps around a call."""

    async def at_once(sender: Any, **kwargs: Any) -> None:
        raise error

    async def later(sender: Any, **kwargs: Any) -> None:
        await asyncio.sleep(0)
        raise error

    return {
        "where": subscribe(nothing, where=raising(error)),
        "read": replace(subscribe(nothing), read=raising(error)),
        "at once": subscribe(at_once),
        "later": subscribe(later),
        "where of a batch": subscribe(nothing, where=raising(error), batch=edgy.Batch(1)),
        "read of a batch": replace(subscribe(nothing, batch=edgy.Batch(1)), read=raising(error)),
        "a batch at once": subscribe(at_once, batch=edgy.Batch(1)),
        "a batch later": subscribe(later, batch=edgy.Batch(1)),
    }


STEPS = list(around(ValueError()))
READING = [step for step in STEPS if step.startswith("read")]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("error", ERRORS, ids=name_of)
async def test_any_error_in_any_step_is_a_failed_attempt(error: BaseException, step: str) -> None:
    outcome = await execute(around(error)[step], envelope(), 5)
    if step in READING and isinstance(error, Exception):
        # The bytes of the row stay the same, so that no attempt can succeed.
        name = type(error).__name__
        assert outcome == Bury(f"the row does not fit accounts.User: {name}")
        return
    assert isinstance(outcome, Failed)
    # Python turns these into a RuntimeError where they leave a coroutine or a generator.
    if not isinstance(error, GeneratorExit | StopIteration | StopAsyncIteration):
        assert outcome.reason.startswith(type(error).__name__)


@pytest.mark.parametrize("step", STEPS)
async def test_an_operators_interrupt_is_not_swallowed(step: str) -> None:
    # Not in a task: asyncio passes KeyboardInterrupt out of the loop, as the operator wants.
    call = execute(around(KeyboardInterrupt())[step], envelope(), 5)
    with pytest.raises(KeyboardInterrupt):
        await call


@pytest.mark.parametrize("step", STEPS)
async def test_a_partition_goes_on_whatever_a_receiver_raises(step: str) -> None:
    seen: list[int] = []

    async def other(sender: Any, event: Any, **kwargs: Any) -> None:
        seen.append(event.sequence)

    broker = MemoryBroker()
    await publish(broker, event("1", 1), event("2", 2))
    bad = around(Nasty("no"))[step]
    group = Group(broker, bad, subscribe(other, name="other"))
    with Told() as told:
        tenure = await group.begin()
        await eventually(lambda: group.stats.dead == 2)
        await publish(broker, event("3", 3))
        tenure.wake()
        await eventually(lambda: seen == [1, 2, 3] and group.stats.dead == 3)
        await group.end(tenure)
    assert not told.of("tenure.failed")
    assert not told.of("service.failed")
    letters = await broker.dead_letters(PARTITION, "mail")
    assert {letter.attempts for letter in letters} == {QUICK.attempts}
    assert await group.unfinished() == 0


async def test_a_cancelled_call_that_a_receiver_waits_for_is_the_receivers_failure() -> None:
    """A client library cancels what waits for it when its connection is closed."""

    async def receiver(sender: Any, **kwargs: Any) -> None:
        request = asyncio.ensure_future(asyncio.sleep(3600))
        asyncio.get_running_loop().call_soon(request.cancel)
        await request

    assert await execute(subscribe(receiver), envelope(), 5) == Failed("CancelledError")


async def test_an_answered_cancellation_is_not_counted_against_the_next_receiver() -> None:
    """A library that cancels its own task and answers that leaves the task's count raised."""

    async def careless(sender: Any, **kwargs: Any) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            return

    async def cancelled(sender: Any, **kwargs: Any) -> None:
        await asyncio.sleep(0)
        raise asyncio.CancelledError

    assert await execute(subscribe(careless), envelope(), 5) == Done()
    assert await execute(subscribe(cancelled), envelope(), 5) == Failed("CancelledError")


@pytest.mark.parametrize("waits", [True, False])
async def test_a_receiver_that_cancels_its_own_task_fails_alone(waits: bool) -> None:
    calls: list[int] = []

    async def suicidal(sender: Any, event: Any, **kwargs: Any) -> None:
        calls.append(event.sequence)
        task = asyncio.current_task()
        assert task is not None
        if event.sequence == 1:
            task.cancel()
        if waits:
            await asyncio.sleep(0)

    broker = MemoryBroker()
    await publish(broker, event("1", 1), event("1", 2))
    group = Group(broker, subscribe(suicidal))
    with Told() as told:
        tenure = await group.begin()
        await eventually(lambda: group.stats.dead == 1 and calls[-1] == 2)
        await group.end(tenure)
    assert calls == [1] * QUICK.attempts + [2]
    assert not told.of("tenure.failed")
    (letter,) = await broker.dead_letters(PARTITION, "mail")
    assert letter.reason == "CancelledError"


async def test_a_request_to_cancel_does_not_stay_with_the_runner() -> None:
    """Libraries of later calls would take the request for one of the task's owner."""
    requests: list[int] = []

    async def cancels(sender: Any, **kwargs: Any) -> None:
        task = asyncio.current_task()
        assert task is not None
        requests.append(task.cancelling())
        task.cancel()

    broker = MemoryBroker()
    await publish(broker, event("1", 1), event("2", 2))
    group = Group(broker, subscribe(cancels, retry=Retry(attempts=1)), concurrency=1)
    tenure = await group.begin()
    await eventually(lambda: group.stats.dead == 2)
    await group.end(tenure)
    assert requests == [0, 0]


async def test_a_call_that_nobody_waits_for_any_more_can_be_closed() -> None:
    async def receiver(sender: Any, **kwargs: Any) -> None:
        await asyncio.Event().wait()

    call = execute(subscribe(receiver), envelope(), 5)
    call.send(None)
    call.close()  # would raise if the call went on


# The steps around the call


async def test_an_inbox_without_its_table_is_a_failed_attempt() -> None:
    inbox: Any = BrokenInbox()
    for options in ({}, {"batch": edgy.Batch(1)}):
        outcome = await execute(subscribe(nothing, inbox=inbox, **options), envelope(), 5)
        assert outcome == Failed("LookupError: no such table: edgy_bus_inbox")


@pytest.mark.parametrize("data", [{"kwargs": 5}, {"assigned": 5}, {"assigned": [[]]}])
async def test_data_that_makes_no_keywords_is_a_failed_attempt(data: dict[str, Any]) -> None:
    made = envelope(signal="post_update", **data)
    outcome = await execute(subscribe(nothing, "post_update"), made, 5)
    assert isinstance(outcome, Failed)


class Contract(BaseModel):
    id: int
    email: int


def reading(row: Mapping[str, Any] | None) -> Any:
    return None if row is None else read_by(Contract, row)


@pytest.mark.parametrize("batch", [None, edgy.Batch(1)])
async def test_a_row_that_does_not_fit_is_given_up_at_once_and_no_value_is_shown(
    batch: edgy.Batch | None,
) -> None:
    chosen = replace(subscribe(nothing, batch=batch), read=reading)
    made = envelope(instance={"id": 1, "email": PLANTED})
    outcome = await execute(chosen, made, 5)
    assert outcome == Bury("the row does not fit Contract: email (int_parsing)")


async def test_a_row_that_does_not_fit_takes_no_other_event_of_a_batch_along() -> None:
    chosen = replace(subscribe(nothing, batch=edgy.Batch()), read=reading)
    bad = envelope(instance={"id": 1, "email": PLANTED})
    good = envelope(instance={"id": 2, "email": 5})
    outcomes = await execute_batch(chosen, [bad, good], 5)
    assert isinstance(outcomes[0], Bury)
    assert outcomes[1] == Done()


@pytest.mark.parametrize(
    "answer", [[], "done", b"done", 5, object(), {1: None}, NotImplemented, iter([edgy.retry()])]
)
async def test_an_answer_without_a_meaning_means_done_and_is_reported_once(answer: Any) -> None:
    async def receiver(sender: Any, **kwargs: Any) -> Any:
        return answer

    single, batch = subscribe(receiver), subscribe(receiver, batch=edgy.Batch())
    with Told() as told:
        for _ in range(3):
            assert await execute(single, envelope(), 5) == Done()
    assert [fields["receiver"] for fields in told.of("receiver.unknown_answer")] == ["r"]
    with Told() as told:
        for _ in range(3):
            assert await execute_batch(batch, [envelope(), envelope()], 5) == [Done(), Done()]
    assert len(told.of("receiver.unknown_answer")) == 1


async def never_awaited() -> None: ...


WANTS_SOMETHING: list[Callable[[], Any]] = [
    lambda: edgy.retry,
    lambda: edgy.snooze,
    lambda: edgy.dead_letter,
    lambda: RetryLater,
    lambda: Snooze,
    lambda: Bury,
    lambda: ValueError("returned"),
    lambda: ValueError,
    never_awaited,
]


@pytest.mark.parametrize("make", WANTS_SOMETHING)
async def test_an_answer_that_cannot_mean_done_is_a_failed_call(make: Callable[[], Any]) -> None:
    async def receiver(sender: Any, **kwargs: Any) -> Any:
        return make()

    async def mapping(sender: Any, events: Any, **kwargs: Any) -> Any:
        return {events[0].id: make()}

    outcome = await execute(subscribe(receiver), envelope(), 5)
    assert isinstance(outcome, Failed)
    assert outcome.reason.startswith("the receiver returned ")
    outcomes = await execute_batch(
        subscribe(mapping, batch=edgy.Batch()), [envelope(), envelope()], 5
    )
    assert isinstance(outcomes[0], Failed)
    assert outcomes[1] == Done()


@pytest.mark.parametrize(
    "make",
    [
        lambda _: [edgy.retry(after=1)],
        lambda _: (None, ValueError("no")),
        lambda _: {"unknown": edgy.retry()},
        lambda events: {event: edgy.snooze(1) for event in events},
        lambda _: [Snooze],
    ],
)
async def test_outcomes_in_a_form_without_a_meaning_fail_the_batch(make: Any) -> None:
    async def receiver(sender: Any, events: Any, **kwargs: Any) -> Any:
        return make([event.id + "x" for event in events])

    batch = subscribe(receiver, batch=edgy.Batch())
    outcomes = await execute_batch(batch, [envelope(), envelope()], 5)
    assert [type(outcome) for outcome in outcomes] == [Failed, Failed]


@pytest.mark.parametrize("inbox", [False, True])
async def test_an_outcome_that_passed_by_its_checks_is_a_failed_call(
    effects: Effects, inbox: bool
) -> None:
    class Hidden(Snooze):
        def __post_init__(self) -> None: ...

    for answer in (Hidden(float("nan")), Hidden("x"), Snooze.__new__(Snooze)):  # type: ignore[arg-type]

        async def receiver(sender: Any, answer: Any = answer, **kwargs: Any) -> Any:
            return answer

        options = {"inbox": effects.registry.database} if inbox else {}
        outcome = await execute(subscribe(receiver, **options), envelope(), 5)
        assert isinstance(outcome, Failed)


async def test_a_mapping_that_breaks_when_it_is_read_is_a_failed_attempt() -> None:
    class Breaks(dict[str, Any]):
        def get(self, *_: Any) -> Any:
            raise LookupError("broken")

    async def receiver(sender: Any, **kwargs: Any) -> Any:
        return Breaks()

    batch = subscribe(receiver, batch=edgy.Batch())
    failed = Failed("LookupError: broken")
    assert await execute_batch(batch, [envelope(), envelope()], 5) == [failed, failed]


@pytest.mark.parametrize("wait", [float("nan"), float("inf"), -1, True, "3", 10**400])
def test_a_retry_policy_that_answers_no_wait_gives_up(wait: Any) -> None:
    @dataclass(frozen=True)
    class Broken(Retry):
        def wait(self, failed: int, chance: float | None = None) -> float | None:
            return wait

    decision = decide(Failed("no"), Note(), Broken(), 100.0)
    assert isinstance(decision, GiveUp)
    assert "the retry policy failed" in decision.reason


def test_a_retry_policy_that_raises_gives_up() -> None:
    @dataclass(frozen=True)
    class Broken(Retry):
        def wait(self, failed: int, chance: float | None = None) -> float | None:
            raise ZeroDivisionError("no delay")

    decision = decide(Failed("no"), Note(), Broken(), 100.0)
    assert decision == GiveUp(1, "no; the retry policy failed: ZeroDivisionError: no delay")


async def test_a_long_text_of_an_error_is_cut() -> None:
    async def receiver(sender: Any, **kwargs: Any) -> None:
        raise ValueError("x" * 1_000_000)

    broker = MemoryBroker()
    await publish(broker, event("1", 1))
    group = Group(broker, subscribe(receiver, retry=Retry(attempts=1)))
    tenure = await group.begin()
    await eventually(lambda: group.stats.dead == 1)
    await group.end(tenure)
    (letter,) = await broker.dead_letters(PARTITION, "mail")
    assert isinstance(letter, DeadLetter)
    assert len(letter.reason) == 2_000
