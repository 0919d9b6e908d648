"""Find out which receiver a thread runs, and at which line, from outside."""

import asyncio
import threading
import time
from collections.abc import Callable
from functools import wraps
from typing import Any

import pytest

from edgy_bus.runtime.blocking import Stand, stand_of
from edgy_bus.runtime.executor import execute
from edgy_bus.signals import Batch
from tests.unit.runtime.support import envelope, subscribe


def _stands_in(work: Callable[[], Any]) -> Stand:
    """Run a function in a thread, and look where the thread stands when it has slept a while."""
    thread = threading.Thread(target=work)
    thread.start()
    time.sleep(0.2)
    try:
        assert thread.ident is not None
        return stand_of(thread.ident)
    finally:
        thread.join()


def _sleep() -> None:
    time.sleep(0.6)


async def at_once(sender: str, **kwargs: Any) -> None:
    _sleep()


async def after_a_wait(sender: str, **kwargs: Any) -> None:
    await asyncio.sleep(0.01)
    _sleep()


async def in_a_task_group(sender: str, **kwargs: Any) -> None:
    await asyncio.gather(after_a_wait(sender))


def decorated(function: Any) -> Any:
    @wraps(function)
    async def wrapper(sender: str, **kwargs: Any) -> None:
        await function(sender, **kwargs)

    return wrapper


@pytest.mark.parametrize(
    ("function", "options"),
    [
        (at_once, {}),
        (after_a_wait, {}),
        (decorated(after_a_wait), {}),
        (at_once, {"batch": Batch(2)}),
        (after_a_wait, {"batch": Batch(2)}),
    ],
)
def test_a_receiver_that_blocks_is_named_with_its_line(function: Any, options: Any) -> None:
    subscription = subscribe(function, name="convert_pdf", **options)
    stand = _stands_in(lambda: asyncio.run(execute(subscription, envelope(), 5.0)))
    assert stand.receiver == "convert_pdf"
    assert stand.line.endswith("in _sleep")
    assert "test_blocking.py:" in stand.line
    assert stand.stack.endswith(stand.line)
    assert "_sleep" in stand.stack


def test_a_task_of_a_receiver_is_not_named_but_its_line_is() -> None:
    subscription = subscribe(in_a_task_group)
    stand = _stands_in(lambda: asyncio.run(execute(subscription, envelope(), 5.0)))
    assert stand.receiver is None
    assert stand.line.endswith("in _sleep")


def test_the_line_is_the_applications_and_not_that_of_a_library() -> None:
    def work() -> None:
        threading.Event().wait(0.6)

    stand = _stands_in(work)
    assert stand.receiver is None
    assert stand.line.endswith("in work")
    assert "threading.py" in stand.stack


def test_a_thread_that_has_ended_and_the_callers_own_stand_nowhere() -> None:
    thread = threading.Thread(target=lambda: None)
    thread.start()
    thread.join()
    assert thread.ident is not None
    assert stand_of(thread.ident).line == "unknown"
    assert stand_of(threading.get_ident()).line == "unknown"
