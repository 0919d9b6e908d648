"""Batch receivers: when they are called, with what, and what becomes of their answers."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

import edgy_bus as edgy
from edgy_bus.brokers.memory import MemoryBroker
from edgy_bus.retrying import Bury, Retry, RetryLater
from edgy_bus.runtime import in_hand, lanes
from edgy_bus.runtime.executor import execute, execute_batch
from edgy_bus.runtime.outcome import Done, Failed, Untouched
from edgy_bus.signals import Options
from tests.support import PARTITION, Told, event, eventually, publish
from tests.unit.runtime.support import Effects, Group, envelope, subscribe

LONG = 3600.0
"""Seconds that no test waits: a batch that closes has closed for another reason."""


class Calls:
    """Record the calls of a batch receiver, and return or raise the result of `answer`."""

    def __init__(self, answer: Callable[[list[int]], Any] = lambda numbers: None) -> None:
        self.all: list[list[int]] = []
        self._answer = answer

    async def __call__(self, sender: Any, instances: Any, events: Any, **kwargs: Any) -> Any:
        assert [instance.n for instance in instances] == [one.sequence for one in events]
        numbers = [one.sequence for one in events]
        self.all.append(numbers)
        await asyncio.sleep(0)
        return self._answer(numbers)

    @property
    def handled(self) -> list[int]:
        return [number for numbers in self.all for number in numbers]


async def handle(
    calls: Calls, *events: edgy.Event, until: int | None = None, **options: Any
) -> Group:
    """Run a tenure until the receiver has received `until` events; by default, all events."""
    broker = MemoryBroker()
    await publish(broker, *events)
    group = Group(broker, subscribe(calls, **{"batch": edgy.Batch(10, 0.02), **options}))
    tenure = await group.begin()
    await eventually(lambda: len(calls.handled) >= (until or len(events)))
    await group.end(tenure)
    return group


async def test_a_batch_is_full_when_it_has_its_size() -> None:
    calls = Calls()
    rows = [event(str(n), n) for n in range(1, 7)]
    group = await handle(calls, *rows, batch=edgy.Batch(3, LONG))
    assert calls.all == [[1, 2, 3], [4, 5, 6]]
    assert await group.unfinished() == 0
    assert group.stats.handled == 6


async def test_a_batch_that_does_not_fill_is_handled_after_its_time() -> None:
    calls = Calls()
    group = await handle(calls, event("1", 1), event("2", 2), batch=edgy.Batch(100, 0.05))
    assert calls.all == [[1, 2]]
    assert await group.unfinished() == 0


async def test_a_batch_has_one_event_of_a_row_and_the_order_of_rows_is_kept() -> None:
    calls = Calls()
    await handle(calls, *(event(str(n % 3), n) for n in range(1, 13)))
    for numbers in calls.all:
        rows = [n % 3 for n in numbers]
        assert len(set(rows)) == len(rows), "two events of a row in a batch"
    for row in range(3):
        mine = [n for n in calls.handled if n % 3 == row]
        assert mine == sorted(mine)
    assert len(calls.all[0]) == 3


async def test_without_order_events_of_one_row_share_a_batch() -> None:
    calls = Calls()
    await handle(
        calls, *(event("1", n) for n in range(1, 5)), ordered=False, batch=edgy.Batch(4, LONG)
    )
    assert calls.all == [[1, 2, 3, 4]]


async def test_every_subscription_has_batches_of_its_own() -> None:
    calls, others = Calls(), Calls()
    broker = MemoryBroker()
    await publish(broker, event("1", 1), event("2", 2))
    pair = edgy.Batch(2, LONG)
    group = Group(
        broker, subscribe(calls, name="a", batch=pair), subscribe(others, name="b", batch=pair)
    )
    tenure = await group.begin()
    await eventually(lambda: group.stats.handled == 4)
    await group.end(tenure)
    assert (calls.all, others.all) == ([[1, 2]], [[1, 2]])


async def test_a_batch_that_raises_is_called_again_event_by_event() -> None:
    def answer(numbers: list[int]) -> None:
        if 2 in numbers:
            raise ValueError("2 is poison")

    calls = Calls(answer)
    rows = [event(str(n), n) for n in range(1, 4)]
    group = await handle(calls, *rows, until=3 + 2 + 2, batch=edgy.Batch(3, LONG))
    assert calls.all[0] == [1, 2, 3]
    assert sorted(calls.all[1:]) == [[1], [2], [2], [3]], "three attempts: one together, two alone"
    (letter,) = await group.broker.dead_letters(PARTITION, "mail")
    assert (letter.attempts, letter.reason) == (3, "ValueError: 2 is poison")
    assert await group.unfinished() == 0


async def test_nobody_is_given_up_for_what_a_batch_failed_with() -> None:
    def answer(numbers: list[int]) -> None:
        if 2 in numbers:
            raise ValueError("2 is poison")

    calls = Calls(answer)
    rows = [event(str(n), n) for n in range(1, 4)]
    group = await handle(calls, *rows, until=6, retry=Retry(attempts=1), batch=edgy.Batch(3, LONG))
    assert sorted(calls.all[1:]) == [[1], [2], [3]]
    assert len(await group.broker.dead_letters(PARTITION, "mail")) == 1
    assert group.stats.handled == 2


async def test_outcomes_by_event_concern_those_events_alone() -> None:
    asked = False

    async def receiver(sender: Any, instances: Any, events: Any, **kwargs: Any) -> Any:
        nonlocal asked
        seen.append([one.sequence for one in events])
        if asked:
            return None
        asked = True
        return {
            events[0].id: edgy.retry(after=0.01),
            events[1].id: edgy.dead_letter("no good"),
            "unknown": 1,
        }

    seen: list[list[int]] = []
    broker = MemoryBroker()
    await publish(broker, *(event(str(n), n) for n in range(1, 4)))
    group = Group(broker, subscribe(receiver, batch=edgy.Batch(3, LONG)))
    tenure = await group.begin()
    await eventually(lambda: group.stats.handled == 2)
    await group.end(tenure)
    assert seen == [[1, 2, 3], [1]]
    (letter,) = await broker.dead_letters(PARTITION, "mail")
    assert letter.reason == "no good"
    assert await group.unfinished() == 0


async def test_one_outcome_is_that_of_all() -> None:
    calls = Calls(lambda numbers: edgy.dead_letter("none of them"))
    group = await handle(calls, event("1", 1), event("2", 2), batch=edgy.Batch(2, LONG))
    letters = await group.broker.dead_letters(PARTITION, "mail")
    assert [letter.reason for letter in letters] == ["none of them"] * 2


async def test_what_was_gathered_when_the_owner_stops_is_left_for_the_next_one() -> None:
    calls = Calls()
    broker = MemoryBroker()
    await publish(broker, event("1", 1), event("2", 2))
    group = Group(broker, subscribe(calls, batch=edgy.Batch(3, LONG)))
    tenure = await group.begin()
    await eventually(lambda: tenure._scheduler._batches._gathering)
    await group.end(tenure)
    assert calls.all == []
    assert not tenure._scheduler._batches._gathering, "its timer would keep the tenure in memory"
    assert await group.pending() == 2
    await publish(broker, event("3", 3))
    tenure = await group.begin("other")
    await eventually(lambda: calls.all)
    await group.end(tenure)
    assert calls.all == [[1, 2, 3]]
    assert await group.unfinished() == 0


async def test_what_kills_the_process_in_a_batch_is_tried_alone_and_takes_no_other_along() -> None:
    entered = asyncio.Event()
    calls: list[list[int]] = []

    async def receiver(sender: Any, instances: Any, events: Any, **kwargs: Any) -> Any:
        calls.append([one.sequence for one in events])
        if 2 in calls[-1]:
            entered.set()
            await asyncio.Event().wait()

    broker = MemoryBroker()
    await publish(broker, *(event(str(n), n) for n in range(1, 4)))
    chosen = subscribe(receiver, retry=Retry(attempts=1), batch=edgy.Batch(3, 0.01))
    group = Group(broker, chosen)
    for number in range(3):
        tenure = await group.begin(f"w{number}")
        await entered.wait()
        entered.clear()
        await eventually(lambda number=number: number < 2 or group.stats.handled == 2)
        await tenure.abort()
        await broker.release(tenure.lease)
    tenure = await group.begin("last")
    await eventually(lambda: group.stats.dead == 1)
    await group.end(tenure)
    assert calls[:2] == [[1, 2, 3], [1, 2, 3]]
    assert sorted(calls[2:]) == [[1], [2], [3]]
    (letter,) = await broker.dead_letters(PARTITION, "mail")
    assert letter.reason == "the process of its worker ended in the last of 1 attempts"
    assert await group.unfinished() == 0


# The call alone


async def test_events_that_are_not_wanted_are_left_out() -> None:
    calls = Calls()
    chosen = subscribe(
        calls, where=lambda row: row.n != 2, when_changed=("email",), batch=edgy.Batch()
    )
    given = [
        envelope(sequence=1, changes={"email": {"new": 1}}),
        envelope(sequence=2, changes={"email": {"new": 1}}),
        envelope(sequence=3, changes={"name": {"new": 1}}),
        envelope(sequence=4),
    ]
    outcomes = await execute_batch(chosen, given, 5)
    assert calls.all == [[1, 4]]
    assert outcomes == [Done(), Done(skipped=True), Done(skipped=True), Done()]
    assert await execute_batch(chosen, given[1:3], 5) == [Done(skipped=True)] * 2
    assert calls.all == [[1, 4]], "called with nothing"


async def test_an_event_that_cannot_be_read_is_given_up_alone() -> None:
    calls = Calls()
    broken = envelope()._replace(raw=b"[1]")
    outcomes = await execute_batch(
        subscribe(calls, batch=edgy.Batch()), [broken, envelope(sequence=2)], 5
    )
    assert isinstance(outcomes[0], Bury)
    assert outcomes[1] == Done()
    assert calls.all == [[2]]


async def test_a_batch_has_a_deadline() -> None:
    async def receiver(sender: Any, **kwargs: Any) -> None:
        await asyncio.Event().wait()

    chosen = subscribe(receiver, deadline=0.01, batch=edgy.Batch())
    failed = Failed("took longer than its deadline of 0.01 s")
    assert await execute_batch(chosen, [envelope(), envelope()], 60) == [failed, failed]


async def test_a_single_event_is_a_batch_of_one() -> None:
    calls = Calls(lambda numbers: edgy.retry(after=3))
    assert await execute(
        subscribe(calls, batch=edgy.Batch()), envelope(sequence=7), 5
    ) == RetryLater(3)
    assert calls.all == [[7]]


async def test_with_an_inbox_a_batch_is_one_transaction(effects: Effects) -> None:
    broken = True

    async def receiver(sender: Any, instances: Any, events: Any, **kwargs: Any) -> None:
        for one in events:
            await effects.model.query.create(n=one.sequence)
        if broken:
            raise ValueError("after the writes")

    chosen = subscribe(receiver, inbox=effects.registry.database, batch=edgy.Batch())
    given = [envelope(subject="1", sequence=1), envelope(subject="2", sequence=2)]
    assert all(isinstance(one, Failed) for one in await execute_batch(chosen, given, 5))
    assert await effects.all() == []
    broken = False
    assert await execute_batch(chosen, given, 5) == [Done(), Done()]
    assert await effects.all() == [1, 2]
    third = envelope(subject="3", sequence=3)
    outcomes = await execute_batch(chosen, [given[0], third], 5)
    assert outcomes == [Done(skipped=True), Done()]
    assert await effects.all() == [1, 2, 3]


async def test_with_an_inbox_what_is_asked_for_one_undoes_all(effects: Effects) -> None:
    async def receiver(sender: Any, instances: Any, events: Any, **kwargs: Any) -> Any:
        for one in events:
            await effects.model.query.create(n=one.sequence)
        return {one.id: edgy.retry(after=1) for one in events if one.sequence == 2}

    chosen = subscribe(receiver, inbox=effects.registry.database, batch=edgy.Batch())
    given = [envelope(subject="1", sequence=1), envelope(subject="2", sequence=2)]
    assert await execute_batch(chosen, given, 5) == [Untouched(), RetryLater(1)]
    assert await effects.all() == []


async def test_the_untouched_are_called_again_at_once_and_no_attempt_is_counted(
    effects: Effects,
) -> None:
    async def receiver(sender: Any, instances: Any, events: Any, **kwargs: Any) -> Any:
        for one in events:
            await effects.model.query.create(n=one.sequence)
        return {one.id: edgy.dead_letter("never") for one in events if one.sequence == 2}

    broker = MemoryBroker()
    await publish(broker, *(event(str(n), n) for n in range(1, 4)))
    # A single attempt, and a delay that no test waits.
    once = Retry(attempts=1, delay=LONG)
    chosen = subscribe(
        receiver, inbox=effects.registry.database, retry=once, batch=edgy.Batch(3, LONG)
    )
    group = Group(broker, chosen)
    with Told() as told:
        tenure = await group.begin()
        await eventually(lambda: group.stats.handled == 2)
        await group.end(tenure)
    assert [fields["attempts"] for fields in told.of("receiver.retried")] == [0, 0]
    assert sorted(await effects.all()) == [1, 3]
    assert group.stats.dead == 1
    assert await group.unfinished() == 0


# Where it is written


async def test_in_the_process_of_the_operation_it_is_called_with_one_instance() -> None:
    given: list[dict[str, Any]] = []

    async def receiver(sender: Any, instances: Any, events: Any, **kwargs: Any) -> None:
        given.append({"instances": instances, "events": events, **kwargs})

    signal = edgy.Signal()
    signal.bind("on_verify", None)
    signal.connect(receiver, Options(batch=edgy.Batch()))
    await signal.send("sender", instance="one", by="Ada")
    assert given == [{"instances": ["one"], "events": [None], "by": "Ada"}]


async def test_a_batch_larger_than_what_may_be_in_hand_stands_in_nobodys_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in (lanes, in_hand):
        monkeypatch.setattr(module, "MOST", 50)
    sizes: list[int] = []
    seen: list[int] = []

    async def index(sender: Any, instances: Any, **kwargs: Any) -> None:
        sizes.append(len(instances))

    async def other(sender: Any, event: Any, **kwargs: Any) -> None:
        seen.append(event.sequence)

    broker = MemoryBroker()
    await publish(broker, *[event(str(number), number + 1) for number in range(200)])
    batch = edgy.Batch(size=1_000, wait=3_600)
    group = Group(
        broker,
        subscribe(index, name="index", batch=batch),
        subscribe(other, name="other"),
        prefetch=20,
    )
    tenure = await group.begin()
    # All but the last events, for which there is room: these wait for more.
    await eventually(lambda: len(seen) == 200 and sum(sizes) >= 150)
    await group.end(tenure)
    assert len(sizes) <= 40, "batches stay large"
