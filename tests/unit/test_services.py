"""The contract of every background loop, and the bell."""

import asyncio

import pytest

from edgy_bus.services import Bell, Service, happens
from tests.support import Told


class Loop(Service):
    def __init__(self) -> None:
        super().__init__()
        self.rounds = 0

    async def run(self) -> None:
        while not self.stopping.is_set():
            self.rounds += 1
            await self.pause(3_600)


class Broken(Service):
    async def run(self) -> None:
        raise ValueError("broken")


async def test_it_runs_until_it_is_stopped_and_may_start_again() -> None:
    loop = Loop()
    for _ in range(2):
        await loop.start()
        await loop.start()
        assert loop.running
        await asyncio.sleep(0)
        await loop.stop()
        await loop.stop()
        assert not loop.running
    assert loop.rounds == 2


async def test_stopping_what_never_started_is_no_error() -> None:
    await Loop().stop()
    await Loop().abort()
    assert Loop().failure is None


async def test_what_ended_a_loop_is_told_and_raised_to_whoever_waits() -> None:
    broken = Broken()
    with Told() as told:
        await broken.start()
        with pytest.raises(ValueError, match="broken"):
            await broken.wait()
    assert told.of("service.failed") == [{"service": "Broken", "error": "ValueError('broken')"}]
    assert isinstance(broken.failure, ValueError)


async def test_aborting_ends_a_loop_that_does_not_listen() -> None:
    class Deaf(Service):
        async def run(self) -> None:
            await asyncio.Event().wait()

    deaf = Deaf()
    await deaf.start()
    await deaf.abort()
    assert not deaf.running
    assert deaf.failure is None


async def test_who_waits_for_a_loop_and_is_cancelled_leaves_it_running() -> None:
    async with Loop() as loop:
        waiting = asyncio.create_task(loop.wait())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert loop.running


async def test_many_rings_are_one_and_a_ring_before_the_wait_is_heard() -> None:
    bell = Bell()
    bell.ring()
    bell.ring()
    assert await bell.wait(3_600)
    assert not await bell.wait(0.01)


async def test_happens_answers_whether_it_did() -> None:
    event = asyncio.Event()
    assert not await happens(event, 0.01)
    event.set()
    assert await happens(event, 3_600)
