"""Coroutines that are run up to their first wait, and on from there in the same task."""

import asyncio

import pytest

from edgy_bus.runtime.stepping import begin, resume


async def test_what_waits_for_nothing_ends_at_once() -> None:
    async def one() -> int:
        return 5

    with pytest.raises(StopIteration) as ended:
        begin(one())
    assert ended.value.value == 5


async def test_what_waits_goes_on_in_the_same_task() -> None:
    async def one() -> tuple[bool, int]:
        before = asyncio.current_task()
        await asyncio.sleep(0)
        value = await asyncio.wait_for(asyncio.sleep(0.001, 7), 5)
        return before is asyncio.current_task(), value

    made = one()
    assert await resume(made, begin(made)) == (True, 7)


async def test_errors_and_cancellation_reach_it() -> None:
    seen: list[str] = []

    async def one() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            seen.append("cancelled")
            await asyncio.sleep(0)
            raise

    async def main() -> None:
        made = one()
        await resume(made, begin(made))

    task = asyncio.create_task(main())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen == ["cancelled"]

    async def fails() -> None:
        await asyncio.sleep(0)
        raise LookupError("nothing there")

    made = fails()
    with pytest.raises(LookupError):
        await resume(made, begin(made))
