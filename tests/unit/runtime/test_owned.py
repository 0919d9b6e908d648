"""Tasks with an owner: their errors are reported, and none outlives the owner."""

import asyncio

from edgy_bus.runtime.owned import OwnedTasks


async def test_an_error_is_reported_before_what_follows_the_end() -> None:
    seen: list[str] = []

    async def fails() -> None:
        raise LookupError("no")

    tasks = OwnedTasks(lambda error: seen.append(repr(error)))
    tasks.start(fails(), lambda: seen.append("ended"))
    await tasks.finish(within=5)
    await asyncio.sleep(0)
    assert seen == ["LookupError('no')", "ended"]


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
    await tasks.finish(within=5)
    await asyncio.sleep(0)
    assert ["cancelled the task that runs it" in str(error) for error in seen] == [True]


async def test_finishing_waits_no_longer_than_it_may() -> None:
    tasks = OwnedTasks(lambda error: None)
    task = tasks.start(asyncio.sleep(3600))
    await tasks.finish(within=0.01)
    assert not task.done()
    tasks.cancel()
    await tasks.ended()
    await tasks.finish(within=3600)
