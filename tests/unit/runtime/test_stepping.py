"""Coroutines that are run up to their first wait, and on from there in the same task."""

import asyncio
from collections.abc import Coroutine
from contextvars import ContextVar, copy_context
from typing import Any

import pytest

from edgy_bus.runtime.stepping import begin, complete, resume

tenant: ContextVar[str] = ContextVar("tenant", default="nobody's")


async def run(call: Coroutine[Any, Any, Any]) -> Any:
    """Begin and resume a coroutine in a context of its own."""
    context = copy_context()
    return await resume(call, context.run(begin, call), context)


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
    assert await run(made) == (True, 7)


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
        await run(made)

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
        await run(made)


@pytest.mark.parametrize("step", [run, lambda call: complete(call, copy_context())])
async def test_every_step_has_the_context_of_the_coroutine_and_leaves_the_task_in_its_own(
    step: Any,
) -> None:
    seen: list[str] = []

    async def one() -> None:
        seen.append(tenant.get())
        tenant.set("one's")
        await asyncio.sleep(0)
        seen.append(tenant.get())
        await asyncio.create_task(asyncio.sleep(0))
        seen.append(tenant.get())

    tenant.set("the runner's")
    await step(one())
    assert seen == ["the runner's", "one's", "one's"]
    assert tenant.get() == "the runner's"


async def test_an_error_reaches_the_coroutine_in_its_context() -> None:
    seen: list[str] = []

    async def one() -> None:
        tenant.set("one's")
        try:
            await asyncio.Event().wait()
        finally:
            seen.append(tenant.get())

    task = asyncio.create_task(run(one()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen == ["one's"]
