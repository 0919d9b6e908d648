"""The contract of every background loop, and the bell."""

import asyncio
from contextlib import suppress

import pytest

from edgy_bus import services
from edgy_bus.services import (
    Bell,
    PerLoop,
    Progress,
    Service,
    happens,
    interruptible,
    next_pause,
)
from tests.support import Told, eventually


class Loop(Service):
    def __init__(self) -> None:
        super().__init__()
        self.rounds = 0

    async def run(self) -> None:
        while not self.stopping.is_set():
            self.rounds += 1
            await self.pause(3_600)


class Broken(Service):
    restarts = False

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
    (notice,) = told.of("service.failed")
    assert (notice["service"], notice["error"]) == ("Broken", "ValueError: broken")
    assert notice["again_in"] is None
    assert "in run" in notice["trace"]
    assert isinstance(broken.failure, ValueError)


class Fragile(Service):
    """Fails as often as there are errors, and then runs."""

    def __init__(self, *errors: BaseException) -> None:
        super().__init__()
        self.errors = list(errors)
        self.runs = 0

    async def run(self) -> None:
        self.runs += 1
        if self.errors:
            raise self.errors.pop()
        await self.stopping.wait()


async def test_a_loop_that_fails_is_reported_and_runs_again() -> None:
    # Nobody has cancelled the loop: an error of what the loop waits for, like any other.
    fragile = Fragile(ValueError("once"), asyncio.CancelledError())
    with Told() as told:
        async with fragile:
            await eventually(lambda: fragile.runs == 3)
            assert fragile.running
    notices = told.of("service.failed")
    assert [notice["error"] for notice in notices] == ["CancelledError", "ValueError: once"]
    assert [notice["again_in"] for notice in notices] == [0.05, 0.1]
    assert " in run" in notices[0]["trace"]
    assert "test_services.py:" in notices[0]["trace"]
    assert fragile.failure is None


async def test_a_loop_that_fails_while_it_is_stopped_is_not_begun_again() -> None:
    class FailsAtTheEnd(Fragile):
        async def run(self) -> None:
            self.runs += 1
            await self.stopping.wait()
            raise ValueError("at the end")

    fragile = FailsAtTheEnd()
    await fragile.start()
    await asyncio.sleep(0)
    with pytest.raises(ValueError, match="at the end"):
        await fragile.stop()
    assert fragile.runs == 1


async def test_the_pause_of_a_loop_that_fails_ends_when_it_is_stopped_or_aborted() -> None:
    for end in (Service.stop, Service.abort):
        fragile = Fragile(*(ValueError() for _ in range(100)))
        await fragile.start()
        await eventually(lambda fragile=fragile: fragile.runs == 3)
        await asyncio.wait_for(end(fragile), 5)
        assert not fragile.running


def test_pauses_grow_to_a_bound_and_begin_anew_after_a_calm_time() -> None:
    pauses, pause = [], 0.0
    for _ in range(9):
        pause = next_pause(pause, lasted=1.0)
        pauses.append(pause)
    assert pauses == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    assert next_pause(5.0, lasted=services.CALM) == 0.05


async def test_a_loop_that_hangs_does_not_count_as_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "PATIENCE", 0.02)
    progress = Progress()
    assert not progress, "the loop has not begun"
    progress.note()
    assert progress
    await asyncio.sleep(0.03)
    assert not progress
    progress.note(rests=30)
    await asyncio.sleep(0.03)
    assert progress

    class Hanging(Loop):
        async def run(self) -> None:
            await asyncio.Event().wait()

    loop, hanging = Loop(), Hanging()
    assert not loop.alive
    await loop.start()
    await hanging.start()
    await asyncio.sleep(0.03)
    assert loop.alive, "its pause says when it goes on"
    assert not hanging.alive
    await loop.stop()
    assert not loop.alive
    await hanging.abort()


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


# Event loops, one after another


def test_a_service_starts_again_after_its_event_loop_was_closed() -> None:
    loop = Loop()

    async def leaves_it_running() -> None:
        await loop.start()
        await asyncio.sleep(0)

    async def main() -> None:
        assert not loop.running
        await loop.stop()
        await loop.abort()
        await loop.start()
        assert loop.running
        await asyncio.sleep(0)
        await loop.stop()
        assert not loop.running

    # `asyncio.run` would cancel the task: this loop is closed while the service runs.
    first = asyncio.new_event_loop()
    first.run_until_complete(leaves_it_running())
    task = loop._task
    assert task is not None
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    first.close()
    asyncio.run(main())
    assert loop.rounds == 2


def test_a_bell_rings_in_one_event_loop_after_another() -> None:
    bell = Bell()

    async def main() -> None:
        waiting = asyncio.create_task(bell.wait(20))
        await asyncio.sleep(0)
        bell.ring()
        assert await waiting
        assert not await bell.wait(0.01)

    for _ in range(3):
        asyncio.run(main())


def test_a_value_per_loop_is_made_once_for_each_loop() -> None:
    locks = PerLoop(asyncio.Lock)

    async def get() -> asyncio.Lock:
        assert locks.get() is locks.get()
        return locks.get()

    pausing = asyncio.new_event_loop()
    first = pausing.run_until_complete(get())
    second = asyncio.run(get())
    assert first is not second
    # A loop that was not closed may run again, and finds its value.
    assert pausing.run_until_complete(get()) is first
    pausing.close()
    third = asyncio.run(get())
    assert third is not second
    assert list(locks._values.values()) == [third], "values of closed loops are dropped"
    assert locks.get() is locks.get(), "callers without a loop share a value"


# A bounded stop


class Stubborn(Service):
    """A loop that does not end when asked, and swallows as many cancellations as given."""

    stops_within = 0.01

    def __init__(self, swallowed: int) -> None:
        super().__init__()
        self.swallowed = swallowed
        self.released = asyncio.Event()

    async def run(self) -> None:
        for _ in range(self.swallowed):
            with suppress(asyncio.CancelledError):
                await self.released.wait()
        await self.released.wait()


async def test_a_loop_that_does_not_end_is_cancelled_and_reported() -> None:
    service = Stubborn(swallowed=0)
    with Told() as told:
        await service.start()
        await service.stop()
    assert not service.running
    assert told.names() == ["service.cut_off"]


async def test_a_loop_that_swallows_cancellation_keeps_no_caller(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(services, "CANCELLED_WITHIN", 0.01)
    service = Stubborn(swallowed=5)
    with Told() as told:
        await service.start()
        await service.stop()
    assert service.running
    assert told.names() == ["service.cut_off", "service.abandoned"]
    service.released.set()
    await service.wait()


async def test_a_timeout_of_the_loop_is_the_error_of_the_loop() -> None:
    class Late(Service):
        restarts = False

        async def run(self) -> None:
            await self.stopping.wait()
            raise TimeoutError("the loop's own")

    service = Late()
    await service.start()
    with pytest.raises(TimeoutError, match="the loop's own"):
        await service.stop()


# Work that an event interrupts


async def test_work_that_ends_is_not_interrupted() -> None:
    assert await interruptible(asyncio.sleep(0), asyncio.Event())


async def test_an_event_cancels_the_work_in_its_own_task() -> None:
    event, ends = asyncio.Event(), []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ends.append(asyncio.current_task())

    asyncio.get_running_loop().call_soon(event.set)
    assert not await interruptible(work(), event)
    assert ends == [asyncio.current_task()]
    assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]


async def test_an_event_that_comes_with_the_end_harms_nothing() -> None:
    event = asyncio.Event()

    async def work() -> None:
        await asyncio.sleep(0)
        event.set()

    loop_errors: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: loop_errors.append(context))
    for _ in range(3):
        event.clear()
        assert await interruptible(work(), event)
        await asyncio.sleep(0)
    assert not loop_errors


async def test_errors_and_cancellations_of_the_work_pass() -> None:
    async def fail() -> None:
        raise TimeoutError("the work's own")

    with pytest.raises(TimeoutError, match="the work's own"):
        await interruptible(fail(), asyncio.Event())
    task = asyncio.create_task(interruptible(asyncio.Event().wait(), asyncio.Event()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
