"""Connections that are reset, cut, forgotten or refused, or that lead to a replica."""

import asyncio
import shutil
import socket
import subprocess
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
import uvloop
from redis.asyncio import Redis
from redis.exceptions import RedisError

from edgy_bus.brokers.base import START, EntryId, StreamHead
from edgy_bus.brokers.redis import RedisBroker, connections
from edgy_bus.errors import BrokerError, BrokerNotReady, BrokerUnavailable
from edgy_bus.events import Partition
from edgy_bus.testing.conformance.steps import PARTITION, acquire, append
from edgy_bus.testing.servers import Server, Source, find_redis
from tests.proxy import Proxy
from tests.support import Told, eventually

MANY = 8


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """Start a Redis for these tests alone, which change its settings."""
    with find_redis((Source.PATH, Source.WHEEL)) as server:
        yield server


@pytest.fixture(scope="module")
def second() -> Iterator[Server]:
    with find_redis((Source.PATH, Source.WHEEL)) as server:
        yield server


@pytest.fixture
def admin(server: Server) -> Redis:
    return Redis.from_url(server.url)


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[RedisBroker]:
    broker = RedisBroker(url)
    try:
        yield broker
    finally:
        await broker.close()


async def at_once(broker: RedisBroker, count: int = MANY) -> list[object]:
    """Make calls side by side, each on a connection of its own. Return answers and errors."""
    calls = (broker.declared() for _ in range(count))
    return await asyncio.gather(*calls, return_exceptions=True)


def answered(answers: list[object]) -> bool:
    return all(isinstance(answer, dict) for answer in answers)


async def test_connections_to_a_former_primary_are_closed(server: Server, second: Server) -> None:
    """One address leads new connections to the new primary; open ones stay with the old."""
    async with (
        Redis.from_url(server.url) as old,
        Redis.from_url(second.url) as new,
        Proxy(server.url) as proxy,
        connected(proxy.url) as broker,
    ):
        await old.flushall()
        await new.flushall()
        bell = broker.bell()
        lease = await acquire(broker, "w")
        await bell.wait({PARTITION: START}, 0.01)
        assert answered(await at_once(broker))
        await old.replicaof("127.0.0.1", str(_port(second.url)))
        proxy.retarget(second.url)
        try:
            with pytest.raises(BrokerNotReady, match="read only"):
                await broker.declare("accounts.User", 4)
            assert await broker.declare("accounts.User", 8) == 8
            assert answered(await at_once(broker))
            assert (await new.hgetall("edgy:models")) == {b"accounts.User": b"8"}
            await bell.wait({PARTITION: START}, 0.01)
            assert await _connected(old) == 0, "the bell has left the old primary, too"
            assert lease.token == 1
        finally:
            await bell.close()
            await old.replicaof("no", "one")


async def _connected(client: Redis) -> int:
    """Return the clients of a server besides the asking client and its primary."""
    listed = await client.client_list()
    return sum(each["cmd"] not in ("client|list", "replconf") for each in listed) - sum(
        "M" in each["flags"] for each in listed
    )


def _port(url: str) -> int:
    return int(url.rpartition(":")[2].partition("/")[0])


async def test_connections_that_a_firewall_has_forgotten_cost_no_long_wait(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "_RESTED", 0.2)
    monkeypatch.setattr(connections, "_TRIAL", 0.2)
    async with Proxy(server.url) as proxy, connected(proxy.url) as broker:
        assert answered(await at_once(broker))
        proxy.forget()
        await asyncio.sleep(0.3)
        begin = time.monotonic()
        assert answered(await at_once(broker))
        assert time.monotonic() - begin < 2.0, "a call may take five seconds"


async def test_a_connection_that_is_in_use_is_not_tried(
    server: Server, admin: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "_RESTED", 60.0)
    async with admin, connected(server.url) as broker:
        await admin.config_resetstat()
        for _ in range(5):
            await broker.declared()
        assert "cmdstat_ping" not in await admin.info("commandstats")


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
@pytest.mark.parametrize("how", ["reset", "shut"])
def test_connections_that_are_cut_while_nobody_reads_are_replaced(
    server: Server, how: str, loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    async def run() -> None:
        async with Proxy(server.url) as proxy, connected(proxy.url) as broker:
            assert answered(await at_once(broker))
            await getattr(proxy, how)()
            proxy.open()
            await asyncio.sleep(0.05)
            assert answered(await at_once(broker)), "no call meets the end of a connection"

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(run())


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
@pytest.mark.parametrize("how", ["reset", "shut"])
def test_a_call_whose_connection_is_cut_says_that_the_outcome_is_unknown(
    server: Server, how: str, loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    async def run() -> None:
        async with Proxy(server.url) as proxy, connected(proxy.url) as broker:
            await broker.declared()
            proxy.hold()
            call = asyncio.create_task(broker.declared())
            await asyncio.sleep(0.05)
            await getattr(proxy, how)()
            with pytest.raises(BrokerUnavailable) as raised:
                await call
            assert type(raised.value) is BrokerUnavailable
            with pytest.raises(BrokerNotReady):
                await broker.declared()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(run())


async def test_a_server_without_a_free_connection_has_run_nothing(
    server: Server, admin: Redis
) -> None:
    async with admin, connected(server.url) as broker:
        most = (await admin.config_get("maxclients"))["maxclients"]
        used = int((await admin.info("clients"))["connected_clients"])
        await admin.config_set("maxclients", used)
        try:
            # Some releases of the client meet the end of the connection, and not the reply.
            with pytest.raises(BrokerNotReady):
                await broker.declared()
        finally:
            await admin.config_set("maxclients", most)
        assert await broker.declared() is not None


async def test_no_more_connections_are_opened_than_the_url_allows(
    server: Server, admin: Redis
) -> None:
    async with admin, connected(f"{server.url}?max_connections=3") as broker:
        before = int((await admin.info("stats"))["total_connections_received"])
        assert answered(await at_once(broker, 50))
        after = int((await admin.info("stats"))["total_connections_received"])
        assert after - before == 2, "one is for the renewal of leases"


async def test_a_server_without_client_commands_is_reported_once_and_works(
    server: Server, admin: Redis
) -> None:
    async with admin:
        rules = ("on", ">secret", "~*", "+@all", "-client")
        await admin.execute_command("ACL", "SETUSER", "limited", "reset", *rules)
        url = server.url.replace("redis://", "redis://limited:secret@")
        with Told() as told:
            async with connected(url) as broker:
                await _news_arrive(broker)
                begin = time.monotonic()
                bell = broker.bell()
                assert await bell.wait({Partition("accounts.User", "9"): START}, 5.0) == {}
                await bell.close()
                assert time.monotonic() - begin < 2.0, "streams that join the wait get their turn"
        assert [fields["refused"] for fields in told.of("broker.limited")] == ["CLIENT"]


async def test_a_refused_login_says_no_part_of_the_password(server: Server, admin: Redis) -> None:
    secret = "Sup3r%2FSecret"
    for login in (f"somebody:{secret}", f"Sup3r:{secret}"):
        async with connected(server.url.replace("://", f"://{login}@")) as broker:
            with pytest.raises(BrokerError) as raised:
                await broker.connect()
        texts = "".join(traceback.format_exception(raised.value))
        assert not any(part in texts for part in ("Sup3r", "Secret"))
        assert "user and password in the URL" in str(raised.value)
    await admin.aclose()


async def _news_arrive(broker: RedisBroker) -> None:
    """Wait with two bells, one after the other, and get the news of both waits."""
    other = Partition("accounts.User", "1")
    for bell in (broker.bell(), broker.bell()):
        state = await broker.inspect(PARTITION, StreamHead(), "epoch")
        positions = {PARTITION: state.head.entry, other: START}
        waiting = asyncio.create_task(_until_it_rings(bell.wait, positions))
        await asyncio.sleep(0.1)
        head = await append(broker, "a")
        assert await asyncio.wait_for(waiting, 2) == {PARTITION: head.entry}
        await bell.interrupt()
        await bell.close()


async def _until_it_rings(
    wait: Callable[..., Awaitable[Mapping[Partition, EntryId]]], positions: object
) -> object:
    while not (ringing := await wait(positions, 1.0)):
        pass
    return ringing


@contextmanager
def redis_server(folder: Path, *options: str) -> Iterator[str]:
    """Start a Redis with options. Yield its URL."""
    binary = shutil.which("redis-server")
    if binary is None:
        pytest.skip("no redis-server")
    port = _free_port()
    command = [binary, "--port", str(port), "--save", "", "--dir", str(folder), *options]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        yield f"redis://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def _free_port() -> int:
    """Return a port that the bus of a cluster can use as well: that is 10,000 higher."""
    while True:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port: int = free.getsockname()[1]
        if port + 10_000 < 2**16:
            return port


async def _answers(url: str) -> bool:
    async with Redis.from_url(url) as client:
        try:
            return bool(await client.ping())
        except (RedisError, OSError):
            return False


async def test_a_unix_socket_works(tmp_path: Path) -> None:
    path = tmp_path / "redis.sock"
    with redis_server(tmp_path, "--unixsocket", str(path)):
        await eventually(path.exists)
        async with connected(f"unix://{path}?db=1") as broker:
            await broker.connect()
            await _news_arrive(broker)


async def test_a_cluster_of_one_node_works_if_the_node_has_every_slot(tmp_path: Path) -> None:
    with redis_server(tmp_path, "--cluster-enabled", "yes") as url:
        await eventually(lambda: _answers(url))
        async with Redis.from_url(url) as admin:
            await admin.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)

            async def is_up() -> bool:
                info = await admin.execute_command("CLUSTER", "INFO")
                return b"cluster_state:ok" in (
                    info if isinstance(info, bytes) else repr(info).encode()
                )

            await eventually(is_up)
            with Told() as told:
                async with connected(url) as broker:
                    await broker.connect()
                    await _news_arrive(broker)
            assert len(told.of("broker.limited")) == 1
            # Half of the slots belong to a node that is not there.
            await admin.execute_command("CLUSTER", "DELSLOTSRANGE", 8192, 16383)
            async with connected(url) as broker:
                with pytest.raises(BrokerNotReady, match="cluster is down"):
                    await broker.connect()


@pytest.mark.parametrize(
    ("policy", "lost"),
    [("noeviction", None), ("volatile-lru", "leases"), ("allkeys-lru", "streams, and events")],
)
async def test_a_server_that_may_evict_keys_is_reported(
    server: Server, admin: Redis, policy: str, lost: str | None
) -> None:
    async with admin, connected(server.url) as broker:
        await admin.config_set("maxmemory-policy", policy)
        try:
            with Told() as told:
                await broker.connect()
        finally:
            await admin.config_set("maxmemory-policy", "noeviction")
    assert [fields["lost"].startswith(lost) for fields in told.of("broker.evicts")] == (
        [True] if lost else []
    )


async def test_a_server_that_does_not_say_whether_it_evicts_is_reported(
    server: Server, admin: Redis
) -> None:
    async with admin:
        rules = ("on", ">secret", "~*", "+@all", "-config")
        await admin.execute_command("ACL", "SETUSER", "limited", "reset", *rules)
        with Told() as told:
            async with connected(server.url.replace("://", "://limited:secret@")) as broker:
                await broker.connect()
    (limit,) = told.of("broker.limited")
    assert (limit["refused"], "noeviction" in limit["effect"]) == ("CONFIG GET", True)
