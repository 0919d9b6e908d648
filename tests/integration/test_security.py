"""Programs work under the rights of docs/security.md, and can do nothing else."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import NoPermissionError, RedisError

import edgy_bus as edgy
from edgy_bus.brokers.base import (
    ActionEntry,
    Backlog,
    DeadLetter,
    Enlisted,
    EntryId,
    LetterLimits,
    Members,
    Protocol,
    RowKey,
    StreamHead,
    Tally,
)
from edgy_bus.brokers.redis import RedisBroker
from edgy_bus.codec import pack
from edgy_bus.errors import BrokerError
from edgy_bus.events import Partition
from edgy_bus.operations import (
    Discarded,
    Edit,
    Parts,
    Released,
    Replayed,
    Selection,
    actions,
    discard_dead,
    edit_dead,
    editable,
    forget_receiver,
    held,
    history_of_all,
    list_dead,
    ownership,
    pause,
    receivers,
    release,
    rename_receiver,
    replay_dead,
    resume,
    status,
)
from edgy_bus.signals import post_save
from edgy_bus.testing.conformance.relays import card_of
from edgy_bus.testing.servers import Server, Source, find_redis
from tests.integration.test_main_path import RELAYING, WORKING
from tests.support import event, eventually, publish

DOCUMENT = Path(__file__).parents[2] / "docs" / "security.md"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """Start a Redis for these tests alone: users belong to the whole server."""
    with find_redis((Source.PATH, Source.WHEEL)) as server:
        yield server


@pytest.fixture
async def admin(server: Server) -> AsyncIterator[Redis]:
    async with Redis.from_url(server.url) as client:
        for line in DOCUMENT.read_text().split("```acl\n")[1].split("```")[0].splitlines():
            _, name, *rules = line.split(" ", 2)
            await client.execute_command("ACL", "SETUSER", name, "reset", *_rules(rules[0]))
        yield client


def _rules(text: str) -> list[str]:
    """Split rules into words. A selector in parentheses is one rule."""
    before, *selectors = text.split(" (")
    return [*before.split(), *(f"({selector}" for selector in selectors)]


def url_of(server: Server, user: str) -> str:
    password = {"service": "change-me-1", "worker": "change-me-2", "observer": "change-me-3"}
    password["operator"] = "change-me-4"
    return server.url.replace("redis://", f"redis://{user}:{password[user]}@")


async def test_service_and_worker_need_no_other_rights(
    server: Server, admin: Redis, sqlite_url: str
) -> None:
    database = edgy.Database(sqlite_url)
    bus = edgy.Bus(url_of(server, "service"), service="accounts", relaying=RELAYING)
    models = edgy.Registry(database, bus=bus)

    class User(edgy.Model):
        id: int = edgy.BigIntegerField(primary_key=True)
        name: str = edgy.CharField(max_length=20)

        class Meta:
            registry = models

    consumers = edgy.Bus(url_of(server, "worker"), service="mail", working=WORKING)
    received: list[str] = []

    @consumers.receiver("accounts.User", "pre_save")
    @consumers.receiver("accounts.User", "post_save", retry=edgy.Retry(attempts=2, delay=0.01))
    async def receive(sender: Any, instance: Any, event: edgy.Event, **kwargs: Any) -> None:
        received.append(f"{event.signal} {instance.name}")
        if instance.name == "bad" and event.signal == "post_save":
            raise ValueError(instance.name)

    broken = True

    @consumers.receiver(
        "accounts.User", "post_save", retry=edgy.Retry(attempts=1), on_exhausted="hold"
    )
    async def strict(sender: Any, instance: Any, **kwargs: Any) -> None:
        if broken and instance.name != "good":
            raise ValueError(instance.name)

    post_save(User, local=True)(ignore)
    async with bus, consumers, consumers.worker():
        await models.create_all()
        await User.query.create(name="good")
        await User.query.create(name="bad")
        await eventually(
            lambda: {"pre_save good", "post_save good", "post_save bad"} <= set(received)
        )
        await eventually(lambda: _keys(admin, "edgy:*:dead:mail"), "the dead letter")
        await eventually(lambda: _trimmed(admin), "the stream is trimmed")
        await User.query.create(name="worse")
        await eventually(lambda: _held(consumers, 2), "two rows are held")
        broken = False
        first, second = await consumers.held()
        assert await consumers.release(first)
        assert await consumers.release(second, skip=True)
        await eventually(lambda: _held(consumers, 0), "the rows are released")
        assert consumers.broker is not None
        done = (await actions(consumers.broker, 10)).actions
        assert [action.action for action in done] == ["release", "release --skip"]
        others = edgy.Bus(url_of(server, "worker"), service="mail", working=WORKING)
        late: list[str] = []

        @others.receiver("accounts.User", "post_save", name="late", start="kept")
        async def hear(sender: Any, instance: Any, **kwargs: Any) -> None:
            late.append(instance.name)

        async with others, others.worker():
            await User.query.create(name="last")
            await eventually(lambda: "last" in late and "post_save last" in received)
            await eventually(lambda: _own_groups(admin), "receivers are set aside")
        await eventually(lambda: _only_aside(admin, "mail/late"), "the others come back")


async def _own_groups(admin: Redis) -> set[str]:
    """Return the own groups of receivers that are set aside, of any stream."""
    keys = await _keys(admin, "edgy:{accounts.User:*}:events")
    groups = [group for key in keys for group in await admin.xinfo_groups(key)]
    return {name for group in groups if "/" in (name := group["name"].decode())}


async def _only_aside(admin: Redis, name: str) -> bool:
    return await _own_groups(admin) <= {name}


async def _held(bus: edgy.Bus, count: int) -> bool:
    return len(await bus.held()) == count


PARTITION = Partition("accounts.User", "0")
OBSERVED = DOCUMENT.read_text().split("user observer ")[1].splitlines()[0]
NEEDED = [right for right in OBSERVED.split() if right.startswith("+") and right != "+select"]
"""`SELECT` is for databases other than 0, which these tests do not use."""


@asynccontextmanager
async def looking(server: Server, user: str = "observer") -> AsyncIterator[RedisBroker]:
    broker = RedisBroker(url_of(server, user))
    try:
        yield broker
    finally:
        await broker.close()


async def look(broker: RedisBroker) -> dict[str, Any]:
    """Read everything that an observer may read."""
    await broker.connect()
    return {
        "declared": await broker.declared(),
        "backlog": await broker.backlog(PARTITION),
        "dead": await broker.dead_letters(PARTITION, "mail"),
        "members": await broker.members("mail"),
        "held": await broker.held(PARTITION, "mail"),
        "letters": await broker.letters(PARTITION, "mail"),
        "survey": await broker.survey([PARTITION]),
        "receivers": await receivers(broker, "mail"),
        "newest": await broker.search(PARTITION, b"accounts", backwards=True),
        "entry": await broker.survey_entry(PARTITION, EntryId(1, 0)),
        "actions": await broker.actions(),
        "relays": await broker.relays(),
        "history": await broker.history("mail"),
        "day": await history_of_all(broker, ["mail"]),
        "owners": await ownership(broker),
    }


@pytest.fixture
async def stream(server: Server, admin: Redis) -> AsyncIterator[None]:
    """Publish three events: settled, buried and unread. Register a live worker."""
    await admin.flushall()
    async with looking(server, "service") as service, looking(server, "worker") as worker:
        await publish(service, event("1", 1), event("1", 2), event("1", 3), partition=PARTITION)
        lease = await worker.acquire(PARTITION, "mail", "w", 60)
        assert lease is not None
        first, second = (await worker.fetch(lease, 2, inherit=True)).entries
        await worker.settle(lease, [first.id])
        await worker.bury(lease, DeadLetter(second.id, "send", "no", 1, second.fields))
        await worker.join("mail", "w", 60, b"a report")
        await worker.tally("mail", Tally(handled=1), "1.0")
        await service.list_relay(card_of("one"), 60, 0.0)
        await service.list_relay(card_of("two"), 60, 0.0)
        await service.unlist_relay("two")
        await worker.enlist(
            "mail", [Enlisted("send", ("accounts.User.post_save",))], 60, begins=True
        )
    yield
    await admin.flushall()


async def test_an_observer_sees_how_far_groups_are(server: Server, stream: None) -> None:
    async with looking(server) as broker:
        view = await look(broker)
    assert view["declared"] == {"accounts.User": 1}
    assert view["backlog"] == [Backlog("mail", unfinished=1, unread=1, dead=1)]
    assert [letter.reason for letter in view["dead"]] == ["no"]
    ((group,),) = (stream.groups for stream in view["survey"])
    assert (group.unread, group.dead, group.held) == (1, 1, 0)
    assert len(view["letters"].letters) == 1
    assert [each.card.owner for each in view["relays"]] == ["one"]
    assert [*view["history"].minutes.values()] == [Tally(handled=1)]
    assert [version for _, version in view["history"].versions] == ["1.0"]
    assert view["day"].day == Tally(handled=1)
    assert [each.name for each in view["owners"].workers] == ["w"]
    assert view["newest"].looked_at == 3
    assert [group.group for group in view["entry"].groups] == ["mail"]
    assert view["members"] == Members(["w"], {"w": b"a report"})


async def test_a_worker_removes_letters_beyond_its_limits(server: Server, stream: None) -> None:
    async with looking(server, "worker") as worker, looking(server) as observer:
        lease = await worker.acquire(PARTITION, "other", "w", 60)
        assert lease is not None
        entries = (await worker.fetch(lease, 3, inherit=True)).entries
        letters = [DeadLetter(entry.id, "send", "no", 1, entry.fields) for entry in entries]
        limits = LetterLimits(seconds=3600, most=1)
        assert [await worker.bury(lease, each, (), limits) for each in letters] == [0, 1, 1]
        ((_, group),) = (stream.groups for stream in (await look(observer))["survey"])
    assert (group.group, group.dead, group.removed) == ("other", 1, 2)


@pytest.mark.parametrize("right", NEEDED)
async def test_an_observer_needs_every_right_that_it_has(
    server: Server, admin: Redis, stream: None, right: str
) -> None:
    await admin.execute_command("ACL", "SETUSER", "observer", right.replace("+", "-", 1))
    async with looking(server) as broker:
        with pytest.raises(BrokerError):
            await look(broker)


@pytest.mark.parametrize("user", ["service", "worker"])
async def test_a_program_with_http_shows_how_far_groups_are(
    server: Server, stream: None, user: str
) -> None:
    async with looking(server, user) as broker:
        await broker.connect()
        (group,) = (await status(Parts(broker, "accounts"))).groups
    assert (group.lag, group.dead, group.workers) == (2, 1, ("w",))


async def operate(broker: RedisBroker) -> None:
    """Do everything that an operator may do."""
    await look(broker)
    (letter,) = [letter async for letter in list_dead(broker, Selection())]
    parts = Parts(broker, "accounts")
    original = await editable(parts, letter.id)
    assert original is not None
    assert (await edit_dead(parts, Edit(original, original.data, ()))).id
    assert await replay_dead(broker, Selection()) == Replayed(1, 1)
    (row,) = (await held(broker, "mail")).rows
    assert row.released
    await release(broker, [row])
    paused = await pause(broker, "mail", seconds=60, by="ana")
    assert (await broker.members("mail")).pause == (paused.until, "ana")
    assert await pause(broker, "mail", seconds=None, by="ana")
    assert (await resume(broker, "mail")).was_paused
    # What a backfill asks beside the other views.
    assert await broker.strangers_to([PARTITION], "mail", "send") == []
    await rename_receiver(broker, "mail", "send", "post")
    await rename_receiver(broker, "mail", "send", "send")
    await forget_receiver(broker, "mail", "send")
    done = (await actions(broker, 10)).actions
    assert [action.action for action in done] == [
        "dead edit",
        "dead replay",
        "release",
        "pause",
        "pause",
        "resume",
        "receiver rename",
        "receiver rename",
        "receiver forget",
    ]
    assert (await status(Parts(broker, "accounts"))).size


async def test_an_operator_replays_releases_and_discards(
    server: Server, admin: Redis, stream: None
) -> None:
    async with looking(server, "worker") as worker, looking(server, "operator") as operator:
        await operate(operator)
        lease = await worker.acquire(PARTITION, "mail", "next", 60)
        assert lease is None, "the lease of the worker stays"
        (letter,) = await worker.parked(PARTITION, "mail", RowKey("send", "1"))
        key = f"edgy:{{{PARTITION}}}:held:mail"
        await admin.hset(key, "send\0" + "1", "held")  # given up again, as with on_exhausted="hold"
        (row,) = (await held(operator, "mail")).rows
        assert await release(operator, [row], skip=True) == Released((row,))
        assert letter.replayed
        assert await discard_dead(operator, Selection()) == Discarded(1, 1)


@pytest.mark.parametrize(
    "command",
    [
        ("XADD", "edgy:{accounts.User:0}:events", "*", "id", "forged"),
        ("XDEL", "edgy:{accounts.User:0}:events", "1-1"),
        ("XACK", "edgy:{accounts.User:0}:events", "mail", "1-1"),
        ("XGROUP", "DESTROY", "edgy:{accounts.User:0}:events", "mail"),
        ("SET", "edgy:{accounts.User:0}:lease:mail", "me"),
        ("DEL", "edgy:{accounts.User:0}:dead:mail"),
        ("HSET", "edgy:{accounts.User:0}:notes:mail", "1-1", "forged"),
        ("HSET", "edgy:models", "accounts.User", "9"),
        ("FLUSHALL",),
        ("CONFIG", "SET", "maxmemory", "1"),
    ],
)
async def test_an_operator_touches_neither_streams_nor_leases(
    server: Server, admin: Redis, command: tuple[str, ...]
) -> None:
    async with Redis.from_url(url_of(server, "operator")) as client:
        with pytest.raises(NoPermissionError):
            await client.execute_command(*command)


@pytest.mark.parametrize(
    "call",
    [
        lambda broker: broker.declare("accounts.Profile", 2),
        lambda broker: broker.acquire(PARTITION, "mine", "me", 1),
        lambda broker: broker.join("mail", "me", 1, b""),
        lambda broker: broker.leave("mail", "w"),
        # A head that the stream lacks: a publisher begins another epoch.
        lambda broker: broker.inspect(
            PARTITION, StreamHead("epoch", EntryId(1, 0), "lost"), "fresh"
        ),
        lambda broker: broker.announce(PARTITION, [pack(event("1", 4))], 1),
        lambda broker: broker.forget(PARTITION, "mail"),
        lambda broker: broker.nudge("mail"),
        lambda broker: broker.pause("mail", None, ""),
        lambda broker: broker.resume("mail"),
        lambda broker: broker.dismiss("mail", "send"),
        lambda broker: broker.rename("mail", "send", "post"),
        lambda broker: broker.discard(PARTITION, "mail", [EntryId(1, 1)]),
        lambda broker: broker.record(ActionEntry("eve", "pause")),
        lambda broker: broker.list_relay(card_of("eve"), 60, 0.0),
        lambda broker: broker.unlist_relay("one"),
        lambda broker: broker.erase(),
    ],
)
async def test_an_observer_changes_nothing_through_the_library(
    server: Server, admin: Redis, stream: None, call: Callable[[RedisBroker], Awaitable[Any]]
) -> None:
    before = {key: await admin.dump(key) for key in await _keys(admin, "edgy:*")}
    async with looking(server) as broker:
        with pytest.raises(BrokerError):
            await call(broker)
    assert {key: await admin.dump(key) for key in await _keys(admin, "edgy:*")} == before


async def test_a_full_server_can_confirm_what_is_stored_already(
    server: Server, admin: Redis, stream: None
) -> None:
    """A relay that starts again needs no write for its models and its protocol."""
    async with looking(server, "service") as service:
        await service.keep_protocol(Protocol(2, 1))
        await admin.execute_command("ACL", "SETUSER", "service", "-hset", "-set")
        assert await service.declare("accounts.User", 8) == 1
        assert await service.keep_protocol(Protocol(1, 1)) == Protocol(2, 1)
        with pytest.raises(BrokerError, match=r"docs/security\.md"):
            await service.keep_protocol(Protocol(3, 1))
        with pytest.raises(BrokerError, match=r"docs/security\.md"):
            await service.declare("accounts.Profile", 8)


async def ignore(sender: Any, **kwargs: Any) -> None: ...


async def _keys(admin: Redis, pattern: str) -> list[bytes]:
    return [key async for key in admin.scan_iter(pattern)]


async def _trimmed(admin: Redis) -> bool:
    keys = await _keys(admin, "edgy:{accounts.User:[0-9]}:events")
    return bool(keys) and all([await admin.xlen(key) <= 1 for key in keys])


@pytest.mark.parametrize(
    ("user", "command"),
    [
        ("worker", ("XADD", "edgy:{accounts.User:0}:events", "*", "id", "forged")),
        ("worker", ("XTRIM", "edgy:{accounts.User:0}:events", "MAXLEN", "0")),
        ("worker", ("XDEL", "edgy:{accounts.User:0}:events", "1-1")),
        ("worker", ("XDEL", "edgy:{accounts.User:0}:dead:mail", "1-1")),
        ("worker", ("FLUSHALL",)),
        ("worker", ("CONFIG", "SET", "maxmemory", "1")),
        ("worker", ("GET", "somebody:else")),
        ("worker", ("EVAL", "return 1", "0")),
        ("service", ("FLUSHALL",)),
        ("service", ("XGROUP", "DESTROY", "edgy:{accounts.User:0}:events", "mail")),
        (
            "service",
            ("XREADGROUP", "GROUP", "mail", "me", "STREAMS", "edgy:{accounts.User:0}:events", ">"),
        ),
        ("service", ("CONFIG", "SET", "maxmemory", "1")),
        ("service", ("SET", "somebody:else", "1")),
        ("service", ("KEYS", "*")),
        ("observer", ("XADD", "edgy:{accounts.User:0}:events", "*", "id", "forged")),
        ("observer", ("XADD", "edgy:{accounts.User:0}:dead:mail", "*", "reason", "forged")),
        ("observer", ("XACK", "edgy:{accounts.User:0}:events", "mail", "1-1")),
        (
            "observer",
            ("XREADGROUP", "GROUP", "mail", "me", "STREAMS", "edgy:{accounts.User:0}:events", ">"),
        ),
        ("observer", ("XGROUP", "CREATE", "edgy:{accounts.User:0}:events", "mine", "0")),
        ("observer", ("XGROUP", "DESTROY", "edgy:{accounts.User:0}:events", "mail")),
        ("observer", ("XTRIM", "edgy:{accounts.User:0}:events", "MAXLEN", "0")),
        ("observer", ("XDEL", "edgy:{accounts.User:0}:events", "1-1")),
        ("observer", ("XCLAIM", "edgy:{accounts.User:0}:events", "mail", "me", "0", "1-1")),
        ("observer", ("SET", "edgy:{accounts.User:0}:lease:mail", "me")),
        ("observer", ("DEL", "edgy:{accounts.User:0}:lease:mail")),
        ("observer", ("PEXPIRE", "edgy:{accounts.User:0}:lease:mail", "1")),
        ("observer", ("HSET", "edgy:models", "accounts.User", "9")),
        ("observer", ("ZADD", "edgy:{group:mail}:seen", "1", "me")),
        ("observer", ("EVAL", "return redis.call('DEL', KEYS[1])", "1", "edgy:models")),
        ("observer", ("GET", "somebody:else")),
        ("observer", ("XRANGE", "somebody:else", "-", "+")),
        ("observer", ("KEYS", "*")),
        ("observer", ("FLUSHALL",)),
        ("observer", ("FLUSHDB",)),
        ("observer", ("CONFIG", "SET", "maxmemory", "1")),
        ("observer", ("CONFIG", "GET", "*")),
        ("observer", ("ACL", "LIST")),
        ("observer", ("SHUTDOWN",)),
    ],
)
async def test_what_a_program_does_not_need_it_may_not_do(
    server: Server, admin: Redis, user: str, command: tuple[str, ...]
) -> None:
    async with Redis.from_url(url_of(server, user)) as client:
        with pytest.raises(NoPermissionError):
            await client.execute_command(*command)


async def test_a_script_gives_an_observer_no_more_rights(server: Server, admin: Redis) -> None:
    await admin.set("edgy:kept", "1")
    async with Redis.from_url(url_of(server, "observer")) as client:
        digest = await client.script_load("return redis.call('DEL', KEYS[1])")
        with pytest.raises(RedisError, match=r"can.t run this command|no permissions"):
            await client.evalsha(digest, 1, "edgy:kept")
    assert await admin.delete("edgy:kept") == 1
