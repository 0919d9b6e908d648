"""When the breaker of a receiver opens and closes, and what its receiver does meanwhile."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from edgy_bus.brokers.base import Trip
from edgy_bus.brokers.memory import MemoryBroker
from edgy_bus.errors import BrokerError, SignalError
from edgy_bus.retrying import Retry, RetryLater
from edgy_bus.runtime.breaker import Circuit, Opening
from edgy_bus.runtime.breakers import Breakers
from edgy_bus.runtime.slots import ReceiverSlots
from edgy_bus.runtime.subscriptions import Subscription, Subscriptions
from edgy_bus.runtime.worker import Worker
from edgy_bus.signals import Breaker
from tests.support import Told, eventually
from tests.unit.runtime.programs import PARTITIONS, SETTINGS, Programs
from tests.unit.runtime.support import envelope, subscribe

QUICK = Breaker(failures=4, first=0.3, most=0.6, lasting=3600)


def failed(circuit: Circuit, *rows: str) -> list[bool]:
    return [circuit.fail(("accounts.User", row), "away") for row in rows]


def test_a_breaker_opens_when_the_calls_of_enough_rows_have_failed() -> None:
    circuit = Circuit(Breaker(failures=3))
    assert failed(circuit, "1", "2", "1", "2") == [False] * 4, "two bad rows"
    assert failed(circuit, "3") == [True]
    assert circuit.opening == Opening(5.0, 1, "away")
    assert (circuit.is_open, circuit.limit(0)) == (True, 0)
    assert failed(circuit, "4") == [False], "a call that ran when it opened"


@pytest.mark.parametrize(
    ("step", "seconds"), [(1, 10.0), (2, 20.0), (3, 40.0), (4, 60.0), (5, 60.0), (5_000, 60.0)]
)
def test_a_breaker_opens_for_twice_as_long_each_time(step: int, seconds: float) -> None:
    circuit = Circuit(Breaker(), trip=Trip(0.0, 100.0, step, ""))
    assert circuit.limit(0) == 1, "half-open"
    assert circuit.fail(("accounts.User", "1"), "away")
    assert circuit.opening == Opening(seconds, step + 1, "away")


def test_after_long_enough_the_breaker_stays_closed_until_a_call_succeeds() -> None:
    circuit = Circuit(Breaker(lasting=3600), trip=Trip(0.0, 3600.0, 40, ""))
    assert circuit.limit(0) is None
    assert not circuit.fail(("accounts.User", "1"), "away")
    assert not circuit.is_open


def test_a_trip_of_another_process_lets_no_call_begin() -> None:
    circuit = Circuit(Breaker(), trip=Trip(3.0, 3.0, 1, ""))
    assert (circuit.is_open, circuit.limit(0)) == (True, 0)


def test_calls_that_hang_keep_no_call_from_trying_whether_the_service_is_back() -> None:
    circuit = Circuit(Breaker(), trip=Trip(3.0, 3.0, 1, ""))
    assert circuit.limit(5) == 0
    circuit.trip = Trip(0.0, 8.0, 1, "")
    assert circuit.limit(3) == 4, "two of five have ended"
    assert circuit.limit(4) == 4, "the one that tries"
    assert circuit.limit(2) == 3, "another one that hung has ended"
    assert circuit.limit(3) == 3
    circuit.trip = Trip(3.0, 9.0, 2, "")
    assert circuit.limit(3) == 0
    circuit.trip = Trip(0.0, 12.0, 2, "")
    assert circuit.limit(3) == 4, "those that tried may hang as well"


@pytest.mark.parametrize(
    "wrong",
    [
        {"failures": 0},
        {"failures": 1.5},
        {"failures": 10_001},
        {"first": 0},
        {"most": float("nan")},
        {"lasting": float("inf")},
        {"first": "5"},
    ],
)
def test_a_breaker_has_numbers_that_mean_something(wrong: dict[str, Any]) -> None:
    (name,) = wrong
    with pytest.raises(SignalError, match=rf"Breaker\({name}="):
        Breaker(**wrong)


def test_the_slots_of_a_receiver_follow_its_limit() -> None:
    slots, called = ReceiverSlots(2), []

    def again() -> None:
        called.append(slots.take("a", again))

    slots.limit("a", 0)
    assert "a" in slots.full
    assert not slots.take("a", again)
    slots.limit("a", 1)
    assert called == [True]
    assert "a" in slots.full
    slots.limit("a", None)
    assert "a" not in slots.full
    slots.occupy("a")
    slots.limit("a", 0)
    slots.give_back("a")
    slots.give_back("a")
    assert "a" in slots.full
    slots.limit("a", None)
    assert "a" not in slots.full


async def test_calls_stop_at_once_and_the_broker_learns_of_it() -> None:
    broker, woken = MemoryBroker(), asyncio.Event()
    subscriptions = Subscriptions("mail", [subscribe(_nothing, name="b", breaker=QUICK)])
    breakers = Breakers(broker, subscriptions, 64, woken.set)
    for row in range(QUICK.failures):
        assert "b" not in breakers.slots.full
        breakers.failed("b", envelope(subject=str(row)), "away", shared=False)
    assert "b" in breakers.slots.full
    assert breakers.open == {"b"}
    assert woken.is_set()
    await breakers.exchange()
    tripped = (await broker.members("mail")).tripped
    assert (tripped["b"].step, tripped["b"].is_open) == (1, True)
    breakers.note(tripped)
    assert breakers.open == {"b"}
    # The time is over: a call at a time.
    breakers.note({"b": Trip(0.0, 1.0, 1, "away")})
    assert breakers.open == frozenset()
    breakers.slots.occupy("b")
    assert "b" in breakers.slots.full
    breakers.slots.give_back("b")
    assert "b" not in breakers.slots.full
    breakers.succeeded("b")
    await breakers.exchange()
    assert (await broker.members("mail")).tripped == {}
    assert breakers.circuits == {}


def test_a_breaker_that_another_process_closes_is_closed_here() -> None:
    subscriptions = Subscriptions("mail", [subscribe(_nothing, name="b", breaker=QUICK)])
    breakers = Breakers(MemoryBroker(), subscriptions, 64, lambda: None)
    breakers.note({"b": Trip(3.0, 1.0, 1, "away"), "of another program": Trip(3.0, 1.0, 1, "")})
    assert (breakers.open, "b" in breakers.slots.full) == ({"b"}, True)
    breakers.note({})
    assert (breakers.open, "b" in breakers.slots.full) == (frozenset(), False)


def test_a_failed_batch_is_one_call_and_opens_a_half_open_breaker() -> None:
    subscriptions = Subscriptions("mail", [subscribe(_nothing, name="b", breaker=QUICK)])
    breakers = Breakers(MemoryBroker(), subscriptions, 64, lambda: None)
    for row in range(3 * QUICK.failures):
        breakers.failed("b", envelope(subject=str(row)), "away", shared=True)
    assert breakers.open == frozenset()
    breakers.note({"b": Trip(0.0, 1.0, 1, "away")})
    breakers.failed("b", envelope(subject="1"), "away", shared=True)
    assert breakers.open == {"b"}


@pytest.mark.parametrize("breaker", [QUICK, None])
@pytest.mark.parametrize("names_it", ["post_save", "post_update"])
def test_a_receiver_of_several_signals_names_its_breaker_once(
    breaker: Breaker | None, names_it: str
) -> None:
    several = [
        subscribe(_nothing, name="b", signal=signal, **options)
        for signal in ("post_save", "post_update")
        for options in [{"breaker": breaker} if signal == names_it else {}]
    ]
    assert _rows_until_open(several) == (None if breaker is None else breaker.failures)


def test_a_receiver_has_a_breaker_by_default() -> None:
    assert _rows_until_open([subscribe(_nothing, name="b")]) == Breaker().failures


def _rows_until_open(subscriptions: list[Subscription]) -> int | None:
    breakers = Breakers(MemoryBroker(), Subscriptions("mail", subscriptions), 64, lambda: None)
    for row in range(100):
        breakers.failed("b", envelope(subject=str(row)), "away", shared=False)
        if breakers.open == {"b"}:
            return row + 1
    return None


async def _nothing(sender: Any, **kwargs: Any) -> None: ...


# The receiver


class Downstream:
    """A program with the receiver `b`, which calls a service, and its neighbour `a`."""

    def __init__(self, programs: Programs, **options: Any) -> None:
        self.programs = programs
        self.attempts: list[str] = []
        self.answers = False
        receive = programs._receiver("b")

        async def call(sender: Any, instance: Any, event: Any, **kwargs: Any) -> Any:
            self.attempts.append(event.id)
            await asyncio.sleep(0)
            if not self.answers:
                raise ConnectionError("the service is away")
            return await receive(sender, instance=instance, event=event)

        retry = Retry(attempts=1_000, delay=0.01, factor=1)
        options = {"breaker": QUICK, "retry": retry, **options}
        self._subscriptions = [
            subscribe(call, name="b", **options),
            subscribe(programs._receiver("a"), name="a"),
        ]

    def worker(self) -> Worker:
        subscriptions = Subscriptions("mail", self._subscriptions)
        return Worker(self.programs.broker, [subscriptions], SETTINGS)


@pytest.fixture
def programs() -> Programs:
    return Programs()


async def test_a_downstream_that_is_away_costs_few_attempts_and_no_letter(
    programs: Programs,
) -> None:
    downstream = Downstream(programs)
    # More rows than the breaker needs: each partition has one.
    assert len(PARTITIONS) == QUICK.failures
    await programs.publish(3)
    with Told() as told:
        async with downstream.worker(), downstream.worker():
            await eventually(lambda: told.of("breaker.opened"))
            await programs.publish(3)
            await eventually(lambda: programs.has_all("a"), "the neighbour goes on")
            await eventually(lambda: len(told.of("breaker.opened")) >= 4)
            before = len(downstream.attempts)
            downstream.answers = True
            await eventually(lambda: programs.has_all("a", "b"), "everything, in order")
            await eventually(lambda: told.of("breaker.closed"))
            await eventually(lambda: _closed(programs.broker))
            await eventually(programs.finished)
    # Up to the first opening every row fails a few times; each later opening costs a call of each
    # process.
    assert before < 40, before
    assert {notice["reason"] for notice in told.of("breaker.opened")} == {
        "ConnectionError: the service is away"
    }
    assert await programs.broker.dead_letters(PARTITIONS[0], "mail") == []


async def test_a_worker_that_begins_later_does_not_call_either(programs: Programs) -> None:
    downstream = Downstream(programs)
    await programs.publish(1)
    # The group has the receiver before.
    async with downstream.worker():
        await eventually(lambda: downstream.attempts)
    await programs.broker.trip("mail", "b", 3600, 1_000, "away")
    before = len(downstream.attempts)
    async with downstream.worker():
        await programs.publish(1)
        await eventually(lambda: programs.has_all("a"))
        assert len(downstream.attempts) == before
        # An operator who knows better.
        downstream.answers = True
        assert await programs.broker.reset("mail", "b")
        await eventually(lambda: programs.has_all("a", "b"))


async def test_a_half_open_breaker_lets_one_call_try(programs: Programs) -> None:
    once = Breaker(failures=4, first=3600, most=3600)
    # More partitions, and so more rows, than calls that may try.
    assert len(PARTITIONS) > 1
    downstream = Downstream(programs, breaker=once)
    await programs.publish(3)
    await programs.broker.trip("mail", "b", 0.2, 1, "away")
    with Told() as told:
        async with downstream.worker():
            await eventually(lambda: told.of("breaker.opened"))
            await programs.publish(3)
            await eventually(lambda: programs.has_all("a"))
            await eventually(lambda: _aside(programs))
    assert len(downstream.attempts) == 1


async def test_work_that_has_a_slot_does_not_begin_once_the_breaker_is_open(
    programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    go, begun = asyncio.Event(), list[str]()

    async def slow(sender: Any, event: Any, **kwargs: Any) -> None:
        begun.append(event.subject)
        await go.wait()

    subscriptions = Subscriptions("mail", [subscribe(slow, name="b")])
    settings = SETTINGS.model_copy(update={"concurrency": 1})
    worker = Worker(programs.broker, [subscriptions], settings)
    await programs.publish(1)
    async with worker:
        await eventually(lambda: len(begun) == 1)
        slots = worker.consumers[0]._breakers.slots
        take = slots.take

        def take_and_close(receiver: str, otherwise: Callable[[], None]) -> bool:
            taken = take(receiver, otherwise)
            if taken:
                slots.limit(receiver, 0)
            return taken

        await eventually(lambda: slots._of("b").wanted, "the other rows wait for the slot")
        monkeypatch.setattr(slots, "take", take_and_close)
        go.set()
        await eventually(lambda: slots._of("b").busy == 0 or len(begun) > 1)
        assert len(begun) == 1
        monkeypatch.undo()
        slots.limit("b", None)
        await eventually(lambda: len(begun) == len(PARTITIONS))


async def test_a_broker_that_refuses_a_breaker_keeps_no_worker_away(programs: Programs) -> None:
    class Refusing(MemoryBroker):
        async def trip(self, *args: Any, **kwargs: Any) -> None:
            raise BrokerError("NOPERM")

    programs.broker = Refusing()
    downstream = Downstream(programs)
    await programs.publish(1)
    with Told() as told:
        async with downstream.worker():
            await eventually(lambda: told.of("consumer.failed"))
            # The worker learns of what is decided after the refusal.
            await programs.broker.pause("mail", None, "ana")
            await eventually(lambda: told.of("group.paused"))


@pytest.mark.parametrize(
    "options", [{"breaker": None}, {"breaker": Breaker(failures=5)}], ids=["none", "higher"]
)
async def test_few_bad_rows_open_no_breaker(programs: Programs, options: dict[str, Any]) -> None:
    downstream = Downstream(programs, **options)
    await programs.publish(1)
    with Told() as told:
        async with downstream.worker():
            await eventually(lambda: len(downstream.attempts) > 40)
    assert told.of("breaker.opened") == []


async def test_what_a_receiver_asks_for_opens_no_breaker(programs: Programs) -> None:
    calls = 0

    async def later(sender: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        return RetryLater(0.01)

    subscription = subscribe(later, name="b", breaker=QUICK, retry=Retry(attempts=1_000))
    worker = Worker(programs.broker, [Subscriptions("mail", [subscription])], SETTINGS)
    await programs.publish(1)
    with Told() as told:
        async with worker:
            await eventually(lambda: calls > 40)
    assert told.of("breaker.opened") == []


async def _aside(programs: Programs) -> bool:
    return "b" in await programs.aside()


async def _closed(broker: MemoryBroker) -> bool:
    return not (await broker.members("mail")).tripped
