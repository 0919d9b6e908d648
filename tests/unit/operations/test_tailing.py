"""Events are followed from stream to stream, each once, in about the order of their publishing."""

import pytest

from edgy_bus.brokers.base import StreamHead
from edgy_bus.brokers.memory import MemoryBroker
from edgy_bus.codec import Wire
from edgy_bus.events import PRE, Partition
from edgy_bus.operations import Following, Tail, tailing
from tests.support import PARTITION, event, publish

OTHER = Partition(PARTITION.model, "1")


@pytest.fixture
def broker() -> MemoryBroker:
    return MemoryBroker()


async def declare(broker: MemoryBroker, partitions: int = 2) -> None:
    await broker.declare(PARTITION.model, partitions)


async def sequences(tail: Tail) -> list[int | None]:
    return [each.sequence for each in await tail.step()]


async def test_a_tail_shows_the_newest_events_and_then_each_event_once(
    broker: MemoryBroker,
) -> None:
    await declare(broker)
    await publish(broker, event("1", 1), event("2", 2), event("1", 3))
    tail = Tail(broker, Following())
    assert [each.sequence for each in await tail.begin(2)] == [2, 3]
    assert await sequences(tail) == []
    await publish(broker, event("1", 4))
    await publish(broker, event("2", 5), partition=OTHER)
    assert sorted(filter(None, await sequences(tail))) == [4, 5]
    assert await sequences(tail) == []


async def test_a_tail_may_begin_with_what_comes(broker: MemoryBroker) -> None:
    await declare(broker)
    await publish(broker, event("1", 1))
    tail = Tail(broker, Following())
    assert await tail.begin() == []
    await publish(broker, event("1", 2))
    assert await sequences(tail) == [2]


async def test_a_tail_follows_a_row_a_signal_or_a_model(broker: MemoryBroker) -> None:
    await declare(broker)
    events = (
        event("1", 1),
        event("12", 2),
        event("1", 3)._replace(signal="post_delete"),
        # The text of the row in another place of the header.
        event("2", 4)._replace(context={"subject": "1"}),
    )
    await publish(broker, *events)
    for following, expected in {
        Following(subject="1"): [1, 3],
        Following(signal="post_delete"): [3],
        Following(model=PARTITION.model, subject="12"): [2],
        Following(model="accounts.Team"): [],
    }.items():
        tail = Tail(broker, following)
        assert [each.sequence for each in await tail.begin(10)] == expected
        assert PARTITION.model in tail.models


async def test_a_model_that_is_declared_later_is_followed_from_its_beginning(
    broker: MemoryBroker,
) -> None:
    tail = Tail(broker, Following())
    assert await tail.begin(10) == []
    await declare(broker)
    await publish(broker, event("1", 1))
    assert await sequences(tail) == [1]


async def test_a_tail_that_is_behind_says_so(
    broker: MemoryBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tailing, "_PAGE", 2)
    await declare(broker)
    tail = Tail(broker, Following())
    await tail.begin()
    await publish(broker, *(event("1", number) for number in range(1, 4)))
    assert await sequences(tail) == [1, 2]
    assert tail.is_behind
    assert await sequences(tail) == [3]
    assert not tail.is_behind


async def test_entries_of_other_programs_are_passed_over(broker: MemoryBroker) -> None:
    await declare(broker)
    tail = Tail(broker, Following())
    await tail.begin()
    state = await broker.inspect(PARTITION, StreamHead(), "epoch")
    await broker.publish(PARTITION, state.head, [Wire("x", b"not JSON", b"")])
    await publish(broker, event("1", 1))
    assert await sequences(tail) == [1]


async def test_announced_events_are_followed(broker: MemoryBroker) -> None:
    await declare(broker)
    tail = Tail(broker, Following())
    await tail.begin()
    pre = Partition(PARTITION.model, PRE)
    await publish(broker, event("1", 1)._replace(signal="pre_save"), partition=pre)
    assert [each.signal for each in await tail.step()] == ["pre_save"]
