"""Hold rows: park their events, go on with other rows, and follow the operator's decision."""

import asyncio
import copy
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

import pytest

import edgy_bus as edgy
from edgy_bus.brokers.base import DeadLetter, EntryId, HeldState, Lease, RowKey, StreamHead
from edgy_bus.brokers.memory import MemoryBroker
from edgy_bus.errors import BrokerUnavailable
from edgy_bus.events import Partition
from edgy_bus.retrying import Retry
from edgy_bus.runtime import detours, handover, releases
from edgy_bus.runtime.subscriptions import Subscription
from edgy_bus.runtime.tenure import Tenure
from tests.support import PARTITION, Told, event, eventually, publish
from tests.unit.runtime.support import Group, subscribe

ONCE = Retry(attempts=1)
PAIR = Retry(attempts=2, delay=0.01, factor=1, jitter=0)


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detours, "_LOOK", 0.01)


class Fragile:
    """A receiver that fails at what is in `broken`."""

    def __init__(self, *broken: int, name: str = "r") -> None:
        self.broken = set(broken)
        self.name = name
        self.seen: list[int] = []
        """What it has handled."""
        self.calls: dict[int, int] = defaultdict(int)

    async def __call__(self, sender: Any, instance: Any, event: Any, **kwargs: Any) -> None:
        self.calls[event.sequence] += 1
        await asyncio.sleep(0)
        if event.sequence in self.broken:
            raise ValueError(f"{event.sequence} is broken")
        self.seen.append(event.sequence)

    def subscription(self, retry: Retry = ONCE, **options: Any) -> Subscription:
        return subscribe(
            self, **{"name": self.name, "retry": retry, "on_exhausted": "hold", **options}
        )


async def parked(broker: MemoryBroker, subject: str = "1", receiver: str = "r") -> list[int]:
    """The sequences of a row's parked events."""
    found = await broker.parked(PARTITION, "mail", RowKey(receiver, subject), 1000)
    return [int(one.letter.fields[b"data"].split(b'"n":')[1].split(b"}")[0]) for one in found]


async def release(broker: MemoryBroker, subject: str = "1", *, skip: bool = False) -> None:
    assert await broker.decide(PARTITION, "mail", RowKey("r", subject), skip=skip)


async def is_free(broker: MemoryBroker) -> bool:
    return not await broker.held(PARTITION, "mail")


async def is_held(broker: MemoryBroker) -> bool:
    return (await broker.held(PARTITION, "mail")) == {RowKey("r", "1"): HeldState()}


async def test_later_events_of_a_held_row_are_parked_and_everything_else_goes_on() -> None:
    fragile, other = Fragile(2), Fragile(name="other")
    broker = MemoryBroker()
    await publish(broker, event("1", 1), event("1", 2), event("1", 3), event("2", 4), event("1", 5))
    group = Group(broker, fragile.subscription(), other.subscription())
    with Told() as told:
        tenure = await group.begin()
        await eventually(lambda: _parked_are(broker, [2, 3, 5]))
        await group.end(tenure)
    assert sorted(fragile.seen) == [1, 4]
    assert sorted(other.seen) == [1, 2, 3, 4, 5]
    assert await group.unfinished() == 0, "parked events are acknowledged"
    assert await broker.dead_letters(PARTITION, "mail") == []
    (gave_up,) = told.of("receiver.gave_up")
    assert gave_up["reason"] == "ValueError: 2 is broken"
    first, second, *_ = await broker.parked(PARTITION, "mail", RowKey("r", "1"), 9)
    assert (first.letter.attempts, first.letter.reason) == (1, "ValueError: 2 is broken")
    assert second.letter.reason == "its row is held"


async def _parked_are(broker: MemoryBroker, numbers: list[int]) -> bool:
    return await parked(broker) == numbers


async def test_a_held_row_keeps_nothing_from_being_trimmed() -> None:
    broker = MemoryBroker()
    await publish(broker, event("1", 1), event("1", 2), event("2", 3))
    group = Group(broker, Fragile(1).subscription())
    tenure = await group.begin()
    await eventually(lambda: _parked_are(broker, [1, 2]))
    await group.end(tenure)
    head = (await broker.inspect(PARTITION, StreamHead(), "unused")).head
    assert await broker.progress(PARTITION, head) == {"mail": head.entry.next}
    assert await broker.trim(PARTITION, head, head.entry, {}) == 2
    assert await parked(broker) == [1, 2]


async def test_what_is_released_is_handled_in_order_and_before_what_comes_later() -> None:
    fragile = Fragile(1)
    broker = MemoryBroker()
    await publish(broker, *(event("1", n) for n in range(1, 5)))
    group = Group(broker, fragile.subscription())
    with Told() as told:
        tenure = await group.begin()
        await eventually(lambda: _parked_are(broker, [1, 2, 3, 4]))
        fragile.broken.clear()
        await release(broker)
        await publish(broker, event("1", 5))
        await eventually(lambda: is_free(broker))
        await publish(broker, event("1", 6))
        await eventually(lambda: 6 in fragile.seen)
        await group.end(tenure)
    assert fragile.seen == [1, 2, 3, 4, 5, 6]
    assert await group.unfinished() == 0
    assert told.of("row.released")


async def test_what_comes_while_parked_events_are_handled_does_not_overtake() -> None:
    go = asyncio.Event()
    seen: list[str] = []

    async def receiver(sender: Any, event: Any, **kwargs: Any) -> None:
        if broken:
            raise ValueError("broken")
        seen.append(f"begin {event.sequence}")
        await go.wait()
        seen.append(f"end {event.sequence}")

    broken = True
    broker = MemoryBroker()
    await publish(broker, event("1", 1))
    group = Group(broker, subscribe(receiver, retry=ONCE, on_exhausted="hold"))
    tenure = await group.begin()
    await eventually(lambda: _parked_are(broker, [1]))
    broken = False
    await release(broker)
    await eventually(lambda: seen == ["begin 1"])
    await publish(broker, event("1", 2))
    tenure.wake()
    await eventually(lambda: _parked_are(broker, [1, 2]))
    assert seen == ["begin 1"]
    go.set()
    await eventually(lambda: is_free(broker))
    await group.end(tenure)
    assert seen == ["begin 1", "end 1", "begin 2", "end 2"]


async def test_what_is_skipped_is_a_dead_letter_and_the_rest_is_handled() -> None:
    fragile = Fragile(1)
    broker = MemoryBroker()
    await publish(broker, event("1", 1), event("1", 2))
    group = Group(broker, fragile.subscription())
    tenure = await group.begin()
    await eventually(lambda: _parked_are(broker, [1, 2]))
    await release(broker, skip=True)
    await eventually(lambda: is_free(broker))
    await group.end(tenure)
    assert fragile.seen == [2]
    (letter,) = await broker.dead_letters(PARTITION, "mail")
    assert letter.reason == "ValueError: 1 is broken"


async def test_what_fails_again_is_held_again_after_all_of_its_attempts() -> None:
    fragile = Fragile(1, 2)
    broker = MemoryBroker()
    await publish(broker, event("1", 1), event("1", 2), event("1", 3))
    group = Group(broker, fragile.subscription(PAIR))
    with Told() as told:
        tenure = await group.begin()
        await eventually(lambda: _parked_are(broker, [1, 2, 3]))
        fragile.broken.remove(1)
        await release(broker)
        await eventually(lambda: _parked_are(broker, [2, 3]))
        await eventually(lambda: is_held(broker))
        await eventually(lambda: told.of("row.held"))
        assert (fragile.calls[1], fragile.calls[2]) == (3, 2)
        assert told.of("row.held")[0]["reason"] == "ValueError: 2 is broken"
        await release(broker)
        await eventually(lambda: len(told.of("row.held")) == 2)
        assert fragile.calls[2] == 4
        fragile.broken.clear()
        await release(broker)
        await eventually(lambda: is_free(broker))
        await group.end(tenure)
    assert fragile.seen == [1, 2, 3]


async def test_a_row_that_waits_for_its_next_attempt_holds_up_no_other_released_row() -> None:
    fragile = Fragile(1, 2)
    broker = MemoryBroker()
    await publish(broker, event("1", 1), event("2", 2))
    patient = Retry(attempts=2, delay=3600, jitter=0)
    first = Group(broker, fragile.subscription(ONCE))
    tenure = await first.begin()
    await eventually(lambda: _held_rows(broker, 2))
    await first.end(tenure)
    group = Group(broker, fragile.subscription(patient))
    fragile.broken.remove(2)
    tenure = await group.begin("other")
    await release(broker, "1")
    await eventually(lambda: fragile.calls[1] == 2)
    await release(broker, "2")
    await eventually(lambda: fragile.seen == [2])
    await group.end(tenure)


async def _held_rows(broker: MemoryBroker, count: int) -> bool:
    return len(await broker.held(PARTITION, "mail")) == count


async def test_the_next_owner_knows_which_rows_are_held() -> None:
    fragile = Fragile(1)
    broker = MemoryBroker()
    await publish(broker, event("1", 1))
    group = Group(broker, fragile.subscription())
    tenure = await group.begin()
    await eventually(lambda: _parked_are(broker, [1]))
    await group.end(tenure)
    await publish(broker, event("1", 2), event("2", 3))
    tenure = await group.begin("other")
    await eventually(lambda: _parked_are(broker, [1, 2]))
    await eventually(lambda: fragile.seen == [3])
    fragile.broken.clear()
    await release(broker)
    await eventually(lambda: is_free(broker))
    await group.end(tenure)
    assert fragile.seen == [3, 1, 2]


async def test_attempts_at_parked_events_survive_the_owner() -> None:
    entered = asyncio.Event()
    calls = 0

    async def receiver(sender: Any, event: Any, **kwargs: Any) -> None:
        nonlocal calls
        calls += 1
        if calls <= 2:
            raise ValueError("broken")
        entered.set()
        await asyncio.Event().wait()

    broker = MemoryBroker()
    await publish(broker, event("1", 1))
    group = Group(broker, subscribe(receiver, retry=PAIR, on_exhausted="hold"))
    tenure = await group.begin()
    await eventually(lambda: is_held(broker))
    await group.end(tenure)
    await release(broker)
    for attempts in (1, 2):
        tenure = await group.begin(f"w{attempts}")
        await entered.wait()
        entered.clear()
        await tenure.abort()
        assert await broker.held(PARTITION, "mail") == {RowKey("r", "1"): HeldState(True, attempts)}
        await broker.release(tenure.lease)
    with Told() as told:
        tenure = await group.begin("last")
        await eventually(lambda: is_held(broker))
        await eventually(lambda: told.of("row.held"))
        await group.end(tenure)
    assert calls == 4, "two attempts, then two more that processes died of"
    assert (
        told.of("row.held")[0]["reason"]
        == "the process of its worker ended in the last of 2 attempts"
    )


async def test_stopping_lets_the_parked_event_that_runs_finish_and_begins_no_other() -> None:
    entered, go = asyncio.Event(), asyncio.Event()
    seen: list[int] = []
    broken = True

    async def receiver(sender: Any, event: Any, **kwargs: Any) -> None:
        if broken:
            raise ValueError("broken")
        entered.set()
        await go.wait()
        seen.append(event.sequence)

    broker = MemoryBroker()
    await publish(broker, event("1", 1), event("1", 2))
    group = Group(broker, subscribe(receiver, retry=ONCE, on_exhausted="hold"))
    tenure = await group.begin()
    await eventually(lambda: _parked_are(broker, [1, 2]))
    broken = False
    await release(broker)
    await entered.wait()
    tenure.finish()
    go.set()
    await group.end(tenure)
    assert seen == [1]
    assert await parked(broker) == [2]
    assert await broker.held(PARTITION, "mail") == {RowKey("r", "1"): HeldState(retrying=True)}
    tenure = await group.begin("other")
    await eventually(lambda: is_free(broker))
    await group.end(tenure)
    assert seen == [1, 2]


async def test_an_event_that_is_snoozed_when_it_is_released_uses_up_no_attempt() -> None:
    answers: list[Any] = [edgy.dead_letter("later"), edgy.snooze(0.01), edgy.snooze(3600), None]

    async def receiver(sender: Any, event: Any, **kwargs: Any) -> Any:
        return answers.pop(0)

    broker = MemoryBroker()
    await publish(broker, event("1", 1))
    group = Group(broker, subscribe(receiver, retry=ONCE, on_exhausted="hold"))
    tenure = await group.begin()
    await eventually(lambda: is_held(broker))
    await release(broker)
    await eventually(lambda: len(answers) == 1)
    await group.end(tenure)
    assert await broker.held(PARTITION, "mail") == {RowKey("r", "1"): HeldState(retrying=True)}
    tenure = await group.begin("other")
    await eventually(lambda: is_free(broker))
    await group.end(tenure)
    assert answers == []


async def test_a_released_row_that_waits_for_its_next_attempt_is_handed_over() -> None:
    """It may wait for a year, and no call runs meanwhile."""
    answers: list[Any] = [edgy.dead_letter("later"), edgy.snooze(3600), edgy.snooze(3600), None]
    entered, go = asyncio.Event(), asyncio.Event()

    async def receiver(sender: Any, event: Any, **kwargs: Any) -> Any:
        if event.subject == "1":
            return answers.pop(0)
        entered.set()
        await go.wait()
        return None

    broker = MemoryBroker()
    await publish(broker, event("1", 1), event("2", 2))
    group = Group(broker, subscribe(receiver, retry=ONCE, on_exhausted="hold"))
    tenure = await group.begin()
    await eventually(lambda: is_held(broker))
    await release(broker)
    await eventually(lambda: len(answers) == 2)
    await entered.wait()
    tenure.hand_over(True)
    await asyncio.sleep(0.05)
    assert tenure.running, "the call of the other row runs"
    go.set()
    await eventually(lambda: not tenure.running)
    await broker.release(tenure.lease)
    tenure = await group.begin("other")
    await eventually(lambda: len(answers) == 1)
    tenure.hand_over(True)
    await eventually(lambda: not tenure.running)
    await broker.release(tenure.lease)
    tenure = await group.begin("third")
    await eventually(lambda: is_free(broker))
    await group.end(tenure)


async def test_a_row_that_begins_to_wait_during_an_offer_is_handed_over() -> None:
    entered, go = asyncio.Event(), asyncio.Event()
    calls = 0

    async def receiver(sender: Any, event: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 1:
            return edgy.dead_letter("later")
        entered.set()
        await go.wait()
        return edgy.snooze(3600)

    broker = MemoryBroker()
    await publish(broker, event("1", 1))
    group = Group(broker, subscribe(receiver, retry=ONCE, on_exhausted="hold"))
    tenure = await group.begin()
    await eventually(lambda: is_held(broker))
    await release(broker)
    await entered.wait()
    tenure.hand_over(True)
    go.set()
    await eventually(lambda: not tenure.running)
    assert await broker.held(PARTITION, "mail") == {RowKey("r", "1"): HeldState(retrying=True)}
    await broker.release(tenure.lease)


async def test_no_released_row_is_taken_up_while_the_partition_is_handed_over() -> None:
    class Counting(MemoryBroker):
        looks = reads = 0

        async def held(self, *what: Any) -> Mapping[RowKey, HeldState]:
            self.looks += 1
            return await super().held(*what)

        async def parked(self, *what: Any) -> Any:
            self.reads += 1
            return await super().parked(*what)

    entered, go = asyncio.Event(), asyncio.Event()
    broken = True
    seen: list[str] = []

    async def receiver(sender: Any, event: Any, **kwargs: Any) -> None:
        if event.subject == "2":
            entered.set()
            await go.wait()
        elif broken:
            raise ValueError("broken")
        seen.append(event.subject)

    broker = Counting()
    await publish(broker, event("1", 1), event("2", 2))
    group = Group(broker, subscribe(receiver, retry=ONCE, on_exhausted="hold"))
    tenure = await group.begin()
    await eventually(lambda: is_held(broker))
    await entered.wait()
    broken = False
    tenure.hand_over(True)
    await release(broker)
    looks = broker.looks
    await eventually(lambda: broker.looks > looks + 5)
    assert broker.reads == 0
    tenure.hand_over(False)
    await eventually(lambda: is_free(broker))
    assert seen == ["1"]
    go.set()
    await group.end(tenure)


async def test_a_row_whose_wait_ends_while_the_partition_is_offered_counts_no_attempt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(handover, "WINDOWS", (60.0,))

    class Counting(MemoryBroker):
        looks = changes = 0

        async def held(self, *what: Any) -> Mapping[RowKey, HeldState]:
            self.looks += 1
            return await super().held(*what)

        async def hold(self, *what: Any) -> None:
            self.changes += 1
            await super().hold(*what)

    answers: list[Any] = [edgy.dead_letter("later"), edgy.snooze(0.05), None]
    entered, go, again, snooze = (asyncio.Event() for _ in range(4))

    async def receiver(sender: Any, event: Any, **kwargs: Any) -> Any:
        if event.subject == "1":
            if len(answers) == 2:
                again.set()
                await snooze.wait()
            return answers.pop(0)
        entered.set()
        await go.wait()
        return None

    broker = Counting()
    await publish(broker, event("1", 1), event("2", 2))
    group = Group(broker, subscribe(receiver, retry=ONCE, on_exhausted="hold"))
    tenure = await group.begin()
    await eventually(lambda: is_held(broker))
    await entered.wait()
    await release(broker)
    await again.wait()
    tenure.hand_over(True)
    snooze.set()
    # Before the call, and after it.
    await eventually(lambda: broker.changes == 2)
    looks = broker.looks
    await eventually(lambda: broker.looks > looks + 30)
    assert (broker.changes, len(answers)) == (2, 1)
    tenure.hand_over(False)
    await eventually(lambda: answers == [])
    await eventually(lambda: is_free(broker))
    go.set()
    await group.end(tenure)


async def test_every_parked_event_has_attempts_of_its_own() -> None:
    entered = asyncio.Event()
    calls: list[int] = []

    async def receiver(sender: Any, event: Any, **kwargs: Any) -> None:
        calls.append(event.sequence)
        if calls == [1, 1, 1]:
            entered.set()
            await asyncio.Event().wait()
        if calls in ([1], [1, 1], [1, 1, 1, 1, 2]):
            raise ValueError("broken")

    broker = MemoryBroker()
    await publish(broker, event("1", 1), event("1", 2))
    group = Group(broker, subscribe(receiver, retry=PAIR, on_exhausted="hold"))
    tenure = await group.begin()
    await eventually(lambda: _parked_are(broker, [1, 2]))
    await release(broker)
    await entered.wait()
    await tenure.abort()
    await broker.release(tenure.lease)
    tenure = await group.begin("other")
    await eventually(lambda: is_free(broker))
    await group.end(tenure)
    assert calls == [1, 1, 1, 1, 2, 2]


async def test_so_many_parked_events_are_handled_at_the_same_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    running = most = 0
    broken = True
    monkeypatch.setattr(releases, "_AT_ONCE", 2)

    async def receiver(sender: Any, event: Any, **kwargs: Any) -> None:
        nonlocal running, most
        if broken:
            raise ValueError("broken")
        running += 1
        most = max(most, running)
        for _ in range(10):
            await asyncio.sleep(0)
        running -= 1

    broker = MemoryBroker()
    await publish(broker, *(event(str(n), n) for n in range(1, 8)))
    group = Group(broker, subscribe(receiver, retry=ONCE, on_exhausted="hold"))
    tenure = await group.begin()
    await eventually(lambda: _held_rows(broker, 7))
    broken = False
    for number in range(1, 8):
        await release(broker, str(number))
    await eventually(lambda: is_free(broker))
    await group.end(tenure)
    assert most == 2


async def test_an_attempt_that_is_not_made_because_the_owner_stops_is_not_counted() -> None:
    class Slow(MemoryBroker):
        counting, go = asyncio.Event(), asyncio.Event()

        async def hold(self, lease: Lease, row: RowKey, state: HeldState) -> None:
            await super().hold(lease, row, state)
            if state.attempts:
                self.counting.set()
                await self.go.wait()

    fragile = Fragile(1)
    broker = Slow()
    await publish(broker, event("1", 1))
    group = Group(broker, fragile.subscription())
    tenure = await group.begin()
    await eventually(lambda: is_held(broker))
    fragile.broken.clear()
    await release(broker)
    await broker.counting.wait()
    tenure.finish()
    broker.go.set()
    await group.end(tenure)
    assert fragile.calls[1] == 1
    assert await broker.held(PARTITION, "mail") == {RowKey("r", "1"): HeldState(retrying=True)}


async def test_a_batch_receiver_holds_rows_as_well() -> None:
    broken = True
    seen: list[list[int]] = []

    async def receiver(sender: Any, instances: Any, events: Any, **kwargs: Any) -> None:
        numbers = [one.sequence for one in events]
        if broken and 1 in numbers:
            raise ValueError("broken")
        seen.append(numbers)

    broker = MemoryBroker()
    await publish(broker, event("1", 1), event("2", 2), event("1", 3))
    chosen = subscribe(receiver, retry=PAIR, on_exhausted="hold", batch=edgy.Batch(2, 0.01))
    group = Group(broker, chosen)
    tenure = await group.begin()
    await eventually(lambda: _parked_are(broker, [1, 3]))
    broken = False
    await release(broker)
    await eventually(lambda: is_free(broker))
    await group.end(tenure)
    assert seen == [[2], [1], [3]]


@pytest.mark.parametrize("of", ["no row", "an intent"])
async def test_what_has_no_order_to_keep_goes_to_the_dead_letters(of: str) -> None:
    async def receiver(sender: Any, **kwargs: Any) -> None:
        raise ValueError("broken")

    broker = MemoryBroker()
    one = event(None, 1) if of == "no row" else event("1", None)
    await publish(broker, one)
    group = Group(broker, subscribe(receiver, retry=ONCE, on_exhausted="hold"))
    tenure = await group.begin()
    await eventually(lambda: group.stats.dead == 1)
    await group.end(tenure)
    assert await is_free(broker)


async def test_a_receiver_that_is_gone_keeps_its_parked_events() -> None:
    broker = MemoryBroker()
    await publish(broker, event("1", 1))
    group = Group(broker, Fragile(1).subscription())
    tenure = await group.begin()
    await eventually(lambda: is_held(broker))
    await group.end(tenure)
    await release(broker)
    other = Group(broker, Fragile(name="renamed").subscription())
    with Told() as told:
        tenure = await other.begin("other")
        await eventually(lambda: is_held(broker))
        await eventually(lambda: told.of("row.held"))
        await other.end(tenure)
    assert await parked(broker) == [1]
    assert "no receiver of this name" in told.of("row.held")[0]["reason"]


class Flaky(MemoryBroker):
    """Lose the answer of every call about held rows once, after the call has taken effect.

    The gate can delay the answers of `held`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.lost: set[Any] = set()
        self.gate = asyncio.Event()
        self.gate.set()
        self.asked = asyncio.Event()

    def _lose(self, *call: Any) -> None:
        if call not in self.lost:
            self.lost.add(call)
            raise BrokerUnavailable("the answer was lost")

    async def park(
        self, lease: Lease, row: RowKey, letter: DeadLetter, *what: Any, **how: Any
    ) -> Any:
        answer = await super().park(lease, row, letter, *what, **how)
        self._lose("park", letter.entry)
        return answer

    async def hold(self, lease: Lease, row: RowKey, state: HeldState) -> None:
        await super().hold(lease, row, state)
        self._lose("hold", state)

    async def unpark(self, lease: Lease, row: RowKey, first: Any, letter: Any = None) -> bool:
        answer = await super().unpark(lease, row, first, letter)
        self._lose("unpark", first.id)
        return answer

    async def held(self, partition: Partition, group: str) -> Mapping[RowKey, HeldState]:
        answer = await super().held(partition, group)
        self.asked.set()
        await self.gate.wait()
        return answer


async def test_answers_that_are_lost_change_nothing() -> None:
    fragile = Fragile(1)
    broker = Flaky()
    await publish(broker, *(event("1", n) for n in range(1, 4)))
    group = Group(broker, fragile.subscription())
    tenure = await group.begin()
    await eventually(lambda: _parked_are(broker, [1, 2, 3]))
    fragile.broken.clear()
    await release(broker)
    await eventually(lambda: is_free(broker))
    await group.end(tenure)
    assert fragile.seen == [1, 2, 3]
    assert fragile.calls == {1: 2, 2: 1, 3: 1}
    assert len(broker.lost) >= 6


async def test_a_row_that_is_held_again_while_the_broker_answers_stays_held() -> None:
    fragile = Fragile(1, 2)
    broker = Flaky()
    await publish(broker, event("1", 1))
    group = Group(broker, fragile.subscription())
    tenure = await group.begin()
    await eventually(lambda: _parked_are(broker, [1]))
    await release(broker, skip=True)
    broker.gate.clear()
    broker.asked.clear()
    await broker.asked.wait()  # nothing is held, says an answer that is under way
    await publish(broker, event("1", 2))
    tenure.wake()
    await eventually(lambda: _parked_are(broker, [2]))
    broker.asked.clear()
    broker.gate.set()
    await broker.asked.wait()
    await publish(broker, event("1", 3))
    tenure.wake()
    await eventually(lambda: _parked_are(broker, [2, 3]))
    await group.end(tenure)
    assert fragile.seen == []


class FailsOver(MemoryBroker):
    """Roll back to the state before the first parked event, at the first call of method `when`."""

    def __init__(self, when: str) -> None:
        super().__init__()
        self._when = when
        self._copy: Any = None
        self.failed_over = False

    async def park(self, lease: Lease, *what: Any, **how: Any) -> Any:
        self._copy = self._copy or copy.deepcopy(dict(self._streams))
        return await super().park(lease, *what, **how)

    async def settle(self, lease: Lease, *what: Any) -> None:
        self._fail_over("settle")
        await super().settle(lease, *what)

    async def note(self, lease: Lease, *what: Any, **how: Any) -> None:
        self._fail_over("note")
        await super().note(lease, *what, **how)

    def _fail_over(self, call: str) -> None:
        if call == self._when and self._copy is not None and not self.failed_over:
            self.failed_over = True
            self._streams.clear()
            self._streams.update(self._copy)


@pytest.mark.parametrize("when", ["settle", "note"])
async def test_what_a_failover_has_lost_is_parked_again_before_what_comes_later(when: str) -> None:
    waits = asyncio.Event()

    async def slow(sender: Any, **kwargs: Any) -> None:
        await waits.wait()

    if when == "settle":
        waits.set()
    fragile = Fragile(1)
    broker = FailsOver(when)
    await publish(broker, event("1", 1), event("1", 2))
    group = Group(broker, fragile.subscription(), subscribe(slow, name="slow"))
    with Told() as told:
        tenure = await group.begin()
        await eventually(lambda: not tenure.running)
    assert broker.failed_over
    assert told.of("tenure.lost")
    await broker.release(tenure.lease)
    waits.set()
    tenure = await group.begin("next")
    await eventually(lambda: _parked_are(broker, [1, 2]))
    fragile.broken.clear()
    await release(broker)
    await eventually(lambda: is_free(broker))
    await group.end(tenure)
    assert fragile.seen == [1, 2]
    assert await group.unfinished() == 0


async def test_an_event_that_was_put_aside_is_not_settled_when_a_failover_has_lost_it() -> None:
    """Alone: no later event of its row brings the loss to light."""
    fragile = Fragile(1)
    broker = FailsOver("settle")
    await publish(broker, event("1", 1))
    group = Group(broker, fragile.subscription())
    tenure = await group.begin()
    await eventually(lambda: not tenure.running)
    assert tenure.lost
    await broker.release(tenure.lease)
    tenure = await group.begin("next")
    await eventually(lambda: _parked_are(broker, [1]))
    await group.end(tenure)
    assert await group.unfinished() == 0


@pytest.mark.parametrize("found_by", ["the next event", "a look"])
async def test_a_hold_that_this_tenure_has_not_ended_was_lost_and_nothing_passes(
    found_by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fragile = Fragile(1)
    broker = MemoryBroker()
    await publish(broker, event("1", 1))
    group = Group(broker, fragile.subscription())
    monkeypatch.setattr(detours, "_LOOK", 3600.0 if found_by == "the next event" else 0.01)
    tenure = await group.begin()
    await eventually(lambda: _parked_are(broker, [1]))
    known = broker._streams[PARTITION].groups["mail"]
    known.held.clear()  # a failover to a copy from before
    known.parked.clear()
    if found_by == "the next event":
        await publish(broker, event("1", 2))
        tenure.wake()
    await eventually(lambda: not tenure.running)
    assert tenure.lost
    assert fragile.calls == {1: 1}


async def test_events_that_come_just_after_the_last_parked_one_wait_for_nothing() -> None:
    """Until the broker is asked again, each of them asks whether the row is still held."""
    fragile = Fragile(1)
    broker = MemoryBroker()
    await publish(broker, event("1", 1))
    group = Group(broker, fragile.subscription())
    tenure = await group.begin()
    await eventually(lambda: _parked_are(broker, [1]))
    fragile.broken.clear()
    await release(broker)
    await eventually(lambda: is_free(broker))
    await publish(broker, *(event("1", n) for n in range(2, 6)))
    tenure.wake()
    await eventually(lambda: fragile.seen == [1, 2, 3, 4, 5])
    await eventually(lambda: not tenure._detours.held.rows, "the row is forgotten")
    await group.end(tenure)
    assert await group.unfinished() == 0


async def test_parked_events_that_come_back_with_an_older_copy_are_not_the_last_of_their_row() -> (
    None
):
    """This process has finished the later event of the row, and skips no repeat of it."""
    fragile = Fragile(1)
    broker = MemoryBroker()
    await publish(broker, event("1", 1))
    group = Group(broker, fragile.subscription())
    tenure = await group.begin()
    await eventually(lambda: _parked_are(broker, [1]))
    older, later = copy.deepcopy(broker._streams), event("1", 2)
    fragile.broken.clear()
    await release(broker)
    await eventually(lambda: is_free(broker))
    await eventually(lambda: not tenure._detours.held.rows)
    await publish(broker, later)
    tenure.wake()
    await eventually(lambda: fragile.seen == [1, 2])
    await group.end(tenure)
    broker._streams.clear()
    broker._streams.update(older)
    await broker.release(tenure.lease)
    await publish(broker, later)
    tenure = await group.begin()
    await eventually(lambda: _parked_are(broker, [1, 2]))
    await release(broker)
    await eventually(lambda: fragile.seen == [1, 2, 1, 2])
    await group.end(tenure)


class Busy(MemoryBroker):
    """A broker at which other things happen while a call is under way."""

    def __init__(self) -> None:
        super().__init__()
        self.asked_to_park = False
        self.tenure: Tenure | None = None
        self.before_parking: Callable[[], bool] = lambda: True
        self.after_freeing: Callable[[], bool] = lambda: True

    async def park(self, *given: Any, begin: bool, **options: Any) -> EntryId | None:
        if not begin:
            self.asked_to_park = True
            await eventually(self.before_parking, "what happens before the event is parked")
        return await super().park(*given, begin=begin, **options)

    async def unpark(self, *given: Any) -> bool:
        answer = await super().unpark(*given)
        await publish(self, event("1", 2))
        assert self.tenure is not None
        self.tenure.wake()
        await eventually(self.after_freeing, "what happens before the answer is here")
        return answer


async def _free_a_row(broker: Busy, fragile: Fragile) -> None:
    """Release the row of event 1; event 2 comes when the broker has just freed the row."""
    await publish(broker, event("1", 1))
    group = Group(broker, fragile.subscription())
    broker.tenure = tenure = await group.begin()
    await eventually(lambda: _parked_are(broker, [1]))
    fragile.broken.clear()
    await release(broker)
    await eventually(lambda: fragile.seen == [1, 2])
    assert broker.asked_to_park
    assert tenure.running
    await group.end(tenure)


async def test_a_row_may_be_forgotten_while_the_broker_is_asked_to_park() -> None:
    broker = Busy()
    broker.after_freeing = lambda: broker.asked_to_park
    broker.before_parking = lambda: (
        broker.tenure is not None and not broker.tenure._detours.held.rows
    )
    await _free_a_row(broker, Fragile(1))


async def test_later_events_may_come_before_the_answer_that_frees_their_row() -> None:
    broker, fragile = Busy(), Fragile(1)
    broker.after_freeing = lambda: 2 in fragile.seen
    await _free_a_row(broker, fragile)
