"""Run a coroutine up to its first wait, and later the rest.

Most receivers of a busy stream wait for nothing, or not every time. A call that never waits needs
no deadline, no second task that goes on meanwhile, and no turn of the event loop.
"""

from asyncio import CancelledError
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context
from types import coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def begin(call: Coroutine[Any, Any, T]) -> Any:
    """Run a coroutine up to its first wait, in the current task.

    Returns:
        The object that the coroutine waits for, to be passed to `resume`.

    Raises:
        StopIteration: with the result, if the coroutine ended without a wait.
        BaseException: the coroutine's own error.
    """
    return call.send(None)


def _nothing() -> None: ...


@coroutine
def resume(
    call: Coroutine[Any, Any, T],
    waits_for: Any,
    context: Context,
    cancelled: Callable[[], None] = _nothing,
) -> Generator[Any, Any, T]:
    """Await the rest of a coroutine that `begin` began, in the same task and in `context`.

    `cancelled` is called when the coroutine gets a cancellation, which the coroutine may swallow.
    """
    # Every step enters the context and leaves it again, as a task does with its own: between two
    # steps, the runner's task runs in the runner's context.
    advance: Callable[[Any], Any]
    while True:
        try:
            sent = yield waits_for
        except BaseException as error:  # noqa: BLE001 - for the coroutine, which may raise again
            # Cancellation included: the coroutine must see the error as if it were awaited
            # directly.
            advance, value = call.throw, error
            if isinstance(error, CancelledError):
                cancelled()
        else:
            advance, value = call.send, sent
        try:
            waits_for = context.run(advance, value)
        except StopIteration as stop:
            result: T = stop.value
            return result
        except GeneratorExit as error:
            if error is value:
                raise  # this generator is being closed, and the coroutine with it
            raise RuntimeError("the coroutine raised GeneratorExit itself") from error


async def complete(
    call: Coroutine[Any, Any, T], context: Context, cancelled: Callable[[], None] = _nothing
) -> T:
    """Await a coroutine from its beginning in `context`, as `begin` and `resume` do."""
    try:
        waits_for = context.run(begin, call)
    except StopIteration as stop:
        result: T = stop.value
        return result
    except GeneratorExit as error:
        raise RuntimeError("the coroutine raised GeneratorExit itself") from error
    return await resume(call, waits_for, context, cancelled)
