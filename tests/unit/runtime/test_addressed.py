"""Events that are addressed to a receiver (`to` in the event header): for that receiver alone."""

from collections.abc import Sequence
from typing import Any

import pytest

import edgy_bus as edgy
from edgy_bus.brokers.base import RowKey, StreamHead
from edgy_bus.brokers.memory import MemoryBroker
from edgy_bus.codec import Wire, dumps, loads, pack
from edgy_bus.events import Event
from edgy_bus.retrying import Retry
from edgy_bus.runtime.jobs import STREAM
from edgy_bus.runtime.subscriptions import Subscription
from tests.support import PARTITION, event, eventually, publish
from tests.unit.runtime.support import Group, subscribe

LONG = 3600.0


def addressed(event: Event, **attributes: Any) -> Wire:
    """An event with more attributes in its header than this release writes."""
    wire = pack(event)
    return wire._replace(header=dumps({**loads(wire.header), **attributes}))


async def append(broker: MemoryBroker, *wires: Wire) -> None:
    await broker.declare(PARTITION.model, 1)
    state = await broker.inspect(PARTITION, StreamHead(), "epoch")
    assert await broker.publish(PARTITION, state.head, wires) is not None


class Calls:
    """Receivers of a group that keep what they are called with, as receiver and sequence."""

    def __init__(self) -> None:
        self.all: list[tuple[str, int]] = []

    def receiver(self, name: str, **options: Any) -> Subscription:
        async def single(sender: Any, event: Any, **kwargs: Any) -> None:
            self.all.append((name, event.sequence))

        async def many(sender: Any, events: Sequence[Any], **kwargs: Any) -> None:
            self.all += [(name, each.sequence) for each in events]

        return subscribe(many if "batch" in options else single, name=name, **options)


async def test_an_addressed_event_is_for_its_receiver_alone_and_others_are_done_with_it() -> None:
    calls, broker = Calls(), MemoryBroker()
    await append(broker, addressed(event("1", 1), to="mail/b"), pack(event("1", 2)))
    group = Group(broker, *(calls.receiver(name) for name in "abc"))
    tenure = await group.begin()
    await eventually(lambda: len(calls.all) == 4)
    await group.end(tenure)
    assert calls.all.index(("b", 1)) < calls.all.index(("b", 2)), "in the order of the row"
    assert sorted(calls.all) == [("a", 2), ("b", 1), ("b", 2), ("c", 2)]
    assert await group.unfinished() == 0


@pytest.mark.parametrize("to", ["search/b", "mail/nobody", "mail/b/", "Mail/b", "/b", "mail/"])
async def test_an_event_for_another_group_or_receiver_is_settled_without_a_call(to: str) -> None:
    calls, broker = Calls(), MemoryBroker()
    await append(broker, addressed(event("1", 1), to=to), pack(event("1", 2)))
    group = Group(broker, calls.receiver("b"))
    tenure = await group.begin()
    await eventually(lambda: calls.all)
    await group.end(tenure)
    assert calls.all == [("b", 2)]
    assert await group.unfinished() == 0
    assert group.stats.handled == 1


async def test_an_addressed_event_that_nobody_here_handles_is_settled_at_once() -> None:
    """Also when nothing else comes."""
    calls, broker = Calls(), MemoryBroker()
    await append(broker, addressed(event("1", 1), to="search/b"))
    group = Group(broker, calls.receiver("b"))
    tenure = await group.begin()
    await eventually(lambda: tenure.position is not None)
    await eventually(lambda: _is_settled(group))
    await group.end(tenure)
    assert calls.all == []


async def _is_settled(group: Group) -> bool:
    return await group.unfinished() == 0


async def test_an_addressed_event_is_in_the_batches_of_its_receiver_alone() -> None:
    calls, broker = Calls(), MemoryBroker()
    pair = edgy.Batch(2, LONG)
    wires = [
        addressed(event("1", 1), to="mail/a"),
        addressed(event("2", 2), to="mail/b"),
        addressed(event("3", 3), to="mail/a"),
        pack(event("4", 4)),
    ]
    await append(broker, *wires)
    group = Group(broker, calls.receiver("a", batch=pair), calls.receiver("b", batch=pair))
    tenure = await group.begin()
    await eventually(lambda: len(calls.all) == 4)
    await group.end(tenure)
    assert sorted(calls.all) == [("a", 1), ("a", 3), ("b", 2), ("b", 4)]
    assert await group.pending() == 1, "4 waits for a batch of a"


async def test_an_addressed_event_of_a_held_row_is_parked_for_its_receiver() -> None:
    seen: list[tuple[str, int]] = []

    def fragile(name: str) -> Subscription:
        async def receiver(sender: Any, event: Any, **kwargs: Any) -> None:
            if event.sequence == 1:
                raise ValueError("broken")
            seen.append((name, event.sequence))

        return subscribe(receiver, name=name, retry=Retry(attempts=1), on_exhausted="hold")

    broker = MemoryBroker()
    await append(
        broker,
        addressed(event("1", 1), to="mail/a"),
        addressed(event("1", 2), to="mail/b"),
        addressed(event("1", 3), to="mail/a"),
    )
    group = Group(broker, fragile("a"), fragile("b"))
    tenure = await group.begin()
    await eventually(lambda: _parked(broker, 2))
    await group.end(tenure)
    assert seen == [("b", 2)]
    assert await group.unfinished() == 0


async def _parked(broker: MemoryBroker, count: int) -> bool:
    return len(await broker.parked(PARTITION, "mail", RowKey("a", "1"), 10)) == count


async def test_an_addressed_event_outlives_its_owner_for_its_receiver_alone() -> None:
    calls, broker = Calls(), MemoryBroker()
    await append(broker, addressed(event("1", 1), to="mail/b"))
    dead = await broker.acquire(PARTITION, "mail", "dead", 30)
    assert dead is not None
    await broker.fetch(dead, 10, inherit=True)
    await broker.release(dead)
    group = Group(broker, calls.receiver("a"), calls.receiver("b"))
    tenure = await group.begin()
    await eventually(lambda: calls.all)
    await group.end(tenure)
    assert calls.all == [("b", 1)]
    assert await group.unfinished() == 0


async def test_an_address_that_is_none_goes_to_the_dead_letters() -> None:
    calls, broker = Calls(), MemoryBroker()
    await append(broker, addressed(event("1", 1), to="everybody"), pack(event("1", 2)))
    group = Group(broker, calls.receiver("a"))
    tenure = await group.begin()
    await eventually(lambda: calls.all and group.stats.dead)
    await group.end(tenure)
    assert calls.all == [("a", 2)]
    (letter,) = await broker.dead_letters(PARTITION, "mail")
    assert letter.receiver == STREAM
    assert "'everybody' is not of the form GROUP/RECEIVER" in letter.reason


async def test_attributes_of_later_releases_change_nothing() -> None:
    calls, broker = Calls(), MemoryBroker()
    later = {"causationid": "0192", "actor": "Ada", "backfill": True, "nested": {"a": [1]}}
    await append(broker, addressed(event("1", 1), **later))
    await publish(broker, event("1", 2))
    group = Group(broker, calls.receiver("a"))
    tenure = await group.begin()
    await eventually(lambda: len(calls.all) == 2)
    await group.end(tenure)
    assert calls.all == [("a", 1), ("a", 2)]
