"""Waking up idle tenures: which streams the bell waits for, and when its wait is interrupted."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

import pytest

from edgy_bus.brokers.base import Bell, EntryId
from edgy_bus.errors import BrokerUnavailable
from edgy_bus.events import Partition
from edgy_bus.runtime.assignment import Post
from edgy_bus.runtime.news import NewsWatch
from edgy_bus.settings import WorkerSettings
from tests.support import eventually

A, B = Partition("shop.Order", "0"), Partition("shop.Order", "1")
Positions = Mapping[Partition, EntryId]


def at(number: int) -> EntryId:
    return EntryId(number, 0)


@dataclass
class IdleTenure:
    """The side of a tenure that the watch sees."""

    position: EntryId | None
    woken: int = 0

    def wake(self) -> None:
        self.position = None
        self.woken += 1


class ScriptedBell(Bell):
    """Returns what the test lets it ring, and notes what it waited for."""

    def __init__(self) -> None:
        self.waits: list[Positions] = []
        self.interrupts = 0
        self.deaf = False
        """Whether an interruption comes before the wait, and is missed."""
        self._ringing: asyncio.Queue[Positions | BrokerUnavailable] = asyncio.Queue()

    def ring(self, ringing: Positions | BrokerUnavailable) -> None:
        self._ringing.put_nowait(ringing)

    async def wait(self, positions: Positions, timeout: float) -> dict[Partition, EntryId]:
        self.waits.append(dict(positions))
        ringing = await self._ringing.get()
        if isinstance(ringing, BrokerUnavailable):
            raise ringing
        return dict(ringing)

    async def interrupt(self) -> None:
        self.interrupts += 1
        if not self.deaf:
            self.ring({})
        self.deaf = False

    async def close(self) -> None:
        return None


@dataclass
class Watched:
    """A watch at work, with a tenure for each partition."""

    watch: NewsWatch
    bell: ScriptedBell
    tenures: dict[Partition, IdleTenure]

    async def waits(self, number: int) -> Positions:
        """Wait for the bell's wait of this number, and return its positions."""
        await eventually(lambda: len(self.bell.waits) >= number)
        return self.bell.waits[number - 1]

    def becomes_idle(self, partition: Partition, position: EntryId) -> None:
        self.tenures[partition].position = position
        self.watch.expect(partition, position)


@asynccontextmanager
async def watching() -> AsyncIterator[Watched]:
    tenures = {A: IdleTenure(at(5)), B: IdleTenure(at(7))}
    posts = {Post(partition, "mail"): tenure for partition, tenure in tenures.items()}
    watch = NewsWatch(WorkerSettings(backoff=0.01), cast(Any, posts))
    watched = Watched(watch, ScriptedBell(), tenures)
    tasks = [
        asyncio.create_task(watch.listen(watched.bell)),
        asyncio.create_task(watch.interrupt(watched.bell)),
    ]
    try:
        yield watched
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_ring_wakes_the_tenure_of_the_stream_alone() -> None:
    async with watching() as watched:
        assert await watched.waits(1) == {A: at(5), B: at(7)}
        watched.bell.ring({A: at(6)})
        await watched.waits(2)
        assert [tenure.woken for tenure in watched.tenures.values()] == [1, 0]


async def test_a_tenure_that_has_read_what_rang_interrupts_no_wait() -> None:
    async with watching() as watched:
        for number in range(1, 4):
            await watched.waits(number)
            watched.bell.ring({A: at(5 + number)})
            assert await watched.waits(number + 1) == {A: at(5 + number), B: at(7)}
            watched.becomes_idle(A, at(5 + number))
        await asyncio.sleep(0.05)
        assert watched.bell.interrupts == 0
        assert watched.tenures[A].woken == 3


async def test_entries_that_the_tenure_has_read_already_wake_nobody() -> None:
    async with watching() as watched:
        watched.bell.ring({A: at(6)})
        await watched.waits(2)
        watched.becomes_idle(A, at(8))
        watched.bell.ring({A: at(7)})
        assert await watched.waits(3) == {A: at(8), B: at(7)}
        assert watched.tenures[A].woken == 1


async def test_a_busy_stream_is_left_out_until_its_tenure_is_idle() -> None:
    async with watching() as watched:
        watched.bell.ring({A: at(6)})
        await watched.waits(2)
        watched.bell.ring({A: at(7)})
        assert await watched.waits(3) == {B: at(7)}
        # The read may have missed the entry that rang last.
        watched.becomes_idle(A, at(6))
        assert await watched.waits(4) == {A: at(6), B: at(7)}
        assert watched.bell.interrupts == 1


async def test_a_stream_that_was_replaced_is_waited_for_at_its_smaller_position() -> None:
    async with watching() as watched:
        await watched.waits(1)
        watched.becomes_idle(A, at(2))
        assert await watched.waits(2) == {A: at(2), B: at(7)}


async def test_an_interruption_that_was_missed_is_repeated() -> None:
    async with watching() as watched:
        await watched.waits(1)
        watched.bell.deaf = True
        watched.becomes_idle(A, at(2))
        assert await watched.waits(2) == {A: at(2), B: at(7)}
        assert watched.bell.interrupts == 2


async def test_two_tenures_that_become_idle_shortly_after_each_other_are_both_expected() -> None:
    async with watching() as watched:
        await watched.waits(1)
        watched.becomes_idle(A, at(2))
        await watched.waits(2)
        watched.becomes_idle(B, at(3))
        assert await watched.waits(3) == {A: at(2), B: at(3)}


async def test_without_a_broker_every_idle_tenure_finds_out_by_itself() -> None:
    async with watching() as watched:
        watched.bell.ring(BrokerUnavailable("away"))
        await eventually(lambda: all(tenure.woken for tenure in watched.tenures.values()))


@pytest.mark.parametrize("entry", [at(6), at(60)])
async def test_a_tenure_that_ended_is_not_expected(entry: EntryId) -> None:
    async with watching() as watched:
        watched.bell.ring({A: entry})
        await watched.waits(2)
        cast(Any, watched.watch)._tenures.pop(Post(A, "mail"))
        watched.bell.ring({B: at(8)})
        assert await watched.waits(3) == {B: at(8)}
