"""Hooks get the errors of receivers, and nothing that a hook does harms anybody."""

import asyncio
from contextlib import suppress
from typing import Any

import pytest

import edgy_bus as edgy
from edgy_bus.brokers.memory import MemoryBroker
from edgy_bus.errors import ConfigurationError
from edgy_bus.retrying import Retry
from edgy_bus.runtime import hooks as hooks_module
from edgy_bus.runtime.failures import Failures
from edgy_bus.runtime.hooks import ErrorHook, ErrorHooks, FailedCall
from tests.support import Told, event, eventually, publish
from tests.unit.runtime.support import QUICK, Group, subscribe

ERROR = LookupError("no such user")


async def broken(sender: Any, **kwargs: Any) -> None:
    raise ERROR


def failed(number: int = 1) -> FailedCall:
    return FailedCall(ERROR, "mail", "r", "accounts.User", "post_save", "e", "1", number, True)


async def run(*hooks: ErrorHook, **options: Any) -> None:
    """Let a receiver fail for good with one event."""
    broker = MemoryBroker()
    await publish(broker, event("7", 1))
    service = ErrorHooks(hooks)
    await service.start()
    group = Group(broker, subscribe(broken, **options), failures=Failures(service))
    tenure = await group.begin()
    await eventually(lambda: group.stats.dead == 1)
    await group.end(tenure)
    await service.finish(5)


async def test_a_hook_gets_each_error_with_the_receiver_the_event_and_what_follows() -> None:
    calls: list[FailedCall] = []
    await run(calls.append)
    assert [call.attempt for call in calls] == [1, 2, 3]
    assert [call.will_retry for call in calls] == [True, True, False]
    call = calls[0]
    assert call.exception is ERROR
    assert (call.group, call.receiver, call.model) == ("mail", "r", "accounts.User")
    assert (call.signal, call.subject) == ("post_save", "7")
    assert call.event_id


async def test_a_hook_gets_the_error_of_a_deadline_and_of_a_dead_letter() -> None:
    calls: list[FailedCall] = []

    async def late(sender: Any, **kwargs: Any) -> None:
        await asyncio.sleep(3600)

    async def gives_up(sender: Any, **kwargs: Any) -> Any:
        return edgy.dead_letter(ERROR)

    broker = MemoryBroker()
    await publish(broker, event("7", 1))
    service = ErrorHooks([calls.append])
    await service.start()
    once = Retry(attempts=1)
    group = Group(
        broker,
        subscribe(late, name="late", deadline=0.01, retry=once),
        subscribe(gives_up, name="gives_up"),
        failures=Failures(service),
    )
    tenure = await group.begin()
    await eventually(lambda: group.stats.dead == 2)
    await group.end(tenure)
    await service.finish(5)
    errors = {call.receiver: type(call.exception) for call in calls}
    assert errors == {"late": TimeoutError, "gives_up": LookupError}


async def test_an_async_hook_is_awaited_and_all_hooks_are_called() -> None:
    calls: list[str] = []

    async def first(call: FailedCall) -> None:
        await asyncio.sleep(0)
        calls.append("first")

    def second(call: FailedCall) -> None:
        calls.append("second")

    await run(first, second, retry=Retry(attempts=1))
    assert calls == ["first", "second"]


def raises(error: BaseException) -> ErrorHook:
    def hook(call: FailedCall) -> None:
        raise error

    return hook


async def cancels(call: FailedCall) -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(0)


async def raises_later(call: FailedCall) -> None:
    await asyncio.sleep(0)
    raise SystemExit


@pytest.mark.parametrize(
    "bad",
    [
        raises(ValueError("no")),
        raises(SystemExit(3)),
        raises(asyncio.CancelledError()),
        raises(GeneratorExit()),
        raises_later,
        cancels,
    ],
)
async def test_an_error_of_a_hook_is_reported_and_harmless(bad: ErrorHook) -> None:
    calls: list[FailedCall] = []
    with Told() as told:
        await run(bad, calls.append)
    assert len(calls) == QUICK.attempts
    (report,) = told.of("hook.failed")
    assert "test_hooks" in report["hook"]
    assert not told.of("service.failed")


async def test_a_hook_that_hangs_and_swallows_its_cancellation_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hooks_module, "_LONGEST", 0.02)
    calls: list[FailedCall] = []
    end = asyncio.Event()

    async def hangs(call: FailedCall) -> None:
        while not end.is_set():
            with suppress(asyncio.CancelledError):
                await end.wait()

    with Told() as told:
        await run(hangs, calls.append)
    end.set()
    assert len(calls) == QUICK.attempts
    assert [report["error"] for report in told.of("hook.failed")] == ["took longer than 0.02 s"]


async def test_failures_beyond_the_queue_are_counted() -> None:
    go = asyncio.Event()
    calls: list[FailedCall] = []

    async def slow(call: FailedCall) -> None:
        await go.wait()
        calls.append(call)

    service = ErrorHooks([slow])
    await service.start()
    with Told() as told:
        for number in range(250):
            service.put(failed(number))
        go.set()
        await service.finish(5)
    assert len(calls) == 100
    assert told.of("hook.behind") == [{"count": 150}]


async def test_the_end_does_not_wait_for_a_hook(monkeypatch: pytest.MonkeyPatch) -> None:
    async def hangs(call: FailedCall) -> None:
        await asyncio.Event().wait()

    service = ErrorHooks([hangs])
    await service.start()
    service.put(failed())
    await asyncio.sleep(0)
    await asyncio.wait_for(service.finish(0.05), 5)
    assert not service.running


async def test_a_bus_hands_the_errors_of_its_workers_to_its_hooks(sqlite_url: str) -> None:
    bus = edgy.Bus("memory://", service="accounts")
    users = edgy.Registry(sqlite_url, bus=bus)
    bus.on_start(users.create_all)
    calls: list[FailedCall] = []

    class User(edgy.Model):
        id: int = edgy.BigIntegerField(primary_key=True)

        class Meta:
            registry = users

    @edgy.post_save(User, retry=Retry(attempts=1))
    async def greet(sender: Any, **kwargs: Any) -> None:
        raise ERROR

    @bus.on_error
    def remember(call: FailedCall) -> None:
        calls.append(call)

    async with bus:
        user = await User.query.create()
        async with bus.worker():
            await eventually(lambda: calls)
    assert calls[0].exception is ERROR
    assert calls[0].subject == str(user.id)
    assert calls[0].receiver.endswith("greet")


def test_a_hook_must_be_callable() -> None:
    with pytest.raises(ConfigurationError, match="on_error"):
        edgy.Bus("memory://").on_error("sentry")  # type: ignore[arg-type]
