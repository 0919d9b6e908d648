"""Check the facade: the places of receivers, valid names and URLs, and a broker in memory."""

import asyncio
import gc
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from pydantic import BaseModel

import edgy_bus as edgy
from edgy_bus import telemetry
from edgy_bus.brokers.memory import MemoryBroker
from edgy_bus.errors import ConfigurationError, SignalError
from edgy_bus.settings import RelaySettings, WorkerSettings
from edgy_bus.signals import post_save, post_update, pre_save
from edgy_bus.telemetry import catalogue
from tests.support import Told, eventually, hold

QUICK = {
    "working": WorkerSettings(lease=1.0, block=0.05, backoff=0.05, grace=5.0),
    "relaying": RelaySettings(poll=0.05),
}


def declare_user(registry: edgy.Registry) -> Any:
    shop = registry

    class User(edgy.Model):
        id: int = edgy.BigIntegerField(primary_key=True)
        name: str = edgy.CharField(max_length=100)

        class Meta:
            registry = shop

    return User


class Heard:
    """A receiver that notes its calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, Any, dict[str, Any]]] = []
        self.receivers: list[Any] = []

    def receiver(self) -> Any:
        async def hear(sender: Any, instance: Any, **kwargs: Any) -> None:
            self.calls.append((sender, instance, kwargs))

        # The durable name, of which a signal has one receiver.
        hear.__qualname__ = f"hear.{id(self)}.{len(self.receivers)}"
        self.receivers.append(hear)
        return hear

    @property
    def names(self) -> list[str]:
        return [instance.name for _, instance, _ in self.calls]


@asynccontextmanager
async def running(
    bus: edgy.Bus, *registries: edgy.Registry, worker: bool = True
) -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(bus)
        for registry in registries:
            await registry.create_all()
        if worker:
            await stack.enter_async_context(bus.worker())
        yield


# Names and URLs


@pytest.mark.parametrize("name", ["two words", "a{b}", "a:b", ""])
def test_a_service_name_that_would_spoil_keys_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="the service"):
        edgy.Bus(service=name)


def test_a_group_name_that_would_spoil_keys_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="the group 'a:b'"):
        edgy.Bus("memory://", service="s", group="a:b")
    with pytest.raises(ConfigurationError, match=r"the group '\{x\}'"):
        edgy.Bus("memory://", service="s").receiver("accounts.User", "post_save", group="{x}")


@pytest.mark.parametrize(
    ("model", "signal"), [("User", "post_save"), (".User", "post_save"), ("accounts.User", "")]
)
def test_a_subscription_by_name_names_service_model_and_signal(model: str, signal: str) -> None:
    with pytest.raises(SignalError, match="does not name a"):
        edgy.Bus(service="mail").receiver(model, signal)


def test_the_contract_holds_for_subscriptions_by_name() -> None:
    with pytest.raises(SignalError, match="async"):

        @edgy.Bus(service="mail").receiver("accounts.User", "post_save")
        def not_async(sender: Any, **kwargs: Any) -> None: ...


# Local mode


async def test_without_a_broker_every_receiver_runs_here(sqlite_url: str) -> None:
    bus = edgy.Bus(service="accounts")
    registry = edgy.Registry(sqlite_url, bus=bus)
    User, heard = declare_user(registry), Heard()
    post_save(User)(heard.receiver())
    bus.receiver("accounts.User", "post_save")(heard.receiver())
    async with running(bus, registry, worker=False):
        user = await User.query.create(name="Ada")
    calls = [(sender, instance) for sender, instance, _ in heard.calls]
    assert calls == [(User, user), ("accounts.User", user)]


async def test_in_local_mode_a_name_may_be_subscribed_to_before_its_model_is_declared(
    sqlite_url: str,
) -> None:
    bus, heard = edgy.Bus(service="accounts"), Heard()
    bus.receiver("accounts.User", "post_save")(heard.receiver())
    registry = edgy.Registry(sqlite_url, bus=bus)
    User = declare_user(registry)
    async with running(bus, registry, worker=False):
        await User.query.create(name="Ada")
    assert heard.names == ["Ada"]


async def test_in_local_mode_the_name_of_another_service_is_not_ours(sqlite_url: str) -> None:
    bus, heard = edgy.Bus(service="accounts"), Heard()
    bus.receiver("billing.User", "post_save")(heard.receiver())
    registry = edgy.Registry(sqlite_url, bus=bus)
    User = declare_user(registry)
    async with running(bus, registry, worker=False):
        await User.query.create(name="Ada")
    assert heard.calls == []


def test_local_mode_has_neither_workers_nor_relays() -> None:
    for ask in (edgy.Bus().worker, edgy.Bus().relays):
        with pytest.raises(ConfigurationError, match="local mode"):
            ask()


# With a broker


async def test_a_post_receiver_runs_in_the_worker_and_a_pre_receiver_here(sqlite_url: str) -> None:
    bus = edgy.Bus("memory://", service="accounts", **QUICK)
    registry = edgy.Registry(sqlite_url, bus=bus)
    User, before, after = declare_user(registry), Heard(), Heard()
    pre_save(User)(before.receiver())
    post_save(User)(after.receiver())
    async with running(bus, registry, worker=False):
        user = await User.query.create(name="Ada")
        assert before.names == ["Ada"]
        assert after.names == []
        async with bus.worker():
            await eventually(lambda: after.calls)
    sender, instance, kwargs = after.calls[0]
    assert sender is User
    assert instance is not user
    assert (instance.id, instance.name) == (user.id, "Ada")
    assert kwargs["event"].type == "accounts.User.post_save"
    assert kwargs["event"].source == "accounts"
    assert kwargs["is_update"] is False
    assert kwargs["model_instance"] is instance


async def test_a_local_receiver_runs_here_also_with_a_broker(sqlite_url: str) -> None:
    bus = edgy.Bus("memory://", service="accounts", **QUICK)
    registry = edgy.Registry(sqlite_url, bus=bus)
    User, heard = declare_user(registry), Heard()
    post_save(User, local=True)(heard.receiver())
    async with running(bus, registry, worker=False):
        user = await User.query.create(name="Ada")
        assert heard.calls[0][1] is user
        assert bus.subscriptions() == []


async def test_events_of_a_row_arrive_in_the_order_of_their_commits(sqlite_url: str) -> None:
    bus = edgy.Bus("memory://", service="accounts", **QUICK)
    registry = edgy.Registry(sqlite_url, bus=bus)
    User, heard = declare_user(registry), Heard()

    @post_update(User)
    async def slow_first(sender: Any, instance: Any, **kwargs: Any) -> None:
        if instance.name == "n0":
            await asyncio.sleep(0.1)
        heard.calls.append((sender, instance, kwargs))

    async with running(bus, registry):
        user = await User.query.create(name="Ada")
        for number in range(10):
            await user.update(name=f"n{number}")
        await eventually(lambda: len(heard.calls) == 10)
    assert heard.names == [f"n{number}" for number in range(10)]
    sequences = [kwargs["event"].sequence for _, _, kwargs in heard.calls]
    assert sequences == sorted(set(sequences))


async def test_a_receiver_by_name_gets_the_row_as_attributes_or_as_its_schema(
    sqlite_url: str,
) -> None:
    class Contract(BaseModel):
        name: str

    bus = edgy.Bus("memory://", service="accounts", **QUICK)
    registry = edgy.Registry(sqlite_url, bus=bus)
    User, plain, typed = declare_user(registry), Heard(), Heard()
    bus.receiver("accounts.User", "post_save", name="plain")(plain.receiver())
    bus.receiver("accounts.User", "post_save", name="typed", schema=Contract)(typed.receiver())
    async with running(bus, registry):
        await User.query.create(name="Ada")
        await eventually(lambda: plain.calls and typed.calls)
    assert plain.calls[0][0] == "accounts.User"
    assert (plain.calls[0][1].id, plain.calls[0][1].name) == (1, "Ada")
    assert typed.calls[0][1] == Contract(name="Ada")


async def test_a_pre_event_reaches_those_who_subscribed_by_name(sqlite_url: str) -> None:
    bus = edgy.Bus("memory://", service="accounts", **QUICK)
    registry = edgy.Registry(sqlite_url, bus=bus)
    User, heard = declare_user(registry), Heard()
    bus.receiver("accounts.User", "pre_save")(heard.receiver())
    async with running(bus, registry):
        await User.query.create(name="Ada")
        await eventually(lambda: heard.calls)
    assert heard.calls[0][2]["event"].sequence is None


async def test_every_group_hears_of_every_event(sqlite_url: str) -> None:
    bus = edgy.Bus("memory://", service="accounts", **QUICK)
    registry = edgy.Registry(sqlite_url, bus=bus)
    User, mail, search = declare_user(registry), Heard(), Heard()
    post_save(User, group="mail")(mail.receiver())
    post_save(User, group="search")(search.receiver())
    async with running(bus, registry):
        await User.query.create(name="Ada")
        await eventually(lambda: mail.calls and search.calls)
    assert (len(mail.calls), len(search.calls)) == (1, 1)


async def test_a_custom_signal_goes_the_way_of_all_others(sqlite_url: str) -> None:
    bus = edgy.Bus("memory://", service="accounts", **QUICK)
    registry = edgy.Registry(sqlite_url, bus=bus)
    User, heard = declare_user(registry), Heard()
    User.meta.signals.on_verify = edgy.Signal()
    User.meta.signals.on_verify.connect(heard.receiver())
    async with running(bus, registry):
        user = await User.query.create(name="Ada")
        await User.meta.signals.on_verify.send(sender=User, instance=user, by="mail")
        await eventually(lambda: heard.calls)
    assert heard.calls[0][1].name == "Ada"
    assert heard.calls[0][2]["by"] == "mail"


async def test_signals_that_are_not_published_are_heard_here(sqlite_url: str) -> None:
    bus = edgy.Bus("memory://", service="accounts", publish="post_delete", **QUICK)
    registry = edgy.Registry(sqlite_url, bus=bus)
    User, heard = declare_user(registry), Heard()
    post_save(User)(heard.receiver())
    async with running(bus, registry, worker=False):
        user = await User.query.create(name="Ada")
    assert heard.calls[0][1] is user


def test_a_group_without_receivers_is_refused_with_those_that_have_some() -> None:
    bus = edgy.Bus("memory://", service="mail")
    bus.receiver("accounts.User", "post_save")(Heard().receiver())
    with pytest.raises(
        ConfigurationError, match="no receiver runs in group 'main'; the groups are: mail"
    ):
        bus.worker(["main"])


def test_a_worker_without_receivers_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="there is nothing to do"):
        edgy.Bus("memory://", service="mail").worker()


def test_a_relay_without_a_registry_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="no registry"):
        edgy.Bus("memory://", service="mail").relays()


def test_two_receivers_of_one_name_are_refused_when_the_second_subscribes() -> None:
    bus = edgy.Bus("memory://", service="mail")
    first, second = Heard().receiver(), Heard().receiver()
    subscribe = bus.receiver("accounts.User", "post_save", name="welcome")
    subscribe(first)
    for keywords in ({}, {"group": "mail"}):
        again: Any = bus.receiver("accounts.User", "post_save", name="welcome", **keywords)
        with pytest.raises(SignalError, match="has the name 'welcome' already"):
            again(second)
    bus.receiver("accounts.User", "post_save", name="welcome", group="other")(second)
    bus.receiver("accounts.User", "post_delete", name="welcome")(second)
    assert len(bus.subscriptions()) == 3


def test_a_function_that_subscribes_again_has_new_options() -> None:
    bus, hear = edgy.Bus("memory://", service="mail"), Heard().receiver()
    bus.receiver("accounts.User", "post_save", deadline=1)(hear)
    bus.receiver("accounts.User", "post_save", deadline=2)(hear)
    (subscription,) = bus.subscriptions()
    assert subscription.receiver.options.deadline == 2


async def test_hooks_run_once_the_databases_are_connected_and_starting_twice_is_starting_once(
    sqlite_url: str,
) -> None:
    bus = edgy.Bus("memory://", service="accounts")
    registry = edgy.Registry(sqlite_url, bus=bus)
    ran: list[bool] = []

    @bus.on_start
    async def hook() -> None:
        ran.append(registry.database.is_connected)

    async with bus:
        await bus.start()
        assert ran == [True]
    await bus.stop()
    assert not registry.database.is_connected


async def test_a_database_that_was_connected_before_stays_connected(sqlite_url: str) -> None:
    bus = edgy.Bus("memory://", service="accounts")
    registry = edgy.Registry(sqlite_url, bus=bus)
    async with registry:
        async with bus:
            pass
        assert registry.database.is_connected


async def test_a_start_that_fails_leaves_nothing_running(sqlite_url: str) -> None:
    bus = edgy.Bus("memory://", service="accounts")
    registry = edgy.Registry(sqlite_url, bus=bus)

    @bus.on_start
    async def fails() -> None:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        await bus.start()
    assert not registry.database.is_connected


async def test_the_broker_is_closed_when_nothing_uses_it_any_more(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    async def close(self: MemoryBroker) -> None:
        calls.append("close")

    async def release(self: MemoryBroker, lease: Any) -> None:
        calls.append("release")

    monkeypatch.setattr(MemoryBroker, "close", close)
    monkeypatch.setattr(MemoryBroker, "release", release)
    bus = edgy.Bus("memory://", service="accounts", **QUICK)
    registry = edgy.Registry(sqlite_url, bus=bus)
    declare_user(registry)
    async with running(bus, registry, worker=False):
        await eventually(lambda: bus.relays()[0].repairer.verified)
    assert calls == ["release", "close"]


# Operating


def held_by(bus: edgy.Bus, **options: Any) -> Any:
    """Hold a row on the broker of a bus."""
    assert bus.broker is not None
    return hold(bus.broker, "1", group=bus.group, **options)


async def test_an_operator_gets_the_parts_and_starts_nothing(sqlite_url: str) -> None:
    bus = edgy.Bus("memory://", service="accounts", **QUICK)
    registry = edgy.Registry(sqlite_url, bus=bus)
    declare_user(registry)
    ran: list[str] = []

    @bus.on_start
    async def hook() -> None:
        ran.append("hook")

    await held_by(bus)
    with Told() as told:
        async with bus.operating() as parts:
            assert parts.broker is bus.broker
            assert parts.service == "accounts"
            assert not registry.database.is_connected
            assert len(await bus.held()) == 1
        async with bus.operating(databases=True) as parts:
            assert registry.database.is_connected
            tables = "SELECT name FROM sqlite_master"
            assert await registry.database.fetch_all(tables) == [], "no table is created"
            assert [store.database for store in parts.outboxes] == [registry.database]
        assert not registry.database.is_connected
    assert ran == []
    assert told.all == []
    assert not bus.relays()[0].running


async def test_the_broker_of_an_operator_is_closed_and_that_of_a_running_bus_is_not(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[str] = []

    async def close(self: MemoryBroker) -> None:
        closed.append("broker")

    monkeypatch.setattr(MemoryBroker, "close", close)
    bus = edgy.Bus("memory://", service="accounts", **QUICK)
    registry = edgy.Registry(sqlite_url, bus=bus)
    async with bus:
        async with bus.operating(databases=True):
            pass
        assert closed == []
        assert registry.database.is_connected
    closed.clear()
    with pytest.raises(RuntimeError):
        async with bus.operating(databases=True):
            raise RuntimeError("an operation failed")
    assert closed == ["broker"]
    assert not registry.database.is_connected


async def test_held_rows_are_seen_released_and_their_group_forgotten(sqlite_url: str) -> None:
    bus = edgy.Bus("memory://", service="accounts", **QUICK)
    edgy.Registry(sqlite_url, bus=bus)
    assert await bus.held() == []
    await held_by(bus, receiver="app.mail", reason="away")
    async with bus:
        (row,) = await bus.held()
        assert (row.group, row.receiver, row.reason) == ("accounts", "app.mail", "away")
        assert await bus.held("another") == []
        assert await bus.release(row)
        assert not await bus.release(row)
        assert await bus.forget("accounts") == 1
        assert await bus.forget("accounts") == 0


async def test_local_mode_has_nothing_to_operate() -> None:
    bus = edgy.Bus()
    for operation in (bus.held(), bus.forget("mail")):
        with pytest.raises(ConfigurationError, match="local mode"):
            await operation
    with pytest.raises(ConfigurationError, match="local mode"):
        bus.operating()


# Logging


async def test_a_running_bus_and_a_worker_of_its_own_log_notices(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bus = edgy.Bus("memory://", service="mail", **QUICK)
    bus.receiver("accounts.User", "post_save")(Heard().receiver())
    notice = catalogue.DatabaseAvailable(part="test")
    with caplog.at_level(logging.INFO, logger="edgy_bus"):
        telemetry.emit(notice)
        assert caplog.messages == [], "nothing runs"
        async with bus:
            telemetry.emit(notice)
        assert caplog.messages == ["database.available part=test"]
        caplog.clear()
        async with bus.worker() as worker:
            await eventually(lambda: worker.consumers)
        telemetry.emit(notice)
    names = [message.split()[0] for message in caplog.messages]
    assert names[:2] == ["worker.receiver", "worker.started"]
    assert names[-1] == "worker.stopped"


async def test_the_error_that_ends_a_worker_is_logged(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def connect(self: MemoryBroker) -> None:
        raise ConfigurationError("no")

    monkeypatch.setattr(MemoryBroker, "connect", connect)
    bus = edgy.Bus("memory://", service="mail", **QUICK)
    bus.receiver("accounts.User", "post_save")(Heard().receiver())
    worker = bus.worker()
    with caplog.at_level(logging.INFO, logger="edgy_bus"):
        await worker.start()
        with pytest.raises(ConfigurationError):
            await worker.wait()
    assert [message.split()[0] for message in caplog.messages] == ["service.failed"]


# Starts and stops at the same moment, and in one event loop after another


async def test_two_starts_at_once_start_once_and_one_stop_stops(sqlite_url: str) -> None:
    bus = edgy.Bus("memory://", service="accounts")
    registry = edgy.Registry(sqlite_url, bus=bus)
    ran = []

    @bus.on_start
    async def hook() -> None:
        ran.append(registry.database.is_connected)
        await asyncio.sleep(0)

    await asyncio.gather(bus.start(), bus.start(), bus.start())
    assert ran == [True]
    relays = bus.relays()
    assert all(relay.running for relay in relays)
    await asyncio.gather(bus.stop(), bus.stop())
    assert not any(relay.running for relay in relays)
    assert not registry.database.is_connected


async def test_a_start_that_fails_lets_the_next_one_try(sqlite_url: str) -> None:
    bus = edgy.Bus("memory://", service="accounts")
    edgy.Registry(sqlite_url, bus=bus)
    attempts = []

    @bus.on_start
    async def fails_once() -> None:
        attempts.append(1)
        await asyncio.sleep(0)
        if len(attempts) == 1:
            raise RuntimeError("no")

    results = await asyncio.gather(bus.start(), bus.start(), return_exceptions=True)
    assert [type(result).__name__ for result in results] == ["RuntimeError", "NoneType"]
    await bus.stop()


async def test_a_stop_during_a_start_stops_what_was_started(sqlite_url: str) -> None:
    bus = edgy.Bus("memory://", service="accounts")
    registry = edgy.Registry(sqlite_url, bus=bus)
    begun = asyncio.Event()

    @bus.on_start
    async def hook() -> None:
        begun.set()
        await asyncio.sleep(0)

    starting = asyncio.create_task(bus.start())
    await begun.wait()
    await bus.stop()
    await starting
    assert not registry.database.is_connected


@pytest.mark.parametrize("method", ["start", "stop"])
async def test_a_hook_that_would_wait_for_itself_is_refused(method: str) -> None:
    bus = edgy.Bus("memory://", service="accounts")

    @bus.on_start
    async def hook() -> None:
        await getattr(bus, method)()

    with pytest.raises(ConfigurationError, match="hook"):
        await bus.start()


@pytest.mark.parametrize("stops", [True, False])
@pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
def test_a_bus_works_in_one_event_loop_after_another(sqlite_url: str, stops: bool) -> None:
    bus = edgy.Bus("memory://", service="accounts")
    users = edgy.Registry(sqlite_url, bus=bus)

    class User(edgy.Model):
        id: int = edgy.BigIntegerField(primary_key=True)

        class Meta:
            registry = users

    bus.on_start(users.create_all)
    heard: list[int] = []

    @edgy.post_save(User)
    async def hear(sender: type[User], instance: User, **_: Any) -> None:
        heard.append(instance.id)

    async def main(expected: int) -> None:
        await bus.start()
        async with bus.worker():
            await asyncio.gather(*(User.query.create() for _ in range(10)))
            await eventually(lambda: len(heard) == expected)
        if stops:
            await bus.stop()

    for number in (10, 20, 30):
        asyncio.run(main(number))
        gc.collect()
    asyncio.run(bus.stop())
    asyncio.run(users.database.disconnect())
    assert len(set(heard)) == 30


async def test_a_bus_that_runs_in_another_event_loop_says_so() -> None:
    bus = edgy.Bus("memory://", service="accounts")
    await bus.start()
    for method in (bus.start, bus.stop):
        with pytest.raises(ConfigurationError, match="another event loop"):
            await asyncio.to_thread(lambda call=method: asyncio.run(call()))
    await bus.stop()
