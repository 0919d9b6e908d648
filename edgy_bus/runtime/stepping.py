"""Running a coroutine up to its first wait, and on from there.

Most receivers of a busy stream wait for nothing, or not every time. What never waits needs no deadline, no other task to go on
meanwhile, and no turn of the event loop.
"""

from collections.abc import Callable, Coroutine, Generator
from types import coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def begin(one: Coroutine[Any, Any, T]) -> Any:
    """Run up to the first wait, in the current task; answers what it waits for, to be given to `resume`.

    Raises `StopIteration` with its result, as coroutines do, if it ended without waiting, and whatever it raises.
    """
    return one.send(None)


@coroutine
def resume(one: Coroutine[Any, Any, T], waits_for: Any) -> Generator[Any, Any, T]:
    """Await the rest of a coroutine that `begin` began, in the same task."""
    go_on: Callable[[Any], Any]
    while True:
        try:
            sent = yield waits_for
        except BaseException as error:  # noqa: BLE001 - cancellation included: it belongs to the coroutine, which re-raises it
            go_on, value = one.throw, error
        else:
            go_on, value = one.send, sent
        try:
            waits_for = go_on(value)
        except StopIteration as stop:
            result: T = stop.value
            return result
