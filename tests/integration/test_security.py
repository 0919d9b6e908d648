"""docs/security.md: programs work under the rights that it gives them, and can do nothing else."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import NoPermissionError

import edgy_bus as edgy
from edgy_bus.signals import post_save
from edgy_bus.testing.servers import Server, Source, find_redis
from tests.integration.test_main_path import RELAYING, WORKING
from tests.support import eventually

DOCUMENT = Path(__file__).parents[2] / "docs" / "security.md"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A Redis of our own: users belong to the whole server."""
    with find_redis((Source.PATH, Source.WHEEL)) as one:
        yield one


@pytest.fixture
async def admin(server: Server) -> AsyncIterator[Redis]:
    async with Redis.from_url(server.url) as client:
        for line in DOCUMENT.read_text().split("```acl\n")[1].split("```")[0].splitlines():
            _, name, *rules = line.split(" ", 2)
            await client.execute_command("ACL", "SETUSER", name, "reset", *_rules(rules[0]))
        yield client


def _rules(text: str) -> list[str]:
    """Words, a selector in parentheses being one."""
    before, *selectors = text.split(" (")
    return [*before.split(), *(f"({selector}" for selector in selectors)]


def url_of(server: Server, user: str) -> str:
    password = {"service": "change-me-1", "worker": "change-me-2"}[user]
    return server.url.replace("redis://", f"redis://{user}:{password}@")


async def test_service_and_worker_need_no_other_rights(server: Server, admin: Redis, sqlite_url: str) -> None:
    database = edgy.Database(sqlite_url)
    bus = edgy.Bus(url_of(server, "service"), service="accounts", relaying=RELAYING)
    own = edgy.Registry(database, bus=bus)

    class User(edgy.Model):
        id: int = edgy.BigIntegerField(primary_key=True)
        name: str = edgy.CharField(max_length=20)

        class Meta:
            registry = own

    consumers = edgy.Bus(url_of(server, "worker"), service="mail", working=WORKING)
    heard: list[str] = []

    @consumers.receiver("accounts.User", "pre_save")
    @consumers.receiver("accounts.User", "post_save", retry=edgy.Retry(attempts=2, delay=0.01))
    async def hear(sender: Any, instance: Any, event: edgy.Event, **kwargs: Any) -> None:
        heard.append(f"{event.signal} {instance.name}")
        if instance.name == "bad" and event.signal == "post_save":
            raise ValueError(instance.name)

    broken = True

    @consumers.receiver("accounts.User", "post_save", retry=edgy.Retry(attempts=1), on_exhausted="hold")
    async def strict(sender: Any, instance: Any, **kwargs: Any) -> None:
        if broken and instance.name != "good":
            raise ValueError(instance.name)

    post_save(User, local=True)(hear_nothing)
    async with bus, consumers, consumers.worker():
        await own.create_all()
        await User.query.create(name="good")
        await User.query.create(name="bad")
        await eventually(lambda: {"pre_save good", "post_save good", "post_save bad"} <= set(heard))
        await eventually(lambda: _keys(admin, "edgy:*:dead:mail"), "the dead letter")
        await eventually(lambda: _trimmed(admin), "the stream is trimmed")
        await User.query.create(name="worse")
        await eventually(lambda: _held(consumers, 2), "two rows are held")
        broken = False
        first, second = await consumers.held()
        assert await consumers.release(first)
        assert await consumers.release(second, skip=True)
        await eventually(lambda: _held(consumers, 0), "the rows are released")


async def _held(bus: edgy.Bus, count: int) -> bool:
    return len(await bus.held()) == count


async def hear_nothing(sender: Any, **kwargs: Any) -> None: ...


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
        ("worker", ("XGROUP", "DESTROY", "edgy:{accounts.User:0}:events", "mail")),
        ("worker", ("XDEL", "edgy:{accounts.User:0}:events", "1-1")),
        ("worker", ("XDEL", "edgy:{accounts.User:0}:dead:mail", "1-1")),
        ("worker", ("FLUSHALL",)),
        ("worker", ("CONFIG", "SET", "maxmemory", "1")),
        ("worker", ("GET", "somebody:else")),
        ("worker", ("EVAL", "return 1", "0")),
        ("service", ("FLUSHALL",)),
        ("service", ("XGROUP", "DESTROY", "edgy:{accounts.User:0}:events", "mail")),
        ("service", ("XREADGROUP", "GROUP", "mail", "me", "STREAMS", "edgy:{accounts.User:0}:events", ">")),
        ("service", ("CONFIG", "SET", "maxmemory", "1")),
        ("service", ("SET", "somebody:else", "1")),
        ("service", ("KEYS", "*")),
    ],
)
async def test_what_a_program_does_not_need_it_may_not_do(
    server: Server, admin: Redis, user: str, command: tuple[str, ...]
) -> None:
    async with Redis.from_url(url_of(server, user)) as client:
        with pytest.raises(NoPermissionError):
            await client.execute_command(*command)
