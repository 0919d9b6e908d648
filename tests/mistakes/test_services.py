"""Mistakes of a program: the bus, its URL, its start, and modules that nobody imports."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

import edgy_bus as edgy
from edgy_bus import post_save
from tests.mistakes.conftest import make_user
from tests.mistakes.telling import PLAIN, tells
from tests.support import block

# The URL of the broker


@tells("unknown broker scheme", do="redis://")
def test_a_host_in_place_of_a_url() -> None:
    edgy.Bus("localhost:6379")


@tells("unknown broker scheme 'http'", do="redis://")
def test_a_url_of_another_kind() -> None:
    edgy.Bus("http://localhost:6379")


@tells("unknown broker scheme 'amqp'", do="redis://")
def test_a_broker_of_celery() -> None:
    edgy.Bus("amqp://guest@localhost//")


@tells("the port cannot be read", where="Redis URL", do="redis://user:password@localhost:6379/0")
def test_a_port_that_is_no_number() -> None:
    edgy.Bus("redis://localhost:redis/0")


@tells("cannot be read", where="In a user or password", do="%2F for a slash")
def test_a_password_with_a_slash() -> None:
    edgy.Bus("redis://:pass/word@localhost:6379/0")


@pytest.mark.xfail(strict=True, reason="the URL of Redis: the error blames the host or the port")
@tells("the database", where="Redis URL", do="a number")
def test_a_database_that_is_no_number() -> None:
    edgy.Bus("redis://localhost:6379/accounts")


@tells("unknown parameter", where="Redis URL", do="Did you mean decode_responses?")
def test_an_unknown_option_of_the_url() -> None:
    edgy.Bus("redis://localhost:6379/0?decode_response=true")


@tells("the url of a bus is text", where="not a object", do='Bus("redis://')
def test_a_client_in_place_of_a_url() -> None:
    edgy.Bus(object())


# The URL of the database


@tells("unknown database scheme 'sqlite3'", do="sqlite://")
def test_a_scheme_of_python() -> None:
    edgy.Database("sqlite3:///shop.sqlite")


@tells("unknown database scheme 'postgresql+asyncpg'", do="postgresql://")
def test_a_scheme_of_sqlalchemy() -> None:
    edgy.Database("postgresql+asyncpg://localhost/shop")


@tells("the URL of a SQLite file", do="three slashes, sqlite:///")
def test_two_slashes() -> None:
    edgy.Database("sqlite://shop.sqlite")


@tells("MySQL and MariaDB are not supported yet", where="mysql", do="use sqlite or postgresql")
def test_mysql() -> None:
    edgy.Database("mysql://root@localhost/shop")


@tells("not well formed", where="the database URL", do="%40")
def test_a_password_that_is_not_encoded() -> None:
    edgy.Database("postgresql://ada:pass/word@localhost/shop")


@tells("not well formed", where="the database URL", do="a port is a number")
def test_a_database_port_that_is_no_number() -> None:
    edgy.Database("postgresql://ada:secret@localhost:port/shop")


@tells("unknown option 'pool_size'", where="the database URL", do="max_size")
def test_an_option_of_another_pool() -> None:
    edgy.Database("postgresql://localhost/shop?pool_size=3")


@tells("unable to open", where="SQLite", do="folder")
async def test_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    async with edgy.Database(f"sqlite:///{tmp_path}/nowhere/shop.sqlite"):
        pass


@tells("PostgreSQL cannot be reached", where="127.0.0.1", do="does a server run there")
async def test_no_postgresql() -> None:
    async with edgy.Database("postgresql://ada:hush@127.0.0.1:1/shop?timeout=3"):
        pass


# The arguments of a bus


@tells("the service 'my shop' may hold", do="letters, digits")
def test_a_service_with_a_blank() -> None:
    edgy.Bus(service="my shop")


@tells("'post_svae'", where="Bus(publish=…)", do="did you mean 'post_save'?")
def test_a_misspelt_pattern() -> None:
    edgy.Bus("memory://", publish=("post_svae",))


@tells("contains <class", where="Bus(publish=…)", do='"User.post_save"')
def test_a_class_as_pattern(User: Any) -> None:
    edgy.Bus("memory://", publish=[User])


@tells(
    "publish.unmatched pattern=Usr.post_save",
    where="Bus(publish=…)",
    do="did you mean 'User.post_save'?",
)
async def test_a_pattern_of_no_model(database_file: str) -> None:
    bus = edgy.Bus("memory://", publish=("Usr.post_save",))
    make_user(edgy.Registry(database_file, bus=bus))
    async with bus:
        pass


@tells("concurrency", where="WorkerSettings", do="greater than or equal to 1")
def test_a_setting_out_of_range() -> None:
    edgy.WorkerSettings(concurrency=0)


@tells("concurency", where="WorkerSettings", do="Extra inputs are not permitted")
def test_a_misspelt_setting() -> None:
    edgy.WorkerSettings(concurency=4)


@tells("working", where="Bus", do="WorkerSettings(")
def test_a_dictionary_of_settings() -> None:
    edgy.Bus("memory://", working={"concurrency": 4})


@tells("events", where="Bus", do="EventSettings(")
def test_settings_in_the_wrong_place() -> None:
    edgy.Bus("memory://", events=edgy.WorkerSettings())


@tells("unexpected keyword argument 'registry'", where="Bus", do=PLAIN)
def test_a_registry_of_a_bus(shop: edgy.Registry) -> None:
    edgy.Bus("memory://", registry=shop)


@tells("relay", where="Bus", do="True or False")
def test_text_as_relay() -> None:
    edgy.Bus("memory://", relay="no")


# Modules of receivers


@tells("there is no module 'app_of_nobody'", where="Bus(receivers=…)", do="looked in")
async def test_a_module_that_does_not_exist() -> None:
    async with edgy.Bus("memory://", receivers=["app_of_nobody.receivers"]):
        pass


@tells("'receivers.py', the path of a file", where="Bus(receivers=…)", do='module, "receivers"')
async def test_a_file_in_place_of_a_module() -> None:
    async with edgy.Bus("memory://", receivers=["receivers.py"]):
        pass


@tells("'app/receivers', the path of", where="Bus(receivers=…)", do='module, "app.receivers"')
async def test_a_path_in_place_of_a_module() -> None:
    async with edgy.Bus("memory://", receivers=["app/receivers"]):
        pass


@tells("whose import failed: ZeroDivisionError", where="broken_receivers.py", do="mend the module")
async def test_a_module_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_receivers.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    async with edgy.Bus("memory://", receivers=["broken_receivers"]):
        pass


@tells("receivers.not_connected", where="idle_receivers", do="connect a receiver in the module")
async def test_a_module_without_receivers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "idle_receivers.py").write_text("x = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    async with edgy.Bus("memory://", receivers=["idle_receivers"]):
        pass


@tells("no receiver runs", where="the worker", do="import their module")
async def test_a_worker_without_receivers(database_file: str) -> None:
    bus = edgy.Bus("memory://")
    make_user(edgy.Registry(database_file, bus=bus))
    async with bus, bus.worker():
        pass


@tells("no receiver runs in group 'mial'", where="mail", do="did you mean 'mail'?")
def test_a_misspelt_group(database_file: str) -> None:
    bus = edgy.Bus("memory://")

    @bus.receiver("accounts.User", "post_save", group="mail")
    async def welcome(sender, instance, **kwargs): ...

    bus.worker(["mial"])


@tells("model=app.Usr", where="welcome", do="did you mean 'app.User'?")
async def test_a_model_that_the_service_does_not_have(database_file: str) -> None:
    bus = edgy.Bus("memory://", service="app")
    make_user(edgy.Registry(database_file, bus=bus))

    @bus.receiver("app.Usr", "post_save")
    async def welcome(sender, instance, **kwargs): ...

    async with bus:
        pass


@tells("signal=on_verify", where="app.User", do="signals.on_verify = edgy_bus.Signal()")
async def test_a_signal_that_the_model_does_not_have(database_file: str) -> None:
    bus = edgy.Bus("memory://", service="app")
    make_user(edgy.Registry(database_file, bus=bus))

    @bus.receiver("app.User", "on_verify")
    async def welcome(sender, instance, **kwargs): ...

    async with bus:
        pass


# Start and stop


@tells("no such table", where="edgy_bus_outbox", do="create_all()")
async def test_a_bus_that_never_started(database_file: str) -> None:
    registry = edgy.Registry(database_file, bus=edgy.Bus("memory://"))
    user = make_user(registry)
    async with registry.database as database:
        await database.create_tables([user.meta.table])
        await user(email="ada@example.org").save()


@tells("outbox.unattended", where="service=app", do="inside `async with bus:`")
async def test_events_that_no_relay_publishes(database_file: str) -> None:
    bus = edgy.Bus("memory://")
    registry = edgy.Registry(database_file, bus=bus)
    user = make_user(registry)
    async with registry:
        await registry.create_all()
        await user(email="ada@example.org").save()


@tells("does not support the context manager protocol", where="'Bus'", do=PLAIN)
def test_a_plain_with() -> None:
    with edgy.Bus("memory://"):
        pass


@tells("a worker has nothing to do", where="local mode", do='Bus("redis://')
def test_a_worker_of_a_local_bus() -> None:
    edgy.Bus().worker()


@tells("coroutine 'Bus.start' was never awaited", where="Bus.start", do=PLAIN)
def test_a_start_without_await() -> None:
    import gc

    edgy.Bus("memory://").start()
    gc.collect()


@tells("another event loop", where="this bus", do="a Bus of its own")
async def test_two_event_loops() -> None:
    bus = edgy.Bus("memory://")
    async with bus:
        await asyncio.to_thread(asyncio.run, bus.start())


@tells("on_start", where="hook", do="async def")
async def test_a_sync_hook() -> None:
    bus = edgy.Bus("memory://")

    @bus.on_start
    def prepare() -> None: ...

    async with bus:
        pass


@tells("on_start takes a function", where="NoneType", do="without a call")
async def test_the_result_of_a_hook() -> None:
    bus = edgy.Bus("memory://")
    bus.on_start(None)
    async with bus:
        pass


@tells("starts or stops its own bus", where="a hook of on_start", do="leave `bus.start()`")
async def test_a_hook_that_starts_the_bus() -> None:
    bus = edgy.Bus("memory://")
    bus.on_start(bus.start)
    async with bus:
        pass


# Workers


async def _work_and_block(bus: edgy.Bus, database_file: str) -> None:
    user = make_user(edgy.Registry(database_file, bus=bus))
    done = asyncio.Event()

    @post_save(user)
    async def slow(sender, instance, **kwargs):
        block(2.5)
        done.set()

    async with bus, bus.worker():
        await user.meta.registry.create_all()
        await user(email="ada@example.org").save()
        await asyncio.wait_for(done.wait(), 20)


@tells("loop.blocked", where="receiver=tests.mistakes.test_services", do="asyncio.to_thread")
async def test_a_blocking_call(database_file: str, redis_url: str, prefix: str) -> None:
    await _work_and_block(edgy.Bus(redis_url, prefix=prefix), database_file)


@pytest.mark.xfail(strict=True, reason="with memory:// no thread looks on, so no line is named")
@tells("loop.blocked", where="receiver=tests.mistakes.test_services", do="asyncio.to_thread")
async def test_a_blocking_call_in_memory(database_file: str) -> None:
    await _work_and_block(edgy.Bus("memory://"), database_file)


@tells("receiver.unknown_answer", where="welcome", do="return None, or an outcome")
async def test_a_return_value_that_is_no_outcome(database_file: str) -> None:
    bus = edgy.Bus("memory://")
    user = make_user(edgy.Registry(database_file, bus=bus))
    done = asyncio.Event()

    @post_save(user)
    async def welcome(sender, instance, **kwargs):
        done.set()
        return False

    async with bus, bus.worker():
        await user.meta.registry.create_all()
        await user(email="ada@example.org").save()
        await asyncio.wait_for(done.wait(), 20)
        await asyncio.sleep(0.1)


@pytest.mark.xfail(
    strict=True, reason="an unknown field is None by contract, and no report names it"
)
@tells("'NoneType' object has no", where="instance.password", do="secret")
async def test_a_secret_in_a_worker(database_file: str) -> None:
    """A worker does not have the secret field, which the service has."""
    bus = edgy.Bus("memory://")
    shop = edgy.Registry(database_file, bus=bus)
    done = asyncio.Event()

    class Account(edgy.Model):
        id: int = edgy.BigIntegerField(primary_key=True)
        password: str = edgy.CharField(max_length=99, secret=True)

        class Meta:
            registry = shop

    @post_save(Account, retry=edgy.Retry(attempts=1))
    async def welcome(sender, instance, **kwargs):
        done.set()
        instance.password.upper()

    async with bus, bus.worker():
        await shop.create_all()
        await Account(password="hush").save()
        await asyncio.wait_for(done.wait(), 20)
        await asyncio.sleep(0.2)
