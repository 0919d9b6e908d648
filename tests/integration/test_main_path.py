"""Send events through a real Redis and real databases: write, publish, receive.

Some tests break a part of the path in between.
"""

import asyncio
import random
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from types import ModuleType
from typing import Any

import pytest
from redis.asyncio import Redis
from typer.testing import CliRunner

import edgy_bus as edgy
from edgy_bus.brokers.base import DeadLetter
from edgy_bus.cli.app import app
from edgy_bus.events import Partition, partitions_of
from edgy_bus.outbox.store import OutboxStore
from edgy_bus.settings import EventSettings, RelaySettings, WorkerSettings
from edgy_bus.signals import post_delete, post_save, post_update
from tests.proxy import Proxy
from tests.support import Told, eventually
from tests.unit.outbox.support import count_pending

WORKING = WorkerSettings(lease=1.0, block=0.2, backoff=0.1, grace=5.0)
RELAYING = RelaySettings(poll=0.2, lease=1.0, trim_every=0.3, keep=0, backoff=0.1)
QUICK = edgy.Retry(attempts=3, delay=0.01, factor=1)


class Accounts:
    """Run the service `accounts`; its receivers write each event to a table, exactly once."""

    def __init__(self, redis_url: str, database_url: str, prefix: str, **options: Any) -> None:
        self.database = edgy.Database(database_url)
        self.bus = edgy.Bus(
            redis_url,
            **{
                "service": "accounts",
                "prefix": prefix,
                "events": EventSettings(partitions=2),
                "relaying": RELAYING,
                "working": WORKING,
                **options,
            },
        )
        self.registry = edgy.Registry(self.database, bus=self.bus)
        self.User, self.Effect = self._declare()
        self.store = OutboxStore(self.database, "accounts")

    def _declare(self) -> tuple[Any, Any]:
        own, plain = self.registry, edgy.Registry(self.database)

        class User(edgy.Model):
            id: int = edgy.BigIntegerField(primary_key=True)
            name: str = edgy.CharField(max_length=100)

            class Meta:
                registry = own

        class Effect(edgy.Model):
            id: int = edgy.BigIntegerField(primary_key=True)
            user_id: int = edgy.BigIntegerField()
            signal: str = edgy.CharField(max_length=50)
            name: str = edgy.CharField(max_length=100)

            class Meta:
                registry = plain

        self.plain = plain
        return User, Effect

    def keep_effects(self) -> None:
        """Connect the receiver that writes every event down."""

        @post_save(self.User, inbox=self.database, name="keep", retry=QUICK)
        @post_update(self.User, inbox=self.database, name="keep", retry=QUICK)
        @post_delete(self.User, inbox=self.database, name="keep", retry=QUICK)
        async def keep(sender: Any, instance: Any, event: edgy.Event, **kwargs: Any) -> None:
            await self.Effect.query.create(
                user_id=instance.id, signal=event.signal, name=instance.name
            )

    @asynccontextmanager
    async def running(self, *, worker: bool = True) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self.bus)
            await self.plain.create_all()
            await self.registry.create_all()
            if worker:
                await stack.enter_async_context(self.bus.worker())
            yield

    async def effects(self) -> list[tuple[int, str, str]]:
        return [
            (one.user_id, one.signal, one.name) for one in await self.Effect.query.order_by("id")
        ]

    async def everything_handled(self, count: int) -> bool:
        return len(await self.effects()) >= count and await self.backlog() == 0

    async def backlog(self) -> int:
        assert self.bus.broker is not None
        partitions = partitions_of("accounts.User", 2)
        backlogs = [
            one for partition in partitions for one in await self.bus.broker.backlog(partition)
        ]
        return await count_pending(self.store) + sum(
            one.unfinished + (one.unread or 0) for one in backlogs
        )


@pytest.fixture
def accounts(redis_url: str, database_url: str, prefix: str) -> Accounts:
    return Accounts(redis_url, database_url, prefix)


def by_user(effects: list[tuple[int, str, str]]) -> dict[int, list[tuple[str, str]]]:
    found: dict[int, list[tuple[str, str]]] = {}
    for user, signal, name in effects:
        found.setdefault(user, []).append((signal, name))
    return found


async def live(accounts: Accounts, number: int) -> tuple[int, list[tuple[str, str]]]:
    """One user's whole life, side by side with others; what the effects must be."""
    user = await accounts.User.query.create(name=f"u{number}")
    expected = [("post_save", user.name)]
    for step in range(random.randrange(4)):
        await user.update(name=f"u{number}.{step}")
        expected.append(("post_update", user.name))
    if number % 3 == 0:
        name = user.name
        await user.delete()
        expected.append(("post_delete", name))
    return user.id if number % 3 else user.pk, expected


async def test_every_committed_operation_takes_effect_once_and_in_order(accounts: Accounts) -> None:
    accounts.keep_effects()
    async with accounts.running():
        lives = dict(await asyncio.gather(*(live(accounts, number) for number in range(40))))
        count = sum(len(expected) for expected in lives.values())
        await eventually(lambda: accounts.everything_handled(count), "all events handled")
        assert by_user(await accounts.effects()) == lives


@pytest.mark.parametrize("behind_inbox", [False, True])
@pytest.mark.parametrize("as_batch", [False, True])
async def test_a_receivers_writes_name_their_cause_and_inherit_who_acted(
    accounts: Accounts, *, behind_inbox: bool, as_batch: bool
) -> None:
    User = accounts.User
    events: list[edgy.Event] = []
    options: dict[str, Any] = {"inbox": accounts.database} if behind_inbox else {}
    if as_batch:
        options["batch"] = edgy.Batch(1)

    async def write_on(event: edgy.Event, key: int) -> None:
        await asyncio.sleep(0)
        events.append(event)
        if event.signal == "post_save":
            update = User.query.filter(id=key).update(name="caused")
            # A task that the receiver starts belongs to the call; in a transaction it is refused.
            await (update if behind_inbox else asyncio.create_task(update))

    if as_batch:

        @post_save(User, name="chain", **options)
        @post_update(User, name="chain", **options)
        async def chain(sender: Any, instances: Any, events: Any, **kwargs: Any) -> None:
            await write_on(events[0], instances[0].id)
    else:

        @post_save(User, name="chain", **options)
        @post_update(User, name="chain", **options)
        async def one(sender: Any, instance: Any, event: edgy.Event, **kwargs: Any) -> None:
            await write_on(event, instance.id)

    async with accounts.running():
        with accounts.bus.context(actor="ada"):
            await User.query.create(name="first")
        await eventually(lambda: len(events) == 2)
    saved, updated = events
    assert (saved.causation, updated.causation) == (None, saved.id)
    assert saved.context == updated.context == {"actor": "ada"}


async def test_the_next_event_has_nothing_of_the_one_before(accounts: Accounts) -> None:
    User = accounts.User
    updates: dict[str, edgy.Event] = {}

    @post_save(User)
    async def on(sender: Any, instance: Any, **kwargs: Any) -> None:
        await User.query.filter(id=instance.id).update(name=f"{instance.name}!")

    @post_update(User)
    async def end(sender: Any, instance: Any, event: edgy.Event, **kwargs: Any) -> None:
        updates[instance.name] = event

    async with AsyncExitStack() as stack:
        # A worker that is started inside of a block keeps nothing of the block.
        with accounts.bus.context(actor="whoever starts the worker"):
            await stack.enter_async_context(accounts.running())
        with accounts.bus.context(actor="ada"):
            await User.query.create(name="a")
        await User.query.create(name="b")
        await eventually(lambda: len(updates) == 2)
    assert updates["a!"].context == {"actor": "ada"}
    assert updates["b!"].context == {}
    assert updates["a!"].causation != updates["b!"].causation


async def test_what_is_rolled_back_was_never_said(accounts: Accounts) -> None:
    accounts.keep_effects()
    async with accounts.running():
        with pytest.raises(RuntimeError):
            async with accounts.database.transaction():
                await accounts.User.query.create(name="never")
                raise RuntimeError
        async with accounts.database.transaction():
            user = await accounts.User.query.create(name="first")
            with pytest.raises(RuntimeError):
                async with accounts.database.transaction():
                    await user.update(name="never")
                    raise RuntimeError
            await accounts.User.query.filter(id=user.id).update(name="second")
        await eventually(lambda: accounts.everything_handled(2))
        assert [name for _, _, name in await accounts.effects()] == ["first", "second"]


async def test_nothing_is_heard_before_the_commit(accounts: Accounts) -> None:
    heard: list[str] = []

    @post_save(accounts.User)
    async def hear(sender: Any, instance: Any, **kwargs: Any) -> None:
        heard.append(instance.name)

    async with accounts.running():
        async with accounts.database.transaction():
            await accounts.User.query.create(name="Ada")
            await asyncio.sleep(0.3)
            assert heard == []
        await eventually(lambda: heard == ["Ada"])


async def test_a_receiver_that_always_fails_ends_in_the_dead_letters_and_holds_no_other_row_up(
    accounts: Accounts,
) -> None:
    heard: list[str] = []
    attempts: list[str] = []

    @post_save(accounts.User, retry=QUICK)
    async def hear(sender: Any, instance: Any, **kwargs: Any) -> None:
        attempts.append(instance.name)
        if instance.name == "bad":
            raise ValueError("no such user")
        heard.append(instance.name)

    async with accounts.running():
        bad = await accounts.User.query.create(name="bad")
        for number in range(10):
            await accounts.User.query.create(name=f"good{number}")
        await eventually(lambda: _nothing_left(accounts))
        assert len(heard) == 10
        assert attempts.count("bad") == 3
        assert accounts.bus.broker is not None
        letters = [
            letter
            for partition in partitions_of("accounts.User", 2)
            for letter in await accounts.bus.broker.dead_letters(partition, "accounts")
        ]
    (letter,) = letters
    assert (letter.reason, letter.attempts) == ("ValueError: no such user", 3)
    assert str(bad.id).encode() in letter.fields[b"head"]


async def _nothing_left(accounts: Accounts) -> bool:
    return await accounts.backlog() == 0


@pytest.mark.parametrize(
    "fields",
    [
        {"hello": "world"},
        {"id": "1", "head": "not json", "data": "{}"},
        {"id": "1", "head": "{}", "data": "{}"},
        {"id": "1", "head": b"\xff\xfe", "data": b"\x00"},
    ],
)
async def test_an_entry_that_is_not_ours_goes_to_the_dead_letters_and_stops_nothing(
    accounts: Accounts, prefix: str, redis_client: Redis, fields: Any
) -> None:
    heard: list[str] = []

    @post_save(accounts.User)
    async def hear(sender: Any, instance: Any, **kwargs: Any) -> None:
        heard.append(instance.name)

    partitions = partitions_of("accounts.User", 2)
    async with accounts.running():
        await accounts.User.query.create(name="before")
        await eventually(lambda: heard)
        for partition in partitions:
            await redis_client.xadd(f"{prefix}:{{{partition}}}:events", fields)
        for number in range(6):
            await accounts.User.query.create(name=f"after{number}")
        await eventually(lambda: len(heard) == 7)
        await eventually(lambda: _nothing_left(accounts))
        assert accounts.bus.broker is not None
        for partition in partitions:
            (letter,) = await accounts.bus.broker.dead_letters(partition, "accounts")
            assert letter.reason


async def test_a_redis_that_lost_everything_gets_it_again_and_effects_happen_once(
    accounts: Accounts,
) -> None:
    accounts.keep_effects()
    async with accounts.running():
        assert accounts.bus.broker is not None
        for number in range(20):
            await accounts.User.query.create(name=f"u{number}")
            if number in (7, 15):
                await accounts.bus.broker.erase()
        await eventually(lambda: accounts.everything_handled(20), "all events handled")
        assert sorted(user for user, _, _ in await accounts.effects()) == list(range(1, 21))


async def test_operations_go_on_without_redis_and_delivery_resumes(
    redis_url: str, database_url: str, prefix: str
) -> None:
    async with Proxy(redis_url, is_open=False) as proxy:
        accounts = Accounts(proxy.url, database_url, prefix)
        accounts.keep_effects()
        with Told() as told:
            async with accounts.running():
                user = await accounts.User.query.create(name="a")
                await asyncio.sleep(0.3)
                proxy.open()
                await user.update(name="b")
                await eventually(lambda: accounts.everything_handled(2))
                await proxy.shut()
                await user.update(name="c")
                await accounts.User.query.create(name="d")
                await asyncio.sleep(0.5)
                proxy.open()
                await eventually(lambda: _effects_are(accounts, 4))
        assert {"relay", "worker"} <= {fields["part"] for fields in told.of("broker.unavailable")}
        parts = [fields["part"] for fields in told.of("broker.unavailable")]
        assert parts.count("worker") == 1  # once when it started, not once a second


async def _effects_are(accounts: Accounts, count: int) -> bool:
    return len(await accounts.effects()) == count


async def test_two_service_processes_on_one_database_publish_everything_once(
    redis_url: str, database_url: str, prefix: str
) -> None:
    one, two = Accounts(redis_url, database_url, prefix), Accounts(redis_url, database_url, prefix)
    one.keep_effects()
    async with one.running(), two.running(worker=False):
        await asyncio.gather(
            *(
                service.User.query.create(name=f"u{number}")
                for number in range(20)
                for service in (one, two)
            )
        )
        await eventually(lambda: one.everything_handled(40))
        assert sorted(user for user, _, _ in await one.effects()) == list(range(1, 41))


async def test_workers_that_come_and_go_lose_and_double_nothing(accounts: Accounts) -> None:
    accounts.keep_effects()
    async with accounts.running():
        for number in range(30):
            user = await accounts.User.query.create(name=f"u{number}")
            await user.update(name="again")
            if number % 10 == 5:
                async with accounts.bus.worker():
                    await asyncio.sleep(0.3)
        await eventually(lambda: accounts.everything_handled(60))
        effects = by_user(await accounts.effects())
    assert all(
        [signal for signal, _ in one] == ["post_save", "post_update"] for one in effects.values()
    )
    assert len(effects) == 30


async def test_a_relay_in_another_process_is_woken_by_the_commit(
    redis_url: str, postgres_url: str, prefix: str
) -> None:
    slow = RELAYING.model_copy(update={"poll": 3_600.0, "trim_every": 3_600.0})
    service = Accounts(redis_url, postgres_url, prefix, relay=False)
    relaying = Accounts(redis_url, postgres_url, prefix, relaying=slow)
    async with service.running(worker=False), relaying.running(worker=False):
        await eventually(lambda: relaying.bus.relays()[0].repairer.verified)
        await asyncio.sleep(0.2)
        await service.User.query.create(name="Ada")
        await eventually(lambda: _nothing_left(service))


async def test_secrets_are_neither_in_redis_nor_in_what_is_told(
    redis_url: str, sqlite_url: str, prefix: str, redis_client: Redis
) -> None:
    accounts = Accounts(redis_url, sqlite_url, prefix)
    shop = accounts.registry

    class Login(edgy.Model):
        id: int = edgy.BigIntegerField(primary_key=True)
        name: str = edgy.CharField(max_length=100)
        password: str = edgy.CharField(max_length=100, secret=True)

        class Meta:
            registry = shop

    heard: list[Any] = []

    @post_save(Login, retry=QUICK)
    async def hear(sender: Any, instance: Any, **kwargs: Any) -> None:
        heard.append(instance)
        raise ValueError("so that it is told")

    with Told() as told:
        async with accounts.running():
            await Login.query.create(name="Ada", password="hunter2")
            await eventually(lambda: told.of("receiver.gave_up"))
            keys = [key async for key in redis_client.scan_iter(match=f"{prefix}:*")]
            dump = [
                await redis_client.xrange(key)
                for key in keys
                if await redis_client.type(key) == b"stream"
            ]
    assert "Ada" in str(dump)
    assert "hunter2" not in str(dump)
    assert "Ada" not in str(told.all)
    assert Partition("accounts.Login", "pre") in {_place(key) for key in keys}


def _place(key: bytes) -> Partition:
    tag = key.decode().partition("{")[2].partition("}")[0]
    model, _, label = tag.rpartition(":")
    return Partition(model, label)


async def test_only_events_that_are_signed_are_heard(
    redis_url: str, database_url: str, prefix: str, redis_client: Redis
) -> None:
    accounts = Accounts(
        redis_url, database_url, prefix, signing_keys={"k1": "a secret of more than 16 bytes"}
    )
    accounts.keep_effects()
    async with accounts.running():
        user = await accounts.User.query.create(name="real")
        await eventually(lambda: accounts.everything_handled(1))
        (partition,) = [
            one
            for one in partitions_of("accounts.User", 2)
            if await redis_client.xlen(_key(prefix, one))
        ]
        (_, fields), *_ = await redis_client.xrange(_key(prefix, partition))
        assert fields[b"sig"].startswith(b"k1:")
        forged = {**fields, b"id": b"forged", b"data": fields[b"data"].replace(b"real", b"fake")}
        await redis_client.xadd(_key(prefix, partition), forged)
        await user.update(name="changed")
        await eventually(lambda: accounts.everything_handled(2))
        assert accounts.bus.broker is not None
        (letter,) = await accounts.bus.broker.dead_letters(partition, "accounts")
    assert (letter.reason, letter.fields) == ("the entry's signature is wrong", forged)
    assert [name for _, _, name in await accounts_effects(accounts)] == ["real", "changed"]


async def accounts_effects(accounts: Accounts) -> list[tuple[int, str, str]]:
    async with accounts.database:
        return await accounts.effects()


def _key(prefix: str, partition: Partition) -> str:
    return f"{prefix}:{{{partition}}}:events"


async def test_a_row_is_held_until_somebody_decides(
    redis_url: str, database_url: str, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    accounts = Accounts(redis_url, database_url, prefix)
    seen: list[str] = []
    broken = True

    @post_save(accounts.User, name="app.fragile", retry=edgy.Retry(attempts=1), on_exhausted="hold")
    @post_update(
        accounts.User, name="app.fragile", retry=edgy.Retry(attempts=1), on_exhausted="hold"
    )
    async def fragile(sender: Any, instance: Any, **kwargs: Any) -> None:
        if broken and instance.name == "bad":
            raise ValueError("the name is bad")
        seen.append(instance.name)

    async def say(*arguments: str) -> str:
        """What `edgy-bus` says, run in a thread as a program of its own."""
        partition = ModuleType("somewhere")
        partition.bus = edgy.Bus(redis_url, service="accounts", prefix=prefix)
        monkeypatch.setitem(sys.modules, "somewhere", partition)
        told = await asyncio.to_thread(
            CliRunner().invoke, app, [arguments[0], "somewhere:bus", *arguments[1:]]
        )
        return f"{told.output}{told.exception or ''}"

    async with accounts.running():
        assert await accounts.bus.held() == []
        user = await accounts.User.query.create(name="bad")
        await user.update(name="second")
        await accounts.User.query.create(name="other")
        await eventually(lambda: seen == ["other"])
        await eventually(lambda: _nothing_left(accounts))
        (row,) = await accounts.bus.held()
        assert (row.group, row.model) == ("accounts", "accounts.User")
        assert (row.subject, row.receiver) == (str(user.id), "app.fragile")
        assert (row.reason, row.released) == ("ValueError: the name is bad", False)
        assert "the name is bad" in await say("held")
        assert "no group 'nobody' has read a stream" in await say("held", "--group", "nobody")
        assert "is not held" in await say("release", "accounts.User", "0")
        assert "is not held" in await say(
            "release", "accounts.User", str(user.id), "--receiver", "app.other"
        )
        broken = False
        assert "released" in await say("release", "accounts.User", str(user.id))
        await eventually(lambda: seen == ["other", "bad", "second"])
        await eventually(lambda: _is_free(accounts))
        await user.update(name="third")
        await eventually(lambda: seen == ["other", "bad", "second", "third"])
        broken = True
        await user.update(name="bad")
        await user.update(name="fifth")
        await eventually(accounts.bus.held)
        await eventually(lambda: _nothing_left(accounts))
        assert "released" in await say("release", "accounts.User", str(user.id), "--skip")
        await eventually(lambda: seen[-1] == "fifth")
        await eventually(lambda: _is_free(accounts))
        assert not await accounts.bus.release(row)
        letters = [
            one
            for partition in partitions_of("accounts.User", 2)
            for one in await _letters(accounts, partition)
        ]
    assert seen == ["other", "bad", "second", "third", "fifth"]
    assert [letter.reason for letter in letters] == ["ValueError: the name is bad"]


async def _is_free(accounts: Accounts) -> bool:
    return not await accounts.bus.held()


async def _letters(accounts: Accounts, partition: Partition) -> list[DeadLetter]:
    assert accounts.bus.broker is not None
    return await accounts.bus.broker.dead_letters(partition, "accounts")


async def test_a_batch_receiver_hears_of_everything_once_and_in_order(accounts: Accounts) -> None:
    @post_save(accounts.User, name="keep", inbox=accounts.database, batch=edgy.Batch(20, 0.05))
    @post_update(accounts.User, name="keep", inbox=accounts.database, batch=edgy.Batch(20, 0.05))
    async def keep(sender: Any, instances: Any, events: Any, **kwargs: Any) -> None:
        sizes.append(len(events))
        for one, instance in zip(events, instances, strict=True):
            await accounts.Effect.query.create(
                user_id=instance.id, signal=one.signal, name=instance.name
            )

    sizes: list[int] = []
    async with accounts.running():
        users = [await accounts.User.query.create(name=f"u{number}") for number in range(30)]
        for user in users:
            await user.update(name=f"{user.name} again")
        await eventually(lambda: accounts.everything_handled(60), "all events handled")
        effects = by_user(await accounts.effects())
    assert max(sizes) > 1
    assert all(
        [signal for signal, _ in one] == ["post_save", "post_update"] for one in effects.values()
    )
    assert sum(map(len, effects.values())) == 60


async def test_a_group_is_forgotten_when_none_of_its_workers_is_alive(accounts: Accounts) -> None:
    accounts.keep_effects()
    async with accounts.running(worker=False):
        async with accounts.bus.worker():
            await accounts.User.query.create(name="Ada")
            await eventually(lambda: accounts.everything_handled(1))
            await eventually(accounts.store.groups)
            with pytest.raises(edgy.ConfigurationError, match="1 workers that are alive"):
                await accounts.bus.forget("accounts")
        assert await accounts.bus.forget("accounts") == 1
        assert await accounts.bus.forget("accounts") == 0
