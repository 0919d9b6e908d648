"""Programs of one group with different receivers: no event passes a receiver by."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from edgy_bus.brokers.base import Fetched, Lease
from edgy_bus.brokers.memory import MemoryBroker
from edgy_bus.codec import dumps
from edgy_bus.operations import forget_receiver, release
from edgy_bus.operations import held as held_rows
from edgy_bus.retrying import Retry
from edgy_bus.runtime.subscriptions import Subscriptions
from edgy_bus.runtime.worker import Worker
from edgy_bus.settings import WorkerSettings
from tests.support import PARTITION, Told, event, eventually, publish
from tests.unit.runtime.programs import PARTITIONS, SETTINGS, Programs
from tests.unit.runtime.support import subscribe


@pytest.fixture
def programs() -> Programs:
    return Programs()


@pytest.fixture
def old_group(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no group be new, once it has a receiver."""
    for module in ("rostering", "setting_aside"):
        monkeypatch.setattr(f"edgy_bus.brokers.memory.{module}.NEW_GROUP", 0.0)


async def test_each_receiver_of_two_programs_handles_every_event(programs: Programs) -> None:
    await programs.publish()
    async with programs.worker("a"), programs.worker("b"):
        await eventually(lambda: programs.has_all("a", "b"))
        await programs.publish()
        await eventually(lambda: programs.has_all("a", "b"))
        assert await programs.aside() == {"a", "b"}
        await eventually(programs.finished)


async def test_a_renamed_receiver_goes_on_where_it_was(programs: Programs) -> None:
    programs.functions["b"] = "a"
    await programs.publish()
    async with programs.worker("a", "neighbour"):
        await eventually(lambda: programs.has_all("a", "neighbour"))
        assert await programs.broker.rename("mail", "a", "b") is None
        # An older release beside the newer one.
        async with programs.worker("b", "neighbour"):
            await programs.publish()
            await eventually(lambda: programs.has_all("a", "neighbour"))
    async with programs.worker("b", "neighbour"):
        await programs.publish()
        await eventually(lambda: programs.has_all("a", "neighbour"))
        await eventually(programs.finished)
    assert await programs.aside() == set()
    assert set((await programs.broker.roster("mail")).receivers) == {"a", "neighbour"}


async def test_a_receiver_that_is_renamed_too_late_goes_on_where_it_stopped(
    programs: Programs,
) -> None:
    await programs.publish()
    async with programs.worker("a"):
        await eventually(lambda: programs.has_all("a"))
    async with programs.worker("b"):
        await programs.publish()
        await eventually(lambda: programs.has_all("b"))
    assert await programs.broker.rename("mail", "a", "b") == "taken"
    await programs.broker.dismiss("mail", "b")
    assert await programs.broker.rename("mail", "a", "b") is None
    programs.functions["b"] = "a"
    async with programs.worker("b"):
        await eventually(lambda: programs.has_all("a"))
        await eventually(programs.finished)


async def test_what_a_program_lacks_waits_for_the_program_that_has_it(programs: Programs) -> None:
    await programs.publish()
    async with programs.worker("a", "b"):
        await eventually(lambda: programs.has_all("a", "b"))
    with Told() as told:
        async with programs.worker("a"):
            await programs.publish()
            await eventually(lambda: programs.has_all("a"))
            assert len(programs.heard["b"]) < programs.last
            assert not await programs.finished(), "streams wait for the receiver"
        notices = told.of("receiver.set_aside")
        assert [notice["reason"] for notice in notices] == ["missing"] * len(PARTITIONS)
        async with programs.worker("a", "b"):
            await eventually(lambda: programs.has_all("a", "b"))
            await eventually(lambda: _is_empty(programs.aside), "the receiver comes back")
            await programs.publish()
            await eventually(lambda: programs.has_all("a", "b"))
            await eventually(programs.finished)
        assert len(told.of("receiver.returned")) == len(PARTITIONS)
        assert told.of("tenure.lost") == []


async def test_a_receiver_comes_back_while_events_keep_coming(programs: Programs) -> None:
    await programs.publish()
    async with programs.worker("a", "b"):
        await eventually(lambda: programs.has_all("a", "b"))
    async with programs.worker("a"):
        await programs.publish()
        await eventually(lambda: programs.has_all("a"))

    async def keep_publishing() -> None:
        while True:
            await programs.publish(1)
            await asyncio.sleep(0.002)

    async with programs.worker("a", "b"):
        publishing = asyncio.create_task(keep_publishing())
        await eventually(lambda: _is_empty(programs.aside), "the receiver comes back")
        publishing.cancel()
        await asyncio.gather(publishing, return_exceptions=True)
        await eventually(lambda: programs.has_all("a", "b"))


async def test_programs_of_one_group_may_have_receivers_of_different_models(
    programs: Programs,
) -> None:
    await programs.publish()
    await programs.broker.declare("accounts.Order", 4)
    order = subscribe(programs._receiver("order"), name="order")
    object.__setattr__(order, "model", "accounts.Order")
    orders = Worker(programs.broker, [Subscriptions("mail", [order])], SETTINGS)
    async with orders, programs.worker("a"):
        await eventually(lambda: programs.has_all("a"))
        await eventually(programs.finished)


@pytest.mark.usefixtures("old_group")
async def test_a_renamed_receiver_keeps_its_streams_until_it_is_forgotten(
    programs: Programs,
) -> None:
    await programs.publish()
    async with programs.worker("old"):
        await eventually(lambda: programs.has_all("old"))
    with Told() as told:
        async with programs.worker("new"):
            await programs.publish()
            await eventually(lambda: len(programs.heard.get("new", ())) == 20)
            assert not await programs.finished()
            await forget_receiver(programs.broker, "mail", "old")
            await eventually(programs.finished)
            await eventually(lambda: len(told.of("receiver.dropped")) == len(PARTITIONS))
        assert sum(notice["count"] for notice in told.of("receiver.dropped")) == 20


async def test_a_receiver_that_no_program_had_for_long_keeps_no_stream(programs: Programs) -> None:
    await programs.publish()
    async with programs.worker("old"):
        await eventually(lambda: programs.has_all("old"))
    settings = SETTINGS.model_copy(update={"receiver_retention": 0.5})
    subscription = subscribe(programs._receiver("new"), name="new")
    worker = Worker(programs.broker, [Subscriptions("mail", [subscription])], settings)
    await asyncio.sleep(0.6)  # as long as the retention
    async with worker:
        await programs.publish()
        await eventually(programs.finished)


@pytest.mark.usefixtures("old_group")
@pytest.mark.parametrize(("start", "count"), [("kept", 40), ("now", 20), (None, 20)])
async def test_a_new_receiver_of_an_old_group_begins_where_it_says(
    programs: Programs, start: Any, count: int
) -> None:
    await programs.publish()
    async with programs.worker("a"):
        await eventually(lambda: programs.has_all("a"))
    async with programs.worker("a"), programs.worker("a", "late", start=start) as worker:
        await eventually(lambda: worker.ready)
        await eventually(lambda: _listed(programs))
        await asyncio.sleep(0.5)  # both programs know of the receiver after a round
        await programs.publish()
        await eventually(lambda: len(programs.heard.get("late", ())) == count)
        await eventually(lambda: programs.has_all("a"))
        await eventually(programs.finished)


async def test_beside_an_older_worker_nothing_is_set_aside(programs: Programs) -> None:
    await programs.publish()
    report = dumps({"protocol": 2})
    await programs.broker.join("mail", "older", 60, report)
    async with programs.worker("a"), programs.worker("b"):
        await asyncio.sleep(0.5)
        assert await programs.aside() == set()
        await programs.broker.leave("mail", "older")
        await eventually(lambda: _is_aside(programs))


async def test_held_rows_go_with_their_receiver(programs: Programs) -> None:
    options: dict[str, Any] = {"on_exhausted": "hold", "retry": Retry(attempts=1)}
    await programs.publish(1)
    programs.fails.add("b")
    async with programs.worker("a", "b", **options):
        await eventually(lambda: _held(programs, len(PARTITIONS)))
    async with programs.worker("a", **options):
        await programs.publish(2)
        await eventually(lambda: programs.has_all("a"))
        await release(programs.broker, (await held_rows(programs.broker, "mail")).rows)
        await programs.broker.nudge("mail")
        programs.fails.clear()
        await asyncio.sleep(0.3)
        assert "b" not in programs.heard
        # The own groups of the receiver park behind the held rows, and handle what is released.
        async with programs.worker("b", **options):
            await eventually(lambda: programs.has_all("b"))
            await eventually(lambda: _held(programs, 0))
    async with programs.worker("a", "b", **options):
        await eventually(lambda: _is_empty(programs.aside))
        await programs.publish(1)
        await eventually(lambda: programs.has_all("a", "b"))


async def test_a_receiver_needs_no_proofs_of_the_others(programs: Programs) -> None:
    once = Retry(attempts=1)
    long = Retry(attempts=100, delay=0.05, factor=1, jitter=0)
    await programs.publish(1)
    programs.fails = {"a", "b"}
    subscriptions = [
        subscribe(programs._receiver("a"), name="a", retry=once),
        subscribe(programs._receiver("b"), name="b", retry=long),
    ]
    async with Worker(programs.broker, [Subscriptions("mail", subscriptions)], SETTINGS):
        # The entries have notes that name the dead letters of "a".
        await eventually(lambda: _dead(programs, len(PARTITIONS)))
        await eventually(lambda: _noted(programs))
    programs.fails.clear()
    async with programs.worker("a"):
        await eventually(programs.aside)
        async with programs.worker("b", retry=long):
            await eventually(lambda: programs.has_all("b"))
            await eventually(programs.finished)


async def _dead(programs: Programs, count: int) -> bool:
    letters = [await programs.broker.dead_letters(each, "mail") for each in PARTITIONS]
    return sum(map(len, letters)) == count


async def _noted(programs: Programs) -> bool:
    groups = [programs.broker._group(partition, "mail") for partition in PARTITIONS]
    return all(group is not None and group.notes for group in groups)


async def _is_empty(names: Callable[[], Awaitable[set[str]]]) -> bool:
    return not await names()


async def _is_aside(programs: Programs) -> bool:
    return bool(await programs.aside())


async def _listed(programs: Programs) -> bool:
    return "late" in (await programs.broker.roster("mail")).receivers


async def _held(programs: Programs, count: int) -> bool:
    return len((await held_rows(programs.broker, "mail")).rows) == count


async def test_a_paused_receiver_waits_while_its_neighbours_go_on(programs: Programs) -> None:
    await programs.publish()
    async with programs.worker("a", "b") as worker:
        await eventually(lambda: programs.has_all("a", "b"))
        await programs.broker.pause("mail", None, "ana", receiver="b")
        await eventually(lambda: _has(programs.aside, {"b"}), "the receiver is set aside")
        await eventually(lambda: len(worker.consumers[0].partitions) == len(PARTITIONS))
        before = len(programs.heard["b"])
        await programs.publish()
        await eventually(lambda: programs.has_all("a"))
        # A worker that begins while the receiver is paused does not call the receiver either.
        async with programs.worker("a", "b"):
            await programs.publish()
            await eventually(lambda: programs.has_all("a"))
        assert len(programs.heard["b"]) == before
        await programs.broker.resume("mail", receiver="b")
        await eventually(lambda: programs.has_all("a", "b"))
        await eventually(lambda: _is_empty(programs.aside), "the receiver comes back")
        await eventually(programs.finished)


async def test_a_call_that_runs_finishes_before_its_receiver_is_set_aside(
    programs: Programs,
) -> None:
    go, calls = asyncio.Event(), 0
    receive = programs._receiver("b")

    async def slow(sender: Any, instance: Any, event: Any, **kwargs: Any) -> None:
        nonlocal calls
        calls += 1
        await go.wait()
        await receive(sender, instance=instance, event=event)

    subscriptions = [subscribe(slow, name="b"), subscribe(programs._receiver("a"), name="a")]
    worker = Worker(programs.broker, [Subscriptions("mail", subscriptions)], SETTINGS)
    await programs.publish(1)
    with Told() as told:
        await worker.start()
        await eventually(lambda: calls == len(PARTITIONS))
        await programs.broker.pause("mail", None, "ana", receiver="b")
        await programs.publish(1)
        # Each tenure has tried to end several times by then.
        await eventually(lambda: len(told.of("partition.draining")) == len(PARTITIONS))
        assert await programs.aside() == set(), "a call runs"
        go.set()
        await eventually(lambda: _has(programs.aside, {"b"}))
        before = calls
        assert before == len(programs.heard["b"]), "every call has finished"
        await programs.publish(1)
        await eventually(lambda: programs.has_all("a"))
        assert calls == before
        await programs.broker.resume("mail", receiver="b")
        await eventually(lambda: programs.has_all("a", "b"))
        await worker.stop()


async def _has(names: Callable[[], Awaitable[set[str]]], wanted: set[str]) -> bool:
    return await names() == wanted


class CountingReads(MemoryBroker):
    """A broker that counts the reads of own groups."""

    reads = 0

    async def fetch(self, lease: Lease, *args: Any, **options: Any) -> Fetched:
        self.reads += bool(lease.receiver)
        return await super().fetch(lease, *args, **options)


async def test_a_receiver_that_is_to_come_back_waits_without_reading_all_the_time() -> None:
    """Its own group reads no further than the group of all, which is busy, and has a call left."""
    broker = CountingReads()
    settings = WorkerSettings(lease=2.0, block=0.05, backoff=0.05, grace=0.2, prefetch=4)
    gate = asyncio.Event()
    slow: dict[str, range] = {"a": range(0), "b": range(0)}
    heard: dict[str, list[int]] = {"a": [], "b": []}

    def receiver(name: str) -> Any:
        async def receive(sender: Any, instance: Any, event: Any, **kwargs: Any) -> None:
            heard[name].append(event.sequence)
            await asyncio.sleep(0)
            if event.sequence in slow[name]:
                await gate.wait()

        return receive

    def worker(*names: str) -> Worker:
        chosen = [subscribe(receiver(name), name=name) for name in names]
        return Worker(broker, [Subscriptions("mail", chosen)], settings)

    await publish(broker, *(event(str(number), number) for number in range(1, 4)))
    async with worker("a", "b"):
        await eventually(lambda: len(heard["a"]) == len(heard["b"]) == 3)
    async with worker("a"):
        await publish(broker, *(event(str(number), number) for number in range(4, 7)))
        await eventually(lambda: len(heard["a"]) == 6)
    slow["a"], slow["b"] = range(7, 100), range(5, 6)
    async with worker("a", "b"):
        await eventually(lambda: len(heard["b"]) == 6)
        await publish(broker, *(event(str(number), number) for number in range(7, 60)))
        await eventually(lambda: "b" in broker._streams[PARTITION].attendances["mail"].due)
        before = broker.reads
        await asyncio.sleep(1.0)
        assert broker.reads - before < 10
        gate.set()
        await eventually(lambda: len(heard["b"]) == 59)
