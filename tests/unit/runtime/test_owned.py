"""Tasks with an owner: their errors are reported, and none outlives the owner."""

import asyncio

from edgy_bus.runtime.owned import OwnedTasks
from tests.support import eventually


async def test_an_error_is_reported_before_what_follows_the_end() -> None:
    seen: list[str] = []

    async def fails() -> None:
        raise LookupError("no")

    tasks = OwnedTasks(lambda error: seen.append(repr(error)), lambda: seen.append("quiet"))
    tasks.start(fails(), lambda: seen.append("ended"))
    assert len(tasks) == 1
    await tasks.ended()
    await asyncio.sleep(0)
    assert seen == ["LookupError('no')", "ended", "quiet"]
    assert len(tasks) == 0


async def test_a_task_that_starts_another_at_its_end_leaves_no_quiet() -> None:
    seen: list[str] = []
    tasks = OwnedTasks(lambda error: None, lambda: seen.append("quiet"))

    async def work() -> None:
        seen.append("work")

    def start_another() -> None:
        tasks.start(work())

    tasks.start(work(), start_another)
    await eventually(lambda: not len(tasks))
    assert seen == ["work", "work", "quiet"]


async def test_tasks_that_rest_are_not_busy() -> None:
    quiet: list[int] = []
    go = asyncio.Event()
    tasks = OwnedTasks(lambda error: None, lambda: quiet.append(len(tasks)))

    async def rest() -> None:
        with tasks.resting():
            await go.wait()
        await asyncio.sleep(0)

    async def work() -> None:
        await asyncio.sleep(0.01)

    tasks.start(work())
    tasks.start(rest())
    tasks.start(rest())
    await asyncio.sleep(0)
    assert (len(tasks), tasks.busy, quiet) == (3, 1, [])
    await eventually(lambda: quiet == [2], "the task that was busy has ended")
    go.set()
    await eventually(lambda: quiet == [2, 0])
    assert tasks.busy == 0


async def test_there_is_quiet_when_the_last_busy_task_begins_to_rest() -> None:
    quiet: list[int] = []
    tasks = OwnedTasks(lambda error: None, lambda: quiet.append(len(tasks)))

    async def rest() -> None:
        with tasks.resting():
            await asyncio.sleep(3600)

    tasks.start(rest())
    await eventually(lambda: quiet == [1])
    tasks.cancel()
    await tasks.ended()


async def test_a_task_that_is_cancelled_while_it_rests_counts_no_more() -> None:
    tasks = OwnedTasks(lambda error: None)

    async def rest() -> None:
        with tasks.resting():
            await asyncio.sleep(3600)

    tasks.start(rest())
    await asyncio.sleep(0)
    assert tasks.busy == 0
    tasks.cancel()
    await tasks.ended()
    await asyncio.sleep(0)
    assert (len(tasks), tasks.busy) == (0, 0)


async def test_cancelling_is_no_error_when_the_owner_does_it() -> None:
    seen: list[BaseException] = []
    tasks = OwnedTasks(seen.append)
    task = tasks.start(asyncio.sleep(3600))
    await asyncio.sleep(0)
    tasks.cancel()
    await tasks.ended()
    assert task.cancelled()
    assert seen == []


async def test_a_task_that_cancels_itself_is_reported() -> None:
    seen: list[BaseException] = []

    async def suicidal() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)

    tasks = OwnedTasks(seen.append)
    tasks.start(suicidal())
    await tasks.ended()
    await asyncio.sleep(0)
    assert ["cancelled the task that runs it" in str(error) for error in seen] == [True]
