"""Run a coroutine up to its first wait, and later the rest.

Most receivers of a busy stream wait for nothing, or not every time. A call that never waits needs
no deadline, no second task that goes on meanwhile, and no turn of the event loop.
"""

from collections.abc import Callable, Coroutine, Generator
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


@coroutine
def resume(call: Coroutine[Any, Any, T], waits_for: Any) -> Generator[Any, Any, T]:
    """Await the rest of a coroutine that `begin` began, in the same task."""
    advance: Callable[[Any], Any]
    while True:
        try:
            sent = yield waits_for
        except BaseException as error:  # noqa: BLE001 - for the coroutine, which may raise again
            # Cancellation included: the coroutine must see the error as if it were awaited
            # directly.
            advance, value = call.throw, error
        else:
            advance, value = call.send, sent
        try:
            waits_for = advance(value)
        except StopIteration as stop:
            result: T = stop.value
            return result
        except GeneratorExit as error:
            if error is value:
                raise  # this generator is being closed, and the coroutine with it
            raise RuntimeError("the coroutine raised GeneratorExit itself") from error


async def complete(call: Coroutine[Any, Any, T]) -> T:
    """Await a coroutine from its beginning, as `begin` and `resume` do."""
    try:
        waits_for = begin(call)
    except StopIteration as stop:
        result: T = stop.value
        return result
    except GeneratorExit as error:
        raise RuntimeError("the coroutine raised GeneratorExit itself") from error
    return await resume(call, waits_for)
