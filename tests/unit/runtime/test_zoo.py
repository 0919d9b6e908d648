"""Nothing that a receiver does ends a tenure, or keeps another receiver from its events."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from types import coroutine
from typing import Any

import pytest

import edgy_bus as edgy
from edgy_bus.brokers.memory import MemoryBroker
from edgy_bus.retrying import Retry, Snooze
from edgy_bus.runtime import tenure as tenure_module
from edgy_bus.runtime.failures import Failures
from edgy_bus.runtime.hooks import ErrorHooks, FailedCall
from tests.support import Told, event, eventually, publish
from tests.unit.runtime.support import Group, subscribe

EVENTS = 6


class Nasty(BaseException):
    def __str__(self) -> str:
        raise SystemExit

    def __repr__(self) -> str:
        raise KeyboardInterrupt

    @property
    def __traceback__(self) -> Any:
        raise LookupError

    @property
    def __cause__(self) -> Any:
        raise LookupError


class Liar:
    """Claims to be of another class, by an error."""

    @property
    def __class__(self) -> Any:
        raise SystemExit

    def __eq__(self, other: object) -> bool:
        raise SystemExit

    def __hash__(self) -> int:
        raise SystemExit

    def __bool__(self) -> bool:
        raise SystemExit


def this_task() -> "asyncio.Task[Any]":
    task = asyncio.current_task()
    assert task is not None
    return task


def raising(error: Callable[[], BaseException], *, late: bool = False) -> Any:
    async def receiver(sender: Any, **kwargs: Any) -> None:
        if late:
            await asyncio.sleep(0)
        raise error()

    return receiver


def returning(make: Callable[[], Any]) -> Any:
    async def receiver(sender: Any, **kwargs: Any) -> Any:
        return make()

    return receiver


def doing(act: Callable[[], Any]) -> Any:
    """A receiver that does something, and then waits."""

    async def receiver(sender: Any, **kwargs: Any) -> None:
        act()
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    return receiver


def awaiting(make: Callable[[], Any]) -> Any:
    async def receiver(sender: Any, **kwargs: Any) -> None:
        await make()

    return receiver


@coroutine
def bad_yield() -> Any:
    yield 42


@coroutine
def yields_forever() -> Any:
    while True:
        yield


def cancelled_future() -> "asyncio.Future[None]":
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    future.cancel()
    return future


async def in_a_group() -> None:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(raising(lambda: ValueError("inside"), late=True)(None))
        tasks.create_task(asyncio.sleep(3600))


async def swallows_once() -> None:
    with suppress(asyncio.CancelledError):
        await asyncio.sleep(3600)
    await asyncio.sleep(0)


async def cleans_up_for_long() -> None:
    try:
        await asyncio.sleep(3600)
    finally:
        await asyncio.sleep(0.05)


async def raises_while_cancelled() -> None:
    try:
        await asyncio.sleep(3600)
    finally:
        raise LookupError("in the clean-up")


def recursion() -> int:
    return recursion() + 1


def nested_groups() -> BaseException:
    error: BaseException = Nasty()
    for _ in range(500):
        error = BaseExceptionGroup("deep", [error])
    return error


async def not_ours(sender: Any, **kwargs: Any) -> None:
    loop = asyncio.new_event_loop()
    future: asyncio.Future[None] = loop.create_future()
    try:
        await future
    finally:
        loop.close()


async def sets_attributes(sender: Any, instance: Any, event: Any, **kwargs: Any) -> None:
    event.data.clear()
    instance.__dict__.clear()
    raise LookupError("after damage")


class Answers(dict[str, Any]):
    def items(self) -> Any:
        raise SystemExit

    def get(self, *_: Any) -> Any:
        raise SystemExit


ZOO: dict[str, Any] = {
    "raises": raising(lambda: ValueError("no")),
    "raises nothing to read": raising(ValueError),
    "raises a BaseException": raising(lambda: Nasty("no")),
    "raises a BaseException later": raising(lambda: Nasty("no"), late=True),
    "exits": raising(lambda: SystemExit(3)),
    "exits later": raising(lambda: SystemExit(3), late=True),
    "raises CancelledError": raising(asyncio.CancelledError),
    "raises CancelledError later": raising(asyncio.CancelledError, late=True),
    "raises GeneratorExit": raising(GeneratorExit),
    "raises GeneratorExit later": raising(GeneratorExit, late=True),
    "raises StopIteration": raising(StopIteration),
    "raises a timeout": raising(TimeoutError, late=True),
    "raises a deep group": raising(nested_groups),
    "raises a long text": raising(lambda: ValueError("x" * 1_000_000)),
    "raises control characters": raising(lambda: ValueError("\x1b[2J\r\n\ud800")),
    "recurses": doing(recursion),
    "cancels its task": doing(lambda: this_task().cancel()),
    "cancels its task soon": doing(
        lambda: asyncio.get_running_loop().call_soon(this_task().cancel)
    ),
    "cancels its task three times": doing(lambda: [this_task().cancel() for _ in range(3)]),
    "waits for a cancelled future": awaiting(cancelled_future),
    "waits for its own task": awaiting(this_task),
    "waits for nothing that asyncio knows": awaiting(bad_yield),
    "waits for a group that fails": awaiting(in_a_group),
    "waits for a future of another loop": not_ours,
    "yields for ever": awaiting(yields_forever),
    "hangs": awaiting(lambda: asyncio.sleep(3600)),
    "swallows its deadline": awaiting(swallows_once),
    "cleans up for long": awaiting(cleans_up_for_long),
    "raises while it is cancelled": awaiting(raises_while_cancelled),
    "returns a liar": returning(Liar),
    "returns an outcome's function": returning(lambda: edgy.snooze),
    "returns a class": returning(lambda: Snooze),
    "returns half an outcome": returning(lambda: Snooze.__new__(Snooze)),
    "returns nonsense numbers": returning(lambda: edgy.snooze(float("nan"))),
    "returns an error": returning(lambda: Nasty("no")),
    "returns a coroutine": returning(lambda: asyncio.sleep(3600)),
    "returns a mapping of its own": returning(Answers),
    "gives up for no reason": returning(lambda: edgy.dead_letter(None)),
    "gives up with a nasty error": returning(lambda: edgy.dead_letter(Nasty())),
    "destroys what it was given": sets_attributes,
}


def at_once(receiver: Any) -> Any:
    return receiver


def later(receiver: Any) -> Any:
    async def delayed(sender: Any, **kwargs: Any) -> Any:
        await asyncio.sleep(0)
        return await receiver(sender, **kwargs)

    return delayed


def batched(receiver: Any) -> Any:
    async def of_a_batch(sender: Any, instances: Any, events: Any, **kwargs: Any) -> Any:
        return await receiver(sender, instance=instances[0], event=events[0])

    return of_a_batch


@pytest.mark.parametrize("form", [at_once, later, batched])
@pytest.mark.parametrize("kind", ZOO)
async def test_a_healthy_receiver_gets_everything_beside_a_misbehaving_one(
    kind: str, form: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tenure_module, "LAST_WORDS", 0.5)
    seen: list[int] = []
    errors: list[FailedCall] = []

    async def healthy(sender: Any, event: Any, **kwargs: Any) -> None:
        seen.append(event.sequence)

    hooks = ErrorHooks([errors.append])
    await hooks.start()
    broker = MemoryBroker()
    await publish(broker, *[event(str(n % 3), n + 1) for n in range(EVENTS)])
    retry = Retry(attempts=2, delay=0.001, factor=1, jitter=0)
    batch = edgy.Batch(size=3, wait=0.01) if form is batched else None
    bad = subscribe(form(ZOO[kind]), name="bad", batch=batch, retry=retry, deadline=0.05)
    group = Group(
        broker, bad, subscribe(healthy, name="healthy"), failures=Failures(hooks), grace=2.0
    )

    async def nothing_left() -> bool:
        return await group.unfinished() == 0

    with Told() as told:
        tenure = await group.begin()
        await eventually(lambda: len(seen) == EVENTS)
        # Each event of the misbehaving receiver is done, or in the dead letters.
        await eventually(nothing_left)
        await publish(broker, event("9", 99))
        tenure.wake()
        await eventually(lambda: 99 in seen)
        assert tenure.running
        await group.end(tenure)
    await hooks.finish(5)
    assert not told.of("tenure.failed")
    assert not told.of("service.failed")
    assert tenure.failure is None
    assert sorted(set(seen)) == [*range(1, EVENTS + 1), 99]
